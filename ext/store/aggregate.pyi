import numpy as np

from tsengine.core.store.scan import SeriesScan

class Buckets:
    """Count, sum, minimum, maximum, first and last of each bucket of time."""

    is_integer: bool

    def __init__(self, origin: int = 0, width: int = 0, bucket_count: int = 0, edges: np.ndarray | None = None) -> None: ...
    def add(self, scan: SeriesScan, in_order: bool) -> None: ...
    def result(self, function: str) -> tuple[np.ndarray, np.ndarray]: ...
