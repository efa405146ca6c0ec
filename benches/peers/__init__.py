"""The subjects of the benchmarks: tsengine and what a user would pick instead, one module each, behind the same few methods.

A module has a dictionary {name of the subject: class} for each role that it can play; a class takes the folder of its data, has
`settings` (version and durability, for people) and, of the methods of its role, those that it can do:

    STORE      create(); ingest(tables); open(); count(); read(variable, start_us, end_us); drop_month(start_us, end_us); close()
    FLEET      create(devices); ingest(tables); open(); count(); last(devices); read(device, start_us, end_us); close()
    LOG        create(); shape(points); commit(shaped); count(); total(); close(); `one_writer`: threads must take turns
    REGISTERS  create(); insert(rows) -> ids; update(id, value); get(id); newest(count); delete(start_us, end_us); count(); close()

`create` opens an empty store, `open` one that was closed or killed. Bounds of time are [start_us, end_us). What `ingest`, `commit`,
`insert`, `update` and `delete` did is on disk when they return. Settings are those that the subject's manual recommends for the task.
"""

from __future__ import annotations

import importlib
from typing import Any

MODULES = {
    "tsengine": "ours",
    "tsengine, arrays": "ours",
    "Parquet": "parquet",
    "Parquet, sorted": "parquet",
    "DuckDB": "duckdb",
    "ClickHouse": "clickhouse",
    "SQLite": "sqlite",
    "RocksDB": "rocksdb",
    "LMDB": "lmdb",
}
"""The module of each subject."""

MISSING: dict[str, str] = {}
"""Subjects that cannot be imported, and why; filled by `subjects`."""


def load(role: str, subject: str) -> Any:
    """Return the class of a subject in a role, or None if it does not play it. Imports nothing of the other subjects."""
    module = importlib.import_module(f"benches.peers.{MODULES[subject]}")
    return getattr(module, role, {}).get(subject)


def subjects(role: str, operation: str | None = None) -> dict[str, Any]:
    """Return the classes that play a role, by subject's name, ours first; only those with a method if one is named."""
    found = {}
    for name in MODULES:
        try:
            subject = load(role, name)
        except ImportError as error:
            MISSING[name] = f"{error.name} is not installed (make bench-peers)"
            continue
        if subject is not None and (operation is None or hasattr(subject, operation)):
            found[name] = subject
    return found
