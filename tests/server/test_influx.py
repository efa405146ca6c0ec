"""InfluxDB's write API over HTTP: the official client, both versions' tokens, answers and errors, and many devices in one body."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import influxdb_client
import pytest
from influxdb_client import InfluxDBClient, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from tests.server.server_process import Made, Server

NOW = datetime.now(UTC).replace(microsecond=0)


def write(server: Server, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], Any]:
    connection = server.connect()
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        raw = response.read()
        found = {name.lower(): value for name, value in response.headers.items()}
        return response.status, found, json.loads(raw) if raw else None
    finally:
        connection.close()


def values_of(server: Server, device: Made) -> dict[str, Any]:
    return {row["variable"]: row["value"] for row in server.read(device, {"qty": 100})}


@pytest.mark.parametrize("enable_gzip", [False, True])
def test_the_official_client(server: Server, any_device: Made, enable_gzip: bool) -> None:
    with InfluxDBClient(server.url, token=any_device.token, org="any", enable_gzip=enable_gzip) as client:
        assert client.ping()
        api = client.write_api(write_options=SYNCHRONOUS)
        point = (
            influxdb_client.Point("room one")
            .tag("site", "a,b=c d")
            .field("temperature", 21.5)
            .field("people", 3)
            .field("door", True)
            .field("note", 'say "hi" \\ there')
            .time(NOW)
        )
        api.write("bucket", record=point)
        api.write("bucket", record=f"pressure value=1013.25 {int(NOW.timestamp() * 1000)}", write_precision=WritePrecision.MS)
        api.write("bucket", record=[{"measurement": "m", "fields": {"x": 1.0}, "time": NOW - timedelta(seconds=n)} for n in range(5)])
        with pytest.raises(ApiException) as caught:
            api.write("bucket", record="good value=1\nbad value=")
        assert caught.value.status == 400
        assert json.loads(caught.value.body) == {
            "status": False,
            "message": "line 2: missing field value",
            "code": "invalid",
            "line": 2,
        }
    rows = server.read(any_device, {"qty": 100})
    assert len(rows) == 10
    found = {row["variable"]: row for row in rows}
    assert {name: row["value"] for name, row in found.items()} == {
        "room_one_temperature": 21.5,
        "room_one_people": 3,
        "room_one_door": True,
        "room_one_note": 'say "hi" \\ there',
        "pressure": 1013.25,
        "m_x": 1.0,
    }
    assert found["room_one_door"]["metadata"] == {"site": "a,b=c d"}
    assert {row["time"] for name, row in found.items() if name != "m_x"} == {NOW.strftime("%Y-%m-%dT%H:%M:%S.000Z")}


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_tokens_come_in_every_way(server: Server, device: Made) -> None:
    token = device.token
    ways: list[tuple[str, dict[str, str]]] = [
        ("/api/v2/write?org=o&bucket=b", {"authorization": f"Token {token}"}),
        ("/api/v2/write", {"authorization": f"Bearer {token}"}),
        ("/api/v2/write", {"token": token}),
        ("/write?db=d&rp=r", {"authorization": f"Token {token}"}),
        ("/write?db=d", basic("anyone", token)),
        (f"/write?db=d&u=anyone&p={token}", {}),
    ]
    for number, (path, headers) in enumerate(ways):
        assert write(server, path, f"way{number} value={number}".encode(), headers)[0] == 204
    assert values_of(server, device) == {f"way{number}": number for number in range(len(ways))}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Token x"},
        {"authorization": "Basic !"},
        {"authorization": "Basic /w=="},
        basic("u", ""),
        {"authorization": "Token"},
    ],
)
def test_wrong_tokens_are_refused(server: Server, headers: dict[str, str]) -> None:
    status, _, body = write(server, "/api/v2/write", b"a value=1", headers)
    assert (status, body) == (401, {"status": False, "code": "unauthorized", "message": "Authorization denied"})
    status, found, body = write(server, "/write", b"a value=1", headers)
    assert (status, body["error"], found["x-influxdb-error"]) == (401, "Authorization denied", "Authorization denied")


def test_a_token_that_only_reads_is_refused(server: Server, device: Made) -> None:
    result = server.call("POST", "/device/token", server.account, {"device": device.id, "name": "reader", "permission": "read"}).result
    assert write(server, "/api/v2/write", b"a value=1", {"authorization": f"Token {result['token']}"})[0] == 401


@pytest.mark.parametrize(
    ("precision", "unit"), [("ns", 10**9), ("n", 10**9), ("us", 10**6), ("u", 10**6), ("ms", 1000), ("s", 1), ("", 10**9)]
)
def test_a_precision_says_the_unit_of_times(server: Server, device: Made, precision: str, unit: int) -> None:
    body = f"a value=1 {int(NOW.timestamp()) * unit}".encode()
    for path in ("/api/v2/write", "/write"):
        assert write(server, f"{path}?precision={precision}", body, {"authorization": f"Token {device.token}"})[0] == 204
    assert {row["time"] for row in server.read(device)} == {NOW.strftime("%Y-%m-%dT%H:%M:%S.000Z")}


def test_errors_have_the_shape_of_each_version(server: Server, device: Made) -> None:
    headers = {"authorization": f"Token {device.token}"}
    cases: list[tuple[str, bytes, dict[str, str], int, str, str]] = [
        ("", b"a value=1\nb value=x", {}, 400, "invalid", "line 2: invalid value 'x'; text goes in quotes"),
        ("?precision=days", b"a value=1", {}, 400, "invalid", "precision must be one of ns, n, us, u, ms, s, m, h, not 'days'"),
        ("?precision=s&precision=ms", b"a value=1", {}, 400, "invalid", "precision must be one of"),
        ("", b"not gzip", {"content-encoding": "gzip"}, 400, "invalid", "The gzip body is corrupt"),
        ("", b"a value=1", {"content-encoding": "br"}, 415, "unsupported media type", "Content-Encoding must be one of"),
        (
            "",
            gzip.compress(bytes(20_000_000)),
            {"content-encoding": "gzip"},
            413,
            "request too large",
            "The request body is larger than max_body",
        ),
    ]
    for query, body, extra, status, code, message in cases:
        found = write(server, f"/api/v2/write{query}", body, {**headers, **extra})
        assert (found[0], found[2]["code"]) == (status, code)
        assert found[2]["message"].startswith(message)
        found = write(server, f"/write{query}", body, {**headers, **extra})
        assert (found[0], list(found[2])) == (status, ["status", "message", "error"])
        assert found[2]["error"].startswith(message)
        assert found[1]["x-influxdb-error"].startswith(message)
    assert server.read(device) == []


def test_a_time_outside_of_the_window_is_refused(server: Server) -> None:
    device = server.make("immutable")
    status, _, body = write(server, "/api/v2/write", b"a value=1\nb value=2 0", {"authorization": f"Token {device.token}"})
    assert (status, body["message"].startswith("Time must be between")) == (400, True)
    assert server.read(device) == []


def test_the_account_writes_for_many_devices(server: Server) -> None:
    devices = [server.make() for _ in range(3)]
    serial = server.make(serie_number="serial 7")
    ids = [device.id for device in devices] + ["serial\\ 7"]
    body = "\n".join(f"a,device={ids[number % 4]},n={number} value={number}" for number in range(40)).encode()
    headers = {"authorization": f"Token {server.account}"}
    status, _, answer = write(server, "/api/v2/write", body, headers)
    assert (status, answer) == (204, None)
    for number, device in enumerate([*devices, serial]):
        rows = server.read(device, {"qty": 100})
        assert sorted(row["value"] for row in rows) == list(range(number, 40, 4))
        assert all(row["metadata"]["n"] == f"{row['value']:g}" for row in rows)


def test_the_account_has_to_name_devices_that_exist_and_are_active(server: Server) -> None:
    good, inactive = server.make(), server.make(active=False)
    headers = {"authorization": f"Token {server.account}"}
    line = f"a,device={good.id} value=1\n"
    for body, status, message in (
        (f"{line}a value=1", 400, "line 2: the tag `device` is missing; with the account token it tells whose data it is"),
        (f"{line}a,device=nobody value=1", 404, "no device has the id or serial 'nobody'"),
        (f"{line}a,device={inactive.id} value=1", 400, "Device is deactivated"),
        (f"{line}a,device={good.id} value=", 400, "line 2: missing field value"),
    ):
        found = write(server, "/api/v2/write", body.encode(), headers)
        assert (found[0], found[2]["message"]) == (status, message)
    assert server.read(good) == []


def test_a_full_device_does_not_keep_others_from_writing(server: Server) -> None:
    closed, good = server.make("immutable"), server.make()
    body = f"a,device={closed.id} value=1 0\na,device={good.id} value=2".encode()
    status, _, answer = write(server, "/api/v2/write", body, {"authorization": f"Token {server.account}"})
    assert (status, answer["message"].startswith("Time must be between")) == (400, True)
    assert (server.read(closed), len(server.read(good))) == ([], 1)


def test_nothing_is_something(server: Server, device: Made) -> None:
    for body in (b"", b"\n", b"# comment"):
        assert write(server, "/api/v2/write", body, {"authorization": f"Token {device.token}"})[0] == 204
        assert write(server, "/write", body, {"authorization": f"Token {server.account}"})[0] == 204


def test_a_ping_is_answered(server: Server) -> None:
    for method in ("GET", "HEAD"):
        reply = server.call(method, "/ping")
        assert (reply.status, reply.headers["x-influxdb-version"], reply.body) == (204, "tsengine", None)
    assert server.call("GET", "/write").refusal == (404, "Route Not Found")
