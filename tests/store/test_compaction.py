"""Compaction: which segments are merged, that it ends, and that nothing readable changes."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.store import reader
from tests.store.making import ordered, random_points, read_all
from tests.store.storing import Stored
from tests.store.test_columnar import month_points
from tests.strategies import JANUARY_2024_US
from tsengine.core.calendar import period_of
from tsengine.errors import ClosedError, StorageFullError
from tsengine.store import compaction
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


# --- beside writers, and interrupted -------------------------------------------------------------------------------------


class HeldMerge:
    """A merge of everything on a thread of its own that stands still in its midst until `go`."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.is_reached, self.may_go_on = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert self.is_reached.wait(30)

    def run(self) -> None:
        def hold(_done: int, _total: int) -> None:
            self.is_reached.set()
            assert self.may_go_on.wait(30)

        self.stored.merge_all(None, hold)

    def go(self) -> None:
        self.may_go_on.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def fill_months(stored: Stored, months: int, parts: int = 4, count: int = 50) -> None:
    for part in range(parts):
        for month in range(months):
            stored.append([{**point, "value": float(part)} for point in month_points(MONTH + month, count)])
        stored.seal()


def test_a_merge_that_stands_still_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Writers fill the memory again and again: every seal, drop and read beside the merge comes to its end."""
    stored = Stored(tmp_path / "store", memory_bytes=200_000)
    stored.add_device()
    stored.add_device(8)
    fill_months(stored, 2)
    held = HeldMerge(stored)
    assert stored.compaction.stats()["running"]["month"] == "2024-01"
    generator = random.Random(3)
    for _ in range(3):
        while stored.store.has_room():
            stored.append(random_points(generator, 200, rich=False))
        while stored.store.seal():
            pass
        stored.store.admit()
        stored.drop(JANUARY_2024_US, JANUARY_2024_US + DAY_US, 8)
        stored.check()
    held.go()
    stored.check()
    assert stored.compaction.stats()["running"] is None
    stored.reopen()
    stored.check()
    stored.store.close()


def test_a_stopped_merge_leaves_nothing_behind_and_ended_ones_are_kept(stored: Stored) -> None:
    """What a close does to a merge, and what a kill leaves: months that were merged are not merged again."""
    stored.add_device()
    fill_months(stored, 3)

    def stop_at_the_second(done: int, _total: int) -> None:
        if done > 200:
            stored.compaction.stop()

    with pytest.raises(ClosedError):
        stored.merge_all(None, stop_at_the_second)
    assert stored.compaction.stats()["merges"] == 1
    assert stored.files == stored.live
    assert {month: len(segments) for month, segments in by_month(stored.store.view.segments).items()} == {
        MONTH: 1,
        MONTH + 1: 4,
        MONTH + 2: 4,
    }
    stored.check()
    with pytest.raises(ClosedError):
        stored.merge_due(None)
    stored.reopen()
    stored.check()
    stored.merge_all(None)
    assert stored.compaction.stats()["merges"] == 2
    assert stored.compaction.stats()["points"] == 400
    stored.check()


def test_a_merge_is_told_while_it_runs(stored: Stored) -> None:
    stored.add_device()
    fill_months(stored, 1)
    sizes = sum(live.entry.size_bytes for live in stored.store.view.segments)
    seen: list[dict[str, Any]] = []
    stored.merge_all(None, lambda _done, _total: seen.append(stored.compaction.stats()))
    running = seen[0]["running"]
    assert (running["month"], running["segments"], running["points"], running["points_total"]) == ("2024-01", 4, 200, 200)
    assert 0 < running["bytes_read"] < sizes
    assert 0 < running["bytes_written"] < sizes
    assert running["bytes_per_second"] > 0
    ended = stored.compaction.stats()
    assert (ended["running"], ended["merges"], ended["points"]) == (None, 1, 200)
    assert ended["bytes_read"] == running["bytes_read"]


def test_many_segments_are_merged_some_at_a_time(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "MERGE_COUNT_MAX", 3)
    stored.add_device()
    fill_months(stored, 1, parts=8, count=5)
    assert len(next_merge(stored.store.view.segments)) == 3
    stored.merge_all(None)
    assert stored.compaction.stats()["merges"] == 4  # 3 + 3 + 2 and one that was merged, then the last two
    assert len(stored.files) == 1
    stored.check()


def test_a_merge_that_might_fill_the_disk_is_not_begun(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    stored.add_device()
    fill_months(stored, 1)
    files = stored.files
    full = os.statvfs_result((4096, 4096, 1000, 0, 0, 1000, 0, 0, 0, 255))
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda _path: full)
        with pytest.raises(StorageFullError, match="free some space"):
            stored.merge_due(None)
    assert stored.files == files
    assert stored.merge_due(None)
    stored.check()


# --- waste -----------------------------------------------------------------------------------------------------------------


def size_of(stored: Stored) -> int:
    return sum((stored.folder / "segments" / name).stat().st_size for name in stored.files)


def test_a_segment_with_much_waste_is_written_again_by_itself(stored: Stored) -> None:
    """Nobody calls compact: a dropped chunk in a file that other devices share used to stay there for ever."""
    for device in range(1, 9):
        stored.add_device(device)
        stored.append([{"variable": "t", "value": n * 0.7, "time": JANUARY_2024_US + n} for n in range(3000)], device)
    stored.seal()
    before = size_of(stored)
    (live,) = stored.store.view.segments
    data = live.path.read_bytes()
    blocks = {data[block.offset : block.offset + block.length] for block in reader.read_footer(data).blocks}
    stored.drop(*chunk_bounds(MONTH, "month"), 1)
    assert not stored.merge_due(None)  # an eighth is not worth a write
    stored.drop(*chunk_bounds(MONTH, "month"), 2)
    assert stored.merge_due(None)
    assert not stored.merge_due(None)
    stored.check()
    (live,) = stored.store.view.segments
    assert live.entry.tier == 0
    assert size_of(stored) < before * 0.8
    assert stored.store.manifest.tombstones() == []
    data = live.path.read_bytes()
    assert {data[block.offset : block.offset + block.length] for block in reader.read_footer(data).blocks} <= blocks
    for device in range(3, 9):
        stored.forget(device)
    assert stored.merge_due(None)
    assert stored.files == []
    stored.check()


def test_expired_days_of_a_shared_segment_go_while_the_clock_is_trusted(stored: Stored) -> None:
    stored.add_device(1, "day", 5)
    stored.add_device(2, "day", None)
    for device in (1, 2):
        stored.append([{"variable": "t", "value": n, "time": JANUARY_2024_US + n * DAY_US} for n in range(20)], device)
    stored.seal()
    now_us = JANUARY_2024_US + 19 * DAY_US + 1
    assert not stored.merge_due(None)
    assert stored.merge_due(now_us)
    stored.rows[1] = [row for row in stored.rows[1] if row.time_us >= JANUARY_2024_US + 14 * DAY_US]
    stored.check()
    assert not stored.merge_due(now_us)
