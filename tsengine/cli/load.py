"""Named workloads, and the writers that run them against a target: what is timed, counted and summed up.

Each writer is a thread with a session and devices of its own. It makes what it sends between its calls: latencies are of calls
alone, points a second of the whole run, which begins when every writer has its first call ready; each makes one at least. Memory does
not grow with the run: latencies are counted in buckets.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from tsengine.cli.targets import Made, Session, Target
from tsengine.cli.workload import DOOR, MODE, MODES, UNITS, VARIABLES, Payloads, arrow_columns, make_payloads
from tsengine.types import DeviceType

if TYPE_CHECKING:
    import pyarrow as pa

DEVICES = 16
"""Devices of a run; with more writers, as many as those."""
DAYS = 30
"""The days before today that the points lie in. A device sends a payload a second and is full after 26 M points; then its writer ends."""
DAY_US = 86_400_000_000
RING_PAYLOADS, RINGS = 200, 10
BULK_PAYLOADS = 26_215
"""Ten points each: just above the 250,000 points from which a call bypasses log and memory."""
REGISTERS = 1_000
QUERY_PAYLOADS, QUERY_STEP_US = 10_000, 60_000_000
"""What each device holds before it is queried: a week of payloads, one a minute."""
RANGE_POINTS = 1_440
LOOK_S = 0.1
"""How often the main thread looks at what the writers have done."""

STEPS_PER_OCTAVE = 32
"""Buckets of latencies for each doubling: quantiles are right to 2 %."""

SENT = ("append", "load", "edit")
"""Kinds of calls that send points."""

Step = tuple[str, int, Callable[[], Any]]
"""One call of a writer: its kind, the points that it moves (0: as many as it returns), and what does it."""


class Stream:
    """The points of one device, in order, made a few hundred payloads at a time."""

    def __init__(self, seed: tuple[int, int], start_us: int, until_us: int, step_us: int = 1_000_000) -> None:
        self._random = np.random.default_rng(seed)
        self.start_us = self.at_us = start_us
        self.step_us = step_us
        self._until_us = until_us
        self._energy = 0.0
        self._made: list[Payloads] = []
        self._ring: list[dict[str, Any]] = []
        self._next = 0

    def times(self, count: int) -> np.ndarray | None:
        """Return the times of the next payloads; None when there is no time left for so many."""
        start_us, end_us = self.at_us, self.at_us + count * self.step_us
        if end_us > self._until_us:
            return None
        self.at_us = end_us
        return np.arange(start_us, end_us, self.step_us, dtype=np.int64)

    def payloads(self, count: int) -> Payloads | None:
        """Return the next payloads; None as `times`."""
        times_us = self.times(count)
        if times_us is None:
            return None
        made = make_payloads(self._random, times_us, self._energy)
        self._energy = float(made.numbers[-1, VARIABLES.index("energy")])
        return made

    def points(self, count: int) -> list[dict[str, Any]] | None:
        """Return the next points as dicts, which are others when the stream comes round; None as `times`."""
        if self._next == len(self._ring):
            self._next = 0
            if not self._fill_ring():
                return None
        points = self._ring[self._next : self._next + count]
        self._next += count
        return points

    def _fill_ring(self) -> bool:
        """Give the dicts of the ring the next times and values; arrays are made of many rings at once, which is quicker."""
        if not self._made:
            made = self.payloads(RINGS * RING_PAYLOADS)
            if made is None:
                return False
            parts = (np.split(column, RINGS) for column in made)
            self._made = [Payloads(*part) for part in zip(*parts, strict=True)][::-1]
        made = self._made.pop()
        values: list[Any] = made.numbers.reshape(-1).tolist()
        values[DOOR :: len(VARIABLES)] = made.doors.tolist()
        values[MODE :: len(VARIABLES)] = [MODES[number] for number in made.modes.tolist()]
        if not self._ring:
            names = [{"variable": name, "unit": unit} for name, unit in zip(VARIABLES, UNITS, strict=True)]
            self._ring = [dict(name) for _ in range(RING_PAYLOADS) for name in names]
        for point, value, at_us in zip(self._ring, values, made.times_us.reshape(-1).tolist(), strict=True):
            point["value"] = value
            point["time"] = at_us
        return True

    def table(self, count: int) -> pa.Table | None:
        """Return the next payloads as an Arrow table; None when there is no time left."""
        import pyarrow as pa

        made = self.payloads(count)
        return None if made is None else pa.table(arrow_columns(made))


# --- workloads --------------------------------------------------------------------------------------------------------


class Writer(NamedTuple):
    """One writer: its session, and its devices with their streams."""

    session: Session
    devices: list[tuple[Made, Stream]]
    random: np.random.Generator


def appends(count: int) -> Callable[[Writer], Iterator[Step]]:
    """Return a workload of calls with so many points."""

    def steps(writer: Writer) -> Iterator[Step]:
        session = writer.session
        while True:
            for device, stream in writer.devices:
                points = stream.points(count)
                if points is None:
                    return
                body = session.body_of_points(points)
                yield "append", count, partial(session.append, device, body)

    return steps


@lru_cache(maxsize=1)
def bulk_payloads() -> tuple[np.ndarray, dict[str, pa.Array]]:
    """Return times, as offsets, and columns of one call. All calls have the same values: making them takes longer than loading them."""
    made = make_payloads(np.random.default_rng(BULK_PAYLOADS), np.zeros(BULK_PAYLOADS, np.int64))
    return made.times_us, arrow_columns(made)


def bulk(writer: Writer) -> Iterator[Step]:
    import pyarrow as pa

    session = writer.session
    jitter_us, columns = bulk_payloads()
    while True:
        for device, stream in writer.devices:
            times_us = stream.times(BULK_PAYLOADS)
            if times_us is None:
                return
            times = pa.array((jitter_us + times_us[:, None]).reshape(-1)).cast(columns["time"].type)
            table = pa.table({**columns, "time": times})
            body = session.body_of_table(table)
            yield "load", table.num_rows, partial(session.append_table, device, body)


def fill_registers(writer: Writer) -> None:
    for device, stream in writer.devices:
        writer.session.append(device, writer.session.body_of_points(stream.points(REGISTERS) or []))


def registers(writer: Writer) -> Iterator[Step]:
    session = writer.session
    ids = {device.id: session.register_ids(device) for device, _ in writer.devices}
    while True:
        for device, _ in writer.devices:
            known = ids[device.id]
            id, value = known[int(writer.random.integers(len(known)))], round(float(writer.random.normal(20, 5)), 2)
            yield "edit", 1, partial(session.edit, device, id, value)
            yield "get", 0, partial(session.get, device, id)


def fill_points(writer: Writer) -> None:
    for device, stream in writer.devices:
        table = stream.table(QUERY_PAYLOADS)
        if table is not None:
            writer.session.append_table(device, writer.session.body_of_table(table))


def queries(writer: Writer) -> Iterator[Step]:
    session = writer.session
    numbers = [name for index, name in enumerate(VARIABLES) if index not in (DOOR, MODE)]
    while True:
        for device, stream in writer.devices:
            name = numbers[int(writer.random.integers(len(numbers)))]
            length_us = RANGE_POINTS * stream.step_us
            room_us = max(stream.at_us - stream.start_us - length_us, 0)
            start_us = stream.start_us + int(writer.random.integers(room_us + 1))
            yield "last values", 0, partial(session.last, device)
            yield "newest 100", 0, partial(session.newest, device, name, 100)
            yield "range", 0, partial(session.span, device, name, start_us, start_us + length_us - 1)
            yield "by hour", 0, partial(session.hours, device, name, stream.start_us, stream.at_us)


def mixed(writer: Writer) -> Iterator[Step]:
    """Nine appends of a payload, then a read."""
    reads = queries(writer)
    for number, step in enumerate(appends(len(VARIABLES))(writer), 1):
        yield step
        if number % 9 == 0:
            yield next(reads)


class Workload(NamedTuple):
    """A named workload.

    Attributes:
        steps: what a writer does, without end or until its devices have no time left.
        fill: what is stored before, untimed.
        type: of the devices. step_us: between two payloads of a device.
    """

    steps: Callable[[Writer], Iterator[Step]]
    fill: Callable[[Writer], None] | None = None
    type: DeviceType = "immutable"
    step_us: int = 1_000_000


WORKLOADS = {
    "ingest-1": Workload(appends(1)),
    "ingest-10": Workload(appends(len(VARIABLES))),
    "ingest-1000": Workload(appends(1_000)),
    "bulk": Workload(bulk),
    "query": Workload(queries, fill_points, step_us=QUERY_STEP_US),
    "registers": Workload(registers, fill_registers, "mutable"),
    "mixed": Workload(mixed),
}


# --- the run ----------------------------------------------------------------------------------------------------------


class Tally:
    """Calls of one kind: how many, their points, and their latencies in buckets."""

    def __init__(self) -> None:
        self.calls = self.points = 0
        self.max_ns = 0
        self._buckets: dict[int, int] = {}

    def add(self, ns: int, points: int) -> None:
        self.calls += 1
        self.points += points
        self.max_ns = max(self.max_ns, ns)
        bucket = int(math.log2(ns + 1) * STEPS_PER_OCTAVE)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def merge(self, other: Tally) -> None:
        self.calls += other.calls
        self.points += other.points
        self.max_ns = max(self.max_ns, other.max_ns)
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count

    def quantile_ns(self, share: float) -> float:
        """Return the latency that this share of the calls stays within, to the width of a bucket."""
        left = share * self.calls
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return min(2 ** ((bucket + 0.5) / STEPS_PER_OCTAVE), self.max_ns)
        return self.max_ns


class Operation(msgspec.Struct):
    """What came of the calls of one kind, all writers together."""

    operation: str
    calls: int
    points: int
    calls_per_second: float
    points_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float


class Run:
    """A workload under way: `writers` threads, until the time is over, the points are written, or the devices are full.

    Args:
        seconds, points: where it ends; None = no such end.
    """

    def __init__(self, target: Target, name: str, writers: int, seed: int, seconds: float | None, points: int | None) -> None:
        self._workload = WORKLOADS[name]
        self._target = target
        self._seed = seed
        self._limit_s, self._limit_points = seconds, points
        self._stop = threading.Event()
        self._ready = threading.Barrier(writers + 1)
        self._error: BaseException | None = None
        today_us = time.time_ns() // 1000 // DAY_US * DAY_US
        start_us = today_us - DAYS * DAY_US
        made = [target.create(f"bench {name} {number}", self._workload.type) for number in range(max(DEVICES, writers))]
        streams = [Stream((seed, number), start_us, today_us, self._workload.step_us) for number in range(len(made))]
        pairs = list(zip(made, streams, strict=True))
        self.devices = len(made)
        self.writers = [
            Writer(target.session(), pairs[number::writers], np.random.default_rng((seed, 1, number))) for number in range(writers)
        ]
        self._tallies: list[dict[str, Tally]] = [{} for _ in self.writers]
        self._filled_bytes = 0
        self.seconds = 0.0

    def fill(self, progress: Callable[[int, int], None]) -> None:
        """Store what the workload needs before it starts."""
        if self._workload.fill is not None:
            for number, writer in enumerate(self.writers):
                progress(number, len(self.writers))
                self._workload.fill(writer)
            self._filled_bytes = sum(writer.session.sent_bytes for writer in self.writers)

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Run to the end. Raises what a writer raised; all of them have ended when it returns or raises."""
        threads = [
            threading.Thread(target=self._write, args=(writer, tallies), name=f"bench-{number}", daemon=True)
            for number, (writer, tallies) in enumerate(zip(self.writers, self._tallies, strict=True))
        ]
        try:
            for thread in threads:
                thread.start()
            with suppress(threading.BrokenBarrierError):  # a writer failed, which is told below
                self._ready.wait()
            start = time.perf_counter()
            while alive := [thread for thread in threads if thread.is_alive()]:
                left_s = math.inf if self._limit_s is None else max(self._limit_s - (time.perf_counter() - start), 0)
                alive[0].join(min(left_s, LOOK_S) or LOOK_S)
                seconds, points = time.perf_counter() - start, self.points
                is_over = self._limit_s is not None and seconds >= self._limit_s
                if is_over or (self._limit_points is not None and points >= self._limit_points):
                    self._stop.set()
                progress(*((points, self._limit_points) if self._limit_points is not None else (int(seconds * 1000), self._limit_ms)))
        finally:
            self._stop.set()
            self._ready.abort()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        self.seconds = time.perf_counter() - start
        if self._error is not None:
            raise self._error

    @property
    def _limit_ms(self) -> int:
        return int((self._limit_s or 0) * 1000)

    @property
    def points(self) -> int:
        """Points that were written and read so far."""
        return sum(tally.points for tallies in self._tallies for tally in list(tallies.values()))

    def _write(self, writer: Writer, tallies: dict[str, Tally]) -> None:
        share = None if self._limit_points is None else -(-self._limit_points // len(self.writers))
        done = 0
        try:
            steps = self._workload.steps(writer)
            step = next(steps, None)
            self._ready.wait()
            while step is not None:
                kind, points, call = step
                start = time.perf_counter_ns()
                found = call()
                ns = time.perf_counter_ns() - start
                tally = tallies.get(kind)
                if tally is None:
                    tally = tallies[kind] = Tally()
                tally.add(ns, points or found)
                done += points or found
                if self._stop.is_set() or (share is not None and done >= share):
                    return
                step = next(steps, None)
        except threading.BrokenBarrierError:
            pass  # another writer failed
        except BaseException as error:
            self._error = self._error or error
            self._stop.set()
            self._ready.abort()

    def sent_bytes_per_point(self) -> float | None:
        """Return what a point took in bodies of appends; None where nothing was sent."""
        sent_bytes = sum(writer.session.sent_bytes for writer in self.writers) - self._filled_bytes
        sent_points = sum(tally.points for tallies in self._tallies for kind, tally in tallies.items() if kind in SENT)
        return sent_bytes / sent_points if sent_bytes and sent_points else None

    def operations(self) -> list[Operation]:
        """Return what was done, a kind of call each."""
        merged: dict[str, Tally] = {}
        for tallies in self._tallies:
            for kind, tally in tallies.items():
                merged.setdefault(kind, Tally()).merge(tally)
        return [
            Operation(
                kind,
                tally.calls,
                tally.points,
                tally.calls / self.seconds,
                tally.points / self.seconds,
                tally.quantile_ns(0.5) / 1e6,
                tally.quantile_ns(0.99) / 1e6,
                tally.max_ns / 1e6,
            )
            for kind, tally in merged.items()
        ]
