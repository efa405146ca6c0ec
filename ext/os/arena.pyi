class Arena:
    """Memory that only grows and is freed all at once; used from compiled code only."""

    size_bytes: int
