"""RocksDB (rocksdict): every write synced to its log, which it shares among waiting writers."""

from __future__ import annotations

import heapq
import itertools
import os
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rocksdict import DBCompressionType, Options, Rdict, WriteBatch, WriteOptions

from benches.peers.arrays import ByArrays
from benches.peers.keyvalue import (
    BY_TIME,
    BY_VARIABLE,
    decode,
    encode,
    id_key,
    id_of,
    point_key,
    point_pairs,
    register_keys,
    time_key,
    total_of,
)
from benches.workload import UNTIL_US, VARIABLES


class Base:
    settings = f"rocksdict {version('rocksdict')}, raw mode, WriteBatch with sync=True"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seq = 0
        self.commits = itertools.count()  # safe to draw from many threads

    def create(self) -> None:
        self.db = Rdict(str(self.folder), Options(raw_mode=True))
        self.durable = WriteOptions()
        self.durable.sync = True

    def close(self) -> None:
        self.db.close()

    def count(self) -> int:
        return sum(1 for _ in self.keys())

    def keys(self) -> Any:
        return self.db.keys()

    def write(self, batch: WriteBatch) -> None:
        self.db.write(batch, self.durable)


class Store(ByArrays, Base):
    """A key for each point: variable, time, sequence; the rest of the point is its value."""

    settings = f"rocksdict {version('rocksdict')}, raw mode, zstd, batches of 10,000 without log, flushed and compacted at the end"
    BATCH = 10_000

    def create(self) -> None:
        options = Options(raw_mode=True)
        options.set_compression_type(DBCompressionType.zstd())
        options.increase_parallelism(os.cpu_count() or 1)
        self.db = Rdict(str(self.folder), options)

    open = create

    def ingest(self, tables: Iterable[pa.Table]) -> None:
        unlogged = WriteOptions()
        unlogged.disable_wal = True
        columns = ("variable", "value", "value_bool", "value_text", "unit", "group", "metadata")
        for table in tables:
            times = table.column("time").cast("int64").to_pylist()
            rows = zip(times, *(table.column(name).to_pylist() for name in columns), strict=True)
            while part := list(itertools.islice(rows, self.BATCH)):
                batch = WriteBatch(raw_mode=True)
                for time, variable, *cells in part:
                    self.seq += 1
                    batch.put(point_key(variable, time, self.seq), encode(cells))
                self.db.write(batch, unlogged)
        self.db.flush()
        self.db.compact_range(None, None)

    def cells(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, list[Any]]]:
        cursor = self.db.iter()
        cursor.seek(start)
        while cursor.valid():
            key = cursor.key()
            if key >= end:
                return
            yield key, decode(cursor.value())
            cursor.next()

    def read(self, variable: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        times, values = [], []
        for key, cells in self.cells(point_key(variable, start_us, 0), point_key(variable, end_us, 0)):
            times.append(int.from_bytes(key[-16:-8], "big"))
            values.append(cells[0] if cells[0] is not None else cells[1])
        return np.array(times, np.int64), np.array(values, np.float64)

    def backwards(self, variable: str, count: int) -> list[tuple[int, list[Any]]]:
        """Return the newest points of a variable."""
        found: list[tuple[int, list[Any]]] = []
        cursor = self.db.iter()
        cursor.seek_for_prev(point_key(variable, UNTIL_US, 0))
        while len(found) < count and cursor.valid() and cursor.key().startswith(variable.encode() + b"\0"):
            found.append((int.from_bytes(cursor.key()[-16:-8], "big"), decode(cursor.value())))
            cursor.prev()
        return found

    def newest(self, limit: int, skip: int) -> list[int]:
        """Every variable could have all of them."""
        found = heapq.merge(*(self.backwards(name, limit + skip) for name in VARIABLES), key=lambda point: -point[0])
        return [time for time, _ in itertools.islice(found, skip, skip + limit)]

    def last(self) -> dict[str, Any]:
        return {name: next(cell for cell in self.backwards(name, 1)[0][1] if cell is not None) for name in VARIABLES}

    def drop_month(self, start_us: int, end_us: int) -> None:
        batch = WriteBatch(raw_mode=True)
        for name in VARIABLES:
            batch.delete_range(point_key(name, start_us, 0), point_key(name, end_us, 0))
        durable = WriteOptions()
        durable.sync = True
        self.db.write(batch, durable)


class Log(Base):
    one_writer = False

    def shape(self, points: list[tuple[str, int, float]]) -> Any:
        return points

    def commit(self, shaped: Any) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in point_pairs(shaped, next(self.commits) << 20):
            batch.put(key, value)
        self.write(batch)

    def total(self) -> float:
        return total_of(self.db.values())


class Registers(Base):
    def insert(self, rows: list[dict[str, Any]]) -> list[Any]:
        batch = WriteBatch(raw_mode=True)
        for row in rows:
            self.seq += 1
            by_id, *others = register_keys(self.seq, row)
            batch.put(by_id, encode(row))
            for key in others:
                batch.put(key, b"")
        self.write(batch)
        return []

    def ids(self) -> list[Any]:
        return [id_of(key) for key in self.time_keys(BY_TIME, BY_VARIABLE)]

    def time_keys(self, start: bytes, end: bytes) -> list[bytes]:
        found = []
        cursor = self.db.iter()
        cursor.seek(start)
        while cursor.valid() and cursor.key() < end:
            found.append(cursor.key())
            cursor.next()
        return found

    def update(self, id: Any, value: Any) -> None:
        key = id_key(id)
        row = decode(self.db[key])
        row["value"] = value
        batch = WriteBatch(raw_mode=True)
        batch.put(key, encode(row))
        self.write(batch)

    def get(self, id: Any) -> Any:
        return decode(self.db[id_key(id)])["value"]

    def newest(self, count: int) -> list[Any]:
        ids = []
        cursor = self.db.iter()
        cursor.seek_for_prev(BY_VARIABLE)
        while len(ids) < count and cursor.valid() and cursor.key() >= BY_TIME:
            ids.append(id_of(cursor.key()))
            cursor.prev()
        return [decode(row)["value"] for row in self.db.get([id_key(id) for id in ids])]

    def delete(self, start_us: int, end_us: int) -> int:
        batch = WriteBatch(raw_mode=True)
        keys = self.time_keys(time_key(start_us), time_key(end_us))
        for key in keys:
            id = id_of(key)
            for each in register_keys(id, decode(self.db[id_key(id)])):
                batch.delete(each)
        self.write(batch)
        return len(keys)

    def count(self) -> int:
        return super().count() // 3


STORE = {"RocksDB": Store}
LOG = {"RocksDB": Log}
REGISTERS = {"RocksDB": Registers}
