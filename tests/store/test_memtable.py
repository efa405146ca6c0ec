"""Memtables: points per series in order of arrival, counts per period, and readers beside the writer."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.making import (
    KIND_NUMBER,
    KIND_TEXT,
    RECEIVED_US,
    Fed,
    exact,
    ordered,
    random_points,
    read_all,
    record_of,
    scan_of,
    series_of,
)
from tests.strategies import PERIODS, QUICK, any_times, batches, border_times
from tsengine.core.calendar import period_of
from tsengine.core.store.memtable import Memtable
from tsengine.errors import CorruptionError

KIND_OF = {type(None): 0, float: 1, int: 2, bool: 3, str: 4}


@given(batches(any_times))
@QUICK
def test_points_come_back_in_order_of_time(several: list[list[dict[str, Any]]]) -> None:
    memtable, fed = Memtable(), Fed()
    rows = [row for points in several for row in fed.feed(memtable, points)]
    assert [exact(row) for row in read_all([(memtable, [])], fed.device)] == [exact(row) for row in ordered(rows)]
    assert memtable.point_count == len(rows)
    assert series_of([(memtable, [])], fed.device) == sorted({(row.variable.encode(), KIND_OF[type(row.value)]) for row in rows})
    assert memtable.devices() == [fed.device]
    assert (memtable.first_log_seq, memtable.last_log_seq) == (1, len(several))
    assert not read_all([(memtable, [])], fed.device + 1)


@given(st.data(), st.sampled_from(PERIODS))
@QUICK
def test_counts_of_periods_are_those_of_the_points(data: st.DataObject, period: str | None) -> None:
    memtable, fed = Memtable(), Fed()
    counts: dict[int, int] = {}
    for points in data.draw(batches(border_times(period))):
        for row in fed.feed(memtable, points):
            number = period_of(row.time_us, period)
            counts[number] = counts.get(number, 0) + 1
    assert memtable.period_counts(fed.device, period) == counts
    assert memtable.period_counts(fed.device + 1, period) == {}


def test_holds_tells_by_the_bounds_of_each_series() -> None:
    memtable, fed = Memtable(), Fed()
    fed.feed(
        memtable,
        [
            {"variable": "a", "value": 1, "time": 100},
            {"variable": "a", "value": 1, "time": 300},
            {"variable": "b", "value": 1, "time": 900},
        ],
    )
    for start, end, held in ((100, 100, True), (0, 99, False), (101, 299, True), (301, 899, False), (900, 900, True), (901, 2000, False)):
        assert memtable.holds(fed.device, start, end) is held
    assert not memtable.holds(8, 0, 1000)


def test_many_series_of_many_devices() -> None:
    memtable = Memtable()
    generator = random.Random(3)
    names = [f"v{n}" for n in range(40)]
    for log_seq, device in enumerate(generator.sample(range(2**32), 300), 1):
        chosen = generator.sample(names, 5)
        points = [{"variable": name, "value": float(log_seq), "time": log_seq} for name in chosen]
        memtable.apply(record_of(device, points, 1), log_seq)
        assert sorted(name for name, _ in memtable.device_series(device)) == sorted(name.encode() for name in chosen)
    assert len(memtable.devices()) == 300
    for device in memtable.devices():
        assert len(read_all([(memtable, [])], device)) == 5


def test_more_strings_in_a_batch_than_before() -> None:
    memtable, fed = Memtable(), Fed()
    rows = []
    for count in (1, 500, 3, 2000):
        rows += fed.feed(memtable, [{"variable": "t", "value": f"text {n}", "time": n, "unit": f"u{n % 7}"} for n in range(count)])
    assert [exact(row) for row in read_all([(memtable, [])], fed.device)] == [exact(row) for row in ordered(rows)]


def test_a_damaged_batch_adds_nothing() -> None:
    memtable, fed = Memtable(), Fed()
    rows = fed.feed(memtable, [{"variable": "t", "value": 1.0, "time": 1}])
    with pytest.raises(CorruptionError):
        memtable.apply(record_of(7, [{"variable": "t", "value": 1.0, "time": 1}], 1)[:-8], 2)
    assert (memtable.point_count, memtable.last_log_seq) == (1, 1)
    assert read_all([(memtable, [])], 7) == rows


def test_columns_that_become_varied_within_a_block() -> None:
    """A column is one cell until a point differs; the points before keep theirs."""
    memtable, fed = Memtable(), Fed()
    plain: dict[str, Any] = {"variable": "t", "value": 1.0}
    changes: list[dict[str, Any]] = [{"unit": "C"}, {"group": "g"}, {"location": (1.0, 2.0)}, {"metadata": {"a": 1}}, {}]
    rows = []
    for number in range(200):
        rows += fed.feed(memtable, [{**plain, "time": number, **(changes[number // 20 % 5] if number > 50 else {})}])
    assert read_all([(memtable, [])], fed.device) == rows


def test_size_grows_with_the_points_and_is_small_at_first() -> None:
    memtable, fed = Memtable(), Fed()
    fed.feed(memtable, [{"variable": "t", "value": 1.0, "time": 1}])
    assert memtable.size_bytes < 16_384
    fed.feed(memtable, random_points(random.Random(1), 10_000, rich=False))
    assert 10_000 * 24 < memtable.size_bytes < 10_000 * 80


def test_a_scan_is_a_snapshot() -> None:
    memtable, fed = Memtable(), Fed()
    rows = fed.feed(memtable, random_points(random.Random(2), 100))
    scan = scan_of([(memtable, [])], fed.device, b"t", KIND_NUMBER)
    fed.feed(memtable, random_points(random.Random(3), 5000))
    assert [exact(row) for row in scan.collect().rows(fed.device, "t")] == [exact(row) for row in ordered(rows)]


def test_readers_beside_a_writer_see_a_prefix() -> None:
    """Readers take their blocks while the writer adds new texts, which moves the table of strings."""
    memtable = Memtable()
    is_done = threading.Event()
    failures: list[str] = []

    def read() -> None:
        while not is_done.is_set():
            rows = scan_of([(memtable, [])], 7, b"t", KIND_TEXT).collect().rows(7, "t")
            if [row.value for row in rows] != [f"text {n}" for n in range(len(rows))]:
                failures.append(f"{len(rows)} rows are wrong")
                return

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for batch_number in range(300):
            points = [{"variable": "t", "value": f"text {n}", "time": n} for n in range(batch_number * 20, batch_number * 20 + 20)]
            memtable.apply(record_of(7, points, batch_number * 20 + 1, RECEIVED_US), batch_number + 1)
    finally:
        is_done.set()
        for reader in readers:
            reader.join()
    assert not failures
