"""SQLite: clustered tables in one file, WAL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from benches.tsbs.iot import FLEETS
from benches.tsbs.sql import SqlTsbs
from benches.workload import NUMERIC, VARIABLES


class Base:
    settings = f"{sqlite3.sqlite_version}, WAL, synchronous=FULL, 256 MB page cache"
    schema: list[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, devices: list[str] | None = None) -> None:
        self.folder.mkdir(parents=True)
        self.open()
        for statement in self.schema:
            self.db.execute(statement)

    def open(self) -> None:
        self.db = sqlite3.connect(self.folder / "points.sqlite", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-262144"):
            self.db.execute(f"PRAGMA {pragma}").fetchone()

    def close(self) -> None:
        self.db.close()  # with a checkpoint

    def count(self) -> int:
        return self.db.execute("SELECT count(*) FROM points").fetchone()[0]

    def insert_many(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """One transaction."""
        self.db.execute("BEGIN")
        self.db.executemany(sql, rows)
        self.db.execute("COMMIT")

    def _read(self, where: str, cells: tuple[Any, ...]) -> tuple[np.ndarray, np.ndarray]:
        found = self.db.execute(f"SELECT time, value FROM points WHERE {where} AND time >= ? AND time < ? ORDER BY time", cells).fetchall()
        return np.array([time for time, _ in found], np.int64), np.array([value for _, value in found], np.float64)


class WithTexts(Base):
    """Texts that repeat are numbers, kept in a table of their own."""

    def open(self) -> None:
        super().open()
        self.db.execute("CREATE TABLE IF NOT EXISTS texts (id INTEGER PRIMARY KEY, text TEXT)")
        self.texts: dict[str, int] = {text: id for id, text in self.db.execute("SELECT id, text FROM texts")}

    def code_of(self, text: str | None) -> int | None:
        """Return the number of a text; new texts go into the table of texts."""
        if text is None:
            return None
        if text not in self.texts:
            self.texts[text] = len(self.texts)
            self.db.execute("INSERT INTO texts VALUES (?, ?)", (self.texts[text], text))
        return self.texts[text]

    def codes(self, column: pa.ChunkedArray) -> list[int | None]:
        """Return a dictionary column with the table's numbers of its texts."""
        array = column.combine_chunks()
        numbers = np.array([self.code_of(text) for text in array.dictionary.to_pylist()] or [0])
        return pa.array(numbers[array.indices.fill_null(0).to_numpy()], mask=~array.is_valid().to_numpy(zero_copy_only=False)).to_pylist()


class Store(WithTexts):
    schema = [
        "CREATE TABLE points (variable INTEGER, time INTEGER, seq INTEGER, value, unit INTEGER, grp BLOB, metadata INTEGER, "
        "PRIMARY KEY (variable, time, seq)) WITHOUT ROWID",
    ]

    def ingest(self, tables: Iterable[pa.Table]) -> None:
        seq = 0
        for table in tables:
            self.insert_many("INSERT INTO points VALUES (?, ?, ?, ?, ?, ?, ?)", self.rows(table, seq))
            seq += table.num_rows

    def rows(self, table: pa.Table, seq: int) -> Iterator[tuple[Any, ...]]:
        values = [
            next((cell for cell in cells if cell is not None), None)
            for cells in zip(*(table.column(name).to_pylist() for name in ("value", "value_bool", "value_text")), strict=True)
        ]
        return zip(
            self.codes(table.column("variable")),
            table.column("time").cast("int64").to_pylist(),
            range(seq, seq + table.num_rows),
            values,
            self.codes(table.column("unit")),
            table.column("group").to_pylist(),
            self.codes(table.column("metadata")),
            strict=True,
        )

    def read(self, variable: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        return self._read("variable = ?", (self.texts[variable], start_us, end_us))

    def prepare(self) -> None:
        """Pages over all variables need an index, which ingest and size are not charged with."""
        self.db.execute("CREATE INDEX by_time ON points (time)")

    def aggregate(self, variable: str, functions: list[str], every_us: int | None, start_us: int, end_us: int) -> list[Any]:
        wanted = ", ".join(f"{name}(value)" for name in functions)
        grouped = f"GROUP BY time / {every_us} ORDER BY time / {every_us}" if every_us else ""
        sql = f"SELECT {wanted} FROM points WHERE variable = ? AND time >= ? AND time < ? {grouped}"
        return list(zip(*self.db.execute(sql, (self.texts[variable], start_us, end_us)).fetchall(), strict=True))

    def totals(self) -> dict[str, float]:
        sql = "SELECT text, (SELECT sum(value) FROM points WHERE variable = id) FROM texts WHERE text IN (SELECT value FROM json_each(?))"
        return dict(self.db.execute(sql, (json.dumps(NUMERIC),)).fetchall())

    def count_above(self, variable: str, bound: float) -> int:
        sql = "SELECT count(*) FROM points WHERE variable = ? AND value > ?"
        return self.db.execute(sql, (self.texts[variable], bound)).fetchone()[0]

    def newest(self, limit: int, skip: int) -> list[int]:
        sql = "SELECT time, * FROM points ORDER BY time DESC LIMIT ? OFFSET ?"
        return [row[0] for row in self.db.execute(sql, (limit, skip)).fetchall()]

    def last(self) -> dict[str, Any]:
        sql = "SELECT value FROM points WHERE variable = ? ORDER BY time DESC LIMIT 1"
        return {name: self.db.execute(sql, (self.texts[name],)).fetchone()[0] for name in VARIABLES}

    def drop_month(self, start_us: int, end_us: int) -> None:
        self.db.execute("BEGIN")
        for code in [code for (code,) in self.db.execute("SELECT id FROM texts")]:
            self.db.execute("DELETE FROM points WHERE variable = ? AND time >= ? AND time < ?", (code, start_us, end_us))
        self.db.execute("COMMIT")

    def fill_log(self, size_bytes: int, points: int) -> tuple[int, int]:
        """Write until the log has this size and is not yet checkpointed; return its size and the number of points."""
        self.db.execute("PRAGMA wal_autocheckpoint=0").fetchone()
        log, written = self.folder / "points.sqlite-wal", 0
        value = np.round(np.random.default_rng(1).normal(20, 5, points), 2).tolist()
        while log.stat().st_size < size_bytes:
            numbers = range(written, written + points)
            code = self.code_of(f"v{written // points % 10}")
            rows = [
                (code, (1_700_000_000_000 + i * 1000) * 1000, i, cell, None, None, None) for i, cell in zip(numbers, value, strict=True)
            ]
            self.insert_many("INSERT INTO points VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            written += points
        return log.stat().st_size, written


class Fleet(WithTexts):
    schema = [
        "CREATE TABLE points (device INTEGER, variable INTEGER, time INTEGER, value REAL, unit INTEGER, "
        "PRIMARY KEY (device, variable, time)) WITHOUT ROWID",
    ]

    def ingest(self, tables: Iterable[pa.Table]) -> None:
        for table in tables:
            rows = zip(
                self.codes(table.column("device")),
                self.codes(table.column("variable")),
                table.column("time").cast("int64").to_pylist(),
                table.column("value").to_pylist(),
                self.codes(table.column("unit")),
                strict=True,
            )
            self.insert_many("INSERT INTO points VALUES (?, ?, ?, ?, ?)", rows)

    def last(self, devices: list[str]) -> list[float]:
        sql = "SELECT value FROM points WHERE device = ? AND variable = ? ORDER BY time DESC LIMIT 1"
        variable = self.texts["temperature"]
        return [self.db.execute(sql, (self.texts[name], variable)).fetchone()[0] for name in devices]

    def read(self, device: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        return self._read("device = ? AND variable = ?", (self.texts[device], self.texts["temperature"], start_us, end_us))


class Log(Base):
    one_writer = True
    schema = ["CREATE TABLE points (variable TEXT, time INTEGER, seq INTEGER, value REAL, PRIMARY KEY (variable, time, seq)) WITHOUT ROWID"]
    seq = 0

    def shape(self, points: list[tuple[str, int, float]]) -> Any:
        return points

    def commit(self, shaped: Any) -> None:
        seq, self.seq = self.seq, self.seq + len(shaped)
        self.insert_many(
            "INSERT INTO points VALUES (?, ?, ?, ?)", [(variable, time, seq + i, value) for i, (variable, time, value) in enumerate(shaped)]
        )

    def total(self) -> float:
        return self.db.execute("SELECT sum(value) FROM points").fetchone()[0]


class Registers(Base):
    schema = [
        'CREATE TABLE points (id INTEGER PRIMARY KEY, variable TEXT, time INTEGER, value, unit TEXT, "group" BLOB, metadata TEXT)',
        "CREATE INDEX by_time ON points (time)",
        "CREATE INDEX by_variable ON points (variable, time)",
    ]

    def insert(self, rows: list[dict[str, Any]]) -> list[Any]:
        self.insert_many('INSERT INTO points (variable, time, value, unit, "group", metadata) VALUES (?, ?, ?, ?, ?, ?)', map(row_of, rows))
        return []

    def ids(self) -> list[Any]:
        return [id for (id,) in self.db.execute("SELECT id FROM points ORDER BY time, id")]

    def update(self, id: Any, value: Any) -> None:
        self.db.execute("UPDATE points SET value = ? WHERE id = ?", (value, id))

    def get(self, id: Any) -> Any:
        return self.db.execute("SELECT * FROM points WHERE id = ?", (id,)).fetchone()[3]

    def newest(self, count: int) -> list[Any]:
        return [row[3] for row in self.db.execute("SELECT * FROM points ORDER BY time DESC, id DESC LIMIT ?", (count,)).fetchall()]

    def delete(self, start_us: int, end_us: int) -> int:
        return self.db.execute("DELETE FROM points WHERE time >= ? AND time < ?", (start_us, end_us)).rowcount


def row_of(row: dict[str, Any]) -> tuple[Any, ...]:
    group, metadata = row.get("group"), row.get("metadata")
    return (
        row["variable"],
        row["time"],
        row["value"],
        row.get("unit"),
        None if group is None else bytes.fromhex(group),
        None if metadata is None else msgspec.json.encode(metadata).decode(),
    )


class Tsbs(SqlTsbs, Base):
    schema: list[str] = []

    def create(self, shape: Any) -> None:
        super().create()
        self.make_tables(shape)

    def open(self, shape: Any = None) -> None:
        super().open()

    def prepare(self) -> None:
        """Queries of all hosts at some time need an index, which the ingest is not charged with."""
        for (name,) in self.db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            self.db.execute(f"CREATE INDEX {name}_by_time ON {name} (time)")

    def make_table(self, name: str, fields: list[str]) -> None:
        columns = ", ".join(f"{field} REAL" for field in fields)
        self.db.execute(f"CREATE TABLE {name} (id INTEGER, time INTEGER, {columns}, PRIMARY KEY (id, time)) WITHOUT ROWID")

    def insert(self, name: str, rows: pa.Table) -> None:
        columns = [column.to_pylist() for column in rows.columns]
        self.insert_many(f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns))})", zip(*columns, strict=True))

    def columns(self, sql: str) -> list[Any]:
        found = self.db.execute(sql)
        return list(zip(*found.fetchall(), strict=True)) or [()] * len(found.description)

    def last_rows(self) -> list[Any]:
        """It looks up the newest row of each host by the key."""
        step = "SELECT (SELECT min(id) FROM cpu WHERE id > hosts.id) FROM hosts WHERE id IS NOT NULL"
        newest = "cpu.time = (SELECT max(time) FROM cpu WHERE id = hosts.id)"
        return self.columns(
            f"WITH RECURSIVE hosts(id) AS (SELECT min(id) FROM cpu UNION ALL {step}) "
            f"SELECT cpu.* FROM hosts JOIN cpu ON cpu.id = hosts.id AND {newest} ORDER BY cpu.id"
        )

    def newest(self, table: str, fleet: str) -> str:
        return (
            f"SELECT {table}.*, load_capacity AS capacity FROM tags JOIN {table} ON {table}.id = tags.id AND {table}.time = "
            f"(SELECT max(time) FROM {table} WHERE id = tags.id) WHERE fleet = {FLEETS.index(fleet)}"
        )


TSBS = {"SQLite": Tsbs}
STORE = {"SQLite": Store}
FLEET = {"SQLite": Fleet}
LOG = {"SQLite": Log}
REGISTERS = {"SQLite": Registers}
