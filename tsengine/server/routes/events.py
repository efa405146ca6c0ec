"""GET /events: server-sent events of devices, for the official clients' live inspector.

The body is chunked and each event is one chunk, sent at once: the official Python client reads a body without a length in
blocks of 128 bytes, which hold events back.
"""

from __future__ import annotations

import asyncio
import logging
import re

from tsengine.server.auth import token_of
from tsengine.server.envelope import Header, Refusal, denied, wrong_query
from tsengine.server.http.asgi import Receive, Scope, Send, abort, reply
from tsengine.server.inspector import DATA, INSPECTOR, Listener
from tsengine.server.routes.queries import Arguments
from tsengine.server.routing import Call, Query, Route
from tsengine.server.service import Service

logger = logging.getLogger("tsengine.server")

CHANNELS_MAX = 100
"""Channels of one stream."""
DRAIN_S = 1.0
"""How long a stream that ends may still send what waits: a stop is not held up by a client that does not read."""

HEADERS: list[Header] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # asks nginx not to hold events back
    (b"access-control-allow-origin", b"*"),
]

_CHANNEL = re.compile(rf"(?:{re.escape(INSPECTOR)}|{re.escape(DATA)})([0-9a-f]{{24}})")


class Events:
    """/events, for the table of routes: App answers it itself."""

    def __init__(self, service: Service) -> None:
        pass


async def get_events(scope: Scope, receive: Receive, send: Send, service: Service) -> None:
    """Answer GET /events, until the client goes, its token or devices do, or the server stops."""
    try:
        listener = await listener_of(service, scope)
        service.inspector.listen(listener)
    except Exception as error:
        await reply(send, service.failure(error, scope["request_id"]))
        return
    pump = asyncio.create_task(_pump(listener, send, service.settings.comment_interval))
    gone = asyncio.create_task(_gone(receive))
    ended = asyncio.create_task(listener.ended.wait())
    try:
        await asyncio.wait({pump, gone, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not pump.done() and not gone.done():
            await asyncio.wait({pump, gone}, timeout=DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
            if not pump.done() and not gone.done():
                logger.warning("a stream of /events was cut off: %s", listener.reason)
                abort(scope)
                await asyncio.wait({gone}, timeout=DRAIN_S)
    finally:
        service.inspector.leave(listener)
        for task in (pump, gone, ended):
            task.cancel()
        await asyncio.gather(pump, gone, ended, return_exceptions=True)


async def listener_of(service: Service, scope: Scope) -> Listener:
    """Return the listener that a request asks for; its token may come in the query, for browsers send no headers there.

    Raises:
        Refusal: 401 for a wrong token or another one's device, 400 for channels that are not served, 404 for an unknown device.
    """
    arguments = Arguments(scope["query_string"].decode("latin-1"))
    text = arguments.one("token") or token_of(scope["headers"])
    headers = [(b"token", text.encode("latin-1", "replace"))]
    own_id = None if service.gate.is_account(headers) else service.gate.caller(headers, "read").device.id
    names = [name for value in arguments.all("channels", "channel") for name in value.split(",") if name]
    if not 1 <= len(names) <= CHANNELS_MAX:
        raise wrong_query("channels", f"Name 1 to {CHANNELS_MAX} channels: {INSPECTOR}<device id> or {DATA}<device id>")
    for name in names:
        found = _CHANNEL.fullmatch(name)
        if found is None:
            raise wrong_query("channels", f"{name[:100]!r} is not served; there are {INSPECTOR}<device id> and {DATA}<device id>")
        if own_id is None:
            await service.device(found[1])
        elif found[1] != own_id:
            raise denied()

    def is_allowed() -> bool:
        try:
            return own_id is None or service.gate.caller(headers, "read").device.id == own_id
        except Refusal:
            return False

    return Listener(names, is_allowed)


async def _pump(listener: Listener, send: Send, comment_interval: float) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})  # the client sees that it is connected
    while (event := await listener.next(comment_interval)) is not None:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": f": {listener.reason}\n\n".encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


ROUTES = (
    Route(
        "/events",
        Events,
        "Live",
        get=Call(
            summary="Listen to what happens to the data of devices",
            need="any",
            text="A stream of events, each with one line `data:` of JSON, {channel, payload}; comments keep it alive.",
            query=(
                Query("channels", str, "device_inspector.ID and device_data.ID, with commas between them", is_required=True),
                Query("channel", str, "The same"),
                Query("token", str, "The token, for clients that cannot send it as a header"),
            ),
            answer=str,
            media="text/event-stream",
            errors=(404,),
            is_raw=True,
        ),
    ),
)
