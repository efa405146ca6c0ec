"""Requests and answers as bytes on a socket: what http.client hides."""

from __future__ import annotations

import json
import re
import socket
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.server.server_process import TIMEOUT_S, Server


class Raw(NamedTuple):
    """One answer: status, head and body as they came."""

    status: int
    head: bytes
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def without_date(self) -> bytes:
        return re.sub(rb"\r\ndate: [^\r]*", b"", self.head) + self.body


class Line:
    """A connection."""

    def __init__(self, server: Server) -> None:
        place = urlsplit(server.url)
        self.socket = socket.create_connection((place.hostname, place.port), timeout=TIMEOUT_S)
        self._left = b""

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *requests: bytes) -> None:
        self.socket.sendall(b"".join(requests))

    def answer(self, *, has_body: bool = True) -> Raw:
        """Return the next answer; every one has a content-length."""
        while b"\r\n\r\n" not in self._left:
            self._receive()
        head, _, self._left = self._left.partition(b"\r\n\r\n")
        found = re.search(rb"\r\ncontent-length: (\d+)", head)
        size = int(found[1]) if found and has_body else 0
        while len(self._left) < size:
            self._receive()
        body, self._left = self._left[:size], self._left[size:]
        return Raw(int(head.split(b" ")[1]), head, body)

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"closed after {self._left!r}")
        self._left += data

    def is_closed(self) -> bool:
        """Wait until the server closes; False if it says something instead."""
        try:
            return self._left == b"" and self.socket.recv(65536) == b""
        except ConnectionResetError:
            return True


def request(method: str, target: str, token: str, body: bytes | None = None, version: str = "1.1", **headers: str) -> bytes:
    """Return the bytes of a request; underscores in the names of headers are hyphens, and "" leaves one out."""
    lines = {"host": "x", "token": token}
    if body is not None:
        lines |= {"content-type": "application/json", "content-length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = f"{method} {target} HTTP/{version}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value) + "\r\n"
    return head.encode() + (body or b"")
