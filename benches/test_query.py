"""Queries of the workload beside DuckDB, Parquet, SQLite and Polars; every answer is checked against numpy before it is timed.

TSENGINE_BENCH_MONTHS sets how many months of a million points there are (default 3; the figures are of 36). TSENGINE_BENCH_STORE
names a folder with the workload (device serial "B"), so that it is not loaded again.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import tsengine
from benches.query_peers import PEERS, Peer
from benches.workload import VARIABLES, month_bounds_us, month_table, tables
from tsengine.types import EPOCH

MONTHS = int(os.environ.get("TSENGINE_BENCH_MONTHS", "3"))
STORE = os.environ.get("TSENGINE_BENCH_STORE")
DAY_US = 86_400_000_000
NUMERIC = [name for name in VARIABLES if name != "mode"]
MIDDLE_US = month_bounds_us(MONTHS // 2)[0]
YEAR = (month_bounds_us(max(MONTHS - 24, 0))[0], month_bounds_us(max(MONTHS - 24, 0) + min(12, MONTHS))[0] - 1)
ALL = (month_bounds_us(0)[0], month_bounds_us(MONTHS)[0] - 1)
BOUND = -19.05

# name of the question: (variable, functions, every, bounds)
AGGREGATES: dict[str, tuple[str | None, list[str], str | None, tuple[int, int]]] = {
    "avg per hour of a year": ("temperature", ["avg"], "1h", YEAR),
    "min max avg count per day of all": ("temperature", ["min", "max", "avg", "count"], "1d", ALL),
    "count avg per minute of a month": ("temperature", ["count", "avg"], "1m", (MIDDLE_US, month_bounds_us(MONTHS // 2 + 1)[0] - 1)),
    "sum of one variable": ("temperature", ["sum"], None, ALL),
    "sum of all variables": (None, ["sum"], None, ALL),
}
RANGES = {"raw 1 day": (MIDDLE_US, MIDDLE_US + DAY_US - 1), "raw 30 days": (MIDDLE_US, MIDDLE_US + 30 * DAY_US - 1)}


class Truth:
    """The workload as numpy arrays: times and values of each variable that has numbers, in order of time."""

    def __init__(self) -> None:
        times: dict[str, list[np.ndarray]] = {name: [] for name in VARIABLES}
        values: dict[str, list[np.ndarray]] = {name: [] for name in NUMERIC}
        for month in range(MONTHS):
            table = month_table(month)
            time, value = table.column("time").cast("int64").to_numpy(), table.column("value").to_numpy(zero_copy_only=False)
            door = table.column("value_bool").fill_null(False).to_numpy(zero_copy_only=False).astype(np.float64)
            for number, name in enumerate(VARIABLES):
                times[name].append(time[number::10])
                if name in values:
                    values[name].append((door if name == "door" else value)[number::10])
        self.times = {name: np.concatenate(parts) for name, parts in times.items()}
        self.values = {name: np.concatenate(parts) for name, parts in values.items()}
        self.newest = np.sort(np.concatenate([part[-2_000:] for part in self.times.values()]))[::-1]

    def part(self, variable: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.searchsorted(self.times[variable], [start, end + 1])
        return self.times[variable][low:high], self.values[variable][low:high]

    def aggregate(self, variable: str | None, functions: list[str], every: str | None, start: int, end: int) -> list[tuple[Any, ...]]:
        if variable is None:
            return [(math.fsum(self.values[name]),) for name in sorted(NUMERIC)]
        times, values = self.part(variable, start, end)
        width = {None: 2**62, "1m": 60_000_000, "1h": 3_600_000_000, "1d": DAY_US}[every]
        edges = np.flatnonzero(np.diff(times // width, prepend=-1))
        counts = np.diff(np.append(edges, len(times)))
        sums = np.add.reduceat(values, edges)
        made = {
            "avg": sums / counts,
            "sum": [math.fsum(values)],
            "count": counts,
            "min": np.minimum.reduceat(values, edges),
            "max": np.maximum.reduceat(values, edges),
        }
        return list(zip(*(made[name] for name in functions), strict=True))


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if STORE:
        return Path(STORE)
    folder = tmp_path_factory.mktemp("query") / "db"
    with tsengine.open(folder) as db:
        device = db.create_device("bench", serial="B", chunk_limit=None, point_limit=None)
        for table in tables(MONTHS):
            device.append_arrow(table)
    return folder


@pytest.fixture(scope="module")
def device(store: Path) -> Iterator[tsengine.Device]:
    with tsengine.open(store) as db:
        yield db.device("B")


@pytest.fixture(scope="module", params=list(PEERS))
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Peer:
    made = PEERS[request.param]
    if not made.is_installed():
        pytest.skip(f"{request.param} is not installed")
    return made(tmp_path_factory.mktemp(request.param), MONTHS)


def timed(benchmark: BenchmarkFixture, question: str, ask: Callable[[], Any]) -> None:
    benchmark.group = question
    benchmark.pedantic(ask, rounds=int(os.environ.get("TSENGINE_BENCH_ROUNDS", "5")), warmup_rounds=1)


def is_same(found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> bool:
    return len(found) == len(expected) and np.allclose(np.array(found, float), np.array(expected, float), rtol=1e-9, atol=0)


def tsengine_rows(device: tsengine.Device, variable: str | None, functions: list[str], every: str | None, bounds: tuple[int, int]) -> Any:
    whole = bounds == ALL
    return device.aggregate(variable, functions, every, None if whole else bounds[0], None if whole else bounds[1])


@pytest.mark.parametrize("question", AGGREGATES)
def test_aggregate_tsengine(benchmark: BenchmarkFixture, device: tsengine.Device, truth: Truth, question: str) -> None:
    variable, functions, every, bounds = AGGREGATES[question]
    table = tsengine_rows(device, variable, functions, every, bounds)
    rows = list(zip(*(table.column(name).to_pylist() for name in functions), strict=True))
    assert is_same(rows, truth.aggregate(variable, functions, every, *bounds))
    timed(benchmark, question, lambda: tsengine_rows(device, variable, functions, every, bounds))


@pytest.mark.parametrize("question", AGGREGATES)
def test_aggregate_peer(benchmark: BenchmarkFixture, peer: Peer, truth: Truth, question: str) -> None:
    variable, functions, every, bounds = AGGREGATES[question]
    assert is_same(peer.aggregate(variable, functions, every, *bounds), truth.aggregate(variable, functions, every, *bounds))
    timed(benchmark, question, lambda: peer.aggregate(variable, functions, every, *bounds))


@pytest.mark.parametrize("question", RANGES)
def test_range_tsengine(benchmark: BenchmarkFixture, device: tsengine.Device, truth: Truth, question: str) -> None:
    found, expected = device.read("temperature", *RANGES[question]), truth.part("temperature", *RANGES[question])
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))
    timed(benchmark, question, lambda: device.read("temperature", *RANGES[question]))


@pytest.mark.parametrize("question", RANGES)
def test_range_peer(benchmark: BenchmarkFixture, peer: Peer, truth: Truth, question: str) -> None:
    found, expected = peer.read("temperature", *RANGES[question]), truth.part("temperature", *RANGES[question])
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))
    timed(benchmark, question, lambda: peer.read("temperature", *RANGES[question]))


def test_count_above_tsengine(benchmark: BenchmarkFixture, device: tsengine.Device, truth: Truth) -> None:
    assert device.count("temperature", where={"gt": BOUND}) == int((truth.values["temperature"] > BOUND).sum())
    timed(benchmark, "count above a value", lambda: device.count("temperature", where={"gt": BOUND}))


def test_count_above_peer(benchmark: BenchmarkFixture, peer: Peer, truth: Truth) -> None:
    assert peer.count_above("temperature", BOUND) == int((truth.values["temperature"] > BOUND).sum())
    timed(benchmark, "count above a value", lambda: peer.count_above("temperature", BOUND))


@pytest.mark.parametrize("skip", [0, 1_000])
def test_page_tsengine(benchmark: BenchmarkFixture, device: tsengine.Device, truth: Truth, skip: int) -> None:
    found = [(point.time - EPOCH) // timedelta(microseconds=1) for point in device.points(limit=100, skip=skip)]
    assert found == truth.newest[skip : skip + 100].tolist()
    timed(benchmark, f"newest 100 of all, skip {skip}", lambda: device.points(limit=100, skip=skip))


@pytest.mark.parametrize("skip", [0, 1_000])
def test_page_peer(benchmark: BenchmarkFixture, peer: Peer, truth: Truth, skip: int) -> None:
    assert peer.newest(100, skip) == truth.newest[skip : skip + 100].tolist()
    timed(benchmark, f"newest 100 of all, skip {skip}", lambda: peer.newest(100, skip))


def test_last_tsengine(benchmark: BenchmarkFixture, device: tsengine.Device, truth: Truth) -> None:
    found = {point.variable: point.value for point in device.last()}
    assert {name: found[name] for name in NUMERIC} == {name: truth.values[name][-1] for name in NUMERIC}
    timed(benchmark, "last of 10 variables", device.last)


def test_last_peer(benchmark: BenchmarkFixture, peer: Peer, truth: Truth) -> None:
    found = peer.last()
    assert {name: found[name] for name in NUMERIC} == {name: truth.values[name][-1] for name in NUMERIC}
    timed(benchmark, "last of 10 variables", peer.last)


@pytest.mark.parametrize("columns", [["variable", "time", "value"], None])
def test_scan_tsengine(benchmark: BenchmarkFixture, device: tsengine.Device, truth: Truth, columns: list[str] | None) -> None:
    def scan() -> int:
        return sum(batch.num_rows for batch in device.scan(columns=columns))

    assert scan() == sum(map(len, truth.times.values()))
    found = device.scan("temperature", columns=columns).read_all()
    assert (found.column("value").to_numpy() == truth.values["temperature"]).all()
    timed(benchmark, "scan of all columns" if columns is None else "scan of variable, time, value", scan)
    if benchmark.stats is not None:
        benchmark.extra_info["million_points_per_second"] = round(scan() / benchmark.stats.stats.median / 1e6, 1)


@pytest.mark.parametrize("call", ["pass", "import tsengine", "import tsengine; tsengine.open(sys.argv[1]).device('B').last()"])
def test_fresh_process(benchmark: BenchmarkFixture, store: Path, tmp_path: Path, call: str) -> None:
    copy = shutil.copytree(store, tmp_path / "db")  # this process has the store open
    code = f"import sys, numpy\n{call}\nassert 'pyarrow' not in sys.modules"

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run() -> None:
        subprocess.run([sys.executable, "-c", code, str(copy)], check=True, env=environment)

    benchmark.group = "fresh process"
    benchmark.name = f"numpy and: {call}"
    benchmark.pedantic(run, rounds=7, warmup_rounds=1)


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
    benchmark.extra_info |= {
        f"p99_{name}_us": round(float(np.quantile(found, 0.99)) * 1e6) for name, found in (("idle", idle), ("busy", busy))
    }
