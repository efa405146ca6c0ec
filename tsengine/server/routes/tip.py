"""TagoTiP over HTTP: /v1/tip/:serial with an authorization's hash. Answers are bare text: a count, values, or an error code."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import falcon.asgi
from msgspec import Raw

from tsengine.aio import AsyncDevice
from tsengine.errors import InputError, LimitError, NotFoundError, TsengineError
from tsengine.ingest.bodies import WirePoint, encode
from tsengine.ingest.tagotip import FRAME_BYTES, Passthrough, is_hash, read_names, read_push, read_text, write_points
from tsengine.server.auth import Need, require_active
from tsengine.server.envelope import Header, Refusal, denied
from tsengine.server.http.asgi import Disconnected
from tsengine.server.routes.devices import with_serial
from tsengine.server.routes.queries import Arguments
from tsengine.server.routing import Call, Query, Route
from tsengine.server.sending import store
from tsengine.server.service import Service

SCHEME = "tagotip "
TEXT = "text/plain"
BODY_HEADERS: list[Header] = [(b"content-type", b"application/json")]
"""What goes with points on their way through `sending.store`, which reads bodies."""

PASSTHROUGH_VARIABLE = "payload"
TOO_LARGE, VARIABLE_NOT_FOUND = "payload_too_large", "variable_not_found"

CODES = {400: "invalid_payload", 401: "invalid_token", 404: "device_not_found", 413: TOO_LARGE, 429: "rate_limited"}
"""TagoTiP's error codes by HTTP status; everything else is the server's fault."""


class Tip:
    """/v1/tip/:serial: POST stores (PUSH), GET returns last values (PULL), HEAD answers (PING)."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, serial: str) -> None:
        await self._answer(req, resp, self._push(req, serial))

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, serial: str) -> None:
        await self._answer(req, resp, self._pull(req, serial))

    async def on_head(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, serial: str) -> None:
        await self._answer(req, resp, self._ping(req, serial))

    async def _push(self, req: falcon.asgi.Request, serial: str) -> str:
        device = await self._device(req, serial, "write")
        body = await req.stream.read(FRAME_BYTES + 2)
        if (req.content_length or 0) > len(body) <= FRAME_BYTES:
            raise Disconnected
        points = points_of(text_of(body), None)
        return str(await store(self._service, device, BODY_HEADERS, encode(points)))

    async def _pull(self, req: falcon.asgi.Request, serial: str) -> str:
        device = await self._device(req, serial, "read")
        return await last_values(self._service, device, read_names(Arguments(req.query_string).one("variables") or ""))

    async def _ping(self, req: falcon.asgi.Request, serial: str) -> str:
        await self._device(req, serial, None)
        return ""

    async def _device(self, req: falcon.asgi.Request, serial: str, need: Need | None) -> AsyncDevice:
        """Return the device that the authorization in the headers may reach."""
        given = (req.get_header("authorization") or "").strip()
        hash_text = given[len(SCHEME) :].strip() if given[: len(SCHEME)].lower() == SCHEME else ""
        token = self._service.engine.engine.find_authorization_hash(bytes.fromhex(hash_text)) if is_hash(hash_text) else None
        if token is None or (need is not None and token.permission not in ("full", need)):
            raise denied()
        device = await device_with_serial(self._service, serial)
        require_active(device)
        return device

    async def _answer(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, work: Coroutine[Any, Any, str]) -> None:
        resp.content_type = TEXT
        try:
            resp.text = await work
            resp.status = 200 if resp.text else 204
        except (Refusal, TsengineError) as error:
            refusal = self._service.failure(error, req.scope["request_id"])
            resp.status = refusal.status
            resp.text = error_code(error)


def text_of(body: bytes) -> str:
    """Return a body as text.

    Raises:
        Refusal: 413; InputError: it is no UTF-8.
    """
    try:
        return read_text(body)
    except LimitError as error:
        raise Refusal(413, str(error)) from None


def points_of(text: str, mark: Raw | None) -> list[WirePoint]:
    """Return the points of a PUSH body; what it passes through is one point, for the payload parser, with the metadata given.

    Raises:
        InputError: it does not follow the grammar.
    """
    found = read_push(text)
    if not isinstance(found, Passthrough):
        return found
    point = WirePoint(variable=PASSTHROUGH_VARIABLE, value=found.text)
    if mark is not None:
        point.metadata = mark
    return [point]


async def last_values(service: Service, device: AsyncDevice, names: list[str]) -> str:
    """Return the last value of each variable, as a PULL answers.

    Raises:
        Refusal: 404; none of them has a value.
    """
    text = write_points(await service.run(device.device.last, names))
    if not text:
        raise Refusal(404, VARIABLE_NOT_FOUND)
    return text


async def device_with_serial(service: Service, serial: str) -> AsyncDevice:
    """Return the device that has this serial, itself or in a token.

    Raises:
        Refusal: 404.
    """
    engine = service.engine.engine
    info = engine.catalog.by_serial(serial)
    if info is None:
        found = await service.run(with_serial, engine, serial)
        if not found:
            raise unknown_serial()
        info = found[0].info
    device = service.gate.device_by_number(info.number)
    if device is None:
        raise unknown_serial()
    return device


def unknown_serial() -> Refusal:
    return Refusal(404, "no device has this serial")


def error_code(error: Exception) -> str:
    """Return what TagoTiP says for an error."""
    if isinstance(error, Refusal):
        is_variable = str(error) == VARIABLE_NOT_FOUND
        return VARIABLE_NOT_FOUND if is_variable else CODES.get(error.status, "server_error")
    if isinstance(error, NotFoundError):
        return CODES[404]
    return CODES[400] if isinstance(error, InputError) else "server_error"


ROUTES = (
    Route(
        "/v1/tip/{serial}",
        Tip,
        "TagoTiP",
        post=Call(
            summary="Store the points of a TagoTiP body",
            need="tip",
            answer=str,
            body=str,
            accepts=(TEXT,),
            media=TEXT,
            is_text=True,
            text="The body is `[temperature:=21.5#C;door=open]`, or `>x` or `>b` and what is for the parser; the answer is a count.",
            errors=(429,),
        ),
        get=Call(
            summary="Return the last values of variables as TagoTiP",
            need="tip",
            answer=str,
            media=TEXT,
            is_text=True,
            query=(Query("variables", str, "names, separated by commas", is_required=True),),
        ),
    ),
)
