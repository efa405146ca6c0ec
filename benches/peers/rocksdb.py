"""RocksDB (rocksdict): every write synced to its log, which it shares among waiting writers."""

from __future__ import annotations

import itertools
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rocksdict import Options, Rdict, WriteBatch, WriteOptions

from benches.peers.keyvalue import BY_TIME, BY_VARIABLE, decode, encode, id_key, id_of, point_pairs, register_keys, time_key, total_of


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


LOG = {"RocksDB": Log}
REGISTERS = {"RocksDB": Registers}
