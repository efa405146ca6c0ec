"""Bodies as devices send them to records: items and columns in JSON and MessagePack with TagoIO's rules, and line protocol.

What a body is, its media type tells; whatever is not known is read as JSON items. Arrow streams are read in tsengine.arrow.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from tsengine.core.ingest.points import from_points
from tsengine.errors import InputError, LimitError
from tsengine.limits import COLUMN_OBJECTS

JSON_TYPE = "application/json"
MESSAGEPACK_TYPES = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
COLUMNS_TYPE = "application/vnd.tsengine.columns+json"
PACKED_COLUMNS_TYPE = "application/vnd.tsengine.columns+msgpack"
LINE_TYPE = "application/vnd.influxdb.line-protocol"
ARROW_TYPE = "application/vnd.apache.arrow.stream"

MEDIA_TYPES = (JSON_TYPE, COLUMNS_TYPE, MESSAGEPACK_TYPES[0], PACKED_COLUMNS_TYPE, ARROW_TYPE, LINE_TYPE)
"""One of each form, the usual one first."""

PRECISIONS_NS = {"ns": 1, "n": 1, "us": 1_000, "u": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9}
"""Units of the times of a line protocol body, nanoseconds: those of InfluxDB 2 and 1."""


class Item(msgspec.Struct, gc=False):
    """What a data item holds in either encoding. Everything but types is checked when the batch is built, to name the index.

    Attributes:
        serie: old name of `group`, used only where that is absent.
        time: ISO 8601 text, Unix milliseconds, or digits as text; absent or falsy = time of receipt.
    """

    variable: str | None = None
    value: str | float | bool | None = None
    unit: str | None = None
    group: str | None = None
    serie: str | float | None = None
    time: str | float | None = None
    location: dict[str, Any] | None = None


class WirePoint(Item, gc=False):
    """A data item in JSON; metadata is kept as the JSON that came."""

    metadata: msgspec.Raw = cast(msgspec.Raw, None)  # Raw takes null, too; msgspec would take `Raw | None` as null alone


class PackedPoint(Item, gc=False):
    """A data item in MessagePack: metadata is a map there and becomes JSON here, and a time may be MessagePack's own."""

    time: Any = None
    metadata: dict[str, Any] | None = None


class Columns(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The fields of many data items: each an array with a cell an item, or what holds for all of them. As they came."""

    variable: msgspec.Raw = cast(msgspec.Raw, None)
    value: msgspec.Raw = cast(msgspec.Raw, None)
    time: msgspec.Raw = cast(msgspec.Raw, None)
    unit: msgspec.Raw = cast(msgspec.Raw, None)
    group: msgspec.Raw = cast(msgspec.Raw, None)
    location: msgspec.Raw = cast(msgspec.Raw, None)
    metadata: msgspec.Raw = cast(msgspec.Raw, None)


_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder(list[WirePoint] | WirePoint).decode
_decode_messagepack = msgspec.msgpack.Decoder(list[PackedPoint] | PackedPoint).decode
_decode_columns = msgspec.json.Decoder(list[Columns] | Columns).decode
_decode_packed_columns = msgspec.msgpack.Decoder(list[Columns] | Columns).decode

# Where msgspec found the fault: `$[3].unit` or `$.unit`.
_PATH = r"(?s)(?P<problem>.*?)(?: - at `\$(?:\[(?P<index>\d+)\])?(?:\.(?P<field>[^`]*))?.*`)?"


def media_type_of(content_type: str) -> str:
    """Return a content type without its parameters."""
    if content_type == JSON_TYPE:  # nearly every body, and a small one waits for this three times
        return JSON_TYPE
    return content_type.partition(";")[0].strip().lower()


def is_arrow(content_type: str) -> bool:
    return media_type_of(content_type) == ARROW_TYPE


def record_of_body(body: bytes, content_type: str, now_us: int) -> bytes:
    """Return the record of a body that is no Arrow stream; empty bytes if it holds no points. Device and sequence are stamped later.

    Raises:
        InputError: the body is not well-formed, or an item has a wrong type or is outside its limits; `index` tells which item, row of
            the columns, or line. LimitError: more points than one batch may hold.
    """
    media_type = media_type_of(content_type)
    if media_type in (COLUMNS_TYPE, PACKED_COLUMNS_TYPE):
        from tsengine.core.ingest.columns import from_columns  # when it is needed: a program that reads pays for no parser

        is_packed = media_type == PACKED_COLUMNS_TYPE
        return from_columns(decode_columns(body, is_packed), now_us, is_packed)
    if media_type == LINE_TYPE:
        from tsengine.core.ingest.line import from_lines

        return from_lines(body, now_us, precision_of(content_type))
    points = decode(body, content_type)
    return from_points(points, now_us, True) if points else b""


def precision_of(content_type: str) -> int:
    """Return the unit of a line protocol body's times in nanoseconds, as the parameter `precision` tells; 1 without one.

    Raises:
        InputError: it is no unit.
    """
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "precision":
            unit = PRECISIONS_NS.get(value.strip().strip('"'))
            if unit is None:
                raise InputError(f"precision must be one of {', '.join(PRECISIONS_NS)}, not {value.strip()!r}")
            return unit
    return 1


def decode_columns(body: bytes, is_packed: bool) -> list[Columns]:
    """Return the objects of a body of columns.

    Raises:
        InputError: it is not well-formed, or an object has a field that does not exist. LimitError: there are too many.
    """
    try:
        objects: Any = (_decode_packed_columns if is_packed else _decode_columns)(body)
    except msgspec.ValidationError as error:
        raise InputError(f"Invalid columns: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"Malformed request syntax: {error}") from None
    if not isinstance(objects, list):
        return [objects]
    if len(objects) > COLUMN_OBJECTS:
        raise LimitError(f"a body has at most {COLUMN_OBJECTS} objects of columns, not {len(objects)}; use arrays, or items")
    return objects


def decode(body: bytes, content_type: str = JSON_TYPE) -> list[WirePoint] | list[PackedPoint]:
    """Return the items of a JSON or MessagePack body: a list, or one object.

    Args:
        content_type: MessagePack by its media types; anything else is read as JSON.

    Raises:
        InputError: the body is not well-formed ("Malformed request syntax"), or an item has a wrong type; `index` tells which.
    """
    try:
        points: Any = _decode_messagepack(body) if media_type_of(content_type) in MESSAGEPACK_TYPES else _decode_json(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"Malformed request syntax: {error}") from None
    return points if isinstance(points, list) else [points]


def encode(points: list[WirePoint]) -> bytes:
    """Return points as the JSON body that they could have come in."""
    fields = WirePoint.__struct_fields__
    return _encode_json([{name: value for name in fields if (value := getattr(point, name)) is not None} for point in points])


def _invalid(text: str) -> InputError:
    match = re.fullmatch(_PATH, text)
    problem, index, field = (match["problem"], match["index"], match["field"]) if match else (text, None, None)
    where = f"{field}: " if field else ""
    number = int(index or 0)
    return InputError(f"Invalid data at index {number}: {where}{problem}", index=number)
