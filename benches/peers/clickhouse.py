"""ClickHouse in this process (chdb): a MergeTree, with the codecs its manual names for such columns."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import chdb
import numpy as np
import pyarrow as pa
from chdb import session

from benches.tsbs.sql import SqlTsbs

# ALP and DoubleDelta/Delta were the smallest of those tried on one month; a 12-byte group is two counters, as they compress far better.
VALUE = "Nullable(Float64) CODEC(ALP, ZSTD(1))"
TIME = "DateTime64(6, 'UTC') CODEC(Delta, ZSTD(3))"
TEXT = "LowCardinality(Nullable(String))"
GROUP = "Tuple(head UInt32, tail UInt64) CODEC(DoubleDelta, ZSTD(1))"
SPLIT_GROUP = "(reinterpretAsUInt32(reverse(substring(`group`, 1, 4))), reinterpretAsUInt64(reverse(substring(`group`, 5, 8))))"


class Base:
    settings = f"{chdb.engine_version}, MergeTree by month, fsync_after_insert and fsync_part_directory"
    columns: str
    order: str
    select = "*"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, devices: list[str] | None = None) -> None:
        self.open()
        self.db.query("CREATE DATABASE bench")
        self.db.query(
            f"CREATE TABLE bench.points ({self.columns}) ENGINE = MergeTree PARTITION BY toYYYYMM(time) ORDER BY ({self.order}) "
            "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 1"
        )

    def open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.db = session.Session(str(self.folder))
        self.db.query("SET enable_alp_codec = 1")

    def close(self) -> None:
        self.db.close()

    def rows(self, sql: str) -> pa.Table:
        return pa.ipc.open_file(self.db.query(sql, "Arrow").bytes()).read_all()

    def value(self, sql: str) -> Any:
        return self.rows(sql).column(0)[0].as_py()

    def count(self) -> int:
        return self.value("SELECT count() AS n FROM bench.points")

    def ingest(self, tables: Iterable[pa.Table]) -> None:
        for rows in tables:  # noqa: B007 - ClickHouse finds it by its name
            self.db.query(f"INSERT INTO bench.points SELECT {self.select} FROM Python(rows)")

    def _read(self, condition: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        found = self.rows(
            f"SELECT toUnixTimestamp64Micro(time) AS t, value AS v FROM bench.points "
            f"WHERE {condition} AND {between(start_us, end_us)} ORDER BY time"
        )
        return found.column("t").to_numpy(), found.column("v").to_numpy()


class Store(Base):
    columns = (
        f"variable LowCardinality(String), time {TIME}, value {VALUE}, value_bool Nullable(Bool), value_text {TEXT}, "
        f"unit {TEXT}, `group` {GROUP}, metadata {TEXT}"
    )
    order = "variable, time"
    select = f"variable, time, value, value_bool, value_text, unit, {SPLIT_GROUP}, metadata"

    def read(self, variable: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        return self._read(f"variable = '{variable}'", start_us, end_us)

    def aggregate(self, variable: str, functions: list[str], every_us: int | None, start_us: int, end_us: int) -> list[Any]:
        wanted = ", ".join(f"{name}(value) AS {name}_" for name in functions)
        bucket = f"intDiv(toUnixTimestamp64Micro(time), {every_us})"
        grouped = f"GROUP BY {bucket} ORDER BY {bucket}" if every_us else ""
        found = self.rows(f"SELECT {wanted} FROM bench.points WHERE variable = '{variable}' AND {between(start_us, end_us)} {grouped}")
        return found.columns

    def totals(self) -> dict[str, float]:
        total = "coalesce(sum(value), toFloat64(sum(value_bool)))"
        found = self.rows(f"SELECT variable, {total} AS total FROM bench.points WHERE variable <> 'mode' GROUP BY variable")
        return dict(zip(texts(found.column("variable")), found.column("total").to_pylist(), strict=True))

    def count_above(self, variable: str, bound: float) -> int:
        return self.value(f"SELECT count() AS n FROM bench.points WHERE variable = '{variable}' AND value > {bound}")

    def newest(self, limit: int, skip: int) -> list[int]:
        sql = f"SELECT toUnixTimestamp64Micro(time) AS t, * FROM bench.points ORDER BY time DESC LIMIT {limit} OFFSET {skip}"
        return self.rows(sql).column("t").to_pylist()

    def last(self) -> dict[str, Any]:
        columns = [f"argMaxOrNull({name}, time) AS last_{name}" for name in ("value", "value_bool", "value_text")]
        found = self.rows(f"SELECT variable, {', '.join(columns)} FROM bench.points GROUP BY variable")
        rows = zip(texts(found.column(0)), found.column(1).to_pylist(), found.column(2).to_pylist(), texts(found.column(3)), strict=True)
        return {name: next(cell for cell in cells if cell is not None) for name, *cells in rows}

    def drop_month(self, start_us: int, end_us: int) -> None:
        month = np.datetime64(start_us, "us").astype("datetime64[M]").astype(str).replace("-", "")
        self.db.query(f"ALTER TABLE bench.points DROP PARTITION {month}")


class Fleet(Base):
    columns = f"device LowCardinality(String), variable LowCardinality(String), time {TIME}, value {VALUE}, unit {TEXT}"
    order = "device, variable, time"

    def last(self, devices: list[str]) -> list[float]:
        names = ", ".join(f"'{name}'" for name in devices)
        found = self.rows(
            f"SELECT toString(device) AS d, argMax(value, time) AS v FROM bench.points WHERE device IN ({names}) GROUP BY device"
        )
        values: dict[Any, float] = dict(zip(texts(found.column("d")), found.column("v").to_pylist(), strict=True))
        return [values[name] for name in devices]

    def read(self, device: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        return self._read(f"device = '{device}'", start_us, end_us)


def between(start_us: int, end_us: int) -> str:
    return f"time >= fromUnixTimestamp64Micro({start_us}) AND time < fromUnixTimestamp64Micro({end_us})"


def texts(column: pa.ChunkedArray) -> list[Any]:
    """ClickHouse gives texts as bytes."""
    return column.cast(pa.string()).to_pylist()


class Tsbs(SqlTsbs, Base):
    argmax = "argMax"
    is_broken = "toInt32(avg(status) > 0.5)"

    def create(self, shape: Any) -> None:
        self.open()
        self.db.query("CREATE DATABASE bench")
        self.db.query("USE bench")
        self.make_tables(shape)

    def open(self, shape: Any = None) -> None:
        super().open()
        if shape is not None:
            self.db.query("USE bench")

    def make_table(self, name: str, fields: list[str]) -> None:
        columns = ", ".join(f"{field} Float64 CODEC(ALP, ZSTD(1))" for field in fields)
        self.db.query(
            f"CREATE TABLE {name} (id Int32, time Int64 CODEC(Delta, ZSTD(3)), {columns}) ENGINE = MergeTree ORDER BY (id, time) "
            "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
        )

    def insert(self, name: str, rows: pa.Table) -> None:
        self.db.query(f"INSERT INTO {name} SELECT * FROM Python(rows)")

    def columns(self, sql: str) -> list[Any]:
        return self.rows(sql).columns


TSBS = {"ClickHouse": Tsbs}
STORE = {"ClickHouse": Store}
FLEET = {"ClickHouse": Fleet}
