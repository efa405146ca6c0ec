"""Storing what was sent to a device: the one way from a request's body to the engine, whatever carried it.

The checks come in the contract's order: rate limit (429), size (413), payload parser, syntax and items, window and capacity
(400). Nothing is stored before all have passed; the call returns after the group commit.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from tsengine.aio import AsyncDevice
from tsengine.core.json_rows import json_rows
from tsengine.ingest.bodies import JSON_TYPE
from tsengine.server.auth import token_of
from tsengine.server.envelope import Header
from tsengine.server.http.asgi import Scope, content_type_of
from tsengine.server.inspector import Trace
from tsengine.server.rates import POST_DATA
from tsengine.server.service import Service

Body = bytes | Callable[[], Awaitable[bytes]]

TOKEN_TAIL_CHARS = 5

_SECRET = re.compile(r"((?:^|&)[^=&]*(?:token|authorization)[^=&]*=)[^&]*", re.IGNORECASE)


async def store(service: Service, device: AsyncDevice, headers: Iterable[Header], body: Body, scope: Scope | None = None) -> int:
    """Store the points of a body, all or none, and return their number; durable and readable on return.

    Args:
        device: active, and the caller may write to it.
        headers: of the request, names in lower case; `content-type` tells how the body is read.
        body: the bytes, or a function that reads them, called when the request is admitted.
        scope: of the request, if there is one: the inspector shows who sent it.

    Raises:
        Refusal, InputError, LimitError and whatever else reading the body and Device.ingest raise; nothing was stored.
    """
    if service.is_plain(device):
        content = await _read(body)
        count = await device.write(device.device.record_of_body(content, content_type_of(headers)))
        size_bytes = len(content)
    else:
        count, size_bytes = await _store_watched(service, device, list(headers), body, scope or {})
    service.saw_input(device.id, count, size_bytes)
    return count


async def _store_watched(service: Service, device: AsyncDevice, headers: list[Header], body: Body, scope: Scope) -> tuple[int, int]:
    """As `store`, with rate limits, payload parsers, and an inspector that sees each step. Returns also the size of the body, bytes."""
    trace = Trace(service.inspector, device.id)
    if trace.is_heard:
        _show_request(trace, headers, scope)
    try:
        service.rates.admit(POST_DATA, device.info)
        content = await _read(body)
        size_bytes = len(content)
        trace.show("Raw Payload", content)
        content_type = content_type_of(headers)
        if names := service.parsers.of(device.info):
            content = await _parse(service, names, device, content, content_type, trace)
            content_type = JSON_TYPE
        record = device.device.record_of_body(content, content_type)
        count = await device.write(record)
    except Exception as error:
        trace.refused(error)
        raise
    if count and trace.wants_rows:
        trace.stored(await service.run(_rows_of, device, record))
    return count, size_bytes


async def _read(body: Body) -> bytes:
    return body if isinstance(body, bytes) else await body()


async def _parse(service: Service, names: list[str], device: AsyncDevice, body: bytes, content_type: str, trace: Trace) -> bytes:
    """Return what the payload parsers make of a body, as JSON."""
    tags = [{"key": tag.key, "value": tag.value} for tag in device.info.tags]
    params = [{"key": item.key, "value": item.value, "sent": item.sent} for item in await service.engine.parameters(device.id)]
    about: dict[str, Any] = {"id": device.id, "tags": tags, "params": params}
    show = (lambda line: trace.show("Payload Parser Log", line)) if trace.is_heard else None
    parsed = await service.parsers.run(names, body, content_type, about, show)
    trace.show("Payload Parser", parsed)
    return parsed


def _show_request(trace: Trace, headers: list[Header], scope: Scope) -> None:
    known = dict(headers)
    peer = scope.get("client")
    about = {
        "ip": peer[0] if peer else None,
        "user_agent": known.get(b"user-agent", b"").decode("latin-1"),
        "content_type": known.get(b"content-type", b"").decode("latin-1"),
        "token": "..." + token_of(headers)[-TOKEN_TAIL_CHARS:],
    }
    trace.show("[POST] HTTP Request" if scope else "Request", about)
    trace.show("Query params", _SECRET.sub(r"\1...", scope.get("query_string", b"").decode("latin-1")))


def _rows_of(device: AsyncDevice, record: bytes) -> list[bytes]:
    return [json_rows([point], device.id, False)[1:-1] for point in device.device.points_of(record)]
