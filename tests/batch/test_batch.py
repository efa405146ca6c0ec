"""Batches: what goes in comes out bit for bit; any bytes decode or raise CorruptionError."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.making import RECEIVED_US, exact, expected_rows, record_of
from tests.strategies import PERIODS, QUICK, any_times, batches, points
from tsengine.core import batch
from tsengine.core.calendar import period_of
from tsengine.core.ingest.points import from_points
from tsengine.core.store.memtable import Memtable
from tsengine.errors import CorruptionError
from tsengine.ids import group_id

SMALL: dict[str, list[dict[str, Any]]] = {
    "one plain point": [{"variable": "t", "value": 1.5, "time": 10}],
    "every column": [
        {"variable": "t", "value": 1.5, "time": 10, "unit": "C", "group": "trip", "location": (1.0, 2.0), "metadata": {"a": "ü"}},
        {"variable": "état", "value": "text", "time": 9, "group": "0123456789abcdef01234567"},
        {"variable": "t", "value": True, "time": 11},
        {"variable": "u", "value": None, "time": 11, "location": (3.0, 4.0)},
        {"variable": "t", "value": -5, "time": 12, "unit": ""},
    ],
}


def decodes_or_is_damaged(record: bytes) -> None:
    """Reading must end with rows or CorruptionError, the same from both readers of a record."""
    try:
        rows = batch.rows(record)
    except CorruptionError:
        with pytest.raises(CorruptionError):
            Memtable().apply(record, 1)
        return
    assert len(rows) == batch.count_of(record)
    assert Memtable().apply(record, 1) == len(rows)


@given(st.lists(points(any_times), min_size=1, max_size=30), st.integers(0, 2**32 - 1), st.integers(1, 2**62 - 100))
@QUICK
def test_rows_give_back_what_was_put_in(given_points: list[dict[str, Any]], device: int, first_sequence: int) -> None:
    record = record_of(device, given_points, first_sequence, received_us=RECEIVED_US + 1)
    rows = expected_rows(device, given_points, first_sequence, RECEIVED_US + 1)
    assert [exact(row) for row in batch.rows(record)] == [exact(row) for row in rows]
    assert batch.device_of(record) == device
    assert batch.count_of(record) == len(given_points)
    assert batch.first_sequence_of(record) == first_sequence
    times = [point["time"] for point in given_points]
    assert batch.time_bounds_of(record) == (min(times), max(times))


@given(st.lists(points(any_times), min_size=1, max_size=30), st.sampled_from(PERIODS))
@QUICK
def test_period_counts_are_those_of_the_times(given_points: list[dict[str, Any]], period: str | None) -> None:
    record = record_of(1, given_points, 1)
    counts: dict[int, int] = {}
    for point in given_points:
        number = period_of(point["time"], period)
        counts[number] = counts.get(number, 0) + 1
    assert batch.period_counts(record, period) == counts


def test_a_group_without_a_name_is_shared_by_the_batch() -> None:
    record = record_of(9, [{"variable": "a", "time": 1}, {"variable": "b", "time": 2, "group": ""}], 50)
    assert {row.group for row in batch.rows(record)} == {group_id(9, 50)}


@pytest.mark.parametrize("name", SMALL)
def test_every_flipped_byte_decodes_or_is_damaged(name: str) -> None:
    record = record_of(3, SMALL[name], 1)
    for at in range(len(record)):
        for flip in (0x01, 0x80, 0xFF):
            decodes_or_is_damaged(record[:at] + bytes([record[at] ^ flip]) + record[at + 1 :])


@pytest.mark.parametrize("name", SMALL)
def test_every_cut_length_is_damaged(name: str) -> None:
    record = record_of(3, SMALL[name], 1)
    for length in range(len(record)):
        with pytest.raises(CorruptionError):
            batch.rows(record[:length])
    with pytest.raises(CorruptionError):
        batch.rows(record + bytes(8))


@given(st.binary(max_size=300))
@QUICK
def test_random_bytes_decode_or_are_damaged(data: bytes) -> None:
    decodes_or_is_damaged(data)


@given(st.lists(points(any_times), min_size=1, max_size=5), st.data())
@QUICK
def test_random_damage_decodes_or_is_damaged(given_points: list[dict[str, Any]], data: st.DataObject) -> None:
    record = bytearray(record_of(1, given_points, 1))
    for _ in range(data.draw(st.integers(1, 8))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    decodes_or_is_damaged(bytes(record))


def test_header_claims_of_huge_counts_are_damaged() -> None:
    record = record_of(1, SMALL["every column"], 1)
    for offset in (12, 48, 52):  # count, string_count, string_bytes
        for claim in (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x10000):
            with pytest.raises(CorruptionError):
                batch.rows(record[:offset] + claim.to_bytes(4, "little") + record[offset + 4 :])


def test_a_batch_of_equal_points_is_a_few_bytes() -> None:
    assert len(from_points([{"variable": "t", "value": 1.0, "time": 5}] * 100_000, 0)) < 200


def test_large_batch_keeps_its_order() -> None:
    generator = random.Random(5)
    given_points: list[dict[str, Any]] = [
        {"variable": f"v{i % 7}", "value": generator.random(), "time": generator.randrange(10**15)} for i in range(20_000)
    ]
    rows = batch.rows(record_of(2, given_points, 10))
    assert [row.time_us for row in rows] == [point["time"] for point in given_points]
    assert [row.value for row in rows] == [point["value"] for point in given_points]


@given(batches(any_times))
@QUICK
def test_a_builder_that_is_used_again_forgets_the_batch_before(several: list[list[dict[str, Any]]]) -> None:
    for given_points in several:
        assert [exact(row) for row in batch.rows(record_of(1, given_points, 1))] == [
            exact(row) for row in expected_rows(1, given_points, 1)
        ]
