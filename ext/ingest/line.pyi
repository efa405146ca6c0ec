def from_lines(body: bytes, now_us: int, unit_ns: int) -> bytes:
    """Return the record of a line protocol body; empty bytes if it has no points."""

def split_lines(body: bytes, unit_ns: int) -> dict[str, bytes]:
    """Check a body and return the lines of each device, by the tag `device`."""
