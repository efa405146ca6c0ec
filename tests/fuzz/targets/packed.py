"""Items in MessagePack: what is accepted are the rows of the same items in JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.fuzz.targets.columns import ITEMS, rows_of, rows_of_items
from tests.ingest.forms import FIELDS
from tsengine.ingest import bodies
from tsengine.ingest.bodies import MESSAGEPACK_TYPES
from tsengine.types import to_datetime

MODULES = (bodies,)


def seeds() -> list[bytes]:
    times: list[Any] = [{"variable": "t", "value": 1, "time": to_datetime(1_795_262_400_000_001)}]
    return [msgspec.msgpack.encode(body) for body in (ITEMS, ITEMS[0], times, [], ITEMS[1:3])]


def run(data: bytes) -> None:
    found = rows_of(data, MESSAGEPACK_TYPES[0])
    try:
        items: Any = msgspec.msgpack.decode(data)
    except (UnicodeDecodeError, msgspec.MsgspecError):
        return  # in a field that is passed over
    items = [{name: item[name] for name in FIELDS if name in item} for item in (items if isinstance(items, list) else [items])]
    assert found == rows_of_items(items)
