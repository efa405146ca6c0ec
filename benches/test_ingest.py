"""Bodies to records, in every form that POST /data and the write API of InfluxDB take; and through the log into memory.

The row form is measured beside the plainest Python: json.loads and append_many of the dicts it gives.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import tsengine
from benches.figures import add_figure, describe_subject
from benches.peers import OURS
from tsengine.device import Device
from tsengine.ingest.bodies import ARROW_TYPE, COLUMNS_TYPE, JSON_TYPE, LINE_TYPE, MESSAGEPACK_TYPES, PACKED_COLUMNS_TYPE

COUNT = 10_000
SEED = 20_261_121
NAIVE = "json.loads and dicts"
START_MS = 1_767_225_600_000
GOALS = {"columns, JSON": 60.0}
"""Nanoseconds a point to make a record."""

source = random.Random(SEED)
TIMES = [START_MS + 1_000 * number for number in range(COUNT)]
VALUES = [round(source.gauss(20, 3), 2) for _ in range(COUNT)]
LONG_VALUES = [source.gauss(20, 3) for _ in range(COUNT)]
ITEMS = [{"variable": "temperature", "value": value, "time": time, "unit": "C"} for time, value in zip(TIMES, VALUES, strict=True)]
COLUMNS = {"variable": "temperature", "unit": "C", "time": TIMES, "value": VALUES}
NAMES = ("user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "load")


def arrow() -> bytes:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * COUNT, pa.int8()), ["temperature"])
    table = pa.table({"variable": text, "time": pa.array(TIMES, pa.timestamp("ms")).cast(pa.timestamp("us")), "value": VALUES})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def lines(fields: int) -> bytes:
    made = []
    for number in range(0, COUNT, fields):
        values = ",".join(f"{name}={VALUES[number + place]}" for place, name in enumerate(NAMES[:fields]))
        made.append(f"cpu,host=server{number % 7},cpu=cpu{number % 4} {values} {TIMES[number]}000000")
    return "\n".join(made).encode()


BODIES: dict[str, tuple[str, bytes]] = {
    "items, JSON": (JSON_TYPE, msgspec.json.encode(ITEMS)),
    "items, MessagePack": (MESSAGEPACK_TYPES[0], msgspec.msgpack.encode(ITEMS)),
    "columns, JSON": (COLUMNS_TYPE, msgspec.json.encode(COLUMNS)),
    "columns, JSON, 17 digits": (COLUMNS_TYPE, msgspec.json.encode({**COLUMNS, "value": LONG_VALUES})),
    "columns, MessagePack": (PACKED_COLUMNS_TYPE, msgspec.msgpack.encode(COLUMNS)),
    "Arrow stream": (ARROW_TYPE, arrow()),
    "line protocol, 1 field": (LINE_TYPE, lines(1)),
    "line protocol, 10 fields": (LINE_TYPE, lines(10)),
}


@pytest.fixture(scope="module")
def device(module_folder: Path) -> Iterator[Device]:
    with tsengine.open(module_folder / "data", durability="memory") as engine:
        yield engine.create_device("bench", chunk_limit=None, point_limit=None)


def run(benchmark: BenchmarkFixture, work: Callable[[], Any], table: str, row: str, subject: str = OURS, goal: float | None = None) -> None:
    benchmark(work)
    describe_subject(benchmark, subject, f"{COUNT:,} points a body, durability memory")
    add_figure(benchmark, table, row, subject, benchmark.stats.stats.min * 1e9 / COUNT, "ns/point", goal)


@pytest.mark.parametrize("form", BODIES)
def test_body_to_record(benchmark: BenchmarkFixture, device: Device, form: str) -> None:
    media_type, body = BODIES[form]
    run(benchmark, lambda: device.record_of_body(body, media_type), "Bodies: to records", form, goal=GOALS.get(form))


def test_dicts_to_record(benchmark: BenchmarkFixture, device: Device) -> None:
    body = BODIES["items, JSON"][1]

    def work() -> bytes:
        points = json.loads(body)
        for point in points:
            point["time"] *= 1_000  # append_many takes microseconds
        return device.record_of_points(points)

    run(benchmark, work, "Bodies: to records", "items, JSON", NAIVE)


@pytest.mark.parametrize("form", BODIES)
def test_body_to_memory(benchmark: BenchmarkFixture, device: Device, form: str) -> None:
    media_type, body = BODIES[form]
    run(benchmark, lambda: device.ingest(body, media_type), "Bodies: stored", form)
