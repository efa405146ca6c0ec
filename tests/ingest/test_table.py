"""Whole columns to records: the rows they are, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.making import KIND_BOOLEAN, KIND_INTEGER, RECEIVED_US, exact, expected_rows, same_kind, table_of
from tests.strategies import QUICK, TIME_MAX_US, any_times, points
from tsengine.core import batch
from tsengine.core.ingest.rows import record_of
from tsengine.core.ingest.table import Column, Table
from tsengine.errors import InputError, LimitError


@QUICK
@given(st.lists(points(any_times), min_size=1, max_size=30), st.sampled_from([0, 1, 9]))
def test_columns_give_the_rows_of_the_points(items: list[dict[str, Any]], skipped: int) -> None:
    items = same_kind(items)
    record = record_of(table_of(items, skipped=skipped))
    batch.stamp(record, 4, 9)
    assert [exact(row) for row in batch.rows(record)] == [exact(row) for row in expected_rows(4, items, 9)]


@QUICK
@given(st.lists(st.tuples(points(any_times), st.integers(1, 4)), min_size=1, max_size=30))
def test_each_device_gets_its_rows_in_their_order(items: list[tuple[dict[str, Any], int]]) -> None:
    made = same_kind(item for item, _ in items)
    table = table_of(made, [device for _, device in items])
    assert [table.part_device(part) for part in range(table.part_count)] == sorted({device for _, device in items})
    for part in range(table.part_count):
        device = table.part_device(part)
        own = [item for item, (_, of) in zip(made, items, strict=True) if of == device]
        record = record_of(table, part)
        batch.stamp(record, device, 9)
        assert [exact(row) for row in batch.rows(record)] == [exact(row) for row in expected_rows(device, own, 9)]
        assert table.time_bounds(part) == batch.time_bounds_of(record)
        for period in (None, "day", "week", "month", "quarter"):
            assert table.period_counts(part, period) == batch.period_counts(record, period)


def coded(*codes: int, texts: list[Any], **options: Any) -> Column:
    return Column(np.array(codes, np.int32), texts=texts, **options)


def simple(**changed: Any) -> bytes:
    arguments: dict[str, Any] = {
        "received_us": RECEIVED_US,
        "time": Column(np.arange(4, dtype=np.int64)),
        "variable": coded(0, texts=["t"], is_constant=True),
        "number": Column(np.arange(4, dtype=np.float64)),
        "count": 4,
    }
    table = Table(**{**arguments, **changed})
    table.assign([1])
    return record_of(table)


DEGREES = Column(np.zeros(4))
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"time": Column(np.arange(3))}, "column 'time' has 3 cells, 4 are needed"),
    ({"time": Column(np.arange(4), None, 1)}, "column 'time' has 4 cells, 5 are needed"),
    ({"time": Column(None)}, "column 'time' must be set in every row"),
    ({"time": Column(np.array([0, 1, 2, TIME_MAX_US + 1]))}, "years 1 to 9999"),
    ({"time": Column(np.array([0, 1, 2, -(2**63)]))}, "years 1 to 9999"),
    ({"variable": coded(0, 0, 0, texts=["t"])}, "column 'variable' has 3 cells"),
    ({"variable": coded(0, 0, 0, 1, texts=["t"])}, "column 'variable', row 3: its code is outside the dictionary of 1 texts"),
    ({"variable": coded(0, 0, -1, 0, texts=["t"])}, "column 'variable', row 2"),
    ({"variable": Column(np.zeros(4, np.int32), b"\x0f", texts=["t"])}, "column 'variable' must be set in every row"),
    ({"variable": coded(0, 0, 1, 1, texts=["t", "a b"])}, "index 2: variable 'a b' must not contain"),
    ({"number": Column(np.zeros(4), b"")}, "bitmap of 0 bytes"),
    ({"number": Column(np.zeros(4)), "boolean": Column(b"\x0f", b"\x04")}, "row 2 has two values"),
    ({"number": Column(np.zeros(4)), "number_kind": KIND_BOOLEAN}, "not the kind of a number"),
    ({"integer": Column(np.arange(4)), "number_kind": KIND_INTEGER}, "both hold integers"),
    ({"integer": Column(np.arange(4)), "number": None, "boolean": Column(b"\x0f")}, "row 0 has two values"),
    ({"number": None, "text": coded(0, 0, 0, 1, texts=["x"])}, "column 'value_text', row 3"),
    ({"number": None, "text": coded(0, 0, 0, 2**30, texts=["x"])}, "column 'value_text', row 3"),
    ({"number": None, "text": coded(0, 0, 0, 0, texts=["x" * 6145])}, "6144 bytes"),
    ({"unit": coded(0, 0, 0, 1, texts=["C"])}, "column 'unit', row 3"),
    ({"unit": coded(0, 0, 0, 1, texts=["C", "u" * 26])}, "index 3: unit must have at most 25 characters"),
    ({"metadata": coded(0, 0, 0, 0, texts=["no json"])}, "metadata must be a JSON object"),
    ({"metadata": coded(0, 0, 0, 0, texts=[[]])}, "metadata must be a JSON object"),
    ({"group": coded(0, 1, 0, 0, texts=["g"])}, "column 'group', row 1"),
    ({"group": Column(bytes(47))}, "column 'group' has 3 cells, 4 are needed"),
    ({"lat": DEGREES}, "columns 'lat' and 'lng' belong together"),
    ({"lat": Column(np.zeros(3)), "lng": DEGREES}, "column 'lat' has 3 cells"),
    ({"lat": Column(np.zeros(4), b"\x0f"), "lng": DEGREES}, "must mark a missing location with NaN"),
    ({"lat": Column(np.array([0, 0, 91.0, 0])), "lng": DEGREES}, "index 2: location lat must be between -90 and 90"),
    ({"lat": DEGREES, "lng": Column(np.array([0, 0, 0, -181.0]))}, "index 3: location lat must be between"),
]


@pytest.mark.parametrize(("changed", "problem"), FAULTS, ids=lambda part: str(part)[:60].replace("\n", " "))
def test_columns_outside_their_limits_are_refused(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=re.escape(problem)):
        simple(**changed)


def test_sizes_outside_the_limits_are_refused() -> None:
    with pytest.raises(LimitError, match="1 to 4294967295 rows, not 0"):
        simple(count=0)
    times = Column(np.zeros(1_048_577, np.int64))
    with pytest.raises(LimitError, match="at most 1048576"):
        simple(time=times, number=None, count=1_048_577)


def test_constant_columns_are_stored_once() -> None:
    count = 10_000
    time = np.arange(count, dtype=np.int64)
    unit = Column(np.zeros(count, np.int32), texts=["C"])
    record = simple(time=Column(time), number=Column(time.astype(float)), unit=unit, count=count)
    assert len(record) < 2 * 80_000 + 300
    assert {(row.variable, row.unit) for row in batch.rows(record)} == {("t", "C")}


def test_a_location_with_half_a_nan_is_none() -> None:
    lat, lng = Column(np.array([1.0, np.nan, 1.0, -0.0])), Column(np.array([2.0, 2.0, np.nan, 0.0]))
    rows = batch.rows(simple(lat=lat, lng=lng))
    assert [(row.lat, row.lng) for row in rows] == [(1.0, 2.0), (None, None), (None, None), (0.0, 0.0)]


def test_integers_beside_floats() -> None:
    numbers, integers = Column(np.array([0.5, 2.0, 1.0, 3.5])), Column(np.array([7, 2**60 + 1, 1, 7]), b"\x06")
    values = [row.value for row in batch.rows(simple(number=numbers, integer=integers))]
    assert values == [0.5, 2**60 + 1, 1, 3.5]
    assert [type(value) for value in values] == [float, int, int, float]


def test_texts_that_no_row_uses_are_nobodys_data() -> None:
    record = simple(unit=Column(np.array([0, 2, 0, 7], np.int32), b"\x03", texts=["C", "secret", "F"]))
    assert b"secret" not in record
    assert [row.unit for row in batch.rows(record)] == ["C", "F", None, None]
