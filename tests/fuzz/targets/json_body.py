"""Bodies in JSON, with the rules of the wire; what is accepted has to be a record that reads back."""

from __future__ import annotations

from tsengine.core import batch
from tsengine.core.ingest.points import from_points
from tsengine.ingest.bodies import decode

NOW_US = 1_795_262_400_000_000


def seeds() -> list[bytes]:
    return [
        b'[{"variable":"temperature","value":21.5,"unit":"C","time":"2026-11-21T08:30:00.123Z"}]',
        b'{"variable":"t","value":"on","group":"0123456789abcdef01234567","metadata":{"a":[1,{"b":null}]}}',
        b'[{"variable":"p","value":true,"location":{"lat":42.3,"lng":-85.6}},{"variable":"p","value":-9223372036854775808,"time":1e12}]',
        '[{"variable":"état","value":null,"unit":"°C","metadata":{},"location":{"type":"Point","coordinates":[1,2]}}]'.encode(),
        b"[]",
    ]


def run(data: bytes) -> None:
    points = decode(data)
    if points:
        record = from_points(points, NOW_US, True)
        assert len(batch.rows(record)) == len(points)
