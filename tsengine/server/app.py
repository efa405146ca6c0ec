"""The ASGI application: POST /data and GET /events go straight to their functions, everything else through Falcon's routes.

It holds no state of its own: an AsyncEngine and the account token are given to `create_app`, so it can be mounted in any
ASGI server that runs in the process that owns the store.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import falcon
import falcon.asgi

from tsengine.aio import AsyncEngine
from tsengine.server.envelope import JSON_HEADERS, PREFLIGHT_HEADERS, Answer, Refusal, route_not_found
from tsengine.server.http.asgi import Disconnected, Message, Receive, Scope, Send, reply
from tsengine.server.http.request_log import RequestLog, request_id_of
from tsengine.server.openapi import document
from tsengine.server.rates import DEVICE_ROUTES, route_of
from tsengine.server.routes import (
    backups,
    devices,
    events,
    files,
    influx,
    messages,
    metrics,
    network,
    parameters,
    points,
    statistics,
    tip,
    tokens,
)
from tsengine.server.routes.data import post_data
from tsengine.server.routing import Call, Route
from tsengine.server.service import Service, answer, put
from tsengine.server.settings import Settings
from tsengine.server.traffic import OTHER_ROUTE

DEFAULTS = Settings()

HTTP_VERSIONS = ("1.0", "1.1", "2", "3")
"""The parser lets others pass, and Falcon gives up on them."""

CLIENT_GONE = 499
"""The status under which a request is noted whose client did not wait for the answer."""

DOCS_HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]

PREFLIGHT = Answer(204, PREFLIGHT_HEADERS, b"")


class App:
    """One server over one engine, as an ASGI application.

    Args:
        engine: the open engine; the caller closes it after the server has stopped.
        account_token: the secret that manages devices.
        settings: limits and payload parsers; where to listen is the ASGI server's.
    """

    def __init__(self, engine: AsyncEngine, account_token: str, settings: Settings = DEFAULTS) -> None:
        words = {part for route in ROUTES for part in route.path.split("/") if not part.startswith("{")}
        self._log = RequestLog(settings.access_log, words) if settings.access_log else None
        self.service = Service(engine, account_token, settings, self._log)
        self._routes = routes(self.service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._routes(scope, receive, send)
            return
        began_s = perf_counter()
        scope["request_id"] = request_id = request_id_of(scope["headers"])
        status, sent_bytes = CLIENT_GONE, 0

        async def send_and_note(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            else:
                sent_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._answer(scope, receive, send_and_note)
        except Exception as error:
            if status != CLIENT_GONE:
                raise  # the answer has begun: all that is left is to close the connection
            await reply(send_and_note, self.service.failure(error, request_id))
        finally:
            route = scope.get("route", OTHER_ROUTE)
            seconds = perf_counter() - began_s
            self.service.finished(scope["method"], route, scope["path"], scope["headers"], status, sent_bytes, seconds, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["http_version"] not in HTTP_VERSIONS:
            raise Refusal(400, f"HTTP/{scope['http_version']} is not spoken here; use HTTP/1.1")
        if scope["method"] == "POST" and scope["path"] == "/data":
            scope["route"] = "/data"
            await post_data(scope, receive, send, self.service)
        elif scope["method"] == "GET" and scope["path"] == "/events":
            scope["route"] = "/events"
            await events.get_events(scope, receive, send, self.service)
        elif scope["method"] == "OPTIONS":
            await reply(send, PREFLIGHT)
        else:
            await self._routes(scope, receive, send)

    def stop(self) -> None:
        """End the streams of events, which would hold up a server that waits for its requests: call it when it begins to stop."""
        self.service.stop()

    async def close(self) -> None:
        """End jobs, which go on at the next start, and parsers' processes, and write what is left of the access log.

        To be called before the engine is closed.
        """
        await self.service.close()
        if self._log is not None:
            self._log.close()


class RateGate:
    """Counts the requests of all routes but those on data, if their caller may ask at all."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def process_resource(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, resource: object, params: object) -> None:
        assert req.uri_template is not None
        route = route_of(req.method, req.uri_template)
        if route.endswith("/data") or not self._service.rates.is_limited(route):
            return
        gate, headers = self._service.gate, req.scope["headers"]
        if not gate.is_account(headers):
            gate.caller(headers, None)
            if route not in DEVICE_ROUTES:
                return  # the resource refuses it
        self._service.rates.admit(route)


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


class Docs:
    """/docs: the same for people, as a page that needs nothing from elsewhere."""

    def __init__(self, service: Service) -> None:
        self._page = Path(__file__).with_name("docs.html").read_bytes()

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        put(resp, Answer(200, DOCS_HEADERS, self._page))


@cache
def _document() -> bytes:
    return document(ROUTES)


ROUTES: tuple[Route, ...] = (
    Route("/health", Health, "The server", get=Call(summary="Tell that the server answers", need="none")),
    Route("/openapi.json", OpenApi, "The server", get=Call(summary="Describe the server's routes", need="none", answer=dict, is_bare=True)),
    Route("/docs", Docs, "The server", get=Call(summary="Show the routes in a browser", need="none", media="text/html")),
    *metrics.ROUTES,
    *points.ROUTES,
    *devices.ROUTES,
    *statistics.ROUTES,
    *parameters.ROUTES,
    *tokens.ROUTES,
    *network.ROUTES,
    *influx.ROUTES,
    *files.ROUTES,
    *backups.ROUTES,
    *events.ROUTES,
    *tip.ROUTES,
    *messages.ROUTES,
)


def routes(service: Service) -> falcon.asgi.App[Any, Any]:
    """Return the Falcon application with every route but what is answered raw."""

    async def answer_failure(req: Any, resp: Any, error: Exception, params: Any, **_: Any) -> None:
        put(resp, service.failure(error, req.scope["request_id"]))

    async def answer_http_error(req: Any, resp: Any, error: falcon.HTTPError, params: Any, **_: Any) -> None:
        """Answer what Falcon itself refuses: mostly an unknown route, or a method that the route does not offer."""
        known = error.status_code not in (404, 405)
        refusal = Refusal(error.status_code, error.title or "Bad request") if known else route_not_found()
        put(resp, service.failure(refusal, req.scope["request_id"]))

    async def answer_nobody(req: Any, resp: Any, error: Disconnected, params: Any, **_: Any) -> None:
        """Leave the request alone: its client is gone."""
        resp.status = CLIENT_GONE

    app = falcon.asgi.App(middleware=[NotedRoute()])
    if service.settings.rate_limits:
        app.add_middleware(RateGate(service))
    for route in ROUTES:  # Falcon prefers a literal part to a field: /device/token wins over /device/{device_id}
        app.add_route(route.path, route.resource(service))
    app.add_error_handler(Exception, answer_failure)
    app.add_error_handler(falcon.HTTPError, answer_http_error)
    app.add_error_handler(Disconnected, answer_nobody)
    return app


class NotedRoute:
    """Writes the route that was found into the scope, where App reads it for the metrics."""

    async def process_resource(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, resource: Any, params: Any) -> None:
        req.scope["route"] = req.uri_template
