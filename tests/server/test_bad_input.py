"""Bodies that are wrong on purpose: refused with a reason, in bounded memory, and the same connection serves the next request."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.server_process import Made, Server

MALFORMED = (400, "Malformed request syntax")
GOOD = b'[{"variable":"a","value":1}]'
MIB = 1 << 20


class Kept:
    """One connection, on which a request after a refused one must work."""

    def __init__(self, server: Server) -> None:
        self._connection = server.connect()

    def post(self, token: str, body: bytes, content_type: str = "application/json", path: str = "/data") -> tuple[int, Any]:
        self._connection.request("POST", path, body, {"token": token, "content-type": content_type})
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def refusal(self, token: str, body: bytes, content_type: str = "application/json", path: str = "/data") -> tuple[int, str]:
        status, answer = self.post(token, body, content_type, path)
        socket = self._connection.sock
        assert self.post(token, b"[]")[0] in (200, 401)
        assert self._connection.sock is socket, "the server closed the connection"
        return status, answer["message"]

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def kept(server: Server) -> Iterator[Kept]:
    connection = Kept(server)
    yield connection
    connection.close()


@pytest.mark.parametrize(
    "body",
    [b"[" * (8 * MIB), b'{"a":' * (MIB), b'[{"variable":"a","metadata":' + b"[" * MIB, b'[{"variable":"a","value":' + b"[" * MIB],
    ids=["arrays", "objects", "metadata", "value"],
)
def test_deep_nesting_is_refused(kept: Kept, server: Server, any_device: Made, body: bytes) -> None:
    assert kept.refusal(any_device.token, body)[0] == 400
    assert kept.refusal(server.account, body, path="/device")[0] == 400
    assert kept.refusal(server.account, body, path=f"/device/{any_device.id}/data")[0] == 400


def test_nested_metadata_is_bounded_and_readable(kept: Kept, server: Server, any_device: Made) -> None:
    def body(depth: int) -> bytes:
        return b'[{"variable":"a","metadata":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}]"

    assert kept.post(any_device.token, body(100))[0] == 200
    for query in ({}, {"query": "last_item"}, {"query": "first_item"}, {"qty": 1, "details": "true"}):
        (row,) = server.read(any_device, query)
        assert json.dumps(row["metadata"]).count("{") == 100
    problem = "metadata must have at most 100 objects and arrays inside each other"
    assert kept.refusal(any_device.token, body(101)) == (400, f"Invalid data at index 0: {problem}")


def test_the_last_of_equal_keys_counts_as_in_javascript(server: Server, any_device: Made) -> None:
    assert server.call("POST", "/data", any_device.token, b'[{"variable":"a","value":1,"variable":"b","value":"x"}]').status == 200
    (row,) = server.read(any_device)
    assert (row["variable"], row["value"]) == ("b", "x")
    body = b'{"name":"first name","name":"second name"}'
    assert server.call("PUT", f"/device/{any_device.id}", server.account, body).status == 200
    assert server.call("GET", f"/device/{any_device.id}", server.account).result["name"] == "second name"


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-8-sig"])
def test_json_is_utf_8_whatever_the_charset_says(kept: Kept, any_device: Made, charset: str) -> None:
    body = '[{"variable":"ä","value":1}]'.encode(charset)
    assert kept.refusal(any_device.token, body, f"application/json; charset={charset}") == MALFORMED
    assert kept.post(any_device.token, GOOD, f"application/json; charset={charset}")[0] == 200


@pytest.mark.parametrize("length", [0, 1, 5, 12, len(GOOD) - 1])
def test_a_body_cut_off_inside_is_malformed(kept: Kept, any_device: Made, length: int) -> None:
    assert kept.refusal(any_device.token, GOOD[:length]) in (MALFORMED, (400, "Invalid data at index 0: variable is required"))


def test_a_body_shorter_than_it_says_stores_nothing(server: Server, any_device: Made) -> None:
    connection = server.connect()
    connection.putrequest("POST", "/data")
    for name, value in (("token", any_device.token), ("content-type", "application/json"), ("content-length", str(len(GOOD) + 1))):
        connection.putheader(name, value)
    connection.endheaders(GOOD)
    connection.close()
    assert server.read(any_device) == []


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "5, 6", "99999999999999999999999", ""])
def test_a_wrong_content_length_is_refused(server: Server, device: Made, length: str) -> None:
    connection = server.connect()
    connection.connect()
    connection.sock.sendall(f"POST /data HTTP/1.1\r\nhost: x\r\ntoken: {device.token}\r\ncontent-length: {length}\r\n\r\n[]".encode())
    response = http.client.HTTPResponse(connection.sock)
    response.begin()
    assert response.status in (400, 413)
    assert json.loads(response.read())["status"] is False
    connection.close()
    assert server.call("GET", "/health").result == "ok"


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """Forty large hostile bodies, 320 MiB in all, take no more than a few of them at a time."""
    server = Server(tmp_path / "data")
    try:
        device = server.make("immutable")
        server.call("POST", "/data", device.token, b"[" * (9 * MIB))
        before = peak_kib(server)
        for number in range(40):
            body = (b"[" * (8 * MIB), b'{"a":"' + b"x" * (8 * MIB), b'[{"variable":"a"},' * (8 * MIB // 18), b"\x00" * (8 * MIB))[
                number % 4
            ]
            assert server.call("POST", "/data", device.token, body).status == 400
            assert server.call("POST", "/device", server.account, body).status == 400
        assert peak_kib(server) - before < 100 * 1024
    finally:
        assert server.stop() == 0


def peak_kib(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
