"""Storing what was sent to a device: the one way from a request's body to the engine, whatever carried it."""

from __future__ import annotations

from collections.abc import Iterable

from tsengine.aio import AsyncDevice
from tsengine.server.asgi import content_type_of
from tsengine.server.envelope import Header
from tsengine.server.service import Service


async def store(service: Service, device: AsyncDevice, headers: Iterable[Header], body: bytes) -> int:
    """Store the points of a body, all or none, and return their number; durable and readable on return.

    Args:
        device: active, and the caller may write to it.
        headers: of the request, names in lower case; `content-type` tells how the body is read.

    Raises:
        InputError, LimitError and whatever else Device.ingest raises; nothing was stored.
    """
    count = await device.ingest(body, content_type_of(headers))
    service.saw_input(device.id, count, len(body))
    return count
