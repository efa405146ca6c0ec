"""Any bytes in any pieces: the listener never fails, never keeps a connection, and goes on serving others."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mqtt.mqtt_server import Inside, listening
from tests.mqtt.raw_client import RawClient, connect_packet, publish_packet, subscribe_packet, unsubscribe_packet, with_length
from tsengine.mqtt.packet import V5, V311


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with listening(tmp_path_factory.mktemp("fuzz") / "data") as running:
        device = running.engine.create_device("fuzzed", serial="sensor-01")
        running.token = running.engine.create_token(device.id, "fuzzed").token  # type: ignore[attr-defined]
        running.device = device  # type: ignore[attr-defined]
        yield running


LEVELS = st.sampled_from([V311, V5])
SMALL = st.binary(max_size=30)
PAYLOADS = st.one_of(SMALL, st.sampled_from([b'[{"variable":"t","value":1}]', b'{"variable":"a b"}', b"[t:=1]", b"!1|[t:=", b"[]"]))
TOPICS = st.sampled_from(["a", "a/b", "$tip/sensor-01/push", "$tip/sensor-01/pull", "$tip/x/push", "$SYS", "", "a/#"])
PACKETS = st.one_of(
    st.builds(
        lambda topic, payload, number, level, flags: publish_packet(topic, payload, number, level=level, flags=flags),
        TOPICS,
        PAYLOADS,
        st.integers(0, 3),
        LEVELS,
        st.sampled_from([0, 0, 0, 1, 4, 8]),
    ),
    st.builds(lambda text, level: subscribe_packet(1, text, level=level), st.sampled_from(["#", "a/+", "$tip/+/ack", "a#"]), LEVELS),
    st.builds(lambda text, level: unsubscribe_packet(1, text, level=level), st.sampled_from(["#", "b"]), LEVELS),
    st.just(b"\xc0\x00"),
    st.just(b"\xe0\x00"),
    st.builds(with_length, st.integers(0, 255), SMALL),
)
STREAMS = st.lists(st.one_of(PACKETS, PACKETS, SMALL), max_size=12).map(b"".join)


def mutated(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for at, byte in changes:
        if changed:
            changed[at % len(changed)] = byte
    return bytes(changed)


def send_in_pieces(client: RawClient, data: bytes, cuts: list[int]) -> None:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    try:
        for start, end in pairwise(places):
            client.send(data[start:end])
    except OSError:
        return  # the server has closed it already


def check_alive(inside: Inside, caplog: pytest.LogCaptureFixture) -> None:
    with inside.client() as client:
        assert client.connect(inside.token)[0] == 0  # type: ignore[attr-defined]
        client.send(publish_packet("alive", b"1", 1))
        assert client.receive() == (0x40, b"\0\1")
    inside.wait_until_empty()
    failures = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not failures, failures[0].getMessage() + str(failures[0].exc_info)


@given(st.binary(max_size=200), st.lists(st.integers(0, 1000), max_size=5), st.booleans())
def test_any_bytes(inside: Inside, caplog_once: pytest.LogCaptureFixture, data: bytes, cuts: list[int], reads: bool) -> None:
    with inside.client() as client:
        send_in_pieces(client, data, cuts)
        if reads:
            with contextlib.suppress(OSError):
                client.socket.shutdown(socket.SHUT_WR)
            while client.receive() is not None:
                pass
    check_alive(inside, caplog_once)


@given(
    LEVELS, STREAMS, st.lists(st.integers(0, 1000), max_size=8), st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=3)
)
def test_any_packets_after_connect(
    inside: Inside, caplog_once: pytest.LogCaptureFixture, level: int, stream: bytes, cuts: list[int], changes: list[tuple[int, int]]
) -> None:
    token: str = inside.token  # type: ignore[attr-defined]
    head = connect_packet("fuzz", "Token", token, level=level)
    with inside.client() as client:
        send_in_pieces(client, head + mutated(stream, changes), cuts)
        with contextlib.suppress(OSError):
            client.send(b"\xff")  # no packet begins so: if nothing before ended the connection, this does
    check_alive(inside, caplog_once)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), min_size=1, max_size=4), LEVELS)
def test_any_connect(inside: Inside, caplog_once: pytest.LogCaptureFixture, changes: list[tuple[int, int]], level: int) -> None:
    token: str = inside.token  # type: ignore[attr-defined]
    with inside.client() as client:
        send_in_pieces(client, mutated(connect_packet("fuzz", "Token", token, level=level, will=("w", b"x", 1, False)), changes), [])
    check_alive(inside, caplog_once)


@pytest.mark.parametrize("level", [V311, V5])
def test_every_way_to_cut_a_stream_stores_the_same(inside: Inside, level: int) -> None:
    token: str = inside.token  # type: ignore[attr-defined]
    stream = b"".join(
        publish_packet(topic, payload, number, level=level)
        for number, (topic, payload) in enumerate([("cut/a", b"1"), ("cut/b", b'{"variable":"t"}'), ("cut/a", b"x" * 200)], 1)
    )
    device = inside.device  # type: ignore[attr-defined]
    before = device.count()
    cuts = [0, *range(1, len(stream), 7)]
    for cut in cuts:
        with inside.client() as client:
            assert client.connect(token, level=level)[0] == 0
            send_in_pieces(client, stream, [cut, cut + 1])
            assert [client.receive() for _ in range(3)] == [(0x40, bytes((0, number))) for number in (1, 2, 3)]
    assert device.count() - before == 3 * len(cuts)


@pytest.fixture(scope="module")
def caplog_once() -> Iterator[pytest.LogCaptureFixture]:
    """Collects what is logged during the whole module: hypothesis wants no fixture of a single test."""
    records: list[logging.LogRecord] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    class Collected:
        def __init__(self) -> None:
            self.records = records

    handler = Collector()
    logging.getLogger("tsengine").addHandler(handler)
    yield Collected()  # type: ignore[misc]
    logging.getLogger("tsengine").removeHandler(handler)


def test_large_packets_in_single_bytes_are_no_burden(tmp_path: Path) -> None:
    """What waits for the rest of its packet is not copied again and again."""
    with listening(tmp_path / "data") as running:
        token = running.engine.create_token(running.engine.create_device("slow").id, "slow").token
        with running.client() as client:
            assert client.connect(token)[0] == 0
            whole = publish_packet("a", b"x" * 5_000, 1)
            for at in range(len(whole)):
                client.send(whole[at : at + 1])
            assert client.receive() == (0x40, b"\0\1")
