"""The export of a device's points to a file, an Arrow batch at a time."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import numpy as np

from tsengine.transfer.cells import CSV_COLUMNS, Format, Progress, number_text
from tsengine.transfer.rows import JsonRow
from tsengine.types import Point

if TYPE_CHECKING:
    import pyarrow as pa

    from tsengine.device import Device, Names, Time


def export_points(
    device: Device,
    file: BinaryIO,
    format: Format,
    *,
    variables: Names = None,
    start: Time = None,
    end: Time = None,
    progress: Progress | None = None,
) -> int:
    """Write points to an open binary file, variable by variable, ascending in time; return how many.

    Cost: holds one record batch of some 65,000 points at a time (of a mutable device all of its registers).

    Raises:
        InputError: an argument is not acceptable.
    """
    total = 0 if progress is None else device.count(variables, start, end)
    done = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal done
        for batch in exact_batches(device, variables, start, end):
            yield batch
            done += batch.num_rows
            if progress is not None:
                progress(done, max(done, total))

    WRITERS[format](file, counted())
    return done


def exact_schema(with_id: bool = False) -> pa.Schema:
    """Return the columns of an export: as those of a scan, but with integers in a column of their own."""
    import pyarrow as pa

    from tsengine.arrow_out import SCHEMA

    fields = [field for field in SCHEMA if with_id or field.name != "id"]
    return pa.schema(fields)


def exact_batches(device: Device, variables: Names, start: Time, end: Time, with_id: bool = False) -> Iterator[pa.RecordBatch]:
    """Yield points as record batches of `exact_schema`, a variable and a kind of value at a time."""
    schema = exact_schema(with_id)
    if device.type == "mutable":
        points = device.points(variables, start, end, limit=None, order="asc")
        if points:
            yield batch_of_points(points, schema)
        return
    names = device.variables() if variables is None else [variables] if isinstance(variables, str) else list(dict.fromkeys(variables))
    for name in names:
        for batch in device.scan(name, start, end, columns=schema.names):
            yield exact_batch(batch, schema)


def exact_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch of a scan with its integers in `value_int` alone; each batch of a scan is of one kind."""
    import pyarrow as pa

    columns = {name: batch.column(name) for name in schema.names}
    if columns["value_int"].null_count < batch.num_rows:
        columns["value"] = pa.nulls(batch.num_rows, pa.float64())
    elif not pa.types.is_float64(columns["value"].type):  # without a number: the scan found only integers, and this batch has none
        columns["value"] = columns["value"].cast(pa.float64())
    return pa.record_batch(list(columns.values()), schema=schema)


def batch_of_points(points: list[Point], schema: pa.Schema) -> pa.RecordBatch:
    """Return points as a record batch of `exact_schema`."""
    import pyarrow as pa

    def kind(*types: type) -> list[Any]:
        return [point.value if type(point.value) in types else None for point in points]

    columns = {
        "variable": [point.variable for point in points],
        "time": [point.time for point in points],
        "value": kind(float),
        "value_int": kind(int),
        "value_bool": kind(bool),
        "value_text": kind(str),
        "unit": [point.unit for point in points],
        "group": [point.group for point in points],
        "lat": [None if point.location is None else point.location.lat for point in points],
        "lng": [None if point.location is None else point.location.lng for point in points],
        "metadata": [None if point.metadata is None else msgspec.json.encode(point.metadata).decode() for point in points],
        "id": [point.id for point in points],
    }
    plain = [pa.array(columns[field.name], field.type.value_type if pa.types.is_dictionary(field.type) else field.type) for field in schema]
    return pa.record_batch(
        [array.dictionary_encode() if pa.types.is_dictionary(field.type) else array for array, field in zip(plain, schema, strict=True)],
        schema=schema,
    )


def write_csv(file: BinaryIO, batches: Iterator[pa.RecordBatch]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
    try:
        writer = csv.writer(text)
        writer.writerow(CSV_COLUMNS)
        for batch in batches:
            cells = {name: cells_of(batch.column(name)) for name in ("variable", "unit", "group", "lat", "lng", "metadata")}
            values, types = value_texts(batch)
            cells |= {"time": time_texts(batch), "value": values, "type": types, "unit": unit_texts(cells["unit"])}
            writer.writerows(zip(*(cells[name] for name in CSV_COLUMNS), strict=True))
        text.flush()
    finally:
        text.detach()


def write_jsonl(file: BinaryIO, batches: Iterator[pa.RecordBatch]) -> None:
    for batch in batches:
        rows = [
            JsonRow(
                variable=variable,
                time=time,
                unit=unit,
                group=group,
                location=None if lat is None else {"lat": lat, "lng": lng},
                metadata=to_raw(metadata),
            )
            for variable, time, unit, group, lat, lng, metadata in zip(
                cells_of(batch.column("variable")),
                time_texts(batch),
                *(cells_of(batch.column(name)) for name in ("unit", "group", "lat", "lng", "metadata")),
                strict=True,
            )
        ]
        for name in ("value", "value_int", "value_bool", "value_text"):
            if batch.column(name).null_count == batch.num_rows:
                continue
            for row, value in zip(rows, cells_of(batch.column(name)), strict=True):
                if value is None:
                    continue
                row.value = value
                if name == "value_int":
                    row.type = "integer"
                elif name == "value" and not math.isfinite(value):
                    row.value, row.type = number_text(value), "number"
        file.write(msgspec.json.Encoder().encode_lines(rows))


def to_raw(metadata: str | None) -> msgspec.Raw | msgspec.UnsetType:
    # Line ends may only stand between the tokens of JSON; a line of the file must not have any.
    return msgspec.UNSET if metadata is None else msgspec.Raw(metadata.replace("\n", " ").replace("\r", " ").encode())


def write_parquet(file: BinaryIO, batches: Iterator[pa.RecordBatch]) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(file, exact_schema(), compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def write_arrow(file: BinaryIO, batches: Iterator[pa.RecordBatch]) -> None:
    """Write an Arrow file with plain texts: each batch of a scan has dictionaries of its own, a file may not."""
    import pyarrow as pa

    schema = pa.schema([(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type) for field in exact_schema()])
    with pa.ipc.new_file(file, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema))


WRITERS: dict[str, Callable[[BinaryIO, Iterator[pa.RecordBatch]], None]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    "arrow": write_arrow,
}


def cells_of(column: pa.Array) -> list[Any]:
    """Return the cells of a column as Python objects; quicker than `to_pylist`, which makes a scalar of each cell first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count == len(column):
        return [None] * len(column)
    if pa.types.is_dictionary(column.type):
        names = [*column.dictionary.to_pylist(), None]
        return [names[code] for code in pc.fill_null(column.indices, len(names) - 1).to_numpy().tolist()]
    if column.null_count or not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        return column.to_pylist()
    return column.to_numpy().tolist()


def time_texts(batch: pa.RecordBatch) -> list[str]:
    """Return the times as ISO 8601 with microseconds, like 2026-11-21T08:30:00.000000Z."""
    times = batch.column("time").cast("int64").to_numpy().view("datetime64[us]")
    return np.datetime_as_string(times, timezone="UTC").tolist()


def unit_texts(units: list[Any]) -> list[Any]:
    """Return the cells of units for CSV: an empty unit is not the same as none, and one that starts with a quote would be read as JSON."""
    return [msgspec.json.encode(unit).decode() if unit is not None and unit[:1] in ("", '"') else unit for unit in units]


def value_texts(batch: pa.RecordBatch) -> tuple[list[Any], list[str]]:
    """Return (cells, types) of the values for CSV."""
    values: list[Any] = [None] * batch.num_rows
    types = ["none"] * batch.num_rows
    shows: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
        ("value", "number", number_text),
        ("value_int", "integer", str),
        ("value_bool", "boolean", lambda value: "true" if value else "false"),
        ("value_text", "text", str),
    )
    for name, type, show in shows:
        if batch.column(name).null_count < batch.num_rows:
            for i, value in enumerate(cells_of(batch.column(name))):
                if value is not None:
                    values[i], types[i] = show(value), type
    return values, types
