"""The Structs of request bodies and response rows, and how a body is read.

Numbers go out as JavaScript prints them: 100.0 is 100, and what JSON cannot say (NaN, Infinity) is left out.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tsengine.errors import InputError
from tsengine.server.dates import iso_ms
from tsengine.server.envelope import MALFORMED, Refusal, wrong_body
from tsengine.types import Point, Value

EXACT_INTEGER_MAX = 2.0**53
"""Largest magnitude at which every whole float64 is one integer."""


class WireRow(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One point as GET /data shows it; absent keys are left out, never null."""

    id: str
    device: str
    variable: str
    value: Value = None
    unit: str | None = None
    group: str | None = None
    location: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    time: str
    created_at: str | None = None


class BucketRow(msgspec.Struct):
    """One bucket of an aggregate query."""

    time: str
    value: float | int
    variable: str


class TagBody(msgspec.Struct):
    key: str
    value: str


class ParameterBody(msgspec.Struct):
    """A configuration parameter; a number or boolean becomes text. `id` = edit that one."""

    key: Annotated[str, Meta(examples=["interval"])] | UnsetType = UNSET
    value: Annotated[str | float | bool | UnsetType | None, Meta(examples=[600])] = UNSET
    sent: bool | None = None
    id: str | None = None


class DeviceBody(msgspec.Struct):
    """The fields of creating and of editing a device."""

    name: Annotated[str, Meta(examples=["pump 7"])] | UnsetType = UNSET
    type: Annotated[str, Meta(examples=["immutable"])] | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    active: bool | UnsetType = UNSET
    visible: bool | UnsetType = UNSET
    tags: list[TagBody] | UnsetType | None = UNSET
    serie_number: str | UnsetType | None = UNSET
    chunk_period: Annotated[str, Meta(examples=["month"])] | UnsetType | None = UNSET
    chunk_retention: Annotated[int | float | str | UnsetType | None, Meta(examples=[12])] = UNSET
    connector: str | UnsetType | None = UNSET
    network: str | UnsetType | None = UNSET
    connector_parse: bool | UnsetType | None = UNSET
    parse_function: str | UnsetType | None = UNSET
    payload_decoder: str | UnsetType | None = UNSET
    rpm: int | UnsetType | None = UNSET
    configuration_params: list[ParameterBody] | UnsetType | None = UNSET


class ConversionBody(msgspec.Struct):
    """What a device becomes."""

    type: str | UnsetType | None = UNSET
    chunk_period: str | UnsetType | None = UNSET
    chunk_retention: int | float | str | UnsetType | None = UNSET


class TokenBody(msgspec.Struct):
    device: Annotated[str, Meta(examples=["6b0172f01da82bfa2f22fa57"])] | UnsetType = UNSET
    name: Annotated[str, Meta(examples=["for the dashboard"])] | UnsetType = UNSET
    permission: Annotated[str, Meta(examples=["read"])] | None = None
    expire_time: Annotated[str, Meta(examples=["6 months"])] | None = None
    serie_number: str | None = None


class SentBody(msgspec.Struct):
    sent: bool | None = None


class EditBody(msgspec.Struct):
    """A register's new fields, named like those of a data item so that one validation serves both."""

    id: Annotated[str, Meta(examples=["0000000b0000000000000003"])] | UnsetType = UNSET
    value: Annotated[str | float | bool | None, Meta(examples=[22.5])] = None
    unit: str | None = None
    group: str | None = None
    serie: str | float | None = None
    time: str | float | None = None
    location: dict[str, Any] | UnsetType | None = UNSET
    metadata: msgspec.Raw | UnsetType = UNSET


T = TypeVar("T")

_PATH = re.compile(r"^(.*?)(?: - at `\$(.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.+?)`")

_raw_list = msgspec.json.Decoder(list[msgspec.Raw])


def decode_body(body: bytes, kind: type[T]) -> T:
    """Return the Struct (or other msgspec type) of a JSON body; an empty body is an empty object.

    Raises:
        Refusal: 400; not JSON, or a field of the wrong type, which is named.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        field, problem = field_of(error)
        raise wrong_body(field, problem) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed() from None


def decode_items(body: bytes, kind: type[T]) -> list[T]:
    """Return the items of a body that is one object or an array of them.

    Raises:
        Refusal: 400; not JSON.
        InputError: an item is wrong; `index` is its place.
    """
    decoder = msgspec.json.Decoder(kind)
    items: list[T] = []
    try:
        for raw in _raw_list.decode(body) if body.lstrip()[:1] == b"[" else [body]:
            items.append(decoder.decode(raw))
    except msgspec.ValidationError as error:
        field, problem = field_of(error)
        raise InputError(f"{field}: {problem}" if field else problem, index=len(items)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed() from None
    return items


def malformed() -> Refusal:
    return Refusal(400, MALFORMED)


def field_of(error: msgspec.ValidationError) -> tuple[str, str]:
    """Return (field, what is wrong with it) of a msgspec error; the field is "" for the whole body."""
    found = _PATH.match(str(error))
    assert found is not None
    problem, path = found[1], (found[2] or "").removeprefix(".")
    if missing := _MISSING.match(problem):
        path = f"{path}.{missing[1]}" if path else missing[1]
        problem = "Required"
    return path, problem


def js_number(value: float | int) -> float | int | None:
    """Return a number that JSON prints as JavaScript does, or None for NaN and the infinities."""
    if isinstance(value, int):
        return value
    if value.is_integer() and -EXACT_INTEGER_MAX <= value <= EXACT_INTEGER_MAX:
        return int(value)
    return value if math.isfinite(value) else None


def js_text(value: str | float | bool | None) -> str:
    """Return a value as JavaScript's String() does: for parameters, whose values are texts."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(js_number(value))


def row_of(point: Point, device_id: str, details: bool) -> WireRow:
    """Return a stored point as the API shows it; `json_rows` writes the same for many."""
    value = point.value
    assert point.id is not None
    return WireRow(
        id=point.id,
        device=device_id,
        variable=point.variable,
        value=js_number(value) if isinstance(value, float) else value,
        unit=point.unit,
        group=point.group,
        location=None if point.location is None else _geojson(point.location),
        metadata=point.metadata,
        time=iso_ms(point.time),
        created_at=iso_ms(point.created_at) if details and point.created_at is not None else None,
    )


def _geojson(location: Any) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [js_number(location.lng), js_number(location.lat)]}
