"""Columns in JSON and MessagePack: what is accepted are the rows of the same items in JSON."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from tests.ingest.forms import columns_of
from tests.store.making import exact
from tsengine.core import batch
from tsengine.ingest import bodies
from tsengine.ingest.bodies import COLUMNS_TYPE, JSON_TYPE, PACKED_COLUMNS_TYPE, record_of_body

MODULES = (bodies,)
NOW_US = 1_795_262_400_000_000

ITEMS: list[dict[str, Any]] = [
    {"variable": "t", "value": 21.5, "unit": "C", "time": "2026-11-21T08:30:00.123Z", "metadata": {"a": [1, {"b": None}]}},
    {"variable": "état", "value": "on", "unit": None, "time": 1e12, "group": "0123456789abcdef01234567"},
    {"variable": "p", "value": True, "time": None, "location": {"lat": 42.3, "lng": -85.6}},
    {"variable": "p", "value": -9223372036854775808, "time": 0, "location": {"type": "Point", "coordinates": [1, 2]}},
    {"variable": "p", "value": None, "time": "1704067200", "group": "g"},
]


def seeds() -> list[bytes]:
    many = columns_of(ITEMS, sizes=[2])
    constant = {"variable": "t", "value": [1, 2.5, 1e-300], "time": [1, "1704067200123", None], "unit": "C", "metadata": {}}
    return [encode(body) for body in (many, constant, [], {"variable": []}) for encode in (msgspec.json.encode, msgspec.msgpack.encode)]


def is_json(data: bytes) -> bool:
    return data.lstrip()[:1] in (b"[", b"{", b"")


def rows_of(data: bytes, media_type: str) -> list[Any]:
    record = record_of_body(data, media_type, NOW_US)
    return [without_spaces(exact(row)) for row in batch.rows(record)] if record else []


def without_spaces(row: Any) -> Any:
    return tuple((kind, msgspec.json.decode(part) if kind == "bytes" else part) for kind, part in row)


def rows_of_items(items: list[dict[str, Any]]) -> list[Any]:
    """The rows of items that are sent in JSON, which has no NaN and no infinities."""
    rows = rows_of(msgspec.json.encode(items), JSON_TYPE)
    for number, item in enumerate(items):
        value = item.get("value")
        if isinstance(value, float) and not math.isfinite(value):
            rows[number] = (*rows[number][:3], *exact([value]), *rows[number][4:])  # type: ignore[arg-type]
    return rows


def run(data: bytes) -> None:
    found = rows_of(data, COLUMNS_TYPE if is_json(data) else PACKED_COLUMNS_TYPE)
    objects: Any = msgspec.json.decode(data) if is_json(data) else msgspec.msgpack.decode(data)
    items = []
    for columns in objects if isinstance(objects, list) else [objects]:
        count = max((len(cells) for cells in columns.values() if isinstance(cells, list)), default=1)
        items += [{name: cells[number] if isinstance(cells, list) else cells for name, cells in columns.items()} for number in range(count)]
    assert found == rows_of_items(items)
