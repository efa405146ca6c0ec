"""Sending data: contract sections 3 and 15, on both routes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.server.server_process import Made, Reply, Server, iso, minutes_ago

HEX = set("0123456789abcdef")
TRUNCATED = (b"{", b"[", b"nonsense", b'{"variable":"a"', b'[{"variable":"a"}]x')


@pytest.fixture(params=["fast lane", "device token", "account token"])
def post(server: Server, any_device: Made, request: pytest.FixtureRequest) -> Any:
    """Send a body on one of the two routes, which behave alike, to the first also past the fast lane."""

    def send(body: Any, **options: Any) -> Reply:
        if request.param != "account token":
            path = "/data" if request.param == "fast lane" else "/data?"  # the lane leaves what is not as usual to the application
            return server.call("POST", path, any_device.token, body, **options)
        return server.call("POST", f"/device/{any_device.id}/data", server.account, body, **options)

    return send


def test_what_was_sent_is_read_back(server: Server, any_device: Made, post: Any) -> None:
    point = {
        "variable": "Temp",
        "value": 21.5,
        "unit": "C",
        "group": "g1",
        "time": minutes_ago(5),
        "location": {"lat": 42.3, "lng": -85.6},
        "metadata": {"a": [1, {"b": None}], "text": "Zürich"},
        "origin": "ignored",
        "id": "ignored too",
    }
    assert post(point).result == "1 Data Added"
    (row,) = server.read(any_device)
    assert len(row["id"]) == 24 and set(row["id"]) <= HEX
    assert row == {
        "id": row["id"],
        "device": any_device.id,
        "variable": "temp",
        "value": 21.5,
        "unit": "C",
        "group": "g1",
        "time": point["time"],
        "location": {"type": "Point", "coordinates": [-85.6, 42.3]},
        "metadata": point["metadata"],
    }


def test_a_bare_point_has_no_null_keys(server: Server, any_device: Made, post: Any) -> None:
    before = datetime.now(UTC)
    assert (
        post([{"variable": "bare"}, {"variable": "nulls", "value": None, "location": None, "unit": None, "metadata": None}]).status == 200
    )
    for row in server.read(any_device):
        assert set(row) == {"id", "device", "variable", "group", "time"}
        assert len(row["group"]) == 24 and set(row["group"]) <= HEX
        assert iso(before) <= row["time"] <= iso(datetime.now(UTC))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("100.0", "100"),
        ("100", "100"),
        ("-0.0", "0"),
        ("0.1", "0.1"),
        ("1e2", "100"),
        ("9007199254740993", "9007199254740992"),
        ("12345678901234567890", "1.2345678901234567e19"),
        ("1e300", "1e300"),
        ("true", "true"),
        ("false", "false"),
        ('"12"', '"12"'),
        ('""', '""'),
        ('"\\u0000\\u20ac\\ud83d\\ude00"', '"\\u0000\u20ac\U0001f600"'),
    ],
)
def test_a_value_keeps_its_kind_and_numbers_are_javascripts(server: Server, any_device: Made, sent: str, shown: str) -> None:
    assert server.call("POST", "/data", any_device.token, b'{"variable":"v","value":%s}' % sent.encode()).status == 200
    (row,) = server.read(any_device)
    assert json.dumps(row["value"]) == json.dumps(json.loads(shown))
    assert type(row["value"]) is type(json.loads(shown)) or "e" in shown


def test_an_empty_array_adds_nothing(server: Server, any_device: Made, post: Any) -> None:
    assert post([]).result == "0 Data Added"
    assert server.read(any_device) == []


def test_one_request_shares_one_group_and_one_time(server: Server, any_device: Made) -> None:
    server.send(
        any_device, {"variable": "a"}, {"variable": "b"}, {"variable": "c", "serie": 5}, {"variable": "d", "serie": "s", "group": "g"}
    )
    server.send(any_device, {"variable": "e"})
    rows = {row["variable"]: row for row in server.read(any_device)}
    assert rows["a"]["group"] == rows["b"]["group"] != rows["e"]["group"]
    assert (rows["c"]["group"], rows["d"]["group"]) == ("5", "g")
    assert len({row["time"] for name, row in rows.items() if name != "e"}) == 1
    assert len({row["id"] for row in rows.values()}) == 5


def test_equal_points_are_all_kept(server: Server, any_device: Made) -> None:
    point = {"variable": "a", "value": 1, "time": minutes_ago(1)}
    server.send(any_device, point, point, point)
    assert len({row["id"] for row in server.read(any_device)}) == 3


def test_order_of_equal_times_is_the_order_of_insertion(server: Server, any_device: Made) -> None:
    server.send(any_device, *({"variable": "a", "value": n, "time": minutes_ago(1)[:19] + "Z"} for n in range(20)))
    assert [row["value"] for row in server.read(any_device, {"qty": 20, "ordination": "ascending"})] == list(range(20))
    assert [row["value"] for row in server.read(any_device, {"qty": 20})] == list(range(19, -1, -1))


def test_times_are_read_in_every_form(server: Server, device: Made) -> None:
    moment = datetime(2024, 5, 6, 7, 8, 9, 123_000, tzinfo=UTC)
    forms: list[tuple[Any, str]] = [
        ("2024-05-06T07:08:09.123Z", "2024-05-06T07:08:09.123Z"),
        ("2024-05-06T07:08:09.123999Z", "2024-05-06T07:08:09.123Z"),
        ("2024-05-06T09:08:09+02:00", "2024-05-06T07:08:09.000Z"),
        ("2024-05-06 07:08:09", "2024-05-06T07:08:09.000Z"),
        ("2024-05-06 07:08:09.5", "2024-05-06T07:08:09.500Z"),
        ("2024-05-06", "2024-05-06T00:00:00.000Z"),
        (str(moment), "2024-05-06T07:08:09.123Z"),
        (1714979289123, "2024-05-06T07:08:09.123Z"),
        ("1714979289123", "2024-05-06T07:08:09.123Z"),
        ("1714979289", "2024-05-06T07:08:09.000Z"),
        ("1970-01-01T00:00:00.001Z", "1970-01-01T00:00:00.001Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ]
    server.send(device, *({"variable": f"v{n}", "time": form} for n, (form, _) in enumerate(forms)))
    rows = {row["variable"]: row["time"] for row in server.read(device, {"qty": 100})}
    assert rows == {f"v{n}": shown for n, (_, shown) in enumerate(forms)}


@pytest.mark.parametrize("time", ["", 0, None])
def test_a_falsy_time_is_now(server: Server, device: Made, time: Any) -> None:
    server.send(device, {"variable": "v", "time": time})
    assert server.read(device, {"start_date": "1 minute"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("variable", None),
        ("variable", ""),
        ("variable", 5),
        ("variable", "x" * 101),
        *(("variable", f"a{letter}b") for letter in "*?!<>.-=$ "),
        ("value", "x" * 6145),
        ("value", "é" * 3073),
        ("value", {}),
        ("value", [1]),
        ("unit", "x" * 26),
        ("unit", 5),
        ("group", "x" * 101),
        ("time", "soon"),
        ("time", "2024-02-30"),
        ("time", True),
        ("time", {}),
        ("location", {"lat": 91, "lng": 0}),
        ("location", {"lat": 0, "lng": -181}),
        ("location", {"lat": 0}),
        ("location", {"type": "Polygon", "coordinates": [0, 0]}),
        ("location", {"coordinates": [0]}),
        ("location", {"coordinates": [0, 0, "high"]}),
        ("location", "here"),
        ("metadata", []),
        ("metadata", "text"),
        ("metadata", {"a": "x" * 10_240}),
    ],
)
def test_one_bad_item_rejects_the_batch_and_is_named(server: Server, any_device: Made, field: str, value: Any) -> None:
    bad = {"variable": "bad", "value": 1, field: value}
    reply = server.call("POST", "/data", any_device.token, [{"variable": "good", "value": 1}, bad, {"variable": "good"}])
    assert reply.status == 400
    assert reply.body["message"].startswith("Invalid data at index 1: ") and field in reply.body["message"]
    assert list(reply.body["field_errors"]) == ["1"]
    assert server.read(any_device, {"query": "count"}) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("variable", "x" * 100),
        ("variable", "tempé_1/2"),
        ("value", "x" * 6144),
        ("value", ""),
        ("unit", "x" * 25),
        ("group", "x" * 100),
        ("location", {"lat": 90, "lng": -180}),
        ("location", {"coordinates": [-180, 90, 500]}),
        ("location", {"type": "Point", "coordinates": [1, 2]}),
        ("metadata", {"a": "x" * 10_000}),
    ],
)
def test_the_edge_of_each_limit_is_inside(server: Server, any_device: Made, field: str, value: Any) -> None:
    server.send(any_device, {"variable": "v", field: value})
    assert server.read(any_device, {"query": "count"}) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[",
        b"nonsense",
        b'{"variable":"a"',
        b'[{"variable":"a"}]x',
        b'{"variable":"a","value":NaN}',
        b"\xff\xfe",
        b'{"variable":"\xff"}',
        b"[" * 5000,
        b"",
        b" ",
    ],
)
def test_what_is_not_json_is_malformed(server: Server, post: Any, body: bytes) -> None:
    reply = post(body)
    assert reply.status == 400, reply
    assert reply.body["status"] is False and isinstance(reply.body["message"], str)
    if body in TRUNCATED:
        assert reply.refusal == (400, "Malformed request syntax")


@pytest.mark.parametrize("body", [b"5", b"null", b'"text"', b"[5]", b"[null]", b"[[]]", b"true"])
def test_json_that_is_no_item_is_refused(post: Any, body: bytes) -> None:
    assert post(body).status == 400


def test_text_is_refused_without_a_parser(post: Any) -> None:
    assert post(b"temperature:=21.5", headers={"content-type": "text/plain"}).status == 400


def test_a_body_above_the_limit_is_413_and_the_limit_is_named(server: Server, any_device: Made, post: Any) -> None:
    body = b"[" + b" " * 10 * 1024 * 1024 + b"]"
    status, message = post(body).refusal
    assert status == 413
    assert "max_body" in message and str(10 * 1024 * 1024) in message
    assert server.call("PUT", "/data", any_device.token, body).status in (400, 413)
    assert server.call("POST", "/device", server.account, body).refusal[0] == 413


def test_a_chunked_body_is_counted_too(server: Server, device: Made) -> None:
    connection = server.connect()
    pieces = (b" " * 65_536 for _ in range(200))
    connection.request("POST", "/data", pieces, {"token": device.token, "content-type": "application/json"}, encode_chunked=True)
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["status"]) == (413, False)
    connection.close()


def test_a_large_batch_is_taken(server: Server, any_device: Made) -> None:
    server.send(any_device, *({"variable": f"v{n % 10}", "value": n} for n in range(20_000)))
    assert server.read(any_device, {"query": "count"}) == 20_000


def test_checks_come_in_the_order_of_the_contract(server: Server, any_device: Made) -> None:
    assert server.call("POST", "/data", "wrong", b"{").refusal[0] == 401
    server.call("PUT", f"/device/{any_device.id}", server.account, {"active": False})
    assert server.call("POST", "/data", any_device.token, b"{").refusal == (400, "Device is deactivated")


def test_an_immutable_device_takes_only_times_in_its_window(server: Server) -> None:
    device = server.make("immutable", chunk_period="day", chunk_retention=2)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first, last = today - timedelta(days=2), today + timedelta(days=2, milliseconds=-1)
    server.send(device, {"variable": "a", "time": iso(first)}, {"variable": "a", "time": iso(last)})
    for time in (first - timedelta(milliseconds=1), last + timedelta(milliseconds=1)):
        reply = server.call("POST", "/data", device.token, [{"variable": "a"}, {"variable": "a", "time": iso(time)}])
        assert reply.refusal == (400, f"Time must be between {first:%Y-%m-%d} and {last:%Y-%m-%d}")
    assert server.read(device, {"query": "count"}) == 2


def test_a_mutable_device_is_full_at_50000(server: Server) -> None:
    device = server.make("mutable")
    for _ in range(4):
        server.send(device, *({"variable": "a", "value": n} for n in range(12_499)))
    server.send(device, *({"variable": "a", "value": n} for n in range(3)))
    reply = server.call("POST", "/data", device.token, [{"variable": "a"}] * 2)
    assert reply.refusal == (400, "The device has reached the limit of 50000 data registers")
    server.send(device, {"variable": "a"})
    assert server.read(device, {"query": "count"}) == 50_000
    assert server.call("DELETE", "/data", device.token, query={"qty": 2}).result == "2 Data Removed"
    server.send(device, {"variable": "a"}, {"variable": "a"})


def test_every_answer_comes_after_the_data_can_be_read(server: Server, any_device: Made) -> None:
    for n in range(50):
        server.send(any_device, {"variable": "n", "value": n})
        (row,) = server.read(any_device, {"query": "last_item", "variables": "n"})
        assert row["value"] == n


def test_many_posts_at_once_lose_and_repeat_nothing(server: Server, any_device: Made) -> None:
    def send(worker: int) -> None:
        for n in range(25):
            server.send(any_device, {"variable": f"w{worker}", "value": n}, {"variable": "all", "value": worker * 100 + n})

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(send, range(16)))
    assert server.read(any_device, {"query": "count"}) == 800
    rows = server.read(any_device, {"variables": "all", "qty": 1000})
    assert sorted(row["value"] for row in rows) == sorted(worker * 100 + n for worker in range(16) for n in range(25))
    assert len({row["id"] for row in rows}) == 400


def test_pipelined_requests_are_answered_in_order(server: Server, device: Made) -> None:
    def request(n: int) -> bytes:
        body = b'{"variable":"v","value":%d}' % n
        head = f"POST /data HTTP/1.1\r\nHost: x\r\nToken: {device.token}\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    connection = server.connect()
    connection.connect()
    connection.sock.sendall(b"".join(request(n) for n in range(10)) + b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    received = b""
    while part := connection.sock.recv(65_536):
        received += part
    assert received.count(b'"1 Data Added"') == 10 and received.endswith(b'"result":"ok"}')
    assert [row["value"] for row in server.read(device)] == list(range(9, -1, -1))
    connection.close()


@pytest.mark.parametrize("framing", ["Content-Length: 1000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n10\r\n"])
def test_a_client_that_goes_away_harms_nobody(server: Server, device: Made, framing: str) -> None:
    for path, token in (("/data", device.token), (f"/device/{device.id}/data", server.account)):
        connection = server.connect()
        connection.connect()
        connection.sock.sendall(f'POST {path} HTTP/1.1\r\nHost: x\r\nToken: {token}\r\n{framing}[{{"variable":"a"'.encode())
        connection.close()
    server.send(device, {"variable": "after"})
    assert [row["variable"] for row in server.read(device)] == ["after"]


@pytest.mark.parametrize(("token", "status"), [("wrong", 401), (None, 413)])
def test_a_connection_survives_an_early_refusal(server: Server, device: Made, token: str | None, status: int) -> None:
    connection = server.connect()
    connection.request("POST", "/data", b" " * 11_000_000, {"token": token or device.token})
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["status"]) == (status, False)
    first_socket = connection.sock
    connection.request("POST", "/data", b"[]", {"token": device.token})
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["result"]) == (200, "0 Data Added")
    assert connection.sock is first_socket
    connection.close()


def test_a_client_may_wait_for_100_continue(server: Server, device: Made) -> None:
    connection = server.connect()
    connection.connect()
    connection.sock.sendall(
        f"POST /data HTTP/1.1\r\nHost: x\r\nToken: {device.token}\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n".encode()
    )
    assert connection.sock.recv(100).startswith(b"HTTP/1.1 100 ")
    connection.sock.sendall(b"[]")
    assert connection.sock.recv(100).startswith(b"HTTP/1.1 200 ")
    connection.close()
