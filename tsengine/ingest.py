"""Bodies as devices send them to lists of points: JSON and MessagePack with TagoIO's rules, Arrow streams."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from tsengine.errors import InputError

JSON_TYPE = "application/json"
MESSAGEPACK_TYPES = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
ARROW_TYPE = "application/vnd.apache.arrow.stream"


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
    """A data item in MessagePack: metadata is a map there and becomes JSON here."""

    metadata: dict[str, Any] | None = None


_decode_json = msgspec.json.Decoder(list[WirePoint] | WirePoint).decode
_decode_messagepack = msgspec.msgpack.Decoder(list[PackedPoint] | PackedPoint).decode

# Where msgspec found the fault: `$[3].unit` or `$.unit`.
_PATH = r"(?s)(?P<problem>.*?)(?: - at `\$(?:\[(?P<index>\d+)\])?(?:\.(?P<field>[^`]*))?.*`)?"


def is_arrow(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == ARROW_TYPE


def decode(body: bytes, content_type: str = JSON_TYPE) -> list[WirePoint] | list[PackedPoint]:
    """Return the points of a JSON or MessagePack body: a list, or one object.

    Args:
        content_type: MessagePack by its media types; anything else is read as JSON.

    Raises:
        InputError: the body is not well-formed ("Malformed request syntax"), or an item has a wrong type; `index` tells which.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    try:
        points: Any = _decode_messagepack(body) if media_type in MESSAGEPACK_TYPES else _decode_json(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"Malformed request syntax: {error}") from None
    return points if isinstance(points, list) else [points]


def _invalid(text: str) -> InputError:
    match = re.fullmatch(_PATH, text)
    problem, index, field = (match["problem"], match["index"], match["field"]) if match else (text, None, None)
    where = f"{field}: " if field else ""
    number = int(index or 0)
    return InputError(f"Invalid data at index {number}: {where}{problem}", index=number)
