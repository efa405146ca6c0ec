"""GET, PUT and DELETE on data, and POST through the account: /data with a device token, /device/:id/data with the account's."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, Literal

import falcon.asgi
import msgspec

from tsengine.aio import AsyncDevice
from tsengine.core import batch
from tsengine.core.ingest.points import from_points
from tsengine.core.json_rows import json_rows
from tsengine.device import Device
from tsengine.errors import InputError
from tsengine.ids import parse_point_id
from tsengine.ingest.bodies import MEDIA_TYPES
from tsengine.limits import EDIT_ITEMS
from tsengine.server.auth import require_active
from tsengine.server.dates import iso_ms_of
from tsengine.server.envelope import JSON_HEADERS, Answer, Refusal, success
from tsengine.server.rates import DELETE_DATA, GET_AGGREGATE, GET_DATA, PUT_DATA
from tsengine.server.routes.described import READ, DataItem
from tsengine.server.routes.queries import END_QUERIES, SCALAR_QUERIES, DataQuery, parse_query
from tsengine.server.routes.reads import read_buckets, read_rows, read_scalar
from tsengine.server.routing import Call, Need, Query, Route
from tsengine.server.sending import store
from tsengine.server.service import Service, answer, put
from tsengine.server.wire import BucketRow, EditBody, WireRow, decode_items

QUERY_CHARS_KEPT = 256
"""Longest query string that is kept parsed."""
SHORT_ROWS, SHORT_VARIABLES = 100, 4
"""Most rows and variables of a read that is answered in turn with other short ones."""

PYTHON_SDK = "TagoIO-SDK|Python|"
"""The official Python client cannot read a bare number everywhere, so it gets a row with the number."""


class Data:
    """/data: the device is the token's."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        device = self._service.gate.device(req.scope["headers"], "read")
        put(resp, await read(self._service, device, req))

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        device = self._service.gate.device(req.scope["headers"], "write")
        answer(resp, await edit(self._service, device, req))

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        device = self._service.gate.device(req.scope["headers"], "write")
        answer(resp, await delete(self._service, device, req))


class DeviceData:
    """/device/:id/data: the same for any device of the account; only sending needs the device to be active."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def _device(self, req: falcon.asgi.Request, device_id: str) -> AsyncDevice:
        self._service.gate.account(req.scope["headers"])
        return await self._service.device(device_id)

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        device = await self._device(req, device_id)
        require_active(device)
        count = await store(self._service, device, req.scope["headers"], partial(self._service.body, req), req.scope)
        answer(resp, f"{count} Data Added")

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        device = await self._device(req, device_id)
        put(resp, await read(self._service, device, req))

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        device = await self._device(req, device_id)
        answer(resp, await edit(self._service, device, req))

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        device = await self._device(req, device_id)
        answer(resp, await delete(self._service, device, req))


async def read(service: Service, device: AsyncDevice, req: falcon.asgi.Request) -> Answer:
    """Return the answer to GET: rows, buckets or a number."""
    service.rates.admit(GET_DATA, device.info)
    query = parse_query(req.query_string, service.now_us())
    if query.query == "aggregate":
        service.rates.admit(GET_AGGREGATE)
    query = known_ids(device, query)
    if query.query in SCALAR_QUERIES:
        number = await service.run(read_scalar, device.device, query)
        if req.user_agent and req.user_agent.startswith(PYTHON_SDK):
            return success([{"time": iso_ms_of(service.now_us()), "value": number}])
        return success(number)
    return await service.run(_read, device.device, query)


def _read(device: Device, query: DataQuery) -> Answer:
    return success(read_buckets(device, query)) if query.query == "aggregate" else rows_of(device, query)


def rows_of(device: Device, query: DataQuery) -> Answer:
    """Return the answer to a query that gives rows."""
    rows = json_rows(read_rows(device, query), device.id, query.details)
    return Answer(200, JSON_HEADERS, b'{"status":true,"result":%s}' % rows)


def short_query(query_string: bytes) -> DataQuery | None:
    """Return the query if it gives few rows, whatever the time is: newest or oldest points, of variables alone."""
    return _short_query(query_string) if len(query_string) <= QUERY_CHARS_KEPT else None


@lru_cache(maxsize=1024)
def _short_query(query_string: bytes) -> DataQuery | None:
    try:
        query = parse_query(query_string.decode("ascii"), 0)
    except (Refusal, UnicodeDecodeError):
        return None
    is_timeless = query.start_us is None and query.end_us is None
    is_page = query.query == "default" and query.skip == 0 and (query.qty is None or query.qty <= SHORT_ROWS)
    is_short = (is_page or query.query in END_QUERIES) and (query.variables is None or len(query.variables) <= SHORT_VARIABLES)
    return query if is_short and is_timeless and not query.has_conditions else None


async def delete(service: Service, device: AsyncDevice, req: falcon.asgi.Request) -> str:
    """Delete exactly the rows that the same GET returns."""
    service.rates.admit(DELETE_DATA)
    if device.info.type == "immutable":
        raise Refusal(400, "Data in immutable devices cannot be deleted")
    query = known_ids(device, parse_query(req.query_string, service.now_us()))
    if query.query in SCALAR_QUERIES or query.query == "aggregate":
        raise Refusal(400, "Invalid query")
    points = await service.run(read_rows, device.device, query)
    count = await device.delete(ids=[point.id for point in points]) if points else 0
    return f"{count} Data Removed"


async def edit(service: Service, device: AsyncDevice, req: falcon.asgi.Request) -> str:
    """Replace fields of at most 25 registers, all or none; ids that do not exist are not counted."""
    service.rates.admit(PUT_DATA)
    if device.info.type == "immutable":
        raise Refusal(400, "You cannot edit data on immutable device")
    items = decode_items(await service.body(req), EditBody)
    if len(items) > EDIT_ITEMS:
        raise Refusal(400, f"You have exceeded the maximum number of {EDIT_ITEMS} items in a single request")
    edits = edits_of(items, service.now_us())
    count = await device.edit(edits) if edits else 0
    return f"{count} item(s) updated"


class _Candidate(msgspec.Struct):
    """The new fields of a register in the form of a data item, so that ingest's own validation judges them."""

    variable: str
    value: str | float | bool | None
    unit: str | None
    group: str | None
    serie: str | float | None
    time: str | float | None
    location: dict[str, Any] | None
    metadata: msgspec.Raw | None


def edits_of(items: list[EditBody], now_us: int) -> list[dict[str, Any]]:
    """Return the edits that a device takes; only fields that were given are in them, and null counts as absent but for location.

    Raises:
        InputError: a field is not valid; `index` is the item's place.
    """
    candidates: list[_Candidate] = []
    for index, item in enumerate(items):
        if not item.id:
            raise InputError("id is required", index=index)
        location = item.location or None
        metadata = item.metadata or None
        candidates.append(_Candidate("edited", item.value, item.unit, item.group, item.serie, item.time, location, metadata))
    if not candidates:
        return []
    edits: list[dict[str, Any]] = []
    for item, row in zip(items, batch.rows(from_points(candidates, now_us, wire=True)), strict=True):
        changes: dict[str, Any] = {"id": item.id}
        if item.value is not None:
            changes["value"] = row.value
        if item.unit is not None:
            changes["unit"] = row.unit
        if item.group or item.serie is not None:
            changes["group"] = row.group
        if item.time:
            changes["time"] = row.time_us
        if item.location is not msgspec.UNSET:
            changes["location"] = None if row.lat is None else (row.lat, row.lng)
        if row.metadata is not None:
            changes["metadata"] = msgspec.json.decode(row.metadata)
        edits.append(changes)
    return edits


def known_ids(device: AsyncDevice, query: DataQuery) -> DataQuery:
    """Return the query with only those ids that can exist: a foreign or malformed id selects nothing.

    Raises:
        Refusal: 400; immutable devices cannot be asked by id.
    """
    if query.ids is None:
        return query
    if device.info.type == "immutable":
        raise Refusal(400, "Filter using ID(s) is not supported on Immutable Storage Type")
    own = [id for id in query.ids if (parsed := parse_point_id(id)) is not None and parsed[0] == device.info.number]
    return msgspec.structs.replace(query, ids=own)


DELETABLE = (Query("query", Literal[("default", *END_QUERIES, "min", "max", "conditional")], "Which rows, as in GET"), *READ[1:])


def _calls(read: Need, write: Need, whose: str, *, is_raw: bool) -> dict[str, Call]:
    registers = EditBody | list[EditBody]
    return {
        "get": Call(
            summary=f"Read points of {whose}",
            need=read,
            text="Rows, newest first; count, avg and sum give a number, aggregate gives buckets.",
            query=READ,
            answer=(list[WireRow], list[BucketRow], float),
        ),
        "post": Call(
            summary=f"Send points to {whose}",
            need=write,
            text="All or none. Bodies may be compressed: Content-Encoding gzip, deflate or zstd.",
            body=DataItem | list[DataItem],
            accepts=MEDIA_TYPES,
            is_raw=is_raw,
        ),
        "put": Call(
            summary=f"Edit registers of {whose}",
            need=write,
            text=f"At most {EDIT_ITEMS}, all or none. Mutable devices only.",
            body=registers,
        ),
        "delete": Call(
            summary=f"Delete registers of {whose}", need=write, text="Exactly what GET returns. Mutable devices only.", query=DELETABLE
        ),
    }


ROUTES = (
    Route("/data", Data, "Data", **_calls("device read", "device write", "the token's device", is_raw=True)),
    Route("/device/{device_id}/data", DeviceData, "Data", **_calls("account", "account", "any device", is_raw=False)),
)
