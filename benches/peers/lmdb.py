"""LMDB alone: every commit synced by LMDB itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lmdb

from benches.peers import keyvalue
from benches.peers.keyvalue import (
    BY_TIME,
    BY_VARIABLE,
    decode,
    encode,
    id_key,
    id_of,
    point_pairs,
    register_keys,
    time_key,
)


class Base:
    settings = f"{'.'.join(map(str, lmdb.version()))} (py-lmdb {lmdb.__version__}), sync and metasync, no write map"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seq = 0

    def create(self) -> None:
        self.db = lmdb.open(str(self.folder), map_size=8 << 30)

    def close(self) -> None:
        self.db.close()


class Log(Base):
    one_writer = False  # its own lock makes writers take turns

    def shape(self, points: list[tuple[str, int, float]]) -> Any:
        return points

    def commit(self, shaped: Any) -> None:
        with self.db.begin(write=True) as txn:
            pairs = point_pairs(shaped, self.seq)
            self.seq += len(shaped)
            for key, value in pairs:
                txn.put(key, value)

    def count(self) -> int:
        return self.db.stat()["entries"]

    def total(self) -> float:
        with self.db.begin() as txn:
            return keyvalue.total_of(txn.cursor().iternext(keys=False, values=True))


class Registers(Base):
    def insert(self, rows: list[dict[str, Any]]) -> list[Any]:
        with self.db.begin(write=True) as txn:
            for row in rows:
                self.seq += 1
                by_id, *others = register_keys(self.seq, row)
                txn.put(by_id, encode(row))
                for key in others:
                    txn.put(key, b"")
        return []

    def ids(self) -> list[Any]:
        with self.db.begin() as txn:
            cursor = txn.cursor()
            cursor.set_range(BY_TIME)
            return [id_of(key) for key in cursor.iternext(values=False) if key < BY_VARIABLE]

    def update(self, id: Any, value: Any) -> None:
        key = id_key(id)
        with self.db.begin(write=True) as txn:
            row = decode(txn.get(key))
            row["value"] = value
            txn.put(key, encode(row))

    def get(self, id: Any) -> Any:
        with self.db.begin() as txn:
            return decode(txn.get(id_key(id)))["value"]

    def newest(self, count: int) -> list[Any]:
        found: list[Any] = []
        with self.db.begin() as txn:
            cursor = txn.cursor()
            cursor.set_range(BY_VARIABLE)
            while len(found) < count and cursor.prev() and cursor.key() >= BY_TIME:
                found.append(decode(txn.get(id_key(id_of(cursor.key()))))["value"])
        return found

    def delete(self, start_us: int, end_us: int) -> int:
        with self.db.begin(write=True) as txn:
            cursor = txn.cursor()
            cursor.set_range(time_key(start_us))
            end = time_key(end_us)
            ids = []
            for key in cursor.iternext(values=False):
                if key >= end:
                    break
                ids.append(id_of(key))
            for id in ids:
                row = decode(txn.get(id_key(id)))
                for key in register_keys(id, row):
                    txn.delete(key)
        return len(ids)

    def count(self) -> int:
        return self.db.stat()["entries"] // 3


assert keyvalue.BY_ID < BY_TIME < BY_VARIABLE

LOG = {"LMDB": Log}
REGISTERS = {"LMDB": Registers}
