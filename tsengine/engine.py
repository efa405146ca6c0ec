"""The engine: opens a store, takes writes through the log, and owns what runs in the background.

Life of a write: a record is checked against the device's capacity, stamped with its sequence and appended to the log, all
under the device's lock; the log makes a group of records durable with one sync and hands them, in order, to `_apply`, which
gives points to the columnar store or the register store and commands to the catalog. Only then is the write acknowledged.

Every store keeps the log sequence it has applied in the same transaction as its data, so after a crash the log delivers
again what some store lacks and each skips what it has. What was applied already in this life is skipped here.

A full disk: a group that does not fit into the log is refused and was never there. A store without room for a command that is
in the log stalls the log: writes are refused, reads go on, and the next writer tries again. A small reserve of space is given
up for deletes, so that they work on a full disk.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsengine import commands
from tsengine.capacity import DeviceState
from tsengine.check import Report, check_store, refuse_unfinished
from tsengine.clock import ManualClock, SystemClock
from tsengine.core import batch
from tsengine.core.ingest.table import Table
from tsengine.errors import ClosedError, InputError, NotFoundError, StorageError, StorageFullError, TsengineError
from tsengine.fleet import Fleet
from tsengine.limits import BULK_POINTS, BULK_POINTS_PER_DEVICE, CLOCK_TRUST_S, COMPACTION_MB_PER_S, DEVICES_IN_MEMORY, LOAD_ROWS, MEMORY_MB
from tsengine.log import Durability, LocalLog, Log
from tsengine.newest import Newest
from tsengine.store.catalog import Catalog
from tsengine.store.columnar import ColumnarStore, Targets
from tsengine.store.compaction import Compaction, Progress
from tsengine.store.environment import make_folder
from tsengine.store.lockfile import LockFile
from tsengine.store.registers import Registers
from tsengine.store.reserve import Reserve
from tsengine.store.retention import TrustedClock, drop_expired
from tsengine.types import DeviceInfo
from tsengine.worker import Worker

if TYPE_CHECKING:
    from tsengine.device import Device

logger = logging.getLogger(__name__)

CLOSE_SEAL_BYTES = 4 * 1024 * 1024
"""Log left at close above which points are sealed first, bytes: replaying less takes some 10 ms at the next open."""

DELETES = (commands.DeleteDevice, commands.DeleteToken, commands.DropPoints, commands.DeleteRegisters, commands.EmptyRegisters)
"""Commands that free space: they may use up the reserve."""

MAINTENANCE_INTERVAL_S = 60.0
"""How often expired segments and due merges are looked for without a reason, seconds."""


STATES_FORGOTTEN_MAX = 64
"""Devices forgotten at a time when there are too many to be kept in memory: one look around serves that many new ones."""

FLUSH_INTERVAL_S = 1.0
"""How long changes of registers wait at most before they are applied, seconds: a commit of LMDB costs a sync whatever it holds."""


class Engine(Fleet):
    """An open store. Made by `tsengine.open`; a context manager; safe to use from many threads.

    Args:
        path: the data folder; made (mode 0700) if it is missing.
        durability: "sync": an acknowledged write survives a power cut. "os": it survives a kill of the process.
            "memory": for tests and benchmarks; what was not sealed or flushed is lost at close.
        memory_mb: bound of the memory for points that are not sealed yet, MiB.
        compaction_mb_per_s: what merges in the background may read and write, MiB a second; None = no limit. `compact` has none.
        clock_trust_s: how long the wall clock and the monotonic clock must have agreed before expired points leave the disk.
        clock: read for times of receipt and retention.
        log: takes the place of the log in the data folder.

    Raises:
        BusyError: another process has the store open. CorruptionError: a file is damaged. StorageError: no access.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "sync",
        memory_mb: int = MEMORY_MB,
        compaction_mb_per_s: float | None = COMPACTION_MB_PER_S,
        clock_trust_s: float = CLOCK_TRUST_S,
        clock: SystemClock | ManualClock | None = None,
        log: Log | None = None,
    ) -> None:
        if durability not in ("sync", "os", "memory"):
            raise InputError(f"durability must be 'sync', 'os' or 'memory', not {durability!r}")
        if memory_mb < 1:
            raise InputError(f"memory_mb must be at least 1, not {memory_mb}")
        if compaction_mb_per_s is not None and not compaction_mb_per_s > 0:
            raise InputError(f"compaction_mb_per_s must be above 0, or None for no limit, not {compaction_mb_per_s}")
        if not clock_trust_s >= 0:
            raise InputError(f"clock_trust_s must be at least 0, not {clock_trust_s}")
        super().__init__()
        self.path = Path(path)
        self.durability = durability
        self.clock = clock or SystemClock()
        make_folder(self.path)
        self._is_closed = False
        self._states: dict[int, DeviceState] = {}
        self._infos: dict[int, DeviceInfo | None] = {}
        self._infos_lock = threading.Lock()
        self._states_lock = threading.Lock()
        self._load_lock = threading.Lock()  # one bulk load at a time: it holds the locks of many devices
        self._workers: list[Worker] = []
        self._delivered_seq = 0  # of the log, in this life
        self._unwaited_seq = 0  # newest write that nobody waits for
        self._refused: deque[int] = deque(maxlen=16)  # such writes that were not stored when last looked at; `sync` tells
        with ExitStack() as opened:  # what was opened is closed again if something after it fails
            opened.callback(LockFile(self.path / "lock").close)
            refuse_unfinished(self.path)
            self._reserve = Reserve(self.path / "reserve")
            self.catalog = Catalog(self.path / "catalog")
            opened.callback(self.catalog.close)
            self.registers = Registers(self.path / "registers", make_room=self._reserve.release)
            opened.callback(self.registers.close)
            self.columnar = ColumnarStore(self.path, device_of=self.info_of, memory_bytes=memory_mb << 20, on_frozen=self._wake_sealer)
            opened.callback(self.columnar.close)
            self.newest = Newest()
            self.log: Log = log or LocalLog(self.path / "wal", durability=durability, clock=self.clock)
            opened.callback(self.log.close)
            applied = (self.catalog.applied_seq, self.registers.applied_seq, self.columnar.manifest.applied_seq)
            self.log.start(min(applied), self._apply, newest=max(applied))
            self._opened = opened.pop_all()
        self._trusted_clock = TrustedClock(self.clock, clock_trust_s)
        self._compaction = Compaction(
            self.columnar, self.info_of, bytes_per_second=None if compaction_mb_per_s is None else compaction_mb_per_s * (1 << 20)
        )
        # Merges have a thread of their own: a memtable must not wait for one, or writers would.
        self._compactor = Worker("tsengine-compaction", self._merge, interval_s=MAINTENANCE_INTERVAL_S)
        self._maintenance = Worker("tsengine-maintenance", self._maintain, interval_s=MAINTENANCE_INTERVAL_S)
        self._flusher = Worker("tsengine-registers", self.registers.flush, interval_s=FLUSH_INTERVAL_S)
        self._workers = [self._maintenance, self._compactor, self._flusher]
        if self.columnar.view.frozen:
            self._maintenance.wake()

    # --- applying the log: one thread at a time, in log order --------------------------------------------------------

    def _apply(self, first_seq: int, records: list[bytes]) -> None:
        """Give a group to the stores, but for what was delivered before.

        Raises:
            StorageFullError: a store has no room; what came before in the group is applied, the rest is when it comes again.
        """
        try:
            self._apply_rest(first_seq, records)
        except StorageFullError:
            if self._workers or not self._reserve.release():
                raise
            self._apply_rest(first_seq, records)  # a store must open on a full disk

    def _apply_rest(self, first_seq: int, records: list[bytes]) -> None:
        if first_seq <= self._delivered_seq:
            records = records[self._delivered_seq + 1 - first_seq :]
            first_seq = self._delivered_seq + 1
        seq = first_seq - 1
        infos, apply_points, device_of = self._infos, self.columnar.apply, batch.device_of
        try:
            for seq, record in enumerate(records, first_seq):
                info = infos.get(device_of(record)) if record[0] == commands.RECORD_POINTS else None
                if info is not None and info.type == "immutable":  # nearly every record: without a call
                    apply_points(seq, record)
                else:
                    self._apply_record(seq, record)
        except BaseException:
            self._delivered_seq = seq - 1
            raise
        self._delivered_seq = max(seq, self._delivered_seq)
        if self._workers and self.registers.is_due:
            self._flusher.wake()

    def _apply_record(self, seq: int, record: bytes) -> None:
        """Give a record to the store it belongs to."""
        if record[0] != commands.RECORD_POINTS:
            self._apply_command(seq, commands.decode(record))
            return
        info = self.info_of(batch.device_of(record))
        if info is None:
            return  # deleted by a later command that the catalog has already
        if info.type == "immutable":
            self.columnar.apply(seq, record)
        else:
            self._add_registers(seq, record)

    def _apply_command(self, seq: int, command: commands.AnyCommand) -> None:
        """Give a command to the store it belongs to."""
        match command:
            case commands.DropPoints(device, start_us, end_us):
                self.columnar.drop_points(seq, device, start_us, end_us)
            case commands.EditRegisters() | commands.DeleteRegisters() | commands.EmptyRegisters():
                self._add_registers(seq, command)
            case commands.DeleteDevice(device):
                with self._infos_lock:
                    self.catalog.apply(seq, command)
                    self._keep_info(device, None)
                self.columnar.forget_device(seq, device)
                self._add_registers(seq, command)
            case commands.PutDevice(device):
                with self._infos_lock:
                    self.catalog.apply(seq, command)
                    self._keep_info(device.number, self.catalog.device(device.number))
            case _:
                self.catalog.apply(seq, command)

    def _add_registers(self, seq: int, change: bytes | commands.Command) -> None:
        """Pass a change on to the register store, which keeps it even if it cannot apply it yet."""
        try:
            self.registers.add(seq, change)
        except StorageError as error:  # the flusher tries again; until it succeeds `write` refuses more
            logger.error("registers wait in memory: %s", error)

    def info_of(self, number: int) -> DeviceInfo | None:
        """What the catalog knows of a device; kept in memory after the first look."""
        try:
            return self._infos[number]
        except KeyError:
            with self._infos_lock:  # what was read must not be kept after a change that came meanwhile
                info = self.catalog.device(number)
                self._keep_info(number, info)
            return info

    def _keep_info(self, number: int, info: DeviceInfo | None) -> None:
        if len(self._infos) >= DEVICES_IN_MEMORY:
            self._infos.clear()
        self._infos[number] = info

    def command(self, command: commands.Command) -> None:
        """Log a command and return when it is durable and applied.

        Raises:
            StorageFullError: it is not stored, or in doubt (as Log.wait tells). BusyError, StorageError: as `write`.
        """
        self.check_open()
        is_delete = isinstance(command, DELETES)
        if not is_delete:
            self._reserve.check_room()
            if self._flusher.error is not None:
                raise self._flusher.error  # changes that wait for room are kept in memory: no more of them
        record = commands.encode(command)
        try:
            self._log_command(record)
        except StorageFullError:
            if not is_delete or not self._reserve.release():
                raise
            self._log_command(record)

    def _log_command(self, record: bytes) -> None:
        self.log.admit()
        self.log.wait(self.log.append(record))

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

    # --- writes of points --------------------------------------------------------------------------------------------

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
        self._admit()
        while True:
            state = self._states.get(number) or self.state(number)
            with state.lock:  # as `locked_state`, which would cost a tenth of a small write
                if state.is_stale:
                    continue
                if state.info.type == "mutable":
                    self._reserve.check_room()  # a read must be able to apply what the log took
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
        records = [(table.part_device(part), table.record(part)) for part in parts]
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
                        state = states[number] = self._lock_state(number)
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
        self._compactor.wake()
        for table, parts in registers:
            self._log_parts(table, parts, sync=sync)

    def is_ready(self, number: int) -> bool:
        """Whether `stage` would return at once: the device's state is loaded, memory and the log's queue have room."""
        return number in self._states and self.has_room()

    def has_room(self) -> bool:
        """Whether memory and the log's queue have room for another batch."""
        return self.log.has_room and self.columnar.has_room()

    def make_room(self) -> None:
        """Wait until `has_room`, 10 s for each at most; raises what `write` would."""
        self._admit()

    def _admit(self) -> None:
        """Wait until memory and the log's queue have room, or raise why they have none.

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
        """Read the device's counts again before its next write: a write was not stored, or the device changed."""
        state = self._states.get(number)
        if state is not None:
            with state.lock:
                state.is_stale = True
                if self._states.get(number) is state:
                    del self._states[number]

    @contextmanager
    def locked_state(self, number: int) -> Iterator[DeviceState]:
        """Hold the lock of a device's state; until it is released no other write of the device is staged."""
        state = self._lock_state(number)
        try:
            yield state
        finally:
            state.lock.release()

    def _lock_state(self, number: int) -> DeviceState:
        """Return the device's state with its lock held."""
        while True:
            state = self.state(number)
            state.lock.acquire()
            if not state.is_stale:
                return state
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

    # --- care --------------------------------------------------------------------------------------------------------

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

    def stats(self) -> dict[str, Any]:
        """Return counts and sizes of the store: devices, segments, memory, log, background work."""
        self.check_open()
        view = self.columnar.view
        memtables = [table.memtable for table in (*view.frozen, view.active)]
        return {
            "devices": sum(1 for _ in self.catalog.devices()),
            "segments": len(view.segments),
            "segment_bytes": sum(live.entry.size_bytes for live in view.segments),
            "sealed_points": sum(live.entry.point_count for live in view.segments),
            "unsealed_points": sum(memtable.point_count for memtable in memtables),
            "memtable_bytes": sum(memtable.size_bytes for memtable in memtables),
            "frozen_memtables": len(view.frozen),
            "damaged_segments": [str(live.path) for live in view.segments if live.damage is not None],
            "tombstones": sum(len(known) for known in view.tombstones.values()),
            "log_bytes": self.log.size_bytes,
            "log_last_seq": int(self.log.last_seq),
            "log_applied_seq": self.log.applied_seq,
            "log_torn_bytes": self.log.recovered.torn_bytes,
            "durability": self.durability,
            "clock_trusted": self._trusted_clock.now_us() is not None,
            "compaction": self._compaction.stats(),
            "background_errors": [str(worker.error) for worker in self._workers if worker.error is not None],
        }

    def seal(self) -> None:
        """Write every point that is only in memory to segments, and let the log go. Durability: on disk on return."""
        self.check_open()
        self.columnar.freeze()
        while self.columnar.seal():
            pass
        self._trim()
        self._compactor.wake()

    def compact(self, progress: Progress | None = None) -> None:
        """Seal, then merge whatever a merge improves: fewer files, no expired, deleted or hidden points.

        Args:
            progress: called with (points done, points in all).

        Raises:
            CorruptionError: a segment is damaged; everything else was merged. ClosedError: the store was closed meanwhile.
            StorageFullError, StorageError: what was merged before stays merged.
        Cost: as fast as it goes, on the caller's thread; disk for the largest month once more. Durability: on disk on return.
        """
        self.seal()
        self._compaction.merge_all(self._trusted_clock.now_us(), progress)

    def backup(self, path: str | os.PathLike[str], progress: Progress | None = None) -> None:
        """Write a consistent copy of the store to a new or empty folder while writes go on; `tsengine.open` restores it.

        Args:
            progress: called with (bytes of segments copied, bytes in all).

        Raises:
            InputError: the folder is not empty. StorageFullError, StorageError: there is no copy; the folder is empty again.
        Durability: the copy is on disk on return; it holds everything acknowledged before the call. A copy that a kill leaves
            half made is refused by `tsengine.open`.
        """
        self.check_open()
        from tsengine.backup import write_backup  # with shutil

        write_backup(self, Path(path), progress)

    def check(self, progress: Progress | None = None) -> Report:
        """Verify every checksum, the manifest against the files, secondary keys against rows; change nothing.

        Args:
            progress: called with (points read, points in all).
        """
        self.check_open()
        return check_store(self, progress)

    def close(self) -> None:
        """Make everything appended durable and let go of the store; a second close does nothing.

        Raises:
            StorageError: writes that nobody waited for could not be made durable. The store is closed all the same.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._compaction.stop()
        for worker in self._workers:
            worker.stop()
        with self._opened:
            self._settle_all()
            try:
                if self.log.size_bytes > CLOSE_SEAL_BYTES or self.durability == "memory":
                    self.columnar.freeze()
                    while self.columnar.seal():
                        pass
                self._trim()
            except StorageError as error:  # it is all in the log: the next open goes on from there
                logger.warning("closing without sealing: %s", error)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def device_of(self, info: DeviceInfo) -> Device:
        from tsengine.device import Device

        return Device(self, info)

    # --- background --------------------------------------------------------------------------------------------------

    def _wake_sealer(self) -> None:
        if self._workers:
            self._maintenance.wake()

    def _maintain(self) -> None:
        now_us = self._trusted_clock.now_us()
        if now_us is not None:  # first: it frees what the rest may need
            try:
                drop_expired(self.columnar, self.info_of, now_us)
            except StorageFullError:
                if not self._reserve.release():
                    raise
                drop_expired(self.columnar, self.info_of, now_us)
        while self.columnar.seal():
            self._trim(wait=False)
            self._compactor.wake()
        self._trim(wait=False)
        self._reserve.refill()

    def _merge(self) -> None:
        try:
            while self._compaction.merge_due(self._trusted_clock.now_us()):
                pass
        except ClosedError:
            if not self._is_closed:
                raise

    def _trim(self, *, wait: bool = True) -> None:
        """Let go of the log as far as every store has it durably; unless told to wait, not while somebody keeps it."""
        if not self.columnar.maintenance.acquire(blocking=wait):
            return
        try:
            applied = self.log.applied_seq
            self.registers.flush()
            until = self.columnar.sealed_until(applied)
            if until > self.columnar.manifest.applied_seq:
                self.columnar.manifest.commit(applied_seq=until)
            self.registers.sync(until)
            self.catalog.sync(until)
            self.log.trim(until)
        finally:
            self.columnar.maintenance.release()

    def check_open(self) -> None:
        if self._is_closed:
            raise ClosedError(f"the store {self.path} is closed; open it again with tsengine.open")
