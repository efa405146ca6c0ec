"""The payload of a PUBLISH to data items: TagoIO JSON as it is, anything else as one item, both marked with their topic."""

from __future__ import annotations

import re
from typing import cast

import msgspec

from tsengine.ingest.bodies import WirePoint, decode, encode

VARIABLE = "payload"
"""The variable of a payload that is no TagoIO JSON."""

_decode = msgspec.json.Decoder(list[WirePoint] | WirePoint).decode
_decode_any = msgspec.json.Decoder().decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_has_controls = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search


def mark_of(topic: str) -> msgspec.Raw:
    """Return the metadata of an item that has none of its own."""
    return msgspec.Raw(_encode({"topic": topic}))


def points_of(payload: bytes, mark: msgspec.Raw) -> list[WirePoint]:
    """Return the items of a payload.

    Args:
        mark: `mark_of` its topic.

    Raises:
        InputError: it is TagoIO JSON (an object or a list, some with a `variable`), and an item has a wrong type.
    """
    try:
        found = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if _is_meant_as_items(payload):
            decode(payload)  # raises, with the index and the field
        return [raw_point(payload, mark)]
    points = found if type(found) is list else [cast(WirePoint, found)]
    for point in points:
        if point.variable is None and all(other.variable is None for other in points):
            return [raw_point(payload, mark)]
        point.metadata = mark if point.metadata is None else marked(point.metadata, mark)
    return points


def raw_point(payload: bytes, mark: msgspec.Raw | None) -> WirePoint:
    """Return the one item of a payload that is no TagoIO JSON: its text, or its bytes in hexadecimal digits."""
    point = WirePoint(variable=VARIABLE, value=text_of(payload))
    if mark is not None:
        point.metadata = mark
    return point


def text_of(payload: bytes) -> str:
    """Return bytes as text if they are text (UTF-8 without control characters), else in hexadecimal digits."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return payload.hex()
    return payload.hex() if _has_controls(text) else text


def body_of(payload: bytes, mark: msgspec.Raw) -> bytes:
    """Return a payload as the body of a POST, for those who read bodies, payload parsers above all: JSON items with their topic.

    Items are not checked: a parser may make something of what cannot be stored as it is.
    """
    try:
        found = _decode_any(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    items = found if isinstance(found, list) else [found]
    if found != [] and not any(isinstance(item, dict) and "variable" in item for item in items):
        return encode([raw_point(payload, mark)])
    topic = _decode_any(mark)
    for item in items:
        if isinstance(item, dict):
            own = item.get("metadata")
            item["metadata"] = {**own, **topic} if isinstance(own, dict) else topic if own is None else own
    return _encode(items)


def marked(metadata: msgspec.Raw, mark: msgspec.Raw) -> msgspec.Raw:
    """Return metadata with the topic, which takes the place of a topic of its own.

    Cost: two copies; only metadata that may have a `topic` is decoded.
    """
    own = bytes(metadata)
    if own == b"null":
        return mark
    if own[:1] != b"{":
        return metadata  # no object: refused when the batch is made
    if b'"topic"' in own or b"\\u" in own:
        try:
            return msgspec.Raw(_encode({**_decode_object(own), **_decode_object(mark)}))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return metadata  # refused when the batch is made
    rest = own[1:].lstrip()
    return mark if rest == b"}" else msgspec.Raw(b"%b,%b" % (bytes(mark)[:-1], rest))


def _is_meant_as_items(payload: bytes) -> bool:
    try:
        found = _decode_any(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return any(isinstance(item, dict) and "variable" in item for item in (found if isinstance(found, list) else [found]))
