"""A client that sends exactly the bytes it is told to, and shows exactly the packets that came back."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from tsengine.mqtt import packet
from tsengine.mqtt.packet import V5, V311

TIMEOUT_S = 30


def field(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data


def with_length(first: int, body: bytes) -> bytes:
    return bytes((first,)) + packet.write_length(len(body)) + body


def connect_packet(
    client_id: str,
    user: str | None,
    password: str | None,
    *,
    level: int = V311,
    keep_alive_s: int = 60,
    is_clean: bool = True,
    will: tuple[str, bytes, int, bool] | None = None,
    properties: bytes = b"\0",
) -> bytes:
    flags = 2 if is_clean else 0
    none = b"\0" if level == V5 else b""
    body = field(client_id.encode())
    if will is not None:
        topic, payload, qos, retain = will
        flags |= 4 | qos << 3 | retain << 5
        body += none + field(topic.encode()) + field(payload)
    if user is not None:
        flags |= 128
        body += field(user.encode())
    if password is not None:
        flags |= 64
        body += field(password.encode())
    head = field(b"MQTT") + bytes((level, flags)) + keep_alive_s.to_bytes(2) + (properties if level == V5 else b"")
    return with_length(packet.CONNECT << 4, head + body)


def publish_packet(topic: str, payload: bytes, number: int = 0, *, level: int = V311, flags: int = 0) -> bytes:
    body = field(topic.encode()) + (number.to_bytes(2) if number else b"") + (b"\0" if level == V5 else b"") + payload
    return with_length(packet.PUBLISH << 4 | (2 if number else 0) | flags, body)


def subscribe_packet(number: int, *filters: str, level: int = V311, qos: int = 1) -> bytes:
    body = number.to_bytes(2) + (b"\0" if level == V5 else b"") + b"".join(field(text.encode()) + bytes((qos,)) for text in filters)
    return with_length(packet.SUBSCRIBE << 4 | 2, body)


def unsubscribe_packet(number: int, *filters: str, level: int = V311) -> bytes:
    body = number.to_bytes(2) + (b"\0" if level == V5 else b"") + b"".join(field(text.encode()) for text in filters)
    return with_length(packet.UNSUBSCRIBE << 4 | 2, body)


class RawClient:
    """One connection; `receive` gives (first byte, body) of each packet, or None when the server has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def send(self, *packets: bytes) -> None:
        self.socket.sendall(b"".join(packets))

    def receive(self) -> tuple[int, bytes] | None:
        while True:
            if self._rest:
                start, end = packet.bounds(self._rest, 0)
                if end and end <= len(self._rest):
                    first, body = self._rest[0], self._rest[start:end]
                    self._rest = self._rest[end:]
                    return first, body
            try:
                data = self.socket.recv(65_536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._rest += data

    def connect(self, token: str | None, client_id: str = "", *, level: int = V311, **fields: object) -> tuple[int, bytes]:
        """Send CONNECT and return (return code or reason, properties) of the CONNACK."""
        user = None if token is None else "Token"
        self.send(connect_packet(client_id, user, token, level=level, **fields))  # type: ignore[arg-type]
        found = self.receive()
        assert found is not None and found[0] == packet.CONNACK << 4, found
        return found[1][1], found[1][2:]

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
