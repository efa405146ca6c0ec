"""Run the server: open the engine, find or make the account token, serve until told to stop, close the engine.

A stop (SIGTERM, SIGINT) closes the listening socket, lets running requests finish, which includes their commits, and then
closes the engine. What was acknowledged is on disk anyway; what was not acknowledged may be there or not, but whole.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

import tsengine
from tsengine.aio import AsyncEngine
from tsengine.limits import MEMORY_MB
from tsengine.log import Durability
from tsengine.server.app import App
from tsengine.server.envelope import Refusal, failure
from tsengine.server.settings import Settings

ACCOUNT_TOKEN_VARIABLE = "TSENGINE_ACCOUNT_TOKEN"
ACCOUNT_TOKEN_FILE = "account-token"
ACCOUNT_TOKEN_CHARS_MIN = 16

SAMPLE_DEVICE = "sample-device"
SAMPLE_RETENTION_MONTHS = 12

DEFAULTS = Settings()

KEEP_ALIVE_S = 75
"""Longer than a minute, so that a device that sends once a minute keeps its connection."""
HEAD_BYTES = 64 * 1024
"""Most bytes of a request's line and headers; neither uvicorn nor its parser has a limit of its own."""
STOP_S = 8
"""How long a stop waits for running requests; less than the 10 s after which container runtimes kill."""


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, with a limit for the head of a request, and JSON also for what is no HTTP."""

    _head_bytes = 0
    _is_in_head = True

    def data_received(self, data: bytes) -> None:
        was_in_head = self._is_in_head
        super().data_received(data)
        if was_in_head and self._is_in_head:  # a head that began in these bytes, after a body, is counted from the next on
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self._refuse("431 Request Header Fields Too Large", f"The head of a request has at most {HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse("400 Bad Request", msg)

    def _refuse(self, status: str, message: str) -> None:
        body = failure(Refusal(400, message)).body
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()


class Server(uvicorn.Server):
    """A uvicorn server that says when it listens, and where."""

    def __init__(self, config: uvicorn.Config, greeting: str) -> None:
        super().__init__(config)
        self._greeting = greeting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        print(self._greeting.replace("URL", url), f"tsengine listens on {url}", sep="", flush=True)


def serve(
    data: str | os.PathLike[str],
    settings: Settings = DEFAULTS,
    *,
    durability: Durability = "sync",
    memory_mb: int = MEMORY_MB,
) -> None:
    """Serve the store in a folder until SIGTERM or SIGINT.

    Args:
        data: the store's folder; made when it does not exist, with a sample device in it.
        settings: where to listen, and the limits.
        durability, memory_mb: as in tsengine.open.

    Raises:
        BusyError: another process has the store open.
        InputError: TSENGINE_ACCOUNT_TOKEN is too short.
    """
    folder = Path(data)
    is_new = not folder.exists() or not any(folder.iterdir())
    with tsengine.open(folder, durability=durability, memory_mb=memory_mb) as engine:
        token, source = account_token(folder)
        greeting = f"account token: {token} ({source})\n" if source != ACCOUNT_TOKEN_VARIABLE else f"account token: from {source}\n"
        if is_new:
            greeting += create_sample(engine)
        # uvicorn raises the signal that stopped it again for whoever handled it before; without a handler of ours SIGTERM
        # would then end the process before the engine is closed.
        signal.signal(signal.SIGTERM, _exit)
        signal.signal(signal.SIGINT, _exit)
        uvloop.run(_run(engine, token, greeting, settings))


async def _run(engine: tsengine.Engine, token: str, greeting: str, settings: Settings) -> None:
    async_engine = AsyncEngine(engine)
    try:
        config = uvicorn.Config(
            App(async_engine, token, settings),
            host=settings.host,
            port=settings.port,
            http=Protocol,
            ws="none",
            lifespan="off",
            access_log=settings.access_log,
            log_level="info" if settings.access_log else "warning",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
        )
        await Server(config, greeting).serve()
    finally:
        await async_engine.close()


def account_token(folder: Path) -> tuple[str, str]:
    """Return the account token and where it comes from: the environment, or the store's own file, made once with mode 0600.

    Raises:
        InputError: the token in the environment is too short to be a secret.
    """
    given = os.environ.get(ACCOUNT_TOKEN_VARIABLE, "").strip()
    if given:
        if len(given) < ACCOUNT_TOKEN_CHARS_MIN or not given.isascii():
            raise tsengine.InputError(f"{ACCOUNT_TOKEN_VARIABLE} must have at least {ACCOUNT_TOKEN_CHARS_MIN} ASCII characters")
        return given, ACCOUNT_TOKEN_VARIABLE
    path = folder / ACCOUNT_TOKEN_FILE
    if not path.exists():
        _write_secret(path, f"p-{secrets.token_hex(24)}")
    return path.read_text().strip(), str(path)


def create_sample(engine: tsengine.Engine) -> str:
    """Create the sample device of a new store and return the line that sends a first point to it."""
    device = engine.create_device(SAMPLE_DEVICE, type="immutable", chunk_period="month", chunk_retention=SAMPLE_RETENTION_MONTHS)
    token = engine.create_token(device.id, "Default").token
    point = '[{"variable":"temperature","value":21.5,"unit":"C"}]'
    return f"try: curl -X POST URL/data -H 'token: {token}' -H 'content-type: application/json' -d '{point}'\n"


def _write_secret(path: Path, secret: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _exit(*_: Any) -> NoReturn:
    sys.exit(0)
