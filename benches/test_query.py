"""Reads that have no twin among the peers: streams to Arrow, charts, reads beside a writer; and a fresh process, beside SQLite.

The questions that peers answer, too, are in test_store.py. TSENGINE_BENCH_MONTHS sets how many months of a million points there are
(default 3; the figures are of 36).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import tsengine
from benches import child, inputs
from benches.figures import add_figure
from benches.peers import OURS
from benches.questions import DAY_US, Truth
from benches.workload import VARIABLES, month_bounds_us, month_table, tables

MONTHS = int(os.environ.get("TSENGINE_BENCH_MONTHS", "3"))
TABLE = f"Reads, {MONTHS} M points in {MONTHS} months"
MIDDLE_US = month_bounds_us(MONTHS // 2)[0]
SERIAL = "bench"

SQLITE = """
import sqlite3
db = sqlite3.connect(sys.argv[2] + "/points.sqlite")
code = db.execute("SELECT id FROM texts WHERE text = 'energy'").fetchone()
assert db.execute("SELECT value FROM points WHERE variable = ? ORDER BY time DESC LIMIT 1", code).fetchone()
"""
FRESH = {
    "numpy alone": (OURS, "pass", None),
    "and import tsengine": (OURS, "import tsengine", None),
    "and import, open, last value": (OURS, "import tsengine; assert tsengine.open(sys.argv[1]).device('bench').last('energy')", 85),
    "and import, open, last value, SQLite": ("SQLite", SQLITE, None),
}
"""What a new process does once numpy is imported: (subject, code, goal in ms)."""


@pytest.fixture(scope="module")
def workload(module_folder: Path) -> Path:
    return inputs.save(tables(MONTHS), module_folder / "inputs")


@pytest.fixture(scope="module")
def truth(workload: Path) -> Truth:
    return Truth(inputs.load(workload))


@pytest.fixture(scope="module")
def store(module_folder: Path, workload: Path) -> Path:
    child.run("ingest", OURS, module_folder / OURS, workload)
    return module_folder / OURS


@pytest.fixture
def device(store: Path) -> Iterator[tsengine.Device]:
    with tsengine.open(store) as db:
        yield db.device(SERIAL)


@pytest.fixture(scope="module")
def sqlite(module_folder: Path, workload: Path) -> Path:
    """The same rows in SQLite, of one month: its last value costs the same with more of them."""
    (month := module_folder / "month").mkdir()
    (month / "000.arrow").symlink_to(workload / "000.arrow")
    child.run("ingest", "SQLite", module_folder / "SQLite", month)
    return module_folder / "SQLite"


@pytest.mark.parametrize("columns", [["variable", "time", "value"], None])
def test_scan(benchmark: BenchmarkFixture, device: tsengine.Device, truth: Truth, columns: list[str] | None) -> None:
    def scan() -> int:
        return sum(batch.num_rows for batch in device.scan(columns=columns))

    points = sum(map(len, truth.times.values()))
    assert scan() == points
    found = device.scan("temperature", columns=columns).read_all()
    assert (found.column("value").to_numpy() == truth.values["temperature"]).all()
    benchmark.pedantic(scan, rounds=3)
    if benchmark.stats is not None:
        row, goal = ("all columns", 15e6) if columns is None else (", ".join(columns), 60e6)
        add_figure(benchmark, TABLE, f"scan to Arrow: {row}", OURS, points / benchmark.stats.stats.median, "points/s", goal)


@pytest.mark.parametrize("method", ["lttb", "minmax"])
def test_downsample(benchmark: BenchmarkFixture, device: tsengine.Device, truth: Truth, method: str) -> None:
    times, values = device.downsample("temperature", 1_000, method=method)
    places = np.searchsorted(truth.times["temperature"], times)
    assert 900 <= len(times) <= 1_100
    assert (truth.times["temperature"][places] == times).all() and (truth.values["temperature"][places] == values).all()
    benchmark.pedantic(device.downsample, args=("temperature", 1_000), kwargs={"method": method}, rounds=7, warmup_rounds=1)
    if benchmark.stats is not None:
        add_figure(benchmark, TABLE, f"one variable as a chart of 1,000 points: {method}", OURS, benchmark.stats.stats.median * 1e3, "ms")


def test_count_above_full_precision(benchmark: BenchmarkFixture, device: tsengine.Device, truth: Truth) -> None:
    assert device.count("vibration", where={"gt": 5.0}) == truth.count_above("vibration", 5.0)
    benchmark.pedantic(device.count, args=("vibration",), kwargs={"where": {"gt": 5.0}}, rounds=21, warmup_rounds=1)
    if benchmark.stats is not None:
        row = "count where value > x, values of full precision"
        add_figure(benchmark, TABLE, row, OURS, benchmark.stats.stats.median * 1e3, "ms", 1.5)


@pytest.mark.parametrize("name", FRESH)
def test_fresh_process(benchmark: BenchmarkFixture, store: Path, sqlite: Path, name: str) -> None:
    subject, code, goal = FRESH[name]
    command = [sys.executable, "-c", f"import sys, numpy\n{code}\nassert 'pyarrow' not in sys.modules", str(store), str(sqlite)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    benchmark.pedantic(subprocess.run, args=(command,), kwargs={"check": True, "env": environment}, rounds=11, warmup_rounds=1)
    if benchmark.stats is not None:
        row = "fresh process: " + name.removesuffix(f", {subject}")
        add_figure(benchmark, TABLE, row, subject, benchmark.stats.stats.median * 1e3, "ms", goal)


def test_reads_while_writing(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """99th percentile of a day's range, idle and while another thread appends, seals and compacts."""

    def latencies(device: tsengine.Device, seconds: float) -> np.ndarray:
        found, stop = [], time.perf_counter() + seconds
        while time.perf_counter() < stop:
            begin = time.perf_counter()
            device.read("temperature", MIDDLE_US, MIDDLE_US + DAY_US)
            found.append(time.perf_counter() - begin)
        return np.array(found)

    with tsengine.open(tmp_path / "db") as db:
        device = db.create_device("bench", chunk_limit=None, point_limit=None)
        for month in (MONTHS // 2, MONTHS // 2 + 1):
            device.append_arrow(month_table(month))
        idle = benchmark.pedantic(lambda: latencies(device, 2.0), rounds=1)
        is_over = threading.Event()
        other = db.create_device("other", chunk_limit=None, point_limit=None)

        def write() -> None:
            while not is_over.is_set():
                for _ in range(50):
                    other.append_many([{"variable": f"v{i % 10}", "value": i / 10} for i in range(100)])
                db.compact()

        writer = threading.Thread(target=write)
        writer.start()
        busy = latencies(device, 2.0)
        is_over.set()
        writer.join()
        assert len(VARIABLES) == len(device.variables())
    for name, found in (("idle", idle), ("beside a writer", busy)):
        add_figure(benchmark, TABLE, f"raw, 1 day, {name}: 99th percentile", OURS, float(np.quantile(found, 0.99)) * 1e3, "ms")
