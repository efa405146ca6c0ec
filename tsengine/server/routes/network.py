"""What gateways and network services use: the token of a device by its serial, data by serial, parameters.

They speak with an authorization token, which is good for every device.
"""

from __future__ import annotations

from typing import Any

import falcon.asgi
import msgspec

from tsengine.aio import AsyncDevice
from tsengine.device import Device
from tsengine.engine.engine import Engine
from tsengine.server.auth import require_active
from tsengine.server.envelope import device_not_found, wrong_body
from tsengine.server.routes.described import DataItem
from tsengine.server.routes.devices import with_serial
from tsengine.server.routes.parameters import put_parameters
from tsengine.server.routes.queries import Arguments
from tsengine.server.routing import Call, Query, Route
from tsengine.server.sending import store
from tsengine.server.service import Service, answer
from tsengine.server.wire import ParameterBody, decode_body
from tsengine.types import Token


class Resolve:
    """/integration/network/resolve/:serial, also with the authorization token behind it: a token of the device with this serial."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, serial: str, authorization: str | None = None) -> None:
        self._service.gate.gateway(req.scope["headers"], authorization, "write")
        answer(resp, await self._service.run(token_for, self._service.engine.engine, serial))


class NetworkData:
    """/integration/network/data: store points in the device whose serial comes with them."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        arguments = Arguments(req.query_string)
        self._service.gate.gateway(req.scope["headers"], arguments.one("authorization_token"), "write")
        body = await self._service.body(req)
        serial = arguments.one("serial") or serial_in(body)
        found = await self._service.run(device_with_serial, self._service.engine.engine, serial)
        device = AsyncDevice(self._service.engine, found)
        require_active(device)
        answer(resp, f"{await store(self._service, device, req.scope['headers'], body, req.scope)} Data Added")


class NetworkParameters:
    """/integration/network/:device_id/params: create or edit configuration parameters."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.gateway(req.scope["headers"], Arguments(req.query_string).one("authorization_token"), "write")
        device = await self._service.device(device_id)
        await put_parameters(self._service, device, await self._service.body(req))
        answer(resp, "Device Configuration Parameter Updated")


class Addressed(msgspec.Struct):
    """What of a data item may tell its device."""

    serial: str | int | None = None
    metadata: Any = None


def serial_in(body: bytes) -> str:
    """Return the serial that the items of a body name: in a field `serial`, or as the last part of `metadata.topic` (MQTT relay).

    Raises:
        Refusal: 400; not JSON, no serial, or more than one.
    """
    items = decode_body(body, list[Addressed]) if body.lstrip()[:1] == b"[" else [decode_body(body, Addressed)]
    found = {serial for item in items if (serial := _serial_of(item))}
    if len(found) != 1:
        problem = "Items of one request must be of one device" if found else "Required in the items, or as ?serial= in the address"
        raise wrong_body("serial", problem)
    return found.pop()


def _serial_of(item: Addressed) -> str:
    if item.serial is not None:
        return str(item.serial)
    topic = item.metadata.get("topic") if isinstance(item.metadata, dict) else None
    return topic.rpartition("/")[2] if isinstance(topic, str) else ""


def device_with_serial(engine: Engine, serial: str) -> Device:
    """Return the device that has this serial, itself or in a token.

    Cost: a look-up for a device's own serial; for that of a token all tokens are read.

    Raises:
        Refusal: 404.
    """
    found = engine.devices(serial=serial) or with_serial(engine, serial)
    if not found:
        raise device_not_found()
    return found[0]


def token_for(engine: Engine, serial: str) -> str:
    """Return the token of a device that may write, rather one that has the serial itself, rather a newer one.

    Raises:
        Refusal: 404; no such device, or it has no such token.
    """
    device = device_with_serial(engine, serial)
    tokens = [token for token in engine.tokens(device.id) if token.permission != "read" and engine.find_token(token.token) is not None]
    if not tokens:
        raise device_not_found()

    def rank(token: Token) -> tuple[bool, int]:
        return token.serial == serial, token.created_us

    return max(tokens, key=rank).token


AUTHORIZATION = Query("authorization_token", str, "An authorization token; one in a header does as well")

ROUTES = (
    Route(
        "/integration/network/resolve/{serial}",
        Resolve,
        "Network",
        get=Call(summary="Find a token of the device with this serial number", need="gateway"),
    ),
    Route(
        "/integration/network/resolve/{serial}/{authorization}",
        Resolve,
        "Network",
        get=Call(summary="The same, with the authorization token in the address", need="gateway"),
    ),
    Route(
        "/integration/network/data",
        NetworkData,
        "Network",
        post=Call(
            summary="Send points to the device whose serial number comes with them",
            need="gateway",
            text="The serial number stands in `serial`, here or in the items, or at the end of `metadata.topic`.",
            query=(AUTHORIZATION, Query("serial", str, "Serial number of the device")),
            body=DataItem | list[DataItem],
            errors=(404,),
        ),
    ),
    Route(
        "/integration/network/{device_id}/params",
        NetworkParameters,
        "Network",
        post=Call(
            summary="Create parameters, or edit those with an id",
            need="gateway",
            query=(AUTHORIZATION,),
            body=ParameterBody | list[ParameterBody],
        ),
    ),
)
