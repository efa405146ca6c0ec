from collections.abc import Iterable

import numpy as np

from tsengine.core.store.condition import Condition
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
        condition: Condition | None = None,
        expanded: bool = True,
    ) -> None: ...
    def next_run(self) -> PointBuffer | None: ...
    def next_points(self, at_least: int) -> PointBuffer | None: ...
    def collect(self) -> PointBuffer: ...
    def count(self) -> int: ...
    def arrays(self) -> tuple[np.ndarray, np.ndarray] | None: ...
    def next_arrays(self, at_most: int) -> tuple[np.ndarray, np.ndarray] | None: ...
    def has_points(self) -> bool: ...
    def time_bounds(self) -> tuple[int, int] | None: ...

def plan(
    sources: list[tuple[Memtable | Segment, list[tuple[int, int]]]],
    device: int,
    sealed: frozenset[tuple[bytes, int]],
    names: frozenset[bytes] | None,
    kinds: Iterable[int],
    start: int,
    end: int,
    want: int,
    reverse: bool,
    condition: Condition | None,
    expanded: bool,
) -> list[tuple[str, SeriesScan]]: ...
