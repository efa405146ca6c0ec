from collections.abc import Callable

from tsengine.core.ingest.table import Table
from tsengine.core.store.segment_writer import SegmentWriter

def seal_table(
    table: Table, targets: list[tuple[int, str | None] | None], make_writer: Callable[[int], SegmentWriter]
) -> list[SegmentWriter]:
    """Write the parts of a table through the writers that `make_writer` gives, one a month, and return them unfinished."""
