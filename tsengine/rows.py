"""A stored point as the floors below the public border pass it on: one plain tuple, and which of them a Filter means."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from tsengine.types import Filter, Value


class Row(NamedTuple):
    """One stored point. `group` is already text; `metadata` is JSON; times are microseconds UTC."""

    sequence: int
    time_us: int
    variable: str
    value: Value
    unit: str | None
    group: str
    lat: float | None
    lng: float | None
    metadata: bytes | None
    received_us: int


def value_text(value: Value) -> str:
    """Return a value as the text that `Filter.values` is compared with: JavaScript's, so 2.0 is "2" and True is "true".

    A point without a value has the text "", as an empty text has; the matcher tells them apart.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number_text(value)
    return "" if value is None else str(value)


def _number_text(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value.is_integer() and abs(value) < 1e21:
        # Beyond 2**53 JavaScript prints the shortest digits that identify the number, then zeros.
        return str(int(value)) if abs(value) < 2**53 else format(Decimal(repr(value)), "f")
    if 1e-6 <= abs(value) < 1e21:
        return format(Decimal(repr(value)), "f")
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa}e{int(exponent):+d}"


def matcher(filter: Filter) -> Callable[[Row], bool]:
    """Return a function that tells whether a row meets every condition of a filter.

    Cost: a set lookup for each condition that is given; `values` makes the text of each row's value.
    """
    tests: list[Callable[[Row], bool]] = []
    if filter.start_us is not None:
        start_us = filter.start_us
        tests.append(lambda row: row.time_us >= start_us)
    if filter.end_us is not None:
        end_us = filter.end_us
        tests.append(lambda row: row.time_us <= end_us)
    if filter.variables is not None:
        variables = frozenset(filter.variables)
        tests.append(lambda row: row.variable in variables)
    if filter.ids is not None:
        ids = frozenset(filter.ids)
        tests.append(lambda row: row.sequence in ids)
    if filter.groups is not None:
        groups = frozenset(filter.groups)
        tests.append(lambda row: row.group in groups)
    if filter.values is not None:
        values = frozenset(filter.values)
        tests.append(lambda row: row.value is not None and value_text(row.value) in values)
    if filter.units is not None:
        units = frozenset(filter.units)
        tests.append(lambda row: row.unit in units)
    if filter.where is not None:
        admits = filter.where.admits
        tests.append(lambda row: admits(row.value))
    if filter.having == "value":
        tests.append(lambda row: row.value is not None)
    if filter.having == "location":
        tests.append(lambda row: row.lat is not None)
    if len(tests) == 1:
        return tests[0]
    return lambda row: all(test(row) for test in tests)
