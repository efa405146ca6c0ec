"""Groups of the log: who shares one, how long one waits, how much may be staged, and what happens when apply finds no room."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tsengine import Engine, Point, aio
from tsengine.core.os.faulty import Faults
from tsengine.errors import BusyError, StorageFullError
from tsengine.log import LocalLog


class Gate:
    """An apply that notes which records came in which group, and can be held up."""

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self.begun_count = 0
        self.is_open = threading.Event()
        self.is_open.set()
        self.entered = threading.Semaphore(0)
        self.full = 0

    def __call__(self, first_seq: int, records: list[bytes]) -> None:
        self.begun_count += 1
        self.entered.release()
        assert self.is_open.wait(60)
        if self.full:
            self.full -= 1
            raise StorageFullError(errno.ENOSPC, "no room in the store", "store")
        self.groups.append(list(records))

    def hold(self) -> None:
        self.is_open.clear()


@pytest.fixture
def make_log(tmp_path: Path):
    logs: list[LocalLog] = []
    gates: list[Gate] = []

    def make(**options: int) -> tuple[LocalLog, Gate]:
        log, gate = LocalLog(tmp_path / "wal", **options), Gate()  # type: ignore[arg-type]
        log.start(0, gate)
        logs.append(log)
        gates.append(gate)
        return log, gate

    yield make
    for gate in gates:  # a test that failed must not hold up the rest
        gate.is_open.set()
    for log in logs:
        try:
            log.close()
        except StorageFullError:
            pass


def start(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_all_that_is_staged_while_a_group_is_written_is_the_next_group(make_log):
    log, gate = make_log()
    gate.hold()
    running = start(lambda: log.wait(log.append(b"running")))
    gate.entered.acquire()
    with Faults() as calls:
        tickets = [log.append(b"%d" % number) for number in range(20)]
        waiters = [start(lambda ticket=ticket: log.wait(ticket)) for ticket in tickets]
        gate.is_open.set()
        for thread in (running, *waiters):
            thread.join()
        assert calls.count("fdatasync") == 1
    assert gate.groups == [[b"running"], [b"%d" % number for number in range(20)]]


def test_no_writer_waits_for_more_than_two_groups(make_log):
    """Counted at the promise and at the acknowledgement: the group that runs then, and its own."""
    log, gate = make_log()
    longest = [0] * 24

    def write(number: int) -> None:
        for i in range(200):
            record = b"%d/%d" % (number, i)
            begun_before = gate.begun_count
            ticket = log.append(record)
            log.wait(ticket)
            own = next(index for index in range(max(0, begun_before - 1), len(gate.groups)) if record in gate.groups[index])
            longest[number] = max(longest[number], own + 1 - begun_before)

    workers = [start(lambda number=number: write(number)) for number in range(len(longest))]
    for worker in workers:
        worker.join()
    assert 1 <= max(longest) <= 2
    assert sum(map(len, gate.groups)) == 24 * 200 and len(gate.groups) < 24 * 200


def test_threads_and_asyncio_share_a_group(tmp_path):
    groups: list[int] = []
    entered, may_go = threading.Event(), threading.Event()
    may_go.set()

    class Held(Engine):
        def _apply(self, first_seq: int, records: list[bytes]) -> None:
            groups.append(len(records))
            entered.set()
            assert may_go.wait(60)
            super()._apply(first_seq, records)

    async def main() -> None:
        async with aio.AsyncEngine(Held(tmp_path / "data")) as db:
            devices = [await db.create_device(f"device {number}") for number in range(6)]
            for device in devices:
                await device.append("t", 0.0)  # loads its state
            groups.clear()
            entered.clear()
            may_go.clear()
            first = asyncio.create_task(devices[0].append("t", 1.0))
            await asyncio.to_thread(entered.wait)
            tasks = [asyncio.create_task(device.append("t", 2.0)) for device in devices[:3]]
            await asyncio.sleep(0)  # they stage
            records = [device.device.record_of_points([Point("t", 3.0)]) for device in devices[3:]]
            tickets = [db.engine.stage(device.device.number, record) for device, record in zip(devices[3:], records, strict=True)]
            waiters = [start(lambda ticket=ticket: db.engine.log.wait(ticket)) for ticket in tickets]
            may_go.set()
            await asyncio.gather(first, *tasks)
            for waiter in waiters:
                waiter.join()
            assert groups == [1, 6]

    asyncio.run(main())


# --- back-pressure ---------------------------------------------------------------------------------------------------------


def test_the_queue_is_bounded_and_busy_is_told_after_the_stated_wait(make_log):
    log, gate = make_log(queue_bytes=10_000, queue_wait_ms=20)
    gate.hold()
    running = start(lambda: log.wait(log.append(b"running")))
    gate.entered.acquire()
    staged = 0
    assert log.has_room
    with pytest.raises(BusyError, match=r"10000 bytes.*0\.02 s"):
        while True:
            log.append(bytes(400))
            staged += 1
    assert 10_000 // (400 + 16 + 128) <= staged <= 10_000 // (400 + 16 + 128) + 1
    assert not log.has_room
    with pytest.raises(BusyError):
        log.admit()
    gate.is_open.set()
    running.join()
    log.admit()
    log.wait(log.append(b"again"))
    assert [len(group) for group in gate.groups] == [1, staged, 1]


def test_small_records_count_with_what_they_cost(make_log):
    log, gate = make_log(queue_bytes=10_000, queue_wait_ms=20)
    gate.hold()
    running = start(lambda: log.wait(log.append(b"running")))
    gate.entered.acquire()
    with pytest.raises(BusyError):
        for _ in range(10_000 // 128 + 1):
            log.append(b"")
    gate.is_open.set()
    running.join()


def test_a_full_queue_that_nobody_commits_is_committed_by_the_writer(make_log):
    log, gate = make_log(queue_bytes=1000, queue_wait_ms=20)
    for _ in range(100):
        log.append(bytes(300))
    log.wait(log.last_seq)
    assert max(map(len, gate.groups)) <= 4


def test_writers_that_wait_for_room_get_it_when_the_queue_is_taken(make_log):
    log, gate = make_log(queue_bytes=5_000)
    gate.hold()
    running = start(lambda: log.wait(log.append(b"running")))
    gate.entered.acquire()
    while log.has_room:
        log.append(bytes(300))
    waiters = [start(lambda: log.wait(log.append(b"waited"))) for _ in range(20)]
    gate.is_open.set()
    for thread in (running, *waiters):
        thread.join()
    assert sum(group.count(b"waited") for group in gate.groups) == 20


def test_a_record_larger_than_the_queue_goes_alone(make_log):
    log, gate = make_log(queue_bytes=1000)
    log.wait(log.append(bytes(5000)))
    assert gate.groups == [[bytes(5000)]]


# --- a store without room ----------------------------------------------------------------------------------------------------


def test_a_group_that_cannot_be_applied_is_applied_before_any_other_when_there_is_room(make_log, open_log):
    log, gate = make_log()
    told = []
    log.add_listener(lambda applied, error: told.append((applied, type(error))))
    log.wait(log.append(b"a"))
    gate.full = 3
    stalled = log.append(b"b")
    with pytest.raises(StorageFullError, match="store"):
        log.wait(stalled)
    assert (log.durable_seq, log.applied_seq) == (2, 1)
    assert not log.has_room
    with pytest.raises(StorageFullError):  # tries again, in vain
        log.append(b"refused")
    with pytest.raises(StorageFullError):
        log.is_done(stalled)
    with pytest.raises(StorageFullError):
        log.admit()
    assert gate.groups == [[b"a"]] and gate.full == 0
    log.wait(log.append(b"c"))  # there is room again
    assert log.is_done(stalled)
    assert gate.groups == [[b"a"], [b"b"], [b"c"]]
    assert told == [(1, type(None)), *[(1, StorageFullError)] * 3, (2, type(None)), (3, type(None))]
    assert [record for _, record in log.read(1)] == [b"a", b"b", b"c"]


def test_what_was_staged_behind_a_stalled_group_is_refused_for_certain(make_log):
    log, gate = make_log()
    gate.hold()
    gate.full = 1
    errors: list[BaseException] = []

    def write(record: bytes) -> None:
        try:
            log.wait(log.append(record))
        except StorageFullError as error:
            errors.append(error)

    running = start(lambda: write(b"stalls"))
    gate.entered.acquire()
    behind = log.append(b"behind")
    gate.is_open.set()
    running.join()
    assert len(errors) == 1
    with pytest.raises(StorageFullError):
        log.wait(behind)
    after = log.append(b"after")
    log.wait(after)
    assert after == behind
    assert gate.groups == [[b"stalls"], [b"after"]]
    with pytest.raises(StorageFullError):
        log.wait(behind)


def test_a_log_closed_while_stalled_delivers_again(make_log, open_log, tmp_path):
    log, gate = make_log()
    gate.full = 10
    with pytest.raises(StorageFullError):
        log.wait(log.append(b"a"))
    with pytest.raises(StorageFullError):
        log.close()
    _, state = open_log(tmp_path / "wal")
    assert state.records == {1: b"a"}


def test_many_waiters_of_a_stalled_group_are_all_told(make_log):
    log, gate = make_log()
    gate.full = 12
    tickets = [log.append(b"%d" % number) for number in range(8)]
    told: list[str] = []

    def wait(ticket: int) -> None:
        try:
            log.wait(ticket)
        except StorageFullError as error:
            told.append(str(error))

    waiters = [start(lambda ticket=ticket: wait(ticket)) for ticket in tickets]
    for waiter in waiters:
        waiter.join()
    assert len(told) == 8
    gate.full = 0
    log.wait(tickets[0])
    assert gate.groups == [[b"%d" % number for number in range(8)]]
