"""uvicorn's HTTP/1.1 protocol with limits: for heads, for connections, and for how long a client may keep the server waiting.

A connection is idle, in a head, in a body, or at work. One look at all connections a second finds those that have been idle or stalled for
too long, so that no request sets or cancels a timer. What is refused here never reaches the application; it is JSON all the same.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from tsengine.server.envelope import JSON_HEADERS, Answer, Header, Refusal
from tsengine.server.http.asgi import TRANSPORT
from tsengine.server.http.request_log import new_request_id
from tsengine.server.service import Service
from tsengine.server.traffic import OTHER_ROUTE

IDLE, HEAD, BODY = range(3)
"""What the parser is at: between requests, in a head, in a body."""

REFUSED_S = 2
"""How long a connection beyond the limit may take to read why it is refused."""

END, CLOSE_END = b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"


class Connection(HttpToolsProtocol):
    """One connection. `config.app` is the App whose service and settings it uses."""

    cycle: Any  # uvicorn's latest request, answered or not; or the fast lane's, which has the same flags

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = False  # App and the fast lane tell Service.finished
        self.service: Service = config.app.service  # type: ignore[union-attr]
        self.place = IDLE
        self.begun = 0  # messages, in the bytes that came last
        self._head_bytes = 0
        self._since_s = self.loop.time()  # when the place was entered; in a body, when the last of it came
        self._stalled_s: float | None = None  # since when the client does not read
        self._unsent_bytes = 0  # then, and at each look
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        limit = self.service.settings.max_connections
        self._is_refused = len(self.connections) >= limit
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}
        if self._is_refused:  # its request is read and dropped: closing with unread bytes would take the answer away
            self._refuse(Refusal(503, f"The server has its {limit} connections; try again later", retry_after_s=REFUSED_S), is_final=False)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        place, self.begun = self.place, 0
        super().data_received(data)
        if self.place == BODY:
            self._since_s = self.loop.time()
        elif self.place == HEAD and self.begun <= (place == IDLE):  # a head that began behind other bytes is counted from the next on
            self._head_bytes += len(data)
            limit = self.service.settings.max_head
            if self._head_bytes > limit and not self.transport.is_closing():
                self._refuse(Refusal(431, f"The head of a request has at most {limit} bytes"))

    def eof_received(self) -> None:
        if self._is_refused:
            self.transport.close()

    def on_message_begin(self) -> None:
        self.place = HEAD
        self.begun += 1
        self._head_bytes = 0
        self._since_s = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.begin_body()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self.end_message()
        if not self.transport.is_closing():
            super().on_message_complete()

    def begin_body(self) -> None:
        self.place = BODY

    def end_message(self) -> None:
        self.place = IDLE
        self._since_s = self.loop.time()

    def on_response_complete(self) -> None:
        """An ASGI request is answered."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.go_on()

    def go_on(self) -> None:
        """Go on after the last answer: with the next request in uvicorn's pipeline, or idle."""
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self.place == IDLE:
            self._since_s = self.loop.time()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled_s = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled_s = None

    def _unset_keepalive_if_required(self) -> None:
        """Idle connections are found by `check_time`."""

    def check_time(self, now_s: float) -> None:
        """Close the connection if its client has kept it waiting for too long."""
        settings, waited_s = self.service.settings, now_s - self._since_s
        if self._is_unread(now_s):
            self.transport.abort()  # `close` would wait for the client to read
        elif self.transport.is_closing() or self._stalled_s is not None:
            return
        elif self._is_refused:
            if waited_s > REFUSED_S:
                self.transport.abort()
        elif self.place == HEAD:
            if waited_s > settings.header_timeout:
                self._refuse(Refusal(408, f"The head of the request did not arrive within {settings.header_timeout:g} s"))
        elif self.place == BODY:
            if waited_s > settings.body_timeout and not self.flow.read_paused:
                if self.cycle.response_complete:
                    self.transport.close()
                else:
                    self._refuse(Refusal(408, f"No more of the request's body arrived within {settings.body_timeout:g} s"))
        elif waited_s > settings.idle_timeout and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def _is_unread(self, now_s: float) -> bool:
        """Whether answers wait of which the client has read nothing for too long."""
        if self._stalled_s is None:
            return False
        unsent_bytes = self.transport.get_write_buffer_size() + queued_bytes(self.transport)
        if unsent_bytes != self._unsent_bytes:
            self._unsent_bytes, self._stalled_s = unsent_bytes, now_s
        return now_s - self._stalled_s > self.service.settings.body_timeout

    def send_400_response(self, msg: str) -> None:
        self._refuse(Refusal(400, msg))

    def _refuse(self, refusal: Refusal, *, is_final: bool = True) -> None:
        """Answer and close, whatever else is on its way."""
        request_id = new_request_id()
        answer = self.service.failure(refusal, request_id)
        self.transport.write(rendered(answer, self.server_state.default_headers, request_id, False))
        self.service.finished("OTHER", OTHER_ROUTE, "/", [], answer.status, len(answer.body), 0.0, request_id)
        if is_final or not self.transport.can_write_eof():  # TLS cannot
            self.transport.close()
        else:
            self.transport.write_eof()


def queued_bytes(transport: asyncio.Transport) -> int:
    """Return how much the kernel holds that the client has not taken: it may hold megabytes, and asks for more only now and then."""
    try:
        queued = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:  # it is closed already
        return 0
    return int.from_bytes(queued, sys.byteorder)


class Heads:
    """Status lines with the headers that all answers have; uvicorn makes a new list of these every second, for the date."""

    def __init__(self) -> None:
        self._defaults: list[Header] = []
        self._made: dict[int, bytes] = {}

    def get(self, status: int, defaults: list[Header]) -> bytes:
        if defaults is not self._defaults:
            self._defaults, self._made = defaults, {}
        head = self._made.get(status)
        if head is None:
            head = self._made[status] = STATUS_LINE[status] + lines_of(defaults)
        return head


head_of = Heads().get


def rendered(answer: Answer, defaults: list[Header], request_id: str, keep_alive: bool) -> bytes:
    """Return the bytes of an answer, the same as uvicorn makes of what App sends."""
    length = len(answer.body)
    own = lines_of_json(length) if answer.headers is JSON_HEADERS else lines_of([*answer.headers, (b"content-length", b"%d" % length)])
    parts = (head_of(answer.status, defaults), own, b"x-request-id: ", request_id.encode(), END if keep_alive else CLOSE_END, answer.body)
    return b"".join(parts)


@lru_cache(maxsize=1024)
def lines_of_json(size_bytes: int) -> bytes:
    return lines_of([*JSON_HEADERS, (b"content-length", b"%d" % size_bytes)])


def lines_of(headers: Iterable[Header]) -> bytes:
    return b"".join(b"%s: %s\r\n" % header for header in headers)
