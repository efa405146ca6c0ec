"""The reads of the embedding API: every method of a Device that answers a question."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np

from tsengine import ids
from tsengine.arguments import to_count, to_texts
from tsengine.core.ingest.fields import to_time_us
from tsengine.errors import InputError
from tsengine.query.reader import KIND_INTEGER, KIND_NUMBER, NUMERIC_KINDS, Aggregate, Reader
from tsengine.types import Filter, Order, Point, check_text
from tsengine.where import parse_where

if TYPE_CHECKING:
    import pyarrow as pa

Time = datetime | int | str | np.datetime64 | None
"""A bound of a read: datetime (without a zone it is UTC), int microseconds, numpy.datetime64 or ISO text; None = open."""

Names = str | Iterable[str] | None


class Conditions(TypedDict, total=False):
    """What a read may ask of the points themselves; all of it has to hold.

    groups, units: any of these.
    where: comparisons with the value, like {"gt": 20, "lte": 30}: gt, gte, lt, lte (numbers), eq, ne (a number, a boolean or
        text), in (a list of them). Exact also between integers and floats; True is no number. No point without a value meets it.
    values: any of these, compared as text: "2" matches 2 and "2", "true" matches True.
    having: "value" or "location": only points that have one.
    ids: any of these (mutable devices only).
    """

    groups: Names
    units: Names
    where: Mapping[str, Any] | None
    values: Names
    having: Literal["value", "location"] | None
    ids: Names


class DeviceReads(ABC):
    """Reads see one moment of the device, whatever is written meanwhile, and never keep a writer waiting."""

    _reader: Reader

    @property
    @abstractmethod
    def number(self) -> int:
        """The store's own number of the device."""

    @abstractmethod
    def _settle(self) -> None:
        """Return when earlier writes of the device are readable."""

    def read(self, variable: str, start: Time = None, end: Time = None, **conditions: Unpack[Conditions]) -> tuple[np.ndarray, np.ndarray]:
        """Return the times and values of a variable, ascending, as new arrays of shape (n,).

        Times are int64 microseconds. Values are float64, int64, bool, or objects for text. A variable that holds numbers and
        integers comes as float64 if that is exact for every integer; any other mixture as objects. Equal times keep the order of
        insertion.

        Args:
            start, end: inclusive bounds.
            conditions: see Conditions.
        Cost: decodes the blocks that overlap the bounds.
        """
        check_text(variable, "variable")
        return self._reader.read(self._filter(variable, start, end, **conditions))

    def points(
        self,
        variables: Names = None,
        start: Time = None,
        end: Time = None,
        limit: int | None = 100,
        skip: int = 0,
        order: Order = "desc",
        **conditions: Unpack[Conditions],
    ) -> list[Point]:
        """Return points of all or some variables in one list, ordered by time; of equal times the latest inserted counts as newest.

        Args:
            variables: any of these.
            start, end: inclusive bounds.
            limit, skip: at most so many (None = all), after leaving out so many.
            order: "desc" = newest first, or "asc".
            conditions: see Conditions.

        Raises:
            InputError: an argument is not acceptable.
        Cost: decodes the newest (or oldest) blocks until the page is full.
        """
        if order not in ("asc", "desc"):
            raise InputError(f"order must be 'asc' or 'desc', not {order!r}")
        limit = None if limit is None else to_count(limit, "limit")
        filter = self._filter(variables, start, end, **conditions)
        return self._reader.points(filter, order, limit, to_count(skip, "skip"))

    def count(self, variables: Names = None, start: Time = None, end: Time = None, **conditions: Unpack[Conditions]) -> int:
        """Return how many points `points` would find without a limit. Exact; from statistics where it can be."""
        return self._reader.count(self._filter(variables, start, end, **conditions))

    def last(
        self,
        variables: Names = None,
        start: Time = None,
        end: Time = None,
        *,
        by: Literal["time", "insert"] = "time",
        **conditions: Unpack[Conditions],
    ) -> list[Point]:
        """Return the newest point of each variable (all that exist, or those named, in that order).

        Args:
            by: "insert" takes the latest inserted instead of the newest by time.
            start, end, conditions: as for `points`.
        Cost: kept in memory until the device changes, when nothing but variables is asked for.
        """
        return self._ends(variables, start, end, oldest=False, by=by, **conditions)

    def first(
        self,
        variables: Names = None,
        start: Time = None,
        end: Time = None,
        *,
        by: Literal["time", "insert"] = "time",
        **conditions: Unpack[Conditions],
    ) -> list[Point]:
        """Return the oldest point of each variable; arguments as for `last`."""
        return self._ends(variables, start, end, oldest=True, by=by, **conditions)

    def variables(self) -> list[str]:
        """Return the names of the device's variables, sorted."""
        self._settle()
        return self._reader.variables()

    def aggregate(
        self,
        variable: Names,
        functions: str | Sequence[str],
        every: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        tz: str = "UTC",
        fill: float | Literal["null", "previous", "linear"] | None = None,
        where: Mapping[str, Any] | None = None,
        groups: Names = None,
        units: Names = None,
        booleans: bool = True,
    ) -> pa.Table:
        """Return aggregates of a variable's numbers as a pyarrow.Table: `time` (start of the bucket) and a column a function.

        Args:
            variable: a name; or several, or None for all: the table then begins with a column `variable`, and has the buckets
                of one after those of another.
            functions: of "avg", "sum", "min", "max", "count", "first", "last", "stddev" (of a sample; null for one value).
            every: width of a bucket: a number and us, ms, s, m, h, d, w, mo, q or y, like "5m" or "1mo". None = one bucket over
                everything, which begins at `start` or else with the first point.
            start, end: inclusive bounds.
            tz: time zone of days, weeks (from Monday), months, quarters and years, and of the column `time`.
            fill: None leaves out buckets without a number. "null" gives them null, "previous" the result before them, "linear" one
                on the line between their neighbours, a number that number; from `start` to `end`, or else from the first to the
                last bucket with a number. Their count is 0.
            where, groups, units: only such points; see Conditions.
            booleans: whether they count, as 0 and 1.

        NaN, text and points without a value do not count. Sums are those of the stored values, kept in twice the precision and
        rounded once; sums of integers are exact, and int64 if they fit. The same on every CPU, and before and after compaction.

        Raises:
            InputError: an unknown function, `every`, `tz`, `fill` or comparison. LimitError: more than four million buckets.
        Cost: statistics of the blocks inside one bucket, decoding of times and values of those at the edges; stddev decodes all.
        """
        from tsengine.arrow_out import aggregate_table

        functions = to_texts(functions, "functions")
        found = self.aggregate_arrays(
            variable, functions, every, start, end, tz=tz, fill=fill, where=where, groups=groups, units=units, booleans=booleans
        )
        return aggregate_table(found, functions, tz, with_variable=not isinstance(variable, str))

    def aggregate_arrays(
        self,
        variable: Names,
        functions: str | Sequence[str],
        every: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        tz: str = "UTC",
        fill: float | Literal["null", "previous", "linear"] | None = None,
        where: Mapping[str, Any] | None = None,
        groups: Names = None,
        units: Names = None,
        booleans: bool = True,
    ) -> dict[str, Aggregate]:
        """Return what `aggregate` does, as numpy arrays: an Aggregate for each variable that has a bucket. Does not import pyarrow."""
        functions = to_texts(functions, "functions")
        filter = self._filter(variable, start, end, where=where, groups=groups, units=units)
        kinds = NUMERIC_KINDS if booleans else (KIND_NUMBER, KIND_INTEGER)
        return self._reader.aggregate(filter, functions, every, tz, fill, kinds)

    def downsample(
        self,
        variable: str,
        start: Time = None,
        end: Time = None,
        points: int = 1_000,
        method: Literal["lttb", "minmax"] = "lttb",
        **conditions: Unpack[Conditions],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return about as many points of a variable as a chart can show, as arrays like those of `read`; all of them are stored ones.

        Args:
            points: at most so many, at least 2.
            start, end, conditions: as for `read`.
            method: "lttb" keeps the look of the line (largest triangles); of more than 32 times as many points it looks at the smallest
                and the largest of each of 2 * points equal parts of the time alone (known as MinMaxLTTB). "minmax" keeps the smallest and
                largest of each of points / 2 equal parts, so no peak is lost.

        Numbers, integers and booleans count; NaN does not. A variable with fewer points comes whole.

        Raises:
            InputError: unknown method, or fewer than 2 points.
        Cost: decodes the times and values of the blocks that overlap the bounds; smallest and largest ones of parts, without
        conditions, only of those in which statistics place an extreme, at most four a part.
        """
        from tsengine.query.downsample import check_method, downsampled  # charts alone need it

        check_method(method, points)
        return downsampled(self._reader, self._filter(variable, start, end, **conditions), points, method)

    def scan(
        self,
        variables: Names = None,
        start: Time = None,
        end: Time = None,
        columns: Sequence[str] | None = None,
        **conditions: Unpack[Conditions],
    ) -> pa.RecordBatchReader:
        """Return the points as a stream of Arrow record batches: variable by variable, ascending in time.

        Args:
            columns: names of the schema of `append_arrow` or `id`; None = all of them.
            conditions: see Conditions.

        Where numbers and integers meet, `value` has all of them as float64, and `value_int` the integers as they are.

        Cost: holds one record batch at a time; the snapshot is taken now.

        Raises:
            InputError: unknown column.
        """
        from tsengine.arrow_out import scan_reader

        return scan_reader(self._reader, self._filter(variables, start, end, **conditions), columns)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Stream every point to whatever speaks Arrow: `polars.DataFrame(dev)`, `pyarrow.table(dev)`, `duckdb.from_arrow(dev)`."""
        return self.scan().__arrow_c_stream__(requested_schema)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _ends(
        self, variables: Names, start: Time, end: Time, *, oldest: bool, by: Literal["time", "insert"], **conditions: Unpack[Conditions]
    ) -> list[Point]:
        if by not in ("time", "insert"):
            raise InputError(f"by must be 'time' or 'insert', not {by!r}")
        return self._reader.ends(self._filter(variables, start, end, **conditions), oldest=oldest, by=by)

    def _filter(
        self,
        variables: Names,
        start: Time,
        end: Time,
        groups: Names = None,
        units: Names = None,
        where: Mapping[str, Any] | None = None,
        values: Names = None,
        having: Literal["value", "location"] | None = None,
        ids: Names = None,
    ) -> Filter:
        """Return the Filter of a read's arguments; earlier writes of the device are readable afterwards."""
        if having not in (None, "value", "location"):
            raise InputError(f"having must be 'value', 'location' or None, not {having!r}")
        filter = Filter(
            variables=None if variables is None else tuple(dict.fromkeys(name.lower() for name in to_texts(variables, "variables"))),
            groups=None if groups is None else to_texts(groups, "groups"),
            values=None if values is None else to_texts(values, "values"),
            ids=None if ids is None else self._sequences_of(to_texts(ids, "ids")),
            start_us=None if start is None else to_time_us(start),
            end_us=None if end is None else to_time_us(end),
            having=having,
            units=None if units is None else to_texts(units, "units"),
            where=None if where is None else parse_where(where),
        )
        self._settle()
        return filter

    def _sequences_of(self, texts: tuple[str, ...]) -> tuple[int, ...]:
        found = (ids.parse_point_id(text) for text in texts)
        return tuple(pair[1] for pair in found if pair is not None and pair[0] == self.number)
