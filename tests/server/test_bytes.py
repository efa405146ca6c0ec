"""Any bytes as the body of a POST, under any content type and encoding: never a 5xx, always JSON, and the connection goes on.

`make fuzz-http` tries 100,000 bodies (TSENGINE_FUZZ_BODIES); hypothesis prints what repeats a failure.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import socket
import zlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.server_process import TIMEOUT_S, Made, Server

BODIES = int(os.environ.get("TSENGINE_FUZZ_BODIES", "2000"))

CONTENT_TYPES = (
    *(
        "application/json",
        "application/json; charset=utf-16",
        "APPLICATION/JSON",
        "text/plain",
        "text/csv",
        "",
        ";",
        "application/",
        "x" * 3000,
    ),
    *(
        "application/msgpack",
        "application/x-msgpack",
        "application/vnd.apache.arrow.stream",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ),
)
ENCODINGS = ("", "identity", "gzip", "deflate", "zstd", "br", "gzip, gzip", "GZIP", "\xff", ",")
PATHS = ("/data", "/device/{id}/data", "/data?variable=a")

ITEM = {
    "variable": "a",
    "value": 1.5,
    "unit": "C",
    "group": "g",
    "serie": 5,
    "time": "2026-05-06T07:08:09Z",
    "location": {"lat": 1, "lng": 2},
    "metadata": {"a": [1, {"b": None}]},
}

scalars = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=30) | st.sampled_from(["", "1 day", "9" * 13])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=6
)
items = st.fixed_dictionaries({}, optional={name: values | st.just(value) for name, value in ITEM.items()})
documents = st.lists(items, max_size=4) | items | values
json_bodies = documents.map(lambda document: json.dumps(document).encode("utf-8", "surrogatepass"))
packed_bodies = st.lists(items, max_size=3).map(lambda document: _packed(document))
nested = st.tuples(st.sampled_from([b"[", b'{"a":', b'[{"variable":"a","metadata":{"a":']), st.integers(1, 5000)).map(
    lambda pair: pair[0] * pair[1]
)


def _packed(document: object) -> bytes:
    try:
        return msgspec.msgpack.encode(document)
    except (OverflowError, UnicodeEncodeError):  # an integer or a text that MessagePack cannot hold
        return b"\xc1"


@st.composite
def mutilated(draw: st.DrawFn) -> bytes:
    """A valid body with some bytes changed, cut out or doubled."""
    body = bytearray(draw(st.sampled_from([json.dumps([ITEM, ITEM]).encode(), msgspec.msgpack.encode([ITEM, ITEM])])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body) - 1))
        match draw(st.integers(0, 2)):
            case 0:
                body[at] = draw(st.integers(0, 255))
            case 1:
                del body[at : at + draw(st.integers(0, 20))]
                body += b" "
            case 2:
                body[at:at] = body[at : at + draw(st.integers(0, 20))]
    return bytes(body)


bodies = st.one_of(mutilated(), json_bodies, packed_bodies, st.binary(max_size=200), nested)
packings = st.sampled_from([lambda body: body, gzip.compress, zlib.compress, lambda body: gzip.compress(body)[:-3]])


class Line:
    """A kept connection, opened again when the server has said that it closes it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection = server.connect()

    def post(self, path: str, headers: dict[str, str], body: bytes, is_chunked: bool) -> tuple[int, bytes]:
        sent = iter([body[:7], body[7:]]) if is_chunked else body
        self._connection.request("POST", path, sent, headers, encode_chunked=is_chunked)
        response = self._connection.getresponse()
        answer = response.read()
        if response.getheader("connection") == "close":
            self.close()
            self._connection = self._server.connect()
            assert response.status == 413, answer
        return response.status, answer

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def line(server: Server) -> Iterator[Line]:
    line = Line(server)
    yield line
    line.close()


@pytest.fixture(scope="module")
def target(server: Server) -> Made:
    return server.make("mutable")


@given(
    body=bodies,
    pack=packings,
    content_type=st.sampled_from(CONTENT_TYPES),
    encoding=st.sampled_from(ENCODINGS),
    path=st.sampled_from(PATHS),
    is_chunked=st.booleans(),
)
@settings(max_examples=BODIES, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_body(
    server: Server, target: Made, line: Line, body: bytes, pack: object, content_type: str, encoding: str, path: str, is_chunked: bool
) -> None:
    assert callable(pack)
    headers = {"token": server.account if "{id}" in path else target.token, "content-type": content_type}
    if encoding:
        headers["content-encoding"] = encoding
    if is_chunked:
        headers["transfer-encoding"] = "chunked"
    status, answer = line.post(path.format(id=target.id), headers, pack(body), is_chunked)
    shown = json.loads(answer)
    assert status in (200, 400, 413, 415), (status, shown)
    assert shown["status"] is (status == 200)
    if status == 200 and server.call("GET", f"/device/{target.id}/data_amount", server.account).result > 40_000:
        server.call("POST", f"/device/{target.id}/empty", server.account)


@given(
    changes=st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=6), st.integers(0, 6)), min_size=1, max_size=4),
    end=st.integers(0, 250),
)
@settings(max_examples=max(200, BODIES // 20), deadline=None, suppress_health_check=list(HealthCheck))
def test_any_request(server: Server, target: Made, changes: list[tuple[int, bytes, int]], end: int) -> None:
    """A request damaged anywhere is refused or dropped, and the next connection works."""
    request = bytearray(
        b"POST /data HTTP/1.1\r\nhost: x\r\ntoken: %s\r\ncontent-type: application/json\r\ncontent-length: 30\r\n\r\n"
        % target.token.encode()
        + b'[{"variable":"a","value":1.5}]'
    )
    for at, inserted, removed in changes:
        request[at : at + removed] = inserted
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=TIMEOUT_S) as connection:
        connection.sendall(bytes(request[:end]))
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    if answer:
        response = http.client.HTTPResponse(_Read(answer))  # type: ignore[arg-type]
        response.begin()
        assert response.status < 500, answer
    assert server.call("GET", "/health").result == "ok"


class _Read:
    """Bytes that were received, as HTTPResponse wants them."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _: str) -> object:
        import io

        return io.BytesIO(self._data)


@pytest.mark.parametrize("version", ["0.9", "1.9", "3.0", ""])
@pytest.mark.parametrize("line", ["GET /health", "POST /data"])
def test_another_version_of_http_is_no_internal_error(server: Server, line: str, version: str) -> None:
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=TIMEOUT_S) as connection:
        connection.sendall(f"{line} HTTP/{version}\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split(b" ")[1] == b"400"
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] is False
