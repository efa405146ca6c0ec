"""The fast lane of POST and GET /data: which requests it takes, that it answers as the application does, and in order."""

from __future__ import annotations

import contextlib
import json
import select
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tsengine
from tests.server.raw import Line, Raw, request
from tests.server.server_process import Made, Server
from tsengine.server.http.protocol import LANE_REQUESTS

POINT = b'{"variable":"a","value":1}'

APPLICATION_REFUSES = """
from tsengine.server.app import App
async def refuse(self, scope, receive, send):
    await send({"type": "http.response.start", "status": 418, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
App.__call__ = refuse
"""


class Prepared:
    """A server whose application answers 418 to everything, and devices that were made before it started."""

    def __init__(self, folder: Path) -> None:
        with tsengine.open(folder, durability="os") as engine:
            made = {}
            for name, kind, active in (("immutable", "immutable", True), ("mutable", "mutable", True), ("off", "immutable", False)):
                device = engine.create_device(f"a {name} device", type=kind, active=active)  # type: ignore[arg-type]
                made[name] = engine.create_token(device.id, "Default").token
            reader = engine.create_token(device.id, "reader", permission="read").token
        self.tokens = {**made, "reader": reader, "unknown": "0" * 32}
        self.server = Server(folder, before=APPLICATION_REFUSES, max_body=1000)

    def status(self, *sent: bytes) -> int:
        with Line(self.server) as line:
            line.send(*sent)
            return line.answer(has_body=False).status


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    prepared = Prepared(tmp_path_factory.mktemp("lane") / "data")
    yield prepared
    assert prepared.server.stop() == 0


TAKEN: list[tuple[str, str, str, bytes | None, dict[str, str]]] = [
    ("POST", "/data", "immutable", POINT, {}),
    ("POST", "/data", "mutable", POINT, {}),
    ("POST", "/data", "immutable", POINT, {"content_type": ""}),
    ("POST", "/data", "immutable", POINT, {"content_type": "application/json; charset=utf-8"}),
    ("POST", "/data", "immutable", msgspec.msgpack.encode({"variable": "a"}), {"content_type": "application/msgpack"}),
    ("POST", "/data", "immutable", POINT, {"connection": "close"}),
    ("POST", "/data", "immutable", b"[]", {}),
    ("GET", "/data", "immutable", None, {}),
    ("GET", "/data?variables=a&query=last_value", "immutable", None, {}),
    ("GET", "/data?variables=a&qty=100&details=true", "immutable", None, {}),
]
LEFT: list[tuple[str, str, str, bytes | None, dict[str, str]]] = [
    ("POST", "/data", "unknown", POINT, {}),
    ("POST", "/data", "reader", POINT, {}),
    ("POST", "/data", "off", POINT, {}),
    ("POST", "/data?", "immutable", POINT, {}),
    ("POST", "/data/", "immutable", POINT, {}),
    ("POST", "/data", "immutable", POINT, {"expect": "100-continue"}),
    ("POST", "/data", "immutable", POINT, {"content_encoding": "gzip"}),
    ("POST", "/data", "immutable", POINT, {"content_type": "application/x-unknown"}),
    ("POST", "/data", "immutable", POINT, {"content_type": "application/JSON"}),
    ("POST", "/data", "immutable", POINT, {"content_length": "1001"}),
    ("POST", "/data", "immutable", b"1a\r\n" + POINT + b"\r\n0\r\n\r\n", {"content_length": "", "transfer_encoding": "chunked"}),
    ("PUT", "/data", "mutable", POINT, {}),
    ("HEAD", "/data", "immutable", None, {}),
    ("GET", "/data", "mutable", None, {}),
    ("GET", "/data", "off", None, {}),
    ("GET", "/data", "unknown", None, {}),
    ("GET", "/data?qty=101", "immutable", None, {}),
    ("GET", "/data?skip=1", "immutable", None, {}),
    ("GET", "/data?start_date=1%20day", "immutable", None, {}),
    ("GET", "/data?query=count", "immutable", None, {}),
    ("GET", "/data?query=nonsense", "immutable", None, {}),
    ("GET", "/data?groups=a", "immutable", None, {}),
    ("GET", "/data?variables=a&variables=b&variables=c&variables=d&variables=e", "immutable", None, {}),
    ("GET", "/data", "immutable", b"", {}),
    ("GET", "/database", "immutable", None, {}),
    ("GET", "/health", "immutable", None, {}),
]


@pytest.mark.parametrize(("method", "target", "token", "body", "headers"), TAKEN)
def test_the_lane_takes(prepared: Prepared, method: str, target: str, token: str, body: bytes | None, headers: dict[str, str]) -> None:
    assert prepared.status(request(method, target, prepared.tokens[token], body, **headers)) == 200


@pytest.mark.parametrize(("method", "target", "token", "body", "headers"), LEFT)
def test_the_lane_leaves(prepared: Prepared, method: str, target: str, token: str, body: bytes | None, headers: dict[str, str]) -> None:
    assert prepared.status(request(method, target, prepared.tokens[token], body, **headers)) == 418


def test_the_lane_leaves_http_1_0(prepared: Prepared) -> None:
    assert prepared.status(request("POST", "/data", prepared.tokens["immutable"], POINT, version="1.0")) == 418


# --- the same answers -------------------------------------------------------------------------------------------------

BODIES = [
    *(
        POINT,
        b"[" + POINT + b"]",
        b"[" + b",".join([POINT] * 1000) + b"]",
        b"[]",
        b"",
        b"{}",
        b"[{}]",
        b"null",
        b"5",
        b"{",
        b"\xff",
        b"[" * 5000,
    ),
    *(b'[{"variable":"a"},{"variable":5}]', b'{"variable":"a b"}', b'{"variable":"a","value":[]}', b'{"variable":"a","time":"x"}'),
    *(b'{"variable":"a","time":"1990-01-01"}', b'{"variable":"a","unit":"' + b"u" * 26 + b'"}', b'{"variable":"\\ud800"}', b'{"a":1}'),
]


@pytest.mark.parametrize("body", BODIES, ids=[str(number) for number in range(len(BODIES))])
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_a_post_is_answered_as_by_the_application(server: Server, any_device: Made, body: bytes, connection: str) -> None:
    def post(target: str) -> Raw:
        with Line(server) as line:
            line.send(request("POST", target, any_device.token, body, connection=connection, x_request_id="same"))
            answer = line.answer()
            assert (b"\r\nconnection: close" in answer.head) is (connection == "close")
            if connection == "close":
                assert line.is_closed()
            return answer

    lane, application = post("/data"), post("/data?")
    assert lane.without_date == application.without_date
    assert b"\r\ndate: " in lane.head and lane.head.count(b"\r\n") == application.head.count(b"\r\n")


@pytest.mark.parametrize(
    "query", ["", "?query=last_value", "?variables=b&variables=a&query=first_item", "?qty=0", "?variables=none&qty=100"]
)
def test_a_get_is_answered_as_by_the_application(server: Server, query: str) -> None:
    device = server.make("immutable")
    server.send(device, *({"variable": "ab"[n % 2], "value": n, "unit": "é"} for n in range(50)), {"variable": "a"})
    with Line(server) as line:
        line.send(request("GET", f"/data{query}", device.token, x_request_id="same"))
        lane = line.answer()
        line.send(request("GET", f"/data{query}", device.token, b"", x_request_id="same"))
        application = line.answer()
    assert lane.status == 200
    assert lane.without_date == application.without_date


def test_an_answer_has_a_request_id_of_its_own(server: Server, device: Made) -> None:
    with Line(server) as line:
        line.send(request("POST", "/data", device.token, POINT) * 2)
        heads = [line.answer().head for _ in range(2)]
    ids = {next(part for part in head.split(b"\r\n") if part.startswith(b"x-request-id: ")) for head in heads}
    assert len(ids) == 2


@pytest.mark.parametrize("limits", [{"GET /data": 3}, {"device": 3}])
def test_reads_are_counted_where_they_are_limited(tmp_path: Path, limits: dict[str, int]) -> None:
    server = Server(tmp_path / "data", rate_limits=limits)
    device = server.make("immutable")
    with Line(server) as line:
        line.send(request("GET", "/data", device.token) * 4)
        statuses = [line.answer().status for _ in range(4)]
    assert statuses in ([200, 200, 200, 429], [200] * 4)  # a minute may have ended in between
    if statuses[-1] == 200:
        with Line(server) as line:
            line.send(request("GET", "/data", device.token) * 4)
            assert [line.answer().status for _ in range(4)][-1] == 429
    assert server.stop() == 0


# --- the same head again ----------------------------------------------------------------------------------------------


def post_of(device: Made, value: int, **headers: str) -> bytes:
    return request("POST", "/data", device.token, b'{"variable":"a","value":%03d}' % value, **headers).replace(b":0", b": ")


def values_of(server: Server, device: Made) -> list[Any]:
    return [row["value"] for row in server.read(device, {"qty": 10_000, "ordination": "ascending"})]


def test_a_repeated_head_has_its_own_body(server: Server, device: Made) -> None:
    with Line(server) as line:
        for value in range(100, 120):
            line.send(post_of(device, value))
            assert line.answer().json["result"] == "1 Data Added"
    assert values_of(server, device) == list(range(100, 120))


def test_a_repeated_head_that_comes_in_pieces_or_with_more_is_read_whole(server: Server, device: Made) -> None:
    first, second, third = (post_of(device, value) for value in (100, 200, 300))
    with Line(server) as line:
        line.send(first)
        assert line.answer().status == 200
        count = 1
        for cut in range(1, len(second), 7):
            line.send(second[:cut])
            line.send(second[cut:] + third[: cut // 2])
            line.send(third[cut // 2 :], first)
            assert [line.answer().status for _ in range(3)] == [200] * 3
            count += 3
    values = values_of(server, device)
    assert len(values) == count and values[:4] == [100, 200, 300, 100] and set(values[1::3]) == {200}


def test_a_body_that_looks_like_a_head_is_a_body(server: Server, device: Made) -> None:
    inner = request("POST", "/data", device.token, POINT)
    body = json.dumps({"variable": "a", "value": inner.decode()}).encode().replace(b"\\r\\n", b"\r\n")
    assert b"\r\n\r\n" in body
    with Line(server) as line:
        for _ in range(3):
            line.send(request("POST", "/data", device.token, body))
            assert line.answer().status == 400  # a line break inside a JSON text
            line.send(request("POST", "/data", device.token, POINT))
            assert line.answer().status == 200
    assert values_of(server, device) == [1, 1, 1]


def test_a_repeated_head_is_refused_as_soon_as_its_token_is(server: Server, device: Made) -> None:
    made = server.call("POST", "/device/token", server.account, {"device": device.id, "name": "second"}).result["token"]
    sent = request("POST", "/data", made, POINT)
    with Line(server) as line:
        for _ in range(2):
            line.send(sent)
            assert line.answer().status == 200
        server.call("PUT", f"/device/{device.id}", server.account, {"active": False})
        line.send(sent)
        assert (answer := line.answer()).status == 400 and answer.json["message"] == "Device is deactivated"
        server.call("PUT", f"/device/{device.id}", server.account, {"active": True})
        line.send(sent)
        assert line.answer().status == 200
        assert server.call("DELETE", f"/device/token/{made}", server.account).status == 200
        line.send(sent)
        assert line.answer().status == 401
    assert len(values_of(server, device)) == 3


# --- order ------------------------------------------------------------------------------------------------------------


def test_answers_come_in_the_order_of_the_requests(server: Server) -> None:
    device = server.make("immutable")
    sent: list[bytes] = []
    expected: list[tuple[int, Any]] = []
    for n in range(40):
        for body, status, result in ((POINT, 200, "1 Data Added"), (b"nonsense", 400, None), (b"[]", 200, "0 Data Added")):
            sent.append(request("POST", "/data", device.token, body))
            expected.append((status, result))
        if n % 3 == 0:
            sent.append(request("GET", "/health", device.token))
            expected.append((200, "ok"))
        if n % 4 == 0:
            sent.append(request("POST", "/data?", device.token, b"[" + POINT + b"," + POINT + b"]"))
            expected.append((200, "2 Data Added"))
        if n % 5 == 0:
            sent.append(request("GET", "/data?qty=0", device.token))
            expected.append((200, []))
        sent.append(request("POST", "/data", "unknown", POINT))
        expected.append((401, None))
    with Line(server) as line:
        line.send(*sent)
        answers = [line.answer() for _ in sent]
    assert [(answer.status, answer.json.get("result")) for answer in answers] == expected


def test_more_requests_at_once_than_the_lane_holds(server: Server, device: Made) -> None:
    count = 5 * LANE_REQUESTS
    with Line(server) as line:
        line.send(*(post_of(device, 100 + n % 900) for n in range(count)))
        assert [line.answer().status for _ in range(count)] == [200] * count
    assert values_of(server, device) == [100 + n % 900 for n in range(count)]


def test_nothing_is_done_after_a_close(server: Server, device: Made) -> None:
    for last in (POINT, b"nonsense"):
        with Line(server) as line:
            post = request("POST", "/data", device.token, POINT)
            line.send(post, request("POST", "/data", device.token, last, connection="close"), post, post)
            assert line.answer().status == 200
            assert b"\r\nconnection: close" in line.answer().head
            assert line.is_closed()
    assert len(values_of(server, device)) == 3


# --- what only the application does ------------------------------------------------------------------------------------


def test_http_1_0_is_closed_after_its_answer(server: Server, device: Made) -> None:
    with Line(server) as line:
        line.send(request("POST", "/data", device.token, POINT, version="1.0"))
        assert line.answer().json["result"] == "1 Data Added"
        assert line.is_closed()


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(server: Server, device: Made) -> None:
    sent = request("POST", "/data", device.token, POINT, expect="100-continue")
    with Line(server) as line:
        line.send(request("POST", "/data", device.token, POINT))
        assert line.answer().status == 200
        line.send(sent[: -len(POINT)])
        assert line.answer(has_body=False).head == b"HTTP/1.1 100 Continue"
        line.send(POINT)
        assert line.answer().json["result"] == "1 Data Added"


def test_chunked_bodies_and_heads_alone(server: Server, device: Made) -> None:
    chunked = request("POST", "/data", device.token, content_type="application/json", transfer_encoding="chunked")
    with Line(server) as line:
        line.send(request("POST", "/data", device.token, POINT), chunked, b"5\r\n" + POINT[:5] + b"\r\n")
        line.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(POINT) - 5, POINT[5:]), request("HEAD", "/data", device.token))
        assert [line.answer().json["result"] for _ in range(2)] == ["1 Data Added"] * 2
        head = line.answer(has_body=False)
        line.send(request("POST", "/data", device.token, POINT))
        assert line.answer().json["result"] == "1 Data Added", head


# --- clients that go, or do not read ----------------------------------------------------------------------------------


def test_a_client_that_is_gone_leaves_whole_points(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", durability="sync")
    device = server.make()
    body = b"[" + b",".join([POINT] * 7) + b"]"
    post = request("POST", "/data", device.token, body)
    for n in range(60):
        with Line(server) as line:
            line.send(*([post] * (n % 4)), post[: len(post) - n])
            line.socket.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: what is closed is reset
    assert server.call("POST", "/data", device.token, body).result == "7 Data Added"
    assert len(values_of(server, device)) % 7 == 0
    assert server.stop() == 0


def test_a_stop_answers_what_was_taken(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", durability="sync")
    device = server.make()
    with Line(server) as idle, Line(server) as line:
        idle.send(request("POST", "/data", device.token, POINT))
        assert idle.answer().status == 200
        line.send(request("POST", "/data", device.token, POINT) * 3 * LANE_REQUESTS)
        assert line.answer().status == 200
        server.process.terminate()
        answered = 2
        with contextlib.suppress(EOFError, ConnectionResetError):
            while line.answer().status == 200:
                answered += 1
        assert idle.is_closed()
    assert server.stop() == 0
    server.start()
    assert len(values_of(server, device)) == answered
    assert server.stop() == 0


def test_answers_that_nobody_reads_do_not_fill_memory(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    device = server.make("immutable")
    server.send(device, *({"variable": "a", "value": "x" * 500} for _ in range(100)))
    get = request("GET", "/data?qty=100", device.token)
    size = len(server.call("GET", "/data", device.token, query={"qty": 100}).body["result"]) * 500
    before, sent = resident_bytes(server), 0
    with Line(server) as line:
        pending = get * 5_000
        line.socket.setblocking(False)
        while pending and select.select([], [line.socket], [], 1.0)[1]:  # a second without room: the server does not read any more
            pending = pending[line.socket.send(pending) :]
        line.socket.setblocking(True)
        sent = 5_000 - len(pending) // len(get)
        assert sent * size > 60 << 20, "too few requests were taken to tell"
        assert resident_bytes(server) - before < 30 << 20
        assert server.call("GET", "/health").result == "ok"
        for _ in range(100):
            answer = line.answer()
            assert answer.status == 200, answer
            assert len(answer.json["result"]) == 100
    assert server.stop() == 0


def resident_bytes(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))
