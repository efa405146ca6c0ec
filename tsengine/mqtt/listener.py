"""The MQTT listener: its sockets, its sessions by whom they speak for, and what is done for all of them at once.

Everything here runs on the event loop, except `_on_news`, which the engine calls on whichever thread applies the log.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from tsengine import commands
from tsengine.aio import AsyncDevice
from tsengine.errors import InputError
from tsengine.ingest.tagotip import HASH_CHARS, is_hash
from tsengine.mqtt.packet import Reason, Refused
from tsengine.mqtt.session import Session
from tsengine.mqtt.topics import PARAMETERS_TOPIC, TIP_ROOT
from tsengine.server.inspector import Trace
from tsengine.server.service import Service
from tsengine.types import NO_DEVICE, DeviceInfo, Message, Token

logger = logging.getLogger("tsengine.mqtt")

SWEEP_S = 1.0
"""How often silent clients and expired tokens are looked for, seconds."""
STUCK_S = 30.0
"""How long a client may not read what is sent to it, seconds."""
STOP_S = 5.0
"""How long a stop waits for publishes to become durable and for acknowledgements to be read, seconds."""
BACKLOG = 1024
"""Connections that may wait to be accepted: a fleet comes back all at once after a restart."""
IDLE_S, PROBE_S, PROBES = 300, 30, 4
"""TCP's own look for peers that are gone: after how long, how often, how many."""
if sys.platform == "darwin":
    TCP_IDLE = socket.TCP_KEEPALIVE
else:
    TCP_IDLE = socket.TCP_KEEPIDLE

_encode = msgspec.json.Encoder().encode


class Listener:
    """Takes MQTT connections for one server.

    Attributes:
        urls: mqtt://host:port and mqtts://host:port, of which those that were asked for, once it listens.

    Args:
        service: shared with HTTP.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.engine = service.engine
        self.loop = asyncio.get_running_loop()
        self.now_us = service.engine.engine.clock.now_us
        self.max_packet = service.settings.mqtt_max_packet
        self.urls: list[str] = []
        self._servers: list[asyncio.Server] = []
        self._sessions: set[Session] = set()
        self._clients: dict[int, dict[str, Session]] = {}  # device -> client id -> session
        self._unflushed: list[Session] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_gone: asyncio.Future[None] | None = None
        self._is_crowded = False

    @property
    def connection_count(self) -> int:
        return len(self._sessions)

    # --- start and stop ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen; `urls` tells where."""
        settings = self.service.settings
        for scheme, port in (("mqtt", settings.mqtt_port), ("mqtts", settings.mqtts_port)):
            if port is None:
                continue
            context = None
            if scheme == "mqtts":
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(settings.tls_cert, settings.tls_key)
            try:
                server = await self.loop.create_server(
                    self._make_session,
                    settings.host,
                    port,
                    backlog=BACKLOG,
                    ssl=context,
                    ssl_handshake_timeout=None if context is None else settings.header_timeout,
                )
            except OSError as error:
                raise InputError(f"cannot listen for MQTT on {settings.host}:{port}: {error.strerror}") from None
            self._servers.append(server)
            host, port = server.sockets[0].getsockname()[:2]
            self.urls.append(f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}")
        self.engine.engine.add_watcher(self._on_news)
        self._sweep()

    async def stop(self) -> None:
        """Take no more, acknowledge what is on its way to the disk, tell the clients, and close."""
        self.engine.engine.remove_watcher(self._on_news)
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            server.close()
        for session in list(self._sessions):
            session.end(Reason.SERVER_SHUTTING_DOWN, "the server stops")
        if self._sessions:
            self._all_gone = self.loop.create_future()
            await asyncio.wait([self._all_gone], timeout=STOP_S)
            for session in list(self._sessions):
                session.abort()
            if self._sessions:
                await asyncio.wait([self._all_gone], timeout=STOP_S)

    def _make_session(self) -> Session:
        return Session(self)

    # --- sessions ----------------------------------------------------------------------------------------------------

    def add(self, session: Session) -> bool:
        """Count a new connection in; False: there are too many."""
        self._sessions.add(session)
        self.service.traffic.mqtt_connections += 1
        is_crowded = len(self._sessions) > self.service.settings.mqtt_connections
        if is_crowded and not self._is_crowded:
            logger.warning("%d MQTT connections are open, as many as --mqtt-connections allows; more are closed", len(self._sessions) - 1)
        self._is_crowded = is_crowded
        if not is_crowded and session.transport is not None:
            set_keep_alive(session.transport.get_extra_info("socket"))
        return not is_crowded

    def authenticate(self, user: str | None, password: bytes | None) -> tuple[Token, AsyncDevice | None]:
        """Return the token that a CONNECT carries, and its device; None for an authorization.

        Raises:
            Refused: it is unknown, revoked or expired, all of which look the same; or the device is deactivated.
        """
        engine = self.engine.engine
        try:
            secret = (password or b"").decode()
        except UnicodeDecodeError:
            secret = ""
        token = engine.find_token(secret) if secret else None
        if token is None and user is not None and len(user) == HASH_CHARS // 2 and is_hash(user + secret):
            token = engine.find_authorization_hash(bytes.fromhex(user + secret))
        if token is None:
            raise Refused(Reason.BAD_USER_OR_PASSWORD, "Authorization denied")
        self.service.gate.note_use(token)
        if token.device == NO_DEVICE:
            return token, None
        info = engine.info_of(token.device)  # newer than a state for writing, which is forgotten after watchers were told
        if info is None:
            raise Refused(Reason.BAD_USER_OR_PASSWORD, "Authorization denied")
        if not info.active:
            raise Refused(Reason.NOT_AUTHORIZED, "Device is deactivated")
        return token, self.engine.device_of(info)

    def enter(self, session: Session) -> None:
        """Know a session by whom it speaks for; one that had this client id before ends."""
        clients = self._clients.setdefault(session.owner, {})
        earlier = clients.get(session.client_id)
        clients[session.client_id] = session
        if earlier is not None:
            earlier.end(Reason.SESSION_TAKEN_OVER, "another connection uses this client id")

    def leave(self, session: Session) -> None:
        """Forget a session whose connection is gone."""
        self._sessions.discard(session)
        self.service.traffic.mqtt_connections -= 1
        clients = self._clients.get(session.owner)
        if clients is not None and clients.get(session.client_id) is session:
            del clients[session.client_id]
            if not clients:
                del self._clients[session.owner]
        if self._all_gone is not None and not self._sessions and not self._all_gone.done():
            self._all_gone.set_result(None)

    def device_of_serial(self, serial: str, token: Token | None) -> AsyncDevice | None:
        """Return the device with this serial if that is known without a search: it is the device's own, or the token's."""
        info = self.engine.engine.catalog.by_serial(serial)
        if info is not None:
            return self.service.gate.device_by_number(info.number)
        if token is not None and token.serial == serial:
            return self.service.gate.device_by_number(token.device)
        return None

    def flush_later(self, session: Session) -> None:
        if not self._unflushed:
            self.loop.call_soon(self._flush)
        self._unflushed.append(session)

    def _flush(self) -> None:
        sessions, self._unflushed = self._unflushed, []
        for session in sessions:
            session.flush()

    def _sweep(self) -> None:
        """End what has been silent or stuck for too long, and sessions whose token has expired."""
        now_s, now_us = self.loop.time(), self.now_us()
        for session in list(self._sessions):
            if session.stuck_s:
                if now_s - session.stuck_s > STUCK_S:
                    session.abort()
            elif now_s - session.heard_s > session.patience_s and not session.is_held:
                session.end(Reason.KEEP_ALIVE_TIMEOUT, "nothing was heard for one and a half times the keep-alive")
            elif session.token is not None and session.token.expire_us is not None and session.token.expire_us <= now_us:
                session.end(Reason.NOT_AUTHORIZED, "Authorization denied")
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)

    # --- news of the engine ------------------------------------------------------------------------------------------

    def _on_news(self, news: commands.Command | Message) -> None:
        """Called on any thread."""
        match news:
            case commands.DeleteToken(token):
                self._call(self._end_token, token)
            case commands.DeleteDevice(device):
                self._call(self._end_device, device)
            case commands.PutDevice(info):
                self._call(self._refresh, info)
            case commands.PutParameters(device, parameters):
                unsent = [parameter for parameter in parameters if not parameter.sent]
                if unsent:
                    self._call(self.deliver, device, PARAMETERS_TOPIC, _encode(unsent))
            case Message(device, topic, payload):
                self._call(self._deliver_message, device, topic, payload)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed: there is nobody left to tell
            logger.debug("news after the end of the loop")

    def _end_token(self, token: str) -> None:
        for session in list(self._sessions):
            if session.token is not None and session.token.token == token:
                session.end(Reason.NOT_AUTHORIZED, "Authorization denied")

    def _end_device(self, number: int) -> None:
        for session in list(self._clients.get(number, {}).values()):
            session.end(Reason.NOT_AUTHORIZED, "Authorization denied")

    def _refresh(self, info: DeviceInfo) -> None:
        for session in list(self._clients.get(info.number, {}).values()):
            session.refresh(self.engine.device_of(info))

    def deliver(self, owner: int, topic: str, payload: bytes) -> None:
        """Send a message to those clients of a device (NO_DEVICE: of the authorizations) that subscribe to its topic."""
        clients = self._clients.get(owner)
        if clients:
            for session in list(clients.values()):
                session.deliver(topic, payload)

    def _deliver_message(self, number: int, topic: str, payload: bytes) -> None:
        self.deliver(number, topic, payload)
        if topic.startswith(TIP_ROOT):
            self.deliver(NO_DEVICE, topic, payload)

    def inspect(self, device: AsyncDevice, title: str, content: str) -> None:
        """Show a line in the device's inspector."""
        if self.service.inspector.is_heard(device.id):
            Trace(self.service.inspector, device.id).show(title, content)


def set_keep_alive(peer: socket.socket) -> None:
    """Have the system find out when a silent peer is gone, and send small packets at once."""
    try:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer.setsockopt(socket.IPPROTO_TCP, TCP_IDLE, IDLE_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
    except OSError:  # the peer has gone already
        pass
