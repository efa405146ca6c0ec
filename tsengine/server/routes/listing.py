"""Lists of devices and of tokens: filters, order, pages and fields, from a query string."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from tsengine.server.dates import parse_instant
from tsengine.server.envelope import wrong_query
from tsengine.server.routes.queries import Arguments

PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX = 20, 10_000
PAGE_MAX = 10**9

EQUAL_FIELDS = ("id", "type", "connector", "network")
PATTERN_FIELDS = ("name", "description")
FLAG_FIELDS = ("active", "visible")
DATE_FIELDS = ("last_input", "created_at", "updated_at")

T = TypeVar("T")
Show = Callable[[T, str], Any]
"""Returns one field of a listed thing: text, boolean, microseconds, tags or None."""


def paged(things: Iterable[T], arguments: Arguments, show: Show[T], sortable: tuple[str, ...], default_order: str) -> list[T]:
    """Return the things of the page that a query asks for, in its order; things without the field come first.

    Raises:
        Refusal: 400; page, amount or orderBy is wrong.
    """
    field, _, direction = (arguments.one("orderBy") or default_order).partition(",")
    if field not in sortable or direction not in ("", "asc", "desc"):
        raise wrong_query("orderBy", f"orderBy must be a field of {', '.join(sortable)}, then ,asc or ,desc")

    def place(thing: T) -> tuple[bool, Any]:
        value = show(thing, field)
        return value is not None, value.lower() if isinstance(value, str) else value or 0

    ordered = sorted(things, key=place, reverse=direction == "desc")
    page = max(1, arguments.whole("page", 1, -PAGE_MAX, PAGE_MAX))
    amount = min(arguments.whole("amount", PAGE_ROWS_DEFAULT, 0, PAGE_MAX), PAGE_ROWS_MAX)
    return ordered[(page - 1) * amount : page * amount]


def picked(row: dict[str, Any], arguments: Arguments, default: tuple[str, ...], always: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return only the fields of a row that a query asks for; names that do not exist are ignored."""
    names = dict.fromkeys((*always, *(arguments.all("fields") or default)))
    return {name: row[name] for name in names if name in row}


def device_filter(arguments: Arguments, now_us: int) -> Callable[[Any, Show[Any]], bool]:
    """Return the test of `filter[...]`: all conditions must hold; names and tags compare without case, `*` is any run.

    Raises:
        Refusal: 400; a date cannot be read, or the filter's JSON.
    """
    filters, tags = _conditions(arguments)
    dates: dict[str, int] = {}
    for field in DATE_FIELDS:
        for text in filters.get(field, ()):
            time_us = parse_instant(text, now_us)
            if time_us is None:
                raise wrong_query(f"filter[{field}]", f"{text!r} is neither a date nor a span such as 1 day")
            dates[field] = time_us

    def fits(thing: Any, show: Show[Any]) -> bool:
        return (
            all(show(thing, field) in filters[field] for field in EQUAL_FIELDS if field in filters)
            and all(
                any(wildcard_fits(pattern, show(thing, field) or "") for pattern in filters[field])
                for field in PATTERN_FIELDS
                if field in filters
            )
            and all(show(thing, field) is (filters[field][-1].lower() in ("true", "1")) for field in FLAG_FIELDS if field in filters)
            and all((show(thing, field) or 0) >= time_us for field, time_us in dates.items())
            and all(
                any(wildcard_fits(key, tag.key) and (value is None or wildcard_fits(value, tag.value)) for tag in show(thing, "tags"))
                for key, value in tags
            )
        )

    return fits


def wildcard_fits(pattern: str, text: str) -> bool:
    """Whether a text fits a pattern in which `*` stands for any run of characters; without regard to case.

    Cost: linear in the text for each part of the pattern; a regular expression could take exponential time.
    """
    first, *rest = pattern.lower().split("*")
    text = text.lower()
    if not rest:
        return text == first
    *middle, last = rest
    if not (text.startswith(first) and text.endswith(last) and len(text) >= len(first) + len(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _conditions(arguments: Arguments) -> tuple[dict[str, list[str]], list[tuple[str, str | None]]]:
    """Return the plain conditions by field, and the (key, value) of each tag condition."""
    filters: dict[str, list[str]] = {}
    tags: dict[str, dict[str, str]] = {}
    if text := arguments.one("filter"):
        given = _filter_of_json(text)
        for number, tag in enumerate(given.pop("tags", ())):
            tags[f"json{number}"] = tag
        filters.update({name: value if isinstance(value, list) else [_text(value)] for name, value in given.items()})
    for path, values in arguments.nested.items():
        match path:
            case ("filter", "tags", place, "key" | "value" as part):
                tags.setdefault(place, {})[part] = values[-1]
            case ("filter", name) | ("filter", name, _):
                filters.setdefault(name, []).extend(values)
    return filters, [(tag.get("key", "*"), tag.get("value")) for tag in tags.values()]


def _filter_of_json(text: str) -> dict[str, Any]:
    try:
        given = msgspec.json.decode(text, type=dict[str, Any])
        if "tags" in given:
            given["tags"] = msgspec.convert(given["tags"], list[dict[str, str]])
        return given
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        raise wrong_query("filter", "filter must be a JSON object") from None


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
