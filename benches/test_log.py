"""Durable commits beside the peers: one writer, 64 threads, 64 tasks of asyncio; and what the disk itself can do.

A commit is acknowledged when its points are on disk. Peers without an awaitable interface are called from a pool of threads, one for
those whose writers take turns. After the timing everything that was acknowledged is counted and summed. The bare rate of the disk is
measured just before each subject: where it differs from one to the next, the machine was not quiet and the row says nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import tsengine
from benches.figures import add_figure, describe_subject
from benches.peers import OURS, load, subjects

TABLE = "Durable commits"
WRITERS = 64
SECONDS = 1.0
"""How long the writers of one round commit."""

GOALS = {(1, "writer"): None, (10, "writer"): 7_000, (1_000, "writer"): 5_000, (10, "threads"): 20_000, (10, "asyncio"): 60_000}
VARIABLES = [f"v{number}" for number in range(10)]
START_US = 1_767_225_600_000_000


def points_of(count: int, writer: int = 0) -> list[tuple[str, int, float]]:
    """Return the points of one commit: ten variables in turn; for arrays of one variable see `ArrayLog`."""
    return [(VARIABLES[i % 10], START_US + (i + writer * 1000) * 1000, 20 + i / 10) for i in range(count)]


class Subject:
    """An open subject that counts what it acknowledged."""

    def __init__(self, name: str, folder: Path) -> None:
        self.log = load("LOG", name)(folder)
        self.log.create()
        self.acknowledged = itertools.count()
        self.lock = threading.Lock()

    def committer(self, points: list[tuple[str, int, float]]) -> Callable[[], None]:
        """Return a function that commits these points durably; many threads may call it."""
        shaped, commit, acknowledged, lock = self.log.shape(points), self.log.commit, self.acknowledged, self.lock

        def alone() -> None:
            commit(shaped)
            next(acknowledged)

        def in_turn() -> None:
            with lock:
                commit(shaped)
            next(acknowledged)

        return in_turn if self.log.one_writer else alone

    def check_and_close(self, points: list[tuple[str, int, float]]) -> None:
        commits = next(self.acknowledged)
        assert self.log.count() == commits * len(points)
        assert math.isclose(self.log.total(), commits * math.fsum(value for _, _, value in points), rel_tol=1e-9)
        self.log.close()


@pytest.fixture
def opened(folder: Path) -> Callable[[str], Subject]:
    return lambda name: Subject(name, folder)


def note(benchmark: BenchmarkFixture, subject: str, points: int, kind: str, text: str, commits_per_s: float) -> None:
    describe_subject(benchmark, subject, load("LOG", subject).settings)
    add_figure(
        benchmark, TABLE, f"{points:,} point{'s' * (points > 1)}, {text}", subject, commits_per_s, "commits/s", GOALS.get((points, kind))
    )


def bare_syncs_per_s(folder: Path, count: int = 500) -> float:
    """Return what the disk gives now: overwrites of 512 bytes of a file that is there, each with fdatasync."""
    path = folder.with_name("bare")
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, bytes(count * 512), 0)
    os.fsync(fd)
    times = [time.perf_counter()]
    for offset in range(0, count * 512, 512):
        os.pwrite(fd, b"x" * 512, offset)
        os.fdatasync(fd)
        times.append(time.perf_counter())
    os.close(fd)
    path.unlink()
    return 1 / statistics.median(end - start for start, end in pairwise(times))


@pytest.mark.parametrize("points", [1, 10, 1_000])
@pytest.mark.parametrize("subject", subjects("LOG"))
def test_one_writer(benchmark: BenchmarkFixture, opened: Callable[[str], Subject], folder: Path, subject: str, points: int) -> None:
    bare = bare_syncs_per_s(folder)
    store, batch = opened(subject), points_of(points)
    benchmark(store.committer(batch))
    store.check_and_close(batch)
    if benchmark.stats is not None:
        note(benchmark, subject, points, "writer", "one writer", 1 / benchmark.stats.stats.median)
        add_figure(benchmark, TABLE, f"the disk alone just before {points:,}-point commits", subject, bare, "syncs/s")


def commit_in_threads(committers: list[Callable[[], None]], seconds: float) -> float:
    """Let each function be called again and again by a thread of its own; return calls a second of all together."""
    start = threading.Barrier(len(committers) + 1)
    counts = [0] * len(committers)

    def work(number: int) -> None:
        commit, count = committers[number], 0
        start.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            commit()
            count += 1
        counts[number] = count

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(committers))]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


@pytest.mark.parametrize("points", [1, 10])
@pytest.mark.parametrize("subject", [name for name in subjects("LOG") if name != "tsengine, arrays"])
def test_threads(benchmark: BenchmarkFixture, opened: Callable[[str], Subject], subject: str, points: int) -> None:
    store, batch = opened(subject), points_of(points)
    committers = [store.committer(batch) for _ in range(WRITERS)]
    commits_per_s = benchmark.pedantic(commit_in_threads, args=(committers, SECONDS), rounds=1)
    store.check_and_close(batch)
    note(benchmark, subject, points, "threads", f"{WRITERS} threads", commits_per_s)


async def commit_in_tasks(commit: Callable[[], Any], seconds: float) -> float:
    """Let 64 tasks await commits; return commits a second of all together."""
    began = time.perf_counter()
    end = began + seconds

    async def work() -> int:
        count = 0
        while time.perf_counter() < end:
            await commit()
            count += 1
        return count

    counts = await asyncio.gather(*(work() for _ in range(WRITERS)))
    return sum(counts) / (time.perf_counter() - began)


@pytest.mark.parametrize("points", [1, 10])
@pytest.mark.parametrize("subject", [name for name in subjects("LOG") if name != "tsengine, arrays"])
def test_tasks(benchmark: BenchmarkFixture, opened: Callable[[str], Subject], subject: str, points: int) -> None:
    store, batch = opened(subject), points_of(points)
    if subject == OURS:
        commits_per_s = benchmark.pedantic(lambda: asyncio.run(our_tasks(store, batch)), rounds=1)
    else:
        commit = store.committer(batch)
        with ThreadPoolExecutor(1 if store.log.one_writer else WRITERS) as pool:

            async def work() -> float:
                loop = asyncio.get_running_loop()
                return await commit_in_tasks(lambda: loop.run_in_executor(pool, commit), SECONDS)

            commits_per_s = benchmark.pedantic(lambda: asyncio.run(work()), rounds=1)
    store.check_and_close(batch)
    note(benchmark, subject, points, "asyncio", f"{WRITERS} tasks of asyncio", commits_per_s)


async def our_tasks(store: Subject, batch: list[tuple[str, int, float]]) -> float:
    """The same through tsengine.aio, on the engine that is open."""
    engine = tsengine.aio.AsyncEngine(store.log.db)
    device = engine.device_of(store.log.device.info)
    shaped = store.log.shape(batch)

    async def commit() -> None:
        await device.append_many(shaped)
        next(store.acknowledged)

    commits_per_s = await commit_in_tasks(commit, SECONDS)
    engine.engine.log.remove_listener(engine._committed)
    return commits_per_s
