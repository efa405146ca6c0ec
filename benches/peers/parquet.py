"""Parquet files by pyarrow: one file a month, or one a table of the fleet."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

# Found on one month of the workload: the smallest of fifteen that are not slower to write than pyarrow's own choice.
OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["device", "variable", "value", "value_text", "unit", "metadata"],
    "column_encoding": {"time": "DELTA_BINARY_PACKED", "group": "BYTE_STREAM_SPLIT"},
}


def write(table: pa.Table, path: Path, level: int, row_group_size: int) -> None:
    """Write one file, durable on return."""
    encoding = {name: kind for name, kind in OPTIONS["column_encoding"].items() if name in table.column_names}
    options = OPTIONS | {"column_encoding": encoding, "compression_level": level, "row_group_size": row_group_size}
    pq.write_table(table, path, **options)
    for name in (path, path.parent):
        fd = os.open(name, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def codes_of(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).combine_chunks().indices.to_numpy()


def in_order(table: pa.Table, name: str) -> pa.Table:
    """Return the rows in order of a dictionary column and time."""
    return table.take(pa.array(np.lexsort((table.column("time").cast("int64").to_numpy(), codes_of(table, name)))))


def between(start_us: int, end_us: int) -> pc.Expression:
    low, high = (pa.scalar(us, pa.timestamp("us", "UTC")) for us in (start_us, end_us))
    return (ds.field("time") >= low) & (ds.field("time") < high)


class Base:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, devices: list[str] | None = None) -> None:
        self.folder.mkdir(parents=True)

    def open(self) -> None:
        self.dataset = ds.dataset(self.folder, format="parquet")

    def close(self) -> None:
        pass

    def count(self) -> int:
        return self.dataset.count_rows()

    def _read(self, filter: pc.Expression) -> tuple[np.ndarray, np.ndarray]:
        found = self.dataset.to_table(columns=["time", "value"], filter=filter).sort_by("time")
        return found.column("time").cast("int64").to_numpy(), found.column("value").to_numpy()


class Store(Base):
    settings = f"pyarrow {pa.__version__}, zstd level 3, rows as they come, a file a month; file and folder fsynced"
    level = 3

    def arranged(self, table: pa.Table) -> pa.Table:
        return table

    def ingest(self, tables: Iterable[pa.Table]) -> None:
        for table in tables:
            first = table.column("time")[0].as_py()
            write(self.arranged(table), self.folder / f"{first:%Y-%m}.parquet", self.level, 1 << 20)

    def read(self, variable: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        return self._read(between(start_us, end_us) & (ds.field("variable") == variable))

    def drop_month(self, start_us: int, end_us: int) -> None:
        min(self.folder.iterdir()).unlink()
        fd = os.open(self.folder, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


class SortedStore(Store):
    settings = f"pyarrow {pa.__version__}, zstd level 9, rows by variable and time, a file a month; file and folder fsynced"
    level = 9

    def arranged(self, table: pa.Table) -> pa.Table:
        return in_order(table, "variable")


class Fleet(Base):
    settings = f"pyarrow {pa.__version__}, zstd level 3, rows of a table by device and time; file and folder fsynced"

    def ingest(self, tables: Iterable[pa.Table]) -> None:
        for number, table in enumerate(tables):
            write(in_order(table, "device"), self.folder / f"{number:03}.parquet", 3, 100_000)

    def last(self, devices: list[str]) -> list[float]:
        newest = pq.read_table(max(self.folder.iterdir()), columns=["device", "time", "value"], filters=[("device", "in", devices)])
        found = dict(zip(newest.column("device").to_pylist(), newest.column("value").to_pylist(), strict=True))
        return [found[device] for device in devices]  # rows are in order of time: the last of a device stays

    def read(self, device: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        return self._read(between(start_us, end_us) & (ds.field("device") == device))


STORE = {"Parquet": Store, "Parquet, sorted": SortedStore}
FLEET = {"Parquet": Fleet}
