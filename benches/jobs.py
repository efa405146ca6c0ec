"""What child processes do for the benchmarks of stores: one operation of one subject, timed without what surrounds it.

A job takes and returns what JSON can hold. "seconds" is the time of the operation alone; opening counts where the name says so.
"""

from __future__ import annotations

import functools
import pickle
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benches import fleet, inputs, tsbs
from benches.peers import load
from benches.questions import check, questions
from benches.workload import month_bounds_us

DAY_US = 86_400_000_000
QUERY_REPEATS = 51
QUESTION_S = 0.5
"""How long a question is repeated, at least once."""


def make(role: str, subject: str, folder: str) -> Any:
    return load(role, subject)(Path(folder))


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def fair_seconds(work: Callable[[], Any]) -> float:
    """Return the median of up to 51 calls; of slow ones fewer, but one at least. The caller has made one already."""
    times: list[float] = []
    while not times or (sum(times) < QUESTION_S and len(times) < QUERY_REPEATS):
        times.append(timed(work))
    return statistics.median(times)


def median_seconds(work: Callable[[], Any]) -> float:
    return statistics.median(timed(work) for _ in range(QUERY_REPEATS))


# --- one large device ------------------------------------------------------------------------------------------------


def ingest(subject: str, folder: str, tables: str) -> dict[str, Any]:
    """Store the whole workload: from the making of an empty store to its close."""
    store = make("STORE", subject, folder)

    def work() -> None:
        store.create()
        store.ingest(inputs.load(tables))
        store.close()

    return {"seconds": timed(work)}


def check_store(subject: str, folder: str, tables: str, months: int) -> dict[str, Any]:
    """Compare the count and some days of two variables with numpy."""
    store = make("STORE", subject, folder)
    store.open()
    assert store.count() == inputs.count(tables)
    whole = list(inputs.load(tables))
    for month in {0, months - 1}:
        start_us = month_bounds_us(month)[0] + 3 * DAY_US
        for variable in ("temperature", "energy"):
            expected = inputs.series([whole[month]], "variable", variable, start_us, start_us + DAY_US)
            for found, wanted in zip(store.read(variable, start_us, start_us + DAY_US), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
    store.close()
    return {}


def ingest_in_calls(subject: str, folder: str, tables: str, rows: int) -> dict[str, Any]:
    store = make("STORE", subject, folder)

    def work() -> None:
        store.create()
        store.ingest_in_calls(inputs.load(tables), rows)
        store.close()

    return {"seconds": timed(work)}


def ingest_interleaved(subject: str, folder: str, tables: str, parts: int) -> dict[str, Any]:
    """Store each month in parts that overlap in time from end to end, so that a compaction has to merge every block."""

    def interleaved() -> Iterator[pa.Table]:
        for table in inputs.load(tables):
            payload = np.arange(table.num_rows) // 10
            for part in range(parts):
                yield table.take(pa.array(np.flatnonzero(payload % parts == part)))

    store = make("STORE", subject, folder)
    store.create()
    store.ingest(interleaved())
    segments = store.db.stats()["segments"]
    store.close()
    return {"segments": segments}


def compact(subject: str, folder: str) -> dict[str, Any]:
    store = make("STORE", subject, folder)
    store.open()
    before, count = store.db.stats()["segments"], store.count()
    seconds = timed(store.db.compact)
    after = store.db.stats()["segments"]
    assert store.count() == count and after < before
    store.close()
    return {"seconds": seconds, "segments_before": before, "segments_after": after}


def reopen(subject: str, folder: str, points: int) -> dict[str, Any]:
    """Open and count all points."""
    store = make("STORE", subject, folder)
    start = time.perf_counter()
    store.open()
    count = store.count()
    seconds = time.perf_counter() - start
    assert count == points
    store.close()
    return {"seconds": seconds}


def drop_month(subject: str, folder: str, points: int) -> dict[str, Any]:
    """Drop the oldest month of an open store that has been read; `points` are left afterwards."""
    store = make("STORE", subject, folder)
    store.open()
    store.count()
    seconds = timed(lambda: store.drop_month(*month_bounds_us(0)))
    if subject.startswith(("Parquet", "Polars")):  # a list of files, made when it is opened
        store.open()
    assert store.count() == points
    store.close()
    return {"seconds": seconds}


def fill_log(subject: str, folder: str, size_bytes: int, points: int) -> dict[str, Any]:
    """Write in calls of some points until the log has a size; the caller kills this process."""
    store = make("STORE", subject, folder)
    store.create()
    log_bytes, written = store.fill_log(size_bytes, points)
    globals()["kept_open"] = store
    return {"log_bytes": log_bytes, "points": written}


def ask(subject: str, folder: str, answers: str, months: int) -> dict[str, Any]:
    """Put every question of the workload once and compare the answer with the truth, then time it; return milliseconds, medians."""
    store = make("STORE", subject, folder)
    store.open()
    if hasattr(store, "prepare"):
        store.prepare()
    expected = pickle.loads(Path(answers).read_bytes())
    found = {}
    for name, _, method, args in questions(months):
        answer = getattr(store, method)
        check(answer(*args), expected[name])
        found[name] = fair_seconds(functools.partial(answer, *args)) * 1e3
    store.close()
    return {"seconds": sum(found.values()) / 1e3, "ms": found}


# --- the shapes of TSBS ------------------------------------------------------------------------------------------------


def ingest_tsbs(subject: str, folder: str, tables: str, shape: list[Any]) -> dict[str, Any]:
    """Store all rows of a shape, from the making of an empty store to its close."""
    store, made = make("TSBS", subject, folder), tsbs.shape_of(*shape)

    def work() -> None:
        store.create(made)
        store.ingest(tsbs.load(tables))
        store.close()

    return {"seconds": timed(work)}


def ask_tsbs(subject: str, folder: str, shape: list[Any]) -> dict[str, Any]:
    """Compare every answer with that of numpy, then time it; return milliseconds, medians."""
    store, made = make("TSBS", subject, folder), tsbs.shape_of(*shape)
    store.open(made)
    if hasattr(store, "prepare"):
        store.prepare()
    found = {}
    for asked in made.questions():
        answer = getattr(store, asked.method)
        check([np.asarray(column) for column in answer(*asked.args)], made.answer(asked))
        found[asked.name] = fair_seconds(functools.partial(answer, *asked.args)) * 1e3
    store.close()
    return {"seconds": sum(found.values()) / 1e3, "ms": found}


# --- a fleet ---------------------------------------------------------------------------------------------------------


def create_fleet(subject: str, folder: str, devices: int) -> dict[str, Any]:
    """Make the store and, where a subject knows devices, the devices."""
    store = make("FLEET", subject, folder)
    names = fleet.names(devices)
    seconds = timed(lambda: store.create(names))
    store.close()
    return {"seconds": seconds}


def ingest_fleet(subject: str, folder: str, tables: str) -> dict[str, Any]:
    store = make("FLEET", subject, folder)

    def work() -> None:
        store.open()
        store.ingest(inputs.load(tables))
        store.close()

    return {"seconds": timed(work)}


def ingest_fleet_by_device(subject: str, folder: str, tables: str) -> dict[str, Any]:
    """Store the points of each device in one call; dealing them out to the devices is not timed."""
    columns = list(columns_by_device(tables))
    store = make("FLEET", subject, folder)

    def work() -> None:
        store.open()
        store.ingest_by_device(columns)
        store.close()

    return {"seconds": timed(work)}


def columns_by_device(tables: str) -> Iterator[tuple[str, str, np.ndarray, np.ndarray, str]]:
    whole = list(inputs.load(tables))
    code = np.concatenate([table.column("device").chunk(0).indices.to_numpy() for table in whole])
    order = np.argsort(code, kind="stable")
    time_us = np.concatenate([inputs.times_us(table) for table in whole])[order]
    value = np.concatenate([table.column("value").to_numpy() for table in whole])[order]
    names = whole[0].column("device").chunk(0).dictionary.to_pylist()
    for number, name in enumerate(names):
        rows = slice(number * fleet.POINTS, (number + 1) * fleet.POINTS)
        yield name, fleet.VARIABLE, time_us[rows], value[rows], fleet.UNIT


def read_fleet(subject: str, folder: str, tables: str) -> dict[str, Any]:
    """Check count, newest values and one day of one device, then time the last two."""
    store = make("FLEET", subject, folder)
    store.open()
    whole = list(inputs.load(tables))
    assert store.count() == sum(table.num_rows for table in whole)
    names = whole[0].column("device").chunk(0).dictionary.to_pylist()
    asked = names[3 :: len(names) // 10][:10]
    last = [inputs.series(whole[-1:], "device", name, 0, 1 << 62)[1][-1] for name in asked]
    assert store.last(asked) == last
    start_us, name = fleet.START_US + DAY_US, asked[5]
    for found, wanted in zip(
        store.read(name, start_us, start_us + DAY_US),
        inputs.series(whole, "device", name, start_us, start_us + DAY_US),
        strict=True,
    ):
        np.testing.assert_array_equal(found, wanted)
    last_s = median_seconds(lambda: store.last(asked))
    range_s = median_seconds(lambda: store.read(name, start_us, start_us + DAY_US))
    store.close()
    return {"seconds": last_s, "last_s": last_s, "range_s": range_s}
