"""Line protocol: what is accepted is what a plain parser reads, and the same when it is split by device first."""

from __future__ import annotations

import json
from typing import Any

from tests.ingest import line_model
from tsengine.core import batch
from tsengine.core.ingest.line import split_lines
from tsengine.errors import InputError
from tsengine.ingest.bodies import LINE_TYPE, record_of_body

NOW_US = 1_795_262_400_000_000


def seeds() -> list[bytes]:
    return [
        rb'cpu,host=a\ b,cpu=cpu0,device=x usage-idle=90.5,n=5i,s="he \"x\" \\ , =",b=t 1700000000000000999' + b"\n",
        b"# a comment\r\n\r\nweather,device=y value=-1.5e3 1700000000000000000\r\nweather,device=x value=.5,w=1.,u=7u",
        'm,device=ü é="two\nlines",e="" -1\n m,device=x v=false'.encode(),
        b"a v=T,w=-9223372036854775808i,x=9223372036854775807u,y=+1e-5  \n",
    ]


def points_of(body: bytes) -> list[Any]:
    record = record_of_body(body, LINE_TYPE, NOW_US)
    rows = batch.rows(record) if record else []
    return [(row.variable, type(row.value), repr(row.value), row.time_us, json.loads(row.metadata) if row.metadata else {}) for row in rows]


def run(data: bytes) -> None:
    try:
        parts: dict[str, bytes] | None = split_lines(data, 1)
    except InputError:
        parts = None
    found = points_of(data)  # raises what `split_lines` has raised, unless a device is all that is missing
    expected = line_model.points_of_body(data.decode(errors="surrogateescape"), NOW_US)
    assert found == [(variable, type(value), repr(value), time_us, tags) for variable, value, time_us, tags in expected]
    devices = [tags.get("device") for *_, tags in found]
    assert (parts is None) == (None in devices)
    if parts is not None:
        assert list(parts) == list(dict.fromkeys(devices))
        for device, body in parts.items():
            assert points_of(body) == [point for point in found if point[-1]["device"] == device]
