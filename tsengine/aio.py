"""The awaitable twin of the embedding API.

Writes never block the event loop: they are staged at once and await the group commit, which wakes the loop once for a
whole group. Reads and rare changes run in a small pool of threads, short reads in a thread of their own.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from typing import Any

from tsengine.arguments import listed
from tsengine.core import batch
from tsengine.device import Device
from tsengine.engine.engine import Engine
from tsengine.errors import BusyError, ClosedError, TsengineError
from tsengine.ingest.bodies import JSON_TYPE, is_arrow
from tsengine.limits import BULK_POINTS
from tsengine.types import DeviceInfo, Point

__all__ = ["AsyncDevice", "AsyncEngine", "open"]

READ_THREADS = 4
"""Threads for reads and changes that may block: a few, so that one long scan does not hold up short ones."""

QUEUE_BYTES = 64 << 20
"""Records that may wait for room in memory or in the log, bytes; beyond it BusyError at once."""

HELD_PAUSE_S, HELD_PAUSE_S_MAX = 0.001, 0.1
"""How long to wait before looking again whether a device's lock is free, seconds: twice as long each time. An edit holds it for
milliseconds, a bulk load for as long as it takes."""

Done = Callable[[TsengineError | None], None]
"""What is told, on the event loop, how a write ended: None = it is durable and readable."""


class AsyncEngine:
    """An Engine for one event loop; the engine may be used from threads at the same time.

    Args:
        engine: open; `close` closes it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="tsengine-read")
        self._waiting: deque[tuple[int, int, Done]] = deque()  # (log sequence, device, who waits)
        self._is_nudging = False
        self._all_done: asyncio.Future[None] | None = None  # for `close`
        self._short_reads: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = SimpleQueue()
        self._short_reader: threading.Thread | None = None
        self._found: deque[tuple[Callable[[Any], None], Any]] = deque()  # what short reads gave, and who wants it
        self._is_delivering = False
        self._is_closing = False
        self._queued_bytes = 0  # of records that wait for room
        self._room: asyncio.Task[None] | None = None
        self._held: dict[int, asyncio.Future[None]] = {}  # devices whose lock a thread holds, and who waits for it
        self._watcher: asyncio.Task[None] | None = None
        engine.log.add_listener(self._committed)

    async def write(self, number: int, record: bytes) -> None:
        """Store a batch of one device; see Engine.write. Durable and readable on return."""
        future = self._loop.create_future()
        while not self.write_soon(number, record, partial(_end, future)):
            await self._make_ready(number, record)
        await future

    def write_soon(self, number: int, record: bytes, done: Done) -> bool:
        """Stage a batch as `write` does, and have `done` called when its group is committed or failed.

        Returns:
            False if that has to wait for room, for the device's state or for its lock: nothing was staged, `write` waits for it.

        Raises:
            as Engine.stage; `done` is not called.
        """
        if self._is_closing:  # nobody would be told any more
            raise ClosedError(f"the store {self.engine.path} is closed; open it again with tsengine.aio.open")
        seq = self.engine.stage_now(number, record)
        if not seq:
            return False
        self._waiting.append((seq, number, done))
        if not self._is_nudging:
            self._is_nudging = True
            self._loop.call_soon(self._nudge)
        return True

    def _nudge(self) -> None:
        """Have one group made of all that was staged by callbacks of the same turn of the loop."""
        self._is_nudging = False
        try:
            self.engine.log.nudge()
        except TsengineError:  # who waits is told by _resolve
            pass
        self._resolve()  # the group may have been committed before anyone was seen waiting

    async def _make_ready(self, number: int, record: bytes) -> None:
        """Load the device's state, and wait for its lock, and for room: together with all others who do, so that reads have their threads.

        Raises:
            BusyError: records of QUEUE_BYTES wait already, or there was no room in the time that Engine.write states.
        """
        if self._queued_bytes and self._queued_bytes + len(record) > QUEUE_BYTES:
            raise BusyError(f"{self._queued_bytes} bytes wait for room in memory or in the log; nothing was stored, try again later")
        self._queued_bytes += len(record)
        try:
            if not self.engine.has_room():
                if self._room is None:
                    self._room = self._loop.create_task(self._make_room())
                await asyncio.shield(self._room)
            await self.run(self.engine.state, number)
            if self.engine.is_held(number):
                if self._watcher is None:
                    self._watcher = self._loop.create_task(self._watch_held())
                await asyncio.shield(self._held.setdefault(number, self._loop.create_future()))
        finally:
            self._queued_bytes -= len(record)

    async def _make_room(self) -> None:
        try:
            await self.run(self.engine.make_room)
        finally:
            self._room = None

    async def _watch_held(self) -> None:
        """Wake those who wait for the lock of a device when it is free."""
        pause_s = HELD_PAUSE_S
        while self._held:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, HELD_PAUSE_S_MAX)
            for number in [number for number in self._held if not self.engine.is_held(number)]:
                self._held.pop(number).set_result(None)
                pause_s = HELD_PAUSE_S
        self._watcher = None

    def _committed(self, applied_seq: int, error: BaseException | None) -> None:
        """Called by the log, on its committing thread, once a group."""
        if self._waiting:
            self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        """Wake everyone whose group is done; they wait in the order of the log."""
        is_done, waiting = self.engine.log.is_done, self._waiting
        while waiting:
            seq, number, done = waiting[0]
            failure: TsengineError | None = None
            try:
                if not is_done(seq):
                    return
            except TsengineError as error:
                failure = error
                self.engine.forget_state(number)
            waiting.popleft()
            done(failure)
        if self._all_done is not None and not self._all_done.done():
            self._all_done.set_result(None)

    async def run(self, work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Run blocking work of the engine in a thread."""
        return await self._loop.run_in_executor(self._pool, partial(work, *args, **options))

    def read_soon(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run a short read in the thread that short reads share, and call `done` on the loop with its result, or its exception.

        What is asked for in one turn of the loop is read in one go and wakes the loop once, which takes a fifth of what `run` does.
        One that takes long holds up the others: those are for `run`.
        """
        if self._short_reader is None:
            self._short_reader = threading.Thread(target=self._read_short, name="tsengine-short-reads", daemon=True)
            self._short_reader.start()
        self._short_reads.put((work, done))

    def _read_short(self) -> None:
        """The life of the thread for short reads."""
        while (asked := self._short_reads.get()) is not None:
            work, done = asked
            try:
                result = work()
            except Exception as error:
                result = error
            self._found.append((done, result))
            if not self._is_delivering:
                self._is_delivering = True
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_delivering = False  # first: what is found from now on is seen below, or calls again
        while self._found:
            done, result = self._found.popleft()
            done(result)

    def device_of(self, info: DeviceInfo) -> AsyncDevice:
        """Return the device of an info that is known already, without a look-up."""
        return AsyncDevice(self, Device(self.engine, info))

    async def create_device(self, name: str, **options: Any) -> AsyncDevice:
        """As Engine.create_device."""
        return AsyncDevice(self, await self.run(self.engine.create_device, name, **options))

    async def device(self, id_or_serial: str) -> AsyncDevice:
        """As Engine.device."""
        return AsyncDevice(self, await self.run(self.engine.device, id_or_serial))

    async def devices(self, **conditions: Any) -> list[AsyncDevice]:
        """As Engine.devices."""
        return [AsyncDevice(self, device) for device in await self.run(self.engine.devices, **conditions)]

    async def close(self) -> None:
        """Wait for writes on their way, then close the engine; writes that come from now on are refused."""
        self._is_closing = True
        if self._waiting:
            self._all_done = self._loop.create_future()
            await self._all_done
        if self._short_reader is not None:
            self._short_reads.put(None)
            await self.run(self._short_reader.join)
            self._deliver()
        self.engine.log.remove_listener(self._committed)
        await self.run(self.engine.close)
        self._pool.shutdown()

    async def __aenter__(self) -> AsyncEngine:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __getattr__(self, name: str) -> Any:
        """Every other method of Engine, awaitable."""
        return _awaitable(self, getattr(self.engine, name), name)


class AsyncDevice:
    """A Device whose methods are awaitable."""

    def __init__(self, engine: AsyncEngine, device: Device) -> None:
        self._engine = engine
        self.device = device
        self.id, self.name, self.type, self.info = device.id, device.name, device.type, device.info

    async def append(self, variable: str, value: Any = None, **fields: Any) -> None:
        """As Device.append."""
        await self.append_many([Point(variable, value, **fields)])

    async def append_many(self, points: Iterable[Point | dict[str, Any]]) -> int:
        """As Device.append_many."""
        points = points if isinstance(points, list) else listed(points, "points")
        return await self.write(self.device.record_of_points(points)) if points else 0

    async def append_columns(self, variable: str, time: Any, value: Any, *, unit: str | None = None, group: str | None = None) -> int:
        """As Device.append_columns."""
        if len(time) >= BULK_POINTS:
            return await self._engine.run(partial(self.device.append_columns, unit=unit, group=group), variable, time, value)
        return await self.write(self.device.record_of_columns(variable, time, value, unit, group))

    async def append_arrow(self, table: Any) -> int:
        """As Device.append_arrow."""
        if getattr(table, "num_rows", 0) >= BULK_POINTS:
            return await self._engine.run(self.device.append_arrow, table)
        record = await self._engine.run(self.device.record_of_arrow, table)
        return await self.write(record)

    async def ingest(self, body: bytes, content_type: str = JSON_TYPE) -> int:
        """As Device.ingest."""
        if is_arrow(content_type) and "pyarrow" not in sys.modules:
            await self._engine.run(import_module, "tsengine.arrow")  # it takes a third of a second, once
        record = self.device.record_of_body(body, content_type)
        return await self.write(record)

    async def write(self, record: bytes) -> int:
        """As Device.write; an empty record stores nothing."""
        if not record:
            return 0
        await self._engine.write(self.device.number, record)
        return batch.count_of(record)

    def __getattr__(self, name: str) -> Any:
        """Every other method of Device, awaitable."""
        return _awaitable(self._engine, getattr(self.device, name), name)


def _end(future: asyncio.Future[None], error: TsengineError | None) -> None:
    """Wake whoever awaits a write, unless it was cancelled."""
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _awaitable(engine: AsyncEngine, method: Any, name: str) -> Any:
    """Return a method that runs in the engine's pool; anything that is no public method is not there."""
    if name.startswith("_") or not callable(method):
        raise AttributeError(name)
    return partial(engine.run, method)


async def open(path: str | os.PathLike[str], **options: Any) -> AsyncEngine:
    """Open a store for this event loop; arguments as tsengine.open."""
    engine = await asyncio.get_running_loop().run_in_executor(None, partial(Engine, path, **options))
    return AsyncEngine(engine)
