"""The shapes "cpu" and "iot" of the Time Series Benchmark Suite, beside DuckDB, ClickHouse and SQLite.

TSENGINE_BENCH_TSBS sets "COUNT,DAYS": how many hosts and trucks for how many days; 20 for a day unless told (1.7 M values each),
100 for three days in `make bench-tsbs` (26 M each). TSBS itself has 4,000 hosts by default, on servers of another size.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benches import child, tsbs
from benches.figures import add_figure, describe_subject
from benches.peers import load, size_bytes, subjects

COUNT, DAYS = map(int, os.environ.get("TSENGINE_BENCH_TSBS", "20,1").split(","))

pytestmark = pytest.mark.benchmark(timer=child.children_seconds)


@pytest.fixture(scope="module", params=["cpu", "iot"])
def shape(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def workload(module_folder: Path, shape: str) -> tuple[Path, int]:
    """The rows as Arrow files in the order in which they arrive, and how many values they hold."""
    folder = module_folder / f"{shape} inputs"
    return folder, tsbs.save(tsbs.shape_of(shape, COUNT, DAYS), folder)


@pytest.mark.parametrize("subject", subjects("TSBS"))
def test_queries(benchmark: BenchmarkFixture, module_folder: Path, workload: tuple[Path, int], shape: str, subject: str) -> None:
    tables, values = workload
    folder, wanted = module_folder / f"{shape} {subject}", [shape, COUNT, DAYS]
    title = f"TSBS {shape}, {COUNT} {'hosts' if shape == 'cpu' else 'trucks'}, {DAYS} days, {values / 1e6:.1f} M values"
    ingest = child.run("ingest_tsbs", subject, folder, tables, wanted)
    stored_bytes = size_bytes(folder)
    describe_subject(benchmark, subject, load("TSBS", subject).settings)
    add_figure(
        benchmark, title, "ingest of rows as they arrive, durable at the end", subject, values / ingest.values["seconds"], "values/s"
    )
    add_figure(benchmark, title, "bytes a value, whole folder", subject, stored_bytes / values, "bytes/value")
    answer = benchmark.pedantic(child.run, args=("ask_tsbs", subject, folder, wanted), rounds=1)
    for name, ms in answer.values["ms"].items():
        add_figure(benchmark, title, name, subject, ms, "ms")
