"""What the bare ASGI side needs: its types, reading a body with a limit, and sending an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from tsengine.server.envelope import Answer, Header
from tsengine.server.http.encoding import encoding_of, expand, too_large

Scope = dict[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = "application/json"
TRANSPORT = "tsengine.transport"
"""Where our server leaves the connection in a scope's `state`, for `abort`."""


class Disconnected(Exception):
    """The client went away before its body was complete; there is nobody to answer."""


async def reply(send: Send, answer: Answer) -> None:
    length = (b"content-length", b"%d" % len(answer.body))
    await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, length]})
    await send({"type": "http.response.body", "body": answer.body})


def abort(scope: Scope) -> None:
    """Drop a connection whose client does not read: a close would wait for it. Other servers give no way to do so."""
    transport = scope.get("state", {}).get(TRANSPORT)
    if transport is not None:
        transport.abort()


def content_type_of(headers: Iterable[Header]) -> str:
    for name, value in headers:
        if name == b"content-type":
            return value.decode("latin-1")
    return JSON


async def read_body(headers: Iterable[Header], receive: Receive, max_body: int) -> bytes:
    """Return a request's whole body, inflated if it is compressed.

    Raises:
        Refusal: 413, before the rest is read; the server throws the rest away as it arrives. 415, 400 as `encoding_of`, `expand`.
        Disconnected: the client went away.
    """
    encoding = ""
    for name, value in headers:
        if name == b"content-length" and int(value) > max_body:
            raise too_large(max_body)
        if name == b"content-encoding":
            encoding = encoding_of(headers)
    parts: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part: bytes = message.get("body", b"")
        size_bytes += len(part)
        if size_bytes > max_body:
            raise too_large(max_body)
        if not message.get("more_body", False):
            body = b"".join((*parts, part)) if parts else part
            return expand(body, encoding, max_body) if encoding else body
        parts.append(part)
