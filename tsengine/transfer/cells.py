"""The fields of a row to a point and values to text and back: what CSV, JSON lines, Parquet and Arrow have in common."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from tsengine.errors import InputError
from tsengine.types import Point, Value

Format = Literal["csv", "jsonl", "parquet", "arrow"]
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".arrows": "arrow",
}

Progress = Callable[[int, int], None]
"""Called with (done, all): bytes or rows of the file on the way in, points on the way out."""

CSV_COLUMNS = ("variable", "time", "value", "type", "unit", "group", "lat", "lng", "metadata")
TIME_COLUMNS = ("time", "time_us", "time_ms")
INPUT_COLUMNS = frozenset({*CSV_COLUMNS, *TIME_COLUMNS, "location"})
TYPES = ("number", "integer", "boolean", "text", "none")

NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"-?\d+", re.ASCII)
_NAN_BITS = re.compile(r"NaN\(([0-9a-f]{16})\)")
_SPECIAL = {"nan": math.nan, "inf": math.inf, "infinity": math.inf, "-inf": -math.inf, "-infinity": -math.inf}
_NAN = struct.pack("<d", math.nan)

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def format_of(name: str, format: str | None = None) -> Format:
    """Return the format that is named, or the one of a file's suffix. Raises InputError."""
    if format is None:
        found = SUFFIXES.get(Path(name).suffix.lower())
        if found is None:
            raise InputError(f"the suffix of {name!r} does not tell the format; name one of {', '.join(get_args(Format))}")
        return found
    if format not in get_args(Format):
        raise InputError(f"unknown format {format!r}; these are known: {', '.join(get_args(Format))}")
    return format  # type: ignore[return-value]


class BadRow(NamedTuple):
    """A row that cannot be stored: its line (CSV, JSON lines) or row (Parquet, Arrow), from 1, and why."""

    number: int
    problem: str


def check_columns(names: Iterable[str], variable: str | None, needs_time: bool = True) -> None:
    """Check that a file with these columns can be imported. Raises InputError."""
    names = list(names)
    found = ", ".join(names) or "none"
    if twice := {name for name in names if name in INPUT_COLUMNS and names.count(name) > 1}:
        raise InputError(f"the column {min(twice)!r} is there twice; columns: {found}")
    if variable is None and "variable" not in names:
        raise InputError(f"there is no column 'variable', and no name was given for it; columns: {found}")
    if variable is not None and "variable" in names:
        raise InputError("a name was given for the variable, but the file has a column 'variable'")
    times = [name for name in TIME_COLUMNS if name in names]
    if len(times) > 1 or (needs_time and not times):
        raise InputError(f"exactly one of the columns {', '.join(TIME_COLUMNS)} has to be there; columns: {found}")


def as_point(number: int, row: dict[str, Any]) -> Point | BadRow:
    """Return the point of a row's fields, absent ones left out, or why there is none."""
    try:
        return Point(
            row.get("variable") or "",
            row.get("value"),
            time_of(row),
            row.get("unit"),
            row.get("group"),
            location_of(row),
            metadata_of(row.get("metadata")),
        )
    except (InputError, ValueError) as error:
        return BadRow(number, str(error))


def time_of(row: dict[str, Any]) -> Any:
    """Return the time of a row: ISO 8601 text as it is, or microseconds of `time_us` or `time_ms`."""
    time = row.get("time")
    if time is not None:
        return time
    for name, factor in (("time_us", 1), ("time_ms", 1000)):
        if (number := row.get(name)) is not None:
            return to_integer(number, name) * factor
    raise InputError("time is required")


def to_integer(number: object, name: str) -> int:
    if type(number) is int:
        return number
    if isinstance(number, str) and len(number) <= 20 and _INTEGER.fullmatch(number):
        return int(number)
    raise InputError(f"{name} must be a whole number, not {number!r}")


def location_of(row: dict[str, Any]) -> Any:
    """Return the location of a row: `lat` and `lng`, or `location` as an object or as JSON text."""
    lat, lng, location = row.get("lat"), row.get("lng"), row.get("location")
    if isinstance(location, str):
        location = to_object(location, "location")
    if lat is None and lng is None:
        return location
    if lat is None or lng is None:
        raise InputError(f"location needs both lat and lng; {'lat' if lat is None else 'lng'} is missing")
    if location is not None:
        raise InputError("give either lat and lng or location")
    return to_number(lat, "lat"), to_number(lng, "lng")


def metadata_of(metadata: Any) -> Any:
    """Return metadata as msgspec.Raw: the bytes of the JSON that came, checked."""
    if metadata is None:
        return None
    text = bytes(metadata) if isinstance(metadata, msgspec.Raw) else metadata
    to_object(text, "metadata")
    return msgspec.Raw(text.encode() if isinstance(text, str) else text)


def to_object(text: str | bytes, name: str) -> dict[str, Any]:
    try:
        return _decode_object(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InputError(f"{name} must be a JSON object: {error}") from None


def to_number(text: Any, name: str = "value") -> float:
    """Return the float of a JSON number, or of NaN, NaN(its 16 hexadecimal digits), Infinity, -Infinity."""
    if isinstance(text, str):
        if NUMBER.fullmatch(text):
            number = float(text)
            if math.isinf(number):
                raise InputError(f"{name} {text} is outside the range of a number")
            return number
        if (special := _SPECIAL.get(text.lower())) is not None:
            return special
        if match := _NAN_BITS.fullmatch(text):
            number = struct.unpack(">d", bytes.fromhex(match[1]))[0]
            if math.isnan(number):
                return number
    elif isinstance(text, (int, float)) and not isinstance(text, bool):
        try:
            return float(text)
        except OverflowError:
            raise InputError(f"{name} is outside the range of a number") from None
    raise InputError(f"{name} must be a number, not {text!r}")


def number_text(number: float) -> str:
    """Return text that `to_number` reads back bit for bit."""
    if math.isfinite(number):
        return repr(number)
    if math.isnan(number):
        return "NaN" if struct.pack("<d", number) == _NAN else f"NaN({struct.pack('>d', number).hex()})"
    return "Infinity" if number > 0 else "-Infinity"


def typed_value(value: Any, type: str) -> Value:
    """Return the value of a cell whose kind a `type` column names; None = the cell is empty."""
    match type:
        case "text":
            if value is None or isinstance(value, str):
                return value or ""
        case "number":
            return to_number(value)
        case "integer":
            return to_integer(value, "value")
        case "boolean":
            if isinstance(value, bool) or value in ("true", "false"):
                return value in (True, "true")
        case "none":
            if value is None:
                return None
        case _:
            raise InputError(f"unknown type {type!r}; these are known: {', '.join(TYPES)}")
    raise InputError(f"value {value!r} is not of type {type}")
