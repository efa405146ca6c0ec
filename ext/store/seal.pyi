from collections.abc import Callable, Mapping

from tsengine.core.store.memtable import Memtable
from tsengine.core.store.segment_writer import SegmentWriter

class BlockCutter:
    """Cuts the ordered points of one series into blocks; used from compiled code only."""

def seal(memtable: Memtable, periods: Mapping[int, str | None], make_writer: Callable[[int], SegmentWriter]) -> list[SegmentWriter]:
    """Write a frozen memtable through one writer a month and return them in order of months, the last ones unfinished."""
