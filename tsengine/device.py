"""The embedding API of one device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from tsengine import commands, ids
from tsengine.arguments import column_tables, listed, to_count
from tsengine.core import batch
from tsengine.core.ingest.points import from_points
from tsengine.core.ingest.rows import record_of
from tsengine.core.ingest.table import Table
from tsengine.core.store.page import points_of_rows
from tsengine.errors import InputError, NotFoundError
from tsengine.ingest.bodies import JSON_TYPE, is_arrow, record_of_body
from tsengine.limits import LOAD_ROWS
from tsengine.query.reader import ColumnarReader, Reader, RegisterReader
from tsengine.reads import DeviceReads, Names, Time
from tsengine.store.period import chunk_bounds, chunk_id, kept_from, parse_chunk_id
from tsengine.types import Chunk, DeviceInfo, Filter, Order, Point, Value, check_text, to_datetime

if TYPE_CHECKING:
    from tsengine.engine.engine import Engine

EDIT_FIELDS = frozenset({"value", "unit", "group", "time", "location", "metadata"})


class Device(DeviceReads):
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
            ColumnarReader(info, engine.columnar, engine.newest, engine.clock.now_us)
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
        """The name when this object was made."""
        return self._info.name

    @property
    def type(self) -> Literal["immutable", "mutable"]:
        """Whether points are only appended, or edited and deleted one by one, too."""
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
        points = points if isinstance(points, list) else listed(points, "points")
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
        from tsengine.arrow import read_tables

        return self._engine.write_tables(read_tables(table, self._engine.clock.now_us(), LOAD_ROWS), self._assign, sync=sync)

    def ingest(self, body: bytes, content_type: str = JSON_TYPE, *, sync: bool = True) -> int:
        """Store a body as a device sends it, with TagoIO's rules, as one batch; return how many points.

        Args:
            body: JSON (a list of items or one item) or MessagePack of the same shape; columns in either; an Arrow stream; or InfluxDB
                line protocol.
            content_type: tells which, as tsengine.ingest.bodies.MEDIA_TYPES names them; anything unknown is read as JSON.

        Raises:
            InputError: not well-formed, or an item, row or line is not acceptable (`index`); else as `append_many`.
        """
        if not isinstance(body, bytes | bytearray | memoryview):
            raise InputError(f"body must be bytes, not {type(body).__name__}")
        check_text(content_type, "content_type")
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
        from tsengine.arrow import read_tables

        return self._record_of_tables(read_tables(table, self._engine.clock.now_us(), LOAD_ROWS))

    def _record_of_tables(self, tables: Iterator[Table]) -> bytes:
        first = next(tables, None)
        if first is None:
            return b""
        first.assign([self.number])
        return record_of(first)

    def record_of_body(self, body: bytes, content_type: str) -> bytes:
        """Return the record of a body, checked but not stored; empty bytes for an empty list."""
        if is_arrow(content_type):
            from tsengine.arrow import read_body

            table = read_body(body, self._engine.clock.now_us())
            return b"" if table is None else self._record_of_tables(iter([table]))
        return record_of_body(body, content_type, self._engine.clock.now_us())

    def points_of(self, record: bytes) -> list[Point]:
        """Return the points of a record that `write` stored, in their order, as reads show them."""
        return points_of_rows(batch.rows(record), self.number)

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
        check_text(id, "the id of a chunk")
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
        check_text(id, "the id of a register")
        number, found = self._info.number, ids.parse_point_id(id)
        self._engine.settle(number)
        point = self._engine.registers.get(number, found[1]) if found is not None and found[0] == number else None
        if point is None:
            raise NotFoundError(f"the device has no register {id!r}")
        return point

    def edit(self, items: Iterable[dict[str, Any]]) -> int:
        """Change registers: each item has an `id` and the fields to replace, all or none; return how many were found.

        Fields are replaced whole and None removes one; absent fields stay. `variable` cannot change and is ignored.

        Raises:
            InputError: an item has no id, or a field is not acceptable (`index`), or the device is immutable.
        Durability: on disk and readable on return.
        """
        self._check_type("mutable", "You cannot edit data on immutable device")
        edits = [self._edit_of(item, i) for i, item in enumerate(listed(items, "items"))]
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
        filter = self._filter(variables, start, end, groups=groups, values=values, ids=ids, having=having)
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

    def _settle(self) -> None:
        self._engine.settle(self.number)

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
