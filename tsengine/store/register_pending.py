"""Changes of mutable devices that the log has and the register store has not applied yet, and what they make of one register.

A commit of LMDB takes a sync of its own, so a register that was just written is read from here, not by committing first.

Invariant: a change leaves only after it was committed. So whoever takes a device's changes first and a snapshot of the store
after it misses nothing, and the snapshot's applied sequence tells which of them it has already.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import msgspec

from tsengine.commands import Command, DeleteDevice, DeleteRegisters, EditRegisters, EmptyRegisters
from tsengine.core import batch
from tsengine.rows import Row
from tsengine.store.register_rows import encode

Change = bytes | Command
RegisterCommand = EditRegisters | DeleteRegisters | EmptyRegisters | DeleteDevice

# What a waiting change costs beside its own bytes, and a register in it that was edited or deleted.
_CHANGE_BYTES, _REGISTER_BYTES = 400, 200


class Found(msgspec.Struct, frozen=True):
    """What waiting changes say of one register.

    Attributes:
        row: it was inserted by one of them. None, and not is_gone: the store has it, or it does not exist.
        is_gone: it was deleted by one of them.
        edits: fields to replace in that row, or in the stored one, oldest first.
    """

    row: Row | None
    is_gone: bool
    edits: list[Mapping[str, Any]]


class DeviceChanges:
    """The waiting changes of one device; they are added in log order, and others may look meanwhile."""

    def __init__(self) -> None:
        self._emptied_seq = 0
        self._firsts: list[int] = []  # sequence of each record's first point, ascending
        self._records: list[tuple[int, bytes]] = []  # (log sequence, record)
        self._edits: dict[int, list[tuple[int, Mapping[str, Any] | None]]] = {}  # None: deleted

    def add(self, seq: int, change: Change) -> int:
        """Take a change; return how many registers it names one by one."""
        match change:
            case bytes():
                self._records.append((seq, change))
                self._firsts.append(batch.first_sequence_of(change))
                return 0
            case EditRegisters():
                for sequence, fields in change.edits:
                    self._edits.setdefault(sequence, []).append((seq, fields))
                return len(change.edits)
            case DeleteRegisters():
                for sequence in change.sequences:
                    self._edits.setdefault(sequence, []).append((seq, None))
                return len(change.sequences)
            case _:
                self._emptied_seq = seq
                return 0

    def may_concern(self, sequence: int) -> bool:
        """Whether some change may be about a register; if not, the store tells all, without a look at what it has applied."""
        return bool(self._emptied_seq) or sequence in self._edits or self._insert_of(sequence) is not None

    def has(self, sequence: int, applied: int) -> bool | None:
        """Tell whether a register is there after the changes behind the applied log sequence; None = it is if the store has it."""
        insert = self._insert_of(sequence)
        is_inserted = insert is not None and insert[0] > applied
        if insert is not None and is_inserted:
            applied = insert[0]  # what came before it was about nothing
        if self._emptied_seq > applied:
            return False
        for seq, fields in self._edits.get(sequence, ()):
            if fields is None and seq > applied:
                return False
        return True if is_inserted else None

    def find(self, sequence: int, applied: int) -> Found:
        """Return what the changes behind the applied log sequence make of a register."""
        is_there = self.has(sequence, applied)
        if is_there is False:
            return Found(None, True, [])
        row = None
        insert = self._insert_of(sequence)
        if is_there and insert is not None:
            applied, index, record = insert
            row = batch.rows(record)[index]
        return Found(row, False, [fields for seq, fields in tuple(self._edits.get(sequence, ())) if fields is not None and seq > applied])

    def _insert_of(self, sequence: int) -> tuple[int, int, bytes] | None:
        """Return the log sequence of the record that inserts a register, its place in there, and the record."""
        place = bisect_right(self._firsts, sequence) - 1
        if place < 0:
            return None
        seq, record = self._records[place]
        index = sequence - self._firsts[place]
        return (seq, index, record) if index < batch.count_of(record) else None


class Pending:
    """The changes that wait, in log order; safe to use from many threads."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._lock = threading.Lock()
        self._changes: list[tuple[int, int, Change]] = []  # (log sequence, device, change)
        self._devices: dict[int, DeviceChanges] = {}

    def __len__(self) -> int:
        return len(self._changes)

    def add(self, seq: int, change: bytes | RegisterCommand) -> None:
        if isinstance(change, bytes):
            device, size_bytes = batch.device_of(change), len(change)
        else:
            device, size_bytes = change.device, len(encode(change))
        with self._lock:
            self._changes.append((seq, device, change))
            count = self._devices.setdefault(device, DeviceChanges()).add(seq, change)
            self.size_bytes += size_bytes + _CHANGE_BYTES + count * _REGISTER_BYTES

    def of(self, device: int) -> DeviceChanges | None:
        """Return the changes of a device that wait, if there are any."""
        return self._devices.get(device)

    def waiting(self) -> tuple[list[tuple[int, int, Change]], int]:
        """Return all that wait, and their bytes."""
        with self._lock:
            return self._changes.copy(), self.size_bytes

    def drop(self, count: int, size_bytes: int) -> None:
        """Forget the oldest changes, which are committed."""
        with self._lock:
            del self._changes[:count]
            self.size_bytes -= size_bytes
            self._devices = {}
            for seq, device, change in self._changes:
                self._devices.setdefault(device, DeviceChanges()).add(seq, change)
