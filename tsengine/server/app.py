"""The ASGI application: POST /data goes straight to its function, everything else through Falcon's routes.

It holds no state of its own: an AsyncEngine and the account token are given to `create_app`, so it can be mounted in any
ASGI server that runs in the process that owns the store.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import falcon
import falcon.asgi

from tsengine.aio import AsyncEngine
from tsengine.server import devices, parameters, points, tokens
from tsengine.server.asgi import Disconnected, Receive, Scope, Send, reply
from tsengine.server.data import post_data
from tsengine.server.envelope import JSON_HEADERS, PREFLIGHT_HEADERS, Answer, Refusal, failure, route_not_found
from tsengine.server.openapi import document
from tsengine.server.routing import Call, Route
from tsengine.server.service import Service, answer, put
from tsengine.server.settings import Settings

DEFAULTS = Settings()

PREFLIGHT = Answer(204, PREFLIGHT_HEADERS, b"")


class App:
    """One server over one engine, as an ASGI application.

    Args:
        engine: the open engine; the caller closes it after the server has stopped.
        account_token: the secret that manages devices.
        settings: limits; where to listen is the ASGI server's.
    """

    def __init__(self, engine: AsyncEngine, account_token: str, settings: Settings = DEFAULTS) -> None:
        self._service = Service(engine, account_token, settings)
        self._routes = routes(self._service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["method"] == "POST" and scope["path"] == "/data":
                await post_data(scope, receive, send, self._service)
                return
            if scope["method"] == "OPTIONS":
                await reply(send, PREFLIGHT)
                return
        await self._routes(scope, receive, send)


class Health:
    """/health: the server answers."""

    def __init__(self, service: Service) -> None:
        pass

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        answer(resp, "ok")


class OpenApi:
    """/openapi.json: what the server offers, for programs."""

    def __init__(self, service: Service) -> None:
        pass

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        put(resp, Answer(200, JSON_HEADERS, _document()))


@cache
def _document() -> bytes:
    return document(ROUTES)


ROUTES: tuple[Route, ...] = (
    Route("/health", Health, "The server", get=Call(summary="Tell that the server answers", need="none")),
    Route("/openapi.json", OpenApi, "The server", get=Call(summary="Describe the server's routes", need="none", answer=dict, is_bare=True)),
    *points.ROUTES,
    *devices.ROUTES,
    *parameters.ROUTES,
    *tokens.ROUTES,
)


def routes(service: Service) -> falcon.asgi.App[Any, Any]:
    """Return the Falcon application with every route but POST /data."""
    app = falcon.asgi.App()
    for route in ROUTES:  # Falcon prefers a literal part to a field: /device/token wins over /device/{device_id}
        app.add_route(route.path, route.resource(service))
    app.add_error_handler(Exception, _answer_failure)
    app.add_error_handler(falcon.HTTPError, _answer_http_error)
    app.add_error_handler(Disconnected, _answer_nobody)
    return app


async def _answer_failure(req: Any, resp: falcon.asgi.Response | None, error: Exception, params: Any, **_: Any) -> None:
    if resp is not None:
        put(resp, failure(error))


async def _answer_http_error(req: Any, resp: falcon.asgi.Response | None, error: falcon.HTTPError, params: Any, **_: Any) -> None:
    """Answer what Falcon itself refuses: mostly an unknown route, or a method that the route does not offer."""
    if resp is not None:
        known = error.status_code not in (404, 405)
        put(resp, failure(Refusal(error.status_code, error.title or "Bad request") if known else route_not_found()))


async def _answer_nobody(req: Any, resp: Any, error: Disconnected, params: Any, **_: Any) -> None:
    """Leave the request alone: its client is gone."""
