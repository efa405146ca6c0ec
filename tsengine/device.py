"""The embedding API of one device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from tsengine import commands, ids
from tsengine.arguments import column_tables, to_count, to_texts
from tsengine.core import batch
from tsengine.core.ingest.fields import to_time_us
from tsengine.core.ingest.points import from_points
from tsengine.core.ingest.table import Table
from tsengine.errors import InputError, NotFoundError
from tsengine.ingest import JSON_TYPE, decode, is_arrow
from tsengine.limits import LOAD_ROWS
from tsengine.query import (
    KIND_INTEGER,
    KIND_NUMBER,
    NUMERIC_KINDS,
    ColumnarReader,
    Reader,
    RegisterReader,
)
from tsengine.rows import Row
from tsengine.store.period import chunk_bounds, chunk_id, kept_from, parse_chunk_id
from tsengine.types import Chunk, DeviceInfo, Filter, Location, Order, Point, Value, to_datetime

if TYPE_CHECKING:
    import pyarrow as pa

    from tsengine.engine import Engine

Time = datetime | int | str | np.datetime64 | None
"""A bound of a read: datetime (without a zone it is UTC), int microseconds, numpy.datetime64 or ISO text; None = open."""

Names = str | Iterable[str] | None

EDIT_FIELDS = frozenset({"value", "unit", "group", "time", "location", "metadata"})

_decode_json = msgspec.json.Decoder(dict[str, Any]).decode


class Device:
    """A device of an open store. Light: make and drop as many as you like; safe to use from many threads.

    Example:
        >>> import tsengine, tempfile
        >>> db = tsengine.open(tempfile.mkdtemp())
        >>> dev = db.create_device("freezer-7")
        >>> dev.append("temperature", 21.5, unit="C", time="2026-11-21T08:30:00Z")
        >>> dev.last()[0].value
        21.5
        >>> db.close()
    """

    def __init__(self, engine: Engine, info: DeviceInfo) -> None:
        self._engine = engine
        self._info = info
        self._reader: Reader = (
            ColumnarReader(info, engine.columnar, engine.clock.now_us)
            if info.type == "immutable"
            else RegisterReader(info, engine.registers)
        )

    @property
    def info(self) -> DeviceInfo:
        """What the store knew of the device when this object was made."""
        return self._info

    @property
    def id(self) -> str:
        """24 hex characters."""
        return self._info.id

    @property
    def name(self) -> str:
        return self._info.name

    @property
    def type(self) -> Literal["immutable", "mutable"]:
        return self._info.type

    @property
    def number(self) -> int:
        """The store's own number of the device."""
        return self._info.number

    def __repr__(self) -> str:
        return f"<Device {self.id} {self.name!r} {self.type}>"

    # --- append ------------------------------------------------------------------------------------------------------

    def append(
        self,
        variable: str,
        value: Value = None,
        *,
        unit: str | None = None,
        time: Time = None,
        group: str | None = None,
        location: Any = None,
        metadata: dict[str, Any] | None = None,
        sync: bool = True,
    ) -> None:
        """Store one point; see `Point` for the fields and `append_many` for errors and durability."""
        self.append_many([Point(variable, value, time, unit, group, location, metadata)], sync=sync)

    def append_many(self, points: Iterable[Point | dict[str, Any]], *, sync: bool = True) -> int:
        """Store points as one batch, all or none, in their order; return how many.

        Args:
            points: `Point` objects, or dicts with the same keys. Points without a time share the time of the call, those
                without a group share one automatic group.
            sync: return when the batch is durable; with False at once, and `Engine.sync` waits for it.

        Raises:
            InputError: a point is not acceptable (`index` and the text name it), or outside the device's window of time.
            LimitError: the device or a chunk would be too full. NotFoundError: the device was deleted.
            BusyError, StorageFullError, StorageError: not stored.
        Durability: with `sync`, on disk and readable on return (as the store's durability says).
        Cost: about 0.2 µs a point, and one sync that waiting writers share.
        """
        points = points if isinstance(points, list) else list(points)
        if not points:
            return 0
        return self.write(self.record_of_points(points), sync=sync)

    def append_columns(
        self, variable: str, time: Any, value: Any, *, unit: str | None = None, group: str | None = None, sync: bool = True
    ) -> int:
        """Store the points of one variable from arrays, all or none; return how many. Large arrays as in `append_arrow`.

        Args:
            time: shape (n,), int64 microseconds or datetime64, no NaT; any order.
            value: shape (n,); floats are stored as float64, integers as int64, booleans and text as such.
        """
        now_us = self._engine.clock.now_us()
        return self._engine.write_tables(column_tables(variable, time, value, unit, group, now_us), self._assign, sync=sync)

    def append_arrow(self, table: Any, *, sync: bool = True) -> int:
        """Store the rows of an Arrow table (or batch, or anything with `__arrow_c_stream__`), all or none; return how many.

        An immutable device takes BULK_POINTS or more straight into sealed segments, past the log: durable on return, whatever
        `sync` says. More than LOAD_ROWS rows are taken so many at a time, each with an automatic group of its own.

        Columns: `variable` (text) and `time` (timestamp or int64 microseconds) have to be there; `value` (any number),
        `value_bool`, `value_text`, `unit`, `group`, `lat`, `lng` and `metadata` (JSON text) may be. A row has at most one value.

        Raises:
            InputError: a column is missing, of the wrong type, or holds what a point may not; else as `append_many`.
        """
        from tsengine.arrow_input import read_tables

        return self._engine.write_tables(read_tables(table, self._engine.clock.now_us(), LOAD_ROWS), self._assign, sync=sync)

    def ingest(self, body: bytes, content_type: str = JSON_TYPE, *, sync: bool = True) -> int:
        """Store a body as a device sends it, with TagoIO's rules, as one batch; return how many points.

        Args:
            body: JSON (a list of items or one item), MessagePack of the same shape, or an Arrow stream.
            content_type: tells which; anything unknown is read as JSON.

        Raises:
            InputError: not well-formed, or an item is not acceptable (`index`); else as `append_many`.
        """
        record = self.record_of_body(body, content_type)
        return self.write(record, sync=sync) if record else 0

    def write(self, record: bytes, *, sync: bool = True) -> int:
        """Store a record made by one of the record_of methods; return its number of points."""
        count = batch.count_of(record)
        self._engine.write(self.number, record, sync=sync)
        return count

    def _assign(self, table: Table) -> None:
        table.assign([self.number])

    def record_of_points(self, points: list[Any]) -> bytes:
        """Return the record of points, checked but not stored."""
        return from_points(points, self._engine.clock.now_us())

    def record_of_columns(self, variable: str, time: Any, value: Any, unit: str | None, group: str | None) -> bytes:
        """Return the record of one variable's arrays, checked but not stored; empty bytes for empty arrays."""
        return self._record_of_tables(column_tables(variable, time, value, unit, group, self._engine.clock.now_us()))

    def record_of_arrow(self, table: Any) -> bytes:
        """Return the record of an Arrow table, checked but not stored; empty bytes for a table without rows."""
        from tsengine.arrow_input import read_tables

        return self._record_of_tables(read_tables(table, self._engine.clock.now_us(), LOAD_ROWS))

    def _record_of_tables(self, tables: Iterator[Table]) -> bytes:
        first = next(tables, None)
        if first is None:
            return b""
        first.assign([self.number])
        return first.record()

    def record_of_body(self, body: bytes, content_type: str) -> bytes:
        """Return the record of a body, checked but not stored; empty bytes for an empty list."""
        if is_arrow(content_type):
            from tsengine.arrow_input import read_stream

            return self.record_of_arrow(read_stream(body))
        points = decode(body, content_type)
        return from_points(points, self._engine.clock.now_us(), True) if points else b""

    # --- read --------------------------------------------------------------------------------------------------------

    def read(self, variable: str, start: Time = None, end: Time = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the times and values of a variable, ascending, as new arrays of shape (n,).

        Times are int64 microseconds. Values are float64, int64, bool, or objects for text; a variable that holds numbers
        and integers comes as float64, any other mixture as objects. Equal times keep the order of insertion.

        Args:
            start, end: inclusive bounds.
        Cost: decodes the blocks that overlap the bounds.
        """
        filter = self._filter(variable, start, end)
        return self._reader.read((filter.variables or ("",))[0], filter.start_us, filter.end_us)

    def points(
        self,
        variables: Names = None,
        start: Time = None,
        end: Time = None,
        limit: int | None = 100,
        skip: int = 0,
        order: Order = "desc",
        *,
        groups: Names = None,
        values: Names = None,
        ids: Names = None,
        having: Literal["value", "location"] | None = None,
    ) -> list[Point]:
        """Return points of all or some variables in one list, ordered by time; of equal times the latest inserted counts as newest.

        Args:
            variables, groups, ids: any of these (`ids`: mutable devices only).
            values: any of these, compared as text: "2" matches 2 and "2", "true" matches True.
            start, end: inclusive bounds.
            limit, skip: at most so many (None = all), after leaving out so many.
            order: "desc" = newest first, or "asc".
            having: only points with a value, or with a location.

        Raises:
            InputError: an argument is not acceptable.
        """
        if order not in ("asc", "desc"):
            raise InputError(f"order must be 'asc' or 'desc', not {order!r}")
        limit = None if limit is None else to_count(limit, "limit")
        filter = self._filter(variables, start, end, groups, values, ids, having)
        return self._points(self._reader.rows(filter, order, limit, to_count(skip, "skip")))

    def count(
        self,
        variables: Names = None,
        start: Time = None,
        end: Time = None,
        *,
        groups: Names = None,
        values: Names = None,
        ids: Names = None,
        having: Literal["value", "location"] | None = None,
    ) -> int:
        """Return how many points `points` would find without a limit. Exact; from statistics where it can be."""
        return self._reader.count(self._filter(variables, start, end, groups, values, ids, having))

    def last(self, variables: Names = None, **conditions: Any) -> list[Point]:
        """Return the newest point of each variable (all that exist, or those named, in that order).

        Args:
            conditions: start, end, groups, values, ids, having as for `points`; by="insert" takes the latest inserted
                instead of the newest by time.
        """
        return self._ends(variables, oldest=False, **conditions)

    def first(self, variables: Names = None, **conditions: Any) -> list[Point]:
        """Return the oldest point of each variable; arguments as for `last`."""
        return self._ends(variables, oldest=True, **conditions)

    def variables(self) -> list[str]:
        """Return the names of the device's variables, sorted."""
        self._engine.settle(self.number)
        return self._reader.variables()

    def aggregate(
        self,
        variable: str,
        functions: str | Sequence[str],
        every: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        booleans: bool = True,
    ) -> pa.Table:
        """Return aggregates of a variable's numbers as a pyarrow.Table: `time` (start of the bucket) and a column a function.

        Args:
            functions: of "avg", "sum", "min", "max", "count", "first", "last"; one or several.
            every: width of a bucket, aligned to UTC: a number and ms, s, m, h, d, w, mo, q or y, like "5m" or "1mo".
                None = one bucket over everything.
            start, end: inclusive bounds.
            booleans: whether they count, as 0 and 1.

        Only buckets that hold a number are returned. NaN, text and points without a value do not
        count. Sums are compensated; those of integers exact.

        Raises:
            InputError: unknown function or `every`. LimitError: more than four million buckets.
        Cost: statistics of the blocks inside one bucket, decoding of those at the edges.
        """
        from tsengine.arrow import aggregate_table

        functions = (functions,) if isinstance(functions, str) else tuple(functions)
        filter = self._filter(variable, start, end)
        name = (filter.variables or ("",))[0]
        kinds = NUMERIC_KINDS if booleans else (KIND_NUMBER, KIND_INTEGER)
        return aggregate_table(*self._reader.aggregate(name, functions, every, filter.start_us, filter.end_us, kinds))

    def scan(
        self, variables: Names = None, start: Time = None, end: Time = None, columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """Return the points as a stream of Arrow record batches: variable by variable, ascending in time.

        Args:
            columns: names of the schema of `append_arrow` or `id`; None = all of them.
        Cost: holds one record batch at a time; the snapshot is taken now.

        Raises:
            InputError: unknown column.
        """
        from tsengine.arrow import scan_reader

        return scan_reader(self._reader, self._filter(variables, start, end), columns)

    # --- chunks ------------------------------------------------------------------------------------------------------

    def chunks(self) -> list[Chunk]:
        """Return the chunks that hold points, newest first. Immutable devices only (InputError)."""
        self._check_type("immutable", "chunks are of immutable devices")
        self._engine.settle(self.number)
        kept_us = kept_from(self._info, self._engine.clock.now_us())
        counts = self._engine.columnar.period_counts(self.number, self._info.chunk_period)
        found = []
        for number in sorted(counts, reverse=True):
            start_us, end_us = chunk_bounds(number, self._info.chunk_period)
            if counts[number] and start_us >= kept_us:
                found.append(Chunk(chunk_id(number, self._info.chunk_period), to_datetime(start_us), to_datetime(end_us), counts[number]))
        return found

    def delete_chunk(self, id: str) -> None:
        """Drop every point of a chunk; new points of that time may follow.

        Raises:
            NotFoundError: the chunk holds no points. InputError: it is no chunk id, or the device is mutable.
        Durability: on disk on return. Space comes back at once where segments hold nothing else, else by compaction.
        """
        self._check_type("immutable", "chunks are of immutable devices")
        number = parse_chunk_id(id, self._info.chunk_period)
        self._engine.settle(self.number)
        start_us, end_us = chunk_bounds(number, self._info.chunk_period)
        is_kept = start_us >= kept_from(self._info, self._engine.clock.now_us())
        if not is_kept or not self._engine.columnar.chunk_count(self.number, self._info.chunk_period, number):
            raise NotFoundError(f"the device has no chunk {id}")
        self._drop(start_us, end_us)

    def empty(self) -> None:
        """Drop every point or register of the device. Durability: on disk on return."""
        if self._info.type == "immutable":
            self._drop(*chunk_bounds(0, None))
        else:
            self._change(commands.EmptyRegisters(self.number))

    # --- registers: mutable devices only -----------------------------------------------------------------------------

    def get(self, id: str) -> Point:
        """Return the register with this id.

        Raises:
            NotFoundError: there is none. InputError: the device is immutable.
        """
        self._check_type("mutable", "You cannot get single points of an immutable device")
        self._engine.settle(self.number)
        found = ids.parse_point_id(id)
        row = self._engine.registers.get(self.number, found[1]) if found and found[0] == self.number else None
        if row is None:
            raise NotFoundError(f"the device has no register {id!r}")
        return self._point(row)

    def edit(self, items: Iterable[dict[str, Any]]) -> int:
        """Change registers: each item has an `id` and the fields to replace, all or none; return how many were found.

        Fields are replaced whole and None removes one; absent fields stay. `variable` cannot change and is ignored.

        Raises:
            InputError: an item has no id, or a field is not acceptable (`index`), or the device is immutable.
        Durability: on disk and readable on return.
        """
        self._check_type("mutable", "You cannot edit data on immutable device")
        edits = [self._edit_of(item, i) for i, item in enumerate(items)]
        if not edits:
            return 0
        with self._engine.locked_state(self.number):
            self._engine.settle(self.number)
            existing = set(self._engine.registers.existing(self.number, {sequence for sequence, _ in edits}))
            found = tuple(edit for edit in edits if edit[0] in existing)
            if found:
                self._engine.command(commands.EditRegisters(self.number, found))
        return len(found)

    def delete(
        self,
        *,
        ids: Names = None,
        variables: Names = None,
        start: Time = None,
        end: Time = None,
        groups: Names = None,
        values: Names = None,
        having: Literal["value", "location"] | None = None,
        limit: int | None = None,
        skip: int = 0,
        order: Order = "desc",
    ) -> int:
        """Remove the registers that `points` with these arguments would return; return how many.

        Raises:
            InputError: the device is immutable, or an argument is not acceptable.
        Durability: on disk on return.
        """
        self._check_type("mutable", "Data in immutable devices cannot be deleted")
        limit = None if limit is None else to_count(limit, "limit")
        filter = self._filter(variables, start, end, groups, values, ids, having)
        with self._engine.locked_state(self.number) as state:
            self._engine.settle(self.number)
            if limit is None and not skip and filter == Filter(ids=filter.ids) and filter.ids is not None:
                found = self._engine.registers.existing(self.number, set(filter.ids))
            else:
                found = self._engine.registers.sequences(self.number, filter, order=order, limit=limit, skip=to_count(skip, "skip"))
            if found:
                self._engine.command(commands.DeleteRegisters(self.number, tuple(found)))
                state.total -= len(found)
        return len(found)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _ends(
        self,
        variables: Names,
        *,
        oldest: bool,
        start: Time = None,
        end: Time = None,
        groups: Names = None,
        values: Names = None,
        ids: Names = None,
        having: Literal["value", "location"] | None = None,
        by: Literal["time", "insert"] = "time",
    ) -> list[Point]:
        if by not in ("time", "insert"):
            raise InputError(f"by must be 'time' or 'insert', not {by!r}")
        filter = self._filter(variables, start, end, groups, values, ids, having)
        names = self._reader.variables() if filter.variables is None else dict.fromkeys(filter.variables)
        found = (self._reader.end(name, filter, oldest=oldest, by=by) for name in names)
        return self._points(row for row in found if row is not None)

    def _filter(
        self,
        variables: Names,
        start: Time,
        end: Time,
        groups: Names = None,
        values: Names = None,
        ids: Names = None,
        having: Literal["value", "location"] | None = None,
    ) -> Filter:
        """Return the Filter of a read's arguments; earlier writes of the device are readable afterwards."""
        if having not in (None, "value", "location"):
            raise InputError(f"having must be 'value', 'location' or None, not {having!r}")
        filter = Filter(
            variables=None if variables is None else tuple(name.lower() for name in to_texts(variables, "variables")),
            groups=None if groups is None else to_texts(groups, "groups"),
            values=None if values is None else to_texts(values, "values"),
            ids=None if ids is None else self._sequences_of(to_texts(ids, "ids")),
            start_us=None if start is None else to_time_us(start),
            end_us=None if end is None else to_time_us(end),
            having=having,
        )
        self._engine.settle(self.number)
        return filter

    def _sequences_of(self, texts: tuple[str, ...]) -> tuple[int, ...]:
        found = (ids.parse_point_id(text) for text in texts)
        return tuple(pair[1] for pair in found if pair is not None and pair[0] == self.number)

    def _point(self, row: Row) -> Point:
        return self._points((row,))[0]

    def _points(self, rows: Iterable[Row]) -> list[Point]:
        """Return the points of rows. Called with every row that is read; rows of one write share the time of receipt."""
        prefix = f"{self.number:08x}"
        last_us, created_at = None, None
        found = []
        for sequence, time_us, variable, value, unit, group, lat, lng, metadata, received_us in rows:
            if received_us != last_us:
                last_us, created_at = received_us, to_datetime(received_us)
            found.append(
                Point(
                    variable,
                    value,
                    to_datetime(time_us),
                    unit,
                    group,
                    None if lat is None or lng is None else Location(lat, lng),
                    None if metadata is None else _decode_json(metadata),
                    f"{prefix}{sequence:016x}",
                    created_at,
                )
            )
        return found

    def _edit_of(self, item: dict[str, Any], i: int) -> tuple[int, dict[str, Any]]:
        """Return (sequence, fields) of an edit's item; the sequence is -1 for an id that cannot be of this device."""
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            raise InputError(f"Invalid data at index {i}: id is required", index=i)
        given = EDIT_FIELDS & item.keys()
        if "time" in given and item["time"] is None:
            raise InputError(f"Invalid data at index {i}: time cannot be removed", index=i)
        try:
            record = from_points([{**{field: item[field] for field in given}, "variable": "edit"}], 0)
        except InputError as error:
            raise InputError(str(error).replace("index 0", f"index {i}", 1), index=i) from None
        row = batch.rows(record)[0]
        checked = {
            "value": row.value,
            "unit": row.unit,
            "group": None if item.get("group") in (None, "") else row.group,
            "time": row.time_us,
            "location": None if row.lat is None else [row.lat, row.lng],
            "metadata": None if row.metadata is None else row.metadata.decode(),
        }
        found = ids.parse_point_id(item["id"])
        sequence = found[1] if found is not None and found[0] == self.number else -1
        return sequence, {field: checked[field] for field in given}

    def _drop(self, start_us: int, end_us: int) -> None:
        with self._engine.locked_state(self.number):
            self._change(commands.DropPoints(self.number, start_us, end_us))

    def _change(self, command: commands.Command) -> None:
        """Log a command that changes how much the device holds."""
        self._engine.command(command)
        self._engine.forget_state(self.number)

    def _check_type(self, type: str, problem: str) -> None:
        if self._info.type != type:
            raise InputError(problem)
