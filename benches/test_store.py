"""The columnar store beside Parquet with zstd: bulk ingest and bytes a point of the workload, small durable commits.

TSENGINE_BENCH_MONTHS sets how many months of a million points the workload has (default 3; the full one has 36).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import tsengine
from benches.workload import tables

MONTHS = int(os.environ.get("TSENGINE_BENCH_MONTHS", "3"))


@pytest.fixture(scope="module")
def workload() -> list[pa.Table]:
    return list(tables(MONTHS))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    shutil.rmtree(tmp_path)


def describe(benchmark: BenchmarkFixture, points: int, size_bytes: int) -> None:
    benchmark.extra_info["bytes_per_point"] = round(size_bytes / points, 3)
    if benchmark.stats is not None:
        benchmark.extra_info["million_points_per_second"] = round(points / benchmark.stats.stats.median / 1e6, 2)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_bulk_ingest_tsengine(benchmark: BenchmarkFixture, workload: list[pa.Table], folder: Path) -> None:
    def ingest() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        with tsengine.open(folder) as db:
            device = db.create_device("bench", serial="B", chunk_limit=None)
            for table in workload:
                device.append_arrow(table)

    benchmark.pedantic(ingest, rounds=3)
    points = sum(table.num_rows for table in workload)
    with tsengine.open(folder) as db:
        assert db.device("B").count() == points
        expected = np.concatenate([table.column("value").to_numpy()[0::10] for table in workload])
        assert (db.device("B").read("temperature")[1] == expected).all()
    describe(benchmark, points, size_of(folder / "segments"))


def test_bulk_ingest_parquet(benchmark: BenchmarkFixture, workload: list[pa.Table], folder: Path) -> None:
    def ingest() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for number, table in enumerate(workload):
            pq.write_table(table, folder / f"{number}.parquet", compression="zstd")
        os.sync()

    benchmark.pedantic(ingest, rounds=3)
    describe(benchmark, sum(table.num_rows for table in workload), size_of(folder))


@pytest.mark.parametrize("points", [1, 10, 1_000])
def test_durable_commits_of_one_writer(benchmark: BenchmarkFixture, folder: Path, points: int) -> None:
    with tsengine.open(folder) as db:
        device = db.create_device("bench", chunk_limit=None)
        batch = [{"variable": f"v{i % 10}", "value": 20 + i / 10} for i in range(points)]
        benchmark(device.append_many, batch)
    if benchmark.stats is not None:
        benchmark.extra_info["commits_per_second"] = round(1 / benchmark.stats.stats.median)


def test_bare_sync(benchmark: BenchmarkFixture, folder: Path) -> None:
    """What the disk gives: overwrite 512 bytes of a file and fdatasync."""
    folder.mkdir()
    fd = os.open(folder / "file", os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, bytes(1 << 20), 0)
    os.fsync(fd)

    def sync() -> None:
        os.pwrite(fd, b"x" * 512, 4096)
        os.fdatasync(fd)

    benchmark(sync)
    os.close(fd)
