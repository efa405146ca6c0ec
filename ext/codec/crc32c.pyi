"""CRC-32C (Castagnoli) of everything on disk."""

def crc32c(data: bytes | bytearray | memoryview, seed: int = 0) -> int:
    """Compute the CRC-32C of contiguous bytes; `seed` is the result for the bytes before these."""
