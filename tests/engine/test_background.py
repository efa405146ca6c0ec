"""What runs behind an open store: seals beside merges, the pace and the end of merges, space that comes back, idle devices."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tsengine
from tsengine import InputError, LimitError, ManualClock
from tsengine.core.ingest.points import from_points
from tsengine.engine import engine, writes
from tsengine.store.pace import Pace

NOON_US = 1_795_262_400_000_000  # 2026-11-21T12:00:00Z
DAY_US = 86_400_000_000
TEN_YEARS_S = 10 * 365 * 86_400


def numbers(count: int, *, start_us: int = NOON_US - DAY_US) -> tuple[np.ndarray, np.ndarray]:
    """Times a second apart and values of one decimal."""
    return start_us + np.arange(count, dtype=np.int64) * 1_000_000, np.round(np.sin(np.arange(count) / 50) * 20, 1)


def seal_parts(db: tsengine.Engine, device: tsengine.Device, parts: int = 4) -> None:
    """Four segments of one month: enough for a merge in the background."""
    for part in range(parts):
        device.append_columns("t", *numbers(5_000, start_us=NOON_US - DAY_US + part))
        db.seal()


# --- merges ----------------------------------------------------------------------------------------------------------------


def test_writers_fill_the_memory_again_and_again_while_a_merge_stands_still(tmp_path: Path) -> None:
    """A long merge used to keep frozen memtables from being sealed: writers stalled, and got BusyError after ten seconds."""
    with tsengine.open(tmp_path, durability="os", memory_mb=1) as db:
        device = db.create_device("device", chunk_limit=None)
        seal_parts(db, device, 2)
        is_reached, may_go_on = threading.Event(), threading.Event()

        def hold(_done: int, _total: int) -> None:
            is_reached.set()
            assert may_go_on.wait(60)

        merger = threading.Thread(target=db.compact, args=(hold,))
        merger.start()
        assert is_reached.wait(30)
        try:
            before = db.stats()["segments"]
            for number in range(200):  # some 10 MB of memtables
                device.append_columns("live", *numbers(1_000, start_us=NOON_US + number * 10_000_000))
                if number % 20 == 0:
                    assert device.count("live") == (number + 1) * 1_000
                    assert device.count("t") == 10_000
            assert db.stats()["segments"] > before + 3
            assert db.stats()["compaction"]["running"]["month"] == "2026-11"
            db.check()
            device.empty()
        finally:
            may_go_on.set()
            merger.join()
        assert device.count() == 0


class Waiting:
    """Tells when a merge asks for bytes; then its pace goes on as ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_reached = threading.Event()
        spend = Pace.spend

        def spend_and_tell(pace: Pace, size_bytes: int) -> None:
            if size_bytes:
                self.is_reached.set()
            spend(pace, size_bytes)

        monkeypatch.setattr(Pace, "spend", spend_and_tell)


def test_close_does_not_wait_for_a_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a byte in a thousand seconds this merge would take months."""
    waiting = Waiting(monkeypatch)
    db = tsengine.open(tmp_path, compaction_mb_per_s=1e-9)
    device = db.create_device("device", serial="S")
    seal_parts(db, device)
    assert waiting.is_reached.wait(30)
    running = db.stats()["compaction"]["running"]
    assert (running["segments"], running["points_total"]) == (4, 20_000)
    assert 0 < running["points"] <= 20_000
    closer = threading.Thread(target=db.close)
    closer.start()
    closer.join(30)
    assert not closer.is_alive()
    assert sorted(path.suffix for path in (tmp_path / "segments").iterdir()) == [".seg"] * 4
    with tsengine.open(tmp_path) as db:
        assert db.device("S").count() == 20_000
        db.compact()
        assert db.device("S").count() == 20_000
        assert db.stats()["segments"] == 1


def test_compact_by_hand_does_not_wait_for_the_pace_of_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting(monkeypatch)
    with tsengine.open(tmp_path, compaction_mb_per_s=1e-9) as db:
        device = db.create_device("device")
        seal_parts(db, device)
        assert waiting.is_reached.wait(30)
        db.compact()
        stats = db.stats()
        assert (stats["segments"], stats["compaction"]["running"]) == (1, None)
        assert stats["compaction"]["points"] >= 20_000
        assert stats["background_errors"] == []
        assert device.count() == 20_000


def test_close_ends_a_compact_of_another_thread(tmp_path: Path) -> None:
    db = tsengine.open(tmp_path)
    device = db.create_device("device")
    seal_parts(db, device, 2)
    errors: list[BaseException] = []
    is_reached, may_go_on = threading.Event(), threading.Event()

    def hold(_done: int, _total: int) -> None:
        is_reached.set()
        assert may_go_on.wait(60)

    def compact() -> None:
        try:
            db.compact(hold)
        except tsengine.ClosedError as error:
            errors.append(error)

    merger = threading.Thread(target=compact)
    merger.start()
    assert is_reached.wait(30)
    db.close()
    may_go_on.set()
    merger.join()
    assert len(errors) == 1
    assert len(list((tmp_path / "segments").iterdir())) == 2


@pytest.mark.parametrize("options", [{"compaction_mb_per_s": 0}, {"compaction_mb_per_s": -1}, {"clock_trust_s": -1}])
def test_limits_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        tsengine.open(tmp_path, **options)


# --- space -----------------------------------------------------------------------------------------------------------------


def sizes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path / "segments").iterdir())


def take_away(db: tsengine.Engine, device: tsengine.Device, gone: str) -> None:
    """Delete all points of a device, in one of three ways."""
    if gone == "chunk":
        device.delete_chunk(device.chunks()[0].id)
    elif gone == "empty":
        device.empty()
    else:
        db.delete_device(device.id)


@pytest.mark.parametrize("gone", ["chunk", "empty", "device"])
def test_space_comes_back_at_once_where_a_segment_holds_nothing_else(tmp_path: Path, gone: str) -> None:
    with tsengine.open(tmp_path) as db:
        device = db.create_device("device")
        device.append_columns("t", *numbers(20_000))
        db.seal()
        assert sizes(tmp_path) > 1_000
        take_away(db, device, gone)
        assert sizes(tmp_path) == 0


@pytest.mark.parametrize("gone", ["chunk", "empty", "device"])
def test_space_in_shared_segments_comes_back_by_compaction(tmp_path: Path, gone: str) -> None:
    with tsengine.open(tmp_path) as db:
        kept, device = db.create_device("kept"), db.create_device("device")
        for one in (kept, device):
            one.append_columns("t", *numbers(20_000))
        db.seal()
        before = sizes(tmp_path)
        take_away(db, device, gone)
        db.compact()
        assert sizes(tmp_path) < before * 0.6
        assert db.stats()["tombstones"] == 0
        assert kept.count() == 20_000


def test_a_clock_that_jumps_ten_years_and_back_destroys_nothing_and_counts_right(tmp_path: Path) -> None:
    clock = ManualClock(NOON_US)
    with tsengine.open(tmp_path, clock=clock) as db:
        device = db.create_device("device", chunk_period="day", chunk_retention=3, chunk_limit=10)
        device.append_many([{"variable": "t", "value": 1.0}] * 9)
        db.seal()
        clock.advance(seconds=3600)
        assert db.stats()["clock_trusted"]
        for jump in (TEN_YEARS_S, -TEN_YEARS_S):
            clock.jump(seconds=jump)
            assert not db.stats()["clock_trusted"]
            assert device.count() == (0 if jump > 0 else 10)
            db._maintain()
            db._merge()
            db.compact()
            assert sizes(tmp_path) > 0
            if jump > 0:
                device.append("t", 2.0)  # its window is now that of the wrong clock
            clock.jump(seconds=-jump)
        assert device.count() == 10  # the one of the future is there, too
        device.append("t", 1.0)
        with pytest.raises(LimitError):
            device.append("t", 1.0)
        clock.advance(seconds=599)
        assert not db.stats()["clock_trusted"]
        clock.advance(seconds=10 * 86_400)
        assert db.stats()["clock_trusted"]
        db.compact()
        assert db.stats()["sealed_points"] == 1


def test_the_time_until_a_clock_is_trusted_is_a_choice(tmp_path: Path) -> None:
    clock = ManualClock(NOON_US)
    with tsengine.open(tmp_path, clock=clock, clock_trust_s=0) as db:
        device = db.create_device("device", chunk_period="day", chunk_retention=0)
        device.append("t", 1.0)
        clock.jump(seconds=2 * 86_400)
        db.compact()
        assert sizes(tmp_path) == 0


# --- fleets ----------------------------------------------------------------------------------------------------------------


def fleet(db: tsengine.Engine, count: int) -> list[int]:
    return [db.create_device(f"device {number}").number for number in range(count)]


def push(db: tsengine.Engine, devices: list[int], time_us: int, variables: int = 3) -> None:
    """One point of each variable of each device."""
    for number in devices:
        points = [{"variable": f"v{variable}", "value": 20.5 + variable, "time": time_us} for variable in range(variables)]
        db.write(number, from_points(points, time_us), sync=False)
    db.sync()


def test_a_seal_of_a_fleet_makes_one_file_and_keeps_nothing_for_each_device(tmp_path: Path) -> None:
    """Memory that Python knows of, measured by tracemalloc: a device costs 1.3 kB once, and nothing a seal or a series."""
    devices_count = 1_000
    with tsengine.open(tmp_path, durability="os") as db:
        devices = fleet(db, devices_count)
    with tsengine.open(tmp_path, durability="os", compaction_mb_per_s=None) as db:
        tracemalloc.start()
        try:
            used = [tracemalloc.get_traced_memory()[0]]
            for minute in range(3):
                push(db, devices, NOON_US + minute * 60_000_000)
                db.seal()
                used.append(tracemalloc.get_traced_memory()[0])
                assert len(list((tmp_path / "segments").iterdir())) == minute + 1
        finally:
            tracemalloc.stop()
        assert db.stats()["memtable_bytes"] < 10_000
    first, *later = (after - before for before, after in pairwise(used))
    assert first < devices_count * 2_000
    assert sum(later) < devices_count * 100


def test_a_series_with_one_unsealed_point_takes_half_a_kilobyte(tmp_path: Path) -> None:
    with tsengine.open(tmp_path, durability="memory") as db:
        push(db, fleet(db, 1_000), NOON_US)
        assert db.stats()["memtable_bytes"] < 1_000 * 3 * 512


def test_more_devices_than_are_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (engine, writes):
        monkeypatch.setattr(module, "DEVICES_IN_MEMORY", 20)
    with tsengine.open(tmp_path, durability="memory") as db:
        devices = [db.create_device(f"device {number}", chunk_limit=3) for number in range(100)]
        for _ in range(3):
            for device in devices:
                device.append("t", 1.0, sync=False)
                assert device.count() == len(device.points())
        assert len(db._states) <= 20
        assert len(db._infos) <= 20
        for device in devices:
            with pytest.raises(LimitError):
                device.append("t", 1.0)
            assert device.count() == 3
            assert len({point.id for point in device.points()}) == 3


def test_devices_that_are_written_to_by_many_threads_are_forgotten_safely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (engine, writes):
        monkeypatch.setattr(module, "DEVICES_IN_MEMORY", 2)
    with tsengine.open(tmp_path, durability="os") as db:
        devices = [db.create_device(f"device {number}") for number in range(6)]
        failures: list[BaseException] = []

        def run(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)

        def write() -> None:
            for number in range(60):
                devices[number % 6].append("t", 1.0, sync=number % 3 == 0)

        threads = [threading.Thread(target=run, args=(write,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        for device in devices:
            points = device.points(limit=None)
            assert len({point.id for point in points}) == len(points) == 40
