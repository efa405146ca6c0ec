"""Merges: segments of a month become one with exactly the points that are kept; what is full and alone is copied."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store import reader
from tests.store.making import KIND_NUMBER, KIND_TEXT, RECEIVED_US, Fed, exact, ordered, random_points, read_all, record_of, seal_to
from tests.store.test_seal import check_bounds
from tests.strategies import JANUARY_2024_US, PERIODS, QUICK, TIME_MIN_US, batches
from tsengine.core.calendar import period_of, start_of
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.merge import dead_points, merge, series_keys
from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter
from tsengine.errors import CorruptionError

DAY_US = 86_400_000_000
JANUARY = period_of(JANUARY_2024_US, "month")
Hidden = dict[tuple[int, int], list[tuple[int, int]]]  # (segment id, device) -> intervals


def merge_to(
    path: Path, segments: list[Segment], periods: dict[int, str | None], hidden: Hidden | None = None, keep_from: int = TIME_MIN_US
) -> Segment | None:
    def hidden_of(segment: Segment, device: int) -> tuple[int, list[tuple[int, int]]]:
        return keep_from, (hidden or {}).get((segment.id, device), [])

    writers = merge(segments, periods, hidden_of, lambda month: SegmentWriter(path, month))
    if not writers:
        assert not path.exists()
        return None
    (writer,) = writers
    writer.finish()
    merged = Segment(path, 1000, max(segment.last_log_seq for segment in segments))
    merged.verify()
    assert merged.month == segments[0].month
    return merged


def january(period: str | None) -> st.SearchStrategy[int]:
    """Times of one month, many on the borders of its chunks."""
    starts = [start_of(period_of(JANUARY_2024_US, period) + n, period) for n in range(4)] if period else [JANUARY_2024_US]
    starts = [start for start in starts if period_of(start, "month") == JANUARY]
    return st.one_of(
        st.tuples(st.sampled_from(starts or [JANUARY_2024_US + DAY_US]), st.sampled_from((-1, 0, 1))).map(
            lambda pair: max(sum(pair), JANUARY_2024_US)
        ),
        st.integers(0, 20).map(lambda n: JANUARY_2024_US + n * 1_000_000),
    )


@given(st.data(), st.sampled_from(PERIODS))
@QUICK
def test_merged_points_are_those_of_the_model(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, period: str | None) -> None:
    folder = tmp_path_factory.mktemp("merge")
    feds = [Fed(device) for device in (3, 7, 9)]
    periods: dict[int, str | None] = {3: period, 7: None}  # 9 was deleted meanwhile
    segments: list[Segment] = []
    hidden: Hidden = {}
    expected: dict[int, list[Any]] = {3: [], 7: []}
    keep_from = data.draw(st.one_of(st.just(TIME_MIN_US), january(period)))
    for number in range(1, data.draw(st.integers(1, 4)) + 1):
        memtable = Memtable()
        for fed in feds:
            rows = [row for points in data.draw(batches(january(period), 2)) for row in fed.feed(memtable, points)]
            low, high = sorted((data.draw(january(period)), data.draw(january(period))))
            if data.draw(st.booleans()):
                hidden[number, fed.device] = [(low, high)]
                rows = [row for row in rows if not low <= row.time_us <= high]
            if fed.device in periods:
                expected[fed.device] += [row for row in rows if row.time_us >= keep_from]
        segments += seal_to(folder, memtable, dict.fromkeys((3, 7, 9), period) | {7: None}, number)
    merged = merge_to(folder / "merged", segments, periods, hidden, keep_from)
    if merged is None:
        assert expected == {3: [], 7: []}
        return
    for device, rows in expected.items():
        assert [exact(row) for row in read_all([(merged, [])], device)] == [exact(row) for row in ordered(rows)]
        check_bounds([merged], device, periods[device])
    assert merged.devices() == [device for device, rows in expected.items() if rows]


def fill(folder: Path, parts: list[list[dict[str, Any]]], period: str | None = None) -> tuple[list[Segment], list[Any]]:
    """Seal each list of points as a segment of its own; return them and every row."""
    fed = Fed()
    segments, rows = [], []
    for number, points in enumerate(parts, 1):
        memtable = Memtable()
        rows += fed.feed(memtable, points)
        segments += seal_to(folder, memtable, {fed.device: period}, number)
    return segments, rows


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("seed", range(3))
def test_many_blocks_merge_in_order(tmp_path: Path, seed: int, period: str | None) -> None:
    generator = random.Random(seed)
    parts = [
        random_points(
            generator,
            generator.randrange(100, 6000),
            kinds=(KIND_NUMBER, KIND_TEXT) if seed == 2 else (KIND_NUMBER,),
            start_us=JANUARY_2024_US + generator.randrange(5) * DAY_US,
            span_us=generator.choice((1, 2, 20)) * DAY_US,
            late=generator.choice((0, 0.1)),
        )
        for _ in range(5)
    ]
    segments, rows = fill(tmp_path, parts, period)
    assert len(segments) == 5
    merged = merge_to(tmp_path / "merged", segments, {7: period})
    assert merged is not None
    assert [exact(row) for row in read_all([(merged, [])], 7)] == [exact(row) for row in ordered(rows)]
    check_bounds([merged], 7, period)
    again = merge_to(tmp_path / "again", [merged], {7: period})
    assert again is not None
    assert [exact(row) for row in read_all([(again, [])], 7)] == [exact(row) for row in ordered(rows)]


def ascending(count: int, start_us: int, step_us: int) -> list[dict[str, Any]]:
    return [{"variable": "t", "value": n / 10, "time": start_us + n * step_us, "unit": "C"} for n in range(count)]


def contents(segment: Segment) -> dict[int, bytes]:
    """First time of each block -> its bytes."""
    data = Path(segment.path).read_bytes()
    return {block.first_time: data[block.offset : block.offset + block.length] for block in reader.read_footer(data).blocks}


def test_full_blocks_that_overlap_nothing_are_copied(tmp_path: Path) -> None:
    """Two days of full blocks, and in a third segment a few late points in the midst of one of them."""
    first = ascending(8 * 1024, JANUARY_2024_US, 1_000_000)
    second = ascending(8 * 1024, JANUARY_2024_US + DAY_US, 1_000_000)
    late = ascending(20, JANUARY_2024_US + 3 * 1024 * 1_000_000 + 500_000, 1_000_000)
    segments, rows = fill(tmp_path, [first, second, late])
    merged = merge_to(tmp_path / "merged", segments, {7: None})
    assert merged is not None
    assert [exact(row) for row in read_all([(merged, [])], 7)] == [exact(row) for row in ordered(rows)]
    before, after = contents(segments[0]), contents(merged)
    starts = sorted(before)
    for start in starts[:3]:
        assert after[start] == before[start]
    for start, raw in contents(segments[1]).items():
        assert after[start] == raw


def test_half_full_blocks_of_a_day_are_copied(tmp_path: Path) -> None:
    """600 points a day make a block a day; merging two such months changes none of them."""
    first = [point for day in range(0, 20, 2) for point in ascending(600, JANUARY_2024_US + day * DAY_US, 1_000_000)]
    second = [point for day in range(1, 20, 2) for point in ascending(600, JANUARY_2024_US + day * DAY_US, 1_000_000)]
    segments, _ = fill(tmp_path, [first, second], "day")
    merged = merge_to(tmp_path / "merged", segments, {7: "day"})
    assert merged is not None
    assert contents(merged) == contents(segments[0]) | contents(segments[1])


def test_short_blocks_become_full_ones(tmp_path: Path) -> None:
    parts = [ascending(50, JANUARY_2024_US + n * 50_000_000, 1_000_000) for n in range(100)]
    segments, rows = fill(tmp_path, parts)
    merged = merge_to(tmp_path / "merged", segments, {7: None})
    assert merged is not None
    assert read_all([(merged, [])], 7) == rows
    assert merged.block_count <= 5000 // 1024 + 1


def test_wide_blocks_over_narrow_ones_leave_no_short_blocks(tmp_path: Path) -> None:
    """Blocks that span the whole month beside a dense segment: each dense block used to end in a short one."""
    generator = random.Random(4)
    wide = [
        [{"variable": "t", "value": 1.0, "time": JANUARY_2024_US + generator.randrange(25 * DAY_US)} for _ in range(1024)] for _ in range(6)
    ]
    dense = ascending(40 * 1024, JANUARY_2024_US, 25 * DAY_US // (40 * 1024))
    segments, rows = fill(tmp_path, [*wide, dense])
    merged = merge_to(tmp_path / "merged", segments, {7: None})
    assert merged is not None
    assert [exact(row) for row in read_all([(merged, [])], 7)] == [exact(row) for row in ordered(rows)]
    assert merged.block_count <= len(rows) // 1024 + 2


def test_repeated_merges_pile_up_no_short_blocks(tmp_path: Path) -> None:
    """Segments as a slow device makes them, merged by four again and again."""
    fed, generator, rows = Fed(), random.Random(5), []
    segments: list[Segment] = []
    for number in range(64):
        memtable = Memtable()
        start = JANUARY_2024_US + number * 300_000_000
        rows += fed.feed(memtable, random_points(generator, 300, start_us=start, span_us=320_000_000, late=0.1, rich=False))
        segments += seal_to(tmp_path, memtable, {7: None}, 1 + number)
    level = 0
    while len(segments) > 1:
        level += 1
        groups = [segments[at : at + 4] for at in range(0, len(segments), 4)]
        merged = [merge_to(tmp_path / f"{level}-{number}", group, {7: None}) for number, group in enumerate(groups)]
        segments = [segment for segment in merged if segment is not None]
        # Ids are unique in a store; merge() tells dictionaries apart by them.
        segments = [Segment(segment.path, 10_000 * level + number, 0) for number, segment in enumerate(segments)]
    assert [exact(row) for row in read_all([(segments[0], [])], 7)] == [exact(row) for row in ordered(rows)]
    assert segments[0].block_count <= 2 * (len(rows) // 1024 + 1)


def test_progress_counts_every_point_and_may_stop_the_merge(tmp_path: Path) -> None:
    memtables = []
    for number in range(2):
        memtable = Memtable()
        points = [{"variable": name, "value": 1.0, "time": JANUARY_2024_US + number} for name in ("a", "b", "c")]
        memtable.apply(record_of(7, points, 1 + 10 * number, RECEIVED_US), 1 + number)
        memtables.append(memtable)
    segments = [segment for number, memtable in enumerate(memtables, 1) for segment in seal_to(tmp_path, memtable, {7: None}, number)]
    told: list[tuple[int, int, int]] = []
    writers = merge(
        segments,
        {7: None},
        lambda _segment, _device: (TIME_MIN_US, []),
        lambda month: SegmentWriter(tmp_path / "m", month),
        lambda *work: told.append(work),
    )
    assert sum(points for points, _, _ in told) == 6
    assert sum(read for _, read, _ in told) == sum(
        block.length for segment in segments for block in reader.read_footer(Path(segment.path).read_bytes()).blocks
    )
    assert sum(written for _, _, written in told) == writers[0].size_bytes
    writers[0].abort()
    assert list(series_keys(segments[0])) == [(7, b"a", KIND_NUMBER), (7, b"b", KIND_NUMBER), (7, b"c", KIND_NUMBER)]

    def stop(*_work: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(segments, {7: None}, lambda _segment, _device: (TIME_MIN_US, []), lambda month: SegmentWriter(tmp_path / "n", month), stop)


def test_a_damaged_input_stops_the_merge(tmp_path: Path) -> None:
    """Also a block that would only be copied is checked: damage must not get a new, good checksum."""
    segments, _ = fill(tmp_path, [ascending(3000, JANUARY_2024_US, 1_000_000), ascending(3000, JANUARY_2024_US + DAY_US, 1_000_000)])
    data = bytearray(Path(segments[0].path).read_bytes())
    data[reader.read_footer(bytes(data)).blocks[1].offset + 5] ^= 1
    damaged = tmp_path / "damaged.seg"
    damaged.write_bytes(bytes(data))
    with pytest.raises(CorruptionError, match=r"damaged\.seg"):
        merge_to(tmp_path / "merged", [Segment(damaged, 50, 1), segments[1]], {7: None})


def test_texts_that_never_end_are_merged_with_a_few_dictionaries_at_a_time(tmp_path: Path) -> None:
    """More text and more dictionaries than a series keeps in memory: each text twice, so that it goes into a dictionary."""
    texts = [f"{number:06d} {'x' * 150}" for number in range(35_000)]
    parts = [
        [{"variable": "t", "value": texts[n // 2], "time": JANUARY_2024_US + n * 1_000_000 + part} for n in range(part, 70_000, 2)]
        for part in range(2)
    ]
    memtables = [Memtable(), Memtable()]
    fed, rows, segments = Fed(), [], []
    for number, (memtable, part) in enumerate(zip(memtables, parts, strict=True)):
        for at in range(0, len(part), 5000):
            rows += fed.feed(memtable, part[at : at + 5000] + [{**part[at], "value": text} for text in texts[at : at + 3]])
        segments += seal_to(tmp_path, memtable, {7: None}, 1 + 10 * number)
    merged = merge_to(tmp_path / "merged", segments, {7: None})
    assert merged is not None
    assert len(reader.read_footer((tmp_path / "merged").read_bytes()).dictionaries) > 64
    assert read_all([(merged, [])], 7) == ordered(rows)


def test_dead_points_are_those_of_blocks_that_a_merge_leaves_out(tmp_path: Path) -> None:
    segments, rows = fill(tmp_path, [ascending(4000, JANUARY_2024_US, 60_000_000)], "day")
    (segment,) = segments
    everything = (TIME_MIN_US, JANUARY_2024_US + 100 * DAY_US)
    days = [(JANUARY_2024_US + n * DAY_US, JANUARY_2024_US + (n + 1) * DAY_US - 1) for n in range(3)]
    cases: list[tuple[dict[int, str | None], int, list[tuple[int, int]], int]] = [
        ({7: "day"}, TIME_MIN_US, [], 0),
        ({}, TIME_MIN_US, [], 4000),
        ({7: "day"}, TIME_MIN_US, [everything], 4000),
        ({7: "day"}, days[1][0], [], 1440),
        ({7: "day"}, days[1][0], [days[0]], 1440),
        ({7: "day"}, days[1][0], [days[2]], 4000 - 1440),
    ]
    for periods, keep_from, hidden, dead in cases:
        assert dead_points(segment, periods, lambda _segment, _device, cut=(keep_from, hidden): cut) == dead
        assert len(rows) == 4000
