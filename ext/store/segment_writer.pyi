from os import PathLike

class SegmentWriter:
    """One segment in the making; blocks are added from compiled code."""

    path: str
    month: int
    point_count: int
    size_bytes: int

    def __init__(self, path: str | PathLike[str], month: int) -> None: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...
