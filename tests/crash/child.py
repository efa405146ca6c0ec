"""The two processes of the crash suite: one writes until something stops it, the other reads all that is there.

Both are forked from a server that has imported everything (multiprocessing's forkserver), so one costs some milliseconds. They
tell what they do in lines, each one write to a pipe, so that nothing is lost when they are killed:

    t K N   step N of thread K begins        d K N   it returned, so it is acknowledged
    r K N   it was refused, and is not stored        u K N   an error that leaves it in doubt
    o       the store is open, also again after an error that asks for it        c TEXT   it could not be opened, or closed
    x TEXT  something happened that never should        m N   calls of the kind that was to fail        e   the end
"""

from __future__ import annotations

import dataclasses
import errno
import faulthandler
import logging
import os
import pickle
import resource
import shutil
import sys
import threading
import traceback
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow  # noqa: F401  (imported before the fork)

import tsengine
import tsengine.aio
from tests.crash import broken
from tests.crash.story import (
    BATCH_MAX,
    BULK_POINTS,
    COLUMNS,
    DAY_US,
    DEVICES,
    EXPIRING,
    GUESTS,
    REGISTERS,
    RETENTION_DAYS,
    Step,
    rows_of,
)
from tests.full_disk import fill_disk
from tsengine.care.check import check_folder
from tsengine.core.os.faulty import Faults
from tsengine.engine import writes
from tsengine.log import LocalLog

FILE_BYTES = 96 << 10
"""Of a file of the log: small, so that it is left, trimmed and used again all the time."""

ATTEMPTS = 4
"""How often a writer opens the store again after errors before it gives up."""


@dataclasses.dataclass
class Orders:
    """What a writer is to do.

    Attributes:
        steps: of each thread.
        faults: arguments of Faults, which is entered before the store is opened; None = none.
        is_lenient: errors of storage are expected; the step is in doubt, or refused, and the writer goes on.
        broken: name of a way to break the store (broken.py).
        descriptors, memory_mb: limits of the process; 0 = none. The latter is what it may take beside what it has at the start.
        waits: begin when a byte comes from the other side.
    """

    folder: str
    now_us: int
    steps: list[list[Step]] = dataclasses.field(default_factory=list)
    durability: str = "sync"
    faults: dict[str, Any] | None = None
    is_lenient: bool = False
    broken: str = ""
    descriptors: int = 0
    memory_mb: int = 0
    waits: bool = False


class GiveUp(Exception):
    """The store does not open any more in this process."""


def enter(orders: Orders) -> None:
    """What both processes do first."""
    faulthandler.enable()
    logging.disable()
    writes.BULK_POINTS = BULK_POINTS
    if orders.broken:
        broken.WAYS[orders.broken]()
    if orders.descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (orders.descriptors, orders.descriptors))
    if orders.memory_mb:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit_bytes = pages * resource.getpagesize() + (orders.memory_mb << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def open_store(folder: str, clock: tsengine.ManualClock, durability: str = "sync") -> tsengine.Engine:
    log = LocalLog(os.path.join(folder, "wal"), durability=durability, file_bytes=FILE_BYTES)  # type: ignore[arg-type]
    return tsengine.Engine(folder, durability=durability, memory_mb=1, clock=clock, clock_trust_s=0, log=log)  # type: ignore[arg-type]


# --- the writer ------------------------------------------------------------------------------------------------------------------


class Writer:
    def __init__(self, orders: Orders, fd: int) -> None:
        self.orders = orders
        self.fd = fd
        self.clock = tsengine.ManualClock(orders.now_us)
        self.attempts = 0
        self.db: tsengine.Engine | None = None

    def tell(self, line: str) -> None:
        os.write(self.fd, line.encode()[:4000].replace(b"\n", b" | ") + b"\n")  # one write: lines of two threads never mix

    def unexpected(self, what: str) -> None:
        self.tell(f"x {what}: {traceback.format_exc(limit=-4)}")
        os._exit(3)

    def run(self) -> None:
        with ExitStack() as stack:
            calls = stack.enter_context(Faults(**self.orders.faults)) if self.orders.faults is not None else None
            try:
                self.open()
                if len(self.orders.steps) == 1:
                    self.work(0)
                else:
                    threads = [threading.Thread(target=self.work, args=(number,)) for number in range(len(self.orders.steps))]
                    for thread in threads:
                        thread.start()
                    for thread in threads:
                        thread.join()
                self.close()
            except GiveUp:
                pass
            if calls is not None:
                self.tell(f"m {calls.matched}")
        self.tell("e")

    def open(self) -> None:
        while True:
            self.attempts += 1
            try:
                self.db = open_store(self.orders.folder, self.clock, self.orders.durability)
                self.add_devices()
                self.tell("o")
                return
            except tsengine.StorageError as error:
                if not self.orders.is_lenient:
                    self.unexpected("open")
                self.tell(f"c open: {error}")
                self.close()
            except Exception as error:
                if not is_lack_of_memory(error) or not self.orders.memory_mb:
                    self.unexpected("open")
            if self.attempts > ATTEMPTS:
                raise GiveUp

    def close(self) -> None:
        db, self.db = self.db, None
        if db is not None:
            try:
                db.close()
            except tsengine.StorageError as error:
                if not self.orders.is_lenient:
                    self.unexpected("close")
                self.tell(f"c close: {error}")
            except Exception:
                self.unexpected("close")

    def add_devices(self) -> None:
        assert self.db is not None
        known = {device.info.serial for device in self.db.devices()}
        for serial in DEVICES:
            if serial not in known:
                self.db.create_device(
                    serial,
                    serial=serial,
                    type="mutable" if serial == REGISTERS else "immutable",
                    chunk_period="day",
                    chunk_retention=RETENTION_DAYS if serial == EXPIRING else None,
                )

    def work(self, thread: int) -> None:
        try:
            for number, step in enumerate(self.orders.steps[thread]):
                self.take(thread, number, step)
        except GiveUp:
            if threading.current_thread() is threading.main_thread():
                raise

    def take(self, thread: int, number: int, step: Step) -> None:
        place = f"{thread} {number}"
        self.tell(f"t {place}")
        assert self.db is not None
        try:
            run(self.db, self.clock, step)
        except tsengine.StorageFullError as error:
            if not self.orders.is_lenient:
                self.unexpected(step.kind)
            self.tell(f"{'u' if 'in the log' in str(error) else 'r'} {place} {error}")
        except tsengine.BusyError as error:
            self.tell(f"r {place} {error}")
        except tsengine.StorageError as error:
            if not self.orders.is_lenient:
                self.unexpected(step.kind)
            self.tell(f"u {place} {error}")
            if threading.current_thread() is not threading.main_thread():
                raise GiveUp from error
            self.close()
            self.open()
        except Exception as error:
            if not is_lack_of_memory(error) or not self.orders.memory_mb:
                self.unexpected(step.kind)
            self.tell(f"u {place} {error}")
        else:
            self.tell(f"d {place}")


def is_lack_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return "memory" in str(error).lower() or "can't start new thread" in str(error)


def run(db: tsengine.Engine, clock: tsengine.ManualClock, step: Step) -> None:
    """Do one step; steps about what is not there do nothing."""
    match step.kind:
        case "put" | "lazy":
            points = [{"variable": row.variable, "value": value, "time": row.time_us} for value, row in rows_of(step).items()]
            db.device(step.who).append_many(points, sync=step.kind == "put")
            if step.kind == "lazy":
                db.sync()
        case "bulk":
            rows = rows_of(step)
            times = np.array([row.time_us for row in rows.values()], dtype=np.int64)
            db.device(COLUMNS).append_columns("v0", times, np.array(list(rows), dtype=np.int64))
        case "drop":
            for chunk in db.device(step.who).chunks():
                if to_us(chunk.start) == step.number * DAY_US:
                    db.device(step.who).delete_chunk(chunk.id)
        case "expire":
            clock.advance(seconds=max(0, step.time_us - clock.now_us()) / 1e6)
            db._maintain()
        case "edit":
            ids = register_ids(db, step.number)
            db.device(step.who).edit([{"id": id, "unit": str(step.count)} for id in ids])
        case "delete":
            ids = register_ids(db, step.number)
            if ids:
                db.device(step.who).delete(ids=ids)
        case "create":
            db.create_device(f"guest {step.number}", serial=f"guest-{step.number}", chunk_period=None)
        case "point":
            for guest in db.devices(serial=f"guest-{step.number}"):
                db.device(guest.id).append("v0", step.number, time=step.time_us)
        case "describe":
            for guest in db.devices(serial=f"guest-{step.number}"):
                db.edit_device(guest.id, description=str(step.count))
        case "remove":
            for guest in db.devices(serial=f"guest-{step.number}"):
                db.delete_device(guest.id)
        case "seal":
            db.seal()
        case "compact":
            db.compact()
        case "trim":
            db._trim()
        case "backup":
            folder = backup_folder(str(db.path), step.number)
            with suppress(OSError):  # of a disk that has no power any more
                for old in folder.parent.glob(f"{db.path.name}.backup-*"):
                    shutil.rmtree(old, ignore_errors=True)
            db.backup(folder)
        case "fill":
            fill_disk(Path(str(db.path) + ".ballast"))
        case "free":
            Path(str(db.path) + ".ballast").unlink()
            os.sync()
        case _:
            raise ValueError(step.kind)


def register_ids(db: tsengine.Engine, number: int) -> list[str]:
    return [point.id for point in db.device(REGISTERS).points(limit=None) if int(point.value) // BATCH_MAX == number]  # type: ignore[arg-type]


def to_us(moment: Any) -> int:
    return round(moment.timestamp() * 1e6)


def backup_folder(folder: str, number: int) -> Path:
    return Path(f"{folder}.backup-{number}")


def write(orders: Orders, connection: Any) -> None:
    """The life of a writer."""
    writer = Writer(orders, connection.fileno())
    try:
        enter(orders)
        if orders.waits:
            connection.recv_bytes()
        writer.run()
    except BaseException:
        writer.unexpected("writer")
    os._exit(0)


# --- the reader ------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Survey:
    """What a reader found.

    Attributes:
        found: of each device (value, (time_us, variable, unit)) as read, of the guests (number, (0, "guest", description)).
        errors: of each device why it cannot be read.
        problems: what `check` tells.
        failure: why the store does not open.
        is_ours: whether each of the errors is one of tsengine's; another is a fault of the store.
    """

    found: dict[str, list[tuple[int, tuple[int, str, str | None]]]] = dataclasses.field(default_factory=dict)
    errors: dict[str, str] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)
    failure: str = ""
    is_ours: bool = True
    recovered_us: int = 0
    torn_bytes: int = 0


def read_store(folder: str, now_us: int) -> Survey:
    survey = Survey()
    try:
        db = open_store(folder, tsengine.ManualClock(now_us))
    except Exception as error:
        survey.failure = describe(error)
        survey.is_ours = isinstance(error, tsengine.TsengineError)
        return survey
    try:
        survey.recovered_us, survey.torn_bytes = db.log.recovered.duration_us, db.log.recovered.torn_bytes
        for who, work in {**dict.fromkeys(DEVICES, read_device), GUESTS: read_guests}.items():
            try:
                survey.found[who] = work(db, who)
            except Exception as error:
                survey.errors[who] = describe(error)
                survey.is_ours &= isinstance(error, tsengine.TsengineError)
        try:
            survey.problems = [str(problem) for problem in db.check().problems]
        except Exception as error:
            survey.problems = [f"check failed: {describe(error)}"]
            survey.is_ours &= isinstance(error, tsengine.TsengineError)
    finally:
        try:
            db.close()
        except Exception as error:
            survey.problems.append(f"close failed: {describe(error)}")
            survey.is_ours &= isinstance(error, tsengine.TsengineError)
    return survey


def describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" + ("" if isinstance(error, tsengine.TsengineError) else f" {traceback.format_exc(limit=-4)}")


def read_device(db: tsengine.Engine, serial: str) -> list[tuple[int, tuple[int, str, str | None]]]:
    """Every point, oldest first; counts and aggregates have to say the same."""
    if not db.devices(serial=serial):
        return []
    device = db.device(serial)
    points = device.points(limit=None, order="asc")
    values = [int(point.value) for point in points]  # type: ignore[arg-type]
    assert device.count() == len(points), f"{serial}: {len(points)} points are read, {device.count()} counted"
    sums = device.aggregate(None, "sum")
    total = sum(int(value) for value in sums.column("sum").to_pylist()) if values else 0
    assert total == sum(values), f"{serial}: the values' sum is {sum(values)}, not {total}"
    return [(value, (to_us(point.time), point.variable, point.unit)) for value, point in zip(values, points, strict=True)]


def read_guests(db: tsengine.Engine, who: str) -> list[tuple[int, tuple[int, str, str | None]]]:
    guests = [device for device in db.devices() if device.info.serial and device.info.serial.startswith("guest-")]
    found = []
    for guest in guests:
        assert {point.value for point in guest.points(limit=None)} <= {number_of(guest)}, f"{guest.info.serial} holds points of another"
        found.append((number_of(guest), (0, "guest", guest.info.description)))
    return sorted(found)


def number_of(guest: tsengine.Device) -> int:
    return int(str(guest.info.serial).removeprefix("guest-"))


def survey(orders: Orders, folders: list[str], connection: Any) -> None:
    """The life of a reader: the store, then a backup if there is one."""
    try:
        enter(orders)
        with ExitStack() as stack:
            if orders.faults is not None:
                stack.enter_context(Faults(**orders.faults))
            connection.send_bytes(pickle.dumps([read_store(folder, orders.now_us) for folder in folders]))
    except BaseException:
        sys.stderr.write(traceback.format_exc())
        os._exit(3)
    os._exit(0)


def examine(orders: Orders, folder: str, connection: Any) -> None:
    """The life of one who looks at a damaged store: what `check` tells, then what is read. It may end in between."""
    try:
        enter(orders)
        faulthandler.disable()
        connection.send_bytes(pickle.dumps(check_folder(Path(folder)).problems))
        connection.send_bytes(pickle.dumps(read_store(folder, orders.now_us)))
    except BaseException:
        sys.stderr.write(traceback.format_exc())
        os._exit(3)
    os._exit(0)
