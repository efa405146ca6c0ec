"""Several segments of one month to one."""

from collections.abc import Callable, Iterator, Mapping

from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter

def merge(
    segments: list[Segment],
    periods: Mapping[int, str | None],
    hidden_of: Callable[[Segment, int], tuple[int, list[tuple[int, int]]]],
    make_writer: Callable[[int], SegmentWriter],
    pace: Callable[[int, int, int], object] | None = None,
) -> list[SegmentWriter]:
    """Write segments of one month as one, and return its writer, unfinished, in a list."""

def dead_points(
    segment: Segment, periods: Mapping[int, str | None], hidden_of: Callable[[Segment, int], tuple[int, list[tuple[int, int]]]]
) -> int:
    """Return how many points of a segment a merge would leave out, by whole blocks."""

def series_keys(segment: Segment) -> Iterator[tuple[int, bytes, int]]:
    """Yield (device, name, kind) of every series of a segment, in order."""
