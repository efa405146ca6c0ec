"""Seal, compaction and retention: their speed and the memory of the process while they run, and the drop of a month.

TSENGINE_BENCH_MONTHS sets how many months of a million points the workload has (default 3; the full one has 36). Memory is RssAnon
of /proc/self/status, looked at every 5 ms: pages of mapped segments are left out, those of the interpreter, numpy and pyarrow count.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import tsengine
from benches.workload import month_bounds_us, month_table
from tsengine.store.retention import drop_expired

Months = tuple[tsengine.Engine, tsengine.Device, tsengine.ManualClock]

MONTHS = int(os.environ.get("TSENGINE_BENCH_MONTHS", "3"))
BATCHES, POINTS = 10, 100_000
"""Batches of a month, and points of one: few enough to take the way through log and memtable."""

ORDERS = ("in order", "months mixed", "overlapping", "shuffled")


class Memory:
    peak_mb = 0


@contextmanager
def watched() -> Iterator[Memory]:
    """Note the most anonymous memory of this process while the block runs, MiB."""
    memory = Memory()
    is_done = threading.Event()

    def watch() -> None:
        while not is_done.wait(0.005):
            memory.peak_mb = max(memory.peak_mb, anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield memory
    finally:
        is_done.set()
        watcher.join()


def anonymous_mb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("RssAnon"))


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The workload in a file that is mapped, so that it is no memory of this process."""
    path = tmp_path_factory.mktemp("workload") / "workload.arrow"
    with ipc.new_file(path, month_table(0, payloads=10).schema) as file:
        for month in range(MONTHS):
            file.write_table(month_table(month).combine_chunks(), max_chunksize=POINTS)
    yield path
    path.unlink()


def batches(path: Path, order: str) -> Iterator[pa.Table]:
    """Yield the workload as batches: month by month, or every month a bit at a time; overlapping: each over its whole month."""
    file = ipc.open_file(pa.memory_map(str(path)))
    rounds = [(month, part) for month in range(MONTHS) for part in range(BATCHES)]
    if order != "in order":
        rounds.sort(key=lambda pair: pair[1])
    for month, part in rounds:
        first = month * BATCHES
        if order == "overlapping":
            rows = (np.arange(part, POINTS // 10, BATCHES)[:, None] * 10 + np.arange(10)).reshape(-1)
            yield pa.Table.from_batches([file.get_batch(first + n).take(pa.array(rows)) for n in range(BATCHES)])
            continue
        batch = file.get_batch(first + part)
        if order == "shuffled":
            batch = batch.take(pa.array(np.random.default_rng(part).permutation(POINTS)))
        yield pa.Table.from_batches([batch])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("order", ORDERS)
def test_ingest_and_compaction(benchmark: BenchmarkFixture, folder: Path, workload: Path, order: str) -> None:
    """Times the compaction; beside it the memory of the ingest before. Merges in the background are kept away by their pace."""
    info = benchmark.extra_info
    with tsengine.open(folder, compaction_mb_per_s=1e-6) as db:
        device = db.create_device("bench", serial="B", chunk_limit=None)
        info["start_mb"] = anonymous_mb()
        with watched() as ingest:
            for table in batches(workload, order):
                device.append_arrow(table)
            db.seal()
        info["ingest_peak_mb"] = ingest.peak_mb
        info["segments_before"] = len(db.columnar.view.segments)
    with tsengine.open(folder) as db:
        info["sealed_mb"] = anonymous_mb()
        with watched() as merging:
            benchmark.pedantic(db.compact, rounds=1)
        info["compaction_peak_mb"] = merging.peak_mb
        stats = db.stats()
        info["compaction"] = stats["compaction"]
        info["bytes_per_point"] = round(stats["segment_bytes"] / stats["sealed_points"], 3)
        assert db.device("B").count() == stats["sealed_points"] == MONTHS * BATCHES * POINTS
        assert stats["segments"] == MONTHS


@pytest.fixture
def months(folder: Path) -> Iterator[Months]:
    """A store with every month of the workload in a segment of its own, and the clock at its last month."""
    clock = tsengine.ManualClock(month_bounds_us(MONTHS - 1)[0])
    with tsengine.open(folder, clock=clock) as db:
        device = db.create_device("bench", serial="B", chunk_limit=None)
        for month in range(MONTHS):
            device.append_arrow(month_table(month))
        yield db, device, clock


def test_delete_the_oldest_chunk(benchmark: BenchmarkFixture, months: Months) -> None:
    db, device, _ = months
    ids = [chunk.id for chunk in device.chunks()]
    assert len(ids) == MONTHS
    benchmark.pedantic(device.delete_chunk, setup=lambda: ((ids.pop(),), {}), rounds=MONTHS - 1)
    assert device.count() == len(ids) * 1_000_000
    assert len(db.columnar.view.segments) == len(ids)


def test_retention_moves_by_a_month(benchmark: BenchmarkFixture, months: Months) -> None:
    db, device, clock = months
    db.edit_device(device.id, chunk_retention=MONTHS - 1)

    def next_month() -> tuple[tuple[object, ...], dict[str, object]]:
        clock.advance(seconds=31 * 86_400)
        return (db.columnar, db.info_of, clock.now_us()), {}

    benchmark.pedantic(drop_expired, setup=next_month, rounds=MONTHS - 1)
    assert len(db.columnar.view.segments) < MONTHS


def test_bare_unlink(benchmark: BenchmarkFixture, folder: Path) -> None:
    """What the disk gives: remove a file of the size of a month."""
    folder.mkdir()
    path = folder / "file"

    def write() -> None:
        with path.open("wb") as file:
            file.write(bytes(1_700_000))
            file.flush()
            os.fsync(file.fileno())

    benchmark.pedantic(path.unlink, setup=write, rounds=10)
