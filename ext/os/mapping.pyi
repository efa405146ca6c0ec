from os import PathLike

class Mapping:
    """A whole file, read-only, in memory as long as the object lives."""

    path: str
    size_bytes: int

    def __init__(self, path: str | PathLike[str]) -> None: ...
