"""Compressed request bodies: what they hold is stored, and what is broken, unknown or too large is refused, on every route."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.server_process import Made, Server
from tests.strategies import QUICK
from tsengine.server.envelope import Refusal
from tsengine.server.http.encoding import MEMBERS_MAX, encoding_of, expand, zstd

COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
MAX = 1_000_000
ANY = pytest.mark.parametrize("encoding", COMPRESS)
BODY = json.dumps([{"variable": "t", "value": number} for number in range(50)]).encode()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server") / "data", max_body=10_000)
    yield running
    assert running.stop() == 0


def refusal(body: bytes, encoding: str, max_body: int = MAX) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        expand(body, encoding, max_body)
    return caught.value.status, str(caught.value)


@ANY
def test_every_route_takes_them(server: Server, device: Made, encoding: str) -> None:
    headers = {"content-encoding": encoding}
    assert server.call("POST", "/data", device.token, COMPRESS[encoding](BODY), headers=headers).result == "50 Data Added"
    place = f"/device/{device.id}/data"
    assert server.call("POST", place, server.account, COMPRESS[encoding](BODY), headers=headers).result == "50 Data Added"
    changed = COMPRESS[encoding](b'{"name":"another name"}')
    assert server.call("PUT", f"/device/{device.id}", server.account, changed, headers=headers).status == 200
    assert len(server.read(device, {"qty": 200})) == 100


@ANY
def test_limits_hold_before_and_after(small: Server, encoding: str) -> None:
    device = small.make()
    message = "The request body is larger than max_body, 10000 bytes; send the data in smaller requests"
    headers = {"content-encoding": encoding}
    item = {"variable": "t", "value": ""}
    whole = json.dumps([{**item, "value": "x" * 4_000}, {**item, "value": "y" * 4_000}]).encode().ljust(10_000)
    for path, token in (("/data", device.token), (f"/device/{device.id}/data", small.account)):
        assert small.call("POST", path, token, COMPRESS[encoding](whole), headers=headers).result == "2 Data Added"
        assert small.call("POST", path, token, COMPRESS[encoding](whole + b" "), headers=headers).refusal == (413, message)
        assert small.call("POST", path, token, whole + b" ", headers={"content-encoding": "identity"}).refusal == (413, message)
    assert len(small.read(device)) == 4


@pytest.mark.parametrize("named", ["br", "gzip, gzip", "zstd,gzip", "compress", "x" * 500, "gzip;q=1"])
def test_unknown_encodings_are_refused(server: Server, device: Made, named: str) -> None:
    status, message = server.call("POST", "/data", device.token, BODY, headers={"content-encoding": named}).refusal
    assert status == 415
    assert message.startswith("Content-Encoding must be one of gzip, deflate, zstd, one alone")
    assert server.read(device) == []


def test_encodings_are_named_in_any_case() -> None:
    assert encoding_of([(b"content-encoding", b" GZip ")]) == "gzip"
    assert encoding_of([(b"content-encoding", b"x-gzip")]) == "gzip"
    assert encoding_of([(b"content-encoding", b"identity"), (b"content-type", b"gzip")]) == ""
    with pytest.raises(Refusal):
        encoding_of([(b"content-encoding", b"gzip"), (b"content-encoding", b"gzip")])


@ANY
def test_broken_streams_are_refused(server: Server, device: Made, encoding: str) -> None:
    body = COMPRESS[encoding](BODY)
    for broken in (body[:-1], body[: len(body) // 2], body + b"x", BODY, b"\x00" * 40):
        answer = server.call("POST", "/data", device.token, broken, headers={"content-encoding": encoding})
        status, message = answer.refusal
        assert (status, message.startswith(f"The {encoding} body is")) == (400, True), message
    assert server.read(device) == []


@ANY
def test_a_stream_cut_anywhere_is_refused(encoding: str) -> None:
    body = COMPRESS[encoding](BODY)
    assert expand(body, encoding, MAX) == BODY
    for end in range(1, len(body)):
        assert refusal(body[:end], encoding)[0] == 400


@ANY
def test_several_streams_in_one_body(encoding: str) -> None:
    body = COMPRESS[encoding](b"part ")
    assert expand(body * 3, encoding, MAX) == b"part " * 3
    assert expand(b"", encoding, MAX) == b""
    assert expand(body * 3, encoding, 15) == b"part " * 3
    assert refusal(body * 3, encoding, 14)[0] == 413
    assert refusal(body * (MEMBERS_MAX + 1), encoding) == (400, f"The {encoding} body has more than {MEMBERS_MAX} parts")


@ANY
def test_a_bomb_costs_no_more_than_the_limit(encoding: str) -> None:
    bomb = COMPRESS[encoding](bytes(200_000_000))
    tracemalloc.start()
    try:
        assert refusal(bomb, encoding)[0] == 413
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX
    finally:
        tracemalloc.stop()


def test_a_frame_with_a_huge_window_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.checksum_flag: 1}
    stream = zstd.ZstdCompressor(options=options)
    body = stream.compress(bytes(1_000)) + stream.flush()
    assert refusal(body, "zstd")[0] == 400


@QUICK
@given(st.sampled_from(sorted(COMPRESS)), st.data())
def test_any_bytes_are_refused_or_read(encoding: str, data: st.DataObject) -> None:
    body = bytearray(COMPRESS[encoding](BODY))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for anything in (bytes(body), data.draw(st.binary(min_size=1, max_size=60))):
        try:
            assert len(expand(anything, encoding, MAX)) <= MAX
        except Refusal as error:
            assert error.status in (400, 413)
