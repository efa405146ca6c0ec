"""Keys and values as a program would pack them for an ordered key-value store: what LMDB and RocksDB have in common."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

POINT_KEY = struct.Struct(">QQ")  # time and sequence, after the variable's name: big-endian, so that bytes are in order
VALUE = struct.Struct("<d")
BY_ID, BY_TIME, BY_VARIABLE = b"i", b"t", b"v"

encode = msgspec.msgpack.encode
decode = msgspec.msgpack.decode


def point_key(variable: str, time: int, seq: int) -> bytes:
    return variable.encode() + b"\0" + POINT_KEY.pack(time, seq)


def point_pairs(points: list[tuple[str, int, float]], seq: int) -> list[tuple[bytes, bytes]]:
    """Return key and value of points whose sequences begin with `seq`."""
    return [(point_key(variable, time, seq + i), VALUE.pack(value)) for i, (variable, time, value) in enumerate(points)]


def register_keys(id: int, row: dict[str, Any]) -> list[bytes]:
    """Return the three keys of a register: by id, by time, by variable and time."""
    tail = POINT_KEY.pack(row["time"], id)
    return [BY_ID + struct.pack(">Q", id), BY_TIME + tail, BY_VARIABLE + row["variable"].encode() + b"\0" + tail]


def id_key(id: int) -> bytes:
    return BY_ID + struct.pack(">Q", id)


def time_key(time_us: int, id: int = 0) -> bytes:
    return BY_TIME + POINT_KEY.pack(time_us, id)


def id_of(key: bytes) -> int:
    """Return the id at the end of any key."""
    return int.from_bytes(key[-8:], "big")


def total_of(values: Any) -> float:
    return sum(VALUE.unpack(value)[0] for value in values)
