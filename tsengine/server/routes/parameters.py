"""Configuration parameters: the account writes them, the device fetches them and marks them as sent."""

from __future__ import annotations

import falcon.asgi
from msgspec import UNSET

from tsengine.aio import AsyncDevice
from tsengine.ids import new_id
from tsengine.limits import PARAMETERS_PER_DEVICE
from tsengine.server.envelope import Refusal, wrong_body
from tsengine.server.routes.described import SENT
from tsengine.server.routes.queries import Arguments
from tsengine.server.routing import Call, Route
from tsengine.server.service import Service, answer
from tsengine.server.wire import ParameterBody, SentBody, decode_body, js_text
from tsengine.types import Parameter


class DeviceParameters:
    """/device/:id/params: list and upsert, by the account."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        answer(resp, await self._service.engine.parameters(device.id, Arguments(req.query_string).flag("sent_status")))

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        await put_parameters(self._service, device, await self._service.body(req))
        answer(resp, "Params Successfully Updated", 201)


class DeviceParameter:
    """/device/:id/params/:pid: remove one."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str, parameter_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        await self._service.engine.delete_parameter(device.id, parameter_id)
        answer(resp, "Successfully Removed")


class OwnParameters:
    """/device/params: what a device sees of its own."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        device = self._service.gate.device(req.scope["headers"], "read")
        answer(resp, await self._service.engine.parameters(device.id, Arguments(req.query_string).flag("sent_status")))


class OwnParameter:
    """/device/params/:pid: mark as sent; the Python SDK sends no body for that."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, parameter_id: str) -> None:
        device = self._service.gate.device(req.scope["headers"], "write")
        sent = decode_body(await self._service.body(req), SentBody).sent
        for parameter in await self._service.engine.parameters(device.id):
            if parameter.id == parameter_id:
                parameter.sent = sent is not False
                await self._service.engine.put_parameters(device.id, [parameter])
                answer(resp, "Params Successfully Updated")
                return
        raise parameter_not_found()


async def put_parameters(service: Service, device: AsyncDevice, body: bytes) -> None:
    """Create or edit the parameters of a body, which is one object or a list of them."""
    # A type error names the field in a list as `[1].key`, in a single object as `key`.
    items = decode_body(body, list[ParameterBody]) if body.lstrip()[:1] == b"[" else [decode_body(body, ParameterBody)]
    stored = await service.engine.parameters(device.id)
    await service.engine.put_parameters(device.id, merge(items, stored))


def parameter_not_found() -> Refusal:
    return Refusal(404, "Parameter not found")


def merge(items: list[ParameterBody], stored: list[Parameter]) -> list[Parameter]:
    """Return the parameters to put: one with a known `id` is edited, one without is created.

    Raises:
        Refusal: 404 for an unknown id, 400 for a missing key or when the device would have too many.
    """
    known = {parameter.id: parameter for parameter in stored}
    changed: list[Parameter] = []
    for item in items:
        old = known.get(item.id or "")
        if item.id and old is None:
            raise parameter_not_found()
        key = item.key or (old.key if old else "")
        if not key:
            raise wrong_body("key", "key is required")
        value = js_text(item.value) if item.value is not UNSET else (old.value if old else "")
        sent = item.sent if item.sent is not None else (old.sent if old else False)
        changed.append(Parameter(id=old.id if old else new_id(), key=key, value=value, sent=sent))
    if len(known.keys() | {parameter.id for parameter in changed}) > PARAMETERS_PER_DEVICE:
        raise Refusal(400, f"A device has at most {PARAMETERS_PER_DEVICE} configuration parameters")
    return changed


ROUTES = (
    Route(
        "/device/params",
        OwnParameters,
        "Configuration parameters",
        get=Call(summary="List the parameters of the token's device", need="device read", query=SENT, answer=list[Parameter]),
    ),
    Route(
        "/device/params/{parameter_id}",
        OwnParameter,
        "Configuration parameters",
        put=Call(summary="Mark a parameter as fetched", need="device write", text="Without a body: sent is true.", body=SentBody),
    ),
    Route(
        "/device/{device_id}/params",
        DeviceParameters,
        "Configuration parameters",
        get=Call(summary="List the parameters of a device", need="account", query=SENT, answer=list[Parameter]),
        post=Call(
            summary="Create parameters, or edit those with an id",
            need="account",
            body=ParameterBody | list[ParameterBody],
            status=201,
        ),
    ),
    Route(
        "/device/{device_id}/params/{parameter_id}",
        DeviceParameter,
        "Configuration parameters",
        delete=Call(summary="Delete a parameter", need="account"),
    ),
)
