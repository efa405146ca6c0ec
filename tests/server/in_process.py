"""The application without a socket, on a clock that tests move: requests are calls of the ASGI function."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import tsengine
from tests.server.server_process import Reply
from tsengine.aio import AsyncEngine
from tsengine.clock import ManualClock
from tsengine.server.app import App
from tsengine.server.settings import Settings

ACCOUNT = "p-" + "7" * 32
NOW_US = 1_795_226_400_000_000  # 2026-11-21T02:00:00Z


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **options: Any) -> None:
        async def whole() -> None:
            async with asyncio.timeout(60):
                await test(*args, **options)

        asyncio.run(whole())

    return run


class Site:
    """An application over an engine of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = ManualClock(NOW_US)
        self.engine = AsyncEngine(tsengine.open(folder, durability="memory", clock=self.clock))
        self.app = App(self.engine, ACCOUNT, Settings(**settings))

    def make(self, kind: str = "mutable", *, rpm: int | None = None, **fields: Any) -> tuple[str, str]:
        """Create a device in the engine and return its id and token."""
        if kind == "immutable":
            fields = {"chunk_period": "month", "chunk_retention": 1, **fields}
        device = self.engine.engine.create_device("a device", type=kind, extra={"rpm": rpm}, **fields)  # type: ignore[arg-type]
        return device.id, self.engine.engine.create_token(device.id, "Default").token

    async def call(self, method: str, path: str, token: str = "", body: Any = b"", content_type: str = "application/json") -> Reply:
        """Send one request; a body that is not bytes goes as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = [(b"token", token.encode()), (b"content-type", content_type.encode()), (b"content-length", b"%d" % len(data))]
        sent: list[Any] = []
        parts = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive() -> Any:
            if parts:
                return parts.pop()
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope_of(method, path, headers), receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Reply(sent[0]["status"], found, json.loads(b"".join(message.get("body", b"") for message in sent[1:])))

    def listen(self, query: str) -> Stream:
        return Stream(self, query)


class Stream:
    """One GET /events: `next` gives what is sent, part by part."""

    def __init__(self, site: Site, query: str) -> None:
        self._sent: asyncio.Queue[Any] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._is_read = asyncio.Event()
        self._is_read.set()
        self.task = asyncio.create_task(site.app(scope_of("GET", "/events?" + query, []), self._receive, self._send))

    async def _receive(self) -> Any:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self._is_read.wait()
        self._sent.put_nowait(message)

    def leave(self) -> None:
        self._gone.set()

    def stop_reading(self) -> None:
        self._is_read.clear()

    async def start(self) -> int:
        """Return the status."""
        return int((await self._sent.get())["status"])

    async def next(self) -> bytes | None:
        """Return the next part of the body, or None at its end."""
        message = await self._sent.get()
        return bytes(message["body"]) if message["more_body"] else None

    async def event(self) -> Any:
        """Return the next event, decoded; comments are passed over."""
        while (part := await self.next()) is not None:
            if not part.startswith(b":"):
                assert part.startswith(b"data: ") and part.endswith(b"\n\n") and part.count(b"\n") == 2
                return json.loads(part[6:])
        return None

    async def titles(self, count: int) -> list[tuple[str, str]]:
        """Return the titles and contents of so many inspector entries."""
        entries = [entry for _ in range(count) for entry in (await self.event())["payload"]]
        return [(entry["title"], entry["content"]) for entry in entries]


@asynccontextmanager
async def site(folder: Path, **settings: Any) -> AsyncIterator[Site]:
    made = Site(folder, **settings)
    try:
        yield made
    finally:
        await made.app.close()
        await made.engine.close()


def scope_of(method: str, path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": query.encode(),
        "headers": headers,
        "client": ("192.0.2.7", 1),
        "server": ("localhost", 80),
    }
