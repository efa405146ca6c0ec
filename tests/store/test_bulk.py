"""Large batches straight to segments give what log, memtable and seal give; all or nothing; in order with everything else."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tsengine
from tests.store.making import KIND_NUMBER, exact, expected_rows, ordered, read_segment, record_of, same_kind, seal_to, table_of
from tests.strategies import JANUARY_2024_US, PERIODS, QUICK, border_times, points
from tsengine import LimitError
from tsengine.core.store.bulk import seal_table
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter

NOON_US = 1_795_262_400_000_000
LARGE = 300_000


@QUICK
@given(data=st.data(), period=st.sampled_from(PERIODS), skipped=st.sampled_from([0, 1, 9]))
def test_a_table_sealed_directly_holds_what_a_sealed_memtable_holds(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, period: str | None, skipped: int
) -> None:
    folder = tmp_path_factory.mktemp("bulk")
    items = same_kind(data.draw(st.lists(points(border_times(period)), min_size=1, max_size=60)))
    devices = data.draw(st.lists(st.integers(5, 8), min_size=len(items), max_size=len(items)))
    left_out = data.draw(st.integers(5, 9))
    table = table_of(items, devices, skipped=skipped)
    memtable = Memtable()
    targets: list[tuple[int, str | None] | None] = []
    for part in range(table.part_count):
        device = table.part_device(part)
        if device == left_out:
            targets.append(None)
            continue
        targets.append((100 + device, period))
        own = [item for item, of in zip(items, devices, strict=True) if of == device]
        assert table.part_size(part) == len(own)
        memtable.apply(record_of(device, own, 100 + device), part + 1)
    if not any(targets):
        return
    slow = [exact(row) for segment in seal_to(folder, memtable, dict.fromkeys(range(5, 9), period)) for row in read_segment(segment)]
    writers = seal_table(table, targets, lambda month: SegmentWriter(folder / f"bulk-{month}.seg", month))
    fast = []
    for writer in writers:
        writer.finish()
        segment = Segment(folder / f"bulk-{writer.month}.seg")
        segment.verify()
        fast += [exact(row) for row in read_segment(segment)]
    assert fast == slow


def test_a_series_that_both_threads_encode_is_one_series(tmp_path: Path) -> None:
    items = [{"variable": "t", "value": float(i % 50), "time": JANUARY_2024_US + (i ^ 1) * 1_000_000} for i in range(10_000)]
    (writer,) = seal_table(table_of(items), [(1, "day")], lambda month: SegmentWriter(tmp_path / "one.seg", month))
    writer.finish()
    segment = Segment(tmp_path / "one.seg")
    segment.verify()
    assert segment.device_series(7) == [(b"t", KIND_NUMBER)]
    assert [exact(row) for row in read_segment(segment)] == [exact(row) for row in ordered(expected_rows(7, items, 1))]


def test_a_fleet_in_one_call(tmp_path: Path) -> None:
    devices, minutes = 100, 3_000
    names = [f"s{number:03}" for number in range(devices)]
    times = np.repeat(NOON_US + np.arange(minutes, dtype=np.int64) * 60_000_000, devices)
    values = np.round(np.random.default_rng(3).normal(20, 1, devices * minutes), 1)
    table = pa.table(
        {
            "device": pa.DictionaryArray.from_arrays(np.tile(np.arange(devices, dtype=np.int32), minutes), names),
            "variable": pa.DictionaryArray.from_arrays(np.zeros(devices * minutes, np.int32), ["t"]),
            "time": times,
            "value": values,
        }
    )
    with tsengine.open(tmp_path / "data") as db:
        for number, name in enumerate(names):
            db.create_device(f"device {name}", serial=name, type="mutable" if number == 50 else "immutable")
        assert db.append_arrow(table) == len(table)
        assert db.stats()["segments"] == 1
    with tsengine.open(tmp_path / "data") as db:
        assert db.check().problems == []
        for number, name in enumerate(names):
            found = db.device(name).read("t")
            assert (found[0] == times[::devices]).all()
            assert (found[1] == values[number::devices]).all()
        limited = db.create_device("limited", serial="limited", chunk_limit=10)
        with pytest.raises(LimitError, match="10 data registers"):
            db.append_arrow(
                table.set_column(0, "device", pa.DictionaryArray.from_arrays(table["device"].chunk(0).indices, [*names[:99], "limited"]))
            )
        assert limited.count() == 0
        assert db.device("s000").count() == minutes
        db.device("s000").append("t", 1.0)


def test_large_arrays_and_tables_round_trip(tmp_path: Path) -> None:
    times = NOON_US - LARGE * 1_000 + np.arange(LARGE, dtype=np.int64) * 1_000
    values = np.round(np.sin(np.arange(LARGE) / 100), 2)
    with tsengine.open(tmp_path / "data") as db:
        device = db.create_device("device", chunk_limit=None)
        device.append("before", 1.0)
        assert device.append_columns("t", times[::-1], values[::-1], unit="V") == LARGE
        device.append("after", 2.0)
        table = pa.table({"variable": ["a", "b"] * (LARGE // 2), "time": times, "value": values})
        assert device.append_arrow(table) == LARGE
        assert db.stats()["segments"] == 2
        assert device.count() == 2 * LARGE + 2
        assert len({point.group for point in device.last(["before", "t", "after", "a", "b"])}) == 4  # a and b came together
    with tsengine.open(tmp_path / "data") as db:
        device = db.devices()[0]
        assert db.check().problems == []
        stored = device.read("t")
        assert (stored[0] == times).all()
        assert (stored[1] == values).all()
        assert (device.read("b")[1] == values[1::2]).all()
        ids = device.scan(columns=["id"]).read_all().column("id")
        assert len(ids.unique()) == 2 * LARGE + 2


def test_more_than_a_batch_is_all_or_nothing(tmp_path: Path) -> None:
    count = 1_200_000
    times = NOON_US - count + np.arange(count, dtype=np.int64)
    with tsengine.open(tmp_path / "data") as db:
        limited = db.create_device("limited", chunk_limit=1_100_000)
        with pytest.raises(LimitError):
            limited.append_columns("t", times, np.arange(count))
        assert limited.count() == 0
        assert list((tmp_path / "data" / "segments").iterdir()) == []
        limited.append_columns("t", times[:1_100_000], np.arange(1_100_000))
        assert limited.count() == 1_100_000
        registers = db.create_device("registers", type="mutable")
        with pytest.raises(LimitError):
            registers.append_columns("t", times, np.arange(count))
        assert registers.count() == 0


def test_drops_hide_what_was_loaded_before_and_not_what_comes_after(tmp_path: Path) -> None:
    times = NOON_US + np.arange(LARGE, dtype=np.int64)
    with tsengine.open(tmp_path / "data") as db:
        device = db.create_device("device", chunk_limit=None)
        device.append_columns("t", times, np.zeros(LARGE))
        device.append("other", 1.0, time=NOON_US - 90 * 86_400_000_000)
        (newest, _) = device.chunks()
        device.delete_chunk(newest.id)
        assert device.count() == 1
        device.append_columns("t", times, np.ones(LARGE))
        assert device.count("t") == LARGE
        db.compact()
        assert device.read("t")[1].tolist() == [1.0] * LARGE
    with tsengine.open(tmp_path / "data") as db:
        assert db.devices()[0].count() == LARGE + 1


def test_points_in_thousands_of_months_need_few_open_files(tmp_path: Path) -> None:
    months = 1_200
    times = np.tile((np.datetime64("1900-01") + np.arange(months)).astype("datetime64[us]"), LARGE // months)
    with tsengine.open(tmp_path / "data") as db:
        device = db.create_device("device", chunk_limit=None)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(fd) for fd in os.listdir("/dev/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 100, hard))
        try:
            device.append_columns("t", times, np.arange(len(times)))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert db.stats()["segments"] == months
        assert np.sort(device.read("t")[1]).tolist() == list(range(len(times)))


KILLED = """
import sys
import numpy as np
import tsengine
db = tsengine.open(sys.argv[1])
device = db.devices()[0]
count = 300_000
for number in range(1_000):
    times = 1_795_262_400_000_000 + number * count + np.arange(count, dtype=np.int64)
    device.append_columns("t", times, np.full(count, number))
    print(number, flush=True)
"""


@pytest.mark.slow
def test_a_killed_load_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with tsengine.open(folder) as db:
        db.create_device("device", chunk_limit=None)
    for _ in range(10):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            acknowledged = [writer.stdout.readline() for _ in range(3)]
            os.kill(writer.pid, signal.SIGKILL)
            acknowledged += writer.stdout.readlines()
        with tsengine.open(folder) as db:
            device = db.devices()[0]
            values, counts = np.unique(device.read("t")[1], return_counts=True)
            assert set(counts.tolist()) == {LARGE}
            assert {int(line) for line in acknowledged if line.endswith("\n")} <= set(values.tolist())
            device.empty()
