"""Verify the register store's keys against its rows, and make them again from the rows. Format: docs/format/registers.md.

The rows are the truth: every key, and with it every count, follows from them. Only a variable's name cannot be derived; it
lies twice, by number and by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, groupby
from typing import Any

import lmdb

from tsengine.store.environment import UNDECODABLE, Transaction
from tsengine.store.register_rows import StoredRow, decode_row, entry, to_row

Databases = Mapping[str, Any]
"""Name -> handle: rows, by_time, by_variable, names, numbers, devices."""


def check_registers(txn: Transaction, databases: Databases) -> list[str]:
    """Return what is wrong between rows, keys and counts, one sentence each. Cost: rows of one device are in memory at a time."""
    problems: list[str] = []
    seen: set[bytes] = set()
    for prefix, pairs in groupby(txn.cursor(databases["rows"]), key=lambda pair: pair[0][:4]):
        seen.add(prefix)
        rows, unreadable = _decoded(pairs)
        problems += [f"{_name(prefix)}: register {_number(key[4:])} cannot be decoded: {reason}" for key, reason in unreadable]
        problems += [f"{_name(prefix)}: {problem}" for problem in _check_device(txn, databases, prefix, rows)]
    for database, what in (("by_time", "time keys"), ("by_variable", "variable keys"), ("numbers", "variables")):
        strays = {key[:4] for key in txn.cursor(databases[database]).iternext(values=False)} - seen
        problems += [f"{_name(prefix)} has {what} but no registers" for prefix in sorted(strays)]
    return problems


def rebuild_registers(txn: Transaction, databases: Databases) -> list[str]:
    """Make every key again from the rows, in the caller's transaction; return what was lost on the way, one sentence each.

    A row that cannot be decoded is removed. A variable whose name is gone is called `lost_N` after its number.
    """
    lost: list[str] = []
    by_number = dict(txn.cursor(databases["names"]))
    by_name = {key[:4] + value: key[4:] for key, value in txn.cursor(databases["numbers"])}
    for database in ("by_time", "by_variable", "names", "numbers"):
        txn.drop(databases[database], delete=False)
    for prefix in sorted({key[:4] for key in txn.cursor(databases["rows"]).iternext(values=False)}):
        rows, unreadable = _decoded(_pairs_of(txn, databases["rows"], prefix))
        for key, reason in unreadable:
            lost.append(f"{_name(prefix)}: register {_number(key[4:])} cannot be decoded: {reason}")
            txn.delete(key, db=databases["rows"])
        entries = {variable: sorted(found) for variable, found in _entries_of(prefix, rows).items()}
        txn.cursor(databases["by_time"]).putmulti([(prefix, item) for item in sorted(chain.from_iterable(entries.values()))])
        txn.cursor(databases["by_variable"]).putmulti([(variable, item) for variable in sorted(entries) for item in entries[variable]])
        taken: set[bytes] = set()
        for variable in sorted(entries):
            name = by_number.get(variable) or by_name.get(variable)
            if not name or name in taken or not _is_text(name):
                name = f"lost_{_number(variable[4:])}".encode()
                lost.append(f"{_name(prefix)}: the name of variable {_number(variable[4:])} is gone; it is called {name.decode()} now")
            taken.add(name)
            txn.put(variable, name, db=databases["names"])
            txn.put(prefix + name, variable[4:], db=databases["numbers"])
        _raise_device(txn, databases, prefix, rows)
    return lost


def _check_device(txn: Transaction, databases: Databases, prefix: bytes, rows: list[tuple[bytes, StoredRow]]) -> Iterator[str]:
    expected = _entries_of(prefix, rows)
    stored = {key: _dups(txn, databases["by_variable"], key) for key in _keys_from(txn, databases["by_variable"], prefix)}
    names = {key: txn.get(key, db=databases["names"]) for key in _keys_from(txn, databases["names"], prefix)}
    numbers = {key[4:]: txn.get(key, b"", db=databases["numbers"]) for key in _keys_from(txn, databases["numbers"], prefix)}
    by_time = _dups(txn, databases["by_time"], prefix)
    device = txn.get(prefix, bytes(12), db=databases["devices"])
    yield from _differences("time key", set(chain.from_iterable(expected.values())), set(by_time))
    for key in sorted(stored.keys() | expected.keys()):
        yield from _differences(f"key of variable {_number(key[4:])}", set(expected.get(key, ())), set(stored.get(key, ())))
    if names.keys() != expected.keys():
        yield "variables and registers differ"
    if names != {prefix + number: name for name, number in numbers.items()}:
        yield "names and numbers of variables differ"
    if len(by_time) != len(rows):
        yield f"the count is {len(by_time)}, there are {len(rows)} registers"
    if rows and int.from_bytes(device[:8], "big") < int.from_bytes(rows[-1][0], "big"):
        yield f"a register is above the highest sequence {_number(device[:8])}"
    if any(key[4:] >= device[8:] for key in expected):
        yield f"a variable is not below the next variable number {_number(device[8:])}"


def _differences(what: str, expected: set[bytes], stored: set[bytes]) -> Iterator[str]:
    if missing := expected - stored:
        yield f"{len(missing)} of {len(expected)} registers without their {what}, the first is {_number(min(missing)[8:])}"
    if extra := stored - expected:
        yield f"{len(extra)} times a {what} without its register, the first names {_number(min(extra)[8:])}"


def _decoded(pairs: Any) -> tuple[list[tuple[bytes, StoredRow]], list[tuple[bytes, str]]]:
    """Return (sequence, row) of those that can be decoded, and (key, reason) of those that cannot."""
    rows, unreadable = [], []
    for key, value in pairs:
        try:
            row = decode_row(value)
            to_row(0, int.from_bytes(key[4:], "big"), row, "")  # raises if its group is none
            rows.append((key[4:], row))
        except UNDECODABLE as error:
            unreadable.append((key, str(error)))
    return rows, unreadable


def _entries_of(prefix: bytes, rows: list[tuple[bytes, StoredRow]]) -> dict[bytes, list[bytes]]:
    """Return what `by_variable` should hold of a device: key -> entries."""
    entries: dict[bytes, list[bytes]] = {}
    for sequence, row in rows:
        entries.setdefault(prefix + row.variable.to_bytes(4, "big"), []).append(entry(row.time_us, 0)[:8] + sequence)
    return entries


def _raise_device(txn: Transaction, databases: Databases, prefix: bytes, rows: list[tuple[bytes, StoredRow]]) -> None:
    """Raise a device's highest sequence and next variable number above those of its rows."""
    stored = txn.get(prefix, bytes(12), db=databases["devices"])
    highest = max([stored[:8], *(sequence for sequence, _ in rows)])
    number = max([int.from_bytes(stored[8:], "big"), *(row.variable + 1 for _, row in rows)])
    txn.put(prefix, highest + number.to_bytes(4, "big"), db=databases["devices"])


def _pairs_of(txn: Transaction, database: Any, prefix: bytes) -> list[tuple[bytes, bytes]]:
    cursor = txn.cursor(database)
    pairs: list[tuple[bytes, bytes]] = []
    if cursor.set_range(prefix):
        for key, value in cursor:
            if key[:4] != prefix:
                break
            pairs.append((key, value))
    return pairs


def _keys_from(txn: Transaction, database: Any, prefix: bytes) -> list[bytes]:
    return list(keys_from(txn.cursor(database), prefix))


def keys_from(cursor: lmdb.Cursor[bytes], prefix: bytes) -> Iterator[bytes]:
    """Yield the distinct keys that begin with a prefix."""
    is_there = cursor.set_range(prefix)
    while is_there and (key := cursor.key()).startswith(prefix):
        yield key
        is_there = cursor.next_nodup()


def _dups(txn: Transaction, database: Any, key: bytes) -> list[bytes]:
    cursor = txn.cursor(database)
    return list(cursor.iternext_dup()) if cursor.set_key(key) else []


def _name(prefix: bytes) -> str:
    return f"device {_number(prefix)}"


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _is_text(name: bytes) -> bool:
    try:
        return bool(name.decode())
    except UnicodeDecodeError:
        return False
