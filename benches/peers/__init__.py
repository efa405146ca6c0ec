"""The subjects of the benchmarks: tsengine and what a user would pick instead, one module each, behind the same few methods.

To add a peer, add its module: `foodb.py` is asked for "FooDB" and for "FooDB, sorted". It has a dictionary {name of the subject: class}
for each role that it can play; a class takes the folder of its data, has `settings` (version and durability, for people) and, of the
methods of its role, those that it can do:

    STORE      create(); ingest(tables); open(); count(); read(variable, start_us, end_us); drop_month(start_us, end_us); close()
               and, to be asked the questions of benches/questions.py: aggregate(variable, functions, every_us, start_us, end_us);
               totals(); count_above(variable, bound); newest(limit, skip); last(); prepare() once before them, not timed
    FLEET      create(devices); ingest(tables); open(); count(); last(devices); read(device, start_us, end_us); close()
    LOG        create(); shape(points); commit(shaped); count(); total(); close(); `one_writer`: threads must take turns
    REGISTERS  create(); insert(rows) -> ids; update(id, value); get(id); newest(count); delete(start_us, end_us); count(); close()
    TSBS       create(shape); ingest(parts); open(); a method for each question of benches/tsbs; close()

`create` opens an empty store, `open` one that was closed or killed. Bounds of time are [start_us, end_us). What `ingest`, `commit`,
`insert`, `update` and `delete` did is on disk when they return. Settings are those that the subject's manual recommends for the task.
A module that cannot run here raises ImportError with the reason when it is imported; the tables name it as SKIPPED.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

OURS = "tsengine"
ROLES = ("STORE", "FLEET", "LOG", "REGISTERS", "TSBS")

MISSING: dict[str, str] = {}
"""Modules that cannot be imported, and why; filled by `subjects`."""


def load(role: str, subject: str) -> Any:
    """Return the class of a subject in a role. Imports nothing of the other subjects."""
    module = importlib.import_module(f"benches.peers.{subject.split(',')[0].lower()}")
    return getattr(module, role)[subject]


def subjects(role: str, operation: str | None = None) -> dict[str, Any]:
    """Return the classes that play a role, by subject's name, ours first; only those with a method if one is named."""
    found: dict[str, Any] = {}
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py"), key=lambda path: (path.stem != OURS, path.stem)):
        try:
            module = importlib.import_module(f"benches.peers.{path.stem}")
        except ImportError as error:
            is_package = isinstance(error, ModuleNotFoundError)
            MISSING[path.stem] = f"{error.name} is not installed (make bench-peers)" if is_package else str(error)
            continue
        for name, subject in getattr(module, role, {}).items():
            if operation is None or hasattr(subject, operation):
                found[name] = subject
    return found


def size_bytes(folder: Path) -> int:
    """Return the bytes of all files of a subject."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
