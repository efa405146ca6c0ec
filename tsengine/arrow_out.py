"""Arrow out: scans as record batches, aggregates as tables. Imported only where a table is made: pyarrow costs more than a read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np
import pyarrow as pa

from tsengine.core.store.points import PointBuffer
from tsengine.core.store.scan import WANTS, SeriesScan
from tsengine.errors import InputError
from tsengine.query.reader import KIND_BOOLEAN, KIND_INTEGER, KIND_NUMBER, KIND_TEXT, Aggregate, Reader
from tsengine.types import Filter

if TYPE_CHECKING:
    from tsengine.device import Device
    from tsengine.engine.engine import Engine
    from tsengine.reads import Conditions, Names, Time

TEXT_CODES = pa.dictionary(pa.int32(), pa.string())
TIMES = pa.timestamp("us", "UTC")

SCHEMA = pa.schema(
    [
        ("variable", TEXT_CODES),
        ("time", TIMES),
        ("value", pa.float64()),
        ("value_int", pa.int64()),
        ("value_bool", pa.bool_()),
        ("value_text", TEXT_CODES),
        ("unit", TEXT_CODES),
        ("group", pa.string()),
        ("lat", pa.float64()),
        ("lng", pa.float64()),
        ("metadata", TEXT_CODES),
        ("id", pa.string()),
    ]
)
"""Schema of `scan`. Where all values are integers `value` is int64; `value_int` is there on demand, and where both kinds meet."""

BATCH_ROWS = 65_536
"""Rows of one record batch of a scan, at most about: some megabytes, so that memory stays bounded and calls do not count."""

EMPTY = np.empty(0)

WANT_OF_COLUMN = {"unit": "unit", "group": "group", "lat": "location", "lng": "location", "metadata": "metadata", "id": "sequence"}


def aggregate_table(found: dict[str, Aggregate], functions: Sequence[str], tz: str, *, with_variable: bool) -> pa.Table:
    """Return a table of `variable` (if wanted), `time` and one column a function: the buckets of one variable after another."""
    type = TIMES if tz == "UTC" else pa.timestamp("us", tz)
    parts = list(found.values()) or [Aggregate(np.empty(0, np.int64), {name: (np.empty(0, np.float64), None) for name in functions})]
    columns: dict[str, pa.Array] = {}
    if with_variable:
        codes = np.repeat(np.arange(len(found), dtype=np.int32), [len(part.starts) for part in found.values()])
        columns["variable"] = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(found), pa.string()))
    columns["time"] = zero_copy(np.concatenate([part.starts for part in parts]) if len(parts) > 1 else parts[0].starts, type)
    for name in functions:
        columns[name] = joined([part.columns[name] for part in parts])
    return pa.table(columns)


def joined(parts: list[tuple[np.ndarray, np.ndarray | None]]) -> pa.Array:
    """Return values, null where they are marked, as one array; integers and floats together as floats."""
    if len(parts) == 1:
        values, is_null = parts[0]
        return pa.array(values, mask=is_null)
    values = np.concatenate([values for values, _ in parts])
    is_null = np.concatenate([np.zeros(len(values), bool) if is_null is None else is_null for values, is_null in parts])
    return pa.array(values, mask=is_null)


def zero_copy(values: np.ndarray, type: pa.DataType) -> pa.Array:
    """Return an array of a 64-bit type over the memory of a numpy array."""
    return pa.Array.from_buffers(type, len(values), [None, pa.py_buffer(values)])


def scan_reader(reader: Reader, filter: Filter, columns: Sequence[str] | None) -> pa.RecordBatchReader:
    """Return a stream of the points of a filter: variable by variable, ascending in time.

    Raises:
        InputError: a column is unknown.
    """
    check_columns(columns or ())
    want = WANTS["value"] if columns is None or any(name.startswith("value") for name in columns) else 0
    for name in SCHEMA.names if columns is None else columns:
        want |= WANTS[WANT_OF_COLUMN[name]] if name in WANT_OF_COLUMN else 0
    scans = reader.scans(filter, want)
    kinds = {scan.kind for _, scan in scans}
    fields = {field.name: field for field in SCHEMA}
    if KIND_INTEGER in kinds and KIND_NUMBER not in kinds:
        fields["value"] = pa.field("value", pa.int64())
    if columns is None:
        columns = [name for name in SCHEMA.names if name != "value_int" or {KIND_INTEGER, KIND_NUMBER} <= kinds]
    schema = pa.schema([fields[name] for name in columns])
    batches = (batch for variable, scan in scans for batch in batches_of(scan, variable, reader.info.number, schema, want))
    return pa.RecordBatchReader.from_batches(schema, batches)


def dataset(
    db: Engine,
    variables: Names = None,
    start: Time = None,
    end: Time = None,
    columns: Sequence[str] | None = None,
    *,
    devices: Iterable[Device] | None = None,
    **conditions: Unpack[Conditions],
) -> pa.RecordBatchReader:
    """Return the points of many devices as one stream: a column `device` (ids) and those of `Device.scan`, device by device.

    Args:
        columns: names of SCHEMA, None = all; `value` is always float64, and `value_int` has the integers as they are.
        devices: which; None = all of the store, by name.
        variables, start, end, conditions: as for `Device.scan`.

    Each device is read as it is when the stream comes to it.

    Raises:
        InputError: unknown column.
    """
    names = tuple(SCHEMA.names if columns is None else columns)
    check_columns(names)
    schema = pa.schema([("device", TEXT_CODES), *(SCHEMA.field(name) for name in names)])

    def batches() -> Iterator[pa.RecordBatch]:
        for device in db.devices() if devices is None else devices:
            device_id = pa.array([device.id], pa.string())
            for batch in device.scan(variables, start, end, names, **conditions):
                own = pa.DictionaryArray.from_arrays(pa.array(np.zeros(batch.num_rows, np.int32)), device_id)
                cells = [own, *(batch.column(name).cast(SCHEMA.field(name).type, safe=False) for name in names)]
                yield pa.record_batch(cells, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def check_columns(columns: Sequence[str]) -> None:
    for name in columns:
        if name not in SCHEMA.names:
            raise InputError(f"columns: unknown {name!r}; these are known: {', '.join(SCHEMA.names)}")


def batches_of(scan: SeriesScan, variable: str, device: int, schema: pa.Schema, want: int) -> Iterator[pa.RecordBatch]:
    """Yield the points of a scan in batches of about BATCH_ROWS."""
    names = pa.array([variable], pa.string())
    if want in (0, WANTS["value"]):
        while (arrays := scan.next_arrays(BATCH_ROWS)) is not None:
            times, values = arrays
            yield pa.record_batch([plain_column(names, len(times), times, values, scan.kind, field) for field in schema], schema=schema)
    while (points := scan.next_points(BATCH_ROWS)) is not None:
        yield pa.record_batch([column_out(names, device, points, field) for field in schema], schema=schema)


def plain_column(names: pa.Array, count: int, times: np.ndarray, values: np.ndarray, kind: int, field: pa.Field) -> pa.Array:
    """Return a column that times and values tell alone; what the field does not need may be empty."""
    if field.name == "variable":
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), names)
    if field.name == "time":
        return zero_copy(times, TIMES)
    is_its = {"value": kind in (KIND_NUMBER, KIND_INTEGER), "value_int": kind == KIND_INTEGER, "value_bool": kind == KIND_BOOLEAN}
    if not is_its.get(field.name):
        return pa.nulls(count, field.type)
    return pa.array(values).cast(field.type, safe=False)


def column_out(names: pa.Array, device: int, points: PointBuffer, field: pa.Field) -> pa.Array:
    """Return one column of a record batch."""
    count = len(points)
    match field.name:
        case "variable" | "time" | "value" | "value_int" | "value_bool":
            values = points.values() if field.name.startswith("value") and points.kind != KIND_TEXT else EMPTY
            times = points.times() if field.name == "time" else EMPTY
            return plain_column(names, count, times, values, points.kind, field)
        case "value_text":
            if points.kind != KIND_TEXT:
                return pa.nulls(count, field.type)
            return dictionary_out(*points.text_codes())
        case "unit" | "metadata":
            found = points.string_codes(field.name)
            return pa.nulls(count, field.type) if found is None else dictionary_out(*found)
        case "group" | "id":
            offsets, data = points.hex_texts(device, field.name == "id")
            return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data))
        case _:
            degrees = points.degrees()
            if degrees is None:
                return pa.nulls(count, field.type)
            values = degrees[int(field.name == "lng")]
            return pa.array(values, mask=np.isnan(values))


def dictionary_out(codes: np.ndarray, texts: list[bytes]) -> pa.Array:
    """Return a dictionary array of the texts that codes (-1 = none) use; the others may be of another column."""
    used = np.bincount(codes + 1, minlength=len(texts) + 1) > 0  # the first cell stands for -1
    packed = (np.cumsum(used[1:]) - 1).astype(np.int32)
    indices = pa.array(packed[codes], mask=codes < 0 if used[0] else None)
    names = [text.decode() for text, is_used in zip(texts, used[1:], strict=True) if is_used]
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()))
