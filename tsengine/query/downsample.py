"""Fewer points of a series that look the same on a chart."""

from __future__ import annotations

import numpy as np

from tsengine.core.store.extremes import extremes
from tsengine.core.store.scan import WANTS
from tsengine.errors import InputError
from tsengine.query.reader import NUMERIC_KINDS, Reader
from tsengine.store.view import Snapshot
from tsengine.types import Filter

METHODS = ("lttb", "minmax")

CANDIDATES = 4
"""Extremes that "lttb" looks at for each point it returns, where there are many points: as many as its authors found to look the same."""

MANY = 32
"""Points for each one that is returned, from which on "lttb" looks at extremes alone."""


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
    snapshot = reader.snapshot(filter)
    scans = reader.plan(snapshot, filter, *reader.bounds(filter), WANTS["value"], kinds=NUMERIC_KINDS)
    if len(scans) == 1 and (method == "minmax" or scans[0][1].point_count >= MANY * points):
        found = extremes(scans[0][1], points if method == "minmax" else CANDIDATES * points)
        if found is not None and method == "minmax":
            return found
        if found is not None and len(found[0]) > points:
            times, values = with_ends(reader, snapshot, filter, *found)
            chosen = lttb(times, values, points)
            return times[chosen], values[chosen]
    times, values = reader.read(filter, NUMERIC_KINDS)
    times, values = without_nan(times, values.astype(np.float64) if values.dtype == object else values)
    if len(times) <= points:
        return times, values
    chosen = lttb(times, values, points) if method == "lttb" else minmax(times, values, points)
    return times[chosen], values[chosen]


def without_nan(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if values.dtype.kind == "f" and np.isnan(values).any():
        kept = ~np.isnan(values)
        return times[kept], values[kept]
    return times, values


def with_ends(reader: Reader, snapshot: Snapshot, filter: Filter, times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points of a filter with the first and the last of all before and behind them, unless they are these already."""
    start_us, end_us = reader.bounds(filter)
    ends = []
    for low_us, high_us in ((start_us, int(times[0])), (int(times[-1]), end_us)):
        ((_, scan),) = reader.plan(snapshot, filter, low_us, high_us, WANTS["value"], kinds=NUMERIC_KINDS)
        points = scan.collect()
        ends.append(without_nan(points.times(), points.values()))
    (head_times, head_values), (tail_times, tail_values) = ends
    first = slice(0, int(head_times[0] < times[0]))
    last = slice(len(tail_times) - int(tail_times[-1] > times[-1]), None)
    return (
        np.concatenate([head_times[first], times, tail_times[last]]),
        np.concatenate([head_values[first], values, tail_values[last]]),
    )


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
