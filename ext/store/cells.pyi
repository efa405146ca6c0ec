from collections.abc import Iterable

import numpy as np

FUNCTIONS: dict[str, int]
RESULTS: dict[str, int]

class BucketCells:
    """What functions need to be known of each bucket of time."""

    is_integer: bool

    def __init__(
        self, functions: Iterable[str], origin: int = 0, width: int = 0, bucket_count: int = 0, edges: np.ndarray | None = None
    ) -> None: ...
    def filled(self) -> np.ndarray | None: ...
    def starts(self) -> np.ndarray: ...
    def values(self, function: str) -> np.ndarray: ...
