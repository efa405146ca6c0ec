"""The three LMDB environments of a store, changed anywhere: they open and are read, or say what is damaged; the first byte tells which.

What `check` finds nothing wrong with is read without an error.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tsengine
from tests.fuzz.patches import patch, patched
from tsengine.store import catalog, environment, manifest, register_check, register_rows, registers
from tsengine.store.catalog import Catalog
from tsengine.store.manifest import Manifest, Tombstone
from tsengine.store.registers import Registers
from tsengine.types import Parameter

MODULES = (catalog, environment, manifest, register_check, register_rows, registers)
NOW_US = 1_795_262_400_000_000
NAMES = ("catalog", "registers", "manifest")
FOLDER = Path(tempfile.mkdtemp(prefix="tsengine-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def bases() -> dict[str, bytes]:
    with tsengine.open(FOLDER / "whole", durability="memory", clock=tsengine.ManualClock(NOW_US)) as db:
        for number in range(3):
            device = db.create_device(f"device {number}", serial=f"s{number}")
            db.create_token(device.id, "token")
            device.append_many([{"variable": "t", "value": count} for count in range(9)])
            db.seal()
            other = db.create_device(f"registers {number}", type="mutable")
            other.append_many([{"variable": f"v{count % 3}", "value": count, "unit": "C", "metadata": {"a": 1}} for count in range(40)])
        device.empty()
    return {name: (FOLDER / "whole" / name / "data.mdb").read_bytes() for name in NAMES}


BASES = bases()


def seeds() -> list[bytes]:
    """Places to change: where the newest pages have their entries."""
    found = []
    for number, base in enumerate(BASES.values()):
        places = [at + place for at in range(len(base) - 4 * 4096, len(base), 4096) for place in (16, 4032, 4064)]
        found += [bytes((number,))] + [bytes((number,)) + patch(place, base[place : place + 16]) for place in places]
    return found


def run(data: bytes) -> None:
    name = NAMES[data[0] % 3] if data else NAMES[0]
    folder = FOLDER / name
    folder.mkdir(exist_ok=True)
    (folder / "data.mdb").unlink(missing_ok=True)
    (folder / "data.mdb").write_bytes(patched(BASES[name], data[1:]))
    read: dict[str, Callable[[Path], None]] = {"catalog": read_catalog, "registers": read_registers, "manifest": read_manifest}
    read[name](folder)


def read_catalog(folder: Path) -> None:
    store = Catalog(folder)
    try:
        problems = store.check()
        try:
            for info in store.devices(order="number"):
                assert problems or store.by_id(info.id) == store.device(info.number) == info
                store.tokens(info.number)
                assert all(isinstance(parameter, Parameter) for parameter in store.parameters(info.number))
            _ = store.applied_seq, store.log_reach, store.device_count()
        except tsengine.TsengineError:
            assert problems
    finally:
        store.close()


def read_registers(folder: Path) -> None:
    store = Registers(folder)
    try:
        problems = store.check()
        try:
            for device, count in store.devices().items():
                rows: list[Any] = store.query(device)
                assert problems or len(rows) == count == store.count(device)
                assert problems or {row.variable for row in rows} == set(store.variables(device))
                store.newest(device, None)
        except tsengine.TsengineError:
            assert problems
    finally:
        store.close()


def read_manifest(folder: Path) -> None:
    store = Manifest(folder)
    try:
        entries, tombstones = store.segments(), store.tombstones()
        _ = store.next_sequences(), store.next_segment_id, store.applied_seq
        store.commit(remove=[entry.id for entry in entries], tombstones_add=[Tombstone(1, 0, 1, 1)], tombstones_remove=tombstones)
        assert store.segments() == []
    finally:
        store.close()
