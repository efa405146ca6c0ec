"""Arrow in, and `dataset` for a fleet out. Imported only where a table is read: pyarrow costs more than opening a store."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tsengine.core.ingest.columns import from_columns, merge_values
from tsengine.errors import InputError
from tsengine.limits import BATCH_POINTS
from tsengine.query import KIND_BOOLEAN, KIND_INTEGER, KIND_NUMBER, KIND_TEXT
from tsengine.stream import dataset as dataset


def to_table(table: Any) -> pa.Table:
    """Return a Table of a Table, RecordBatch, RecordBatchReader or anything with the Arrow C stream."""
    if isinstance(table, pa.Table):
        return table
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    if isinstance(table, pa.RecordBatchReader):
        return table.read_all()
    if hasattr(table, "__arrow_c_stream__"):
        return pa.table(table)
    raise InputError(f"expected an Arrow table, batch or stream, not {type(table).__name__}")


def read_stream(body: bytes) -> pa.Table:
    """Return the table of an Arrow IPC stream.

    Raises:
        InputError: the bytes are no such stream.
    """
    try:
        return pa.ipc.open_stream(body).read_all()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"Malformed Arrow stream: {error}") from None


def split_devices(table: Any) -> Iterator[tuple[str, pa.Table]]:
    """Yield (device id or serial, its rows without the `device` column), in order of first appearance.

    Raises:
        InputError: there is no `device` column of text, or it has nulls.
    """
    whole = to_table(table)
    codes, names = text_codes(whole, "device", required=True)
    rest = whole.drop_columns(["device"])
    order = np.argsort(codes, kind="stable")
    bounds = np.flatnonzero(np.diff(codes[order], prepend=-1, append=-1))
    parts = [order[low:high] for low, high in pairwise(bounds.tolist())]
    for rows in sorted(parts, key=lambda rows: int(rows[0])):
        yield names[int(codes[rows[0]])], rest.take(pa.array(rows))


def records_of_table(table: Any, now_us: int) -> Iterator[bytes]:
    """Yield the records of a table's rows, BATCH_POINTS at a time; errors as `record_of_table`."""
    whole = to_table(table)
    for low in range(0, whole.num_rows, BATCH_POINTS):
        yield record_of_table(whole.slice(low, BATCH_POINTS), now_us)


def record_of_table(table: Any, now_us: int) -> bytes:
    """Return the record of a table's rows; empty bytes if it has none.

    Raises:
        InputError: a column is missing or of the wrong type, a row has two values, or a cell is outside its limits.
    """
    whole = to_table(table)
    count = whole.num_rows
    if count == 0:
        return b""
    codes, names = text_codes(whole, "variable", required=True)
    kind, bits, texts = value_columns(whole)
    unit_codes, units = text_codes(whole, "unit")
    metadata_codes, metadatas = text_codes(whole, "metadata")
    group_bytes = group_cells(whole)
    group_codes, groups = text_codes(whole, "group") if group_bytes is None else (None, [])
    return from_columns(
        time_column(whole),
        codes.astype(np.uint32),
        names,
        kind,
        bits,
        texts,
        now_us,
        unit=None if not units else (unit_codes + 1).astype(np.uint32),
        units=units,
        groups=None if group_codes is None or not groups else ((group_codes + 1).astype(np.uint32), groups),
        lat=degrees_column(whole, "lat"),
        lng=degrees_column(whole, "lng"),
        metadata=None if not metadatas else (metadata_codes + 1).astype(np.uint32),
        metadatas=[to_json(text) for text in metadatas],
        group_bytes=group_bytes,
    )


def column_of(table: pa.Table, name: str) -> pa.Array | None:
    if name not in table.column_names:
        return None
    column = table.column(name)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def text_codes(table: pa.Table, name: str, *, required: bool = False) -> tuple[np.ndarray, list[str]]:
    """Return (code of each row as int32, texts) of a text column, plain, dictionary or 12 bytes for 24 hexadecimal characters.

    Code -1 = null; no column = all null. Texts that no row uses are left out: what they hold is nobody's data.
    """
    column = column_of(table, name)
    if column is None or (pa.types.is_null(column.type) and not required):
        if required:
            raise InputError(f"the table has no column {name!r}")
        return np.full(table.num_rows, -1, np.int32), []
    if not pa.types.is_dictionary(column.type):
        if not (is_text(column.type) or is_packed_group(column.type)):
            raise InputError(f"column {name!r} must be text, not {column.type}")
        column = column.dictionary_encode()
    if not (is_text(column.type.value_type) or is_packed_group(column.type.value_type)):
        raise InputError(f"column {name!r} must be text, not {column.type}")
    if required and column.null_count:
        raise InputError(f"column {name!r} is null at row {column.is_null().index(True).as_py()}")
    codes = pc.fill_null(column.indices.cast(pa.int32()), -1).to_numpy(zero_copy_only=False)
    texts = column.dictionary.to_pylist()
    if column.null_count < len(column) and (codes[valid(column)] < 0).any():
        raise InputError(f"column {name!r} has an index outside its dictionary")
    used = np.zeros(len(texts) + 1, bool)
    used[codes] = True  # the last cell stands for -1
    if not used[:-1].all():
        renumbered = np.append(np.cumsum(used[:-1]) - 1, -1).astype(np.int32)
        codes, texts = renumbered[codes], [text for text, is_used in zip(texts, used[:-1], strict=True) if is_used]
    return codes, [text.hex() if isinstance(text, bytes) else text for text in texts]


def is_text(type: pa.DataType) -> bool:
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type))


def is_packed_group(type: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_binary(type) and type.byte_width == 12)


def group_cells(table: pa.Table) -> np.ndarray | None:
    """Return the bytes of a group column of 12 bytes a row without nulls, as they lie in memory; None for any other."""
    column = column_of(table, "group")
    if column is None or not is_packed_group(column.type) or column.null_count:
        return None
    data = np.frombuffer(column.buffers()[1], np.uint8)
    return data[12 * column.offset : 12 * (column.offset + len(column))]


def time_column(table: pa.Table) -> np.ndarray:
    column = column_of(table, "time")
    if column is None:
        raise InputError("the table has no column 'time'")
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
    elif column.type != pa.int64():
        raise InputError(f"column 'time' must be a timestamp or int64 microseconds, not {column.type}")
    if column.null_count:
        raise InputError(f"column 'time' is null at row {column.is_null().index(True).as_py()}")
    return np.ascontiguousarray(column.to_numpy(zero_copy_only=False), dtype=np.int64)


def value_columns(table: pa.Table) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return (kind of each row, 64-bit cells, texts) of value, value_bool and value_text; at most one is set in a row."""
    kind = np.zeros(table.num_rows, np.uint8)
    bits = np.zeros(table.num_rows, np.int64)
    texts: list[str] = []
    integers = column_of(table, "value_int")
    for name in ("value", "value_int", "value_bool", "value_text"):
        column = column_of(table, name)
        if column is None or column.null_count == len(column):
            continue
        if name == "value_text":
            codes, texts = text_codes(table, name)
            cells, is_valid, code = codes.astype(np.int64), codes >= 0, KIND_TEXT
        elif name == "value_bool":
            if not pa.types.is_boolean(column.type):
                raise InputError(f"column 'value_bool' must be boolean, not {column.type}")
            cells = pc.fill_null(column, False).to_numpy(zero_copy_only=False).astype(np.int64)
            is_valid, code = valid(column), KIND_BOOLEAN
        elif name == "value_int" and not pa.types.is_integer(column.type):
            raise InputError(f"column 'value_int' must be integers, not {column.type}")
        elif pa.types.is_integer(column.type):
            cells, is_valid, code = cells_of(column.cast(pa.int64()), np.int64), valid(column), KIND_INTEGER
        elif pa.types.is_floating(column.type):
            cells, is_valid, code = cells_of(column.cast(pa.float64()), np.float64), valid(column), KIND_NUMBER
        else:
            raise InputError(f"column 'value' must be a number, not {column.type}; text goes into 'value_text', booleans into 'value_bool'")
        if name == "value" and integers is not None:  # `value` has them, too, as floats: see tsengine.stream
            is_valid = is_valid & ~valid(integers)
        clash = merge_values(kind, bits, cells, is_valid.view(np.uint8), code)
        if clash >= 0:
            raise InputError(f"row {clash} has two values")
    return kind, bits, texts


def cells_of(column: pa.Array, dtype: type) -> np.ndarray:
    """Return the 64-bit cells of a column as they lie in memory; those of nulls may be anything."""
    return np.frombuffer(column.buffers()[1], dtype)[column.offset : column.offset + len(column)].view(np.int64)


def degrees_column(table: pa.Table, name: str) -> np.ndarray | None:
    column = column_of(table, name)
    if column is None or column.null_count == len(column):
        return None
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise InputError(f"column {name!r} must be degrees as float64, not {column.type}")
    return np.ascontiguousarray(pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy(zero_copy_only=False))


def valid(column: pa.Array) -> np.ndarray:
    return column.is_valid().to_numpy(zero_copy_only=False)


def to_json(text: str) -> Any:
    import msgspec

    try:
        decoded = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"metadata must be JSON objects as text: {error}") from None
    return msgspec.Raw(text.encode()) if decoded is not None else None
