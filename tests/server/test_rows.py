"""Rows of points: json_rows writes what msgspec makes of WireRow, whatever is in the points."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsengine.core.json_rows import json_rows
from tsengine.core.places import Places
from tsengine.server.wire import row_of
from tsengine.types import Location, Point

DEVICE = "0123456789abcdef01234567"

texts = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.floats() | st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**54), 2**54).map(float)
moments = st.datetimes(timezones=st.just(UTC))
points = st.builds(
    Point,
    variable=texts,
    value=numbers | st.booleans() | texts | st.none(),
    time=moments,
    unit=st.none() | texts,
    group=st.none() | texts,
    location=st.none() | st.builds(Location, st.floats(-90, 90), st.floats(-180, 180)),
    metadata=st.none() | st.dictionaries(texts, texts | st.integers(-5, 5) | st.none(), max_size=3),
    id=st.text("0123456789abcdef", min_size=24, max_size=24),
    created_at=st.none() | moments,
)


@given(st.lists(points, max_size=5), st.booleans())
def test_rows_are_what_msgspec_makes_of_them(found: list[Point], details: bool) -> None:
    assert json_rows(found, DEVICE, details) == msgspec.json.encode([row_of(point, DEVICE, details) for point in found])


@pytest.mark.parametrize("value", [0.0, -0.0, 2.0**53, -(2.0**53), 2.0**53 + 2, 1e300, 5e-324, 0.1, math.nan, math.inf, -math.inf])
def test_numbers_are_javascripts(value: float) -> None:
    point = Point("v", value, datetime(1, 1, 1, tzinfo=UTC), id="0" * 24)
    assert json_rows([point], DEVICE, False) == msgspec.json.encode([row_of(point, DEVICE, False)])


def test_many_rows_are_whole() -> None:
    found = [Point("v" * (n % 90 + 1), "é" * n, datetime(2024, 5, 6, 7, 8, 9, 10_999, UTC), id="f" * 24) for n in range(1_000)]
    assert json_rows(found, DEVICE, True) == msgspec.json.encode([row_of(point, DEVICE, True) for point in found])


def test_what_is_no_point_is_refused() -> None:
    with pytest.raises(TypeError, match="not of dict"):
        json_rows([{"variable": "a"}], DEVICE, False)  # type: ignore[list-item]


class Slotted:
    __slots__ = ("a", "b")


class Foreign:
    """Has another class's place of a field, which would be read from where its objects have none."""

    a = Slotted.__dict__["a"]
    b = 5


class Computed:
    __slots__ = ("a",)

    @property
    def b(self) -> int:
        return 1


@pytest.mark.parametrize(("kind", "known"), [(Slotted, True), (Foreign, False), (Computed, False), (object, False), (complex, False)])
def test_only_fields_with_a_place_of_their_own_are_read_there(kind: Any, known: bool) -> None:
    assert (Places(kind, ("a", "b")).kind is kind) is known
    assert Places(complex, ("real",)).kind is None  # a place, but of a double
