"""Arrow in, and `dataset` for a fleet out. It imports pyarrow, so only functions that take a table import this module.

Columns stay where they are: what is handed on is their buffers. Only unusual types are cast first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tsengine.arrow_out import dataset as dataset
from tsengine.arrow_sizes import inflated_bytes
from tsengine.core.ingest.table import Column, Table
from tsengine.errors import InputError, LimitError
from tsengine.limits import ARROW_INFLATED_BYTES, BATCH_POINTS
from tsengine.query.reader import KIND_INTEGER, KIND_NUMBER

GROUP_BYTES = 12
"""A group of 24 hexadecimal characters, packed."""

CELL_ALIGNMENT = 8
"""Bytes on which cells have to begin, to be read as numbers where they are."""

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def read_body(body: bytes, now_us: int) -> Table | None:
    """Return the points of an Arrow IPC stream that came from outside, or None if it has no rows. Nothing in it is trusted.

    Raises:
        InputError: the bytes are no such stream, or as `read_tables`. LimitError: more rows than a batch may hold, or compressed
            buffers of more than ARROW_INFLATED_BYTES, which are not inflated then.
    """
    try:
        size_bytes = inflated_bytes(body)
        if size_bytes > ARROW_INFLATED_BYTES:
            raise LimitError(
                f"the Arrow stream inflates to {size_bytes} bytes, at most {ARROW_INFLATED_BYTES} are allowed; send it in parts"
            )
        table = pa.ipc.open_stream(body).read_all()
        if table.num_rows > BATCH_POINTS:
            raise LimitError(f"a batch of {table.num_rows} points is too large, at most {BATCH_POINTS} are allowed; send it in parts")
        table.validate(full=True)  # offsets, codes and UTF-8: what comes after this reads them unchecked
        return read_table(table, now_us, with_device=False) if table.num_rows else None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"Malformed Arrow stream: {error}") from None


def to_arrow(table: Any) -> pa.Table:
    """Return a pyarrow.Table of a Table, RecordBatch, RecordBatchReader or anything with the Arrow C stream."""
    if isinstance(table, pa.Table):
        return table
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    if isinstance(table, pa.RecordBatchReader):
        return table.read_all()
    if hasattr(table, "__arrow_c_stream__"):
        return pa.table(table)
    raise InputError(f"expected an Arrow table, batch or stream, not {type(table).__name__}")


def read_tables(table: Any, now_us: int, rows: int, *, with_device: bool = False) -> Iterator[Table]:
    """Yield the points of a table, at most `rows` at a time; nothing for an empty one.

    Args:
        table: as `to_arrow`; the columns of `Device.append_arrow`, and `device` if that is wanted.

    Raises:
        InputError: a column is missing or of the wrong type, a row has two values, or a cell is outside its limits.
    """
    whole = to_arrow(table)
    for low in range(0, whole.num_rows, rows):
        yield read_table(whole.slice(low, rows), now_us, with_device=with_device)


def read_table(table: pa.Table, now_us: int, *, with_device: bool) -> Table:
    """Return the points of a table with at least one row; errors as `read_tables`."""
    value, kind = number_column(table)
    variable = text_column(table, "variable", required=True)
    assert variable is not None  # `required` has raised
    return Table(
        now_us,
        time_column(table),
        variable,
        count=table.num_rows,
        number=value,
        number_kind=kind,
        integer=integer_column(table),
        boolean=boolean_column(table),
        text=text_column(table, "value_text"),
        unit=text_column(table, "unit"),
        group=packed_column(table, "group") or text_column(table, "group"),
        metadata=text_column(table, "metadata"),
        lat=degrees_column(table, "lat"),
        lng=degrees_column(table, "lng"),
        device=text_column(table, "device", required=True) if with_device else None,
    )


def column_of(table: pa.Table, name: str, *, required: bool = False) -> pa.Array | None:
    """Return a column in one piece; None if it is missing or has nothing but nulls."""
    if name not in table.column_names:
        if required:
            raise InputError(f"the table has no column {name!r}")
        return None
    if table.column_names.count(name) > 1:
        raise InputError(f"the table has more than one column {name!r}")
    column = table.column(name)
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if required and whole.null_count:
        raise InputError(f"column {name!r} is null at row {whole.is_null().index(True).as_py()}")
    return None if whole.null_count == len(whole) else whole


def buffers_of(column: pa.Array, texts: list[Any] | None = None) -> Column:
    """Return the cells of an array with a validity bitmap and one buffer of cells."""
    valid, data = column.buffers()[:2]
    if data is not None and data.address % CELL_ALIGNMENT:  # a stream may lie anywhere in its bytes
        data = pa.py_buffer(data.to_pybytes())
    return Column(data, valid if column.null_count else None, column.offset, texts)


def time_column(table: pa.Table) -> Column:
    column = column_of(table, "time", required=True)
    if column is None:
        raise InputError("the table has no rows")
    if pa.types.is_timestamp(column.type):
        if column.type.unit == "ns":
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        elif column.type.unit != "us":
            try:
                column = column.cast(pa.timestamp("us", column.type.tz))
            except pa.ArrowInvalid:
                raise InputError("time: every time must lie in the years 1 to 9999") from None
    elif column.type != pa.int64():
        raise InputError(f"column 'time' must be a timestamp or int64 microseconds, not {column.type}")
    return buffers_of(column)


def number_column(table: pa.Table) -> tuple[Column | None, int]:
    """Return the cells of `value` and their kind."""
    column = column_of(table, "value")
    if column is None:
        return None, KIND_NUMBER
    if pa.types.is_integer(column.type):
        try:
            return buffers_of(column.cast(pa.int64())), KIND_INTEGER
        except pa.ArrowInvalid:
            raise InputError("column 'value' holds integers above the range of int64; give them as float64") from None
    if pa.types.is_floating(column.type):
        return buffers_of(column.cast(pa.float64())), KIND_NUMBER
    raise InputError(f"column 'value' must be a number, not {column.type}; text goes into 'value_text', booleans into 'value_bool'")


def integer_column(table: pa.Table) -> Column | None:
    """Return the cells of `value_int`: integers as they are, beside floats in `value`."""
    column = column_of(table, "value_int")
    if column is None:
        return None
    if not pa.types.is_integer(column.type):
        raise InputError(f"column 'value_int' must be integers, not {column.type}")
    return buffers_of(column.cast(pa.int64()))


def boolean_column(table: pa.Table) -> Column | None:
    column = column_of(table, "value_bool")
    if column is None:
        return None
    if not pa.types.is_boolean(column.type):
        raise InputError(f"column 'value_bool' must be boolean, not {column.type}")
    return buffers_of(column)


def packed_column(table: pa.Table, name: str) -> Column | None:
    """Return the cells of a column of 12 bytes a row as they lie in memory; None for any other."""
    column = column_of(table, name)
    if column is None or not is_packed(column.type):
        return None
    return buffers_of(column)


def text_column(table: pa.Table, name: str, *, required: bool = False) -> Column | None:
    """Return the codes of a text column, plain or dictionary, and its texts; 12 bytes stand for 24 hexadecimal characters."""
    column = column_of(table, name, required=required)
    if column is None:
        return None
    if not pa.types.is_dictionary(column.type):
        if not is_text(column.type):
            raise InputError(f"column {name!r} must be text, not {column.type}")
        column = column.dictionary_encode()
    if not (is_text(column.type.value_type) or is_packed(column.type.value_type)):
        raise InputError(f"column {name!r} must be text, not {column.type}")
    texts = column.dictionary.to_pylist()
    if None in texts:  # a null hidden in the dictionary
        column = column.cast(column.type.value_type).dictionary_encode()
        if required and column.null_count:
            raise InputError(f"column {name!r} is null at row {column.is_null().index(True).as_py()}")
        texts = column.dictionary.to_pylist()
    if is_packed(column.type.value_type):
        texts = [text.hex() for text in texts]
    if name == "metadata":
        texts = [to_json(text) for text in texts]
    try:
        codes = column.indices.cast(pa.int32())
    except pa.ArrowInvalid:
        raise InputError(f"column {name!r} has an index outside its dictionary") from None
    return buffers_of(codes, texts)


def degrees_column(table: pa.Table, name: str) -> Column | None:
    """Return degrees as float64 with NaN where there are none."""
    column = column_of(table, name)
    if column is None:
        return None
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise InputError(f"column {name!r} must be degrees as float64, not {column.type}")
    return buffers_of(pc.fill_null(column.cast(pa.float64()), float("nan")))


def is_text(type: pa.DataType) -> bool:
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type))


def is_packed(type: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_binary(type) and type.byte_width == GROUP_BYTES)


def to_json(text: str) -> msgspec.Raw | str:
    """Return a metadata text as checked JSON; text that is none stays text, and is refused if a row uses it."""
    try:
        _decode_object(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return msgspec.Raw(text.encode())
