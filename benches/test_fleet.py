"""A fleet beside the peers: many devices with one point each minute, sent in the order in which they arrive.

TSENGINE_BENCH_DEVICES sets how many: 1,000 unless told, 10,000 in `make bench-store`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benches import child, fleet, inputs
from benches.figures import add_figure, describe_subject
from benches.peers import load, size_bytes, subjects

DEVICES = int(os.environ.get("TSENGINE_BENCH_DEVICES", "1000"))
POINTS = DEVICES * fleet.POINTS
TABLE = f"Fleet, {DEVICES:,} devices of {fleet.POINTS:,} points"
MB = 1 << 20

pytestmark = pytest.mark.benchmark(timer=child.children_seconds)


@pytest.fixture(scope="module")
def workload(module_folder: Path) -> Path:
    return inputs.save(fleet.tables(DEVICES), module_folder / "inputs")


def measure(benchmark: BenchmarkFixture, job: str, subject: str, *args: Any) -> child.Answer:
    describe_subject(benchmark, subject, load("FLEET", subject).settings)
    return benchmark.pedantic(child.run, args=(job, subject, *args), rounds=1)


@pytest.mark.parametrize("subject", subjects("FLEET"))
def test_ingest_as_it_arrives(benchmark: BenchmarkFixture, module_folder: Path, workload: Path, subject: str) -> None:
    folder = module_folder / subject
    creation = child.run("create_fleet", subject, folder, DEVICES).values
    answer = measure(benchmark, "ingest_fleet", subject, folder, workload)
    if hasattr(load("FLEET", subject), "ingest_by_device"):
        add_figure(benchmark, TABLE, "create a device, durable", subject, DEVICES / creation["seconds"], "devices/s")
    row = "tables of 1 M rows in order of time, durable at the end"
    add_figure(benchmark, TABLE, row, subject, POINTS / answer.values["seconds"], "points/s", 8e6)
    add_figure(benchmark, TABLE, "bytes a point, whole folder", subject, size_bytes(folder) / POINTS, "bytes/point", 2.5)
    add_figure(benchmark, TABLE, "memory while ingesting, whole process", subject, answer.peak_bytes / MB, "MB", 356)


@pytest.mark.parametrize("subject", subjects("FLEET", "ingest_by_device"))
def test_ingest_by_device(benchmark: BenchmarkFixture, module_folder: Path, workload: Path, subject: str) -> None:
    folder = module_folder / f"{subject} by device"
    child.run("create_fleet", subject, folder, DEVICES)
    answer = measure(benchmark, "ingest_fleet_by_device", subject, folder, workload)
    child.run("read_fleet", subject, folder, workload)
    add_figure(benchmark, TABLE, "one call a device, durable at the end", subject, POINTS / answer.values["seconds"], "points/s", 8e6)
    add_figure(benchmark, TABLE, "bytes a point then", subject, size_bytes(folder) / POINTS, "bytes/point", 2.5)


@pytest.mark.parametrize("subject", subjects("FLEET"))
def test_read(benchmark: BenchmarkFixture, module_folder: Path, workload: Path, subject: str) -> None:
    answer = measure(benchmark, "read_fleet", subject, module_folder / subject, workload)
    add_figure(benchmark, TABLE, "last value of ten devices", subject, answer.values["last_s"] * 1e3, "ms", 0.05)
    add_figure(benchmark, TABLE, "one day of one device", subject, answer.values["range_s"] * 1e3, "ms", 0.05)
