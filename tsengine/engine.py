"""The engine: opens a store, takes writes through the log, and owns what runs in the background.

Life of a write: a record is checked against the device's capacity, stamped with its sequence and appended to the log, all
under the device's lock; the log makes a group of records durable with one sync and hands them, in order, to `_apply`, which
gives points to the columnar store or the register store and commands to the catalog. Only then is the write acknowledged.

Every store keeps the log sequence it has applied in the same transaction as its data, so after a crash the log delivers
again what some store lacks and each skips what it has.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tsengine import commands, ids
from tsengine.backup import write_backup
from tsengine.capacity import DeviceState
from tsengine.check import Report, check_store
from tsengine.clock import ManualClock, SystemClock
from tsengine.core import batch
from tsengine.errors import ClosedError, InputError, LimitError, NotFoundError, TsengineError
from tsengine.limits import (
    MEMORY_MB,
    NAME_CHARS_MAX,
    NAME_CHARS_MIN,
    PARAMETERS_PER_DEVICE,
    POINTS_PER_CHUNK,
    POINTS_PER_DEVICE,
    REGISTERS_PER_DEVICE,
    TAGS_PER_DEVICE,
)
from tsengine.log import Durability, LocalLog, Log
from tsengine.store.catalog import Catalog
from tsengine.store.columnar import ColumnarStore
from tsengine.store.compaction import Progress, compact_all, compact_one
from tsengine.store.environment import make_folder
from tsengine.store.lockfile import LockFile
from tsengine.store.registers import Registers
from tsengine.store.retention import TrustedClock, drop_expired
from tsengine.types import DeviceInfo, DeviceType, Parameter, Period, Tag, Token
from tsengine.worker import Worker

if TYPE_CHECKING:
    from datetime import datetime

    from tsengine.device import Device

CLOSE_SEAL_BYTES = 4 * 1024 * 1024
"""Log left at close above which points are sealed first, bytes: replaying less takes some 10 ms at the next open."""

MAINTENANCE_INTERVAL_S = 60.0
"""How often expired segments and due merges are looked for without a reason, seconds."""


class Engine:
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
        self.path = Path(path)
        self.durability = durability
        self.clock = clock or SystemClock()
        make_folder(self.path)
        self._lockfile = LockFile(self.path / "lock")
        self._is_closed = False
        self._states: dict[int, DeviceState] = {}
        self._infos: dict[int, DeviceInfo | None] = {}
        self._states_lock = threading.Lock()
        self._catalog_lock = threading.RLock()
        self._workers: list[Worker] = []
        try:
            self.catalog = Catalog(self.path / "catalog")
            self.registers = Registers(self.path / "registers")
            self.columnar = ColumnarStore(
                self.path, device_of=self._info, memory_bytes=memory_mb << 20, on_frozen=self._wake_sealer
            )
            self.log: Log = log or LocalLog(self.path / "wal", durability=durability, clock=self.clock)
            applied = (self.catalog.applied_seq, self.registers.applied_seq, self.columnar.manifest.applied_seq)
            self.log.start(min(applied), self._apply, newest=max(applied))
        except BaseException:
            self._lockfile.close()
            raise
        self._trusted_clock = TrustedClock(self.clock)
        self._workers = [
            Worker("tsengine-maintenance", self._maintain, interval_s=MAINTENANCE_INTERVAL_S),
            Worker("tsengine-registers", self.registers.flush, interval_s=MAINTENANCE_INTERVAL_S),
        ]
        if self.columnar.view.frozen:
            self._wake_sealer()

    # --- applying the log: one thread at a time, in log order --------------------------------------------------------

    def _apply(self, first_seq: int, records: list[bytes]) -> None:
        has_registers = False
        for seq, record in enumerate(records, first_seq):
            if record[0] == commands.RECORD_POINTS:
                info = self._info(batch.device_of(record))
                if info is None:
                    continue  # deleted by a later command that the catalog has already
                if info.type == "immutable":
                    self.columnar.apply(seq, record)
                else:
                    self.registers.add(seq, record)
                    has_registers = True
            else:
                has_registers |= self._apply_command(seq, commands.decode(record))
        if has_registers and self._workers:
            self._workers[1].wake()

    def _apply_command(self, seq: int, command: commands.AnyCommand) -> bool:
        """Give a command to the store it belongs to; return whether that is the register store."""
        match command:
            case commands.DropPoints(device, start_us, end_us):
                self.columnar.drop_points(seq, device, start_us, end_us)
            case commands.EditRegisters() | commands.DeleteRegisters() | commands.EmptyRegisters():
                self.registers.add(seq, command)
                return True
            case commands.DeleteDevice(device):
                self.catalog.apply(seq, command)
                self._infos[device] = None
                self.columnar.forget_device(seq, device)
                self.registers.add(seq, command)
                return True
            case commands.PutDevice(device):
                self.catalog.apply(seq, command)
                self._infos.pop(device.number, None)
            case _:
                self.catalog.apply(seq, command)
        return False

    def _info(self, number: int) -> DeviceInfo | None:
        """What the catalog knows of a device; kept in memory after the first look."""
        try:
            return self._infos[number]
        except KeyError:
            info = self._infos[number] = self.catalog.device(number)
            return info

    def command(self, command: commands.Command) -> None:
        """Log a command and return when it is durable and applied."""
        self._check_open()
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
        self._check_open()
        self.columnar.admit()
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

    def is_ready(self, number: int) -> bool:
        """Whether `write` without sync would return at once: the device's state is loaded and memory has room."""
        return number in self._states and self.columnar.has_room()

    def make_ready(self, number: int) -> None:
        """Load the device's state, and wait for memory; raises what `write` would."""
        self.columnar.admit()
        self.state(number)

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
                    info = self._info(number)
                    if info is None:
                        raise NotFoundError(f"device {number} was deleted")
                    self.log.wait(self.log.last_seq)
                    state = DeviceState(info)
                    state.load(self.columnar, self.registers)
                    self._states[number] = state
        return state

    def settle(self, number: int) -> None:
        """Wait for writes of this device that nobody waited for, so that a reader sees what was written before."""
        self._check_open()
        state = self._states.get(number)
        if state is not None and state.staged_seq and not self.log.is_done(state.staged_seq):
            self.wait(state.staged_seq, number)

    def sync(self) -> None:
        """Return when everything appended so far is durable and readable.

        Raises:
            StorageFullError, StorageError: some of it was not stored.
        """
        self._check_open()
        self.log.wait(self.log.last_seq)

    # --- devices -----------------------------------------------------------------------------------------------------

    def create_device(
        self,
        name: str,
        *,
        type: DeviceType = "immutable",
        chunk_period: Period | None = "month",
        chunk_retention: int | None = None,
        chunk_limit: int | None = POINTS_PER_CHUNK,
        point_limit: int | None = POINTS_PER_DEVICE,
        serial: str | None = None,
        tags: Iterable[Tag | tuple[str, str] | dict[str, str]] = (),
        description: str | None = None,
        active: bool = True,
        visible: bool = True,
        extra: dict[str, Any] | None = None,
    ) -> Device:
        """Create a device and return it.

        Args:
            name: 3 to 100 characters; need not be unique.
            type: "immutable" (append-only, up to 36 million points, in chunks) or "mutable" (up to 50,000 registers).
            chunk_period: "day", "week" (from Monday), "month" or "quarter", in UTC; None = one chunk. Immutable only.
            chunk_retention: how many periods before the current one are kept; None = for ever. Immutable only.
            chunk_limit, point_limit: most points of one chunk and of the device; None = no limit. Immutable only.
            serial: a second name, unique in the store.
            extra: JSON values that are kept and returned, never read.

        Raises:
            InputError: a field is outside its limits, or the serial is taken.
        Durability: on disk on return.
        """
        if type not in ("immutable", "mutable"):
            raise InputError(f"type must be 'immutable' or 'mutable', not {type!r}")
        if type == "mutable":
            chunk_period = chunk_retention = chunk_limit = None
            point_limit = REGISTERS_PER_DEVICE
        now_us = self.clock.now_us()
        with self._catalog_lock:
            info = DeviceInfo(
                number=self.catalog.next_device_number(),
                id=ids.new_id(),
                name=name,
                type=type,
                chunk_period=chunk_period,
                chunk_retention=chunk_retention,
                chunk_limit=chunk_limit,
                point_limit=point_limit,
                serial=serial,
                tags=to_tags(tags),
                active=active,
                visible=visible,
                description=description,
                created_us=now_us,
                updated_us=now_us,
                extra=extra or {},
            )
            self._check_info(info)
            self.command(commands.PutDevice(info))
        return self._device(info)

    def device(self, id_or_serial: str) -> Device:
        """Return the device with this id or serial.

        Raises:
            NotFoundError: there is none.
        """
        self._check_open()
        info = self.catalog.by_id(id_or_serial) or self.catalog.by_serial(id_or_serial)
        if info is None:
            raise NotFoundError(f"no device has the id or serial {id_or_serial!r}")
        return self._device(info)

    def devices(
        self,
        *,
        name: str | None = None,
        type: DeviceType | None = None,
        tags: Iterable[Tag | tuple[str, str] | dict[str, str]] | None = None,
        serial: str | None = None,
        active: bool | None = None,
        visible: bool | None = None,
        order: str = "name",
        limit: int | None = None,
        skip: int = 0,
    ) -> list[Device]:
        """Return the devices that meet every condition given.

        Args:
            name: case-insensitive; `*` stands for any run of characters. Likewise keys and values of tags.
            order: a field of DeviceInfo, with a leading "-" for descending.
        """
        self._check_open()
        found = self.catalog.devices(
            name=name,
            type=type,
            tags=None if tags is None else to_tags(tags),
            serial=serial,
            active=active,
            visible=visible,
            order=order,
            limit=limit,
            skip=skip,
        )
        return [self._device(info) for info in found]

    def edit_device(self, device_id: str, **changes: Any) -> Device:
        """Change name, description, active, visible, tags, serial, chunk_retention, limits or extra (merged); return the device.

        Raises:
            NotFoundError: no such device. InputError: another field, or a value outside its limits.
        Durability: on disk on return.
        """
        allowed = {"name", "description", "active", "visible", "tags", "serial", "chunk_retention", "chunk_limit", "point_limit", "extra"}
        if unknown := changes.keys() - allowed:
            raise InputError(f"{', '.join(sorted(unknown))} cannot be changed; these can: {', '.join(sorted(allowed))}")
        with self._catalog_lock:
            info = self.device(device_id).info
            if "tags" in changes:
                changes["tags"] = to_tags(changes["tags"])
            if "extra" in changes:
                changes["extra"] = {**info.extra, **(changes["extra"] or {})}
            changed = msgspec.structs.replace(info, **changes, updated_us=self.clock.now_us())
            self._check_info(changed)
            self.command(commands.PutDevice(changed))
            self.forget_state(info.number)
        return self._device(changed)

    def delete_device(self, device_id: str) -> None:
        """Forget a device with its points or registers, tokens and parameters.

        Raises:
            NotFoundError: no such device.
        Durability: on disk on return; the space of its points comes back at the next compaction at the latest.
        """
        with self._catalog_lock:
            number = self.device(device_id).info.number
            self.command(commands.DeleteDevice(number))
            self.forget_state(number)

    # --- tokens and parameters ---------------------------------------------------------------------------------------

    def create_token(
        self,
        device_id: str,
        name: str,
        *,
        permission: Literal["full", "read", "write"] = "full",
        expire: datetime | None = None,
        serial: str | None = None,
    ) -> Token:
        """Make a token for a device and return it; the secret is its `token` attribute.

        Raises:
            NotFoundError: no such device. InputError: name or permission is not acceptable.
        Durability: on disk on return.
        """
        check_name(name, "token name")
        if permission not in ("full", "read", "write"):
            raise InputError(f"permission must be 'full', 'read' or 'write', not {permission!r}")
        token = Token(
            token=ids.new_token(),
            device=self.device(device_id).info.number,
            name=name,
            permission=permission,
            serial=serial,
            expire_us=None if expire is None else round(expire.timestamp() * 1_000_000),
            created_us=self.clock.now_us(),
        )
        self.command(commands.PutToken(token))
        return token

    def tokens(self, device_id: str) -> list[Token]:
        """Return the tokens of a device. Raises NotFoundError."""
        return self.catalog.tokens(self.device(device_id).info.number)

    def find_token(self, text: str) -> Token | None:
        """Return the token with this secret, or None if it is unknown or expired."""
        self._check_open()
        token = self.catalog.find_token(text)
        if token is None or (token.expire_us is not None and token.expire_us <= self.clock.now_us()):
            return None
        return token

    def delete_token(self, text: str) -> None:
        """Revoke a token at once. Raises NotFoundError. Durability: on disk on return."""
        self._check_open()
        if self.catalog.find_token(text) is None:
            raise NotFoundError("no such token")
        self.command(commands.DeleteToken(text))

    def parameters(self, device_id: str, sent: bool | None = None) -> list[Parameter]:
        """Return the configuration parameters of a device, optionally only those (not) marked as sent."""
        found = self.catalog.parameters(self.device(device_id).info.number)
        return [parameter for parameter in found if sent is None or parameter.sent == sent]

    def put_parameters(self, device_id: str, parameters: list[Parameter]) -> list[Parameter]:
        """Insert parameters, or replace those with the same id; an empty id gets a new one. Return them.

        Raises:
            NotFoundError: no such device. LimitError: more than 60 of them; nothing was stored.
        """
        with self._catalog_lock:
            number = self.device(device_id).info.number
            put = [parameter if parameter.id else msgspec.structs.replace(parameter, id=ids.new_id()) for parameter in parameters]
            known = {parameter.id for parameter in self.catalog.parameters(number)} | {parameter.id for parameter in put}
            if len(known) > PARAMETERS_PER_DEVICE:
                raise LimitError(f"a device has at most {PARAMETERS_PER_DEVICE} configuration parameters, this would make {len(known)}")
            self.command(commands.PutParameters(number, tuple(put)))
        return put

    def delete_parameter(self, device_id: str, parameter_id: str) -> None:
        """Remove a configuration parameter. Raises NotFoundError."""
        with self._catalog_lock:
            number = self.device(device_id).info.number
            if all(parameter.id != parameter_id for parameter in self.catalog.parameters(number)):
                raise NotFoundError(f"the device has no parameter {parameter_id!r}")
            self.command(commands.DeleteParameter(number, parameter_id))

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
        self._check_open()
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
            "tombstones": sum(len(known) for known in view.tombstones.values()),
            "log_bytes": self.log.size_bytes,
            "log_last_seq": self.log.last_seq,
            "log_applied_seq": self.log.applied_seq,
            "durability": self.durability,
            "clock_trusted": self._trusted_clock.is_trusted(),
            "background_errors": [str(worker.error) for worker in self._workers if worker.error is not None],
        }

    def seal(self) -> None:
        """Write every point that is only in memory to segments, and let the log go. Durability: on disk on return."""
        self._check_open()
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
        compact_all(self.columnar, self._info, self._retention_now(), progress)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a consistent copy of the store to a new or empty folder while writes go on; `tsengine.open` restores it.

        Raises:
            InputError: the folder is not empty. StorageFullError, StorageError: the copy is unfinished; remove it.
        Durability: the copy is on disk on return; it holds everything acknowledged before the call.
        """
        self._check_open()
        write_backup(self, Path(path))

    def check(self) -> Report:
        """Verify every checksum, the manifest against the files, secondary keys against rows; change nothing."""
        self._check_open()
        return check_store(self)

    def close(self) -> None:
        """Make everything appended durable and let go of the store; a second close does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        for worker in self._workers:
            worker.stop()
        try:
            try:
                self.log.wait(self.log.last_seq)
                self.registers.flush()
                if self.log.size_bytes > CLOSE_SEAL_BYTES or self.durability == "memory":
                    self.columnar.freeze()
                    while self.columnar.seal():
                        pass
                self._trim()
            finally:
                self.log.close()
        finally:
            self.columnar.close()
            self.registers.close()
            self.catalog.close()
            self._lockfile.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- background --------------------------------------------------------------------------------------------------

    def _wake_sealer(self) -> None:
        if self._workers:
            self._workers[0].wake()

    def _maintain(self) -> None:
        while self.columnar.seal():
            self._trim()
        now_us = self._retention_now()
        if now_us is not None:
            drop_expired(self.columnar, self._info, now_us)
        while compact_one(self.columnar, self._info, now_us):
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

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedError(f"the store {self.path} is closed; open it again with tsengine.open")

    def _device(self, info: DeviceInfo) -> Device:
        from tsengine.device import Device

        return Device(self, info)

    def _check_info(self, info: DeviceInfo) -> None:
        check_name(info.name, "name")
        if info.chunk_period not in (None, "day", "week", "month", "quarter"):
            raise InputError(f"chunk_period must be 'day', 'week', 'month', 'quarter' or None, not {info.chunk_period!r}")
        for field in ("chunk_retention", "chunk_limit", "point_limit"):
            value = getattr(info, field)
            if value is not None and (type(value) is not int or value < 0):
                raise InputError(f"{field} must be a whole number or None, not {value!r}")
        if len(info.tags) > TAGS_PER_DEVICE:
            raise InputError(f"a device has at most {TAGS_PER_DEVICE} tags, not {len(info.tags)}")
        if info.serial is not None:
            owner = self.catalog.by_serial(info.serial)
            if owner is not None and owner.number != info.number:
                raise InputError(f"the serial {info.serial!r} belongs to the device {owner.id}")


def check_name(name: object, field: str) -> None:
    if not isinstance(name, str) or not NAME_CHARS_MIN <= len(name) <= NAME_CHARS_MAX:
        raise InputError(f"{field} must be text of {NAME_CHARS_MIN} to {NAME_CHARS_MAX} characters, not {name!r}")


def to_tags(tags: Iterable[Tag | tuple[str, str] | dict[str, str]]) -> tuple[Tag, ...]:
    """Return Tags of what a caller may give as such."""
    try:
        return tuple(
            tag if isinstance(tag, Tag) else msgspec.convert(tag, Tag) if isinstance(tag, dict) else Tag(*map(str, tag)) for tag in tags
        )
    except (TypeError, msgspec.ValidationError) as error:
        raise InputError(f"tags must be (key, value) pairs of text: {error}") from None
