"""Writes of points: what the engine keeps of each device for them, batches through the log, tables straight into segments.

A batch is checked against the device's capacity, stamped with its sequence and appended to the log, all under the device's
lock, so that checks, sequences and log order agree. Large tables skip the log: their devices' locks are held until the
segments are committed.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import msgspec

from tsengine import commands
from tsengine.core import batch
from tsengine.core.ingest.rows import record_of
from tsengine.core.ingest.table import Table
from tsengine.engine.capacity import DeviceState
from tsengine.engine.fleet import Fleet, check_type
from tsengine.engine.worker import Worker
from tsengine.errors import InputError, NotFoundError, StorageError, TsengineError
from tsengine.limits import (
    BULK_POINTS,
    BULK_POINTS_PER_DEVICE,
    DEVICES_IN_MEMORY,
    LOAD_ROWS,
    POINTS_PER_CHUNK,
    POINTS_PER_DEVICE,
    REGISTERS_PER_DEVICE,
)
from tsengine.log import Log
from tsengine.store.columnar import ColumnarStore, Targets
from tsengine.store.registers import Registers
from tsengine.store.reserve import Reserve
from tsengine.types import DeviceInfo, DeviceType, Period

if TYPE_CHECKING:
    from tsengine.device import Device

STATES_FORGOTTEN_MAX = 64
"""Devices forgotten at a time when there are too many to be kept in memory: one look around serves that many new ones."""


class Writes(Fleet):
    """The part of Engine that takes points. The stores, the log and the workers are the engine's."""

    log: Log
    columnar: ColumnarStore
    registers: Registers
    _reserve: Reserve
    _flusher: Worker

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[int, DeviceState] = {}
        self._states_lock = threading.Lock()
        self._load_lock = threading.Lock()  # one bulk load at a time: it holds the locks of many devices
        self._unwaited_seq = 0  # newest write that nobody waits for
        self._refused: deque[int] = deque(maxlen=16)  # such writes that were not stored when last looked at; `sync` tells

    @abstractmethod
    def info_of(self, number: int) -> DeviceInfo | None:
        """What the catalog knows of a device."""

    def convert_device(
        self,
        device_id: str,
        *,
        type: DeviceType,
        chunk_period: Period | None = "month",
        chunk_retention: int | None = None,
        chunk_limit: int | None = POINTS_PER_CHUNK,
        point_limit: int | None = POINTS_PER_DEVICE,
    ) -> Device:
        """Change the type or the chunk period of an empty, inactive device and return it; id, tokens and parameters stay.

        Args:
            type, chunk_period, chunk_retention, chunk_limit, point_limit: as in `create_device`.

        Raises:
            NotFoundError: no such device. InputError: it is active or holds points, or a value is outside its limits.
        Durability: on disk on return. The store's own number of the device changes: `Device` objects made before find it gone.
        """
        check_type(type)
        if type == "mutable":
            chunk_period = chunk_retention = chunk_limit = None
            point_limit = REGISTERS_PER_DEVICE
        with self._catalog_lock:
            device = self.device(device_id)
            info = device.info
            if info.active:
                raise InputError("The device is active; deactivate it before you convert it")
            with self.locked_state(info.number):  # nothing is stored between the count and the command
                if device.count():
                    raise InputError("The device is not empty; only an empty device can be converted")
                converted = msgspec.structs.replace(
                    info,
                    number=self.catalog.next_device_number(),
                    type=type,
                    chunk_period=chunk_period,
                    chunk_retention=chunk_retention,
                    chunk_limit=chunk_limit,
                    point_limit=point_limit,
                    updated_us=self.clock.now_us(),
                )
                self._check_info(converted, instead_of=info.number)
                self.command(commands.ConvertDevice(info.number, converted))
                self.forget_state(info.number)
        return self.device_of(converted)

    def append_arrow(self, table: Any, *, sync: bool = True) -> int:
        """Append points of many devices; the schema of `Device.append_arrow` with a `device` column (ids or serials).

        One batch a device: each is stored whole or not at all. Returns the number of points.

        Raises:
            NotFoundError: a device is unknown; InputError, LimitError: as `Device.append_arrow`. Checked before anything
                is stored, except limits that a concurrent writer fills meanwhile.
        """
        from tsengine.arrow import read_tables

        def assign(whole: Table) -> None:
            whole.assign(self.numbers(whole.devices()))

        return self.write_tables(read_tables(table, self.clock.now_us(), LOAD_ROWS, with_device=True), assign, sync=sync)

    def write(self, number: int, record: bytes, *, sync: bool = True) -> int:
        """Store a batch of one device; return its log sequence.

        Args:
            record: fresh from tsengine.core.ingest.points.
            sync: return when it is durable and readable; otherwise at once, `sync()` waits for it.

        Raises:
            NotFoundError: the device was deleted. InputError, LimitError: it does not fit the device; nothing was stored.
            BusyError: memory is full and sealing does not keep up, or the log's queue and the disk does not; after 10 s.
            StorageFullError, StorageError: it was not stored, or is in doubt (as Log.wait tells).
        """
        seq = self.stage(number, record)
        if sync:
            self.wait(seq, number)
        else:
            self._note_unwaited(seq)
            self.log.nudge()
        return seq

    def stage(self, number: int, record: bytes) -> int:
        """The first half of `write`: check, count and append; the caller nudges the log, or waits with `wait`."""
        self.check_open()
        self.make_room()
        while True:
            state = self._states.get(number) or self.state(number)
            with state.lock:  # as `locked_state`, which would cost a tenth of a small write
                if seq := self._stage(state, number, record):
                    return seq

    def stage_now(self, number: int, record: bytes) -> int:
        """As `stage`, but return 0 instead of waiting for anything: the device's state or lock, room in memory or in the log's queue."""
        self.check_open()
        state = self._states.get(number)
        if state is None or not self.has_room() or not state.lock.acquire(blocking=False):
            return 0
        try:
            if self._flusher.error is not None:
                raise self._flusher.error
            return self._stage(state, number, record)
        finally:
            state.lock.release()

    def _stage(self, state: DeviceState, number: int, record: bytes) -> int:
        """Check, count and append with the lock held; return 0 if the state is stale, and forget it."""
        if state.is_stale:
            self._drop_state(number, state)
            return 0
        if state.info.type == "mutable" or self._reserve.is_given_up:
            self._reserve.check_room()  # a read must be able to apply what the log took, and deletes need the rest
        added = state.reserve(record, self.clock.now_us())
        try:
            batch.stamp(record, number, state.next_sequence)
            seq = self.log.append(record)
        except BaseException:
            state.release(record, added)
            raise
        state.next_sequence += batch.count_of(record)
        state.staged_seq = seq
        return seq

    def write_tables(self, tables: Iterator[Table], assign: Callable[[Table], None], *, sync: bool) -> int:
        """Store tables of one call, each device's rows all or none: small parts through the log, large ones straight in segments.

        Args:
            tables: taken one at a time.
            assign: says which devices a table's rows belong to.

        Raises:
            as `write`.
        """
        first = next(tables, None)
        if first is None:
            return 0
        second = next(tables, None)
        assign(first)
        if second is None and len(first) < max(BULK_POINTS, BULK_POINTS_PER_DEVICE * first.part_count):
            self._log_parts(first, range(first.part_count), sync=sync)
            return len(first)
        count = 0

        def assigned() -> Iterator[Table]:
            nonlocal count
            for table in chain([first], [second] if second is not None else [], tables):
                if count:
                    assign(table)
                count += len(table)
                yield table

        self._load(assigned(), sync=sync)
        return count

    def _log_parts(self, table: Table, parts: Iterable[int], *, sync: bool) -> None:
        """Write parts of a table through the log, a record a device."""
        records = [(table.part_device(part), record_of(table, part)) for part in parts]
        if len(records) == 1 or not sync:
            for number, record in records:
                self.write(number, record, sync=sync)
            return
        staged = []
        for number, record in records:
            staged.append((self.stage(number, record), number))
            self.log.nudge()
        for seq, number in staged:
            self.wait(seq, number)

    def _load(self, tables: Iterable[Table], *, sync: bool) -> None:
        """Store large tables straight in segments; rows of mutable devices go through the log afterwards."""
        self.check_open()
        states: dict[int, DeviceState] = {}
        registers: list[tuple[Table, list[int]]] = []

        def reserved() -> Iterator[tuple[Table, Targets]]:
            for table in tables:
                targets: Targets = []
                for part in range(table.part_count):
                    number = table.part_device(part)
                    state = states.get(number)
                    if state is None:
                        state = states[number] = self.locked_state(number)
                        state.is_loading = True  # the lock alone does not show it to this thread
                        self.settle(number)
                    targets.append(state.reserve_part(table, part, self.clock.now_us()) if state.info.type == "immutable" else None)
                left_out = [part for part, target in enumerate(targets) if target is None]
                if left_out:
                    registers.append((table, left_out))
                if len(left_out) < len(targets):
                    yield table, targets

        with self._load_lock:
            try:
                self.columnar.load(reserved(), self.log.applied_seq)
            except BaseException:
                for number in states:
                    self.forget_state(number)  # it counted in what was not stored
                raise
            finally:
                for state in states.values():
                    state.is_loading = False
                    state.lock.release()
        # Merges are not woken: they look for themselves, and would take a core from the loads that follow this one.
        for table, parts in registers:
            self._log_parts(table, parts, sync=sync)

    def is_held(self, number: int) -> bool:
        """Whether another thread holds the device's lock: a bulk load, an edit, a delete."""
        state = self._states.get(number)
        if state is None:
            return False
        if not state.lock.acquire(blocking=False):
            return True
        state.lock.release()
        return False

    def has_room(self) -> bool:
        """Whether memory and the log's queue have room for another batch."""
        return self.log.has_room and self.columnar.has_room()

    def make_room(self) -> None:
        """Wait until `has_room`, 10 s for each of memory and the log's queue at most, or raise why there is none.

        Before the device's lock: those who wait for one device do so side by side, not one after the other.
        """
        self.columnar.admit()
        if not self.log.has_room:
            self.log.admit()
        if self._flusher.error is not None:
            raise self._flusher.error

    def wait(self, seq: int, number: int) -> None:
        """Return when a write of a device is durable and applied; if it was not stored, count it out and raise."""
        try:
            self.log.wait(seq)
        except TsengineError:
            self.forget_state(number)
            raise

    def forget_state(self, number: int) -> None:
        """Read the device's counts again before its next write: a write was not stored, or the device changed. Never waits."""
        state = self._states.get(number)
        if state is None:
            return
        state.is_stale = True  # who takes the lock next sees it
        if state.lock.acquire(blocking=False):
            try:
                self._drop_state(number, state)
            finally:
                state.lock.release()

    def _drop_state(self, number: int, state: DeviceState) -> None:
        """Let go of a stale state with its lock held: as long as somebody else holds it, there must be no second one."""
        if self._states.get(number) is state:
            del self._states[number]

    def locked_state(self, number: int) -> DeviceState:
        """Return the device's state with its lock held; until `with` lets go of it no other write of the device is staged."""
        while True:
            state = self.state(number)
            state.lock.acquire()
            if not state.is_stale:
                return state
            self._drop_state(number, state)
            state.lock.release()

    def state(self, number: int) -> DeviceState:
        """Return the device's state for writing, loaded at first use."""
        state = self._states.get(number)
        if state is None:
            with self._states_lock:
                state = self._states.get(number)
                if state is None:
                    info = self.info_of(number)
                    if info is None:
                        raise NotFoundError(f"device {number} was deleted")
                    self.log.wait(self.log.last_seq)
                    state = DeviceState(info)
                    state.load(self.columnar, self.registers)
                    if len(self._states) >= DEVICES_IN_MEMORY:
                        self._forget_idle_states()
                    self._states[number] = state
        return state

    def _forget_idle_states(self) -> None:
        """Make room for another state: let go of some that were loaded long ago and wait for nothing."""
        for number, state in list(islice(self._states.items(), STATES_FORGOTTEN_MAX)):
            if state.lock.acquire(blocking=False):
                try:
                    if not state.is_loading and (not state.staged_seq or self.log.is_done(state.staged_seq)):
                        state.is_stale = True
                        self._states.pop(number, None)
                except TsengineError:  # its write failed: whoever waits for it is told, and forgets it
                    pass
                finally:
                    state.lock.release()

    def settle(self, number: int) -> None:
        """Wait for writes of this device that nobody waited for, so that a reader sees what was written before."""
        self.check_open()
        state = self._states.get(number)
        if state is not None and state.staged_seq:
            try:
                if not self.log.is_done(state.staged_seq):
                    self.log.wait(state.staged_seq)
            except StorageError:  # it was not stored, or cannot be seen yet: its writer or `sync` is told, reads go on
                self.forget_state(number)

    def sync(self) -> None:
        """Return when everything appended so far is durable and readable.

        Raises:
            StorageFullError, StorageError: some of what was appended since the last call was not stored.
        """
        self.check_open()
        self._settle_all()

    def _note_unwaited(self, seq: int) -> None:
        """Remember a write for `sync`. A refusal takes back everything behind it, so the newest one tells of all before."""
        earlier, self._unwaited_seq = self._unwaited_seq, seq
        try:
            if earlier:
                self.log.is_done(earlier)
        except StorageError:
            self._refused.append(earlier)

    def _settle_all(self) -> None:
        """Wait for everything, and raise if something that nobody waited for was not stored."""
        refused, self._refused = [*self._refused, self._unwaited_seq], deque(maxlen=16)
        self._unwaited_seq = 0
        self.log.wait(self.log.last_seq)
        for seq in refused:
            if seq:
                self.log.wait(seq)
