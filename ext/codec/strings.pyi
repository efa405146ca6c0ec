class StringTable:
    """Distinct byte strings, numbered 0, 1, 2 ... in order of first use."""

    count: int
    text_bytes: int

    def __len__(self) -> int: ...
    def __getitem__(self, number: int) -> bytes: ...
    def put(self, data: bytes) -> int:
        """Return the number of this string, added if it is new."""
