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

from benches.workload import UNTIL_US

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

    def part(self, variable: str, start_us: int, end_us: int) -> pa.Table:
        return self.dataset.to_table(columns=["time", "value"], filter=between(start_us, end_us) & (ds.field("variable") == variable))

    def aggregate(self, variable: str, functions: list[str], every_us: int | None, start_us: int, end_us: int) -> list[Any]:
        names = [("value", {"avg": "mean"}.get(name, name)) for name in functions]
        table = self.part(variable, start_us, end_us)
        bucket = pc.divide(table.column("time").cast("int64"), every_us or UNTIL_US)
        found = table.append_column("bucket", bucket).group_by("bucket").aggregate(names).sort_by("bucket")
        return [found.column(f"value_{name}") for _, name in names]

    def totals(self) -> dict[str, float]:
        table = self.dataset.to_table(columns=["variable", "value", "value_bool"], filter=ds.field("variable") != "mode")
        found = table.group_by("variable").aggregate([("value", "sum"), ("value_bool", "sum")])
        totals = pc.coalesce(found.column("value_sum"), found.column("value_bool_sum").cast("double"))
        return dict(zip(found.column("variable").to_pylist(), totals.to_pylist(), strict=True))

    def count_above(self, variable: str, bound: float) -> int:
        return self.dataset.count_rows(filter=(ds.field("variable") == variable) & (ds.field("value") > bound))

    def newest_file(self) -> pa.Table:
        return ds.dataset(max(self.folder.iterdir()), format="parquet").to_table()

    def newest(self, limit: int, skip: int) -> list[int]:
        table = self.newest_file()
        order = pc.select_k_unstable(table, k=limit + skip, sort_keys=[("time", "descending")])
        return table.take(order[skip:]).column("time").cast("int64").to_pylist()

    def last(self) -> dict[str, Any]:
        columns = ("value", "value_bool", "value_text")
        table = self.newest_file()
        table = table.set_column(table.column_names.index("value_text"), "value_text", table.column("value_text").cast("string"))
        found = table.group_by("variable", use_threads=False).aggregate([(name, "last") for name in columns])
        rows = zip(*(found.column(name).to_pylist() for name in ("variable", *(f"{name}_last" for name in columns))), strict=True)
        return {name: next(cell for cell in cells if cell is not None) for name, *cells in rows}


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
