"""The bytes of one connection: packets cut out of what arrives, back-pressure both ways, and an end that loses no acknowledgement.

Life: open, now and then held (nothing is read or looked at), at last ending: what is stored is acknowledged, then it is closed.

Invariants: bytes are looked at in their order, never while the connection is held; what waits to be looked at is one packet and what
one read of the socket gave; a connection that ends acknowledges every publish that it has staged, unless its client stops reading.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Coroutine
from typing import Any, cast

from tsengine.mqtt.packet import HEAD_BYTES, PUBLISH, Reason, Refused, bounds

logger = logging.getLogger("tsengine.mqtt")

IN_FLIGHT_BYTES = 256 << 10
"""Publishes of one connection that are staged and not durable yet, bytes; beyond it its socket is not read. Some hundred small ones:
enough for a commit to be worth its sync, and few enough that the loop turns to others after some milliseconds."""
IN_FLIGHT_OVERHEAD_BYTES = 256
"""What each of them costs beside its packet: record, place in the log's queue, callback."""
UNSENT_BYTES = 64 << 10
"""What may wait to be sent to one client before its socket is not read any more, bytes."""
LINGER_S = 2.0
"""How long a client may take to close its side after the server's last packet, seconds."""
BY_WORK, BY_STORE, BY_CLIENT, BY_END = 1, 2, 4, 8
"""Why a connection is held: work that must be over before the next packet, the log, a client that does not read, the end."""

_running: set[asyncio.Task[None]] = set()  # the loop itself keeps no hold of tasks


class Connection(asyncio.Protocol):
    """One connection of any client.

    Attributes:
        heard_s: when bytes came last, on the loop's clock.
        stuck_s: since when the client has not read what is sent to it; 0 = it reads.
        in_flight: publishes that are staged and not durable yet.
    """

    __slots__ = (
        "_drained",
        "_farewell",
        "_held",
        "_needed",
        "_rest",
        "_work_count",
        "acks",
        "heard_s",
        "in_flight",
        "in_flight_bytes",
        "loop",
        "max_packet",
        "stuck_s",
        "transport",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, max_packet: int) -> None:
        self.loop = loop
        self.max_packet = max_packet
        self.transport: asyncio.Transport | None = None
        self.heard_s = loop.time()
        self.stuck_s = 0.0
        self.in_flight = self.in_flight_bytes = 0
        self.acks: bytearray | None = None  # PUBACKs that go out at the end of this turn of the loop
        self._held = 0
        self._rest: bytearray | None = None  # what could not be looked at yet
        self._needed = 0  # bytes that `_rest` must have before a look makes sense
        self._work_count = 0
        self._drained: asyncio.Future[None] | None = None  # for whoever waits until nothing is in flight
        self._farewell: tuple[Reason, str] | None = None

    # --- what a kind of connection does ------------------------------------------------------------------------------

    @abstractmethod
    def on_publish(self, data: bytes, start: int, end: int, first: int) -> None:
        """Take a PUBLISH, whose body lies between start and end. May raise Refused."""

    @abstractmethod
    def on_packet(self, first: int, body: bytes) -> None:
        """Take any other packet. May raise Refused."""

    @abstractmethod
    def say_goodbye(self, reason: Reason, problem: str) -> None:
        """Write the last packet, if the client is to have one."""

    @abstractmethod
    def on_lost(self) -> None:
        """The connection is gone."""

    @abstractmethod
    def flush_later(self) -> None:
        """Have `flush` called at the end of this turn of the loop."""

    # --- asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(UNSENT_BYTES)

    def data_received(self, data: bytes) -> None:
        self.heard_s = self.loop.time()
        if self._rest is not None:
            self._rest += data
            self._look()
        elif self._held:
            if not self._held & BY_END:  # then it goes nowhere
                self._rest = bytearray(data)
                self._needed = 0
        else:
            self._take(data)

    def pause_writing(self) -> None:
        self.stuck_s = self.loop.time()
        self.hold(BY_CLIENT)

    def resume_writing(self) -> None:
        self.stuck_s = 0.0
        self.release(BY_CLIENT)

    def connection_lost(self, error: Exception | None) -> None:
        self._held |= BY_END
        self._rest = self.acks = None
        self.transport = None
        self.on_lost()

    # --- reading -----------------------------------------------------------------------------------------------------

    def hold(self, why: int) -> None:
        """Read and look at nothing until `release` was called for each reason."""
        if not self._held and self.transport is not None:
            self.transport.pause_reading()
        self._held |= why

    def release(self, why: int) -> None:
        if not self._held & why:
            return
        self._held &= ~why
        if not self._held and self.transport is not None:
            self.heard_s = self.loop.time()  # nobody listened meanwhile
            self.transport.resume_reading()
            if self._rest is not None:
                self.loop.call_soon(self._look)

    def _look(self) -> None:
        rest = self._rest
        if rest is not None and not self._held and len(rest) >= self._needed:
            self._rest = None
            self._take(bytes(rest))

    def _take(self, data: bytes) -> None:
        """Take every whole packet and keep the rest."""
        at, size, max_packet = 0, len(data), self.max_packet
        needed = 0
        try:
            while at < size and not self._held:
                start, end = bounds(data, at)
                if end - at > max_packet:
                    raise Refused(Reason.PACKET_TOO_LARGE, f"a packet of {end - at} bytes is larger than the limit of {max_packet}")
                if end > size or not end:
                    needed = end - at if end else min(size - at + 1, HEAD_BYTES)
                    break
                first = data[at]
                at = end
                if first >> 4 == PUBLISH:
                    self.on_publish(data, start, end, first)
                else:
                    self.on_packet(first, data[start:end])
                max_packet = self.max_packet  # CONNECT raises it
        except Refused as refusal:
            self.end(refusal.reason, str(refusal))
            return
        except Exception:
            logger.exception("unforeseen error while taking an MQTT packet")
            self.end(Reason.UNSPECIFIED_ERROR, "the server failed; its log has the cause")
            return
        if at < size and not self._held & BY_END:
            self._rest = bytearray(data[at:] if at else data)
            self._needed = needed

    # --- work, acknowledgements and the end --------------------------------------------------------------------------

    def work(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Do something that waits before the next packet is looked at; it may add more of it."""
        self.hold(BY_WORK)
        self._work_count += 1
        task = self.loop.create_task(self._run(coroutine))
        _running.add(task)
        task.add_done_callback(_running.discard)

    async def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except Refused as refusal:
            self.end(refusal.reason, str(refusal))
        except Exception:
            logger.exception("unforeseen error while serving an MQTT client")
            self.end(Reason.UNSPECIFIED_ERROR, "the server failed; its log has the cause")
        finally:
            self._work_count -= 1
            if not self._work_count:
                self.release(BY_WORK)
                self._close_if_drained()

    def staged(self, size_bytes: int) -> None:
        """Count a publish in that is on its way to the disk."""
        self.in_flight += 1
        self.in_flight_bytes += size_bytes
        if self.in_flight_bytes > IN_FLIGHT_BYTES:
            self.hold(BY_STORE)

    def settled(self, size_bytes: int) -> None:
        """Count it out."""
        self.in_flight -= 1
        self.in_flight_bytes -= size_bytes
        if self._held:
            if self._held & BY_STORE and self.in_flight_bytes <= IN_FLIGHT_BYTES // 2:
                self.release(BY_STORE)
            if not self.in_flight and self._drained is not None:
                self._drained.set_result(None)
                self._drained = None
            self._close_if_drained()

    async def drained(self) -> None:
        """Return when nothing is in flight; called by work, so nothing is added meanwhile."""
        while self.in_flight:
            if self._drained is None:
                self._drained = self.loop.create_future()
            await self._drained

    def acknowledge(self, ack: bytes) -> None:
        """Send a PUBACK together with all others of this turn of the loop."""
        if self.acks is not None:
            self.acks += ack
        elif self.transport is not None:
            self.acks = bytearray(ack)
            self.flush_later()

    def flush(self) -> None:
        acks, self.acks = self.acks, None
        if acks and self.transport is not None:
            self.transport.write(bytes(acks))
            self._close_if_drained()

    def send(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def abort(self) -> None:
        """Close at once, whatever waits to be sent."""
        if self.transport is not None:
            self.transport.abort()

    @property
    def is_held(self) -> bool:
        return bool(self._held)

    @property
    def is_ending(self) -> bool:
        return bool(self._held & BY_END)

    def end(self, reason: Reason, problem: str = "") -> None:
        """Look at nothing more, acknowledge what is staged when it is durable, say why, and close."""
        if self._held & BY_END:
            return
        self.hold(BY_END)
        self._rest = None
        self._farewell = (reason, problem)
        self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self._farewell is None or self.in_flight or self.acks or self._work_count or self.transport is None:
            return
        farewell, self._farewell = self._farewell, None
        self.say_goodbye(*farewell)
        self.stuck_s = self.stuck_s or self.loop.time()  # so that a client that does not read its last packets is given up
        if self.transport.can_write_eof() and not self.transport.is_closing():
            # Closing while bytes of the client wait unread would have the system throw away what the client has not read yet.
            self.transport.write_eof()
            self.transport.resume_reading()  # to nowhere
            self.loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()
