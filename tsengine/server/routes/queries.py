"""What a query string asks for: array spellings, dates and query functions of GET and DELETE on data.

`parse_query` reads the text. What it returns is answered by reads.py.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, tzinfo
from typing import Any, Literal
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import msgspec

from tsengine.limits import QUERY_ROWS_MAX
from tsengine.server.dates import DAY_US, add_months, parse_instant, to_us
from tsengine.server.envelope import Refusal, wrong_query
from tsengine.types import Order, to_datetime

END_QUERIES: dict[str, tuple[str, Literal["value", "location"] | None, Literal["time", "insert"]]] = {
    "last_item": ("last", None, "time"),
    "first_item": ("first", None, "time"),
    "last_value": ("last", "value", "time"),
    "first_value": ("first", "value", "time"),
    "last_location": ("last", "location", "time"),
    "first_location": ("first", "location", "time"),
    "last_insert": ("last", None, "insert"),
    "first_insert": ("first", None, "insert"),
}
"""Queries that give one row a variable: which end, what the row must have, and the order that decides."""

SCALAR_QUERIES = ("count", "avg", "sum")
QUERIES = ("default", *END_QUERIES, "min", "max", *SCALAR_QUERIES, "aggregate", "conditional")
NEEDS_START = ("avg", "sum", "conditional")
INTERVALS = ("minute", "hour", "day", "month", "quarter", "year")
FUNCTIONS = {"aggregate": ("avg", "sum", "min", "max"), "conditional": ("gt", "gte", "lt", "lte", "eq", "ne")}
ORDERS: dict[str, Order] = {"ascending": "asc", "asc": "asc", "descending": "desc", "desc": "desc"}

RANGE_TOLERANCE_US = 3 * DAY_US
"""What avg and sum allow beyond a calendar month: TagoIO's own server refuses from 1.1 months on."""

SKIP_MAX = 2**53

_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")


class DataQuery(msgspec.Struct, frozen=True):
    """A parsed query on data. `None` = no condition; times are inclusive microseconds; qty None = the query's default."""

    query: str = "default"
    variables: list[str] | None = None
    groups: list[str] | None = None
    values: list[str] | None = None
    ids: list[str] | None = None
    start_us: int | None = None
    end_us: int | None = None
    qty: int | None = None
    skip: int = 0
    order: Order = "desc"
    details: bool = False
    function: str = ""
    interval: str = ""
    operand: float = 0.0

    @property
    def has_conditions(self) -> bool:
        """Whether it asks for more than variables and a range of time."""
        return not (self.groups is None and self.values is None and self.ids is None)

    @property
    def is_indexed(self) -> bool:
        """Whether a device's aggregates can answer it: they know nothing of values as text and of ids."""
        return self.values is None and self.ids is None

    def filters(self) -> dict[str, Any]:
        """Return the conditions other than the variables as keyword arguments of a device's reads."""
        return {"start": self.start_us, "end": self.end_us, "groups": self.groups, "values": self.values, "ids": self.ids}


class Arguments:
    """The pairs of a query string, by name, whatever the spelling: `a=1&a=2`, `a[]=1`, `a[0]=1&a[1]=2`.

    Names with text in brackets (`filter[tags][0][key]`) keep it as a path.
    """

    def __init__(self, query_string: str) -> None:
        self._values: dict[str, list[tuple[int, str]]] = {}
        self.nested: dict[tuple[str, ...], list[str]] = {}
        for key, value in parse_qsl(query_string, keep_blank_values=True):
            found = _KEY.fullmatch(key)
            if found is None:
                continue
            path = tuple(_PART.findall(found[2]))
            if not path:
                self._values.setdefault(found[1], []).append((0, value))
            elif len(path) == 1 and (not path[0] or path[0].isdecimal()):
                self._values.setdefault(found[1], []).append((int(path[0][:9] or 0), value))
            else:
                self.nested.setdefault((found[1], *path), []).append(value)

    def all(self, *names: str) -> list[str]:
        """Return every value given under these names, without repetitions, by index, then as written."""
        pairs = [pair for name in names for pair in self._values.get(name, ())]
        return list(dict.fromkeys(value for _, value in sorted(pairs, key=lambda pair: pair[0])))

    def one(self, *names: str) -> str | None:
        """Return the last value given under these names; blank counts as absent."""
        for name in names:
            for _, value in reversed(self._values.get(name, ())):
                if value:
                    return value
        return None

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number within bounds.

        Raises:
            Refusal: 400, naming the field and its bounds.
        """
        text = self.one(name)
        if text is None:
            return default
        if not re.fullmatch(r"-?\d{1,18}(\.0+)?", text, re.ASCII) or not low <= int(text.split(".")[0]) <= high:
            raise wrong_query(name, f"{name} must be a whole number from {low} to {high}")
        return int(text.split(".")[0])

    def flag(self, *names: str) -> bool | None:
        """Return a boolean as both SDKs write it, or None when it is not given."""
        text = self.one(*names)
        return None if text is None else text.lower() in ("true", "1")


def parse_query(query_string: str, now_us: int) -> DataQuery:
    """Return the query of a query string.

    Raises:
        Refusal: 400; a parameter has a value it cannot have, and which.
    """
    arguments = Arguments(query_string)
    query = arguments.one("query") or "default"
    query = "default" if query == "defaultQ" else query
    if query not in QUERIES:
        raise wrong_query("query", f"query must be one of {', '.join(sorted(QUERIES))}")
    zone = zone_of(arguments)
    start_us, end_us = (date_of(arguments, name, now_us, zone) for name in ("start_date", "end_date"))
    if query in NEEDS_START and start_us is None:
        raise Refusal(400, "start_date field is required")
    if query in ("avg", "sum") and start_us is not None:
        _check_range(query, start_us, now_us if end_us is None else end_us)
    order = arguments.one("ordination")
    if order is not None and order.lower() not in ORDERS:
        raise wrong_query("ordination", "ordination must be ascending or descending")
    is_conditional = query == "conditional"
    return DataQuery(
        query=query,
        variables=list(dict.fromkeys(name.lower() for name in arguments.all("variables", "variable") if name)) or None,
        groups=[group for group in arguments.all("groups", "group", "series", "serie") if group] or None,
        values=_values(arguments.all("values") + ([] if is_conditional else arguments.all("value"))) or None,
        ids=[id.lower() for id in arguments.all("ids", "id") if id] or None,
        start_us=start_us,
        end_us=end_us,
        qty=arguments.whole("qty", 0, 0, QUERY_ROWS_MAX) if arguments.one("qty") else None,
        skip=arguments.whole("skip", 0, 0, SKIP_MAX),
        order="desc" if order is None else ORDERS[order.lower()],
        details=bool(arguments.flag("details", "detail")),
        function=_choice(arguments, query, "function", FUNCTIONS.get(query)),
        interval=_choice(arguments, query, "interval", INTERVALS if query == "aggregate" else None),
        operand=_operand(arguments) if is_conditional else 0.0,
    )


def _values(texts: list[str]) -> list[str]:
    """Return the texts of values to look for; the Python client writes booleans as `True` and `False`."""
    return texts + [text.lower() for text in texts if text in ("True", "False")]


def _choice(arguments: Arguments, query: str, name: str, allowed: tuple[str, ...] | None) -> str:
    """Return the word that a query function needs, one of those allowed; other queries ignore it."""
    if allowed is None:
        return ""
    word = arguments.one(name)
    if word not in allowed:
        raise wrong_query(name, f"{name} must be one of {', '.join(allowed)} for query={query}")
    return word


def _check_range(query: str, start_us: int, end_us: int) -> None:
    try:
        latest_us = to_us(add_months(to_datetime(start_us), 1)) + RANGE_TOLERANCE_US
    except OverflowError:
        return
    if end_us > latest_us:
        raise Refusal(400, f"The maximum range for {query} is 1 month between start_end and end_date")


def zone_of(arguments: Arguments) -> tzinfo:
    """Return the time zone that a query names; UTC if it names none. Raises Refusal: 400."""
    name = arguments.one("timezone")
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise wrong_query("timezone", f"timezone {name!r} is no IANA time zone, like Europe/Berlin") from None


def date_of(arguments: Arguments, name: str, now_us: int, zone: tzinfo) -> int | None:
    """Return the microseconds of a date of a query, or None when it is not given. Raises Refusal: 400."""
    text = arguments.one(name)
    if text is None:
        return None
    time_us = parse_instant(text, now_us, zone=zone, at_end=name == "end_date")
    if time_us is None:
        raise Refusal(400, f"Invalid {name.replace('_', ' ')}")
    return time_us


def _operand(arguments: Arguments) -> float:
    try:
        number = float(arguments.one("value") or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise wrong_query("value", "value must be a number for query=conditional")
    return number
