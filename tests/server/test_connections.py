"""Limits of connections: how many there are, how large a head is, and how long a client may keep the server waiting."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.raw import Line, request
from tests.server.server_process import Made, Server

POINT = b'{"variable":"a","value":1}'
SHORT_S = 0.5


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without patience."""
    folder = tmp_path_factory.mktemp("hasty") / "data"
    running = Server(folder, header_timeout=SHORT_S, body_timeout=SHORT_S, idle_timeout=SHORT_S, max_head=2000)
    yield running
    assert running.stop() == 0


@pytest.fixture
def token(hasty: Server) -> str:
    return hasty.make().token


def waits_for_408(line: Line, what: str) -> bool:
    answer = line.answer()
    assert b"\r\nconnection: close" in answer.head
    return answer.status == 408 and what in answer.json["message"] and answer.json["status"] is False and line.is_closed()


def test_a_head_that_does_not_arrive_is_refused(hasty: Server, token: str) -> None:
    with Line(hasty) as line:
        line.send(request("POST", "/data", token, POINT)[:40])
        assert waits_for_408(line, f"within {SHORT_S} s")


def test_a_head_that_comes_in_drops_is_refused(hasty: Server, token: str) -> None:
    with Line(hasty) as line:
        line.send(request("POST", "/data", token, POINT), b"GET /data HTTP/1.1\r\nx: ")
        assert line.answer().status == 200
        while not select.select([line.socket], [], [], SHORT_S / 10)[0]:
            line.send(b"x")
        assert waits_for_408(line, "head")


@pytest.mark.parametrize("target", ["/data", "/data?"])
def test_a_body_that_stops_is_refused(hasty: Server, token: str, target: str) -> None:
    sent = request("POST", target, token, POINT)
    with Line(hasty) as line:
        line.send(sent, sent[:-5])
        assert line.answer().status == 200
        assert waits_for_408(line, "body")


@pytest.mark.parametrize("target", ["/data", "/data?"])
def test_a_slow_body_that_goes_on_is_taken(hasty: Server, token: str, target: str) -> None:
    body = POINT.rjust(60)
    with Line(hasty) as line:
        sent = request("POST", target, token, body)
        line.send(sent[:-40])
        for at in range(-40, 0, 4):  # twice as long as the server waits for the next piece
            assert not select.select([line.socket], [], [], SHORT_S / 5)[0]
            line.send(sent[at : at + 4 or None])
        assert line.answer().json["result"] == "1 Data Added"


def test_what_is_left_of_a_refused_body_is_not_waited_for(hasty: Server) -> None:
    with Line(hasty) as line:
        line.send(request("POST", "/data", "unknown", POINT)[:-5])
        assert line.answer().status == 401
        assert line.is_closed()


@pytest.mark.parametrize("first", [b"", b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"])
def test_a_silent_connection_is_closed_without_a_word(hasty: Server, first: bytes) -> None:
    with Line(hasty) as line:
        line.send(first)
        if first:
            assert line.answer().status == 200
        assert line.is_closed()


def test_a_client_that_does_not_read_is_cut_off(hasty: Server) -> None:
    device = hasty.make("immutable")
    hasty.send(device, *({"variable": "a", "value": "x" * 5000} for _ in range(100)))
    get = request("GET", "/data?qty=100", device.token)
    with Line(hasty) as line:
        line.send(get * 100)  # 50 MB of answers
        while select.select([], [line.socket], [], 0)[1] and not line.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            try:
                line.send(b"\r\n")  # allowed between requests; fails once the server has let go
            except (BrokenPipeError, ConnectionResetError):
                break
            assert hasty.call("GET", "/health").result == "ok"
        with pytest.raises((EOFError, ConnectionResetError)):
            for _ in range(100):
                line.answer()


def test_a_client_that_reads_slowly_is_not_cut_off(hasty: Server) -> None:
    device = hasty.make("immutable")
    hasty.send(device, *({"variable": "a", "value": "x" * 6000} for _ in range(1000)))
    with Line(hasty) as line:
        line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        line.send(request("GET", "/data?qty=1000", device.token))  # 6 MB in one answer
        began_s, received = time.monotonic(), b""
        while (passed_s := time.monotonic() - began_s) < 6 * SHORT_S:
            if len(received) < 500_000 * passed_s:
                received += line.socket.recv(2048)
            else:
                assert hasty.call("GET", "/health").result == "ok"
        size = int(re.findall(rb"content-length: (\d+)", received)[0])
        assert len(received) < size, "it was read too fast to tell"
        while len(received) < size:
            piece = line.socket.recv(1 << 20)
            assert piece, "cut off"
            received += piece


@pytest.mark.parametrize("cut", [False, True])
def test_a_large_head_is_refused(hasty: Server, token: str, cut: bool) -> None:
    sent = request("POST", "/data", token, POINT, x="y" * 3000)
    with Line(hasty) as line:
        line.send(request("POST", "/data", token, POINT))
        assert line.answer().status == 200
        line.send(sent[:2500])
        if not cut:
            line.send(sent[2500:])
        answer = line.answer()
        assert answer.status == 431 or (answer.status == 200 and not cut)
        assert answer.status == 200 or (answer.json["message"] == "The head of a request has at most 2000 bytes" and line.is_closed())


def test_many_small_heads_are_no_large_one(hasty: Server, token: str) -> None:
    sent = request("POST", "/data", token, POINT) * 50
    with Line(hasty) as line:
        for start in range(0, len(sent), 3001):
            line.send(sent[start : start + 3001])
        assert [line.answer().status for _ in range(50)] == [200] * 50


def test_too_many_connections_are_told_so(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", max_connections=3)
    device: Made = server.make()
    post = request("POST", "/data", device.token, POINT)
    lines = [Line(server) for _ in range(3)]
    for line in lines:
        line.send(post)
        assert line.answer().status == 200
    for _ in range(5):
        with Line(server) as extra:
            extra.send(post)
            answer = extra.answer()
            assert answer.status == 503 and "3 connections" in answer.json["message"]
            assert b"\r\nretry-after: " in answer.head and b"\r\nconnection: close" in answer.head
            assert extra.is_closed()
    lines.pop().socket.close()
    while True:  # until the server has seen it
        with Line(server) as line:
            line.send(post)
            if line.answer().status == 200:
                break
    for line in lines:
        line.send(post)
        assert line.answer().status == 200
        line.socket.close()
    while server.call("GET", f"/device/{device.id}/data_amount", server.account).status == 503:
        pass
    assert server.call("GET", f"/device/{device.id}/data_amount", server.account).result == 6  # nothing of the refused ones
    assert server.stop() == 0


def test_the_limit_of_open_files_bounds_the_connections(tmp_path: Path) -> None:
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))\n"
    server = Server(tmp_path / "data", before=limited)
    lines = [Line(server) for _ in range(60)]
    statuses = []
    for line in lines:
        line.send(request("GET", "/health", ""))
        statuses.append(line.answer().status)
    assert statuses.count(200) == 300 - 256 and set(statuses) == {200, 503}
    for line in lines:
        line.socket.close()
    assert server.stop() == 0
