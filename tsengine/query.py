"""What a read means, answered from the stores: which series and bounds matter, order, limits, aggregates.

A Reader answers for one device. ColumnarReader takes a snapshot of memtables and segments; RegisterReader asks the register
store, and for arrays and aggregates puts its rows (50,000 at most) into a memtable of its own, so that both kinds of
device share one way from points to arrays.
"""

from __future__ import annotations

import heapq
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from typing import Literal

import msgspec
import numpy as np

from tsengine.core import batch
from tsengine.core.calendar import period_of, start_of
from tsengine.core.ingest.points import from_points
from tsengine.core.store.aggregate import Buckets
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.points import PointBuffer
from tsengine.core.store.scan import WANTS, SeriesScan
from tsengine.errors import InputError
from tsengine.rows import Row, matcher
from tsengine.store.columnar import ColumnarStore, Source
from tsengine.store.period import TIME_MAX_US, TIME_MIN_US, kept_from
from tsengine.store.registers import Registers
from tsengine.types import DeviceInfo, Filter, Order, Point

KIND_NONE, KIND_NUMBER, KIND_INTEGER, KIND_BOOLEAN, KIND_TEXT = range(5)
NUMERIC_KINDS = (KIND_NUMBER, KIND_INTEGER, KIND_BOOLEAN)

FUNCTIONS = ("avg", "sum", "min", "max", "count", "first", "last")

ROWS_AT_ONCE = 64
"""Rows that are made at a time: a page needs few, and points that nobody asks for should not become objects."""

_EVERY = re.compile(r"(\d+)(us|ms|s|m|h|d|w|mo|q|y)")
_WIDTHS_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 7 * 86_400_000_000,
}
_MONTHS = {"mo": 1, "q": 3, "y": 12}
_MONDAY_US = 4 * 86_400_000_000  # 1970-01-05: weeks start on Monday


class Reader(ABC):
    """Reads of one device; subclasses say where its points are."""

    def __init__(self, info: DeviceInfo) -> None:
        self.info = info

    @abstractmethod
    def variables(self) -> list[str]:
        """Return the names of the device's variables, sorted."""

    @abstractmethod
    def rows(self, filter: Filter, order: Order, limit: int | None, skip: int = 0) -> list[Row]:
        """Return points that meet a filter, all variables together, ordered by (time, sequence)."""

    @abstractmethod
    def count(self, filter: Filter) -> int:
        """Return how many points meet a filter; exact."""

    @abstractmethod
    def end(self, variable: str, filter: Filter, *, oldest: bool, by: Literal["time", "insert"]) -> Row | None:
        """Return the newest (or oldest) point of a variable that meets a filter."""

    @abstractmethod
    def sources(self, start_us: int, end_us: int) -> list[Source]:
        """Return what holds the device's points within the bounds."""

    def bounds(self, filter: Filter) -> tuple[int, int]:
        start_us = TIME_MIN_US if filter.start_us is None else filter.start_us
        end_us = TIME_MAX_US if filter.end_us is None else filter.end_us
        return start_us, end_us

    def scans(self, filter: Filter, want: int, *, reverse: bool = False, kinds: Iterable[int] = range(5)) -> list[tuple[str, SeriesScan]]:
        """Return a scan of every series that may matter, by (variable, kind); all of one snapshot."""
        start_us, end_us = self.bounds(filter)
        if start_us > end_us:
            return []
        sources = self.sources(start_us, end_us)
        series = {key for source, _ in sources for key in source.device_series(self.info.number)}
        if filter.variables is not None:
            wanted = {name.encode() for name in filter.variables}
            series = {key for key in series if key[0] in wanted}
        return [
            (name.decode(), SeriesScan(sources, self.info.number, name, kind, start_us, end_us, want, reverse))
            for name, kind in sorted(series)
            if kind in kinds and not (kind == KIND_NONE and filter.having == "value")
        ]

    def read(self, variable: str, start_us: int | None, end_us: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return (times, values) of a variable, ordered; see Device.read."""
        found = [scan.collect() for _, scan in self.scans(Filter(variables=(variable,), start_us=start_us, end_us=end_us), WANTS["value"])]
        found = [points for points in found if len(points)]
        if len(found) == 1:
            return found[0].times(), found[0].values()
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.float64)
        return join(found)

    def aggregate(
        self,
        variable: str,
        functions: tuple[str, ...],
        every: str | None,
        start_us: int | None,
        end_us: int | None,
        kinds: tuple[int, ...] = NUMERIC_KINDS,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the starts of the buckets that hold a value, and one array a function; see Device.aggregate."""
        for function in functions:
            if function not in FUNCTIONS:
                raise InputError(f"unknown function {function!r}; these are known: {', '.join(FUNCTIONS)}")
        step = None if every is None else parse_every(every)
        filter = Filter(variables=(variable,), start_us=start_us, end_us=end_us)
        scans = [scan for _, scan in self.scans(filter, WANTS["value"], kinds=kinds)]
        bounds = [found for scan in scans if (found := scan.time_bounds()) is not None]
        if not bounds:
            return np.empty(0, np.int64), {function: np.empty(0, np.float64) for function in functions}
        first_us, last_us = min(low for low, _ in bounds), max(high for _, high in bounds)
        buckets = make_buckets(step, first_us, last_us, start_us)
        in_order = "first" in functions or "last" in functions
        for scan in scans:
            buckets.add(scan, in_order)
        times = buckets.result("count")[0]
        return times, {function: buckets.result(function)[1] for function in functions}


class ColumnarReader(Reader):
    """Reads of an immutable device."""

    def __init__(self, info: DeviceInfo, store: ColumnarStore, now_us: Callable[[], int]) -> None:
        super().__init__(info)
        self._store = store
        self._now_us = now_us

    def sources(self, start_us: int, end_us: int) -> list[Source]:
        return self._store.sources(self.info.number, start_us, end_us)

    def bounds(self, filter: Filter) -> tuple[int, int]:
        # Retention takes effect at its instant: expired points are there until a merge, but nobody sees them.
        start_us, end_us = super().bounds(filter)
        return max(start_us, kept_from(self.info, self._now_us())), end_us

    def variables(self) -> list[str]:
        return sorted({name for name, scan in self.scans(Filter(), 0) if scan.count()})

    def rows(self, filter: Filter, order: Order, limit: int | None, skip: int = 0) -> list[Row]:
        if filter.ids is not None:
            raise InputError("Filter using ID(s) is not supported on Immutable Storage Type")
        reverse = order == "desc"
        scans = self.scans(filter, WANTS["all"], reverse=reverse)
        series = [series_rows(scan, self.info.number, name) for name, scan in scans]
        rows: Iterable[Row] = heapq.merge(*series, key=lambda row: (row.time_us, row.sequence), reverse=reverse)
        if filter.groups is not None or filter.values is not None or filter.having is not None:
            matches = matcher(filter)
            rows = (row for row in rows if matches(row))
        return list(islice(rows, skip, None if limit is None else skip + limit))

    def count(self, filter: Filter) -> int:
        if filter.groups is not None or filter.values is not None or filter.having is not None or filter.ids is not None:
            return len(self.rows(filter, "asc", None))
        return sum(scan.count() for _, scan in self.scans(filter, 0))

    def end(self, variable: str, filter: Filter, *, oldest: bool, by: Literal["time", "insert"]) -> Row | None:
        filter = msgspec.structs.replace(filter, variables=(variable,))
        if by == "time":
            found = self.rows(filter, "asc" if oldest else "desc", 1)
            return found[0] if found else None
        rows = self.rows(filter, "asc", None)
        return (min if oldest else max)(rows, key=lambda row: row.sequence, default=None)


class RegisterReader(Reader):
    """Reads of a mutable device."""

    def __init__(self, info: DeviceInfo, store: Registers) -> None:
        super().__init__(info)
        self._store = store

    def sources(self, start_us: int, end_us: int) -> list[Source]:
        rows = self._store.query(self.info.number, Filter(start_us=start_us, end_us=end_us), order="asc")
        return [(memtable_of(self.info.number, rows), [])]

    def variables(self) -> list[str]:
        return self._store.variables(self.info.number)

    def rows(self, filter: Filter, order: Order, limit: int | None, skip: int = 0) -> list[Row]:
        return self._store.query(self.info.number, filter, order=order, limit=limit, skip=skip)

    def count(self, filter: Filter) -> int:
        return self._store.count(self.info.number, filter)

    def end(self, variable: str, filter: Filter, *, oldest: bool, by: Literal["time", "insert"]) -> Row | None:
        return self._store.newest(self.info.number, variable, filter, oldest=oldest, by=by)


def series_rows(scan: SeriesScan, device: int, variable: str) -> Iterator[Row]:
    """Yield the points of a scan as Rows, in its order."""
    while (run := scan.next_run()) is not None:
        for first in range(0, len(run), ROWS_AT_ONCE):
            yield from run.rows(device, variable, scan.reverse, first, ROWS_AT_ONCE)


def memtable_of(device: int, rows: list[Row]) -> Memtable:
    """Return a memtable of register rows with their sequences and groups."""
    memtable = Memtable()
    rows = sorted(rows, key=lambda row: row.sequence)
    for _, run in groupby(enumerate(rows), key=lambda numbered: (numbered[1].sequence - numbered[0], numbered[1].received_us)):
        run_rows = [row for _, row in run]
        record = from_points([point_of_row(row) for row in run_rows], run_rows[0].received_us)
        batch.stamp(record, device, run_rows[0].sequence)
        memtable.apply(record, 1)
    return memtable


def point_of_row(row: Row) -> Point:
    """Return a row in the form in which a batch takes it."""
    return Point(
        row.variable,
        row.value,
        row.time_us,
        row.unit,
        row.group,
        None if row.lat is None else (row.lat, row.lng),
        None if row.metadata is None else msgspec.Raw(row.metadata),  # type: ignore[arg-type]
    )


def join(found: list[PointBuffer]) -> tuple[np.ndarray, np.ndarray]:
    """Join the points of several kinds by (time, sequence): numbers as float64, anything else as objects."""
    times = np.concatenate([points.times() for points in found])
    sequences = np.concatenate([points.sequences() for points in found])
    order = np.lexsort((sequences, times))
    if all(points.kind in (KIND_NUMBER, KIND_INTEGER) for points in found):
        values = np.concatenate([points.values().astype(np.float64) for points in found])
    else:
        values = np.concatenate([points.values().astype(object) for points in found])
    return times[order], values[order]


def parse_every(every: str) -> tuple[int, str]:
    """Return (count, unit) of the width of a bucket, like (5, "m") of "5m".

    Raises:
        InputError: it is not like "5m", "1h", "1d", "1mo", "1q" or "1y", or longer than all of time.
    """
    match = _EVERY.fullmatch(every) if isinstance(every, str) else None
    if match is None or int(match[1]) == 0:
        raise InputError(f"every must be a number and one of us ms s m h d w mo q y, like '5m' or '1mo', not {every!r}")
    count, unit = int(match[1]), match[2]
    width_us = count * (_WIDTHS_US[unit] if unit in _WIDTHS_US else _MONTHS[unit] * _WIDTHS_US["d"] * 31)
    if width_us > TIME_MAX_US - TIME_MIN_US:
        raise InputError(f"every is longer than all of time: {every!r}")
    return count, unit


def make_buckets(step: tuple[int, str] | None, first_us: int, last_us: int, start_us: int | None) -> Buckets:
    """Return buckets that hold the times first_us..last_us, aligned to UTC; without a step one bucket from the start.

    Raises:
        LimitError: too many buckets.
    """
    if step is None:
        origin = first_us if start_us is None else start_us
        return Buckets(origin, last_us - origin + 1, 1)
    count, unit = step
    if unit in _MONTHS:
        months = count * _MONTHS[unit]
        low = period_of(first_us, "month") // months * months
        high = period_of(last_us, "month") // months * months + months
        edges = [max(start_of(month, "month"), TIME_MIN_US) for month in range(low, high + 1, months)]
        return Buckets(edges=np.array(edges, dtype=np.int64))
    width = count * _WIDTHS_US[unit]
    align = _MONDAY_US if unit == "w" else 0
    origin = (first_us - align) // width * width + align
    return Buckets(origin, width, (last_us - origin) // width + 1)
