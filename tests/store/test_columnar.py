"""The columnar store: apply, freeze, seal, drop and replay; what a crash or a full disk leaves; what readers see meanwhile."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.store.making import ordered, random_points, read_all, record_of
from tests.store.storing import Stored
from tests.strategies import JANUARY_2024_US, PERIODS, TIME_MAX_US, TIME_MIN_US
from tsengine.core.calendar import period_of, start_of
from tsengine.errors import BusyError, CorruptionError, StorageFullError
from tsengine.store import columnar
from tsengine.store.period import chunk_bounds

DAY_US = 86_400_000_000
MONTH = period_of(JANUARY_2024_US, "month")


def some(generator: random.Random, count: int = 50, months: int = 3) -> list[dict[str, Any]]:
    points = random_points(generator, count, start_us=JANUARY_2024_US, span_us=months * 30 * DAY_US, variables=("a", "b"))
    return [{**point, "value": generator.choice((1, 2.5, "x", True, None))} for point in points]


def month_points(month: int, count: int = 5) -> list[dict[str, Any]]:
    return [{"variable": "t", "value": float(n), "time": start_of(month, "month") + n} for n in range(count)]


def test_points_are_readable_before_and_after_a_seal_and_a_reopen(stored: Stored) -> None:
    generator = random.Random(1)
    stored.add_device(7)
    stored.add_device(8, "day")
    for number in range(6):
        stored.append(some(generator), 7 + number % 2)
        stored.check()
        if number == 2:
            stored.store.freeze()
            stored.check()
        if number == 3:
            stored.seal()
            stored.check()
            assert stored.files == stored.live != []
    stored.reopen()
    stored.check()
    stored.seal()
    stored.reopen()
    stored.check()
    assert stored.store.sealed_until(len(stored.log)) == len(stored.log)


def test_replay_of_what_is_sealed_changes_nothing(stored: Stored) -> None:
    stored.add_device()
    stored.append(month_points(MONTH))
    stored.append(month_points(MONTH + 1))
    stored.seal()
    files = stored.files
    for _ in range(3):
        stored.reopen()
        stored.check()
        assert (stored.files, stored.store.view.active.memtable.point_count) == (files, 0)


def test_the_log_is_needed_from_the_oldest_unsealed_batch_on(stored: Stored) -> None:
    stored.add_device()
    assert stored.store.sealed_until(5) == 5
    stored.append(month_points(MONTH))
    assert stored.store.sealed_until(1) == 0
    stored.store.freeze()
    stored.append(month_points(MONTH))
    stored.append(month_points(MONTH))
    assert stored.store.sealed_until(3) == 0
    assert stored.store.seal()
    assert stored.store.sealed_until(3) == 1
    assert not stored.store.seal()


def test_a_full_memtable_is_frozen(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "store", memory_bytes=200_000)
    stored.add_device()
    generator = random.Random(2)
    while not stored.frozen_count:
        stored.append(random_points(generator, 200, rich=False))
        assert stored.store.has_room()
    assert stored.store.view.active.memtable.point_count == 0
    while stored.store.has_room():
        stored.append(random_points(generator, 200, rich=False))
    stored.check()
    stored.seal()
    assert stored.store.has_room()
    stored.store.admit()
    stored.check()
    stored.store.close()


def test_writers_that_find_no_room_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "ADMIT_TIMEOUT_S", 0.01)
    stored = Stored(tmp_path / "store", memory_bytes=100_000)
    stored.add_device()
    while stored.store.has_room():
        stored.append(random_points(random.Random(2), 200, rich=False))
    with pytest.raises(BusyError, match="try again later"):
        stored.store.admit()
    stored.store.close()


def test_a_damaged_record_is_refused_and_changes_nothing(stored: Stored) -> None:
    stored.add_device()
    stored.append(month_points(MONTH))
    with pytest.raises(CorruptionError):
        stored.store.apply(2, record_of(7, month_points(MONTH), 100)[:-8])
    stored.check()


# --- drops -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_a_tombstone_hides_what_was_logged_before_it(stored: Stored, seed: int) -> None:
    """Any order of appends, drops, freezes, seals, merges and crashes shows exactly the points of the model."""
    generator = random.Random(seed)
    for device, period in ((7, "month"), (8, "day"), (9, None)):
        stored.add_device(device, period)  # type: ignore[arg-type]
    for _ in range(60):
        device = generator.choice((7, 8, 9))
        match generator.choices(("append", "drop", "freeze", "seal", "compact", "all", "reopen"), (10, 4, 2, 3, 2, 1, 2))[0]:
            case "append":
                stored.append(some(generator, generator.randrange(1, 40)), device)
            case "drop":
                period = stored.infos[device].chunk_period
                number = period_of(JANUARY_2024_US + generator.randrange(90) * DAY_US, period)
                bounds = chunk_bounds(number, period)
                if generator.random() < 0.4:
                    low, high = sorted(generator.sample(range(JANUARY_2024_US, JANUARY_2024_US + 90 * DAY_US), 2))
                    bounds = low, high
                stored.drop(*bounds, device)
            case "freeze":
                stored.store.freeze()
            case "seal":
                stored.seal()
            case "compact":
                stored.merge_due(None)
            case "all":
                stored.seal()
                stored.merge_all(None)
            case "reopen":
                stored.reopen()
        stored.check()
        assert stored.files == stored.live


@pytest.mark.parametrize("period", PERIODS)
def test_counts_per_period_leave_dropped_chunks_out(stored: Stored, period: Any) -> None:
    generator = random.Random(3)
    stored.add_device(7, period)
    for number in range(4):
        stored.append(some(generator, 100))
        if number % 2:
            stored.seal()
        stored.drop(*chunk_bounds(period_of(JANUARY_2024_US + 10 * number * DAY_US, period), period))
        expected = Counter(period_of(row.time_us, period) for row in stored.rows[7])
        assert {n: count for n, count in stored.store.period_counts(7, period).items() if count} == expected


def test_dropping_a_whole_segment_unlinks_it(stored: Stored) -> None:
    stored.add_device()
    stored.append(month_points(MONTH))
    stored.append(month_points(MONTH + 1))
    stored.seal()
    assert len(stored.files) == 2
    stored.drop(*chunk_bounds(MONTH, "month"))
    assert len(stored.files) == 1
    assert stored.store.view.tombstones == {}
    stored.check()
    stored.append(month_points(MONTH))
    stored.check()
    stored.reopen()
    stored.check()


def test_a_reader_keeps_what_it_took(stored: Stored) -> None:
    stored.add_device()
    stored.append(month_points(MONTH))
    stored.seal()
    sources = stored.store.sources(7, TIME_MIN_US, TIME_MAX_US)
    rows = list(stored.rows[7])
    stored.drop(TIME_MIN_US, TIME_MAX_US)
    assert stored.files == []
    assert read_all(sources, 7) == rows
    assert stored.read() == []


def test_a_drop_of_points_in_memory_lasts_through_the_seal(stored: Stored) -> None:
    stored.add_device()
    stored.append(month_points(MONTH))
    stored.drop(*chunk_bounds(MONTH, "month"))
    stored.append(month_points(MONTH, 2))
    stored.check()
    stored.seal()
    stored.check()
    stored.reopen()
    stored.check()


def test_a_forgotten_device_is_gone_and_its_neighbours_stay(stored: Stored) -> None:
    for device in (1, 2, 3):
        stored.add_device(device)
        stored.append(month_points(MONTH), device)
    stored.seal()
    for device in (1, 2, 3):
        stored.append(month_points(MONTH + 1), device)
    stored.forget(2)
    assert stored.read(2) == []
    stored.seal()
    stored.check()
    stored.reopen()
    stored.check()
    assert stored.read(2) == []
    stored.merge_all(None)
    assert stored.store.view.tombstones == {}
    assert all(2 not in live.open().devices() for live in stored.store.view.segments)


def test_a_drop_during_a_merge_wins(stored: Stored) -> None:
    """The merge of a segment that a drop removed meanwhile used to fail, and left files behind."""
    stored.add_device()
    for _ in range(4):
        stored.append(month_points(MONTH))
        stored.seal()
    is_dropped = False

    def drop_once(_done: int, _total: int) -> None:
        nonlocal is_dropped
        if not is_dropped:
            is_dropped = True
            stored.drop(*chunk_bounds(MONTH, "month"))

    stored.merge_all(None, drop_once)
    assert is_dropped
    stored.check()
    assert stored.read() == []
    assert stored.files == stored.live == []
    stored.reopen()
    stored.check()


def test_a_drop_that_hides_a_part_during_a_merge_stays(stored: Stored) -> None:
    stored.add_device()
    for number in range(4):
        stored.append([{"variable": "t", "value": 1.0, "time": JANUARY_2024_US + number + n * DAY_US} for n in range(5)])
        stored.seal()
    is_dropped = False

    def drop_once(_done: int, _total: int) -> None:
        nonlocal is_dropped
        if not is_dropped:
            is_dropped = True
            stored.drop(JANUARY_2024_US, JANUARY_2024_US + DAY_US)

    stored.merge_all(None, drop_once)
    stored.check()
    assert len(stored.files) == 1
    stored.reopen()
    stored.check()
    stored.merge_all(None)
    stored.check()
    assert stored.store.view.tombstones == {}


# --- files -------------------------------------------------------------------------------------------------------------


def test_leftovers_are_removed_and_foreign_names_stay(stored: Stored) -> None:
    stored.add_device()
    stored.append(month_points(MONTH))
    stored.seal()
    live = stored.files
    folder = stored.folder / "segments"
    for leftover in ("00000000000000ff.seg", "00000000000000ff.seg.tmp", "0000000000000002.seg.tmp"):
        (folder / leftover).write_bytes(b"half")
    foreign = ["README", "copy.seg", "notes.seg.tmp", "0000000000000001.seg.bak", "00000000000000FF.seg", "1.seg", "lost+found"]
    for name in foreign[:-1]:
        (folder / name).write_text("mine")
    (folder / "lost+found").mkdir()
    stored.reopen()
    assert stored.files == sorted(live + foreign)
    stored.check()


def test_ids_of_failed_seals_and_of_removed_segments_are_not_used_again(stored: Stored) -> None:
    stored.add_device()
    seen: set[str] = set()
    for _ in range(3):
        stored.append(month_points(MONTH))
        stored.seal()
        assert not seen & set(stored.files)
        seen |= set(stored.files)
        stored.drop(TIME_MIN_US, TIME_MAX_US)
        stored.reopen()


def test_a_damaged_segment_is_named_and_hides_nothing_else(stored: Stored) -> None:
    stored.add_device()
    for month in (MONTH, MONTH + 1):
        stored.append(month_points(month))
    stored.seal()
    path = stored.folder / "segments" / stored.files[0]
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])
    stored.reopen()
    with pytest.raises(CorruptionError, match=path.name):
        stored.read()
    bounds = chunk_bounds(MONTH + 1, "month")
    assert stored.read(7, *bounds) == ordered(row for row in stored.rows[7] if row.time_us >= bounds[0])
    stored.append(month_points(MONTH + 1))
    stored.seal()
    assert len(stored.read(7, *bounds)) == 10


def fill(path: Path) -> None:
    """Write to a file until the disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65_536))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_keeps_the_memtable_and_a_later_seal_works(small_disk: Path) -> None:
    stored = Stored(small_disk / "store")
    stored.add_device()
    generator = random.Random(5)
    stored.append(
        [
            {"variable": "t", "value": generator.random(), "time": JANUARY_2024_US + n, "group": f"{generator.getrandbits(96):024x}"}
            for n in range(20_000)
        ]
    )
    stored.store.freeze()
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        fill(filler)
    for _ in range(2):
        with pytest.raises(StorageFullError):
            stored.store.seal()
        stored.check()
        assert stored.live == []
        assert [name for name in stored.files if name.endswith(".seg")] == []
    filler.unlink()
    assert stored.store.seal()
    stored.check()
    assert stored.files == stored.live != []
    stored.store.close()


# --- threads -----------------------------------------------------------------------------------------------------------


def test_seals_from_another_thread_lose_no_batch(stored: Stored) -> None:
    """A freeze in the midst of an apply used to seal the memtable without the rest of the batch."""
    stored.add_device()
    is_done = threading.Event()
    failures: list[BaseException] = []

    def seal() -> None:
        try:
            while not is_done.is_set():
                stored.seal()
        except BaseException as error:
            failures.append(error)

    sealer = threading.Thread(target=seal)
    sealer.start()
    try:
        for number in range(40):
            # Large enough that checking it lets other threads run in its midst.
            stored.append([{"variable": f"v{n % 30}", "value": n, "time": JANUARY_2024_US + number} for n in range(4000)])
    finally:
        is_done.set()
        sealer.join()
    assert not failures
    stored.check()
    stored.reopen()
    stored.check()
