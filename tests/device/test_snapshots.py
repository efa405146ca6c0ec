"""A read shows one moment: whatever another thread appends, seals, merges or deletes, a batch is in it whole or not at all."""

from __future__ import annotations

import threading
from pathlib import Path

import tsengine

NAMES = ["a", "b", "c"]
NOON_US = 1_795_262_400_000_000
DAY_US = 86_400_000_000
BATCHES = 1_500


def test_batches_are_seen_whole_while_they_are_written(tmp_path: Path) -> None:
    with tsengine.open(tmp_path, durability="os", memory_mb=1) as db:
        device = db.create_device("device", chunk_limit=None)
        is_over, failures = threading.Event(), []

        def write() -> None:
            try:
                for n in range(BATCHES):
                    # Late ones, too: a batch reaches into old segments and the newest memtable.
                    time_us = NOON_US + n * 1_000_000 - (n % 7) * 40 * DAY_US
                    device.append_many([{"variable": name, "value": n, "time": time_us - i * 35 * DAY_US} for i, name in enumerate(NAMES)])
                    if n % 300 == 299:
                        db.compact()
            except BaseException as error:
                failures.append(error)
            finally:
                is_over.set()

        writer = threading.Thread(target=write)
        writer.start()
        rounds = 0
        while not is_over.is_set():
            rounds += 1
            counts = device.aggregate(NAMES, ["count", "max"]).to_pylist()
            assert len({row["count"] for row in counts}) <= 1
            assert len({row["max"] for row in counts}) <= 1
            newest = device.last(NAMES, by="insert")
            assert len({point.value for point in newest}) <= 1
            assert device.count() % 3 == 0
            groups: dict[str | None, int] = {}
            for point in device.points(limit=None):
                groups[point.group] = groups.get(point.group, 0) + 1
            assert set(groups.values()) <= {3}
            newest_by_time = {point.variable: point for point in device.last()}
            assert newest_by_time.keys() in (set(), set(NAMES))
        writer.join()
        assert not failures
        assert rounds > 1
        assert device.count() == 3 * BATCHES


def test_a_scan_goes_on_after_what_it_read_was_deleted(tmp_path: Path) -> None:
    with tsengine.open(tmp_path, durability="os") as db:
        device = db.create_device("device", chunk_limit=None)
        for n in range(3):
            device.append_many([{"variable": "t", "value": float(i), "time": NOON_US + n * 31 * DAY_US + i} for i in range(3_000)])
            if n < 2:
                db.seal()
        scan = device.scan(columns=["time", "value"])
        for chunk in device.chunks():
            device.delete_chunk(chunk.id)
        device.append("t", 1.0)
        db.compact()
        assert device.count() == 1
        assert scan.read_all().num_rows == 9_000


def test_reads_keep_no_file_that_was_merged_away(tmp_path: Path) -> None:
    """The space of a merged segment comes back although a device was read before: nothing remembered maps it any more."""
    with tsengine.open(tmp_path, durability="os") as db:
        device = db.create_device("device", chunk_limit=None)
        for n in range(3):  # a fourth would be merged in the background
            device.append_many([{"variable": "t", "value": float(i), "time": NOON_US + n + i} for i in range(3_000)])
            db.seal()
        assert len(device.last()) == len(device.first()) == 1
        assert device.count() == 9_000
        before = mapped(tmp_path)
        db.compact()
        assert len(before) == 3
        assert not before & mapped(tmp_path)
        assert device.count() == 9_000


def mapped(folder: Path) -> set[str]:
    """Segments of a store that this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {
        name for line in lines if (name := line.split(maxsplit=5)[-1].removesuffix(" (deleted)")).startswith(str(folder)) and ".seg" in name
    }
