"""uvicorn's HTTP/1.1 protocol with a fast lane for POST /data, limits for heads and connections, and no patience for stalled clients.

The fast lane takes a request when nothing before its body can refuse it: plain JSON of a known length for an active device that may be
written to. It stores the body from the parser's callback and answers when the group is committed, without a task. Every other request
goes uvicorn's way to the ASGI application, which gives the same answers, byte for byte.

Order of answers: the lane is entered only while no ASGI request of the connection is unanswered, and an ASGI request that comes while
the lane has unanswered ones waits in uvicorn's pipeline, because the last `Exchange` stands as uvicorn's current cycle.

A connection is idle, in a head, in a body, or at work; one look at all connections a second finds those that have been idle or stalled for
too long, so that a request sets and cancels no timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import lru_cache
from time import perf_counter
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from tsengine.aio import AsyncDevice
from tsengine.core import batch
from tsengine.server.app import CLIENT_GONE
from tsengine.server.asgi import JSON, TRANSPORT
from tsengine.server.data import PATH, added
from tsengine.server.envelope import JSON_HEADERS, Answer, Header, Refusal, failure
from tsengine.server.request_log import new_request_id, request_id_of
from tsengine.server.service import Service

LANE_REQUESTS = 64
"""Unanswered requests that one connection may have in the fast lane; what it pipelines beyond that waits in its socket."""

IDLE, HEAD, BODY = range(3)
"""What the parser is at: between requests, in a head, in a body."""

PLAIN_TYPES = frozenset((b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"))

END, CLOSE_END = b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"

REFUSED_S = 2
"""How long a connection beyond the limit may take to read why it is refused."""


class Exchange:
    """One request of the fast lane, from its head to its answer; for uvicorn it stands where its own request cycle would.

    Attributes:
        response_complete, keep_alive: uvicorn's; it clears `keep_alive` for a stop.
    """

    __slots__ = (
        "answer",
        "began_s",
        "body",
        "count",
        "device",
        "headers",
        "keep_alive",
        "protocol",
        "request_id",
        "response_complete",
        "size_bytes",
    )

    def __init__(self, protocol: Protocol, device: AsyncDevice, headers: list[Header], keep_alive: bool) -> None:
        self.protocol = protocol
        self.device = device
        self.headers = headers
        self.keep_alive = keep_alive
        self.response_complete = False
        self.body = b""
        self.count = self.size_bytes = 0
        self.answer: Answer | None = None
        self.began_s = perf_counter()
        self.request_id = request_id_of(headers)

    def done(self, error: Exception | None) -> None:
        """Answer: the points are stored, or why not."""
        if error is None:
            self.protocol.service.saw_input(self.device.id, self.count, self.size_bytes)
            self.answer = added(self.count)
        else:
            self.answer = self.protocol.service.failure(error, self.request_id)
        self.protocol.write_answers()


class Protocol(HttpToolsProtocol):
    """One connection. `config.app` is the App whose service answers."""

    cycle: Any  # uvicorn's, or an Exchange

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = False  # both ways to an answer tell Service.finished
        self.service: Service = config.app.service  # type: ignore[union-attr]
        self._exchanges: list[Exchange] = []  # of the fast lane, unanswered, in order
        self._taking: Exchange | None = None  # whose body is arriving
        self._place = IDLE
        self._head_bytes = 0
        self._since_s = self.loop.time()  # when the place was entered; in a body, when the last of it came
        self._stalled_s: float | None = None  # since when the client does not read
        self._is_refused = False

    # --- connection --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        is_full = len(self.connections) >= self.service.settings.max_connections
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}
        if is_full:
            self._is_refused = True
            limit = self.service.settings.max_connections
            self._refuse(Refusal(503, f"The server has its {limit} connections; try again later", retry_after_s=REFUSED_S), is_final=False)

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(self.cycle, Exchange):
            self.cycle = None
        if self._taking is not None:
            self._finish(self._taking, CLIENT_GONE, 0)
            self._taking = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        place = self._place
        super().data_received(data)
        if self._place == BODY:
            self._since_s = self.loop.time()
        elif self._place == HEAD and place != BODY:  # a head that began in these bytes, after a body, is counted from the next on
            self._head_bytes += len(data)
            limit = self.service.settings.max_head
            if self._head_bytes > limit and not self.transport.is_closing():
                self._refuse(Refusal(431, f"The head of a request has at most {limit} bytes"))

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
        settings = self.service.settings
        if self.transport.is_closing():
            return
        waited_s = now_s - self._since_s
        if self._is_refused:
            if waited_s > REFUSED_S:
                self.transport.abort()
        elif self._stalled_s is not None:
            if now_s - self._stalled_s > settings.body_timeout:
                self.transport.abort()  # it would wait for the client to read
        elif self._place == HEAD:
            if waited_s > settings.header_timeout:
                self._refuse(Refusal(408, f"The head of the request did not arrive within {settings.header_timeout} s"))
        elif self._place == BODY:
            if waited_s > settings.body_timeout and not self.flow.read_paused:
                if self.cycle.response_complete:
                    self.transport.abort()
                else:
                    self._refuse(Refusal(408, f"No more of the request's body arrived within {settings.body_timeout} s"))
        elif waited_s > settings.idle_timeout and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Refusal(400, msg))

    def _refuse(self, refusal: Refusal, *, is_final: bool = True) -> None:
        """Answer and close, whatever else is on its way."""
        self.transport.write(rendered(failure(refusal), self.server_state.default_headers, new_request_id(), False))
        if is_final:
            self.transport.close()
        else:
            self.transport.write_eof()

    # --- parser ------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._place = HEAD
        self._head_bytes = 0
        self._since_s = self.loop.time()
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        self._place = BODY
        if self.transport.is_closing():
            return
        if self.url == PATH and self.parser.get_method() == b"POST" and self._take():
            return
        url, headers, expect_100_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # makes the scope, which the fast lane does without
        self.url, self.expect_100_continue = url, expect_100_continue
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        exchange = self._taking
        if exchange is not None:
            exchange.body += body
        elif not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._place = IDLE
        self._since_s = self.loop.time()
        exchange = self._taking
        if exchange is None:
            if not self.transport.is_closing():
                super().on_message_complete()
            return
        self._taking = None
        device = exchange.device.device
        body, exchange.body = exchange.body, b""
        exchange.size_bytes = len(body)
        try:
            record = device.record_of_body(body, JSON)
            if not record:
                exchange.done(None)
                return
            exchange.count = batch.count_of(record)
            if not self.service.engine.write_soon(device.number, record, exchange.done):
                task = self.loop.create_task(self._write(exchange, record))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        except Exception as error:
            exchange.done(error)

    # --- fast lane ---------------------------------------------------------------------------------------------------

    def _take(self) -> bool:
        """Let the request whose head is complete into the fast lane, or return False."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            may_follow = isinstance(cycle, Exchange) and cycle.keep_alive and len(self._exchanges) < LANE_REQUESTS
            if not may_follow:
                return False
        parser = self.parser
        if self.flow.write_paused or self.expect_100_continue or parser.should_upgrade() or parser.get_http_version() != "1.1":
            return False
        if not is_plain(self.headers, self.service.settings.max_body):
            return False
        try:
            device = self.service.gate.device(self.headers, "write")
        except Refusal:
            return False
        if not self.service.is_plain(device):
            return False
        exchange = Exchange(self, device, self.headers, parser.should_keep_alive())
        self.cycle = exchange
        self._taking = exchange
        self._exchanges.append(exchange)
        return True

    async def _write(self, exchange: Exchange, record: bytes) -> None:
        try:
            await self.service.engine.write(exchange.device.device.number, record)
        except Exception as error:
            exchange.done(error)
        else:
            exchange.done(None)

    def write_answers(self) -> None:
        """Write the answers that are ready, up to the first request that has none yet."""
        exchanges = self._exchanges
        while exchanges and (answer := exchanges[0].answer) is not None:
            exchange = exchanges.pop(0)
            exchange.response_complete = True
            self.server_state.total_requests += 1
            if not self.transport.is_closing():
                self.transport.write(rendered(answer, self.server_state.default_headers, exchange.request_id, exchange.keep_alive))
                if not exchange.keep_alive:
                    self.transport.close()
            self._finish(exchange, answer.status, len(answer.body))
        if not exchanges and not self.transport.is_closing():
            self._next()

    def _finish(self, exchange: Exchange, status: int, sent_bytes: int) -> None:
        seconds = perf_counter() - exchange.began_s
        self.service.finished("POST", "/data", "/data", exchange.headers, status, sent_bytes, seconds, exchange.request_id)

    def on_response_complete(self) -> None:
        """An ASGI request is answered."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self._next()

    def _next(self) -> None:
        """Go on after the last answer: with the next request in uvicorn's pipeline, or idle."""
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._place == IDLE:
            self._since_s = self.loop.time()


def is_plain(headers: list[Header], max_body: int) -> bool:
    """Whether these headers announce uncompressed JSON of a length that may be sent."""
    size = -1
    for name, value in headers:
        if name == b"content-length":
            size = int(value)
        elif name == b"content-type":
            if value not in PLAIN_TYPES:
                return False
        elif name == b"content-encoding":
            return False
    return 0 <= size <= max_body


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


def lines_of(headers: Iterable[Header]) -> bytes:
    return b"".join(b"%s: %s\r\n" % header for header in headers)


def rendered(answer: Answer, defaults: list[Header], request_id: str, keep_alive: bool) -> bytes:
    """Return the bytes of an answer, the same as uvicorn makes of what App sends."""
    length = len(answer.body)
    own = lines_of_json(length) if answer.headers is JSON_HEADERS else lines_of([*answer.headers, (b"content-length", b"%d" % length)])
    parts = (head_of(answer.status, defaults), own, b"x-request-id: ", request_id.encode(), END if keep_alive else CLOSE_END, answer.body)
    return b"".join(parts)


@lru_cache(maxsize=1024)
def lines_of_json(size_bytes: int) -> bytes:
    return lines_of([*JSON_HEADERS, (b"content-length", b"%d" % size_bytes)])
