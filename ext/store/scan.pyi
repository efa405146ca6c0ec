from tsengine.core.store.memtable import Memtable
from tsengine.core.store.points import PointBuffer
from tsengine.core.store.segment import Segment

WANTS: dict[str, int]

class SeriesScan:
    """One series of a snapshot: its points in time order, run by run."""

    kind: int
    point_count: int
    want: int
    reverse: bool

    def __init__(
        self,
        sources: list[tuple[Memtable | Segment, list[tuple[int, int]]]],
        device: int,
        name: bytes,
        kind: int,
        start: int,
        end: int,
        want: int,
        reverse: bool = False,
    ) -> None: ...
    def next_run(self) -> PointBuffer | None: ...
    def next_points(self, at_least: int) -> PointBuffer | None: ...
    def collect(self) -> PointBuffer: ...
    def count(self) -> int: ...
    def time_bounds(self) -> tuple[int, int] | None: ...
