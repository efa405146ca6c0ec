"""Arrow streams: what is accepted are the rows that pyarrow shows, cell by cell."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tests.ingest.test_arrow_body import CODED, TABLE, rows_of, stream
from tsengine import arrow, arrow_sizes

MODULES = (arrow, arrow_sizes)
PLAIN = ("variable", "unit")
VALUES = ("value", "value_bool", "value_text")


def seeds() -> list[bytes]:
    few = TABLE.slice(0, 2)
    return [
        stream(few),
        stream(CODED.slice(0, 2), 2, compression="lz4"),
        stream(few.select(["variable", "time", "value"]), compression="zstd"),
    ]


def run(data: bytes) -> None:
    rows = rows_of(data)
    table = pa.ipc.open_stream(data).read_all()
    assert len(rows) == table.num_rows
    if not rows:
        return
    for name in PLAIN:
        cells = cells_of(table, name)
        assert [getattr(row, name) for row in rows] == [cell.lower() if name == "variable" else cell for cell in cells], name
    for row, *place in zip(rows, cells_of(table, "lat"), cells_of(table, "lng"), strict=True):
        assert (row.lat, row.lng) == ((None, None) if any(part is None or part != part for part in place) else tuple(place))
    times = table["time"]
    if (pa.types.is_timestamp(times.type) and times.type.unit == "us") or times.type == pa.int64():
        assert [row.time_us for row in rows] == times.cast(pa.int64()).to_pylist()
    for row, *cells in zip(rows, *(cells_of(table, name) for name in VALUES), strict=True):
        found = [cell for cell in cells if cell is not None]
        assert len(found) < 2
        value = found[0] if found else None
        assert isinstance(row.value, bool | str) == isinstance(value, bool | str)
        assert row.value == value or (row.value != row.value and value != value)


def cells_of(table: Any, name: str) -> list[Any]:
    return table[name].to_pylist() if name in table.column_names else [None] * table.num_rows
