"""Comparisons with the value of a point, turned into what counts of each kind: bounds and sets, exact for every number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tsengine.errors import InputError

OPERATORS = ("gt", "gte", "lt", "lte", "eq", "ne", "in")

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1


class Numbers(msgspec.Struct, frozen=True):
    """Which numbers of one kind count: within the bounds, among `listed` (None = any), not among `excluded`."""

    low: float | int
    high: float | int
    listed: frozenset[float | int] | None = None
    excluded: frozenset[float | int] = frozenset()

    def admits(self, value: float | int) -> bool:
        return self.low <= value <= self.high and (self.listed is None or value in self.listed) and value not in self.excluded

    def within(self, low: float | int, high: float | int) -> Numbers:
        return Numbers(max(self.low, low), min(self.high, high), self.listed, self.excluded)

    def among(self, listed: Iterable[float | int]) -> Numbers:
        left = frozenset(value for value in listed if self.admits(value))
        return Numbers(min(left), max(left), left) if left else NOTHING

    def without(self, values: Iterable[float | int]) -> Numbers:
        return Numbers(self.low, self.high, self.listed, self.excluded.union(values))


NOTHING = Numbers(1, 0)


class Where(msgspec.Struct, frozen=True):
    """What counts of each kind of value. A point without a value never does.

    Attributes:
        numbers, integers: bounds and sets; nan: whether NaN counts.
        booleans: those that count.
        texts: any of these (None = any text), but not those excluded.
    """

    numbers: Numbers = Numbers(-math.inf, math.inf)
    nan: bool = True
    integers: Numbers = Numbers(INTEGER_MIN, INTEGER_MAX)
    booleans: frozenset[bool] = frozenset({False, True})
    texts: frozenset[str] | None = None
    texts_excluded: frozenset[str] = frozenset()

    def admits(self, value: Any) -> bool:
        """Whether a value counts."""
        if value is None:
            return False
        if isinstance(value, bool):
            return value in self.booleans
        if isinstance(value, str):
            return (self.texts is None or value in self.texts) and value not in self.texts_excluded
        if isinstance(value, float):
            return self.nan if math.isnan(value) else self.numbers.admits(value)
        return self.integers.admits(value)

    def among(self, values: Iterable[Any]) -> Where:
        """Return this with a value equal to any of these, too; numbers are equal to integers, but not to booleans."""
        wanted = list(values)
        texts = frozenset(value for value in wanted if isinstance(value, str))
        return Where(
            numbers=self.numbers.among(floats_of(wanted)),
            nan=self.nan and any(isinstance(value, float) and math.isnan(value) for value in wanted),
            integers=self.integers.among(integers_of(wanted)),
            booleans=self.booleans.intersection(value for value in wanted if isinstance(value, bool)),
            texts=texts if self.texts is None else texts & self.texts,
            texts_excluded=self.texts_excluded,
        )

    def without(self, value: Any) -> Where:
        """Return this without values equal to one."""
        return Where(
            numbers=self.numbers.without(floats_of([value])),
            nan=self.nan,
            integers=self.integers.without(integers_of([value])),
            booleans=self.booleans - {value} if isinstance(value, bool) else self.booleans,
            texts=self.texts,
            texts_excluded=self.texts_excluded | {value} if isinstance(value, str) else self.texts_excluded,
        )

    def compared(self, operator: str, bound: float | int) -> Where:
        """Return this with numbers only that are gt, gte, lt or lte a bound, too."""
        is_from = operator in ("gt", "gte")
        is_strict = operator in ("gt", "lt")
        number, integer = float_from(bound if is_from else -bound, is_strict), integer_from(bound if is_from else -bound, is_strict)
        return Where(
            numbers=NOTHING if number is None else self.numbers.within(*((number, math.inf) if is_from else (-math.inf, -number))),
            nan=False,
            integers=self.integers.within(*((integer, INTEGER_MAX) if is_from else (INTEGER_MIN, -integer))),
            booleans=frozenset(),
            texts=frozenset(),
        )


def parse_where(where: Mapping[str, Any]) -> Where:
    """Return what `where` of a read means: a dict of operators, all of which have to hold.

    Raises:
        InputError: an operator is unknown, or its operand is nothing that a value can be compared with.
    """
    if not isinstance(where, Mapping):
        raise InputError(f"where must be a dict like {{'gt': 20}}, not {where!r}")
    found = Where()
    for operator, operand in where.items():
        if operator not in OPERATORS:
            raise InputError(f"where: unknown comparison {operator!r}; these are known: {', '.join(OPERATORS)}")
        if operator == "in":
            if isinstance(operand, str) or not isinstance(operand, Iterable):
                raise InputError(f"where: 'in' takes a list of values, not {operand!r}")
            found = found.among([checked(value, operator) for value in operand])
        elif operator == "eq":
            found = found.among([checked(operand, operator)])
        elif operator == "ne":
            found = found.without(checked(operand, operator))
        else:
            bound = checked(operand, operator)
            if isinstance(bound, (bool, str)) or bound != bound:
                raise InputError(f"where: {operator!r} takes a number, not {operand!r}")
            found = found.compared(operator, bound)
    return found


def checked(value: Any, operator: str) -> float | int | bool | str:
    value = value.item() if hasattr(value, "dtype") and hasattr(value, "item") else value
    if not isinstance(value, (bool, int, float, str)):
        raise InputError(f"where: {operator!r} takes numbers, booleans or text, not {value!r}")
    return value


def numbers_of(values: Iterable[Any]) -> list[float | int]:
    return [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value]


def floats_of(values: Iterable[Any]) -> list[float]:
    """Return the floats that are equal to one of the values."""
    found = []
    for value in numbers_of(values):
        try:
            near = float(value)
        except OverflowError:
            continue
        if near == value:
            found.append(near)
    return found


def integers_of(values: Iterable[Any]) -> list[int]:
    """Return the integers that are equal to one of the values."""
    return [int(value) for value in numbers_of(values) if math.isfinite(value) and int(value) == value]


def float_from(bound: float | int, is_above: bool) -> float | None:
    """Return the smallest float that is at least a bound, or above it; None if there is none."""
    try:
        near = float(bound)
    except OverflowError:
        near = math.inf if bound > 0 else -math.inf
    if near < bound or (is_above and near == bound):
        return math.nextafter(near, math.inf) if near < math.inf else None
    return near


def integer_from(bound: float | int, is_above: bool) -> int:
    """Return the smallest integer that is at least a bound, or above it; one too many for none."""
    if isinstance(bound, float) and math.isinf(bound):
        return INTEGER_MAX + 1 if bound > 0 else INTEGER_MIN
    return math.floor(bound) + 1 if is_above else math.ceil(bound)
