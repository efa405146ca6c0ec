"""The columnar store beside its peers: the workload of one large device, from bulk ingest over queries to recovery.

TSENGINE_BENCH_MONTHS sets how many months of a million points it has: 3 unless told, 36 in `make bench-store`. Each subject works in
a process of its own, reads the same mapped files, and is compared with numpy before anything else is timed.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benches import child, inputs
from benches.figures import add_figure, describe_subject
from benches.peers import OURS, load, size_bytes, subjects
from benches.questions import Truth, questions
from benches.workload import tables

MONTHS = int(os.environ.get("TSENGINE_BENCH_MONTHS", "3"))
TABLE = f"One device, {MONTHS} M points in {MONTHS} months"
QUERIES = f"Queries, warm, {MONTHS} M points in {MONTHS} months"
MB = 1 << 20
LOG_BYTES = 100 * MB
LOG_CALL_POINTS = 1_000
PARTS = 3

pytestmark = pytest.mark.benchmark(timer=child.children_seconds)


@pytest.fixture(scope="module")
def workload(module_folder: Path) -> Path:
    return inputs.save(tables(MONTHS), module_folder / "inputs")


@pytest.fixture(scope="module")
def points(workload: Path) -> int:
    return inputs.count(workload)


def measure(benchmark: BenchmarkFixture, job: str, subject: str, *args: Any, rounds: int = 1) -> child.Answer:
    """Run a job of a subject in child processes; their seconds are the benchmark's."""
    describe_subject(benchmark, subject, load("STORE", subject).settings)
    return benchmark.pedantic(child.run, args=(job, subject, *args), rounds=rounds)


def best_seconds(benchmark: BenchmarkFixture, answer: child.Answer) -> float:
    return benchmark.stats.stats.median if benchmark.stats is not None else answer.values["seconds"]


@pytest.mark.parametrize("subject", subjects("STORE"))
def test_bulk_ingest(benchmark: BenchmarkFixture, module_folder: Path, workload: Path, points: int, subject: str) -> None:
    folder = module_folder / subject
    answer = measure(benchmark, "ingest", subject, folder, workload)
    child.run("check_store", subject, folder, workload, MONTHS)
    add_figure(benchmark, TABLE, "bulk ingest from Arrow, durable at the end", subject, points / answer.values["seconds"], "points/s", 20e6)
    add_figure(benchmark, TABLE, "bytes a point, whole folder", subject, size_bytes(folder) / points, "bytes/point", 1.9)
    add_figure(benchmark, TABLE, "memory while ingesting, whole process", subject, answer.peak_bytes / MB, "MB", 356)


@pytest.mark.parametrize("subject", subjects("STORE", "ingest_in_calls"))
def test_ingest_through_the_log(benchmark: BenchmarkFixture, module_folder: Path, workload: Path, points: int, subject: str) -> None:
    folder = module_folder / f"{subject} in calls"
    answer = measure(benchmark, "ingest_in_calls", subject, folder, workload, 100_000)
    child.run("check_store", subject, folder, workload, MONTHS)
    add_figure(benchmark, TABLE, "calls of 100,000 rows, durable at the end", subject, points / answer.values["seconds"], "points/s")
    add_figure(benchmark, TABLE, "memory meanwhile", subject, answer.peak_bytes / MB, "MB", 356)


@pytest.mark.parametrize("subject", subjects("STORE", "ingest_in_calls"))
def test_compaction(benchmark: BenchmarkFixture, module_folder: Path, workload: Path, points: int, subject: str) -> None:
    folder = module_folder / f"{subject} interleaved"
    child.run("ingest_interleaved", subject, folder, workload, PARTS)
    answer = measure(benchmark, "compact", subject, folder)
    child.run("check_store", subject, folder, workload, MONTHS)
    row = f"compaction of {PARTS} overlapping segments a month"
    add_figure(benchmark, TABLE, row, subject, points / answer.values["seconds"], "points/s")
    add_figure(benchmark, TABLE, "memory while compacting, whole process", subject, answer.peak_bytes / MB, "MB", 356)


@pytest.mark.parametrize("subject", subjects("STORE"))
def test_reopen_after_close(benchmark: BenchmarkFixture, module_folder: Path, points: int, subject: str) -> None:
    answer = measure(benchmark, "reopen", subject, module_folder / subject, points, rounds=3)
    seconds = best_seconds(benchmark, answer)
    add_figure(benchmark, TABLE, "reopen after a clean close, count all", subject, seconds * 1e3, "ms", 50)


@pytest.fixture(scope="module")
def answers(module_folder: Path, workload: Path) -> Path:
    """What numpy answers."""
    truth, path = Truth(inputs.load(workload)), module_folder / "answers"
    path.write_bytes(pickle.dumps({asked.name: getattr(truth, asked.method)(*asked.args) for asked in questions(MONTHS)}))
    return path


@pytest.mark.parametrize("subject", subjects("STORE", "aggregate"))
def test_questions(benchmark: BenchmarkFixture, module_folder: Path, answers: Path, subject: str) -> None:
    answer = measure(benchmark, "ask", subject, module_folder / subject, answers, MONTHS)
    for asked in questions(MONTHS):
        add_figure(benchmark, QUERIES, asked.name, subject, answer.values["ms"][asked.name], "ms", asked.goal_ms)


@pytest.mark.skipif(MONTHS < 2, reason="nothing would be left")
@pytest.mark.parametrize("subject", subjects("STORE"))
def test_drop_oldest_month(benchmark: BenchmarkFixture, module_folder: Path, points: int, subject: str) -> None:
    answer = measure(benchmark, "drop_month", subject, module_folder / subject, points - points // MONTHS)
    add_figure(benchmark, TABLE, "drop the oldest month", subject, answer.values["seconds"] * 1e3, "ms", 1.5)


@pytest.mark.parametrize("subject", subjects("STORE", "fill_log"))
def test_reopen_after_kill(benchmark: BenchmarkFixture, folder: Path, subject: str) -> None:
    log = child.run("fill_log", subject, folder, LOG_BYTES, LOG_CALL_POINTS, kill=True).values
    answer = measure(benchmark, "reopen", subject, folder, log["points"])
    row = "reopen after SIGKILL with 100 MB of log, count all"
    seconds = answer.values["seconds"] / (log["log_bytes"] / 1e8)
    add_figure(benchmark, TABLE, row, subject, seconds, "s/100 MB", 1 if subject == OURS else None)
    add_figure(benchmark, TABLE, "the same a million points", subject, answer.values["seconds"] / log["points"] * 1e9, "ms")
