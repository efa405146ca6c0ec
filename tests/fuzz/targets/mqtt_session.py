"""Whole MQTT connections: in pieces they answer and store what they do when all comes at once, and nothing of them is left.

Two servers with the same devices and the same clock; one gets an input whole, the other in pieces. The first TOKEN in an input stands
for the token of the device there.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import random
import re
import shutil
import socket
import tempfile
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import tsengine
from tests.mqtt.raw_client import connect_packet, publish_packet, subscribe_packet, unsubscribe_packet
from tsengine.aio import AsyncEngine
from tsengine.ingest import tagotip
from tsengine.mqtt import connection, packet, payload, session, tip, topics
from tsengine.mqtt.listener import Listener
from tsengine.mqtt.packet import V5, V311
from tsengine.mqtt.session import CONNECT_BYTES
from tsengine.server.service import Service
from tsengine.server.settings import Settings
from tsengine.types import Point

MODULES = (packet, connection, session, topics, payload, tip, tagotip)
NOW_US = 1_795_262_400_000_000
TOKEN = "T" * 36
PIECES_MAX = 8
POINTS_MAX = 200_000
"""Points after which the stores are made anew."""

LOOP = asyncio.new_event_loop()
FOLDER = Path(tempfile.mkdtemp(prefix="tsengine-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def seeds() -> list[bytes]:
    found = []
    for level in (V311, V5):
        hello = connect_packet("c", "Token", TOKEN, level=level, will=("w", b"x", 1, False))
        items = b'[{"variable":"t","value":1,"metadata":{"a":1}},{"variable":"u"}]'
        found += [
            hello
            + publish_packet("a/b", items, 1, level=level)
            + b"\xc0\0"
            + publish_packet("a", b"\xff", level=level)
            + publish_packet("a", b'{"variable":"a b"}', 2, level=level),
            hello
            + subscribe_packet(3, "a/+", "$tip/+/ack", "#", level=level)
            + publish_packet("$tip/sensor-01/push", b"!7|[t:=1#C@5;s=x]", 4, level=level)
            + publish_packet("$tip/sensor-01/pull", b"!8|t,s", 5, level=level)
            + publish_packet("$tip/sensor-01/push", b"[t:=", 6, level=level)
            + unsubscribe_packet(7, "#", level=level)
            + b"\x40\2\0\1\xe0\0",
            connect_packet("c", None, None, level=level) + hello,
        ]
    return found


class Wire(asyncio.Transport):
    """What a session writes to, and the socket that it is told of."""

    def __init__(self, peer: asyncio.Protocol) -> None:
        super().__init__()
        self.peer = peer
        self.sent = bytearray()
        self.is_reading, self.is_closed = True, False
        self.socket = SOCKET

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket if name == "socket" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def write(self, data: Any) -> None:
        assert not self.is_closed, "written to after the end"
        self.sent += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            LOOP.call_soon(self.peer.connection_lost, None)

    abort = close


class Server:
    """A store in memory, and a listener that no socket leads to."""

    def __init__(self, number: int) -> None:
        folder = FOLDER / str(number)
        shutil.rmtree(folder, ignore_errors=True)
        self.db = tsengine.open(folder, durability="memory", clock=tsengine.ManualClock(NOW_US), memory_mb=64)
        self.device = self.db.create_device("fuzzed", serial="sensor-01")
        self.token = self.db.create_token(self.device.id, "fuzzed").token
        assert len(self.token) == len(TOKEN)
        self.engine = AsyncEngine(self.db)
        self.listener = Listener(Service(self.engine, "an account token", Settings(mqtt_port=0)))

    async def take(self, data: bytes, cuts: list[int]) -> tuple[dict[int, list[bytes]], list[Point]]:
        """Have a session take the pieces of an input; return its packets by their types, and what was stored."""
        before = self.device.count()
        talk = self.listener._make_session()
        wire = Wire(talk)
        talk.connection_made(wire)
        data = data.replace(TOKEN.encode(), self.token.encode(), 1)  # in CONNECT; elsewhere it might be stored
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            while not wire.is_reading and not wire.is_closed:
                await asyncio.sleep(0)
            if wire.is_closed:
                break
            talk.data_received(data[start:end])
            assert len(talk._rest or b"") <= max(talk.max_packet, CONNECT_BYTES) + end - start
        while (talk.in_flight or talk._work_count or talk.acks or (talk._rest and talk._held)) and not wire.is_closed:
            await asyncio.sleep(0)
        wire.close()
        while self.listener.connection_count:
            await asyncio.sleep(0)
        stored = self.device.points(limit=self.device.count() - before or 1, order="desc")[: self.device.count() - before]
        return by_type(bytes(wire.sent)), stored

    async def close(self) -> None:
        await self.engine.close()


def by_type(sent: bytes) -> dict[int, list[bytes]]:
    """Packets of a server by their types: in which turn a PUBACK leaves depends on the disk."""
    found: dict[int, list[bytes]] = defaultdict(list)
    at = 0
    while at < len(sent):
        start, end = packet.bounds(sent, at)
        assert start < end <= len(sent) or start == end == at + 2
        found[sent[at] >> 4].append(re.sub(rb"tsengine-[0-9a-f]{24}", b"tsengine-ID", sent[at:end]))
        at = end
    return found


class Failures(logging.Handler):
    """Raises, in the end, what the listener has caught and logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


SOCKET = socket.socket()
FAILURES = Failures()
SERVERS: list[Server] = []


async def start() -> None:
    for server in SERVERS:
        await server.close()
    SERVERS[:] = [Server(0), Server(1)]


async def run_both(data: bytes, cuts: list[int]) -> None:
    if not SERVERS or SERVERS[0].device.count() > POINTS_MAX:
        await start()
    logging.getLogger("tsengine").addHandler(FAILURES)
    logging.getLogger("tsengine").propagate = False
    try:
        (sent, stored), (sent_in_pieces, stored_in_pieces) = [
            await server.take(data, own) for server, own in zip(SERVERS, ([], cuts), strict=True)
        ]
    finally:
        logging.getLogger("tsengine").removeHandler(FAILURES)
        logging.getLogger("tsengine").propagate = True
    assert not FAILURES.found, FAILURES.found
    assert sent == sent_in_pieces
    assert [point_of(point) for point in stored] == [point_of(point) for point in stored_in_pieces]


def point_of(point: Point) -> Any:
    return point.variable, point.value, point.time, point.unit, point.metadata, point.location


def run(data: bytes) -> None:
    dice = random.Random(zlib.crc32(data))
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(1, PIECES_MAX)))
    if len(data) < 300 and dice.random() < 0.2:
        cuts = list(range(1, len(data)))
    asyncio.set_event_loop(LOOP)
    LOOP.run_until_complete(run_both(data, cuts))
