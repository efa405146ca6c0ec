"""TagoTiP bodies: what is accepted can be stored, and written as an answer and read again it says the same."""

from __future__ import annotations

import json
from typing import Any

from tsengine.core import batch
from tsengine.core.ingest.points import from_points
from tsengine.errors import InputError
from tsengine.ingest import tagotip
from tsengine.ingest.bodies import WirePoint
from tsengine.ingest.tagotip import PAIRS_MAX, Passthrough, read_counter, read_names, read_push, read_text, write_points
from tsengine.types import Location, Point, to_datetime

MODULES = (tagotip,)
NOW_US = 1_795_262_400_000_000


def seeds() -> list[bytes]:
    return [
        b"[temperature:=32.5#C@1694567890000^reading_001{source=dht22,quality=high}]\n",
        b"!7|^batch_42@1694567890000{firmware=2.1}[temp:=-32#C;on?=true;place@=39.74,-104.99,305;state=online]",
        rb"[s=a\|b\[\]\;\,\{\}\#\@\^\n\\c,d=e]",
        "!4294967295|[s=é#°{k=ü,l=\\,}]".encode(),
        b">xDEADBEEF",
        b">b3q2+7w==",
        b"!0|a,b,temperature",
    ]


def run(data: bytes) -> None:
    counter, text = read_counter(read_text(data))
    assert counter + text == read_text(data)
    try:
        assert ",".join(read_names(text)) == text
        return
    except InputError:
        points = read_push(text)
    if isinstance(points, Passthrough):
        assert text[2:].lower() == points.text.lower()
        return
    record = from_points(points, NOW_US, True)
    rows = batch.rows(record)
    assert [row.time_us for row in rows] == [NOW_US if not point.time else int(point.time) * 1000 for point in points]  # type: ignore[arg-type]
    again = read_push(write_points(to_point(point, row.time_us) for point, row in zip(points, rows, strict=True)))
    assert isinstance(again, list)
    for point, other, row in zip(points, again, rows, strict=True):
        assert said(other) == said(point)
        assert other.time == max(0, row.time_us // 1000)
        assert (row.variable, row.value, row.unit) == (point.variable, point.value, point.unit)


def said(point: WirePoint) -> Any:
    """What a point says but for its time; of metadata, as many pairs as can be written."""
    metadata = json.loads(bytes(point.metadata)) if point.metadata is not None else {}
    return point.variable, point.value, type(point.value), point.unit, point.group, point.location, list(metadata.items())[:PAIRS_MAX]


def to_point(point: WirePoint, time_us: int) -> Point:
    place = point.location
    return Point(
        variable=point.variable,
        value=point.value,
        time=to_datetime(time_us),
        unit=point.unit,
        group=point.group,
        location=Location(**place) if place is not None else None,
        metadata=json.loads(bytes(point.metadata)) if point.metadata is not None else None,
    )
