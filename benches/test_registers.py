"""Mutable devices beside the peers: 50,000 registers, edited and deleted one by one and in batches, every change durable."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benches.figures import add_figure, describe_subject
from benches.inputs import times_us
from benches.peers import OURS, load, subjects
from benches.workload import month_table

TABLE = "Registers, 50,000 in a mutable device"
COUNT = 50_000
BATCH = 1_000
DELETED = 1_500
WARM, ROUNDS = 100, 2_000


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """The first 5,000 payloads of the workload as points: ten variables, units, groups, metadata on one in a hundred."""
    table = month_table(0, payloads=COUNT // 10)
    names = ("value", "value_bool", "value_text", "variable", "unit", "metadata")
    columns = [table.column(name).to_pylist() for name in names]
    groups = [group.hex() for group in table.column("group").to_pylist()]
    found = []
    for number, bool_, text, variable, unit, metadata, time_us, group in zip(*columns, times_us(table).tolist(), groups, strict=True):
        value = number if number is not None else bool_ if bool_ is not None else text
        row = {"variable": variable, "time": time_us, "value": value, "unit": unit, "group": group}
        found.append(row if metadata is None else row | {"metadata": json.loads(metadata)})
    return found


class Subject:
    """A subject that holds some registers."""

    def __init__(self, name: str, folder: Path, rows: list[dict[str, Any]]) -> None:
        self.name, self.folder, self.is_closed = name, folder, False
        self.store = load("REGISTERS", name)(folder)
        self.store.create()
        for low in range(0, len(rows), BATCH):
            self.store.insert(rows[low : low + BATCH])
        assert self.store.count() == len(rows)

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.store.close()

    def note(self, benchmark: BenchmarkFixture, row: str, value: float, unit: str, goal: float) -> None:
        describe_subject(benchmark, self.name, load("REGISTERS", self.name).settings)
        add_figure(benchmark, TABLE, row, self.name, value, unit, goal if self.name == OURS else None)


Opened = Callable[..., Subject]


@pytest.fixture
def opened(folder: Path, rows: list[dict[str, Any]]) -> Iterator[Opened]:
    subjects: list[Subject] = []

    def make(name: str, count: int = COUNT) -> Subject:
        subjects.append(Subject(name, folder, rows[:count]))
        return subjects[-1]

    yield make
    for subject in subjects:
        subject.close()


REGISTERS = subjects("REGISTERS")


@pytest.mark.parametrize("subject", REGISTERS)
def test_insert_one(benchmark: BenchmarkFixture, opened: Opened, rows: list[dict[str, Any]], subject: str) -> None:
    held = COUNT // 2
    device = opened(subject, held)
    source = iter(rows[held:])

    def insert() -> None:
        device.store.insert([next(source)])

    benchmark.pedantic(insert, rounds=ROUNDS, warmup_rounds=WARM)
    assert device.store.newest(1)[0] is not None and device.store.count() > held
    if benchmark.stats is not None:
        assert device.store.count() == held + ROUNDS + WARM
        device.note(benchmark, "durable insert of one", 1 / benchmark.stats.stats.median, "commits/s", 8_000)


@pytest.mark.parametrize("subject", REGISTERS)
def test_update_one(benchmark: BenchmarkFixture, opened: Opened, subject: str) -> None:
    device = opened(subject)
    ids = device.store.ids()
    targets = itertools.cycle(ids[7::9973] + ids[:: len(ids) // 500])
    values = itertools.count(1)
    last: list[Any] = []

    def update() -> None:
        last[:] = [next(targets), float(next(values))]
        device.store.update(*last)

    benchmark.pedantic(update, rounds=ROUNDS, warmup_rounds=WARM)
    assert device.store.get(last[0]) == last[1]
    if benchmark.stats is not None:
        device.note(benchmark, "durable update of one", 1 / benchmark.stats.stats.median, "commits/s", 9_500)


@pytest.mark.parametrize("subject", REGISTERS)
def test_insert_batches(benchmark: BenchmarkFixture, opened: Opened, rows: list[dict[str, Any]], subject: str) -> None:
    """Until the device is full, and all of it readable: applying what was logged counts."""
    device = opened(subject, 0)

    def insert_all() -> None:
        for low in range(0, COUNT, BATCH):
            device.store.insert(rows[low : low + BATCH])
        assert len(device.store.newest(10)) == 10

    benchmark.pedantic(insert_all, rounds=1)
    assert device.store.count() == COUNT
    if benchmark.stats is not None:
        device.note(benchmark, f"durable batches of {BATCH:,}, then read", COUNT / benchmark.stats.stats.median, "rows/s", 300_000)


@pytest.mark.parametrize("subject", REGISTERS)
def test_get(benchmark: BenchmarkFixture, opened: Opened, rows: list[dict[str, Any]], subject: str) -> None:
    device = opened(subject)
    ids = device.store.ids()
    in_order = sorted(range(COUNT), key=lambda i: (rows[i]["time"], i))
    for place in range(0, COUNT, 4_999):
        assert device.store.get(ids[place]) == rows[in_order[place]]["value"]
    targets = itertools.cycle(ids[::97])
    benchmark.pedantic(lambda: device.store.get(next(targets)), rounds=200, iterations=20)
    if benchmark.stats is not None:
        device.note(benchmark, "get by id", benchmark.stats.stats.median * 1e6, "µs", 3)


@pytest.mark.parametrize("subject", REGISTERS)
def test_newest(benchmark: BenchmarkFixture, opened: Opened, rows: list[dict[str, Any]], subject: str) -> None:
    device = opened(subject)
    in_order = sorted(range(COUNT), key=lambda i: (-rows[i]["time"], -i))
    assert device.store.newest(100) == [rows[i]["value"] for i in in_order[:100]]
    benchmark.pedantic(device.store.newest, args=(100,), rounds=200, iterations=2)
    if benchmark.stats is not None:
        device.note(benchmark, "newest 100 of all variables", benchmark.stats.stats.median * 1e3, "ms", 0.09)


@pytest.mark.parametrize("subject", REGISTERS)
def test_delete_range(benchmark: BenchmarkFixture, opened: Opened, rows: list[dict[str, Any]], subject: str) -> None:
    """Ten times 1,500 registers of a range of time."""
    device = opened(subject)
    times = sorted(row["time"] for row in rows)
    bounds = iter([(times[low], times[low + DELETED]) for low in range(1_000, COUNT - 2 * DELETED, DELETED * 3)][:10])
    deleted: list[int] = []
    benchmark.pedantic(lambda: deleted.append(device.store.delete(*next(bounds))), rounds=10)
    assert all(abs(count - DELETED) <= 10 for count in deleted)  # some share a time with the first that stays
    assert device.store.count() == COUNT - sum(deleted)
    if benchmark.stats is not None:
        device.note(benchmark, f"delete of {DELETED:,} by range of time", benchmark.stats.stats.median * 1e3, "ms", 5)


@pytest.mark.parametrize("subject", REGISTERS)
def test_size(benchmark: BenchmarkFixture, opened: Opened, subject: str) -> None:
    """The whole folder after a close; what is timed is the close."""
    device = opened(subject)
    benchmark.pedantic(device.close, rounds=1)
    size_bytes = sum(path.stat().st_blocks * 512 for path in device.folder.rglob("*") if path.is_file())
    device.note(benchmark, "whole folder", size_bytes / 1e6, "MB", 9)
