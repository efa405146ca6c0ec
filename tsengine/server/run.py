"""Run the server: open the engine, find or make the account token, serve until told to stop, close the engine.

A stop (SIGTERM, SIGINT) closes the listening socket, lets running requests finish, which includes their commits, and then
closes the engine. What was acknowledged is on disk anyway; what was not acknowledged may be there or not, but whole.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import secrets
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import msgspec
import uvicorn
import uvloop

import tsengine
from tsengine.aio import AsyncEngine
from tsengine.limits import MEMORY_MB
from tsengine.log import Durability
from tsengine.server.app import App
from tsengine.server.http.protocol import Protocol
from tsengine.server.settings import Settings

if TYPE_CHECKING:
    from tsengine.mqtt.listener import Listener

logger = logging.getLogger("tsengine.server")

ACCOUNT_TOKEN_VARIABLE = "TSENGINE_ACCOUNT_TOKEN"
ACCOUNT_TOKEN_FILE = "account-token"
ACCOUNT_TOKEN_CHARS_MIN = 16

SAMPLE_DEVICE = "sample-device"
SAMPLE_RETENTION_MONTHS = 12

DEFAULTS = Settings()

YOUNG_OBJECTS = 50_000
"""Objects made since the last look at the young ones that bring the next: some megabytes at most."""
STOP_S = 8
"""How long a stop waits for running requests; less than the 10 s after which container runtimes kill."""
TICKS_PER_S = 10
"""How often uvicorn calls `on_tick`."""
FILES_KEPT = 256
"""Open files that the connections leave to the store and the rest."""


class Started(msgspec.Struct):
    """What whoever started a server wants to know when it takes requests.

    Attributes:
        url: where it listens. mqtt: the addresses where it takes MQTT.
        account_token: None when it comes from the environment, as whoever started the server knows it.
        token_source: the file or the variable of the environment that it comes from.
        sample_token: of the sample device of a new store.
    """

    account_token: str | None
    token_source: str
    sample_token: str | None = None
    mqtt: list[str] = []
    url: str = ""


def print_started(started: Started) -> None:
    """Print how to reach the server. The last line means that it takes requests."""
    source = started.token_source
    lines = [f"account token: from {source}" if started.account_token is None else f"account token: {started.account_token} ({source})"]
    if started.sample_token is not None:
        point = '[{"variable":"temperature","value":21.5,"unit":"C"}]'
        send = f"-H 'token: {started.sample_token}' -H 'content-type: application/json' -d '{point}'"
        lines.append(f"try: curl -X POST {started.url}/data {send}")
    lines += [f"tsengine takes MQTT on {url}" for url in started.mqtt]
    print(*lines, f"tsengine listens on {started.url}", sep="\n", flush=True)


class Server(uvicorn.Server):
    """A uvicorn server that says when it listens, and where, ends streams of events before it waits for requests, and MQTT with them."""

    def __init__(
        self, config: uvicorn.Config, started: Started, on_start: Callable[[Started], None], app: App, listener: Listener | None
    ) -> None:
        super().__init__(config)
        self._started = started
        self._on_start = on_start
        self._app = app
        self._listener = listener

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.stop()
        if self._listener is None:
            await super().shutdown(sockets)
        else:
            await asyncio.gather(super().shutdown(sockets), self._listener.stop())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. uvicorn's own would leave a client a minute for its TLS handshake, in which nobody counts it."""
        config = self.config

        def make_connection() -> Protocol:
            return Protocol(config, self.server_state, self.lifespan.state)

        patience_s = self._app.service.settings.header_timeout if config.is_ssl else None
        try:
            server = await asyncio.get_running_loop().create_server(
                make_connection, config.host, config.port, ssl=config.ssl, ssl_handshake_timeout=patience_s, backlog=config.backlog
            )
        except OSError as error:
            problem = tsengine.InputError(f"cannot listen on {config.host}:{config.port}: {error.strerror}")
            problem.add_note("another program may have the port; name another with --port, 0 takes a free one")
            raise problem from None
        self.servers = [server]
        self.started = True
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        scheme = "https" if self.config.is_ssl else "http"
        url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        if not self.config.is_ssl and not ip_address(host).is_loopback:
            logger.warning("%s is open to the network without TLS: tokens and data can be read on the way (--tls-cert, --tls-key)", url)
        self._started.url = url
        self._on_start(self._started)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_S == 0:
            now_s = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                cast(Protocol, connection).check_time(now_s)
        return await super().on_tick(counter)


def serve(
    data: str | os.PathLike[str],
    settings: Settings = DEFAULTS,
    *,
    durability: Durability = "sync",
    memory_mb: int = MEMORY_MB,
    on_start: Callable[[Started], None] = print_started,
) -> None:
    """Serve the store in a folder until SIGTERM or SIGINT.

    Args:
        data: the store's folder; made when it does not exist, with a sample device in it.
        settings: where to listen, and the limits.
        durability, memory_mb: as in tsengine.open.
        on_start: called once, on the event loop, when requests are taken.

    Raises:
        BusyError: another process has the store open.
        InputError: TSENGINE_ACCOUNT_TOKEN is too short, the certificate and its key do not work, or the address is taken.
        StorageError: the access log cannot be opened.
    """
    check_tls(settings)
    folder = Path(data)
    is_new = not folder.exists() or not any(folder.iterdir())
    with tsengine.open(folder, durability=durability, memory_mb=memory_mb) as engine:
        token, source = account_token(folder)
        started = Started(None if source == ACCOUNT_TOKEN_VARIABLE else token, source, create_sample(engine) if is_new else None)
        # uvicorn raises the signal that stopped it again for whoever handled it before; without a handler of ours SIGTERM
        # would then end the process before the engine is closed.
        signal.signal(signal.SIGTERM, _exit)
        signal.signal(signal.SIGINT, _exit)
        # Writes on their way are thousands of young objects that never form cycles: with the default threshold the collector looks
        # at them again and again, which took a fifth of the time of 100,000 publishes a second. What is there by now stays for ever.
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        uvloop.run(_run(engine, token, started, on_start, within_files(settings)))


async def _run(engine: tsengine.Engine, token: str, started: Started, on_start: Callable[[Started], None], settings: Settings) -> None:
    async with AsyncEngine(engine) as async_engine:
        app = App(async_engine, token, settings)
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=Protocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            ssl_certfile=settings.tls_cert or None,
            ssl_keyfile=settings.tls_key or None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_S,
        )
        listener = None
        try:
            listener = await _listen(app, settings)
            if listener is not None:
                started.mqtt = list(listener.urls)
            await Server(config, started, on_start, app, listener).serve()
        finally:
            if listener is not None:
                await listener.stop()
            await app.close()


async def _listen(app: App, settings: Settings) -> Listener | None:
    """Begin to take MQTT, if the settings say so."""
    if not takes_mqtt(settings):
        return None
    from tsengine.mqtt.listener import Listener

    listener = Listener(app.service)
    await listener.start()
    return listener


def check_tls(settings: Settings) -> None:
    """Say what is wrong with the certificate and its key, before anything is opened.

    Raises:
        InputError: one is given without the other, is missing, cannot be read, is no PEM, or they do not belong together.
    """
    files = {"certificate": settings.tls_cert, "key": settings.tls_key}
    if not any(files.values()):
        if settings.mqtts_port is not None:
            raise tsengine.InputError("MQTT over TLS (--mqtts) needs a certificate and its key (--tls-cert, --tls-key)")
        return
    for what, path in files.items():
        if not path:
            raise tsengine.InputError(f"TLS needs a certificate and a key; the {what} is not given (--tls-cert, --tls-key)")
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise tsengine.InputError(f"cannot read the TLS {what} {path}: {error.strerror}") from None
    try:
        # With a password of its own the key would be asked for on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise tsengine.InputError(f"the TLS key {settings.tls_key} does not belong to the certificate {settings.tls_cert}") from None
        raise tsengine.InputError(
            f"{settings.tls_cert} and {settings.tls_key} are not a PEM certificate and its key without a password ({error.reason or error})"
        ) from None


def takes_mqtt(settings: Settings) -> bool:
    return settings.mqtt_port is not None or settings.mqtts_port is not None


def within_files(settings: Settings) -> Settings:
    """Let the process open as many files as it may, and return the settings with no more connections than that allows.

    HTTP and MQTT get less in the same proportion.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        mqtt = settings.mqtt_connections if takes_mqtt(settings) else 0
        share = min(1.0, (hard - FILES_KEPT) / (settings.max_connections + mqtt))
        settings = msgspec.structs.replace(
            settings,
            max_connections=max(1, int(settings.max_connections * share)),
            mqtt_connections=max(1, int(settings.mqtt_connections * share)),
        )
    return settings


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
    """Create the sample device of a new store and return its token."""
    device = engine.create_device(SAMPLE_DEVICE, type="immutable", chunk_period="month", chunk_retention=SAMPLE_RETENTION_MONTHS)
    return engine.create_token(device.id, "Default").token


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
