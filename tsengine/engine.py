"""The engine: opens a store, takes writes through the log, and owns what runs in the background.

Life of a write: a record is checked against the device's capacity, stamped with its sequence and appended to the log, all
under the device's lock; the log makes a group of records durable with one sync and hands them, in order, to `_apply`, which
gives points to the columnar store or the register store and commands to the catalog. Only then is the write acknowledged.

Every store keeps the log sequence it has applied in the same transaction as its data, so after a crash the log delivers
again what some store lacks and each skips what it has.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsengine import commands
from tsengine.capacity import DeviceState
from tsengine.check import Report, check_store
from tsengine.clock import ManualClock, SystemClock
from tsengine.core import batch
from tsengine.errors import ClosedError, InputError, NotFoundError, StorageError, TsengineError
from tsengine.fleet import Fleet
from tsengine.limits import MEMORY_MB
from tsengine.log import Durability, LocalLog, Log
from tsengine.newest import Newest
from tsengine.store.catalog import Catalog
from tsengine.store.columnar import ColumnarStore
from tsengine.store.compaction import Progress, compact_all, compact_one
from tsengine.store.environment import make_folder
from tsengine.store.lockfile import LockFile
from tsengine.store.registers import Registers
from tsengine.store.retention import TrustedClock, drop_expired
from tsengine.types import DeviceInfo
from tsengine.worker import Worker

if TYPE_CHECKING:
    from tsengine.device import Device

logger = logging.getLogger(__name__)

CLOSE_SEAL_BYTES = 4 * 1024 * 1024
"""Log left at close above which points are sealed first, bytes: replaying less takes some 10 ms at the next open."""

MAINTENANCE_INTERVAL_S = 60.0
"""How often expired segments and due merges are looked for without a reason, seconds."""


class Engine(Fleet):
    """An open store. Made by `tsengine.open`; a context manager; safe to use from many threads.

    Args:
        path: the data folder; made (mode 0700) if it is missing.
        durability: "sync": an acknowledged write survives a power cut. "os": it survives a kill of the process.
            "memory": for tests and benchmarks; what was not sealed or flushed is lost at close.
        memory_mb: bound of the memory for points that are not sealed yet, MiB.
        clock: read for times of receipt and retention.

    Raises:
        BusyError: another process has the store open. CorruptionError: a file is damaged. StorageError: no access.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "sync",
        memory_mb: int = MEMORY_MB,
        clock: SystemClock | ManualClock | None = None,
        log: Log | None = None,
    ) -> None:
        if durability not in ("sync", "os", "memory"):
            raise InputError(f"durability must be 'sync', 'os' or 'memory', not {durability!r}")
        if memory_mb < 1:
            raise InputError(f"memory_mb must be at least 1, not {memory_mb}")
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
        self._workers: list[Worker] = []
        with ExitStack() as opened:  # what was opened is closed again if something after it fails
            opened.callback(LockFile(self.path / "lock").close)
            self.catalog = Catalog(self.path / "catalog")
            opened.callback(self.catalog.close)
            self.registers = Registers(self.path / "registers")
            opened.callback(self.registers.close)
            self.columnar = ColumnarStore(self.path, device_of=self.info_of, memory_bytes=memory_mb << 20, on_frozen=self._wake_sealer)
            opened.callback(self.columnar.close)
            self.newest = Newest()
            self.log: Log = log or LocalLog(self.path / "wal", durability=durability, clock=self.clock)
            opened.callback(self.log.close)
            applied = (self.catalog.applied_seq, self.registers.applied_seq, self.columnar.manifest.applied_seq)
            self.log.start(min(applied), self._apply, newest=max(applied))
            self._opened = opened.pop_all()
        self._trusted_clock = TrustedClock(self.clock)
        self._maintenance = Worker("tsengine-maintenance", self._maintain, interval_s=MAINTENANCE_INTERVAL_S)
        self._flusher = Worker("tsengine-registers", self.registers.flush, interval_s=MAINTENANCE_INTERVAL_S)
        self._workers = [self._maintenance, self._flusher]
        if self.columnar.view.frozen:
            self._maintenance.wake()

    # --- applying the log: one thread at a time, in log order --------------------------------------------------------

    def _apply(self, first_seq: int, records: list[bytes]) -> None:
        has_registers = False
        for seq, record in enumerate(records, first_seq):
            if record[0] == commands.RECORD_POINTS:
                info = self.info_of(batch.device_of(record))
                if info is None:
                    continue  # deleted by a later command that the catalog has already
                if info.type == "immutable":
                    self.columnar.apply(seq, record)
                else:
                    self._add_registers(seq, record)
                    has_registers = True
            else:
                has_registers |= self._apply_command(seq, commands.decode(record))
        if has_registers and self._workers:
            self._flusher.wake()

    def _apply_command(self, seq: int, command: commands.AnyCommand) -> bool:
        """Give a command to the store it belongs to; return whether that is the register store."""
        match command:
            case commands.DropPoints(device, start_us, end_us):
                self.columnar.drop_points(seq, device, start_us, end_us)
            case commands.EditRegisters() | commands.DeleteRegisters() | commands.EmptyRegisters():
                self._add_registers(seq, command)
                return True
            case commands.DeleteDevice(device):
                with self._infos_lock:
                    self.catalog.apply(seq, command)
                    self._infos[device] = None
                self.columnar.forget_device(seq, device)
                self._add_registers(seq, command)
                return True
            case commands.PutDevice(device):
                with self._infos_lock:
                    self.catalog.apply(seq, command)
                    self._infos[device.number] = self.catalog.device(device.number)
            case _:
                self.catalog.apply(seq, command)
        return False

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
                info = self._infos[number] = self.catalog.device(number)
            return info

    def command(self, command: commands.Command) -> None:
        """Log a command and return when it is durable and applied."""
        self.check_open()
        self.log.wait(self.log.append(commands.encode(command)))

    # --- writes of points --------------------------------------------------------------------------------------------

    def write(self, number: int, record: bytes, *, sync: bool = True) -> int:
        """Store a batch of one device; return its log sequence.

        Args:
            record: fresh from tsengine.core.ingest.columns.
            sync: return when it is durable and readable; otherwise at once, `sync()` waits for it.

        Raises:
            NotFoundError: the device was deleted. InputError, LimitError: it does not fit the device; nothing was stored.
            BusyError: memory is full and sealing does not keep up. StorageFullError, StorageError: it was not stored.
        """
        self.check_open()
        self._admit()
        with self.locked_state(number) as state:
            added = state.reserve(record, self.clock.now_us())
            try:
                batch.stamp(record, number, state.next_sequence)
                seq = self.log.append(record)
            except BaseException:
                state.release(record, added)
                raise
            state.next_sequence += batch.count_of(record)
            state.staged_seq = seq
        if not sync:
            self.log.nudge()
            return seq
        self.wait(seq, number)
        return seq

    def load(self, number: int, records: Iterable[bytes]) -> int:
        """Store large batches of an immutable device straight in segments, all or none; return the number of points.

        Args:
            records: fresh from tsengine.core.ingest.columns; taken one at a time.

        Raises:
            as `write`.
        Durability: on disk on return, whatever the durability of the store.
        """
        self.check_open()
        with self.locked_state(number) as state:
            self.settle(number)
            first = state.next_sequence

            def stamped() -> Iterator[bytes]:
                for record in records:
                    state.reserve(record, self.clock.now_us())
                    batch.stamp(record, number, state.next_sequence)
                    state.next_sequence += batch.count_of(record)
                    yield record

            try:
                self.columnar.load(stamped(), state.info, self.log.applied_seq)
            except BaseException:
                self.forget_state(number)  # it counted in what was not stored
                raise
            return state.next_sequence - first

    def is_ready(self, number: int) -> bool:
        """Whether `write` without sync would return at once: the device's state is loaded and memory has room."""
        return number in self._states and self.columnar.has_room()

    def make_ready(self, number: int) -> None:
        """Load the device's state, and wait for memory; raises what `write` would."""
        self._admit()
        self.state(number)

    def _admit(self) -> None:
        """Wait until memory has room, or raise why it has none."""
        self.columnar.admit()
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
        while True:
            state = self.state(number)
            with state.lock:
                if not state.is_stale:
                    yield state
                    return

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
                    self._states[number] = state
        return state

    def settle(self, number: int) -> None:
        """Wait for writes of this device that nobody waited for, so that a reader sees what was written before."""
        self.check_open()
        state = self._states.get(number)
        if state is not None and state.staged_seq and not self.log.is_done(state.staged_seq):
            self.wait(state.staged_seq, number)

    def sync(self) -> None:
        """Return when everything appended so far is durable and readable.

        Raises:
            StorageFullError, StorageError: some of it was not stored.
        """
        self.check_open()
        self.log.wait(self.log.last_seq)

    # --- care --------------------------------------------------------------------------------------------------------

    def append_arrow(self, table: Any, *, sync: bool = True) -> int:
        """Append points of many devices; the schema of `Device.append_arrow` with a `device` column (ids or serials).

        One batch a device: each is stored whole or not at all. Returns the number of points.

        Raises:
            NotFoundError: a device is unknown; InputError, LimitError: as `Device.append_arrow`. Checked before anything
                is stored, except limits that a concurrent writer fills meanwhile.
        """
        from tsengine.arrow import split_devices

        parts = [(self.device(device_id), part) for device_id, part in split_devices(table)]
        records = [(device, device.record_of_arrow(part)) for device, part in parts]
        for device, record in records:
            self.write(device.info.number, record, sync=False)
        if sync:
            self.sync()
        return sum(batch.count_of(record) for _, record in records)

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
            "durability": self.durability,
            "clock_trusted": self._trusted_clock.is_trusted(),
            "background_errors": [str(worker.error) for worker in self._workers if worker.error is not None],
        }

    def seal(self) -> None:
        """Write every point that is only in memory to segments, and let the log go. Durability: on disk on return."""
        self.check_open()
        self.columnar.freeze()
        while self.columnar.seal():
            pass
        self._trim()

    def compact(self, progress: Progress | None = None) -> None:
        """Seal, then merge whatever a merge improves: fewer files, no expired, deleted or hidden points.

        Args:
            progress: called with (points done, points in all).
        """
        self.seal()
        compact_all(self.columnar, self.info_of, self._retention_now(), progress)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a consistent copy of the store to a new or empty folder while writes go on; `tsengine.open` restores it.

        Raises:
            InputError: the folder is not empty. StorageFullError, StorageError: the copy is unfinished; remove it.
        Durability: the copy is on disk on return; it holds everything acknowledged before the call.
        """
        self.check_open()
        from tsengine.backup import write_backup  # with shutil

        write_backup(self, Path(path))

    def check(self) -> Report:
        """Verify every checksum, the manifest against the files, secondary keys against rows; change nothing."""
        self.check_open()
        return check_store(self)

    def close(self) -> None:
        """Make everything appended durable and let go of the store; a second close does nothing.

        Raises:
            StorageError: writes that nobody waited for could not be made durable. The store is closed all the same.
        """
        if self._is_closed:
            return
        self._is_closed = True
        for worker in self._workers:
            worker.stop()
        with self._opened:
            self.log.wait(self.log.last_seq)
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
        while self.columnar.seal():
            self._trim()
        now_us = self._retention_now()
        if now_us is not None:
            drop_expired(self.columnar, self.info_of, now_us)
        while compact_one(self.columnar, self.info_of, now_us):
            pass
        self._trim()

    def _retention_now(self) -> int | None:
        """The time by which expired points may be dropped, or None while the clock is not trusted."""
        return self.clock.now_us() if self._trusted_clock.is_trusted() else None

    def _trim(self) -> None:
        """Let go of the log as far as every store has it durably."""
        with self.columnar.maintenance:
            applied = self.log.applied_seq
            self.registers.flush()
            until = self.columnar.sealed_until(applied)
            if until > self.columnar.manifest.applied_seq:
                self.columnar.manifest.commit(applied_seq=until)
            self.registers.sync(until)
            self.catalog.sync(until)
            self.log.trim(until)

    def check_open(self) -> None:
        if self._is_closed:
            raise ClosedError(f"the store {self.path} is closed; open it again with tsengine.open")
