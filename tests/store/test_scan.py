"""Scans: one series over any mixture of memtables and segments gives exactly the points of the model."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.making import (
    KIND_BOOLEAN,
    KIND_INTEGER,
    KIND_NONE,
    KIND_NUMBER,
    KIND_TEXT,
    Fed,
    Source,
    exact,
    ordered,
    random_points,
    read_all,
    scan_of,
    seal_to,
    series_of,
)
from tests.strategies import JANUARY_2024_US, PERIODS, QUICK, TIME_MAX_US, TIME_MIN_US, batches, border_times
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.points import PointBuffer
from tsengine.core.store.scan import SeriesScan
from tsengine.ids import point_id
from tsengine.rows import Row

KIND_OF = {type(None): KIND_NONE, float: KIND_NUMBER, int: KIND_INTEGER, bool: KIND_BOOLEAN, str: KIND_TEXT}
Interval = tuple[int, int]


def visible(parts: list[tuple[list[Row], list[Interval]]], start: int, end: int) -> list[Row]:
    """The model: points inside the bounds that no interval of their source hides, by (time, sequence)."""
    return ordered(
        row
        for rows, hidden in parts
        for row in rows
        if start <= row.time_us <= end and not any(low <= row.time_us <= high for low, high in hidden)
    )


def runs(scan: SeriesScan) -> Iterator[PointBuffer]:
    while (run := scan.next_run()) is not None:
        yield run


def check(sources: list[Source], device: int, rows: list[Row], start: int = TIME_MIN_US, end: int = TIME_MAX_US) -> None:
    """Every way to read must give these rows."""
    for name, kind in series_of(sources, device):
        variable = name.decode()
        expected = [exact(row) for row in rows if row.variable == variable and KIND_OF[type(row.value)] == kind]

        def scan(reverse: bool = False, want: str = "all", name: bytes = name, kind: int = kind) -> SeriesScan:
            return scan_of(sources, device, name, kind, start, end, want=want, reverse=reverse)

        assert [exact(row) for row in scan().collect().rows(device, variable)] == expected
        assert scan().count() == len(expected)
        assert scan().point_count >= len(expected)
        forward = list(runs(scan()))
        assert [exact(row) for run in forward for row in run.rows(device, variable)] == expected
        backward = list(runs(scan(reverse=True)))
        assert [exact(row) for run in backward for row in run.rows(device, variable, reverse=True)] == expected[::-1]
        assert all(len(run) for run in (*forward, *backward))
        pages, paged = scan(), []
        while (page := pages.next_points(700)) is not None:
            paged.append(page)
        assert [exact(row) for page in paged for row in page.rows(device, variable)] == expected
        assert all(len(page) >= 700 for page in paged[:-1])
        if expected:
            bounds = scan().time_bounds()
            assert bounds is not None
            assert start <= bounds[0] <= expected[0][1][1]
            assert expected[-1][1][1] <= bounds[1] <= end
        times = scan(want="value").collect()
        assert times.times().tolist() == [row[1][1] for row in expected]
        assert times.sequences().tolist() == [row[0][1] for row in expected]


@given(st.data(), st.sampled_from(PERIODS))
@QUICK
def test_mixtures_of_memtables_and_segments(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, period: str | None) -> None:
    folder = tmp_path_factory.mktemp("scan")
    fed = Fed()
    sources: list[Source] = []
    parts: list[tuple[list[Row], list[Interval]]] = []
    times = border_times(period)
    intervals = st.lists(st.tuples(times, times).map(lambda pair: (min(pair), max(pair))), max_size=2)
    for number in range(data.draw(st.integers(1, 4))):
        memtable = Memtable()
        rows = [row for points in data.draw(batches(times, 3)) for row in fed.feed(memtable, points)]
        hidden = data.draw(intervals)
        parts.append((rows, hidden))
        if data.draw(st.booleans()):
            sources += [(segment, hidden) for segment in seal_to(folder, memtable, {fed.device: period}, 1 + 100 * number)]
        else:
            sources.append((memtable, hidden))
    bounds = data.draw(st.one_of(st.just((TIME_MIN_US, TIME_MAX_US)), st.tuples(times, times)))
    check(sources, fed.device, visible(parts, *bounds), *bounds)


@pytest.mark.parametrize("seed", range(6))
def test_many_blocks_with_overlaps(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    fed = Fed()
    sources: list[Source] = []
    parts: list[tuple[list[Row], list[Interval]]] = []
    day_us = 86_400_000_000
    for number in range(5):
        memtable = Memtable()
        start = JANUARY_2024_US + generator.randrange(30) * day_us
        rows: list[Row] = []
        for _ in range(3):
            points = random_points(
                generator,
                1500,
                kinds=(KIND_NUMBER, KIND_TEXT),
                start_us=start,
                span_us=generator.choice((1, 30)) * day_us,
                late=generator.choice((0, 0.2)),
            )
            rows += fed.feed(memtable, points)
        hidden = [(start, start + day_us // 2)] if generator.random() < 0.5 else []
        parts.append((rows, hidden))
        if generator.random() < 0.7:
            sources += [(segment, hidden) for segment in seal_to(tmp_path, memtable, {fed.device: "week"}, 1 + 100 * number)]
        else:
            sources.append((memtable, hidden))
    start, end = sorted((JANUARY_2024_US + generator.randrange(40) * day_us, JANUARY_2024_US + generator.randrange(40) * day_us))
    check(sources, fed.device, visible(parts, TIME_MIN_US, TIME_MAX_US))
    check(sources, fed.device, visible(parts, start, end), start, end)


def test_equal_times_across_sources_come_by_sequence(tmp_path: Path) -> None:
    fed, rows = Fed(), []
    sources: list[Source] = []
    for number in range(6):
        memtable = Memtable()
        rows += fed.feed(memtable, [{"variable": "t", "value": float(n), "time": JANUARY_2024_US} for n in range(700)])
        sources += [(memtable, [])] if number % 2 else [(segment, []) for segment in seal_to(tmp_path, memtable, {7: None}, 1 + number)]
    check(sources, fed.device, rows)


def test_times_at_the_ends_of_time(tmp_path: Path) -> None:
    fed, memtable, active = Fed(), Memtable(), Memtable()
    points: list[dict[str, Any]] = [{"variable": "t", "value": 1.0, "time": time} for time in (TIME_MIN_US, TIME_MAX_US, TIME_MIN_US, 0)]
    rows = fed.feed(memtable, points) + fed.feed(active, points)
    sources: list[Source] = [(segment, []) for segment in seal_to(tmp_path, memtable, {7: "week"})] + [(active, [])]
    check(sources, fed.device, ordered(rows))
    assert scan_of(sources, 7, b"t", KIND_NUMBER, -(2**63), 2**63 - 1).count() == 8
    assert [row.time_us for row in scan_of(sources, 7, b"t", KIND_NUMBER, -(2**63), 2**63 - 1, reverse=True).collect().rows(7, "t")][
        -1
    ] == TIME_MAX_US
    assert scan_of(sources, 7, b"t", KIND_NUMBER, 5, 1).count() == 0


def test_a_scan_of_what_is_not_there_is_empty() -> None:
    memtable = Memtable()
    Fed().feed(memtable, [{"variable": "t", "value": 1.0, "time": 1}])
    for device, name, kind in ((8, b"t", KIND_NUMBER), (7, b"u", KIND_NUMBER), (7, b"t", KIND_INTEGER), (7, b"", KIND_NUMBER)):
        scan = scan_of([(memtable, [])], device, name, kind)
        assert (scan.count(), scan.next_run(), scan.next_points(10), scan.time_bounds(), len(scan.collect())) == (0, None, None, None, 0)


def test_an_empty_text_alone_can_be_read(tmp_path: Path) -> None:
    """An empty text as the first string of a result or of a dictionary was an internal error."""
    memtable, fed = Memtable(), Fed()
    rows = fed.feed(memtable, [{"variable": "door", "value": "", "time": 1}])
    assert read_all([(memtable, [])], 7) == rows
    (segment,) = seal_to(tmp_path, memtable, {7: None})
    assert read_all([(segment, [])], 7) == rows
    segment.verify()


def test_columns_are_arrays_of_what_was_wanted(tmp_path: Path) -> None:
    memtable, fed = Memtable(), Fed()
    rows = ordered(fed.feed(memtable, random_points(random.Random(4), 300)))
    buffer = scan_of([(segment, []) for segment in seal_to(tmp_path, memtable, {7: None})], 7, b"t", KIND_NUMBER).collect()
    offsets, data = buffer.hex_texts(7, False)
    assert [bytes(data[low:high]).decode() for low, high in pairwise(offsets.tolist())] == [row.group for row in rows]
    offsets, data = buffer.hex_texts(7, True)
    assert [bytes(data[low:high]).decode() for low, high in pairwise(offsets.tolist())] == [point_id(7, row.sequence) for row in rows]
    units, texts = buffer.string_codes("unit")
    assert [texts[code].decode() if code >= 0 else None for code in units] == [row.unit for row in rows]
    metadatas, texts = buffer.string_codes("metadata")
    assert [texts[code] if code >= 0 else None for code in metadatas] == [row.metadata for row in rows]
    lats, lngs = buffer.degrees()
    assert [None if lat != lat else lat for lat in lats.tolist()] == [row.lat for row in rows]
    assert [None if lng != lng else lng for lng in lngs.tolist()] == [row.lng for row in rows]
    assert buffer.values().tolist() == [row.value for row in rows]


@pytest.mark.parametrize("sealed", [(), (0,), (0, 1), (0, 1, 2)])
def test_blocks_of_one_instant_are_given_out_a_few_at_a_time(tmp_path: Path, sealed: tuple[int, ...]) -> None:
    """They overlap all of them, and their sequences go from one source to the other and back."""
    generator = random.Random(len(sealed))
    fed = Fed()
    memtables = [Memtable() for _ in range(3)]
    rows: list[list[Row]] = [[], [], []]
    for number in range(30):
        at = number % 3
        count = generator.randrange(500, 3_000)
        times = [JANUARY_2024_US + 5 + generator.choice((-1, 0, 1)) * (generator.random() < 0.001) for _ in range(count)]
        rows[at] += fed.feed(memtables[at], [{"variable": "a", "value": float(i), "time": time} for i, time in enumerate(times)])
    sources: list[Source] = []
    for at, memtable in enumerate(memtables):
        if at in sealed:
            sources += [(segment, []) for segment in seal_to(tmp_path, memtable, {fed.device: None}, 1 + 100 * at)]
        else:
            sources.append((memtable, []))
    check(sources, fed.device, visible([(part, []) for part in rows], TIME_MIN_US, TIME_MAX_US))
    if len(sealed) < 3:
        return  # blocks of a memtable with late points overlap in time, too
    for reverse in (False, True):
        sizes = [len(run) for run in runs(scan_of(sources, fed.device, b"a", KIND_NUMBER, want="all", reverse=reverse))]
        assert sum(sizes) == sum(map(len, rows))
        assert max(sizes) <= 5 * 1_024


def test_a_memtable_of_one_instant_is_given_out_block_by_block() -> None:
    fed, memtable = Fed(), Memtable()
    rows = fed.feed(memtable, [{"variable": "a", "value": float(i), "time": JANUARY_2024_US} for i in range(20_000)])
    check([(memtable, [])], fed.device, rows)
    for reverse in (False, True):
        scan = scan_of([(memtable, [])], fed.device, b"a", KIND_NUMBER, want="all", reverse=reverse)
        assert max(len(run) for run in runs(scan)) <= 1_024
