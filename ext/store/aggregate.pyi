from collections.abc import Iterable

import numpy as np

from tsengine.core.store.scan import SeriesScan

FUNCTIONS: dict[str, int]
RESULTS: dict[str, int]

class Buckets:
    """What functions need to be known of each bucket of time."""

    is_integer: bool

    def __init__(
        self, functions: Iterable[str], origin: int = 0, width: int = 0, bucket_count: int = 0, edges: np.ndarray | None = None
    ) -> None: ...
    def add(self, scan: SeriesScan, by_sequence: bool = False) -> None: ...
    def filled(self) -> np.ndarray | None: ...
    def starts(self) -> np.ndarray: ...
    def values(self, function: str) -> np.ndarray: ...
