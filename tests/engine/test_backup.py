"""Backups: consistent while writes, seals and merges go on; one that did not finish is never taken for a whole one."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tsengine
import tsengine.care.backup as backup_module
from tests.full_disk import tmpfs
from tsengine import Device, Engine, StorageError, StorageFullError
from tsengine.care.check import check_folder
from tsengine.server.filestore import FileStore
from tsengine.transfer import Import

T0 = 1_700_000_000_000_000

BATCH = 200
"""Rows of a batch of an import."""


def fill(db: Engine) -> tuple[Device, Device]:
    """An immutable device with several segments, and a mutable one."""
    columns, registers = db.create_device("columns"), db.create_device("registers", type="mutable")
    for part in range(3):
        columns.append_columns("old", T0 + part * 10**10 + np.arange(2_000), np.arange(2_000) / 10)
        db.seal()
    registers.append_many([{"variable": "old", "value": n} for n in range(500)])
    return columns, registers


def test_a_backup_under_load_holds_what_was_acknowledged(tmp_path: Path) -> None:
    """Each writer's batches are a prefix of what it wrote, at least as long as what was acknowledged before the backup."""
    with tsengine.open(tmp_path / "data", memory_mb=1) as db:
        devices = fill(db)
        acknowledged = [0] * 4
        stop = threading.Event()

        def write(writer: int) -> None:
            device = devices[writer % 2]
            while not stop.is_set() and acknowledged[writer] < 2_000:
                number = acknowledged[writer]
                device.append_many([{"variable": f"w{writer}", "value": number, "time": T0 + number} for _ in range(5)])
                acknowledged[writer] = number + 1

        def seal_and_merge() -> None:
            while not stop.is_set():
                db.compact()

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        threads.append(threading.Thread(target=seal_and_merge))
        for thread in threads:
            thread.start()
        reached: list[tuple[list[int], list[int]]] = []
        seen: list[tuple[int, int]] = []
        try:
            for number in range(3):
                before = acknowledged.copy()
                db.backup(tmp_path / f"backup{number}", lambda done, total: seen.append((done, total)))
                reached.append((before, acknowledged.copy()))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert seen and seen[-1][0] == seen[-1][1] > 0
    for number, (before, after) in enumerate(reached):
        path = tmp_path / f"backup{number}"
        assert check_folder(path).problems == []
        with tsengine.open(path) as copy:
            for device in devices:
                assert copy.device(device.id).count("old") == device_old(device)
            for writer in range(4):
                values = [point.value for point in copy.device(devices[writer % 2].id).points(f"w{writer}", limit=None, order="asc")]
                batches = len(values) // 5
                assert values == [value for value in range(batches) for _ in range(5)]
                assert before[writer] <= batches <= after[writer] + 1
            copy.device(devices[0].id).append("more", 1.0)


def device_old(device: Device) -> int:
    return 6_000 if device.type == "immutable" else 500


def test_seals_merges_and_writes_go_on_while_segments_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_file = shutil.copyfile
    with tsengine.open(tmp_path / "data") as db:
        columns, _ = fill(db)

        def meanwhile(source: Path, target: Path) -> None:
            columns.append("new", 1.0)
            db.compact()
            copy_file(source, target)

        monkeypatch.setattr(shutil, "copyfile", meanwhile)
        db.backup(tmp_path / "backup")
        assert columns.count("new") >= 1
        assert len(list((tmp_path / "data" / "segments").iterdir())) == len(db.columnar.view.segments)
    with tsengine.open(tmp_path / "backup") as copy:
        assert copy.check().problems == []
        assert (copy.device(columns.id).count("old"), copy.device(columns.id).count("new")) == (6_000, 0)


def test_a_store_in_memory_is_backed_up_whole(tmp_path: Path) -> None:
    with tsengine.open(tmp_path / "data", durability="memory") as db:
        columns, registers = fill(db)
        columns.append("new", 1.0)
        db.backup(tmp_path / "backup")
    with tsengine.open(tmp_path / "backup") as copy:
        assert (copy.device(columns.id).count(), copy.device(registers.id).count()) == (6_001, 500)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_backup_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(source: Path, target: Path) -> None:
        raise error

    with tsengine.open(tmp_path / "data") as db:
        columns, _ = fill(db)
        with monkeypatch.context() as context:
            context.setattr(shutil, "copyfile", fail)
            with pytest.raises(StorageFullError if isinstance(error, OSError) else KeyboardInterrupt):
                db.backup(tmp_path / "backup")
        assert list((tmp_path / "backup").iterdir()) == []
        db.backup(tmp_path / "backup")
    with tsengine.open(tmp_path / "backup") as copy:
        assert copy.device(columns.id).count() == 6_000


def test_a_backup_that_was_killed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with tsengine.open(tmp_path / "data") as db:
        fill(db)
        with monkeypatch.context() as context:  # a kill does not clean up
            context.setattr(backup_module, "remove_copy", lambda target: None)
            context.setattr(backup_module, "copy_segments", fail)
            with pytest.raises(KeyboardInterrupt):
                db.backup(tmp_path / "backup")
        with pytest.raises(tsengine.InputError, match="not empty"):
            db.backup(tmp_path / "backup")
    with pytest.raises(StorageError, match="a backup into this folder was interrupted"):
        tsengine.open(tmp_path / "backup")
    assert any("interrupted" in problem for problem in check_folder(tmp_path / "backup").problems)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "disk", "1m") as folder:
        yield folder


def test_a_full_disk_leaves_no_half_backup(tmp_path: Path, small_disk: Path) -> None:
    with tsengine.open(tmp_path / "data") as db:
        columns, _ = fill(db)
        values = np.random.default_rng(7).random(300_000)
        columns.append_columns("noise", T0 + np.arange(300_000), values)
        with pytest.raises(StorageFullError):
            db.backup(small_disk / "backup")
        assert list((small_disk / "backup").iterdir()) == []
        assert columns.count("noise") == 300_000
        columns.append("more", 1.0)


def test_a_backup_to_a_disk_that_fails_altogether_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be told of such a disk, not even whether a file is there (met in a power cut)."""
    target = tmp_path / "copy"
    stat = Path.stat

    def fail(path: Path, **options: bool) -> object:
        if target in path.parents:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return stat(path, **options)

    with tsengine.open(tmp_path / "data") as db:
        fill(db)
        monkeypatch.setattr(Path, "stat", fail)
        with pytest.raises(StorageError, match="Input/output error"):
            db.backup(target)
        monkeypatch.undo()
        with pytest.raises(StorageError):
            tsengine.open(target)
        shutil.rmtree(target)
        db.backup(target)
    assert check_folder(target).problems == []


def test_a_write_behind_a_bulk_load_is_not_copied_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load is committed after the manifest was copied, and a write of the same device is logged before the log is."""
    with tsengine.open(tmp_path / "data") as db:
        columns, registers = fill(db)
        copy = backup_module.copy_log

        def copy_late(*arguments: Any) -> None:
            columns.append_columns("load", T0 + np.arange(300_000), np.arange(300_000))
            columns.append("behind", 1.0)
            copy(*arguments)

        monkeypatch.setattr(backup_module, "copy_log", copy_late)
        db.backup(tmp_path / "backup")
    with tsengine.open(tmp_path / "backup") as db:
        assert (db.device(columns.id).count("load"), db.device(columns.id).count("behind")) == (0, 0)
        assert (db.device(columns.id).count("old"), db.device(registers.id).count("old")) == (6_000, 500)


def server_files(store: Path) -> dict[str, tuple[bytes, int, int]]:
    """What lies beside the stores: content, mode and time of change by path."""
    found = {}
    for name in ("files", "jobs", "imports", "account-token"):
        for path in [store / name, *(store / name).rglob("*")]:
            if path.is_file():
                found[str(path.relative_to(store))] = (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
    return found


def test_a_backup_holds_the_files_of_the_server(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "backup"
    with tsengine.open(data) as db:
        files = FileStore(data, 10**9, db.beside)
        for path, is_public in (("a/b/c.csv", False), ("a/\u00e4.png", True), ("d", False)):
            with files.temporary() as temporary:
                temporary.file.write(path.encode() * 1_000)
                files.publish(temporary, path, is_public=is_public)
        os.utime(data / "files" / "d", (1_600_000_000, 1_600_000_000))
        (data / "files" / "link").symlink_to("/etc/hostname")
        with files.temporary():
            (data / "account-token").write_text("p-secret")
            (data / "account-token").chmod(0o600)
            db.backup(copy)
        assert server_files(copy).pop("files/d")[2] == 1_600_000_000 * 10**9
        whole = server_files(data)
        del whole["files/link"]
        assert server_files(copy) == whole and len(whole) == 4
        assert not (copy / "uploads").exists()
    with tsengine.open(copy) as db:
        copied = FileStore(copy, 10**9, db.beside)
        assert copied.publicity("a/\u00e4.png") and not copied.publicity("a/b/c.csv")
        assert copied.used_bytes() == files.used_bytes()


def test_files_that_move_while_they_are_copied_are_in_the_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, copy = tmp_path / "data", tmp_path / "backup"
    with tsengine.open(data) as db:
        files = FileStore(data, 10**9, db.beside)
        for number in range(20):
            with files.temporary() as temporary:
                temporary.file.write(b"%d" % number)
                files.publish(temporary, f"from/{number}", is_public=False)
        copy_file = backup_module.copy_file

        def meanwhile(source: Path, target: Path, mode: int) -> None:
            copy_file(source, target, mode)
            if files.exists("from/7") and not db.beside.locked():
                files.move("from", "to")
                files.delete("to/3")

        monkeypatch.setattr(backup_module, "copy_file", meanwhile)
        db.backup(copy)
        assert server_files(copy) == server_files(data)
        assert len(server_files(copy)) == 19 and not (copy / "files" / "from").exists()


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_an_import_that_was_running_goes_on_in_the_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """However far it came: each row is there once."""
    monkeypatch.setattr("tsengine.transfer.parts.BATCH_POINTS", BATCH)
    source = tmp_path / "source.csv"
    rows = 3 * BATCH
    source.write_text("variable,value,time_us\n" + "".join(f"a,{n},{T0 + n}\n" for n in range(rows)))
    with tsengine.open(tmp_path / "data") as db:
        device = db.create_device("device", chunk_limit=None)
        seen = 0

        def progress(done: int, total: int) -> None:
            nonlocal seen
            if seen == batch:
                db.backup(tmp_path / "backup")
            seen += 1

        Import(db, device, source, format="csv").run(progress)
        assert seen == 3
    with tsengine.open(tmp_path / "backup") as db:
        copied = db.device(device.id)
        assert copied.count() == (batch + 1) * BATCH
        assert Import(db, copied, source, format="csv", resume=True).run() == rows
        assert copied.read("a")[1].tolist() == list(range(rows))


def test_an_import_beside_backups_is_in_each_of_them_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsengine.transfer.parts.BATCH_POINTS", BATCH)
    source = tmp_path / "source.csv"
    rows = 100 * BATCH
    source.write_text("variable,value,time_us\n" + "".join(f"a,{n},{T0 + n}\n" for n in range(rows)))
    with tsengine.open(tmp_path / "data", durability="os") as db:
        device = db.create_device("device", chunk_limit=None)
        thread = threading.Thread(target=Import(db, device, source, format="csv").run)
        thread.start()
        copies = 0
        while thread.is_alive() and copies < 8:
            db.backup(tmp_path / f"backup{copies}")
            copies += 1
        thread.join()
    for number in range(copies):
        with tsengine.open(tmp_path / f"backup{number}", durability="os") as db:
            copied = db.device(device.id)
            assert Import(db, copied, source, format="csv", resume=True).run() == rows
            assert copied.count() == rows


def test_a_backup_into_the_store_itself_is_refused(tmp_path: Path) -> None:
    with tsengine.open(tmp_path / "data") as db:
        (tmp_path / "link").symlink_to(tmp_path / "data")
        for folder in (tmp_path / "data", tmp_path / "data" / "files" / "x", tmp_path / "link" / "files"):
            with pytest.raises(tsengine.InputError, match=r"not empty|lies in the store"):
                db.backup(folder)
