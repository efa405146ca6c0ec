def parse(text: bytes) -> tuple[int, int, float]:
    """Return what `decimal_parse` says of a text, how many bytes it used, and the number."""
