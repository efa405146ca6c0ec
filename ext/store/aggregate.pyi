from tsengine.core.store.cells import BucketCells
from tsengine.core.store.scan import SeriesScan

class Buckets(BucketCells):
    """The points of scans, dealt to buckets."""

    def add(self, scan: SeriesScan, by_sequence: bool = False) -> None: ...
