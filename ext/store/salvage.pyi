from collections.abc import Callable

from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter
from tsengine.errors import CorruptionError

def salvage(
    segment: Segment, writer: SegmentWriter | None = None, progress: Callable[[int], None] | None = None
) -> list[tuple[int, bytes, int, int, int, CorruptionError]]:
    """Decode every block and compare its statistics; return what is damaged, in the order of the series.

    Args:
        writer: takes every good block byte for byte; one whose statistics alone are wrong is encoded again. Unfinished on return.
        progress: called with the points of each block.

    Returns:
        (device, variable, first time, last time, points that are lost, what is wrong) of each damaged block; no points are
        lost where only the statistics were wrong.
    Cost: decodes everything; one block is in memory.
    """
