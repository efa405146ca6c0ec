"""TagoTiP: the bodies of its text frames to points, and points to them. Pure; transports carry method, credentials and serial.

The grammar is that of the public specification, revision B. A body is stored whole or not at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

import msgspec

from tsengine.core.ingest.fields import to_time_us
from tsengine.errors import InputError, LimitError
from tsengine.ingest.bodies import WirePoint
from tsengine.types import Point

FRAME_BYTES = 16_384
"""Largest body, bytes."""
VARIABLES_MAX = 100
"""Variables of one body."""
PAIRS_MAX = 32
"""Metadata pairs of one block."""
UNIT_BYTES = 25
"""Longest unit, bytes."""
COUNTER_MAX = 2**32 - 1

HASH_CHARS = 16
"""Length of an authorization hash, hex characters."""

_NAME = r"[a-z0-9_]{1,100}"
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"
_ESCAPED = r"\\[|\[\];,{}#@^n\\]"
_PLAIN = r"#;@\[\\\]^{|}\x00-\x1f\x7f"  # what must be escaped, or cannot be there at all
_TEXT = rf"(?:[^{_PLAIN}]|{_ESCAPED})+"
_PAIR = rf"{_NAME}=(?:[^{_PLAIN},]|{_ESCAPED})+"
_BLOCK = rf"{{(?:{_PAIR})(?:,{_PAIR})*}}"

_find_modifier = re.compile(rf"\^(?P<group>{_NAME})|@(?P<time>[0-9]+)|(?P<metadata>{_BLOCK})").match
_find_variable = re.compile(
    rf"(?P<name>{_NAME})(?::=(?P<number>{_NUMBER})|\?=(?P<boolean>true|false)"
    rf"|@=(?P<lat>{_NUMBER}),(?P<lng>{_NUMBER})(?:,{_NUMBER})?|=(?P<text>{_TEXT}))"
    rf"(?:#(?P<unit>[^{_PLAIN}]+))?(?:@(?P<time>[0-9]+))?(?:\^(?P<group>{_NAME}))?(?P<metadata>{_BLOCK})?(?=[;\]])"
).match
_find_pairs = re.compile(rf"({_NAME})=((?:[^{_PLAIN},]|{_ESCAPED})+)").findall
_unescape = re.compile(r"\\(.)").sub
_escape = re.compile(r"[|\[\];,{}#@^\\]").sub
_is_name = re.compile(_NAME).fullmatch
_is_unit = re.compile(rf"[^{_PLAIN}]+").fullmatch
_is_hash = re.compile(r"[0-9a-fA-F]{16}").fullmatch
_strip_controls = re.compile(r"[\x00-\x1f\x7f]").sub

_encode = msgspec.json.Encoder().encode


class Passthrough(NamedTuple):
    """What a device sent for its payload parser alone: hexadecimal digits in lower case, or Base64 as it came."""

    text: str


def is_hash(text: str) -> bool:
    """Return whether a text has the form of an authorization hash."""
    return _is_hash(text) is not None


def read_text(body: bytes) -> str:
    """Return a body as text, without the newline that may end it.

    Raises:
        LimitError: it is larger than FRAME_BYTES. InputError: it is no UTF-8.
    """
    text = body.removesuffix(b"\n")
    if len(text) > FRAME_BYTES:
        raise LimitError(f"a TagoTiP body has at most {FRAME_BYTES} bytes")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise InputError("a TagoTiP body must be UTF-8") from None


def read_counter(text: str) -> tuple[str, str]:
    """Return (`!N|` or nothing, the rest) of a body that a sequence counter may precede.

    Raises:
        InputError: the counter is no number of 32 bits.
    """
    if not text.startswith("!"):
        return "", text
    counter, bar, rest = text[1:].partition("|")
    if not bar or not re.fullmatch("0|[1-9][0-9]{0,9}", counter) or int(counter) > COUNTER_MAX:
        raise InputError(f"a sequence counter is a number from 0 to {COUNTER_MAX}, with | behind it")
    return f"!{counter}|", rest


def read_push(text: str) -> list[WirePoint] | Passthrough:
    """Return the points of a PUSH body, or what it carries past.

    Raises:
        InputError: it does not follow the grammar; the text tells where. LimitError: too many variables or metadata pairs.
    """
    if text.startswith(">"):
        return _read_passthrough(text)
    group: str | None = None
    time: float | None = None
    shared: dict[str, str] = {}
    seen: set[str | None] = set()
    at = 0
    while found := _find_modifier(text, at):
        if found.lastgroup in seen:
            raise InputError(f"{found.lastgroup} is given twice before the variables, at character {at}")
        seen.add(found.lastgroup)
        group, time = found["group"] or group, _time(found["time"]) or time
        shared = _pairs(found["metadata"]) or shared
        at = found.end()
    if text[at : at + 1] != "[":
        raise InputError(f"expected ^group, @time, {{metadata}} or [ at character {at}")
    points: list[WirePoint] = []
    while at < len(text) - 1:
        at += 1
        variable = _find_variable(text, at)
        if variable is None:
            raise InputError(f"no valid variable at character {at}, as in [temperature:=21.5#C;door=open;on?=true;place@=39.7,-104.9]")
        if len(points) == VARIABLES_MAX:
            raise LimitError(f"a TagoTiP body has at most {VARIABLES_MAX} variables")
        points.append(_point(variable, group, time, shared))
        at = variable.end()
        if text[at] == "]":
            break
    if at != len(text) - 1 or not points:
        raise InputError(f"expected ] and nothing behind it at character {at}")
    return points


def read_names(text: str) -> list[str]:
    """Return the variables that a PULL asks for, separated by commas.

    Raises:
        InputError: one is no name. LimitError: too many.
    """
    names = text.split(",")
    if len(names) > VARIABLES_MAX:
        raise LimitError(f"at most {VARIABLES_MAX} variables can be asked for")
    for name in names:
        if not _is_name(name):
            raise InputError(f"{name[:100]!r} is no name of a variable")
    return names


def write_points(points: Iterable[Point]) -> str:
    """Return points as a PULL answers; "" for none. What the grammar cannot say of a point (odd letters in units, keys) is left out."""
    written = [text for text in map(_write_point, points) if text]
    return f"[{';'.join(written)}]" if written else ""


def _read_passthrough(text: str) -> Passthrough:
    data = text[2:]
    if text.startswith(">x") and re.fullmatch(r"(?:[0-9a-fA-F]{2})+", data):
        return Passthrough(data.lower())
    if text.startswith(">b") and re.fullmatch(r"[A-Za-z0-9+/=]+", data):
        return Passthrough(data)
    raise InputError("> must be followed by x and pairs of hexadecimal digits, or by b and Base64")


def _point(found: re.Match[str], group: str | None, time: float | None, shared: dict[str, str]) -> WirePoint:
    name, unit = found["name"], found["unit"]
    value: str | float | bool | None = None
    location = None
    if found["number"] is not None:
        value = float(found["number"])
        if not math.isfinite(value):
            raise InputError(f"the number of {name} is too large for a float64")
    elif found["boolean"] is not None:
        value = found["boolean"] == "true"
    elif found["text"] is not None:
        value = _plain(found["text"])
    else:
        location = {"lat": float(found["lat"]), "lng": float(found["lng"])}
        if unit is not None:
            raise InputError(f"the location {name} cannot have a unit")
    if unit is not None and len(unit.encode()) > UNIT_BYTES:
        raise LimitError(f"the unit of {name} has more than {UNIT_BYTES} bytes")
    metadata = {**shared, **_pairs(found["metadata"])}
    point = WirePoint(
        variable=name, value=value, unit=unit, group=found["group"] or group, time=_time(found["time"]) or time, location=location
    )
    if metadata:
        point.metadata = msgspec.Raw(_encode(metadata))
    return point


def _time(digits: str | None) -> float | None:
    """Return Unix milliseconds; so many digits that a float cannot hold them are far beyond any date, and refused as such."""
    return float(digits) if digits is not None else None


def _pairs(block: str | None) -> dict[str, str]:
    if block is None:
        return {}
    pairs = _find_pairs(block)
    if len(pairs) > PAIRS_MAX:
        raise LimitError(f"a metadata block has at most {PAIRS_MAX} pairs")
    return {key: _plain(value) for key, value in pairs}


def _plain(text: str) -> str:
    """Return a text without its escapes."""
    return _unescape(lambda found: "\n" if found[1] == "n" else found[1], text) if "\\" in text else text


def _escaped(text: str) -> str:
    return _strip_controls("", _escape(r"\\\g<0>", text).replace("\n", "\\n"))


def _write_point(point: Point) -> str:
    value = point.value
    if isinstance(value, bool):
        written = f"?={'true' if value else 'false'}"
    elif isinstance(value, str):
        written = f"={_escaped(value)}"
        if written == "=":
            return ""
    elif value is not None:
        if not math.isfinite(value):
            return ""
        written = f":={_digits(value)}"
    elif point.location is not None:
        written = f"@={_digits(point.location.lat)},{_digits(point.location.lng)}"
    else:
        return ""
    if value is not None and point.unit and _is_unit(point.unit):
        written += f"#{point.unit}"
    written += f"@{max(0, to_time_us(point.time) // 1000)}"
    if point.group and _is_name(point.group):
        written += f"^{point.group}"
    pairs = [f"{key}={_escaped(_text(item))}" for key, item in (point.metadata or {}).items() if _is_name(key) and _escaped(_text(item))]
    return point.variable + written + (f"{{{','.join(pairs[:PAIRS_MAX])}}}" if pairs else "")


def _digits(number: float | int) -> str:
    """Return a number without an exponent; whole ones without a fraction, and no negative zero."""
    text = format(Decimal(repr(number)), "f")
    text = text.removesuffix(".0")
    return "0" if text == "-0" else text


def _text(item: object) -> str:
    return item if isinstance(item, str) else _encode(item).decode()
