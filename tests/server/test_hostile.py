"""Bad input never gives a 5xx, a dropped connection or an answer that is no JSON; the seed is fixed, so a failure repeats."""

from __future__ import annotations

import http.client
import json
import random
from typing import Any
from urllib.parse import quote

import pytest

from tests.server.server_process import Made, Server

SEED = 20_261_121

NAMES = [
    *("variables", "variable[]", "variables[0]", "groups", "values", "value", "ids", "id", "qty", "skip", "ordination", "query"),
    *("start_date", "end_date", "timezone", "details", "function", "interval", "page", "amount", "fields", "fields[0]", "orderBy"),
    *("filter", "filter[name]", "filter[tags][0][key]", "filter[tags][x]", "filter[created_at]", "serial", "sent_status", "a[b[c]", "]["),
]
WORDS = [
    *("", "a", "A*", "*", "0", "1", "-1", "1e3", "10000", "10001", "99999999999999999999", "1.5", "NaN", "inf", "true", "False", "null"),
    *("default", "last_item", "first_insert", "last_location", "min", "max", "count", "avg", "sum", "aggregate", "conditional"),
    *("minute", "quarter", "gt", "ne", "ascending", "name,desc", "1 day", "1 M", "999999999 years", "0001-01-01", "9999-12-31"),
    *("9999-12-31T23:59:59.999-23:59", "0001-01-01T00:00:00+23:59", "2024-02-30", "Europe/Berlin", "../../etc/passwd", "\x00", "é€😀"),
    *("{", '{"tags":5}', '{"tags":[{"key":1}]}', '{"name":{"a":[1]}}', "[" * 2000, "x" * 5000, "%", "&=", "0" * 24, "00000001" + "f" * 16),
]
PIECES = [
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b"null",
        b"true",
        b"1e999",
        b"-",
        b"0",
        b"1.5",
        b'"\\ud800"',
        b"\xff",
        b"\x00",
        b" ",
    ),
    *(
        b'"variable":"a"',
        b'"value":',
        b'"time":',
        b'"location":',
        b'"metadata":',
        b'"id":"',
        b'"lat":1',
        b'"coordinates":[1,2]',
        b"{}",
        b"[]",
    ),
    *(b'"name":"device"', b'"type":"immutable"', b'"tags":', b'"key":"k"', b'"configuration_params":', b'"chunk_retention":', b'"sent":'),
]
ITEM: dict[str, Any] = {
    "variable": "a",
    "value": 1,
    "unit": "C",
    "group": "g",
    "time": "2024-05-06",
    "location": {"lat": 1, "lng": 2},
    "metadata": {"a": 1},
}
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**63,
    2**64,
    1e308,
    "",
    "x" * 7000,
    [],
    [[]],
    {},
    {"lat": "1"},
    {"coordinates": [None, 1]},
    "9" * 13,
    -1e18,
    "\ud800",
]


@pytest.fixture
def wire(server: Server) -> Any:
    """One connection for many requests; checks each answer."""
    connection = server.connect()

    def call(method: str, path: str, token: str, body: bytes | None = None) -> int:
        try:
            connection.request(method, path, body, {"token": token, "content-type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise AssertionError(f"{method} {path} {body!r}: {error!r}") from error
        assert response.status < 500, (method, path, body, answer)
        assert answer["status"] is (response.status < 400), (method, path, body, answer)
        assert isinstance(answer["message"], str) if response.status >= 400 else answer["result"] is not None
        return response.status

    yield call
    connection.close()


def test_random_queries_are_answered_or_refused(server: Server, any_device: Made, wire: Any) -> None:
    random_source = random.Random(SEED)
    server.send(any_device, *({"variable": "a", "value": n} for n in range(5)), {"variable": "b", "value": "text"}, {"variable": "c"})
    places = [
        ("GET", "/data", any_device.token),
        ("GET", f"/device/{any_device.id}/data", server.account),
        ("GET", "/device", server.account),
        ("GET", f"/device/token/{any_device.id}", server.account),
        ("GET", "/device/params", any_device.token),
    ]
    seen = set()
    for _ in range(1500):
        method, path, token = random_source.choice(places)
        pairs = [(random_source.choice(NAMES), random_source.choice(WORDS)) for _ in range(random_source.randint(1, 5))]
        seen.add(wire(method, path + "?" + "&".join(f"{quote(name, safe='[]')}={quote(value)}" for name, value in pairs), token))
    assert {200, 400} <= seen <= {200, 400}


def bodies(random_source: random.Random) -> bytes:
    """Return a valid item with odd fields, a mutilated one, or rubble of JSON."""
    kind = random_source.randrange(3)
    if kind == 0:
        item = {**ITEM, random_source.choice(list(ITEM)): random_source.choice(ODD), "id": random_source.choice(["0" * 24, 5, None])}
        return json.dumps(item if random_source.random() < 0.5 else [item, ITEM]).encode()
    if kind == 1:
        text = bytearray(json.dumps([ITEM, ITEM]).encode())
        for _ in range(random_source.randint(1, 4)):
            text[random_source.randrange(len(text))] = random_source.randrange(256)
        return bytes(text)
    return b"".join(random_source.choices(PIECES, k=random_source.randint(0, 12)))


def test_random_bodies_are_answered_or_refused(server: Server, any_device: Made, wire: Any) -> None:
    random_source = random.Random(SEED)
    places = [
        ("POST", "/data", any_device.token),
        ("PUT", "/data", any_device.token),
        ("POST", f"/device/{any_device.id}/data", server.account),
        ("PUT", f"/device/{any_device.id}", server.account),
        ("POST", "/device", server.account),
        ("POST", "/device/token", server.account),
        ("POST", f"/device/{any_device.id}/params", server.account),
        ("PUT", "/device/params/" + "0" * 24, any_device.token),
    ]
    for _ in range(2000):
        method, path, token = random_source.choice(places)
        wire(method, path, token, bodies(random_source))
    assert server.call("PUT", f"/device/{any_device.id}", server.account, {"active": True}).status == 200
    assert wire("GET", "/data", any_device.token) == 200


def test_random_paths_are_answered_or_refused(server: Server, any_device: Made, wire: Any) -> None:
    random_source = random.Random(SEED)
    parts = [
        "device",
        "data",
        "token",
        "params",
        "chunk",
        "bucket",
        "data_amount",
        "empty",
        "info",
        any_device.id,
        "%00",
        "%2F",
        "..",
        "",
        "é",
        "*",
        "1_2",
    ]
    for _ in range(500):
        path = "/" + "/".join(quote(random_source.choice(parts), safe="%*._") for _ in range(random_source.randint(0, 5)))
        method = random_source.choice(["GET", "PUT", "PATCH", "TRACE"])
        if "token" not in path:
            wire(method, path, random_source.choice([server.account, any_device.token, "", "x"]))
