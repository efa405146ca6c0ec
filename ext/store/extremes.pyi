import numpy as np

from tsengine.core.store.scan import SeriesScan

def extremes(scan: SeriesScan, points: int) -> tuple[np.ndarray, np.ndarray] | None: ...
