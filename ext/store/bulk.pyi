from collections.abc import Callable

from tsengine.core.store.segment_writer import SegmentWriter

class Dealer:
    """Deals the points of a batch out to one buffer a series; used from compiled code only."""

def seal_batch(record: bytes, period: str | None, make_writer: Callable[[int], SegmentWriter]) -> list[SegmentWriter]:
    """Write a stamped batch through one writer a month and return them, unfinished."""
