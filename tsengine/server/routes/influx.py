"""InfluxDB's write API, versions 2 and 1, so that Telegraf and the InfluxDB clients can send: POST /api/v2/write, POST /write, /ping.

The token decides whose data it is: a device's token means that device; with the account token every line names its device in the tag
`device`. Organization, bucket, database and retention policy are accepted and ignored. Answers and errors are InfluxDB's.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from itertools import islice
from typing import Any

import falcon.asgi
import msgspec

from tsengine.aio import AsyncDevice
from tsengine.core.ingest.line import split_lines
from tsengine.errors import InputError
from tsengine.ingest.bodies import LINE_TYPE, PRECISIONS_NS
from tsengine.server.auth import require_active
from tsengine.server.envelope import JSON_HEADERS, Header, Refusal, error_kind, refusal_of
from tsengine.server.http.asgi import Disconnected
from tsengine.server.routing import Call, Query, Route
from tsengine.server.sending import store
from tsengine.server.service import Service

VERSION = "tsengine"
"""What /ping says it is: some clients want to see a version, none needs a certain one."""

DEVICES_AT_ONCE = 256
"""Devices of one body whose batches are on their way together: they share a commit."""

CODES = {
    400: "invalid",
    401: "unauthorized",
    404: "not found",
    413: "request too large",
    415: "unsupported media type",
    429: "too many requests",
    500: "internal error",
    503: "unavailable",
}
"""InfluxDB's names of failures, by status."""


class Ping:
    """/ping: the server answers, with nothing."""

    def __init__(self, service: Service) -> None:
        pass

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.status = 204
        resp.set_header("x-influxdb-version", VERSION)

    on_head = on_get


class Write:
    """/api/v2/write: line protocol.

    One batch for each device, stored whole or not at all. A body of several devices is checked first, syntax and devices; what is left,
    a full device or a time outside of its window, refuses that device's batch, and those of others may be stored.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        try:
            await self._write(req)
            resp.status = 204
        except Disconnected:
            raise
        except Exception as error:
            self._service.traffic.errors[error_kind(error)] += 1
            line = None
            if isinstance(error, InputError):  # its message has InfluxDB's form already
                line = None if error.index is None else error.index + 1
                error = Refusal(400, str(error))
            refusal = refusal_of(error, req.scope["request_id"])
            resp.status = refusal.status
            resp.content_type = JSON_HEADERS[0][1].decode()
            resp.data = msgspec.json.encode({"status": False, "message": str(refusal), **self.failure(resp, refusal, line)})
            if refusal.retry_after_s is not None:
                resp.set_header("retry-after", str(refusal.retry_after_s))

    def failure(self, resp: falcon.asgi.Response, refusal: Refusal, line: int | None) -> dict[str, Any]:
        """Return what InfluxDB 2 says beside the message: a code, and the line that is at fault."""
        code = CODES.get(refusal.status, "invalid")
        return {"code": code} if line is None else {"code": code, "line": line}

    async def _write(self, req: falcon.asgi.Request) -> None:
        service = self._service
        headers = token_headers(req)
        if not service.gate.is_account(headers):
            device = service.gate.device(headers, "write")
            precision = precision_of(req)
            await store(service, device, line_headers(precision), await service.body(req))
            return
        precision = precision_of(req)
        bodies = split_lines(await service.body(req), PRECISIONS_NS[precision])
        batches = [(await self._device(text), body) for text, body in bodies.items()]
        for device, _ in batches:
            require_active(device)
        left = iter(batches)
        while group := list(islice(left, DEVICES_AT_ONCE)):
            stores = [store(service, device, line_headers(precision), body) for device, body in group]
            for outcome in await asyncio.gather(*stores, return_exceptions=True):
                if isinstance(outcome, InputError):  # its line is counted among those of one device
                    raise InputError(str(outcome))
                if isinstance(outcome, BaseException):
                    raise outcome

    async def _device(self, id_or_serial: str) -> AsyncDevice:
        return await self._service.engine.device(id_or_serial)


def line_headers(precision: str) -> list[Header]:
    return [(b"content-type", f"{LINE_TYPE}; precision={precision}".encode())]


def precision_of(req: falcon.asgi.Request) -> str:
    """Return the unit of the times.

    Raises:
        InputError: there is no such unit.
    """
    precision = str(req.params.get("precision") or "ns")
    if precision not in PRECISIONS_NS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS_NS)}, not {precision[:100]!r}")
    return precision


def token_headers(req: falcon.asgi.Request) -> list[Header]:
    """Return headers that carry the request's token as the gate reads it: `Token X`, the password of version 1, or any of ours."""
    scheme, _, rest = req.get_header("authorization", default="").strip().partition(" ")
    token = ""
    if scheme.lower() == "token":
        token = rest.strip()
    elif scheme.lower() == "basic":
        try:
            token = base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            token = ""
    elif not scheme:
        token = str(req.params.get("p") or "")
    if not token:
        headers: list[Header] = req.scope["headers"]
        return headers
    return [(b"token", token.encode())]


class OldWrite(Write):
    """/write: the same for clients of InfluxDB 1."""

    def failure(self, resp: falcon.asgi.Response, refusal: Refusal, line: int | None) -> dict[str, Any]:
        """Return what InfluxDB 1 says: the error, also in a header."""
        text = str(refusal).encode("ascii", "replace").decode()
        resp.set_header("x-influxdb-error", "".join(letter if letter.isprintable() else "?" for letter in text))
        return {"error": str(refusal)}


PRECISION = Query("precision", str, f"Unit of the times: {', '.join(PRECISIONS_NS)}; ns when absent.")

WRITE = Call(
    summary="Send points as line protocol",
    need="any",
    text="A device's token means that device; with the account token every line names its device in the tag `device`.",
    query=(PRECISION,),
    body=str,
    accepts=("text/plain",),
    answer=None,
    status=204,
    errors=(404,),
)
OLD_WRITE = msgspec.structs.replace(
    WRITE,
    summary="Send points as line protocol, as to InfluxDB 1",
    query=(PRECISION, Query("u", str, "A name, ignored."), Query("p", str, "The token, where no header has it.")),
)

ROUTES = (
    Route("/api/v2/write", Write, "InfluxDB", post=WRITE),
    Route("/write", OldWrite, "InfluxDB", post=OLD_WRITE),
    Route("/ping", Ping, "InfluxDB", get=Call(summary="Tell that the server answers", need="none", answer=None, status=204)),
)
