"""Tokens of devices: create, list, delete, by the account."""

from __future__ import annotations

from typing import Any

import falcon.asgi
from msgspec import UNSET

from tsengine.errors import NotFoundError
from tsengine.limits import NAME_CHARS_MAX, NAME_CHARS_MIN
from tsengine.server.dates import iso_ms_of, parse_instant
from tsengine.server.described import PAGE, CreatedToken, TokenRow
from tsengine.server.devices import require_free_serial
from tsengine.server.envelope import Refusal, wrong_body
from tsengine.server.listing import paged, picked, wildcard_fits
from tsengine.server.queries import Arguments
from tsengine.server.routing import Call, Query, Route
from tsengine.server.service import Service, answer
from tsengine.server.wire import TokenBody, decode_body
from tsengine.types import Token, to_datetime

PERMISSIONS = ("full", "read", "write")
NEVER = "never"
DEFAULT_FIELDS = ("name", "token", "permission")
FILTERABLE = ("name", "permission", "serie_number", "token")
SORTABLE = ("name", "permission", "serie_number", "last_authorization", "created_at", "expire_time")


class Tokens:
    """/device/token: create."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._service.gate.account(req.scope["headers"])
        body = decode_body(await self._service.body(req), TokenBody)
        if body.device is UNSET:
            raise wrong_body("device", "Required")
        if body.name is UNSET or not NAME_CHARS_MIN <= len(body.name) <= NAME_CHARS_MAX:
            raise wrong_body("name", f"name must have {NAME_CHARS_MIN} to {NAME_CHARS_MAX} characters")
        permission = body.permission or "full"
        if permission not in PERMISSIONS:
            raise wrong_body("permission", f"permission must be one of {', '.join(PERMISSIONS)}")
        expire_us = expiry(body.expire_time, self._service.now_us())
        device = await self._service.device(body.device)
        await require_free_serial(self._service, body.serie_number or None, device.id)
        token = await self._service.engine.create_token(
            device.id,
            body.name,
            permission=permission,
            expire=None if expire_us is None else to_datetime(expire_us),
            serial=body.serie_number or None,
        )
        ends = shown_expiry(token)
        answer(resp, {"token": token.token, "permission": token.permission, "expire_time": ends, "expire_date": ends}, 201)


class OneToken:
    """/device/token/:key: list the tokens of a device (GET, by its id), or revoke one (DELETE, by the token)."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, key: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(key)
        arguments = Arguments(req.query_string)
        wanted = {path[1]: values for path, values in arguments.nested.items() if path[0] == "filter" and path[1] in FILTERABLE}
        tokens = [
            token
            for token in await self._service.engine.tokens(device.id)
            if all(any(wildcard_fits(value, _field(token, name) or "") for value in values) for name, values in wanted.items())
        ]
        network = device.info.extra.get("network")
        page = paged(tokens, arguments, _field, SORTABLE, "created_at,desc")
        answer(resp, [picked(_row(token, device.id, network), arguments, DEFAULT_FIELDS) for token in page])

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, key: str) -> None:
        self._service.gate.account(req.scope["headers"])
        try:
            await self._service.engine.delete_token(key)
        except NotFoundError:
            raise Refusal(404, "Token not found") from None
        answer(resp, "Token Successfully Removed")


def expiry(text: str | None, now_us: int) -> int | None:
    """Return when a token ends, or None for never; relative text counts from now.

    Raises:
        Refusal: 400; the text is neither a date nor a span.
    """
    if text is None or text == "" or text.lower() == NEVER:
        return None
    expire_us = parse_instant(text, now_us, direction=1)
    if expire_us is None:
        raise wrong_body("expire_time", f"{text!r} must be never, an ISO date, or a span such as 3 hours")
    return expire_us


def shown_expiry(token: Token) -> str:
    return iso_ms_of(token.expire_us) or NEVER


def _field(token: Token, name: str) -> Any:
    match name:
        case "created_at":
            return token.created_us
        case "expire_time":
            return token.expire_us
        case "serie_number":
            return token.serial
        case "last_authorization":
            return None
        case _:
            return getattr(token, name)


def _row(token: Token, device_id: str, network: str | None) -> dict[str, Any]:
    return {
        "token": token.token,
        "device_id": device_id,
        "network_id": network,
        "name": token.name,
        "permission": token.permission,
        "serie_number": token.serial,
        "last_authorization": None,
        "expire_time": shown_expiry(token),
        "created_at": iso_ms_of(token.created_us),
    }


LISTED_TOKENS = (*PAGE, *(Query(f"filter[{name}]", str, f"Only tokens with this {name}; `*` stands for any text") for name in FILTERABLE))

ROUTES = (
    Route(
        "/device/token",
        Tokens,
        "Tokens",
        post=Call(summary="Create a token of a device", need="account", body=TokenBody, answer=CreatedToken, status=201, errors=(404,)),
    ),
    Route(
        "/device/token/{key}",
        OneToken,
        "Tokens",
        get=Call(summary="List the tokens of a device, by its id", need="account", query=LISTED_TOKENS, answer=list[TokenRow]),
        delete=Call(summary="Revoke a token at once", need="account"),
    ),
)
