"""The answers to queries on data, computed from a device's reads. These block; they run through the awaitable device."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from tsengine.device import Device
from tsengine.limits import QUERY_ROWS_DEFAULT, QUERY_ROWS_MAX
from tsengine.server.dates import iso_ms, to_us
from tsengine.server.queries import END_QUERIES, DataQuery
from tsengine.server.wire import BucketRow, js_number
from tsengine.types import Point

CONDITIONS: dict[str, Callable[[Any, float], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
    "ne": operator.ne,
}


def read_rows(device: Device, query: DataQuery) -> list[Point]:
    """Return the points that a query which gives rows selects, in the order of the answer.

    Cost: conditional, and min and max with conditions on groups, values or ids, look at every point of the range.
    """
    if query.query in END_QUERIES:
        return _read_ends(device, query)
    if query.query in ("min", "max"):
        found = (_read_extreme(device, query, name) for name in query.variables or _variables(device, query))
        return [point for point in found if point is not None]
    sources: list[list[str] | None] = [None] if query.variables is None else [[name] for name in query.variables]
    qty = QUERY_ROWS_DEFAULT if query.qty is None else query.qty
    if len(sources) * qty > QUERY_ROWS_MAX:
        qty = math.floor(QUERY_ROWS_MAX / len(sources) + 0.5)
    rows: list[Point] = []
    for variables in sources if qty else ():
        if query.query == "conditional":
            rows.extend(islice(_meeting(device, query, variables), query.skip, query.skip + qty))
        else:
            rows.extend(device.points(variables, limit=qty, skip=query.skip, order=query.order, **query.filters()))
    return rows


def read_scalar(device: Device, query: DataQuery) -> float | int:
    """Return the number that count, avg or sum asks for; 0 when nothing matches."""
    if query.query == "count":
        return device.count(query.variables, **query.filters())
    sums: list[float] = []
    count = 0
    for name in query.variables or _variables(device, query):
        if query.has_conditions:
            numbers = [point.value for point in _numeric(device, query, name)]
            sums.append(math.fsum(numbers))
            count += len(numbers)
        else:
            for row in _aggregate(device, query, name, ["sum", "count"], None):
                sums.append(row["sum"])
                count += row["count"]
    total = math.fsum(sums)
    if query.query == "sum":
        return js_number(total) or 0
    return (js_number(total / count) or 0) if count else 0


def read_buckets(device: Device, query: DataQuery) -> list[BucketRow]:
    """Return one row for each calendar bucket and variable that holds numbers, by time."""
    rows: list[tuple[datetime, BucketRow]] = []
    for name in query.variables or _variables(device, query):
        for time, value in _buckets(device, query, name):
            number = js_number(value)
            if number is not None:
                rows.append((time, BucketRow(iso_ms(time), number, name)))
    rows.sort(key=lambda row: row[0], reverse=query.order == "desc")
    end = QUERY_ROWS_MAX if query.qty is None else query.qty
    return [row for _, row in rows[query.skip : query.skip + end]]


def is_number(value: object) -> bool:
    """Whether a point's value takes part in arithmetic; text that looks like a number does not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _read_ends(device: Device, query: DataQuery) -> list[Point]:
    end, having, by = END_QUERIES[query.query]
    read = device.last if end == "last" else device.first
    points = read(query.variables, having=having, by=by, **query.filters())
    if query.variables is not None:
        places = {name: place for place, name in enumerate(query.variables)}
        points.sort(key=lambda point: places[point.variable])
    return points


def _variables(device: Device, query: DataQuery) -> list[str]:
    """Return the variables that have points in the query's range, as the device orders them."""
    return [point.variable for point in device.last(start=query.start_us, end=query.end_us)]


def _matching(device: Device, query: DataQuery, variables: list[str] | None, order: str) -> Iterator[Point]:
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


def _meeting(device: Device, query: DataQuery, variables: list[str] | None) -> Iterator[Point]:
    meets = CONDITIONS[query.function]
    for point in _matching(device, query, variables, query.order):
        if is_number(point.value) and meets(point.value, query.operand):
            yield point


def _numeric(device: Device, query: DataQuery, name: str) -> Iterator[Point]:
    return (point for point in _matching(device, query, [name], "asc") if is_number(point.value))


def _read_extreme(device: Device, query: DataQuery, name: str) -> Point | None:
    """Return the point with the smallest or largest number, the earliest of equals."""
    better = operator.lt if query.query == "min" else operator.gt
    best: Point | None = None
    for point in _numeric(device, query, name):
        if best is None or better(point.value, best.value):
            best = point
    return best


def _aggregate(device: Device, query: DataQuery, name: str, functions: list[str], every: str | None) -> list[dict[str, Any]]:
    return device.aggregate(name, functions, every=every, start=query.start_us, end=query.end_us).to_pylist()


def _buckets(device: Device, query: DataQuery, name: str) -> Iterator[tuple[datetime, float]]:
    if not query.has_conditions:
        for row in _aggregate(device, query, name, [query.function], query.interval):
            if row[query.function] is not None:
                yield row["time"], row[query.function]
        return
    buckets: dict[datetime, list[float]] = {}
    for point in _numeric(device, query, name):
        buckets.setdefault(bucket_start(point.time, query.interval), []).append(point.value)
    reduce: dict[str, Callable[[list[float]], float]] = {
        "sum": math.fsum,
        "avg": lambda numbers: math.fsum(numbers) / len(numbers),
        "min": min,
        "max": max,
    }
    for time, numbers in buckets.items():
        yield time, reduce[query.function](numbers)


def bucket_start(time: datetime, interval: str) -> datetime:
    """Return the start of the UTC calendar bucket that holds a time."""
    time = time.replace(second=0, microsecond=0)
    if interval == "minute":
        return time
    time = time.replace(minute=0)
    if interval == "hour":
        return time
    time = time.replace(hour=0)
    if interval == "day":
        return time
    month = {"month": time.month, "quarter": time.month - (time.month - 1) % 3, "year": 1}[interval]
    return time.replace(day=1, month=month)
