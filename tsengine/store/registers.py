"""The register store: the points of mutable devices in LMDB, as a view of the log.

Life of a change: the log has made it durable -> `add` keeps it in memory -> `flush`, or the next read of its device that is
more than a look at single registers, applies all that wait in one transaction together with the log sequence -> `sync` before
the log is trimmed. After a crash the log gives everything above `applied_seq` again. Format: docs/format/registers.md.

Invariants:
- A change and its log sequence are committed together; a sequence at or below the applied one changes nothing.
- A read of a device sees every change that was added before it began.
- Each row has exactly one entry under its device's time key and one under its variable's; the device's count is the number
  of those entries, which LMDB keeps, so it cannot disagree. `check` verifies all of it.
- A variable is listed as long as a register has it.
"""

from __future__ import annotations

import heapq
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, takewhile
from typing import Any, Literal

import lmdb
import msgspec

from tsengine.commands import DeleteDevice
from tsengine.core.store.page import points_of_rows
from tsengine.core.store.register import points_of_registers
from tsengine.errors import CorruptionError, StorageFullError
from tsengine.rows import Row, matcher
from tsengine.store.environment import Environment, Transaction
from tsengine.store.register_check import check_registers, keys_from, rebuild_registers
from tsengine.store.register_pending import Change, DeviceChanges, Pending, RegisterCommand
from tsengine.store.register_rows import (
    HIGHEST,
    PLACES,
    StoredRow,
    decode_row,
    decode_rows,
    device_key,
    edited_row,
    entry,
    row_key,
    sequences_of,
    to_row,
    to_rows,
)
from tsengine.store.register_writer import Writer
from tsengine.types import Filter, Order, Point

FORMAT_VERSION = 1

# Changes kept in memory before `add` applies them itself: 4 MiB of records are some 100,000 points, a third of a second.
PENDING_BYTES = 4 << 20
# Names of variables kept in memory, about 10 MiB.
_KNOWN_NAMES_MAX = 65_536
# Changes from which applying them is worth a commit: 1 MiB of single points are some 2,500 of them.
DUE_BYTES = 1 << 20
# Rows decoded at a time while a condition on rows is looked for.
_PIECE = 256

_EVERYTHING = Filter()


class Registers:
    """An open register store.

    Any number of threads may read and add. The limit of registers of a device is the engine's to check, before the log.

    Args:
        path: folder of the environment, made if it is missing.
        make_room: frees some space of a full disk, once; returns whether it did.

    Raises:
        StorageError, CorruptionError: as `Environment`.
    """

    def __init__(self, path: str | os.PathLike[str], *, make_room: Callable[[], bool] = lambda: False) -> None:
        by = {"dupsort": True, "dupfixed": True}
        databases: dict[str, dict[str, bool]] = {
            "rows": {},
            "by_time": by,
            "by_variable": by,
            "names": {},
            "numbers": {},
            "devices": {},
        }
        self._environment = Environment(path, store="registers", version=FORMAT_VERSION, databases=databases, metasync=False)
        self._rows = self._environment.database("rows")
        self._by_time = self._environment.database("by_time")
        self._by_variable = self._environment.database("by_variable")
        self._names = self._environment.database("names")
        self._numbers = self._environment.database("numbers")
        self._devices = self._environment.database("devices")
        self._make_room = make_room
        self._flush_lock = threading.Lock()
        self._pending = Pending()
        self._added_seq = self._environment.applied_seq
        self._known_names: dict[tuple[int, int], str] = {}  # a number keeps its name as long as its device is there

    @property
    def applied_seq(self) -> int:
        """The log sequence up to which every change is in the store; 0 = nothing."""
        return self._environment.applied_seq

    @property
    def is_due(self) -> bool:
        """Whether so many changes wait that `flush` should be called soon."""
        return self._pending.size_bytes > DUE_BYTES

    # --- changes ----------------------------------------------------------------------------------------------------

    def add(self, seq: int, change: Change) -> None:
        """Take one change of the log: a points record or a command; one at or below a sequence that was taken is skipped.

        Raises:
            StorageFullError, StorageError: so many changes wait that they had to be applied, and that failed; they still wait.
        Cost: none of the store's, unless PENDING_BYTES wait.
        """
        if seq <= self._added_seq or not isinstance(change, bytes | RegisterCommand):
            return
        self._added_seq = seq
        self._pending.add(seq, change)
        if self._pending.size_bytes > PENDING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Apply all changes that wait, in one transaction.

        Durability: in the store's file when it returns, safe from a power cut after `sync`.

        Raises:
            StorageFullError, StorageError: nothing was applied; the changes still wait.
        """
        with self._flush_lock:
            pending, size_bytes = self._pending.waiting()
            if not pending:
                return
            try:
                self._environment.write(self._apply, pending)
            except StorageFullError:
                if not self._make_room():
                    raise
                self._environment.write(self._apply, pending)
            if any(isinstance(change, DeleteDevice) for _, _, change in pending):
                self._known_names.clear()
            self._pending.drop(len(pending), size_bytes)

    def sync(self, seq: int = 0) -> None:
        """Apply what waits and make everything durable, so that the log may be trimmed up to `applied_seq`.

        Args:
            seq: everything of the log up to here was added, or does not concern this store.
        """
        self.flush()
        if seq > self.applied_seq:
            self._environment.write(self._environment.put_applied, seq)
        self._environment.sync()

    def _apply(self, txn: Transaction, pending: list[tuple[int, int, Change]]) -> None:
        writer = Writer(self, txn)
        for seq, _, change in pending:
            if seq > self._environment.applied_seq:
                writer.apply(change)
        writer.put_points()
        self._environment.put_applied(txn, pending[-1][0])

    # --- reads ------------------------------------------------------------------------------------------------------

    def count(self, device: int, filter: Filter | None = None) -> int:
        """Return how many registers of a device meet a filter; exact.

        Cost: a lookup without a filter or for variables alone; a walk over the keys with time bounds; a decode of every row
        within the bounds with conditions on groups, values or `having`.
        """
        return self._read(device, self._count, device, filter or _EVERYTHING)

    def get(self, device: int, sequence: int) -> Point | None:
        """Return one register by its sequence."""
        if not 0 <= sequence <= HIGHEST:
            return None
        return self._environment.read(self._get, device, sequence, self._pending.of(device))

    def existing(self, device: int, sequences: Iterable[int]) -> list[int]:
        """Return those of the sequences that registers have, in the order given. Cost: a lookup of each, no row is decoded."""
        return self._environment.read(self._existing, device, sequences, self._pending.of(device))

    def query(
        self, device: int, filter: Filter = _EVERYTHING, *, order: Order = "desc", limit: int | None = None, skip: int = 0
    ) -> list[Row]:
        """Return the registers that meet a filter, all variables together, by (time, sequence).

        Args:
            order: "desc": newest first, of equal times the latest inserted first; "asc": the reverse.
            limit, skip: at most so many (None = all), after leaving out so many.
        Cost: the rows returned and the keys skipped; with conditions on groups, values or `having` every row up to the last one.
        """
        return self._read(device, self._query, device, filter, order == "desc", limit, skip)

    def points(self, device: int, filter: Filter, *, order: Order, limit: int | None, skip: int) -> list[Point]:
        """Return what `query` does as Points; cheaper when no row has to be looked at."""
        return self._read(device, self._points, device, filter, order == "desc", limit, skip)

    def sequences(
        self, device: int, filter: Filter = _EVERYTHING, *, order: Order = "desc", limit: int | None = None, skip: int = 0
    ) -> list[int]:
        """Return the sequences of the registers that `query` would return; cheaper when no row has to be decoded."""
        return self._read(device, self._sequences, device, filter, order == "desc", limit, skip)

    def newest(
        self,
        device: int,
        variable: str | None = None,
        filter: Filter = _EVERYTHING,
        *,
        oldest: bool = False,
        by: Literal["time", "insert"] = "time",
    ) -> Row | None:
        """Return the newest (or oldest) register that meets a filter, of one variable or of all.

        Args:
            by: "time": first in the order of `query`; "insert": by sequence, which walks all keys within the bounds.
        """
        if variable is not None:
            filter = msgspec.structs.replace(filter, variables=(variable,))
        found = self._read(device, self._query, device, filter, not oldest, 1, 0, by == "insert")
        return found[0] if found else None

    def variables(self, device: int) -> list[str]:
        """Return the names of the variables that a device has registers of, sorted."""
        return self._read(device, self._variables, device)

    def max_sequence(self, device: int) -> int | None:
        """Return the highest sequence a device's registers ever had, also deleted ones, or None if it never had any."""
        return self._read(device, self._max_sequence, device)

    def check(self) -> list[str]:
        """Return what is wrong between rows, keys and counts, one sentence each; empty = nothing.

        Cost: reads everything; the rows of one device are in memory at a time.
        """
        self.flush()
        return [f"{self._environment.file}: {problem}" for problem in self._environment.read(check_registers, self._environment.databases)]

    def rebuild(self) -> list[str]:
        """Make all secondary keys again from the rows, in one transaction; return what was lost, one sentence each.

        Durability: on disk on return.
        """
        lost = self._environment.write(rebuild_registers, self._environment.databases)
        self._known_names.clear()
        self._environment.sync()
        return lost

    def row_count(self) -> int:
        """Return how many registers all devices have together, but for changes that wait. Cost: none of a register."""
        return self._environment.read(self._environment.entry_count, self._rows)

    def devices(self) -> dict[int, int]:
        """Return how many registers each device has that has any: device -> count."""
        self.flush()

        def work(txn: Transaction) -> dict[int, int]:
            cursor = txn.cursor(self._by_time)
            return {int.from_bytes(key, "big"): cursor.count() for key in keys_from(cursor, b"")}

        return self._environment.read(work)

    def copy(self, folder: str | os.PathLike[str]) -> None:
        """Apply what waits, then write a consistent copy for a backup; see `Environment.copy`."""
        self.flush()
        self._environment.copy(folder)

    def close(self) -> None:
        """Close the environment; changes that still wait are in the log. A second close does nothing."""
        self._environment.close()

    def _read(self, device: int, work: Any, *args: Any) -> Any:
        if self._pending.of(device) is not None:
            self.flush()
        return self._environment.read(work, *args)

    def _get(self, txn: Transaction, device: int, sequence: int, changes: DeviceChanges | None) -> Point | None:
        key = row_key(device, sequence)
        if changes is None or not changes.may_concern(sequence):
            stored = txn.get(key, None, self._rows)
            if stored is None:
                return None
            decoded = decode_row(stored)
            name = self._name(txn, device, decoded.variable)
            return points_of_registers(device, [key], [decoded], PLACES, {decoded.variable: name})[0]
        found = changes.find(sequence, self._environment.applied_in(txn))
        if found.is_gone:
            return None
        row = found.row
        if row is None:
            stored = txn.get(key, None, self._rows)
            if stored is None:
                return None
            decoded = decode_row(stored)
            row = to_row(device, sequence, decoded, self._name(txn, device, decoded.variable))
        return points_of_rows([edited_row(device, row, found.edits)], device)[0]

    def _existing(self, txn: Transaction, device: int, sequences: Iterable[int], changes: DeviceChanges | None) -> list[int]:
        applied = None if changes is None else self._environment.applied_in(txn)
        existing = []
        for sequence in sequences:
            is_there = None if changes is None or applied is None else changes.has(sequence, applied)
            if is_there is None:
                is_there = 0 <= sequence <= HIGHEST and txn.get(row_key(device, sequence), None, self._rows) is not None
            if is_there:
                existing.append(sequence)
        return existing

    def _name(self, txn: Transaction, device: int, number: int) -> str:
        """Return a variable's name; looked up once while the store is open."""
        try:
            return self._known_names[device, number]
        except KeyError:
            name = self._stored_name(txn, device, number)
            if len(self._known_names) >= _KNOWN_NAMES_MAX:
                self._known_names.clear()
            self._known_names[device, number] = name
            return name

    def _stored_name(self, txn: Transaction, device: int, number: int) -> str:
        name = txn.get(device_key(device) + number.to_bytes(4, "big"), None, self._names)
        if name is None:
            expected = f"variable {number} of device {device}"
            raise CorruptionError("variable table", file=self._environment.file, expected=expected, found="none")
        return name.decode()

    def _count(self, txn: Transaction, device: int, filter: Filter) -> int:
        if filter.ids is not None or _needs_rows(filter):
            return len(self._query(txn, device, filter, True, None, 0))
        if filter.start_us is None and filter.end_us is None:
            return sum(cursor.count() for cursor, key in self._cursors(txn, device, filter.variables) if cursor.set_key(key))
        return sum(1 for _ in self._entries(txn, device, filter, descending=False))

    def _sequences(self, txn: Transaction, device: int, filter: Filter, descending: bool, limit: int | None, skip: int) -> list[int]:
        if filter.ids is not None or _needs_rows(filter):
            return [row.sequence for row in self._query(txn, device, filter, descending, limit, skip)]
        entries = self._entries(txn, device, filter, descending)
        return sequences_of(list(islice(entries, skip, None if limit is None else skip + limit)))

    def _query(
        self, txn: Transaction, device: int, filter: Filter, descending: bool, limit: int | None, skip: int, by_insert: bool = False
    ) -> list[Row]:
        stop = None if limit is None else skip + limit
        if filter.ids is not None:
            is_wanted = matcher(filter)
            rows = [row for row in self._rows_of_ids(txn, device, filter.ids) if is_wanted(row)]
            rows.sort(key=(lambda row: row.sequence) if by_insert else (lambda row: (row.time_us, row.sequence)), reverse=descending)
            return rows[skip:stop]
        entries = self._entries(txn, device, filter, descending)
        if by_insert:
            entries = iter(sorted(entries, key=lambda item: item[8:], reverse=descending))
        if not _needs_rows(filter):
            return self._rows_of(txn, device, list(islice(entries, skip, stop)))
        is_wanted = matcher(msgspec.structs.replace(filter, variables=None, start_us=None, end_us=None))
        found: list[Row] = []
        while (stop is None or len(found) < stop) and (piece := list(islice(entries, _PIECE))):
            found += [row for row in self._rows_of(txn, device, piece) if is_wanted(row)]
        return found[skip:stop]

    def _points(self, txn: Transaction, device: int, filter: Filter, descending: bool, limit: int | None, skip: int) -> list[Point]:
        if filter.ids is not None or _needs_rows(filter):
            return points_of_rows(self._query(txn, device, filter, descending, limit, skip), device)
        entries = list(islice(self._entries(txn, device, filter, descending), skip, None if limit is None else skip + limit))
        return points_of_registers(device, entries, self._load(txn, device, entries), PLACES, _Names(self, txn, device))

    def _rows_of(self, txn: Transaction, device: int, entries: list[bytes]) -> list[Row]:
        return to_rows(device, sequences_of(entries), self._load(txn, device, entries), _Names(self, txn, device))

    def _rows_of_ids(self, txn: Transaction, device: int, ids: Iterable[int]) -> list[Row]:
        """Return the rows of those ids that exist."""
        keys = {sequence: row_key(device, sequence) for sequence in ids if 0 <= sequence <= HIGHEST}
        stored = {sequence: value for sequence, key in keys.items() if (value := txn.get(key, None, self._rows)) is not None}
        return to_rows(device, stored, decode_rows(list(stored.values())), _Names(self, txn, device))

    def _load(self, txn: Transaction, device: int, entries: list[bytes]) -> list[StoredRow]:
        """Return the rows of entries, all of which have to exist."""
        get, prefix, rows = txn.get, device_key(device), self._rows
        values = [get(prefix + item[8:], b"", rows) for item in entries]
        if b"" in values:
            expected, found = f"{len(entries)} registers", f"{len(entries) - values.count(b'')}"
            raise CorruptionError("key", file=self._environment.file, expected=expected, found=found)
        return decode_rows(values)

    def _cursors(self, txn: Transaction, device: int, variables: Sequence[str] | None) -> list[tuple[Any, bytes]]:
        """Return a cursor and its key for the device, or for each of these variables that it has."""
        prefix = device_key(device)
        if variables is None:
            return [(txn.cursor(self._by_time), prefix)]
        numbers = (txn.get(prefix + name.encode(), db=self._numbers) for name in set(variables) if 0 < len(name.encode()) <= 500)
        return [(txn.cursor(self._by_variable), prefix + number) for number in numbers if number is not None]

    def _entries(self, txn: Transaction, device: int, filter: Filter, descending: bool) -> Iterator[bytes]:
        """Yield the 16-byte entries (time, sequence) within a filter's variables and bounds, in order."""
        first = None if filter.start_us is None else entry(filter.start_us, 0)
        last = None if filter.end_us is None else entry(filter.end_us, HIGHEST)
        walks = [_walk(cursor, key, first, last, descending) for cursor, key in self._cursors(txn, device, filter.variables)]
        return walks[0] if len(walks) == 1 else heapq.merge(*walks, reverse=descending)

    def _variables(self, txn: Transaction, device: int) -> list[str]:
        return sorted(key[4:].decode() for key in keys_from(txn.cursor(self._numbers), device_key(device)))

    def _max_sequence(self, txn: Transaction, device: int) -> int | None:
        stored = txn.get(device_key(device), db=self._devices)
        return None if stored is None else int.from_bytes(stored[:8], "big")


class _Names(dict[int, str]):
    """The names of a device's variables by number, looked up as they are met; lives as long as its transaction."""

    def __init__(self, store: Registers, txn: Transaction, device: int) -> None:
        self._source = store, txn, device

    def __missing__(self, number: int) -> str:
        store, txn, device = self._source
        self[number] = name = store._name(txn, device, number)
        return name


def _needs_rows(filter: Filter) -> bool:
    """Tell whether a filter has conditions that the keys alone cannot answer."""
    conditions = (filter.groups, filter.values, filter.having, filter.units, filter.where)
    return any(condition is not None for condition in conditions)


def _walk(cursor: lmdb.Cursor[bytes], key: bytes, first: bytes | None, last: bytes | None, descending: bool) -> Iterator[bytes]:
    """Return an iterator over the entries of a key with first <= entry <= last."""
    if descending:
        if last is not None and cursor.set_range_dup(key, last):
            # At the first entry above the bound: no entry equals it, as its sequence is above all others.
            if not cursor.prev_dup():
                return iter(())
        elif not (cursor.set_key(key) and cursor.last_dup()):
            return iter(())
        walk = cursor.iterprev_dup()
        return walk if first is None else takewhile(first.__le__, walk)
    if not (cursor.set_key(key) if first is None else cursor.set_range_dup(key, first)):
        return iter(())
    walk = cursor.iternext_dup()
    return walk if last is None else takewhile(last.__ge__, walk)
