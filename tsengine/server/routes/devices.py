"""Devices: create, list, show, edit, delete; their amount of data and their chunks. All but /info by the account token."""

from __future__ import annotations

from typing import Any

import falcon.asgi
from msgspec import UNSET

from tsengine.aio import AsyncDevice
from tsengine.device import Device
from tsengine.engine.engine import Engine
from tsengine.limits import NAME_CHARS_MAX, NAME_CHARS_MIN, RETENTION_MAX, TAGS_PER_DEVICE
from tsengine.server.auth import token_of
from tsengine.server.dates import iso_ms_of
from tsengine.server.envelope import Refusal, route_not_found, wrong_body
from tsengine.server.routes.described import LISTED_DEVICES, Account, ChunkRow, CreatedDevice, DeviceRow, Gateway
from tsengine.server.routes.listing import device_filter, paged, picked
from tsengine.server.routes.parameters import merge
from tsengine.server.routes.queries import Arguments
from tsengine.server.routing import Call, Route
from tsengine.server.service import Service, answer
from tsengine.server.wire import ConversionBody, DeviceBody, ParameterBody, decode_body
from tsengine.types import Chunk, DeviceInfo, Parameter, Tag

PROFILE_ID = "0" * 23 + "1"
"""A server has one account, hence one profile."""

TYPES = ("mutable", "immutable")
FOREIGN_TYPES = ("hybrid", "legacy")
KEPT_FIELDS = ("connector", "network", "connector_parse", "payload_decoder", "rpm")
"""Fields that are stored and shown, and mean nothing to the engine. `rpm` is the device's rate limit (rates.py)."""

DEFAULT_FIELDS = ("id", "name", "tags")
ALWAYS_FIELDS = ("id", "tags")
SORTABLE = ("name", "id", "type", "visible", "active", "description", "created_at", "updated_at", "last_input")
TIME_FIELDS = {"created_at": "created_us", "updated_at": "updated_us"}
"""Listed fields whose attribute has another name, because it is microseconds."""

TAGGED_KINDS = ("device", "bucket", "dashboard", "action", "analysis", "tcore", "run_users", "secrets")
"""What TagoIO gives tags to."""

PROTECTION_TAG = "_deletion_protection"


class Info:
    """/info: the device of the token, or the account itself."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        headers = req.scope["headers"]
        if self._service.gate.is_account(headers):
            answer(resp, Account("Account", "profile", "full", "never", PROFILE_ID, None))
            return
        if (token := self._service.engine.engine.find_authorization(token_of(headers))) is not None:
            ends = iso_ms_of(token.expire_us) or "never"
            made = iso_ms_of(token.created_us) or ""
            answer(resp, Gateway(token.name, "network", token.permission, ends, PROFILE_ID, made))
            return
        shown = await show(self._service, self._service.gate.caller(headers, None).device)
        del shown["bucket"]
        answer(resp, shown)


class Devices:
    """/device: list and create."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._service.gate.account(req.scope["headers"])
        answer(resp, await self._service.run(listed, self._service, req.query_string))

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._service.gate.account(req.scope["headers"])
        body = decode_body(await self._service.body(req), DeviceBody)
        fields = creation_fields(body)
        parameters = merge([without_id(item) for item in body.configuration_params or []], [])
        engine = self._service.engine
        await require_free_serial(self._service, fields["serial"])
        device = await engine.create_device(**fields)
        token = await engine.create_token(device.id, "Default", serial=fields["serial"])
        if parameters:
            await engine.put_parameters(device.id, parameters)
        answer(resp, {"device_id": device.id, "bucket_id": device.id, "token": token.token}, 201)


class OneDevice:
    """/device/:id: show, edit, delete."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        answer(resp, await show(self._service, await self._service.device(device_id)))

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        body = decode_body(await self._service.body(req), DeviceBody)
        engine = self._service.engine
        changes = edit_fields(body, device.info, bool(await engine.tokens(device.id)))
        await require_free_serial(self._service, changes.get("serial"), device.id)
        parameters: list[Parameter] | None = None
        if body.configuration_params is not UNSET:
            stored = await engine.parameters(device.id)
            parameters = replacement(body.configuration_params or [], stored)
        if changes:
            await engine.edit_device(device.id, **changes)
        if parameters is not None:
            kept = {parameter.id for parameter in parameters}
            for parameter in stored:
                if parameter.id not in kept:
                    await engine.delete_parameter(device.id, parameter.id)
            if parameters:
                await engine.put_parameters(device.id, parameters)
        answer(resp, "Successfully Updated")

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        if any(tag.key == PROTECTION_TAG for tag in device.info.tags):
            raise Refusal(400, f"The device has the tag {PROTECTION_TAG}; remove the tag before you delete the device")
        await self._service.engine.delete_device(device.id)
        self._service.forget(device.id)
        answer(resp, "Successfully Removed")


class Amount:
    """/device/:id/data_amount and, for old clients, /bucket/:id/data_amount: the exact number of stored points."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        answer(resp, await device.count())


class Empty:
    """/device/:id/empty: remove all points, of either type of device."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        await device.empty()
        answer(resp, "Data Successfully Removed")


class Convert:
    """/device/:id/convert: change type or chunks of an empty, inactive device; its tokens survive."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        body = decode_body(await self._service.body(req), ConversionBody)
        if not body.type:
            raise wrong_body("type", "Required")
        await self._service.engine.convert_device(device.id, **storage_fields(body))
        answer(resp, "Device type/chunk was converted")


class TagKeys:
    """/tags/keys/:kind: the keys of all tags of devices, sorted; of a kind that this server does not have, none."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, kind: str) -> None:
        self._service.gate.account(req.scope["headers"])
        if kind not in TAGGED_KINDS:
            raise route_not_found()
        devices = await self._service.engine.devices() if kind == "device" else []
        answer(resp, sorted({tag.key for device in devices for tag in device.info.tags}))


class Chunks:
    """/device/:id/chunk: the periods of an immutable device that hold points, newest first."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        require_chunks(device)
        answer(resp, [shown_chunk(chunk) for chunk in await device.chunks()])


class OneChunk:
    """/device/:id/chunk/:chunk_id: drop one period."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str, chunk_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        require_chunks(device)
        await device.delete_chunk(chunk_id)
        answer(resp, f"Chunk {chunk_id} deleted")


def require_chunks(device: AsyncDevice) -> None:
    if device.info.type != "immutable":
        raise Refusal(400, "Only immutable devices have chunks")


def shown_chunk(chunk: Chunk) -> dict[str, Any]:
    start, end = (time.isoformat(timespec="milliseconds") for time in (chunk.start, chunk.end))
    return {"amount": chunk.count, "id": chunk.id, "from": start, "to": end}


async def show(service: Service, device: AsyncDevice) -> dict[str, Any]:
    """Return a device as GET /device/:id shows it."""
    shown = await service.run(fields_of, service, device.device)
    shown["bucket"] = {"id": device.id, "name": device.info.name}
    shown["configuration_params"] = await service.engine.parameters(device.id)
    return shown


def listed(service: Service, query_string: str) -> list[dict[str, Any]]:
    """Return one page of the devices that a query string asks for."""
    arguments = Arguments(query_string)
    fits = device_filter(arguments, service.now_us())
    engine = service.engine.engine
    serial = arguments.one("serial")

    def show_field(device: Device, name: str) -> Any:
        if name == "last_input":
            return service.last_input_us(device)
        if name in ("connector", "network"):
            return device.info.extra.get(name)
        return getattr(device.info, TIME_FIELDS.get(name, name))

    found = engine.devices() if serial is None else with_serial(engine, serial)
    devices = [device for device in found if fits(device, show_field)]
    page = paged(devices, arguments, show_field, SORTABLE, "name,asc")
    wants_input = "last_input" in arguments.all("fields")
    rows = (fields_of(service, device, with_last_input=wants_input) for device in page)
    return [picked(row, arguments, DEFAULT_FIELDS, ALWAYS_FIELDS) for row in rows]


def with_serial(engine: Engine, serial: str) -> list[Device]:
    """Return the devices that have this serial number, or a token with it.

    Cost: reads the tokens of every device.
    """
    return [device for device in engine.devices() if serial in (device.info.serial, *(token.serial for token in engine.tokens(device.id)))]


async def require_free_serial(service: Service, serial: str | None, own_id: str | None = None) -> None:
    """Refuse a serial number that another device, or a token of one, has."""
    if serial is None:
        return
    if any(device.id != own_id for device in await service.run(with_serial, service.engine.engine, serial)):
        raise Refusal(400, f"The serial number {serial} is in use")


def fields_of(service: Service, device: Device, *, with_last_input: bool = True) -> dict[str, Any]:
    """Return all fields of a device as the list of devices shows them (there `bucket` is an id)."""
    info = device.info
    shown: dict[str, Any] = {
        "id": info.id,
        "profile": PROFILE_ID,
        "bucket": info.id,
        "name": info.name,
        "description": info.description,
        "type": info.type,
        "active": info.active,
        "visible": info.visible,
        "serie_number": info.serial,
        "tags": info.tags,
        "connector": info.extra.get("connector"),
        "network": info.extra.get("network"),
        "connector_parse": info.extra.get("connector_parse") or False,
        "payload_decoder": info.extra.get("payload_decoder"),
        "created_at": iso_ms_of(info.created_us),
        "updated_at": iso_ms_of(info.updated_us),
        "last_input": iso_ms_of(service.last_input_us(device)) if with_last_input else None,
        "last_output": None,
        "inspected_at": None,
        "last_retention": None,
        "rpm": info.extra.get("rpm"),
        "data_retention": "forever" if info.chunk_retention is None else f"{info.chunk_retention} {info.chunk_period}",
    }
    if info.type == "immutable":
        shown["chunk_period"] = info.chunk_period
        shown["chunk_retention"] = info.chunk_retention
    return shown


def creation_fields(body: DeviceBody) -> dict[str, Any]:
    """Return the arguments of create_device.

    Raises:
        Refusal: 400, naming the field.
    """
    if body.name is UNSET:
        raise wrong_body("name", "Required")
    return {"serial": None, **common_fields(body), **storage_fields(body)}


def storage_fields(body: DeviceBody | ConversionBody) -> dict[str, Any]:
    """Return type, chunk_period and chunk_retention as create_device and convert_device take them.

    Raises:
        Refusal: 400, naming the field.
    """
    kind = body.type or "mutable"
    require_type(kind)
    fields: dict[str, Any] = {"type": kind}
    if kind == "immutable":
        if not body.chunk_period:
            raise wrong_body("chunk_period", "Required for immutable devices: day, week, month or quarter")
        if body.chunk_period not in RETENTION_MAX:
            raise wrong_body("chunk_period", "chunk_period must be day, week, month or quarter")
        if body.chunk_retention is UNSET or body.chunk_retention is None:
            raise wrong_body("chunk_retention", "Required for immutable devices: the number of periods to keep")
        fields["chunk_period"] = body.chunk_period
        fields["chunk_retention"] = retention(body.chunk_retention, body.chunk_period)
    return fields


def edit_fields(body: DeviceBody, info: DeviceInfo, has_tokens: bool) -> dict[str, Any]:
    """Return the arguments of edit_device.

    Raises:
        Refusal: 400, naming the field.
    """
    if body.type is not UNSET and body.type is not None and body.type != info.type:
        require_type(body.type)
        raise wrong_body("type", "The type of a device cannot be edited")
    fields = common_fields(body)
    if info.type == "immutable":
        if body.chunk_period is not UNSET and body.chunk_period is not None and body.chunk_period != info.chunk_period:
            raise wrong_body("chunk_period", "The chunk_period of a device cannot be edited")
        if body.chunk_retention is not UNSET and body.chunk_retention is not None:
            assert info.chunk_period is not None
            fields["chunk_retention"] = retention(body.chunk_retention, info.chunk_period)
    require_free_identity(fields, info, has_tokens)
    return fields


def common_fields(body: DeviceBody) -> dict[str, Any]:
    """Return the fields that creating and editing share; only those that were given."""
    fields: dict[str, Any] = {}
    if body.name is not UNSET:
        if not NAME_CHARS_MIN <= len(body.name) <= NAME_CHARS_MAX:
            raise wrong_body("name", f"name must have {NAME_CHARS_MIN} to {NAME_CHARS_MAX} characters")
        fields["name"] = body.name
    if body.tags is not UNSET:
        tags = body.tags or []
        if len(tags) > TAGS_PER_DEVICE:
            raise wrong_body("tags", f"A device has at most {TAGS_PER_DEVICE} tags")
        fields["tags"] = tuple(Tag(tag.key, tag.value) for tag in tags)
    if body.serie_number is not UNSET:
        fields["serial"] = body.serie_number or None
    for name in ("description", "active", "visible"):
        value = getattr(body, name)
        if value is not UNSET:
            fields[name] = value
    if body.rpm is not UNSET and body.rpm is not None and body.rpm < 1:
        raise wrong_body("rpm", "rpm must be at least 1 request a minute, or null for no limit of the device's own")
    extra = {name: value for name in KEPT_FIELDS if (value := getattr(body, name)) is not UNSET}
    if body.parse_function is not UNSET:
        extra["payload_decoder"] = body.parse_function
    if extra:
        fields["extra"] = extra
    return fields


def require_type(kind: str) -> None:
    if kind in FOREIGN_TYPES:
        raise Refusal(400, "Unsupported device type")
    if kind not in TYPES:
        raise wrong_body("type", "type must be mutable or immutable")


def require_free_identity(fields: dict[str, Any], info: DeviceInfo, has_tokens: bool) -> None:
    """Refuse to change what the device's tokens were made for: its connector, network and serial number."""
    extra = fields.get("extra", {})
    stored = {**{name: info.extra.get(name) for name in ("connector", "network")}, "serie_number": info.serial}
    wanted = {name: extra.get(name, stored[name]) for name in ("connector", "network")}
    wanted["serie_number"] = fields.get("serial", info.serial)
    changed = [name for name, old in stored.items() if old is not None and wanted[name] != old]
    if changed and has_tokens:
        raise Refusal(400, f"Delete the tokens of the device before you change its {', '.join(changed)}")
    is_moved = any(wanted[name] != stored[name] for name in ("connector", "network"))
    if is_moved and ("connector" in extra) != ("network" in extra):
        raise Refusal(400, "connector and network must be changed together")


def retention(value: int | float | str, period: str) -> int:
    """Return a chunk_retention within the bounds of its period; `"6"` and 6.0 count as 6."""
    highest = RETENTION_MAX[period]
    text = str(value).removesuffix(".0")
    if not (text.isascii() and text.isdecimal() and int(text[:9]) <= highest):
        raise wrong_body("chunk_retention", f"chunk_retention must be a whole number from 0 to {highest} for chunk_period {period}")
    return int(text)


def without_id(item: ParameterBody) -> ParameterBody:
    return ParameterBody(key=item.key, value=item.value, sent=item.sent)


def replacement(items: list[ParameterBody], stored: list[Parameter]) -> list[Parameter]:
    """Return the whole new set of parameters: like tags, an edit of the device replaces them; known ids keep theirs."""
    named = {item.id for item in items}
    return merge(items, [parameter for parameter in stored if parameter.id in named])


ROUTES = (
    Route(
        "/info",
        Info,
        "Devices",
        get=Call(summary="Show the device of the token, or the account", need="any", answer=(DeviceRow, Account, Gateway)),
    ),
    Route(
        "/device",
        Devices,
        "Devices",
        get=Call(summary="List devices", need="account", query=LISTED_DEVICES, answer=list[DeviceRow]),
        post=Call(
            summary="Create a device",
            need="account",
            text="An immutable device needs chunk_period and chunk_retention.",
            body=DeviceBody,
            answer=CreatedDevice,
            status=201,
        ),
    ),
    Route(
        "/device/{device_id}",
        OneDevice,
        "Devices",
        get=Call(summary="Show a device", need="account", answer=DeviceRow),
        put=Call(summary="Edit a device", need="account", text="Tags and configuration_params replace the sets.", body=DeviceBody),
        delete=Call(summary="Delete a device with its data, tokens and parameters", need="account"),
    ),
    Route(
        "/device/{device_id}/data_amount",
        Amount,
        "Devices",
        get=Call(summary="Count the points of a device", need="account", answer=int),
    ),
    Route("/bucket/{device_id}/data_amount", Amount, "Devices", get=Call(summary="The same, for old clients", need="account", answer=int)),
    Route("/device/{device_id}/empty", Empty, "Devices", post=Call(summary="Remove all points of a device", need="account")),
    Route(
        "/device/{device_id}/convert",
        Convert,
        "Devices",
        post=Call(
            summary="Change the type or the chunks of a device",
            need="account",
            text="Only an empty, inactive device; its tokens stay.",
            body=ConversionBody,
        ),
    ),
    Route("/tags/keys/{kind}", TagKeys, "Devices", get=Call(summary="List the keys of all tags", need="account", answer=list[str])),
    Route(
        "/device/{device_id}/chunk",
        Chunks,
        "Chunks",
        get=Call(summary="List the chunks of an immutable device that hold points", need="account", answer=list[ChunkRow]),
    ),
    Route("/device/{device_id}/chunk/{chunk_id}", OneChunk, "Chunks", delete=Call(summary="Delete a chunk", need="account")),
)
