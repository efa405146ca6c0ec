"""Results as Arrow tables and streams. It imports pyarrow, so only functions that make a table import this module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from tsengine import ids
from tsengine.core.store.points import PointBuffer
from tsengine.core.store.scan import WANTS, SeriesScan
from tsengine.errors import InputError
from tsengine.query import KIND_BOOLEAN, KIND_INTEGER, KIND_NUMBER, KIND_TEXT, Reader
from tsengine.types import Filter

TEXT_CODES = pa.dictionary(pa.int32(), pa.string())
TIMES = pa.timestamp("us", "UTC")

SCHEMA = pa.schema(
    [
        ("variable", TEXT_CODES),
        ("time", TIMES),
        ("value", pa.float64()),
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
"""Schema of `scan`. `value` is int64 where every value of the scan is an integer."""

BATCH_ROWS = 65_536
"""Rows of one record batch of a scan, at most: some megabytes, so that memory stays bounded and calls do not count."""

WANT_OF_COLUMN = {"unit": "unit", "group": "group", "lat": "location", "lng": "location", "metadata": "metadata"}


def aggregate_table(times: np.ndarray, columns: dict[str, np.ndarray]) -> pa.Table:
    """Return a table of `time` and one column a function."""
    return pa.table({"time": pa.array(times).cast(TIMES), **{name: pa.array(values) for name, values in columns.items()}})


def scan_reader(reader: Reader, filter: Filter, columns: Sequence[str] | None) -> pa.RecordBatchReader:
    """Return a stream of the points of a filter: variable by variable, ascending in time.

    Raises:
        InputError: a column is unknown.
    """
    names = SCHEMA.names if columns is None else list(columns)
    for name in names:
        if name not in SCHEMA.names:
            raise InputError(f"unknown column {name!r}; these are known: {', '.join(SCHEMA.names)}")
    want = WANTS["sequence"] | (WANTS["value"] if any(name.startswith("value") for name in names) else 0)
    for name in names:
        if name in WANT_OF_COLUMN:
            want |= WANTS[WANT_OF_COLUMN[name]]
    scans = reader.scans(filter, want)
    is_integer = not any(scan.kind == KIND_NUMBER for _, scan in scans) and any(scan.kind == KIND_INTEGER for _, scan in scans)
    fields = {field.name: field for field in SCHEMA}
    if is_integer:
        fields["value"] = pa.field("value", pa.int64())
    schema = pa.schema([fields[name] for name in names])
    batches = (
        pa.record_batch([column_out(reader.info.number, variable, points, field) for field in schema], schema=schema)
        for variable, scan in scans
        for points in runs_of(scan)
    )
    return pa.RecordBatchReader.from_batches(schema, batches)


def runs_of(scan: SeriesScan) -> Iterator[PointBuffer]:
    """Yield the points of a scan in buffers of about BATCH_ROWS."""
    while (points := scan.next_points(BATCH_ROWS)) is not None:
        yield points


def column_out(device: int, variable: str, points: PointBuffer, field: pa.Field) -> pa.Array:
    """Return one column of a record batch."""
    count = len(points)
    match field.name:
        case "variable":
            return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([variable]))
        case "time":
            return pa.array(points.times()).cast(TIMES)
        case "value":
            has_value = points.kind in (KIND_NUMBER, KIND_INTEGER)
            return pa.array(points.values()).cast(field.type, safe=False) if has_value else pa.nulls(count, field.type)
        case "value_bool":
            return pa.array(points.values()) if points.kind == KIND_BOOLEAN else pa.nulls(count, field.type)
        case "value_text":
            if points.kind != KIND_TEXT:
                return pa.nulls(count, field.type)
            codes, texts = points.text_codes()
            return dictionary_out(codes, texts, None)
        case "id":
            return pa.array([ids.point_id(device, sequence) for sequence in points.sequences().tolist()], pa.string())
        case "unit" | "metadata":
            codes, texts = points.columns(device)[field.name]
            return dictionary_out(codes.astype(np.int64) - 1, texts, codes == 0)
        case _:
            values = points.columns(device)[field.name]
            return pa.array(values, field.type, mask=np.isnan(values)) if field.name in ("lat", "lng") else pa.array(values, field.type)


def dictionary_out(codes: np.ndarray, texts: list[bytes], mask: np.ndarray | None) -> pa.Array:
    """Return a dictionary array of the texts that these codes use; the others may be of another column."""
    used, packed = np.unique(codes, return_inverse=True)
    names = [texts[code].decode() if code >= 0 else "" for code in used.tolist()]
    indices = pa.array(packed.reshape(-1).astype(np.int32), mask=mask)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()))
