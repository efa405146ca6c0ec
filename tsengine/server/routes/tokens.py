"""Tokens of devices, and authorization tokens for gateways: create, list, delete, by the account."""

from __future__ import annotations

from typing import Any

import falcon.asgi
from msgspec import UNSET

from tsengine.errors import NotFoundError
from tsengine.ids import AUTHORIZATION_PREFIX
from tsengine.limits import NAME_CHARS_MAX, NAME_CHARS_MIN
from tsengine.server.dates import iso_ms_of, parse_instant
from tsengine.server.envelope import Refusal, wrong_body
from tsengine.server.routes.described import PAGE, CreatedAuthorization, CreatedToken, TokenRow
from tsengine.server.routes.devices import require_free_serial
from tsengine.server.routes.listing import paged, picked, wildcard_fits
from tsengine.server.routes.queries import Arguments
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
        made = fields_of(body, "full", self._service.now_us())
        device = await self._service.device(body.device)
        await require_free_serial(self._service, body.serie_number or None, device.id)
        answer(resp, shown(await self._service.engine.create_token(device.id, **made, serial=body.serie_number or None)), 201)


class OneToken:
    """/device/token/:key: list the tokens of a device (GET, by its id), or revoke one (DELETE, by the token)."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, key: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(key)
        tokens = await self._service.engine.tokens(device.id)
        owner = {"device_id": device.id, "network_id": device.info.extra.get("network")}
        answer(resp, listed(self._service, tokens, owner, req.query_string))

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, key: str) -> None:
        self._service.gate.account(req.scope["headers"])
        if key.startswith(AUTHORIZATION_PREFIX):
            raise token_not_found()
        await delete(self._service, key)
        answer(resp, "Token Successfully Removed")


class Authorizations:
    """/serviceauth: create and list authorization tokens."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._service.gate.account(req.scope["headers"])
        answer(resp, listed(self._service, await self._service.engine.authorizations(), {}, req.query_string))

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._service.gate.account(req.scope["headers"])
        body = decode_body(await self._service.body(req), TokenBody)
        token = await self._service.engine.create_authorization(**fields_of(body, "write", self._service.now_us()))
        answer(resp, {"name": token.name, **shown(token)}, 201)


class OneAuthorization:
    """/serviceauth/:token: revoke one."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, token: str) -> None:
        self._service.gate.account(req.scope["headers"])
        if not token.startswith(AUTHORIZATION_PREFIX):
            raise token_not_found()
        await delete(self._service, token)
        answer(resp, "Token Successfully Removed")


async def delete(service: Service, token: str) -> None:
    """Revoke a token. Raises Refusal: 404."""
    try:
        await service.engine.delete_token(token)
    except NotFoundError:
        raise token_not_found() from None
    service.inspector.check_tokens()


def token_not_found() -> Refusal:
    return Refusal(404, "Token not found")


def fields_of(body: TokenBody, permission: str, now_us: int) -> dict[str, Any]:
    """Return name, permission and expiry of a token to be made.

    Args:
        permission: if the body names none.

    Raises:
        Refusal: 400, naming the field.
    """
    if body.name is UNSET or not NAME_CHARS_MIN <= len(body.name) <= NAME_CHARS_MAX:
        raise wrong_body("name", f"name must have {NAME_CHARS_MIN} to {NAME_CHARS_MAX} characters")
    permission = body.permission or permission
    if permission not in PERMISSIONS:
        raise wrong_body("permission", f"permission must be one of {', '.join(PERMISSIONS)}")
    expire_us = expiry(body.expire_time, now_us)
    return {"name": body.name, "permission": permission, "expire": None if expire_us is None else to_datetime(expire_us)}


def shown(token: Token) -> dict[str, Any]:
    """Return what the answer to creating a token shows of it."""
    ends = shown_expiry(token)
    return {"token": token.token, "permission": token.permission, "expire_time": ends, "expire_date": ends}


def listed(service: Service, tokens: list[Token], owner: dict[str, Any], query_string: str) -> list[dict[str, Any]]:
    """Return one page of the tokens that a query string asks for."""
    arguments = Arguments(query_string)

    def field(token: Token, name: str) -> Any:
        return service.gate.last_used_us(token) if name == "last_authorization" else _field(token, name)

    wanted = {path[1]: values for path, values in arguments.nested.items() if path[0] == "filter" and path[1] in FILTERABLE}
    found = [
        token
        for token in tokens
        if all(any(wildcard_fits(value, field(token, name) or "") for value in values) for name, values in wanted.items())
    ]
    page = paged(found, arguments, field, SORTABLE, "created_at,desc")
    return [picked({**owner, **_row(token, service.gate.last_used_us(token))}, arguments, DEFAULT_FIELDS) for token in page]


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
        case _:
            return getattr(token, name)


def _row(token: Token, used_us: int | None) -> dict[str, Any]:
    return {
        "token": token.token,
        "name": token.name,
        "permission": token.permission,
        "serie_number": token.serial,
        "last_authorization": iso_ms_of(used_us),
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
    Route(
        "/serviceauth",
        Authorizations,
        "Tokens",
        get=Call(summary="List authorization tokens", need="account", query=LISTED_TOKENS, answer=list[TokenRow]),
        post=Call(
            summary="Create an authorization token, for gateways",
            need="account",
            text="Its permission is write unless another is named.",
            body=TokenBody,
            answer=CreatedAuthorization,
            status=201,
        ),
    ),
    Route("/serviceauth/{token}", OneAuthorization, "Tokens", delete=Call(summary="Revoke an authorization token", need="account")),
)
