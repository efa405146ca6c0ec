"""The workload as Arrow files on disk: every subject maps the same files, so that neither making nor holding the rows counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa


def save(tables: Iterable[pa.Table], folder: Path) -> Path:
    """Write each table to a file; hold one at a time."""
    folder.mkdir()
    for number, table in enumerate(tables):
        with pa.ipc.new_file(folder / f"{number:03}.arrow", table.schema) as writer:
            writer.write_table(table.combine_chunks())
    return folder


def load(folder: str | Path) -> Iterator[pa.Table]:
    """Yield the tables again, mapped from their files."""
    for path in sorted(Path(folder).iterdir()):
        yield pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def count(folder: str | Path) -> int:
    return sum(table.num_rows for table in load(folder))


def times_us(table: pa.Table) -> np.ndarray:
    return table.column("time").cast(pa.int64()).to_numpy()


def rows_where(table: pa.Table, column: str, text: str) -> np.ndarray:
    """Return the numbers of the rows that hold a text in a dictionary column."""
    array = table.column(column).chunk(0)
    return np.flatnonzero(array.indices.to_numpy() == array.dictionary.index(text).as_py())


def series(tables: Iterable[pa.Table], column: str, text: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
    """Return times and values of one variable or device within [start_us, end_us), by numpy alone."""
    times, values = [], []
    for table in tables:
        rows = rows_where(table, column, text)
        time = times_us(table)[rows]
        inside = (time >= start_us) & (time < end_us)
        times.append(time[inside])
        values.append(table.column("value").to_numpy()[rows][inside])
    time, value = np.concatenate(times), np.concatenate(values)
    order = np.argsort(time, kind="stable")
    return time[order], value[order]
