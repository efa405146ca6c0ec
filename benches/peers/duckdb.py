"""DuckDB: one table in one file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from benches.tsbs.sql import SqlTsbs

VALUES = "value DOUBLE, value_bool BOOLEAN, value_text VARCHAR"
COLUMNS = f'variable VARCHAR, time TIMESTAMPTZ, {VALUES}, unit VARCHAR, "group" BLOB, metadata VARCHAR'
BETWEEN = "time >= make_timestamptz(?) AND time < make_timestamptz(?)"


class Base:
    settings = f"{duckdb.__version__}, a transaction is fsynced to its log, the file at a checkpoint; 2 GB memory limit"
    columns = COLUMNS

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, devices: list[str] | None = None) -> None:
        self.folder.mkdir(parents=True)
        self.open()
        self.db.execute(f"CREATE TABLE points ({self.columns})")

    def open(self) -> None:
        self.db = duckdb.connect(str(self.folder / "points.duckdb"), config={"memory_limit": "2GB"})
        self.db.execute("SET TimeZone = 'UTC'")

    def close(self) -> None:
        self.db.close()  # with a checkpoint

    def count(self) -> int:
        return self.value("SELECT count(*) FROM points")

    def value(self, sql: str) -> Any:
        row = self.db.execute(sql).fetchone()
        assert row is not None
        return row[0]

    def ingest(self, tables: Iterable[pa.Table]) -> None:
        for rows in tables:  # noqa: B007 - DuckDB finds it by its name
            self.db.execute("INSERT INTO points SELECT * FROM rows")
        self.db.execute("CHECKPOINT")

    def _read(self, column: str, name: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        sql = f"SELECT epoch_us(time) AS time, value FROM points WHERE {column} = ? AND {BETWEEN} ORDER BY time"
        found = self.db.execute(sql, [name, start_us, end_us]).fetchnumpy()
        return np.asarray(found["time"]), np.asarray(found["value"])


class Store(Base):
    """Rows as they come."""

    def read(self, variable: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        return self._read("variable", variable, start_us, end_us)

    def drop_month(self, start_us: int, end_us: int) -> None:
        self.db.execute(f"DELETE FROM points WHERE {BETWEEN}", [start_us, end_us])

    def fill_log(self, size_bytes: int, points: int) -> tuple[int, int]:
        """Write until the log has this size and is not yet checkpointed; return its size and the number of points."""
        self.db.execute("SET checkpoint_threshold = '100GB'")
        log, written = self.folder / "points.duckdb.wal", 0
        value = np.round(np.random.default_rng(1).normal(20, 5, points), 2)
        while not log.exists() or log.stat().st_size < size_bytes:
            micros = (1_700_000_000_000 + np.arange(written, written + points) * 1000) * 1000
            rows = pa.table({"time": pa.array(micros).cast(pa.timestamp("us", "UTC")), "value": value})  # noqa: F841
            self.db.execute(f"INSERT INTO points (variable, time, value) SELECT 'v{written // points % 10}', time, value FROM rows")
            written += points
        return log.stat().st_size, written


class SortedStore(Store):
    """Rows of a table by variable and time: slower to load, fewer row groups to look at."""

    settings = Base.settings + "; rows by variable and time"

    def ingest(self, tables: Iterable[pa.Table]) -> None:
        for rows in tables:  # noqa: B007 - DuckDB finds it by its name
            self.db.execute("INSERT INTO points SELECT * FROM rows ORDER BY variable, time")
        self.db.execute("CHECKPOINT")

    def aggregate(self, variable: str, functions: list[str], every_us: int | None, start_us: int, end_us: int) -> list[Any]:
        wanted = ", ".join(f"{name}(value)" for name in functions)
        grouped = f"GROUP BY epoch_us(time) // {every_us} ORDER BY epoch_us(time) // {every_us}" if every_us else ""
        sql = f"SELECT {wanted} FROM points WHERE variable = ? AND {BETWEEN} {grouped}"
        return list(self.db.execute(sql, [variable, start_us, end_us]).fetchnumpy().values())

    def totals(self) -> dict[str, float]:
        total = "coalesce(sum(value), sum(value_bool::INT))"
        return dict(self.db.execute(f"SELECT variable, {total} FROM points WHERE variable <> 'mode' GROUP BY variable").fetchall())

    def count_above(self, variable: str, bound: float) -> int:
        row = self.db.execute("SELECT count(*) FROM points WHERE variable = ? AND value > ?", [variable, bound]).fetchone()
        assert row is not None
        return row[0]

    def newest(self, limit: int, skip: int) -> list[int]:
        sql = f"SELECT epoch_us(time), * FROM points ORDER BY time DESC LIMIT {limit} OFFSET {skip}"
        return [row[0] for row in self.db.execute(sql).fetchall()]

    def last(self) -> dict[str, Any]:
        columns = ", ".join(f"arg_max({name}, time)" for name in ("value", "value_bool", "value_text"))
        rows = self.db.execute(f"SELECT variable, {columns} FROM points GROUP BY variable").fetchall()
        return {name: next(cell for cell in cells if cell is not None) for name, *cells in rows}


class Fleet(Base):
    columns = "device VARCHAR, variable VARCHAR, time TIMESTAMPTZ, value DOUBLE, unit VARCHAR"

    def last(self, devices: list[str]) -> list[float]:
        marks = ", ".join("?" * len(devices))
        sql = f"SELECT device, arg_max(value, time) FROM points WHERE device IN ({marks}) GROUP BY device"
        found = dict(self.db.execute(sql, devices).fetchall())
        return [found[device] for device in devices]

    def read(self, device: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        return self._read("device", device, start_us, end_us)


class Log(Base):
    columns = "variable VARCHAR, time BIGINT, value DOUBLE"
    one_writer = False

    def shape(self, points: list[tuple[str, int, float]]) -> Any:
        if len(points) <= 10:  # a prepared statement is faster for few rows
            return [cell for point in points for cell in point]
        variable, time, value = zip(*points, strict=True)
        return pa.table({"variable": list(variable), "time": list(time), "value": list(value)})

    def commit(self, shaped: Any) -> None:
        db = self.db.cursor()  # a connection of its own, as a thread needs it
        if isinstance(shaped, list):
            db.execute("INSERT INTO points VALUES " + ", ".join(["(?, ?, ?)"] * (len(shaped) // 3)), shaped)
        else:
            db.execute("INSERT INTO points SELECT * FROM shaped")
        db.close()

    def total(self) -> float:
        return self.value("SELECT fsum(value) FROM points")


class Registers(Base):
    columns = f'id BIGINT PRIMARY KEY, variable VARCHAR, time BIGINT, {VALUES}, unit VARCHAR, "group" VARCHAR, metadata VARCHAR'
    next_id = 0

    def create(self, devices: list[str] | None = None) -> None:
        super().create()
        self.db.execute("CREATE INDEX by_time ON points (time)")

    def insert(self, rows: list[dict[str, Any]]) -> list[Any]:
        cells = [row_of(number, row) for number, row in enumerate(rows, self.next_id)]
        self.next_id += len(cells)
        if len(cells) == 1:
            self.db.execute("INSERT INTO points VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", cells[0])
        else:
            batch = pa.Table.from_pylist([dict(zip(NAMES, cell, strict=True)) for cell in cells], SCHEMA)  # noqa: F841
            self.db.execute("INSERT INTO points SELECT * FROM batch")
        return [cell[0] for cell in cells]

    def ids(self) -> list[Any]:
        return [id for (id,) in self.db.execute("SELECT id FROM points ORDER BY time, id").fetchall()]

    def update(self, id: Any, value: Any) -> None:
        self.db.execute("UPDATE points SET value = ? WHERE id = ?", [value, id])

    def get(self, id: Any) -> Any:
        row = self.db.execute("SELECT * FROM points WHERE id = ?", [id]).fetchone()
        assert row is not None
        return value_of(row)

    def newest(self, count: int) -> list[Any]:
        return [value_of(row) for row in self.db.execute(f"SELECT * FROM points ORDER BY time DESC, id DESC LIMIT {count}").fetchall()]

    def delete(self, start_us: int, end_us: int) -> int:
        row = self.db.execute("DELETE FROM points WHERE time >= ? AND time < ?", [start_us, end_us]).fetchone()
        assert row is not None
        return row[0]


NAMES = ["id", "variable", "time", "value", "value_bool", "value_text", "unit", "group", "metadata"]
KINDS = [pa.int64(), pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.string(), pa.string(), pa.string(), pa.string()]
SCHEMA = pa.schema(list(zip(NAMES, KINDS, strict=True)))


def row_of(id: int, row: dict[str, Any]) -> list[Any]:
    """Return the cells of one register: its value in the column of its kind."""
    value = row["value"]
    values = [
        float(value) if isinstance(value, float | int) and not isinstance(value, bool) else None,
        value if isinstance(value, bool) else None,
        value if isinstance(value, str) else None,
    ]
    metadata = row.get("metadata")
    return [id, row["variable"], row["time"], *values, row.get("unit"), row.get("group"), None if metadata is None else str(metadata)]


def value_of(row: tuple[Any, ...]) -> Any:
    return next((cell for cell in row[3:6] if cell is not None), None)


class Tsbs(SqlTsbs, Base):
    def create(self, shape: Any) -> None:
        self.folder.mkdir(parents=True)
        self.open()
        self.make_tables(shape)

    def open(self, shape: Any = None) -> None:
        super().open()

    def make_table(self, name: str, fields: list[str]) -> None:
        columns = ", ".join(f"{field} DOUBLE" for field in fields)
        self.db.execute(f"CREATE TABLE {name} (id INT, time BIGINT, {columns})")

    def insert(self, name: str, rows: pa.Table) -> None:
        self.db.execute(f"INSERT INTO {name} SELECT * FROM rows")

    def columns(self, sql: str) -> list[Any]:
        return list(self.db.execute(sql).fetchnumpy().values())

    def ingest(self, parts: Iterable[tuple[str, pa.Table]]) -> None:
        super().ingest(parts)
        self.db.execute("CHECKPOINT")


TSBS = {"DuckDB": Tsbs}
STORE = {"DuckDB": Store, "DuckDB, sorted": SortedStore}
FLEET = {"DuckDB": Fleet}
LOG = {"DuckDB": Log}
REGISTERS = {"DuckDB": Registers}
