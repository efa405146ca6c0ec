"""Parquet and Arrow files to tables in the columns that `Device.append_arrow` takes. Only functions import pyarrow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from tsengine.core.ingest.fields import to_time_us
from tsengine.errors import InputError
from tsengine.transfer.cells import Format, check_columns

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 50_000
"""Rows of a Parquet file that are read at once."""


def open_batches(file: BinaryIO, format: Format) -> tuple[Iterator[pa.RecordBatch], int]:
    """Return the record batches of a Parquet or Arrow file or Arrow stream, and the number of rows (0 = unknown)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if format == "parquet":
            parquet = pq.ParquetFile(file if file.seekable() else io.BytesIO(file.read()))
            return parquet.iter_batches(batch_size=BATCH_ROWS), parquet.metadata.num_rows
        if file.seekable():
            magic = file.read(6)
            file.seek(0)
            if magic == b"ARROW1":
                reader = pa.ipc.open_file(file)
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
                return batches, sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))
        return iter(pa.ipc.open_stream(file)), 0
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"this is no {format} file: {error}") from None


def append_table(table: pa.Table, variable: str | None) -> pa.Table:
    """Return a table in the columns that `Device.append_arrow` takes, and `value_int` if it holds both kinds of number.

    Raises:
        InputError: a column is missing or of the wrong type.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    check_columns(table.column_names, variable)
    columns: dict[str, Any] = {name: table.column(name) for name in table.column_names}
    if variable is not None:
        columns["variable"] = pa.array([variable] * table.num_rows, pa.string())
    for name, factor in (("time_us", 1), ("time_ms", 1000)):
        if name in columns:
            if not pa.types.is_integer(columns[name].type):
                raise InputError(f"column {name!r} must be integers, not {columns[name].type}")
            columns["time"] = pc.call_function("multiply_checked", [columns[name].cast(pa.int64()), pa.scalar(factor)])
    time = columns["time"]
    if pa.types.is_string(time.type) or pa.types.is_large_string(time.type):
        columns["time"] = time = pa.array([None if text is None else to_time_us(text) for text in time.to_pylist()], pa.int64())
    if not pa.types.is_timestamp(time.type) and time.type != pa.int64():
        raise InputError(f"column 'time' must be a timestamp, text or int64 microseconds, not {time.type}")
    columns["time"] = time.cast(pa.timestamp("us", "UTC"), safe=False)
    value = columns.get("value")
    if value is not None:
        kind = value.type.value_type if pa.types.is_dictionary(value.type) else value.type
        if pa.types.is_boolean(kind):
            columns.setdefault("value_bool", columns.pop("value"))
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            columns.setdefault("value_text", columns.pop("value"))
    # Columns without a cell say nothing, and an exported file has many of them.
    empty = [name for name, column in columns.items() if name not in ("variable", "time") and column.null_count == len(column)]
    for name in empty:
        del columns[name]
    if "value_int" in columns and "value" not in columns:
        columns["value"] = columns.pop("value_int")
    if "metadata" in columns and pa.types.is_dictionary(columns["metadata"].type):
        # Entries that no row uses, like the empty text of a scan, need not be JSON.
        columns["metadata"] = columns["metadata"].cast(pa.string())
    known = ("variable", "time", "value", "value_int", "value_bool", "value_text", "unit", "group", "lat", "lng", "metadata")
    return pa.table({name: columns[name] for name in known if name in columns})


def point_columns(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as fields of `as_point`."""
    import pyarrow as pa

    columns = {name: table.column(name) for name in table.column_names}
    columns["time_us"] = columns.pop("time").cast(pa.int64())
    lists = {name: column.to_pylist() for name, column in columns.items()}
    values = [lists.pop(name) for name in ("value", "value_int", "value_bool", "value_text") if name in lists]
    names = list(lists)
    for i, cells in enumerate(zip(*lists.values(), strict=True)):
        row = dict(zip(names, cells, strict=True))
        given = [cells[i] for cells in values if cells[i] is not None]
        row["value"] = given[0] if len(given) == 1 else None if not given else tuple(given)
        if row.get("group") is not None and isinstance(row["group"], bytes):
            row["group"] = row["group"].hex()
        yield row
