"""Stores written by every released version are read whole by this one; files of newer versions are refused, and left alone."""

from __future__ import annotations

import json
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest

import tsengine
from tests.engine.release_store import DATA, NOW_US, contents, fill
from tests.store.damage import with_footer_crc
from tsengine import ManualClock, StorageError
from tsengine.care.check import check_folder
from tsengine.care.repair import repair_folder
from tsengine.commands import RECORD_COMMAND
from tsengine.core.codec.crc32c import crc32c
from tsengine.log import LocalLog

ARCHIVES = sorted(DATA.glob("v*.tar.gz"))


def test_there_is_a_store_of_a_release() -> None:
    assert ARCHIVES


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name)
def test_a_store_of_a_release_is_read_whole_and_goes_on(tmp_path: Path, archive: Path) -> None:
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    expected = json.loads((root / "expected.json").read_text())
    assert check_folder(root / "store").problems == []
    clock = ManualClock(expected["now_us"])
    for _ in range(2):
        with tsengine.open(root / "store", clock=clock) as db:
            assert contents(db) == expected["contents"]
    with tsengine.open(root / "store", clock=clock, clock_trust_s=0) as db:
        assert {live.entry.tier for live in db.columnar.view.segments} >= {0, 1}
        assert db.columnar.view.tombstones
        before = db.device("columns").count()
        db.device("columns").append("more", 1)
        db.compact()
        assert db.device("columns").count() == before + 1
        db.device("registers").append("more", 1)
    assert check_folder(root / "store").problems == []


def test_this_version_writes_what_the_release_wrote(tmp_path: Path) -> None:
    """The script still runs, and its store has everything in it that the test above is there for."""
    with tsengine.open(tmp_path / "store", clock=ManualClock(NOW_US), clock_trust_s=0) as db:
        fill(db)
        assert {live.entry.tier for live in db.columnar.view.segments} >= {0, 1} and db.columnar.view.tombstones
        assert db.stats()["unsealed_points"]
        assert contents(db)["registers"]["points"]


# --- newer versions -------------------------------------------------------------------------------------------------------------


def make_newer_log(store: Path) -> None:
    (path,) = (store / "wal").glob("*.wal")
    data = bytearray(path.read_bytes())
    data[8:16] = struct.pack("<II", 99, 0)
    data[12:16] = struct.pack("<I", crc32c(bytes(data[:64])))
    path.write_bytes(data)


def make_newer_command(store: Path) -> None:
    log = LocalLog(store / "wal")
    first = int(min((store / "wal").glob("*.wal")).stem)
    log.start(first - 1, lambda first_seq, records: None)
    log.wait(log.append(bytes((RECORD_COMMAND,)) + msgspec.msgpack.encode(["put_dashboard", 1])))
    log.close()


def make_newer_segment(store: Path) -> None:
    for path in (store / "segments").glob("*.seg"):
        data = bytearray(path.read_bytes())
        data[8:12] = data[-12:-8] = struct.pack("<I", 99)
        path.unlink()
        path.write_bytes(with_footer_crc(bytes(data)))


def make_newer_environment(name: str) -> Callable[[Path], None]:
    def work(store: Path) -> None:
        with lmdb.open(str(store / name), max_dbs=10) as environment:
            meta = environment.open_db(b"meta")
            with environment.begin(write=True, db=meta) as txn:
                store_name, _ = msgspec.msgpack.decode(txn.get(b"format"))
                txn.put(b"format", msgspec.msgpack.encode([store_name, 99]))

    return work


MAKE_NEWER: dict[str, Callable[[Path], None]] = {
    "log": make_newer_log,
    "command": make_newer_command,
    "segment": make_newer_segment,
    **{name: make_newer_environment(name) for name in ("catalog", "registers", "manifest")},
}


def snapshot(store: Path, kind: str) -> dict[str, bytes]:
    suffix = {"log": ".wal", "command": ".wal", "segment": ".seg"}.get(kind, "none")
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.suffix == suffix}


@pytest.mark.parametrize("kind", MAKE_NEWER)
def test_a_newer_version_is_refused_by_name_and_left_alone(tmp_path: Path, kind: str) -> None:
    store = tmp_path / "store"
    with tsengine.open(store) as db:
        db.create_device("device", serial="D").append_many([{"variable": "t", "value": i} for i in range(10)])
        db.seal()
        db.device("D").append("t", 1)
    MAKE_NEWER[kind](store)
    before = snapshot(store, kind)

    def read() -> Any:
        with tsengine.open(store) as db:
            return db.device("D").points(limit=None)

    with pytest.raises(StorageError, match=r"newer tsengine"):
        read()
    assert any("newer tsengine" in problem for problem in check_folder(store).problems)
    try:
        repair_folder(store)
    except StorageError as error:
        assert "newer tsengine" in str(error)
    assert snapshot(store, kind) == before
