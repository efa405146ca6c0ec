"""Polars: lazy scans of Parquet files that Polars itself wrote, one a month, rows by variable and time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

FUNCTIONS = {"avg": "mean", "sum": "sum", "min": "min", "max": "max", "count": "count"}


class Store:
    settings = f"{pl.__version__}, zstd level 3, rows by variable and time, a file a month; file and folder fsynced"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self) -> None:
        self.folder.mkdir(parents=True)

    def ingest(self, tables: Iterable[pa.Table]) -> None:
        for table in tables:
            rows = pl.DataFrame(pl.from_arrow(table)).sort("variable", "time")
            path = self.folder / f"{rows['time'].min():%Y-%m}.parquet"
            rows.write_parquet(path, compression="zstd", compression_level=3, row_group_size=100_000)
            for name in (path, self.folder):
                fd = os.open(name, os.O_RDONLY)
                os.fsync(fd)
                os.close(fd)

    def open(self) -> None:
        self.points = pl.scan_parquet(self.folder / "*.parquet")

    def close(self) -> None:
        pass

    def count(self) -> int:
        return self.points.select(pl.len()).collect().item()

    def part(self, variable: str, start_us: int, end_us: int) -> pl.LazyFrame:
        low, high = (pl.lit(us).cast(pl.Datetime("us", "UTC")) for us in (start_us, end_us))
        return self.points.filter((pl.col("variable") == variable) & pl.col("time").is_between(low, high, closed="left"))

    def read(self, variable: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        found = self.part(variable, start_us, end_us).select(pl.col("time").cast(pl.Int64), "value").collect()
        return found["time"].to_numpy(), found["value"].to_numpy()

    def aggregate(self, variable: str, functions: list[str], every_us: int | None, start_us: int, end_us: int) -> list[Any]:
        made = [getattr(pl.col("value"), FUNCTIONS[name])().alias(name) for name in functions]
        part = self.part(variable, start_us, end_us)
        if every_us is None:
            return part.select(made).collect().get_columns()
        bucket = pl.col("time").cast(pl.Int64) // every_us
        return part.group_by(bucket).agg(made).sort("time").select(functions).collect().get_columns()

    def totals(self) -> dict[str, float]:
        made = pl.when(pl.col("value").count() > 0).then(pl.col("value").sum()).otherwise(pl.col("value_bool").sum())
        found = self.points.filter(pl.col("variable") != "mode").group_by(pl.col("variable").cast(pl.String)).agg(made)
        return dict(found.collect().iter_rows())

    def count_above(self, variable: str, bound: float) -> int:
        return self.points.filter((pl.col("variable") == variable) & (pl.col("value") > bound)).select(pl.len()).collect().item()

    def newest_file(self) -> pl.LazyFrame:
        return pl.scan_parquet(max(self.folder.iterdir()))

    def newest(self, limit: int, skip: int) -> list[int]:
        found = self.newest_file().top_k(limit + skip, by="time").sort("time", descending=True).collect()
        return found["time"].cast(pl.Int64).to_list()[skip:]

    def last(self) -> dict[str, Any]:
        columns = [pl.col(name).sort_by("time").last() for name in ("value", "value_bool", "value_text")]
        found = self.newest_file().group_by(pl.col("variable").cast(pl.String)).agg(columns).collect()
        return {name: next(cell for cell in cells if cell is not None) for name, *cells in found.iter_rows()}

    def drop_month(self, start_us: int, end_us: int) -> None:
        min(self.folder.iterdir()).unlink()
        fd = os.open(self.folder, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


STORE = {"Polars": Store}
