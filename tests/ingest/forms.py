"""The same data items in every form of body that carries them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st

from tests import strategies
from tsengine.ingest.bodies import COLUMNS_TYPE, JSON_TYPE, MESSAGEPACK_TYPES, PACKED_COLUMNS_TYPE

FIELDS = ("variable", "value", "time", "unit", "group", "location", "metadata")

Encoder = Callable[[Any], bytes]

ROW_TYPES: dict[str, Encoder] = {JSON_TYPE: msgspec.json.encode, MESSAGEPACK_TYPES[0]: msgspec.msgpack.encode}
COLUMN_TYPES: dict[str, Encoder] = {COLUMNS_TYPE: msgspec.json.encode, PACKED_COLUMNS_TYPE: msgspec.msgpack.encode}

times = st.one_of(
    st.none(),
    st.sampled_from((0, "", "1704067200", "1704067200123", "2024-01-01", "2024-01-01T00:00:00.123456Z", "2023-12-31 21:00:00-03:00", -1)),
    st.integers(-62_135_596_800_000, 253_402_300_799_999),
    st.floats(-1e12, 1e12),
)
finite = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**64 - 1))
locations = st.one_of(
    st.none(),
    st.builds(lambda lat, lng: {"lat": lat, "lng": lng}, st.floats(-90, 90), st.floats(-180, 180)),
    st.sampled_from(({"type": "Point", "coordinates": [-2.0, 1.5]}, {"coordinates": [1, 2, 3]})),
)

items = st.fixed_dictionaries(
    {"variable": strategies.variables, "time": times},
    optional={
        "value": st.one_of(finite, st.booleans(), strategies.texts, st.none()),
        "unit": strategies.units,
        "group": strategies.groups,
        "location": locations,
        "metadata": strategies.metadatas,
    },
)


def columns_of(items: list[dict[str, Any]], *, sizes: list[int]) -> list[dict[str, Any]]:
    """Return the items as objects of columns: runs of these sizes, what is the same in a run as one value, the rest as arrays."""
    objects = []
    at = 0
    for size in [*sizes, len(items)]:
        rows = items[at : at + size]
        at += size
        if rows:
            one = {name: [row.get(name) for row in rows] for name in FIELDS if any(name in row for row in rows)}
            same = [
                name for name, cells in one.items() if name != "time" and all(type(c) is type(cells[0]) and c == cells[0] for c in cells)
            ]
            objects.append({**one, **{name: one[name][0] for name in same}})
    return objects
