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

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakSet

from tsengine import commands
from tsengine.clock import ManualClock, SystemClock
from tsengine.core import batch
from tsengine.engine.worker import Worker
from tsengine.engine.writes import Writes
from tsengine.errors import ClosedError, InputError, StorageError, StorageFullError, TsengineError
from tsengine.limits import CLOCK_TRUST_S, COMPACTION_MB_PER_S, DEVICES_IN_MEMORY, MEMORY_MB
from tsengine.log import Durability, LocalLog, Log
from tsengine.notices import logger
from tsengine.query.newest import Newest
from tsengine.store.catalog import Catalog
from tsengine.store.columnar import ColumnarStore
from tsengine.store.compaction import Compaction, Progress
from tsengine.store.environment import make_folder
from tsengine.store.lockfile import LockFile
from tsengine.store.registers import Registers
from tsengine.store.reserve import Reserve
from tsengine.store.retention import TrustedClock, drop_expired
from tsengine.store.unfinished import refuse_missing_log, refuse_unfinished
from tsengine.types import DeviceInfo, check_text

if TYPE_CHECKING:
    from tsengine.care.check import Report
    from tsengine.device import Device

CLOSE_SEAL_BYTES = 4 * 1024 * 1024
"""Log left at close above which points are sealed first, bytes: replaying less takes some 10 ms at the next open."""

DELETES = (commands.DeleteDevice, commands.DeleteToken, commands.DropPoints, commands.DeleteRegisters, commands.EmptyRegisters)
"""Commands that free space: they may use up the reserve."""

MAINTENANCE_INTERVAL_S = 60.0
"""How often expired segments and due merges are looked for without a reason, seconds."""

FLUSH_INTERVAL_S = 1.0
"""How long changes of registers wait at most before they are applied, seconds: a commit of LMDB costs a sync whatever it holds."""


@contextmanager
def telling_storage_errors(path: Path, what: str = "open the store") -> Iterator[None]:
    """Raise what the system refuses meanwhile (descriptors, folders, modules that are imported late) as StorageError."""
    try:
        yield
    except TsengineError:
        raise
    except OSError as error:
        raise StorageError(error.errno, f"could not {what}: {error.strerror}", error.filename or str(path)) from error


def to_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a folder.

    Raises:
        InputError: it is none, or none that LMDB can open: not UTF-8, or with a null character.
    """
    try:
        text = os.fspath(path)
    except TypeError:
        raise InputError(f"the path of a folder must be text or a pathlib.Path, not {path!r}") from None
    check_text(text, "the path of a folder")
    if not text or "\0" in text:
        raise InputError(f"the path of a folder must not be empty or hold a null character: {text!r}")
    return Path(text)


class Engine(Writes):
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
        if not isinstance(memory_mb, int) or memory_mb < 1:
            raise InputError(f"memory_mb must be a whole number, at least 1, not {memory_mb!r}")
        if compaction_mb_per_s is not None and not (isinstance(compaction_mb_per_s, int | float) and compaction_mb_per_s > 0):
            raise InputError(f"compaction_mb_per_s must be a number above 0, or None for no limit, not {compaction_mb_per_s!r}")
        if not (isinstance(clock_trust_s, int | float) and clock_trust_s >= 0):
            raise InputError(f"clock_trust_s must be a number, at least 0, not {clock_trust_s!r}")
        super().__init__()
        self.path = to_path(path)
        self.durability = durability
        self.clock = clock or SystemClock()
        make_folder(self.path)
        self.beside = threading.Lock()  # of files that lie beside the stores and belong to what they hold: a backup takes one moment
        self._is_closed = False
        self._is_parents = False
        self._infos: dict[int, DeviceInfo | None] = {}
        self._infos_lock = threading.Lock()
        self._workers: list[Worker] = []
        self._delivered_seq = 0  # of the log, in this life
        with telling_storage_errors(self.path), ExitStack() as opened:  # what was opened is closed again if something after it fails
            self._lock_file = LockFile(self.path / "lock")
            opened.callback(self._lock_file.close)
            refuse_unfinished(self.path)
            self._reserve = Reserve(self.path / "reserve")
            self.catalog = Catalog(self.path / "catalog")
            opened.callback(self.catalog.close)
            self.registers = Registers(self.path / "registers", make_room=self._reserve.release)
            opened.callback(self.registers.close)
            self.columnar = ColumnarStore(
                self.path,
                device_of=self.info_of,
                memory_bytes=memory_mb << 20,
                on_frozen=self._wake_maintenance,
                on_dropped=self._wake_maintenance,
            )
            opened.callback(self.columnar.close)
            self.newest = Newest()
            reach = self.catalog.log_reach
            self.log: Log = log or LocalLog(self.path / "wal", durability=durability, clock=self.clock)
            opened.callback(self.log.close)
            if isinstance(self.log, LocalLog):
                refuse_missing_log(Path(self.log.folder), reach)
            applied = (self.catalog.applied_seq, self.registers.applied_seq, self.columnar.manifest.applied_seq)
            self.log.start(min(applied), self._apply, newest=max(applied), reach=reach or 0)
            if isinstance(self.log, LocalLog) and durability != "memory" and reach is None:
                with suppress(StorageFullError):  # the next open does it
                    self.catalog.note_log_reach(0)
            self._trusted_clock = TrustedClock(self.clock, clock_trust_s)
            self._compaction = Compaction(
                self.columnar, self.info_of, bytes_per_second=None if compaction_mb_per_s is None else compaction_mb_per_s * (1 << 20)
            )

            def worker(name: str, work: Callable[[], object], interval_s: float) -> Worker:
                started = Worker(f"tsengine-{name}", work, interval_s=interval_s)
                opened.callback(started.stop)
                return started

            # Merges have a thread of their own: a memtable must not wait for one, or writers would.
            self._compactor = worker("compaction", self._merge, MAINTENANCE_INTERVAL_S)
            self._maintenance = worker("maintenance", self._maintain, MAINTENANCE_INTERVAL_S)
            self._flusher = worker("registers", self.registers.flush, FLUSH_INTERVAL_S)
            self._workers = [self._maintenance, self._compactor, self._flusher]
            self._opened = opened.pop_all()
        _engines.add(self)
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
            case commands.ConvertDevice(old, device):
                with self._infos_lock:
                    self.catalog.apply(seq, command)
                    self._keep_info(old, None)
                    self._keep_info(device.number, self.catalog.device(device.number))
                self.columnar.forget_device(seq, old)
                self._add_registers(seq, commands.DeleteDevice(old))
            case commands.PutDevice(device):
                with self._infos_lock:
                    self.catalog.apply(seq, command)
                    self._keep_info(device.number, self.catalog.device(device.number))
            case _:
                self.catalog.apply(seq, command)
        self.tell(command)

    def _add_registers(self, seq: int, change: bytes | commands.Command) -> None:
        """Pass a change on to the register store, which keeps it even if it cannot apply it yet."""
        try:
            self.registers.add(seq, change)
        except StorageError as error:  # the flusher tries again; until it succeeds `write` refuses more
            logger(__name__).error("registers wait in memory: %s", error)

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

    # --- care --------------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Return counts and sizes of the store: devices, segments, memory, log, background work."""
        self.check_open()
        view = self.columnar.view
        memtables = [table.memtable for table in (*view.frozen, view.active)]
        return {
            "devices": self.catalog.device_count(),
            "registers": self.registers.row_count(),
            "segments": len(view.segments),
            "segment_bytes": sum(live.entry.size_bytes for live in view.segments),
            "sealed_points": sum(live.entry.point_count for live in view.segments),
            "unsealed_points": sum(memtable.point_count for memtable in memtables),
            "memtable_bytes": sum(memtable.size_bytes for memtable in memtables),
            "frozen_memtables": len(view.frozen),
            "seals": self.columnar.seal_count,
            "damaged_segments": [str(live.path) for live in view.segments if live.damage is not None],
            "tombstones": sum(len(known) for known in view.tombstones.values()),
            "log_bytes": self.log.size_bytes,
            "log_last_seq": int(self.log.last_seq),
            "log_durable_seq": self.log.durable_seq,
            "log_groups": self.log.group_count,
            "log_staged_bytes": self.log.staged_bytes,
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

        The files, jobs and account token of a server are part of it.

        Args:
            progress: called with (bytes of segments copied, bytes in all).

        Raises:
            InputError: the folder is not empty, or lies in the store.
            StorageFullError, StorageError: there is no copy; the folder is empty again.
        Durability: the copy is on disk on return; it holds everything acknowledged before the call. A copy that a kill leaves
            half made is refused by `tsengine.open`.
        """
        self.check_open()
        with telling_storage_errors(self.path, "back up the store"):
            from tsengine.care.backup import write_backup  # with shutil

        write_backup(self, to_path(path), progress)

    def check(self, progress: Progress | None = None) -> Report:
        """Verify every checksum, the manifest against the files, secondary keys against rows; change nothing.

        Args:
            progress: called with (points read, points in all).
        """
        self.check_open()
        with telling_storage_errors(self.path, "check the store"):
            from tsengine.care.check import check_store  # it brings what only a check needs

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
                if self.durability == "sync" and isinstance(self.log, LocalLog):
                    self.catalog.note_log_reach(self.log.durable_seq)
            except StorageError as error:  # it is all in the log: the next open goes on from there
                logger(__name__).warning("closing without sealing: %s", error)

    def __enter__(self) -> Engine:
        self.check_open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an open store cannot be pickled or copied; open it where it is needed, in one process at a time")

    def device_of(self, info: DeviceInfo) -> Device:
        from tsengine.device import Device

        return Device(self, info)

    # --- background --------------------------------------------------------------------------------------------------

    def _wake_maintenance(self) -> None:
        if self._workers:
            self._maintenance.wake()

    def _maintain(self) -> None:
        self.columnar.let_go()
        now_us = self._trusted_clock.now_us()
        if now_us is not None:  # first: it frees what the rest may need
            try:
                drop_expired(self.columnar, self.info_of, now_us)
            except StorageFullError:
                if not self._reserve.release():
                    raise
                drop_expired(self.columnar, self.info_of, now_us)
        self._reserve.keep()
        while self.columnar.seal():
            self._trim(wait=False)
            self._compactor.wake()
        self._trim(wait=False)

    def _merge(self) -> None:
        self._reserve.keep()
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

    def _leave_to_parent(self) -> None:
        """Close the store for a process that was forked off: it has no threads of ours, and would write over what the parent writes."""
        if not self._is_closed:
            self._is_closed = self._is_parents = True
            self._lock_file.close()

    def check_open(self) -> None:
        if self._is_closed and self._is_parents:
            raise ClosedError(f"the store {self.path} is open in the process that forked this one, and can be used there alone")
        if self._is_closed:
            raise ClosedError(f"the store {self.path} is closed; open it again with tsengine.open")


_engines: WeakSet[Engine] = WeakSet()


def _leave_all_to_parent() -> None:
    for engine in _engines:
        engine._leave_to_parent()


os.register_at_fork(after_in_child=_leave_all_to_parent)
