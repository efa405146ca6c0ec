"""The fast lane: POST and GET of /data answered from the parser's callbacks, without a task, a scope or a future.

The lane takes a request when nothing before its body can refuse it. A POST: an uncompressed body of a known length for an active device
that may be written to; its points are staged, and it is answered when their group is committed. A GET: few of the newest or oldest points
of an immutable device, which are read together with those of other connections. Every other request goes uvicorn's way to the ASGI
application, which gives the same answers, byte for byte.

Order of answers: the lane is entered only while no ASGI request of the connection is unanswered, and an ASGI request that comes while
the lane has unanswered ones waits in uvicorn's pipeline, because the latest `Exchange` stands as uvicorn's current cycle.

A device says the same head again and again. When a request came in one piece, the next one that has the same head and length and begins
between two others is not parsed again; its token is looked up each time.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

from uvicorn.config import Config
from uvicorn.server import ServerState

from tsengine.aio import AsyncDevice
from tsengine.core import batch
from tsengine.ingest.bodies import ARROW_TYPE, MEDIA_TYPES, MESSAGEPACK_TYPES
from tsengine.server.app import CLIENT_GONE
from tsengine.server.auth import require_active, token_of
from tsengine.server.envelope import Answer, Header, Refusal
from tsengine.server.http.asgi import JSON, content_type_of
from tsengine.server.http.connection import IDLE, Connection, rendered
from tsengine.server.http.request_log import request_id_of
from tsengine.server.routes.data import PATH, added
from tsengine.server.routes.points import rows_of, short_query
from tsengine.server.routes.queries import DataQuery

LANE_REQUESTS = 64
"""Unanswered requests that one connection may have in the fast lane; what it pipelines beyond that waits in its socket."""

CONTENT_TYPES = {
    name.encode(): name for name in (JSON, f"{JSON}; charset=utf-8", f"{JSON};charset=utf-8", *MESSAGEPACK_TYPES, *MEDIA_TYPES)
}
"""What a body may be, as it is usually said; others, said differently or not known, are for the application."""

HEAD_BEGIN, HEAD_END = (b"POST /data ", b"GET /data"), b"\r\n\r\n"


class KnownHead(NamedTuple):
    """The head of a request that the lane took, as it came, and what it said; `query` is None for a POST."""

    raw: bytes
    whole_bytes: int
    headers: list[Header]
    token: str
    query: DataQuery | None


class Exchange:
    """One request of the lane, from its head to its answer; uvicorn sees it where its own request cycle would be.

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
        "query",
        "request_id",
        "response_complete",
        "size_bytes",
    )

    def __init__(self, protocol: Protocol, device: AsyncDevice, headers: list[Header], query: DataQuery | None, keep_alive: bool) -> None:
        self.protocol = protocol
        self.device = device
        self.headers = headers
        self.query = query
        self.keep_alive = keep_alive
        self.response_complete = False
        self.body: list[bytes] = []
        self.count = self.size_bytes = 0
        self.answer: Answer | None = None
        self.began_s = perf_counter()
        self.request_id = request_id_of(headers)

    def found(self, result: Answer | Exception) -> None:
        """Answer a GET."""
        self.answer = result if isinstance(result, Answer) else self.protocol.service.failure(result, self.request_id)
        self.protocol.write_answers()

    def done(self, error: Exception | None) -> None:
        """Answer a POST: the points are stored, or why not."""
        service = self.protocol.service
        if error is None:
            service.saw_input(self.device.id, self.count, self.size_bytes)
            self.answer = added(self.count)
        else:
            self.answer = service.failure(error, self.request_id)
        self.protocol.write_answers()


class Protocol(Connection):
    """One connection with a fast lane."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._exchanges: list[Exchange] = []  # unanswered, in order
        self._taking: Exchange | None = None  # whose body is arriving
        self._known: KnownHead | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(self.cycle, Exchange):
            self.cycle = None
        if self._taking is not None:
            self._finish(self._taking, CLIENT_GONE, 0)
            self._taking = None
        super().connection_lost(exc)

    # --- parser ------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.place != IDLE:
            super().data_received(data)
            return
        known = self._known
        if known is not None and len(data) == known.whole_bytes and data.startswith(known.raw) and self._has_turn():
            device = self._device(known.token, known.query)
            if device is not None:
                self.end_message()
                self._carry_out(self._enter(device, known.headers, known.query, True), data[len(known.raw) :])
                return
        super().data_received(data)
        if self.begun == 1 and self.place == IDLE and isinstance(self.cycle, Exchange) and self.cycle.keep_alive:
            self._remember(data, self.cycle)

    def _remember(self, data: bytes, exchange: Exchange) -> None:
        """Keep the head of a request that came alone and in one piece."""
        raw = data[: len(data) - exchange.size_bytes]
        if raw.startswith(HEAD_BEGIN) and raw.find(HEAD_END) == len(raw) - len(HEAD_END):  # nothing came before or after
            self._known = KnownHead(raw, len(data), exchange.headers, token_of(exchange.headers), exchange.query)

    def on_headers_complete(self) -> None:
        if self.url.startswith(PATH) and self._has_turn():
            exchange = self._take()
            if exchange is not None:
                self.begin_body()
                self._taking = exchange
                return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._taking is None:
            super().on_body(body)
        else:
            self._taking.body.append(body)

    def on_message_complete(self) -> None:
        exchange = self._taking
        if exchange is None:
            super().on_message_complete()
        else:
            self._taking = None
            self.end_message()
            parts, exchange.body = exchange.body, []
            self._carry_out(exchange, parts[0] if len(parts) == 1 else b"".join(parts))

    # --- lane --------------------------------------------------------------------------------------------------------

    def _has_turn(self) -> bool:
        """Whether the lane may take the next request, whatever it says."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            may_follow = isinstance(cycle, Exchange) and cycle.keep_alive and len(self._exchanges) < LANE_REQUESTS
            if not may_follow:
                return False
        return not self.flow.write_paused and not self.transport.is_closing()

    def _take(self) -> Exchange | None:
        """Let the request whose head is complete enter, if that is all right."""
        parser: Any = self.parser  # uvicorn lets go of it at the end of a connection alone
        query = None
        if self.expect_100_continue or parser.should_upgrade() or parser.get_http_version() != "1.1":
            return None
        method = parser.get_method()
        if method == b"POST":
            if self.url != PATH or content_type_in(self.headers, self.service.settings.max_body) is None:
                return None
        elif method != b"GET" or has_body(self.headers):
            return None
        else:
            query = query_of(self.url)
            if query is None:
                return None
        device = self._device(token_of(self.headers), query)
        return None if device is None else self._enter(device, self.headers, query, parser.should_keep_alive())

    def _device(self, token: str, query: DataQuery | None) -> AsyncDevice | None:
        """Return the device that a token lets read (or write, without a query), if its requests may go through the lane."""
        try:
            device = self.service.gate.caller_with(token, "write" if query is None else "read").device
            require_active(device)
        except Refusal:
            return None
        if query is None:
            return device if self.service.is_plain(device) else None
        return device if device.type == "immutable" and self.service.is_read_plainly(device) else None

    def _enter(self, device: AsyncDevice, headers: list[Header], query: DataQuery | None, keep_alive: bool) -> Exchange:
        exchange = Exchange(self, device, headers, query, keep_alive)
        self.cycle = exchange
        self._exchanges.append(exchange)
        return exchange

    def _carry_out(self, exchange: Exchange, body: bytes) -> None:
        if exchange.query is None:
            self._store(exchange, body)
        else:
            self.service.engine.read_soon(partial(rows_of, exchange.device.device, exchange.query), exchange.found)

    def _store(self, exchange: Exchange, body: bytes) -> None:
        """Stage what was sent; `Exchange.done` answers."""
        device = exchange.device.device
        exchange.size_bytes = len(body)
        try:
            record = device.record_of_body(body, content_type_of(exchange.headers))
            if not record:
                exchange.done(None)
                return
            exchange.count = batch.count_of(record)
            if not self.service.engine.write_soon(device.number, record, exchange.done):
                task = self.loop.create_task(self._wait_and_store(exchange, record))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        except Exception as error:
            exchange.done(error)

    async def _wait_and_store(self, exchange: Exchange, record: bytes) -> None:
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
            self.go_on()

    def _finish(self, exchange: Exchange, status: int, sent_bytes: int) -> None:
        seconds = perf_counter() - exchange.began_s
        method = "POST" if exchange.query is None else "GET"
        self.service.finished(method, "/data", "/data", exchange.headers, status, sent_bytes, seconds, exchange.request_id)


def query_of(url: bytes) -> DataQuery | None:
    """Return what a GET of this address asks for, if it is short."""
    path, _, query_string = url.partition(b"?")
    return short_query(query_string) if path == PATH and b"#" not in query_string else None


def has_body(headers: list[Header]) -> bool:
    return any(name == b"content-length" or name == b"transfer-encoding" for name, _ in headers)


def content_type_in(headers: list[Header], max_body: int) -> str | None:
    """Return the content type of an uncompressed body of a length that may be sent, or None if the headers say anything else."""
    content_type, size_bytes = JSON, -1
    for name, value in headers:
        if name == b"content-length":
            size_bytes = int(value)
        elif name == b"content-type":
            if value not in CONTENT_TYPES:
                return None
            content_type = CONTENT_TYPES[value]
        elif name == b"content-encoding":
            return None
    if content_type == ARROW_TYPE and "pyarrow" not in sys.modules:  # its import takes long
        return None
    return content_type if 0 <= size_bytes <= max_body else None
