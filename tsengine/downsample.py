"""Fewer points of a series that look the same on a chart."""

from __future__ import annotations

import numpy as np

from tsengine.core.store.extremes import extremes
from tsengine.core.store.scan import WANTS
from tsengine.errors import InputError
from tsengine.query import NUMERIC_KINDS, Reader
from tsengine.types import Filter

METHODS = ("lttb", "minmax")


def check_method(method: str, points: int) -> None:
    """Raises:
    InputError: there is no such method, or so few points make no line.
    """
    if method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    if isinstance(points, bool) or not isinstance(points, int) or points < 2:
        raise InputError(f"points must be a whole number of at least 2, not {points!r}")


def downsampled(reader: Reader, filter: Filter, points: int, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (times, values) of at most `points` stored points."""
    if method == "minmax":
        scans = reader.scans(filter, WANTS["value"], kinds=NUMERIC_KINDS)
        if len(scans) == 1 and (found := extremes(scans[0][1], points)) is not None:
            return found
    times, values = reader.read(filter, NUMERIC_KINDS)
    if values.dtype == object:
        values = values.astype(np.float64)
    if values.dtype.kind == "f" and np.isnan(values).any():
        kept = ~np.isnan(values)
        times, values = times[kept], values[kept]
    if len(times) <= points:
        return times, values
    chosen = lttb(times, values, points) if method == "lttb" else minmax(times, values, points)
    return times[chosen], values[chosen]


def minmax(times: np.ndarray, values: np.ndarray, points: int) -> np.ndarray:
    """Return the places of the smallest and the largest value of each of points / 2 equal parts of the time."""
    parts = points // 2
    span = int(times[-1]) - int(times[0]) + 1
    edges = np.searchsorted(times, int(times[0]) + np.array([span * part // parts for part in range(parts)], np.int64))
    edges = np.unique(edges[edges < len(times)])
    ends = np.append(edges[1:], len(times))
    lows, highs = np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges)
    part_of = np.repeat(np.arange(len(edges)), ends - edges)
    low_at, high_at = np.flatnonzero(values == lows[part_of]), np.flatnonzero(values == highs[part_of])
    first_low = low_at[np.unique(part_of[low_at], return_index=True)[1]]
    first_high = high_at[np.unique(part_of[high_at], return_index=True)[1]]
    return np.unique(np.concatenate([first_low, first_high]))


def lttb(times: np.ndarray, values: np.ndarray, points: int) -> np.ndarray:
    """Return the places of the points that make the largest triangles (Steinarsson 2013): the first, the last, one of each part."""
    count = len(times)
    if points == 2:
        return np.array([0, count - 1])
    x = (times - times[0]).astype(np.float64)
    y = values.astype(np.float64)
    edges = 1 + (np.arange(points - 1) * (count - 2)) // (points - 2)
    sums_x, sums_y = np.add.reduceat(x, edges[:-1]), np.add.reduceat(y[: edges[-1]], edges[:-1])
    sums_x[-1] = x[edges[-2] : edges[-1]].sum()
    sizes = np.diff(edges)
    means_x, means_y = np.append(sums_x / sizes, x[-1]), np.append(sums_y / sizes, y[-1])
    chosen = np.empty(points, np.int64)
    chosen[0], chosen[-1] = 0, count - 1
    at = 0
    for part in range(points - 2):
        low, high = edges[part], edges[part + 1]
        area = np.abs((x[at] - means_x[part + 1]) * (y[low:high] - y[at]) - (x[at] - x[low:high]) * (means_y[part + 1] - y[at]))
        at = int(low + np.argmax(area))
        chosen[part + 1] = at
    return chosen
