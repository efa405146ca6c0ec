"""The bytes of a connection without a network: packets come out whole and in order however they are cut and whenever it is held."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.mqtt.raw_client import publish_packet, with_length
from tsengine.mqtt.connection import BY_CLIENT, BY_STORE, IN_FLIGHT_BYTES, Connection
from tsengine.mqtt.packet import Reason


class Wire(asyncio.Transport):
    """A transport that leads nowhere and remembers what was done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_read = True
        self.ended = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None:
        assert self.is_read
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def write(self, data: Any) -> None:
        assert not self.ended
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True


class Recorded(Connection):
    """A connection that remembers its packets."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, 1_000)
        self.packets: list[bytes] = []
        self.wire = Wire()
        self.connection_made(self.wire)

    def on_publish(self, data: bytes, start: int, end: int, first: int) -> None:
        self.packets.append(data[start:end])

    def on_packet(self, first: int, body: bytes) -> None:
        self.packets.append(body)

    def say_goodbye(self, reason: Reason, problem: str) -> None:
        self.send(bytes((reason,)))

    def on_lost(self) -> None: ...

    def flush_later(self) -> None: ...


def turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(asyncio.sleep(0))


@given(
    st.lists(st.tuples(st.sampled_from([0x30, 0xC0]), st.binary(max_size=300)), max_size=10),
    st.lists(st.tuples(st.integers(0, 4_000), st.sampled_from(["hold", "release", "nothing"])), max_size=12),
)
def test_packets_come_out_whole_and_in_order(packets: list[tuple[int, bytes]], steps: list[tuple[int, str]]) -> None:
    """Bytes arrive also while the connection is held, as they do over TLS."""
    stream = b"".join(with_length(first, body) for first, body in packets)
    loop = asyncio.new_event_loop()
    try:
        connection = Recorded(loop)
        cuts = sorted((min(at, len(stream)), step) for at, step in steps)
        before = 0
        for at, step in [*cuts, (len(stream), "release")]:
            if at > before:
                connection.data_received(stream[before:at])
            before = max(before, at)
            if step == "hold":
                connection.hold(BY_CLIENT)
                seen = len(connection.packets)
                turn(loop)
                assert len(connection.packets) == seen
            elif step == "release":
                connection.release(BY_CLIENT)
                turn(loop)
        assert connection.packets == [body for _, body in packets]
        assert connection.wire.is_read
    finally:
        loop.close()


def test_what_is_in_flight_holds_and_releases() -> None:
    loop = asyncio.new_event_loop()
    connection = Recorded(loop)
    connection.staged(IN_FLIGHT_BYTES)
    assert connection.wire.is_read
    connection.staged(1)
    assert not connection.wire.is_read
    connection.data_received(publish_packet("a", b"1"))
    connection.settled(1)
    turn(loop)
    assert connection.packets == [] and connection.is_held
    connection.settled(IN_FLIGHT_BYTES)
    turn(loop)
    assert len(connection.packets) == 1 and connection.wire.is_read
    loop.close()


def test_an_end_waits_for_what_is_in_flight_and_its_acknowledgements() -> None:
    loop = asyncio.new_event_loop()
    connection = Recorded(loop)
    connection.staged(10)
    connection.end(Reason.SERVER_SHUTTING_DOWN)
    connection.end(Reason.UNSPECIFIED_ERROR)
    connection.data_received(publish_packet("a", b"1"))
    assert connection.wire.written == b"" and not connection.wire.ended
    connection.acknowledge(b"ack")
    connection.settled(10)
    assert not connection.wire.ended
    connection.flush()
    assert connection.wire.written == b"ack" + bytes((Reason.SERVER_SHUTTING_DOWN,)) and connection.wire.ended
    assert connection.packets == []
    loop.close()


def test_work_may_add_work_and_nothing_is_looked_at_meanwhile() -> None:
    loop = asyncio.new_event_loop()
    connection = Recorded(loop)
    done: list[str] = []

    async def inner() -> None:
        await connection.drained()
        done.append("inner")

    async def outer() -> None:
        done.append("outer")
        connection.work(inner())

    connection.staged(10)
    connection.work(outer())
    connection.data_received(publish_packet("a", b"1"))
    for _ in range(5):
        turn(loop)
    assert done == ["outer"] and connection.packets == [] and connection.is_held
    connection.settled(10)
    for _ in range(5):
        turn(loop)
    assert done == ["outer", "inner"] and len(connection.packets) == 1 and not connection.is_held
    assert not connection.in_flight and connection.wire.is_read and not connection._held & BY_STORE
    loop.close()


def test_a_small_packet_that_comes_while_held_does_not_wait_for_the_size_of_an_earlier_one() -> None:
    loop = asyncio.new_event_loop()
    connection = Recorded(loop)
    large, small = publish_packet("a", b"x" * 500), publish_packet("a", b"1")
    connection.data_received(large[:10])
    connection.data_received(large[10:])
    connection.hold(BY_STORE)
    connection.data_received(small)
    connection.release(BY_STORE)
    turn(loop)
    assert len(connection.packets) == 2
    loop.close()
