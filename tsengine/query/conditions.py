"""The Condition of a Filter: its tests of single points in the form in which the core takes them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tsengine.core.store.condition import Condition
from tsengine.rows import value_text
from tsengine.types import Filter
from tsengine.where import NOTHING, Numbers, Where


def condition_of(filter: Filter, device: int) -> Condition | None:
    """Return what a filter asks of single points of a device, or None if it asks for nothing but variables and times."""
    where = filter.where
    if filter.values is not None:
        where = (where or Where()).among(meanings(filter.values))
    if filter.having == "value" and where is None:
        where = Where()
    if where is None and filter.groups is None and filter.units is None and filter.having is None:
        return None
    where = where or Where()
    has_texts = where.texts is None or bool(where.texts)
    return Condition(
        device,
        tests_value=filter.values is not None or filter.where is not None or filter.having == "value",
        numbers=(*bounds_of(where.numbers), where.nan, where.numbers.listed, where.numbers.excluded),
        integers=(*bounds_of(where.integers), where.integers.listed, where.integers.excluded),  # type: ignore[arg-type]
        booleans=tuple(where.booleans),
        texts=(where.texts, where.texts_excluded) if has_texts else None,
        groups=None if filter.groups is None else frozenset(filter.groups),
        units=None if filter.units is None else frozenset(filter.units),
        has_location=filter.having == "location",
    )


def bounds_of(numbers: Numbers) -> tuple[float | int, float | int]:
    """Return the bounds; those that nothing meets may be too large for the core, so it gets others."""
    return (numbers.low, numbers.high) if numbers.low <= numbers.high else (NOTHING.low, NOTHING.high)


def meanings(texts: Iterable[str]) -> list[float | int | bool | str]:
    """Return every value that has one of these texts."""
    found: list[float | int | bool | str] = []
    for text in texts:
        found.append(text)
        if text in ("true", "false"):
            found.append(text == "true")
        elif text == "NaN":
            found.append(math.nan)
        else:
            found += [value for value in numbers_like(text) if value_text(value) == text]
    return found


def numbers_like(text: str) -> list[float | int]:
    found: list[float | int] = []
    for kind in (float, int):
        try:
            found.append(kind(text))
        except (ValueError, OverflowError):
            continue
    return found
