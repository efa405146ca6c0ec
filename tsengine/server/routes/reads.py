"""The answers to queries on data, computed from a device's reads. These block; they run through the awaitable device."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator

import numpy as np

from tsengine.device import Device
from tsengine.errors import LimitError
from tsengine.limits import QUERY_ROWS_DEFAULT, QUERY_ROWS_MAX
from tsengine.query.reader import Aggregate
from tsengine.server.dates import DAY_US, iso_ms, to_us
from tsengine.server.routes.queries import END_QUERIES, DataQuery
from tsengine.server.wire import BucketRow, js_number
from tsengine.types import Order, Point, to_datetime

REDUCTIONS: dict[str, Callable[[np.ndarray], float]] = {
    "sum": math.fsum,
    "avg": lambda numbers: math.fsum(numbers) / len(numbers),
    "min": np.min,
    "max": np.max,
}
FINITE = {"gte": -sys.float_info.max, "lte": sys.float_info.max}
"""What makes a value a number here: booleans, text, NaN and infinities are none."""

WIDTHS = {"minute": "1m", "hour": "1h", "day": "1d", "month": "1mo", "quarter": "1q", "year": "1y"}
WIDTHS_US = {"minute": 60_000_000, "hour": 3_600_000_000, "day": DAY_US}
MONTHS = {"month": 1, "quarter": 3, "year": 12}


def read_rows(device: Device, query: DataQuery) -> list[Point]:
    """Return the points that a query which gives rows selects, in the order of the answer.

    Cost: as the reads of a device; with values or ids as conditions, min, max, avg, sum and aggregate look at every point of the range.
    """
    if query.query in END_QUERIES:
        return _read_ends(device, query)
    if query.query in ("min", "max"):
        found = (_read_extreme(device, query, name) for name in query.variables or device.variables())
        return [point for point in found if point is not None]
    sources: list[list[str] | None] = [None] if query.variables is None else [[name] for name in query.variables]
    qty = QUERY_ROWS_DEFAULT if query.qty is None else query.qty
    if len(sources) * qty > QUERY_ROWS_MAX:
        qty = math.floor(QUERY_ROWS_MAX / len(sources) + 0.5)
    rows: list[Point] = []
    where = {**FINITE, query.function: query.operand} if query.query == "conditional" else None
    for variables in sources if qty else ():
        rows.extend(device.points(variables, limit=qty, skip=query.skip, order=query.order, where=where, **query.filters()))
    return rows


def read_scalar(device: Device, query: DataQuery) -> float | int:
    """Return the number that count, avg or sum asks for; 0 when nothing matches."""
    if query.query == "count":
        return device.count(query.variables, **query.filters())
    if query.is_indexed:
        parts = _aggregates(device, query, query.variables, ["sum", "count"]).values()
        sums = [float(part.columns["sum"][0][0]) for part in parts]
        count = sum(int(part.columns["count"][0][0]) for part in parts)
    else:
        found = [_numbers(device, query, name)[1] for name in query.variables or device.variables()]
        sums, count = list(map(math.fsum, found)), sum(map(len, found))
    total = math.fsum(sums)
    if query.query == "avg":
        total = total / count if count else 0.0
    return js_number(total) or 0


def read_buckets(device: Device, query: DataQuery) -> list[BucketRow]:
    """Return one row for each calendar bucket and variable that holds numbers, by time."""
    found: list[tuple[int, float, str]] = []
    for name in query.variables or device.variables():
        found.extend((start_us, value, name) for start_us, value in _buckets(device, query, name))
    found.sort(key=lambda row: row[0], reverse=query.order == "desc")
    end = QUERY_ROWS_MAX if query.qty is None else query.qty
    page = found[query.skip : query.skip + end]
    return [BucketRow(iso_ms(to_datetime(start_us)), js_number(float(value)) or 0, name) for start_us, value, name in page]


def _buckets(device: Device, query: DataQuery, name: str) -> list[tuple[int, float]]:
    """Return (start, result) of each bucket of a variable."""
    if query.is_indexed:
        try:
            part = _aggregates(device, query, [name], [query.function], WIDTHS[query.interval]).get(name)
        except LimitError:  # too many buckets to lay them out, but most of them may be empty
            pass
        else:
            return [] if part is None else list(zip(part.starts.tolist(), part.columns[query.function][0].tolist(), strict=True))
    reduce = REDUCTIONS[query.function]
    times, values = _numbers(device, query, name)
    starts, first = np.unique(bucket_starts(times, query.interval), return_index=True)
    return [(start_us, float(reduce(part))) for start_us, part in zip(starts.tolist(), np.split(values, first[1:]), strict=False)]


def _aggregates(
    device: Device, query: DataQuery, names: list[str] | None, functions: list[str], every: str | None = None
) -> dict[str, Aggregate]:
    """Return aggregates of the numbers of an indexed query."""
    return device.aggregate_arrays(names, functions, every, query.start_us, query.end_us, where=FINITE, groups=query.groups, booleans=False)


def is_number(value: object) -> bool:
    """Whether a point's value takes part in arithmetic; text that looks like a number does not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def bucket_starts(times: np.ndarray, interval: str) -> np.ndarray:
    """Return the start of the UTC calendar bucket of each time, int64 microseconds."""
    if interval in WIDTHS_US:
        return times // WIDTHS_US[interval] * WIDTHS_US[interval]
    months = times.view("datetime64[us]").astype("datetime64[M]").view(np.int64)
    return (months // MONTHS[interval] * MONTHS[interval]).view("datetime64[M]").astype("datetime64[us]").view(np.int64)


def _read_ends(device: Device, query: DataQuery) -> list[Point]:
    end, having, by = END_QUERIES[query.query]
    read = device.last if end == "last" else device.first
    return read(query.variables, having=having, by=by, **query.filters())


def _read_extreme(device: Device, query: DataQuery, name: str) -> Point | None:
    """Return the point with the smallest or largest number, the earliest of equals."""
    if query.is_indexed:
        part = _aggregates(device, query, [name], [query.query]).get(name)
        if part is None:
            return None
        where = {"eq": part.columns[query.query][0][0].item()}
        if points := device.points([name], limit=1, order="asc", where=where, **query.filters()):
            return points[0]
        # An integer beyond 2^53 among floats, which no float equals.
    times, values = _numbers(device, query, name)
    if not len(times):
        return None
    place = values.argmin() if query.query == "min" else values.argmax()
    filters = {**query.filters(), "start": int(times[place]), "end": int(times[place])}
    candidates = device.points([name], limit=None, order="asc", **filters)
    return next((point for point in candidates if is_number(point.value) and point.value == values[place]), None)


def _numbers(device: Device, query: DataQuery, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (times, values) of a variable's finite numbers that match a query, ascending, int64 microseconds and float64.

    Booleans and text are no numbers here.
    """
    if query.has_conditions:
        points = [point for point in _matching(device, query, [name], "asc") if is_number(point.value)]
        return np.array([to_us(point.time) for point in points], np.int64), np.array([point.value for point in points], np.float64)
    times, values = device.read(name, query.start_us, query.end_us)
    if values.dtype.kind == "b":
        return times[:0], np.empty(0, np.float64)
    if values.dtype.kind == "O":
        keep = np.fromiter(map(is_number, values), bool, len(values))
    else:
        keep = np.isfinite(values)
    return times[keep], values[keep].astype(np.float64)


def _matching(device: Device, query: DataQuery, variables: list[str] | None, order: Order) -> Iterator[Point]:
    """Yield every point of a query, page by page: a page's first points are those that share the last page's last time."""
    filters = query.filters()
    skip = 0
    while True:
        page = device.points(variables, limit=QUERY_ROWS_MAX, skip=skip, order=order, **filters)
        yield from page
        if len(page) < QUERY_ROWS_MAX:
            return
        last_us = to_us(page[-1].time)
        edge = "start" if order == "asc" else "end"
        if filters[edge] == last_us:
            skip += len(page)
        else:
            filters[edge] = last_us
            skip = sum(1 for point in page if point.time == page[-1].time)
