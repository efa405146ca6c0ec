"""The live inspector: what happens to the data of a device, told to whoever listens at that moment, and kept for nobody.

A channel is `device_inspector.<id>` (how a request fares) or `device_data.<id>` (the points it stored). A listener takes
events from a queue of its own; one that does not keep up is dropped, so that neither memory nor a sender waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from tsengine.errors import TsengineError
from tsengine.ids import new_id
from tsengine.server.dates import iso_ms_of
from tsengine.server.envelope import Refusal
from tsengine.server.http.asgi import Disconnected

INSPECTOR, DATA = "device_inspector.", "device_data."

LISTENER_BYTES = 1 << 20
"""Events that may wait for a listener when another comes, bytes; one request's rows may go beyond it."""
CONTENT_CHARS = 64 * 1024
"""Most text of one inspector entry: enough to see what a body is, characters."""
EVENT_BYTES = 64 * 1024
"""Rows of one request go out in events of about so many bytes."""

_encode = msgspec.json.Encoder().encode


class Entry(msgspec.Struct):
    """One line of the inspector; what one request shows shares `connection_id`."""

    connection_id: str
    device_id: str
    timestamp: str | None
    title: str
    content: str


class Listener:
    """One open stream: the channels it hears and the events that wait for it.

    Attributes:
        ended: set when nothing more will come; `reason` tells why.
    """

    def __init__(self, channels: Iterable[str], is_allowed: Callable[[], bool]) -> None:
        self.channels = set(channels)
        self.is_allowed = is_allowed
        self.ended = asyncio.Event()
        self.reason = ""
        self._events: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()

    def put(self, events: list[bytes]) -> None:
        if self.ended.is_set():
            return
        if self._waiting_bytes > LISTENER_BYTES:
            self._events.clear()
            self.end(f"the listener is too slow: more than {LISTENER_BYTES} bytes wait for it")
            return
        self._events.extend(events)
        self._waiting_bytes += sum(map(len, events))
        self._wake.set()

    def end(self, reason: str) -> None:
        """Let what waits go out, and nothing after it."""
        if not self.ended.is_set():
            self.reason = reason
            self.ended.set()
            self._wake.set()

    async def next(self, comment_interval: float) -> bytes | None:
        """Return what is to be sent next, a comment when there was nothing for so long, or None at the end."""
        if not self._events and not self.ended.is_set():
            self._wake.clear()
            try:
                async with asyncio.timeout(comment_interval):
                    await self._wake.wait()
            except TimeoutError:
                pass
        if not self.is_allowed():
            self._events.clear()
            self.end("the token is no longer valid")
        if self._events:
            event = self._events.popleft()
            self._waiting_bytes -= len(event)
            return event
        return None if self.ended.is_set() else b":\n\n"


class Inspector:
    """Who listens to which channel.

    Attributes:
        heard: the listeners of each channel that has any.
    """

    def __init__(self, max_listeners: int, now_us: Callable[[], int]) -> None:
        self._max_listeners = max_listeners
        self._now_us = now_us
        self._listeners: set[Listener] = set()
        self.heard: dict[str, set[Listener]] = {}
        self._is_closed = False

    def is_heard(self, device_id: str) -> bool:
        """Whether anybody listens to a channel of this device."""
        return INSPECTOR + device_id in self.heard or DATA + device_id in self.heard

    def listen(self, listener: Listener) -> None:
        """Begin to tell a listener.

        Raises:
            Refusal: 503; as many listen as may, or the server stops.
        """
        if self._is_closed:
            raise Refusal(503, "The server stops")
        if len(self._listeners) >= self._max_listeners:
            raise Refusal(503, f"{self._max_listeners} streams are open, as many as the server allows; close one", retry_after_s=30)
        self._listeners.add(listener)
        for channel in listener.channels:
            self.heard.setdefault(channel, set()).add(listener)

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        for channel in listener.channels:
            self._stop_hearing(listener, channel)

    def forget_device(self, device_id: str) -> None:
        """End what listens to a deleted device alone; others lose its channels."""
        for channel in (INSPECTOR + device_id, DATA + device_id):
            for listener in list(self.heard.get(channel, ())):
                self._stop_hearing(listener, channel)
                listener.channels.discard(channel)
                if not listener.channels:
                    listener.end("the device was deleted")

    def check_tokens(self) -> None:
        """End the streams of tokens that are gone, at once instead of with their next event or comment."""
        for listener in self._listeners:
            if not listener.is_allowed():
                listener.end("the token is no longer valid")

    def close(self) -> None:
        """End all streams, and take no more: the server stops."""
        self._is_closed = True
        for listener in self._listeners:
            listener.end("the server stops")

    def tell(self, channel: str, payloads: Iterable[list[Any]]) -> None:
        """Send payloads, each as an event, to all who hear a channel."""
        if listeners := self.heard.get(channel):
            events = [event_of(channel, payload) for payload in payloads]
            for listener in listeners:
                listener.put(events)

    def entry(self, connection_id: str, device_id: str, title: str, content: str) -> Entry:
        if len(content) > CONTENT_CHARS:
            content = content[:CONTENT_CHARS] + "..."
        return Entry(connection_id, device_id, iso_ms_of(self._now_us()), title, content)

    def _stop_hearing(self, listener: Listener, channel: str) -> None:
        listeners = self.heard.get(channel)
        if listeners is not None:
            listeners.discard(listener)
            if not listeners:
                del self.heard[channel]


class Trace:
    """What one request shows in its device's inspector: each line at once, and nothing while nobody listens."""

    def __init__(self, inspector: Inspector, device_id: str) -> None:
        self._inspector = inspector
        self._device_id = device_id
        self._connection_id = new_id()

    @property
    def is_heard(self) -> bool:
        """Whether somebody wants to see how the request fares."""
        return INSPECTOR + self._device_id in self._inspector.heard

    @property
    def wants_rows(self) -> bool:
        """Whether somebody wants the points that the request stores."""
        return DATA + self._device_id in self._inspector.heard

    def show(self, title: str, content: object) -> None:
        """Show text as it is, bytes as text or else as hexadecimal digits, anything else as JSON."""
        if self.is_heard:
            text = content if isinstance(content, str) else _text_of(content)
            entry = self._inspector.entry(self._connection_id, self._device_id, title, text)
            self._inspector.tell(INSPECTOR + self._device_id, [[entry]])

    def refused(self, error: Exception) -> None:
        """Show why nothing was stored."""
        if isinstance(error, Disconnected):
            text = "The client went away before its body was complete"
        else:
            text = str(error) if isinstance(error, (Refusal, TsengineError)) else f"The server failed ({type(error).__name__})"
        self.show("Error", text)

    def stored(self, rows: list[bytes]) -> None:
        """Show the points that were stored, each as JSON."""
        self._inspector.tell(DATA + self._device_id, parts_of(rows))


def event_of(channel: str, payload: list[Any]) -> bytes:
    return b"data: %b\n\n" % _encode({"channel": channel, "payload": payload})


def parts_of(rows: list[bytes]) -> Iterable[list[msgspec.Raw]]:
    """Yield rows in parts of about EVENT_BYTES."""
    part: list[msgspec.Raw] = []
    size_bytes = 0
    for row in rows:
        part.append(msgspec.Raw(row))
        size_bytes += len(row)
        if size_bytes >= EVENT_BYTES:
            yield part
            part, size_bytes = [], 0
    if part:
        yield part


def _text_of(content: object) -> str:
    if not isinstance(content, bytes):
        return _encode(content).decode()
    shown = content[: 4 * CONTENT_CHARS]  # a character takes 4 bytes at most
    try:
        return shown.decode()
    except UnicodeDecodeError as error:
        if error.start >= CONTENT_CHARS:  # the cut, most likely, and beyond what is shown in any case
            return shown[: error.start].decode()
        return shown.hex()
