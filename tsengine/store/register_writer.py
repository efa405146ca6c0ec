"""Changes of the log as they are applied to the register store, all of one transaction by one writer.

Format: docs/format/registers.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tsengine.commands import DeleteDevice, DeleteRegisters, EditRegisters, EmptyRegisters
from tsengine.core import batch
from tsengine.errors import CorruptionError
from tsengine.rows import Row
from tsengine.store.environment import Transaction
from tsengine.store.register_check import keys_from
from tsengine.store.register_pending import Change
from tsengine.store.register_rows import (
    HIGHEST,
    decode_row,
    device_key,
    edit_row,
    encode,
    encode_row,
    entry,
    is_automatic,
    pack_group,
    row_key,
)

if TYPE_CHECKING:
    from tsengine.store.registers import Registers


class Writer:
    """The changes of one transaction. Points are collected and put in key order, before anything that may need them."""

    def __init__(self, store: Registers, txn: Transaction) -> None:
        self._store = store
        self._txn = txn
        self._rows: list[tuple[bytes, bytes]] = []
        self._by_time: list[tuple[bytes, bytes]] = []
        self._by_variable: list[tuple[bytes, bytes]] = []
        self._highest: dict[bytes, int] = {}
        self._numbers: dict[tuple[bytes, str], bytes] = {}

    def apply(self, change: Change) -> None:
        """Apply one change of the log."""
        if isinstance(change, bytes):
            self._add_points(batch.device_of(change), batch.rows(change))
            return
        self.put_points()
        match change:
            case EditRegisters():
                self._edit(change.device, change.edits)
            case DeleteRegisters():
                self._delete(change.device, change.sequences)
            case EmptyRegisters():
                self._empty(device_key(change.device))
            case DeleteDevice():
                self._empty(device_key(change.device))
                self._txn.delete(device_key(change.device), db=self._store._devices)

    def put_points(self) -> None:
        """Write the collected points."""
        if not self._rows:
            return
        store, txn = self._store, self._txn
        for pairs in (self._rows, self._by_time, self._by_variable):
            pairs.sort()
        consumed, added = txn.cursor(store._rows).putmulti(self._rows, overwrite=False)
        if added != consumed:
            raise CorruptionError("log", expected="registers with new sequences", found=f"{consumed - added} that are stored already")
        txn.cursor(store._by_time).putmulti(self._by_time)
        txn.cursor(store._by_variable).putmulti(self._by_variable)
        for prefix, highest in self._highest.items():
            self._put_device(prefix, highest=highest)
        self._rows, self._by_time, self._by_variable = [], [], []
        self._highest = {}

    def _add_points(self, device: int, rows: Iterable[Row]) -> None:
        prefix = device_key(device)
        variables: dict[str, tuple[bytes, int]] = {}
        # A group is taken apart once for the points that follow each other with it.
        last_group, first, packed = "", None, pack_group(device, 0, "")
        sequence = 0
        for sequence, time_us, name, value, unit, group, lat, lng, metadata, received_us in rows:
            if name not in variables:
                number = self._number(prefix, name)
                variables[name] = prefix + number, int.from_bytes(number, "big")
            key, variable = variables[name]
            if group != last_group:
                last_group, first = group, is_automatic(device, group)
                packed = pack_group(device, sequence, group)
            if first is not None and first <= sequence:
                packed = sequence - first
            fields: tuple[Any, ...] = (time_us, variable, received_us, packed)
            if metadata is not None:
                fields += (value, unit, lat, lng, metadata)
            elif lat is not None:
                fields += (value, unit, lat, lng)
            elif unit is not None:
                fields += (value, unit)
            elif value is not None:
                fields += (value,)
            item = entry(time_us, sequence)
            self._rows.append((row_key(device, sequence), encode(fields)))
            self._by_time.append((prefix, item))
            self._by_variable.append((key, item))
        # Sequences rise within a record.
        self._highest[prefix] = max(self._highest.get(prefix, 0), sequence)

    def _number(self, prefix: bytes, name: str) -> bytes:
        """Return the 4-byte number of a device's variable, giving it the next one if it is new."""
        known = self._numbers.get((prefix, name))
        if known is not None:
            return known
        key = prefix + name.encode()
        number = self._txn.get(key, db=self._store._numbers)
        if number is None:
            number = self._put_device(prefix, takes_number=True)
            self._txn.put(key, number, db=self._store._numbers)
            self._txn.put(prefix + number, name.encode(), db=self._store._names)
        self._numbers[prefix, name] = number
        return number

    def _put_device(self, prefix: bytes, *, highest: int = 0, takes_number: bool = False) -> bytes:
        """Raise a device's highest sequence, or take its next variable number and return that."""
        stored = self._txn.get(prefix, bytes(12), db=self._store._devices)
        number = int.from_bytes(stored[8:], "big")
        highest = max(highest, int.from_bytes(stored[:8], "big"))
        self._txn.put(prefix, highest.to_bytes(8, "big") + (number + takes_number).to_bytes(4, "big"), db=self._store._devices)
        return number.to_bytes(4, "big")

    def _edit(self, device: int, edits: Iterable[tuple[int, dict[str, Any]]]) -> None:
        store, txn, prefix = self._store, self._txn, device_key(device)
        for sequence, fields in edits:
            stored = txn.get(row_key(device, sequence), db=store._rows) if 0 <= sequence <= HIGHEST else None
            if stored is None:
                continue
            old = decode_row(stored)
            new = edit_row(device, sequence, old, fields)
            txn.put(row_key(device, sequence), encode_row(new), db=store._rows)
            if new.time_us != old.time_us:
                variable = prefix + old.variable.to_bytes(4, "big")
                self._delete_entry(prefix, variable, entry(old.time_us, sequence))
                txn.put(prefix, entry(new.time_us, sequence), db=store._by_time)
                txn.put(variable, entry(new.time_us, sequence), db=store._by_variable)

    def _delete(self, device: int, sequences: Iterable[int]) -> None:
        prefix, variables = device_key(device), set()
        for sequence in sorted(sequences):
            stored = self._txn.pop(row_key(device, sequence), db=self._store._rows) if 0 <= sequence <= HIGHEST else None
            if stored is not None:
                row = decode_row(stored)
                variable = prefix + row.variable.to_bytes(4, "big")
                self._delete_entry(prefix, variable, entry(row.time_us, sequence))
                variables.add(variable)
        for variable in variables:
            if self._txn.get(variable, db=self._store._by_variable) is None:
                self._forget_variable(variable)

    def _delete_entry(self, prefix: bytes, variable: bytes, item: bytes) -> None:
        was_by_time = self._txn.delete(prefix, item, db=self._store._by_time)
        was_by_variable = self._txn.delete(variable, item, db=self._store._by_variable)
        if not (was_by_time and was_by_variable):
            raise CorruptionError("key", file=self._store._environment.file, expected="an entry for each register", found="none")

    def _empty(self, prefix: bytes) -> None:
        txn, store = self._txn, self._store
        txn.delete(prefix, db=store._by_time)
        for variable in list(keys_from(txn.cursor(store._names), prefix)):
            txn.delete(variable, db=store._by_variable)
            self._forget_variable(variable)
        cursor = txn.cursor(store._rows)
        is_there = cursor.set_range(prefix)
        while is_there and cursor.key()[:4] == prefix:
            is_there = cursor.delete() and bool(cursor.key())

    def _forget_variable(self, variable: bytes) -> None:
        """Remove the name of a variable that has no register left; its number is not used again."""
        name = self._txn.pop(variable, db=self._store._names)
        if name is not None:
            self._txn.delete(variable[:4] + name, db=self._store._numbers)
            self._numbers.pop((variable[:4], name.decode()), None)
