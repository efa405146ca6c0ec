from collections.abc import Callable, Iterator, Mapping

from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter

def merge(
    segments: list[Segment],
    periods: Mapping[int, str | None],
    hidden_of: Callable[[Segment, int], tuple[int, list[tuple[int, int]]]],
    make_writer: Callable[[int], SegmentWriter],
    progress: Callable[[int], None] | None = None,
) -> list[SegmentWriter]:
    """Write segments of one month as one, and return its writer, unfinished, in a list."""

def series_keys(segment: Segment) -> Iterator[tuple[int, bytes, int]]:
    """Yield (device, name, kind) of every series of a segment, in order."""
