"""What a read means, answered from the stores: which series and bounds matter, order, limits, aggregates.

A Reader answers for one device. ColumnarReader takes a snapshot of memtables and segments; RegisterReader asks the register
store, and for arrays and aggregates puts its rows (50,000 at most) into a memtable of its own, so that both kinds of
device share one way from points to arrays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Literal

import msgspec
import numpy as np

from tsengine.core import batch
from tsengine.core.ingest.points import from_points
from tsengine.core.store.aggregate import Buckets
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.page import Page, ends, inserted_end, points_of_rows
from tsengine.core.store.points import PointBuffer
from tsengine.core.store.scan import WANTS, SeriesScan, plan
from tsengine.errors import InputError
from tsengine.query.buckets import Fill, Gaps, check_fill, check_functions, fill_gaps, make_buckets, parse_every, parse_zone
from tsengine.query.conditions import condition_of
from tsengine.query.newest import Entry, Newest, copied
from tsengine.rows import Row
from tsengine.store.columnar import ColumnarStore
from tsengine.store.period import TIME_MAX_US, TIME_MIN_US, kept_from
from tsengine.store.registers import Registers
from tsengine.store.view import Known, Snapshot
from tsengine.types import DeviceInfo, Filter, Order, Point

KIND_NONE, KIND_NUMBER, KIND_INTEGER, KIND_BOOLEAN, KIND_TEXT = range(5)
NUMERIC_KINDS = (KIND_NUMBER, KIND_INTEGER, KIND_BOOLEAN)


class Reader(ABC):
    """Reads of one device; subclasses say where its points are."""

    def __init__(self, info: DeviceInfo) -> None:
        self.info = info

    @abstractmethod
    def variables(self) -> list[str]:
        """Return the names of the device's variables, sorted."""

    @abstractmethod
    def points(self, filter: Filter, order: Order, limit: int | None, skip: int = 0) -> list[Point]:
        """Return points that meet a filter, all variables together, ordered by (time, sequence)."""

    @abstractmethod
    def count(self, filter: Filter) -> int:
        """Return how many points meet a filter; exact."""

    @abstractmethod
    def ends(self, filter: Filter, *, oldest: bool, by: Literal["time", "insert"]) -> list[Point]:
        """Return the newest (or oldest) point of each variable that meets a filter, in the order of its variables."""

    @abstractmethod
    def snapshot(self, filter: Filter) -> Snapshot:
        """Return the points of the device now; those that a filter means are among them."""

    def bounds(self, filter: Filter) -> tuple[int, int]:
        start_us = TIME_MIN_US if filter.start_us is None else filter.start_us
        end_us = TIME_MAX_US if filter.end_us is None else filter.end_us
        return start_us, end_us

    def scans(
        self, filter: Filter, want: int, *, reverse: bool = False, kinds: Iterable[int] = range(5), expanded: bool = True
    ) -> list[tuple[str, SeriesScan]]:
        """Return a scan of every series that may have points of a filter, by (variable, kind); all of one moment."""
        start_us, end_us = self.bounds(filter)
        return self.plan(self.snapshot(filter), filter, start_us, end_us, want, reverse, kinds, expanded)

    def plan(
        self,
        snapshot: Snapshot,
        filter: Filter,
        start_us: int,
        end_us: int,
        want: int,
        reverse: bool = False,
        kinds: Iterable[int] = range(5),
        expanded: bool = True,
    ) -> list[tuple[str, SeriesScan]]:
        """Return the scans of a part of a snapshot."""
        return plan(
            snapshot.sources(start_us, end_us),
            self.info.number,
            snapshot.known.series,
            None if filter.variables is None else frozenset(name.encode() for name in filter.variables),
            kinds,
            start_us,
            end_us,
            want,
            reverse,
            condition_of(filter, self.info.number),
            expanded,
        )

    def read(self, filter: Filter, kinds: Iterable[int] = range(5)) -> tuple[np.ndarray, np.ndarray]:
        """Return (times, values) of one variable, ordered; see Device.read."""
        scans = [scan for _, scan in self.scans(filter, WANTS["value"], kinds=kinds)]
        if len(scans) == 1 and (arrays := scans[0].arrays()) is not None:
            return arrays
        found = [points for scan in scans if len(points := scan.collect())]
        if len(found) == 1:
            return found[0].times(), found[0].values()
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.float64)
        return join(found)

    def aggregate(
        self, filter: Filter, functions: tuple[str, ...], every: str | None, tz: str, fill: Fill, kinds: tuple[int, ...]
    ) -> dict[str, Aggregate]:
        """Return the buckets of each variable that has any, in the order of the filter or by name; see Device.aggregate."""
        check_functions(functions)
        step, zone = None if every is None else parse_every(every), parse_zone(tz)
        check_fill(fill)
        found: dict[str, Aggregate] = {}
        scans = self.scans(filter, WANTS["value"], kinds=kinds, expanded=False)
        for name, parts in groupby(scans, key=itemgetter(0)):
            series = [scan for _, scan in parts]
            bounds = [scan.time_bounds() or (0, 0) for scan in series]
            first_us, last_us = min(low for low, _ in bounds), max(high for _, high in bounds)
            if fill is not None and step is not None:
                first_us = first_us if filter.start_us is None else filter.start_us
                last_us = last_us if filter.end_us is None else filter.end_us
            buckets = make_buckets(functions, step, zone, first_us, last_us, filter.start_us)
            for scan in series:
                if len(series) == 1 or scan.has_points():  # floats none of which counts leave integers what they are
                    buckets.add(scan, len(series) > 1)
            found[name] = results(buckets, functions, fill if step is not None else None)
        found = {name: result for name, result in found.items() if len(result.starts)}
        return found if filter.variables is None else {name: found[name] for name in filter.variables if name in found}


class Aggregate(msgspec.Struct, frozen=True):
    """Starts of buckets, int64 microseconds, and for each function (values, which are null or None)."""

    starts: np.ndarray
    columns: dict[str, tuple[np.ndarray, np.ndarray | None]]


def results(buckets: Buckets, functions: tuple[str, ...], fill: Fill) -> Aggregate:
    """Return what functions make of buckets, gaps filled or left out."""
    filled, starts = buckets.filled(), buckets.starts()
    columns: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    gaps = None if fill is None or filled is None or len(filled) == 0 else Gaps(starts, filled)
    for function in functions:
        values = buckets.values(function) if filled is None else buckets.values(function)[filled]
        is_null: np.ndarray | None = None
        if gaps is not None:
            values, is_null = fill_gaps(values, gaps, function, fill)
        if function == "stddev":  # of one value there is none
            is_null = np.isnan(values) if is_null is None else is_null | np.isnan(values)
        columns[function] = values, is_null
    return Aggregate(starts if filled is None or gaps is not None else starts[filled], columns)


class ColumnarReader(Reader):
    """Reads of an immutable device.

    Args:
        newest: keeps the ends of series between reads.
    """

    def __init__(self, info: DeviceInfo, store: ColumnarStore, newest: Newest, now_us: Callable[[], int]) -> None:
        super().__init__(info)
        self._store = store
        self._newest = newest
        self._now_us = now_us

    def snapshot(self, filter: Filter) -> Snapshot:
        refuse_ids(filter)
        return self._store.snapshot(self.info.number)

    def bounds(self, filter: Filter) -> tuple[int, int]:
        # Retention takes effect at its instant: expired points are there until a merge, but nobody sees them.
        start_us, end_us = super().bounds(filter)
        return max(start_us, kept_from(self.info, self._now_us())), end_us

    def variables(self) -> list[str]:
        return sorted({name for name, scan in self.scans(Filter(), 0) if scan.has_points()})

    def points(self, filter: Filter, order: Order, limit: int | None, skip: int = 0) -> list[Point]:
        reverse = order == "desc"
        start_us, end_us = self.bounds(filter)
        snapshot = self.snapshot(filter)
        if limit is not None:
            before = snapshot.unsealed_count()
            found = self._search(snapshot, filter, reverse, limit, skip)
            if snapshot.unsealed_count() == before:
                return found
        # All of it is wanted, or points came in while one part of it was planned after another: plan it at once.
        page = Page(self.plan(snapshot, filter, start_us, end_us, WANTS["all"], reverse), reverse)
        page.skip(skip)
        return page.points(self.info.number, limit)

    def _search(self, snapshot: Snapshot, filter: Filter, reverse: bool, limit: int, skip: int) -> list[Point]:
        """Return a page, looked for in few blocks first."""
        found: list[Point] = []
        for low_us, high_us in windows(snapshot, *self.bounds(filter), reverse):
            page = Page(self.plan(snapshot, filter, low_us, high_us, WANTS["all"], reverse), reverse)
            skip -= page.skip(skip)
            found += page.points(self.info.number, limit - len(found))
            if len(found) >= limit:
                break
        return found

    def count(self, filter: Filter) -> int:
        return sum(scan.count() for _, scan in self.scans(filter, 0))

    def ends(self, filter: Filter, *, oldest: bool, by: Literal["time", "insert"]) -> list[Point]:
        refuse_ids(filter)
        if by == "insert":
            return self._ends_by_insert(filter, oldest)
        if filter == Filter(variables=filter.variables, having=filter.having):
            known = self._known_ends(filter.variables, oldest)
            if filter.having is None or all(getattr(point, filter.having) is not None for point in known):
                return known
        found = self._find_ends(filter, oldest)
        return [point for name in filter.variables or sorted(found) if (point := found.get(name)) is not None]

    def _known_ends(self, names: tuple[str, ...] | None, oldest: bool) -> list[Point]:
        """Return the ends of variables from memory, or find them and keep them."""
        key = (self.info.number, oldest)
        version = self._store.version(self.info.number)
        kept_from_us = kept_from(self.info, self._now_us())
        entry = self._newest.get(key)
        if entry is not None and not entry.is_good(version, kept_from_us):
            entry = None
        known: dict[str, Point | None] = {} if entry is None else entry.points
        is_complete = entry is not None and entry.is_complete
        if not is_complete and (names is None or any(name not in known for name in names)):
            # All that were asked for, also those that are known: they are to be of one moment.
            found = self._find_ends(Filter(variables=names), oldest)
            asked: dict[str, Point | None] = dict(sorted(found.items())) if names is None else {name: found.get(name) for name in names}
            self._newest.put(key, Entry(version, kept_from_us, asked if names is None else {**known, **asked}, names is None))
        else:
            asked = known
        return [copied(point) for point in (asked.values() if names is None else map(asked.get, names)) if point is not None]

    def _find_ends(self, filter: Filter, oldest: bool) -> dict[str, Point]:
        """Return the end of each variable that has points of a filter."""
        snapshot = self.snapshot(filter)
        bounds = self.bounds(filter)
        before = snapshot.unsealed_count()
        found = self._search_ends(snapshot, filter, oldest, windows(snapshot, *bounds, not oldest))
        if snapshot.unsealed_count() != before:
            found = self._search_ends(snapshot, filter, oldest, [bounds])
        return found

    def _search_ends(self, snapshot: Snapshot, filter: Filter, oldest: bool, parts: Iterable[tuple[int, int]]) -> dict[str, Point]:
        found: dict[str, Point] = {}
        names = {name.decode() for name, _ in snapshot.series()} if filter.variables is None else set(filter.variables)
        for low_us, high_us in parts:
            scans = self.plan(snapshot, filter, low_us, high_us, WANTS["all"], not oldest)
            found |= ends(scans, not oldest, self.info.number)
            if found.keys() >= names:
                break
            filter = msgspec.structs.replace(filter, variables=tuple(names - found.keys()))
        return found

    def _ends_by_insert(self, filter: Filter, oldest: bool) -> list[Point]:
        found = {}
        snapshot = self.snapshot(filter)
        for name, parts in groupby(self.plan(snapshot, filter, *self.bounds(filter), want=0), key=itemgetter(0)):
            place = inserted_end([scan for _, scan in parts], oldest)
            if place is not None:
                sequence, time_us = place
                of_name = msgspec.structs.replace(filter, variables=(name,))
                page = Page(self.plan(snapshot, of_name, time_us, time_us, WANTS["all"]), False)
                page.pass_until(sequence)
                found[name] = page.points(self.info.number, 1)[0]
        return [found[name] for name in filter.variables or found if name in found]


class RegisterReader(Reader):
    """Reads of a mutable device."""

    def __init__(self, info: DeviceInfo, store: Registers) -> None:
        super().__init__(info)
        self._store = store

    def snapshot(self, filter: Filter) -> Snapshot:
        rows = self._store.query(self.info.number, filter, order="asc")
        return Snapshot(self.info.number, Known((), [], frozenset()), [memtable_of(self.info.number, rows)], ())

    def variables(self) -> list[str]:
        return self._store.variables(self.info.number)

    def points(self, filter: Filter, order: Order, limit: int | None, skip: int = 0) -> list[Point]:
        return self._store.points(self.info.number, filter, order=order, limit=limit, skip=skip)

    def count(self, filter: Filter) -> int:
        return self._store.count(self.info.number, filter)

    def ends(self, filter: Filter, *, oldest: bool, by: Literal["time", "insert"]) -> list[Point]:
        names = self.variables() if filter.variables is None else filter.variables
        rows = (self._store.newest(self.info.number, name, filter, oldest=oldest, by=by) for name in names)
        return points_of_rows([row for row in rows if row is not None], self.info.number)


def windows(snapshot: Snapshot, start_us: int, end_us: int, reverse: bool) -> Iterator[tuple[int, int]]:
    """Yield intervals that make up start_us..end_us, newest (or oldest) first: each holds twice as many sources as the one before."""
    cuts = sorted(
        {max(bound, start_us) for bound, _ in snapshot.bounds()} if reverse else {min(bound, end_us) for _, bound in snapshot.bounds()}
    )
    cuts = [cut for cut in cuts if start_us <= cut <= end_us]
    if reverse:
        cuts.reverse()
    step, at = 1, 0
    while at + step < len(cuts) and start_us <= end_us:
        cut = cuts[at + step - 1]
        yield (cut, end_us) if reverse else (start_us, cut)
        if reverse:
            end_us = cut - 1
        else:
            start_us = cut + 1
        at += step
        step *= 2
    if start_us <= end_us:
        yield start_us, end_us


def refuse_ids(filter: Filter) -> None:
    if filter.ids is not None:
        raise InputError("Filter using ID(s) is not supported on Immutable Storage Type")


def memtable_of(device: int, rows: list[Row]) -> Memtable:
    """Return a memtable of register rows with their sequences and groups."""
    memtable = Memtable()
    rows = sorted(rows, key=lambda row: row.sequence)
    for _, run in groupby(enumerate(rows), key=lambda numbered: (numbered[1].sequence - numbered[0], numbered[1].received_us)):
        run_rows = [row for _, row in run]
        record = from_points([stored_point(row) for row in run_rows], run_rows[0].received_us)
        batch.stamp(record, device, run_rows[0].sequence)
        memtable.apply(record, 1)
    return memtable


def stored_point(row: Row) -> Point:
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
    """Join the points of several kinds by (time, sequence): numbers as float64 if that is exact, anything else as objects."""
    times = np.concatenate([points.times() for points in found])
    sequences = np.concatenate([points.sequences() for points in found])
    order = np.lexsort((sequences, times))
    arrays = [points.values() for points in found]
    if all(
        points.kind == KIND_NUMBER or (points.kind == KIND_INTEGER and is_exact(values))
        for points, values in zip(found, arrays, strict=True)
    ):
        joined = np.concatenate([values.astype(np.float64) for values in arrays])
    else:
        joined = np.concatenate([values.astype(object) for values in arrays])
    return times[order], joined[order]


def is_exact(integers: np.ndarray) -> bool:
    """Whether every one of some int64 is a float64."""
    numbers = integers.astype(np.float64)
    return bool((numbers < 2.0**63).all() and (numbers.astype(np.int64) == integers).all())
