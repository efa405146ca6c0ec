from os import PathLike

from tsengine.core.store.points import PointBuffer

class SegmentWriter:
    """One segment in the making; blocks are added from compiled code."""

    path: str | None
    month: int
    point_count: int
    size_bytes: int

    def __init__(self, path: str | PathLike[str] | None, month: int) -> None: ...
    def add_points(self, device: int, name: bytes, points: PointBuffer) -> None: ...
    def absorb(self, other: SegmentWriter) -> None: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...
