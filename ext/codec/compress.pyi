"""Long text to fewer bytes and back."""

def compress(data: bytes) -> bytes:
    """Return one Zstandard frame."""

def expand(data: bytes, text_bytes: int) -> bytes:
    """Return the text of a frame that holds exactly so many bytes; CorruptionError if it does not. Memory: text_bytes and 16 MB."""
