"""Seals: a memtable becomes one segment a month with the same points, and no block crosses a chunk or a month."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.making import Fed, exact, ordered, random_points, read_all, record_of, seal_to
from tests.strategies import JANUARY_2024_US, PERIODS, QUICK, TIME_MAX_US, TIME_MIN_US, batches, border_times
from tsengine.core.calendar import period_of
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.seal import seal
from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter
from tsengine.errors import StorageError

BLOCK_POINTS = 1024


def check_bounds(segments: list[Segment], device: int, period: str | None) -> None:
    for segment in segments:
        for first_us, last_us, count in segment.device_blocks(device):
            assert first_us <= last_us
            assert 1 <= count <= BLOCK_POINTS
            assert period_of(first_us, "month") == period_of(last_us, "month") == segment.month
            assert period_of(first_us, period) == period_of(last_us, period)


@given(st.data(), st.sampled_from(PERIODS))
@QUICK
def test_sealed_points_are_those_of_the_model(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, period: str | None) -> None:
    memtable, fed = Memtable(), Fed()
    rows = [row for points in data.draw(batches(border_times(period))) for row in fed.feed(memtable, points)]
    segments = seal_to(tmp_path_factory.mktemp("seal"), memtable, {fed.device: period})
    assert [segment.month for segment in segments] == sorted({period_of(row.time_us, "month") for row in rows})
    assert [exact(row) for row in read_all([(segment, []) for segment in segments], fed.device)] == [exact(row) for row in ordered(rows)]
    check_bounds(segments, fed.device, period)
    # The memtable is still readable: readers hold on to it until the manifest lists the segments, and after a failure.
    assert [exact(row) for row in read_all([(memtable, [])], fed.device)] == [exact(row) for row in ordered(rows)]


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("late", [0, 0.05])
def test_many_points_over_months(tmp_path: Path, period: str | None, late: float) -> None:
    memtable, fed = Memtable(), Fed()
    points = random_points(random.Random(9), 40_000, span_us=80 * 86_400_000_000, late=late, rich=False)
    rows = [row for start in range(0, len(points), 5000) for row in fed.feed(memtable, points[start : start + 5000])]
    segments = seal_to(tmp_path, memtable, {fed.device: period})
    assert [exact(row) for row in read_all([(segment, []) for segment in segments], fed.device)] == [exact(row) for row in ordered(rows)]
    check_bounds(segments, fed.device, period)
    chunks = {(period_of(row.time_us, period), period_of(row.time_us, "month")) for row in rows}
    # Every block is full but the last of each chunk.
    assert sum(segment.block_count for segment in segments) <= len(rows) // BLOCK_POINTS + len(chunks)


def test_points_at_the_ends_of_time(tmp_path: Path) -> None:
    for period in PERIODS:
        memtable, fed = Memtable(), Fed()
        rows = fed.feed(memtable, [{"variable": "t", "value": 1.0, "time": time} for time in (TIME_MIN_US, TIME_MAX_US, 0, -1)])
        folder = tmp_path / str(period)
        folder.mkdir()
        segments = seal_to(folder, memtable, {fed.device: period})
        assert read_all([(segment, []) for segment in segments], fed.device) == ordered(rows)
        for segment in segments:
            segment.verify()


def test_deleted_devices_are_left_out_and_each_device_has_its_period(tmp_path: Path) -> None:
    memtable = Memtable()
    points: list[dict[str, Any]] = [{"variable": "t", "value": 1.0, "time": JANUARY_2024_US + n * 86_400_000_000} for n in range(20)]
    for device in (1, 2, 3):
        memtable.apply(record_of(device, points, 1), device)
    (segment,) = seal_to(tmp_path, memtable, {1: "day", 3: None})
    assert segment.devices() == [1, 3]
    assert len(segment.device_blocks(1)) == 20
    assert len(segment.device_blocks(3)) == 1


def test_nothing_left_makes_no_file(tmp_path: Path) -> None:
    memtable = Memtable()
    assert seal_to(tmp_path, memtable, {}) == []
    memtable = Memtable()
    Fed().feed(memtable, [{"variable": "t", "value": 1.0, "time": 1}])
    assert seal_to(tmp_path, memtable, {}) == []
    assert list(tmp_path.iterdir()) == []


def test_a_seal_may_be_repeated_after_a_failure(tmp_path: Path) -> None:
    memtable, fed = Memtable(), Fed()
    rows = fed.feed(memtable, random_points(random.Random(1), 3000, variables=("a", "b"), span_us=80 * 86_400_000_000))
    memtable.freeze()

    def refuse(month: int) -> Any:
        raise StorageError("no file today")

    for _ in range(2):
        with pytest.raises(StorageError, match="no file today"):
            seal(memtable, {fed.device: None}, refuse)
    assert read_all([(memtable, [])], fed.device) == ordered(rows)
    segments = seal_to(tmp_path, memtable, {fed.device: None})
    assert read_all([(segment, []) for segment in segments], fed.device) == ordered(rows)


@pytest.mark.parametrize("late", [0.001, 0.1, 1])
def test_late_points_of_a_long_series_are_merged_from_its_blocks(tmp_path: Path, late: float) -> None:
    """Few late points, many, and no order at all, equal times among them: more than are ever collected at once."""
    memtable, fed, generator = Memtable(), Fed(), random.Random(late)
    points = [
        {
            "variable": "t",
            "value": float(n),
            "time": JANUARY_2024_US + 60_000_000 * (generator.randrange(n + 1) if generator.random() < late else n),
        }
        for n in range(45_000)
    ]
    rows = [row for start in range(0, len(points), 5000) for row in fed.feed(memtable, points[start : start + 5000])]
    segments = seal_to(tmp_path, memtable, {fed.device: "week"})
    assert read_all([(segment, []) for segment in segments], fed.device) == ordered(rows)
    check_bounds(segments, fed.device, "week")
    for segment in segments:
        segment.verify()
    weeks = {(period_of(row.time_us, "week"), segment.month) for row in rows for segment in segments}
    assert sum(segment.block_count for segment in segments) <= len(rows) // BLOCK_POINTS + len(weeks)


@pytest.mark.parametrize("order", ["ascending", "shuffled"])
def test_points_of_very_many_months_open_few_files(tmp_path: Path, order: str) -> None:
    """One batch with a point in each of very many months used to open as many files, and could never be sealed."""
    memtable, fed = Memtable(), Fed()
    months = list(range(300))
    if order == "shuffled":
        random.Random(1).shuffle(months)
    points = [
        {"variable": name, "value": month, "time": JANUARY_2024_US + (month - 150) * 31 * 86_400_000_000 + n}
        for month in months
        for n, name in enumerate(("a", "b"))
    ]
    rows = fed.feed(memtable, points)
    memtable.freeze()
    begun: list[SegmentWriter] = []
    opened = len(os.listdir("/proc/self/fd"))
    most = 0

    def make_writer(month: int) -> SegmentWriter:
        nonlocal most
        begun.append(SegmentWriter(tmp_path / f"{len(begun):04d}.seg", month))
        most = max(most, len(os.listdir("/proc/self/fd")) - opened)
        return begun[-1]

    writers = seal(memtable, {fed.device: "month"}, make_writer)
    for writer in writers:
        writer.finish()
        writer.finish()
    assert most <= 50
    assert [writer.month for writer in writers] == sorted({period_of(row.time_us, "month") for row in rows})
    segments = [Segment(writer.path, number, 1) for number, writer in enumerate(writers)]
    assert read_all([(segment, []) for segment in segments], fed.device) == ordered(rows)
