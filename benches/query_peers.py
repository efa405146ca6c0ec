"""What one would ask instead: the workload in Parquet, DuckDB, SQLite and Polars, each answering the same questions.

Each holds the columns variable, time (int64 microseconds) and value (numbers, and booleans as 0 and 1), by variable and time, as
one would lay them out for these questions. DuckDB and Polars take part where they are installed.
"""

from __future__ import annotations

import importlib.util
import sqlite3
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benches.workload import VARIABLES, month_table

WIDTHS_US = {"1m": 60_000_000, "1h": 3_600_000_000, "1d": 86_400_000_000}
SQL = {"avg": "avg(value)", "sum": "sum(value)", "min": "min(value)", "max": "max(value)", "count": "count(value)"}
ALL_TIME = (0, 2**62)


def numeric(month: int) -> pa.Table:
    """One month as the peers hold it."""
    table = month_table(month)
    value = pc.coalesce(table.column("value"), table.column("value_bool").cast(pa.float64()))
    columns = {"variable": table.column("variable").cast(pa.string()), "time": table.column("time").cast(pa.int64()), "value": value}
    return pa.table(columns).sort_by([("variable", "ascending"), ("time", "ascending")])


class Peer(ABC):
    """Another store with the workload in it; bounds are inclusive microseconds."""

    package: ClassVar[str]

    @classmethod
    def is_installed(cls) -> bool:
        return importlib.util.find_spec(cls.package) is not None

    @abstractmethod
    def __init__(self, folder: Path, months: int) -> None: ...

    @abstractmethod
    def read(self, variable: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]: ...

    @abstractmethod
    def aggregate(self, variable: str | None, functions: list[str], every: str | None, start: int, end: int) -> list[tuple[Any, ...]]:
        """Rows of the results in order of time; of several variables their sums."""

    @abstractmethod
    def count_above(self, variable: str, bound: float) -> int: ...

    @abstractmethod
    def newest(self, limit: int, skip: int) -> list[int]:
        """Times of a page over all variables."""

    @abstractmethod
    def last(self) -> dict[str, float | None]: ...


class SqlPeer(Peer):
    @abstractmethod
    def rows(self, text: str, *values: Any) -> list[tuple[Any, ...]]: ...

    def aggregate(self, variable: str | None, functions: list[str], every: str | None, start: int, end: int) -> list[tuple[Any, ...]]:
        wanted = ", ".join(SQL[name] for name in functions)
        if variable is None:
            return self.rows(f"select {wanted} from points where variable <> 'mode' group by variable order by variable")
        if every is None:
            return self.rows(f"select {wanted} from points where variable = ?", variable)
        bucket = f"time {'/' if isinstance(self, SqlitePeer) else '//'} {WIDTHS_US[every]}"
        part = "variable = ? and time between ? and ?"
        return self.rows(f"select {wanted} from points where {part} group by {bucket} order by {bucket}", variable, start, end)

    def count_above(self, variable: str, bound: float) -> int:
        return int(self.rows("select count(*) from points where variable = ? and value > ?", variable, bound)[0][0])

    def newest(self, limit: int, skip: int) -> list[int]:
        return [row[0] for row in self.rows("select time, variable, value from points order by time desc limit ? offset ?", limit, skip)]


class SqlitePeer(SqlPeer):
    package = "sqlite3"

    def __init__(self, folder: Path, months: int) -> None:
        self._db = sqlite3.connect(folder / "sqlite")
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("create table points (variable text, time int, value real, primary key (variable, time)) without rowid")
        for month in range(months):
            table = numeric(month)
            self._db.executemany("insert into points values (?, ?, ?)", zip(*(c.to_pylist() for c in table.columns), strict=True))
        self._db.execute("create index by_time on points (time)")
        self._db.commit()

    def rows(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._db.execute(text, values).fetchall()

    def read(self, variable: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.rows("select time, value from points where variable = ? and time between ? and ? order by time", variable, start, end)
        return np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows])

    def last(self) -> dict[str, float | None]:
        text = "select value from points where variable = ? order by time desc limit 1"
        return {name: self.rows(text, name)[0][0] for name in VARIABLES}


class DuckdbPeer(SqlPeer):
    package = "duckdb"

    def __init__(self, folder: Path, months: int) -> None:
        import duckdb

        self._db = duckdb.connect(str(folder / "duckdb"))
        self._db.execute("set threads = 1")
        self._db.execute("create table points (variable varchar, time bigint, value double)")
        for month in range(months):
            self._db.register("month", numeric(month))
            self._db.execute("insert into points select * from month")

    def rows(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._db.execute(text, values).fetchall()
        return found

    def read(self, variable: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        text = "select time, value from points where variable = ? and time between ? and ? order by time"
        found = self._db.execute(text, (variable, start, end)).fetchnumpy()
        return found["time"], found["value"]

    def last(self) -> dict[str, float | None]:
        return dict(self.rows("select variable, arg_max(value, time) from points group by variable"))  # type: ignore[arg-type]


class ParquetPeer(Peer):
    package = "pyarrow"

    def __init__(self, folder: Path, months: int) -> None:
        (folder / "parquet").mkdir()
        for month in range(months):
            pq.write_table(numeric(month), folder / "parquet" / f"{month:02}.parquet", compression="zstd", row_group_size=100_000)
        self._points = ds.dataset(folder / "parquet")

    def table(self, variable: str, start: int, end: int) -> pa.Table:
        is_wanted = (ds.field("variable") == variable) & (ds.field("time") >= start) & (ds.field("time") <= end)
        return self._points.to_table(columns=["time", "value"], filter=is_wanted, use_threads=False)

    def read(self, variable: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        table = self.table(variable, start, end)
        return table.column("time").to_numpy(), table.column("value").to_numpy()

    def aggregate(self, variable: str | None, functions: list[str], every: str | None, start: int, end: int) -> list[tuple[Any, ...]]:
        names = [("value", {"avg": "mean"}.get(name, name)) for name in functions]
        if variable is None:
            table = self._points.to_table(columns=["variable", "value"], filter=ds.field("variable") != "mode", use_threads=False)
            found = table.group_by("variable", use_threads=False).aggregate(names).sort_by("variable")
        else:
            table = self.table(variable, start, end)
            width = WIDTHS_US[every] if every else 2**62
            table = table.append_column("bucket", pc.divide(table.column("time"), width))
            found = table.group_by("bucket", use_threads=False).aggregate(names)
        return list(zip(*(found.column(f"value_{name}").to_pylist() for _, name in names), strict=True))

    def count_above(self, variable: str, bound: float) -> int:
        return int(self._points.count_rows(filter=(ds.field("variable") == variable) & (ds.field("value") > bound), use_threads=False))

    def newest(self, limit: int, skip: int) -> list[int]:
        newest = list(self._points.get_fragments())[-1].to_table(columns=["time"], use_threads=False).column("time")
        order = pc.select_k_unstable(pa.table({"time": newest}), k=limit + skip, sort_keys=[("time", "descending")])
        times: list[int] = newest.take(order).to_pylist()[skip:]
        return times

    def last(self) -> dict[str, float | None]:
        newest = list(self._points.get_fragments())[-1].to_table(use_threads=False)
        found = newest.group_by("variable", use_threads=False).aggregate([("value", "last")])
        return dict(zip(found.column("variable").to_pylist(), found.column("value_last").to_pylist(), strict=True))


class PolarsPeer(Peer):
    package = "polars"

    def __init__(self, folder: Path, months: int) -> None:
        import polars as pl

        (folder / "polars").mkdir()
        for month in range(months):
            pq.write_table(numeric(month), folder / "polars" / f"{month:02}.parquet", compression="zstd", row_group_size=100_000)
        self._pl = pl
        self._points = pl.scan_parquet(folder / "polars" / "*.parquet")

    def part(self, variable: str, start: int, end: int) -> Any:
        pl = self._pl
        return self._points.filter((pl.col("variable") == variable) & pl.col("time").is_between(start, end))

    def read(self, variable: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        found = self.part(variable, start, end).select("time", "value").collect()
        return found["time"].to_numpy(), found["value"].to_numpy()

    def aggregate(self, variable: str | None, functions: list[str], every: str | None, start: int, end: int) -> list[tuple[Any, ...]]:
        pl = self._pl
        made = [getattr(pl.col("value"), {"avg": "mean"}.get(name, name))().alias(name) for name in functions]
        if variable is None:
            found = self._points.filter(pl.col("variable") != "mode").group_by("variable").agg(made).sort("variable")
        elif every is None:
            found = self.part(variable, start, end).select(made)
        else:
            found = self.part(variable, start, end).group_by(pl.col("time") // WIDTHS_US[every]).agg(made).sort("time")
        rows: list[tuple[Any, ...]] = found.select(functions).collect().rows()
        return rows

    def count_above(self, variable: str, bound: float) -> int:
        pl = self._pl
        return int(self._points.filter((pl.col("variable") == variable) & (pl.col("value") > bound)).select(pl.len()).collect().item())

    def newest(self, limit: int, skip: int) -> list[int]:
        times: list[int] = (
            self._points.select("time").top_k(limit + skip, by="time").sort("time", descending=True).collect()["time"].to_list()
        )
        return times[skip:]

    def last(self) -> dict[str, float | None]:
        pl = self._pl
        found = self._points.group_by("variable").agg(pl.col("value").sort_by("time").last()).collect()
        return dict(found.iter_rows())


PEERS: dict[str, type[Peer]] = {"duckdb": DuckdbPeer, "parquet": ParquetPeer, "sqlite": SqlitePeer, "polars": PolarsPeer}
