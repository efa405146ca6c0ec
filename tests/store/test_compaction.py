"""Compaction: which segments are merged, that it ends, and that nothing readable changes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.store.making import ordered, random_points, read_all
from tests.store.storing import Stored
from tests.store.test_columnar import month_points
from tests.strategies import JANUARY_2024_US
from tsengine.core.calendar import period_of
from tsengine.store.compaction import MERGE_COUNT, by_month, is_improvable, next_merge
from tsengine.store.period import chunk_bounds

DAY_US = 86_400_000_000
MONTH = period_of(JANUARY_2024_US, "month")


def test_four_segments_of_a_month_and_tier_become_one(stored: Stored) -> None:
    stored.add_device()
    for number in range(MERGE_COUNT):
        assert next_merge(stored.store.view.segments) == []
        stored.append(month_points(MONTH))
        stored.append(month_points(MONTH + number))  # other months count for themselves
        stored.seal()
    assert len(next_merge(stored.store.view.segments)) == MERGE_COUNT
    assert stored.merge_due(None)
    assert not stored.merge_due(None)
    tiers = {month: [live.entry.tier for live in segments] for month, segments in by_month(stored.store.view.segments).items()}
    assert tiers == {MONTH: [1], MONTH + 1: [0], MONTH + 2: [0], MONTH + 3: [0]}
    stored.check()
    stored.reopen()
    stored.check()


def test_points_are_written_once_a_tier(stored: Stored) -> None:
    stored.add_device()
    merges = 0
    for number in range(MERGE_COUNT**3):
        stored.append([{"variable": "t", "value": float(number), "time": JANUARY_2024_US + number}])
        stored.seal()
        while stored.merge_due(None):
            merges += 1
    assert [live.entry.tier for live in stored.store.view.segments] == [3]
    assert merges == MERGE_COUNT**2 + MERGE_COUNT + 1
    stored.check()


@pytest.mark.parametrize("seed", range(3))
def test_all_months_are_merged_and_then_nothing_is_left_to_do(stored: Stored, seed: int) -> None:
    generator = random.Random(seed)
    for device in (1, 2, 3):
        stored.add_device(device, generator.choice(("day", "week", "month", "quarter")))
    for number in range(6):
        for device in (1, 2, 3):
            stored.append(random_points(generator, 300, span_us=70 * DAY_US), device)
        if number % 2:
            stored.seal()
    stored.seal()
    period = stored.infos[2].chunk_period
    stored.drop(*chunk_bounds(period_of(JANUARY_2024_US + 5 * DAY_US, period), period), 2)
    stored.forget(3)
    reported: list[tuple[int, int]] = []
    stored.merge_all(None, lambda done, total: reported.append((done, total)))
    assert reported == sorted(reported)
    assert reported[-1][0] == reported[-1][1]
    stored.check()
    months = by_month(stored.store.view.segments)
    assert all(len(segments) == 1 for segments in months.values())
    assert stored.store.view.tombstones == {}
    assert stored.store.manifest.tombstones() == []
    # A second run must find nothing: a store that is compacted every night would be rewritten every night.
    assert not any(is_improvable(stored.store, segments, stored.infos.get, None) for segments in months.values())
    files = stored.files
    stored.merge_all(None)
    assert stored.files == files == stored.live
    stored.reopen()
    stored.check()


def test_expired_points_go_while_the_clock_is_trusted(stored: Stored) -> None:
    stored.add_device(1, "day", 5)
    stored.add_device(2, "day", None)
    for device in (1, 2):
        stored.append([{"variable": "t", "value": n, "time": JANUARY_2024_US + n * DAY_US} for n in range(20)], device)
    stored.seal()
    now_us = JANUARY_2024_US + 19 * DAY_US + 1
    stored.merge_all(None)
    stored.check()
    stored.merge_all(now_us)
    stored.rows[1] = [row for row in stored.rows[1] if row.time_us >= JANUARY_2024_US + 14 * DAY_US]
    stored.check()
    files = stored.files
    stored.merge_all(now_us)
    assert stored.files == files
    stored.merge_all(now_us + DAY_US)
    assert stored.files != files


def test_a_month_that_is_wholly_gone_leaves_no_file(stored: Stored) -> None:
    stored.add_device(1)
    stored.add_device(2)
    for device in (1, 2):
        stored.append(month_points(MONTH), device)
    stored.seal()
    for device in (1, 2):
        stored.drop(*chunk_bounds(MONTH, "month"), device)
    stored.merge_all(None)
    assert stored.files == []
    assert stored.store.view.tombstones == {}
    stored.check()


def test_readers_beside_merges(stored: Stored) -> None:
    """Sources taken before a merge read the same after it, though their files are gone."""
    stored.add_device()
    generator = random.Random(4)
    for _ in range(4):
        stored.append(random_points(generator, 500))
        stored.seal()
    sources = stored.store.sources(7, JANUARY_2024_US, JANUARY_2024_US + 100 * DAY_US)
    rows: list[Any] = ordered(stored.rows[7])
    stored.merge_all(None)
    assert read_all(sources, 7) == rows
    assert stored.files == stored.live
