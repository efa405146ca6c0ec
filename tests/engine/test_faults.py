"""The engine when the disk is full or fails: writes are refused, reads go on, nothing acknowledged is lost, and it recovers by itself."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import tsengine
from tests.full_disk import fill_disk
from tsengine import BusyError, Engine, StorageError, StorageFullError, aio
from tsengine.core.os.faulty import Faults
from tsengine.log import LocalLog
from tsengine.store.environment import Environment
from tsengine.store.reserve import RESERVE_BYTES

DAY_US = 86_400_000_000


class Disk:
    """A small file system that can be filled to its last byte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ballast = folder / "ballast"

    def fill(self) -> None:
        fill_disk(self.ballast)

    def free(self) -> None:
        self.ballast.unlink()
        os.sync()


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder, image = tmp_path / "disk", tmp_path / "image"
    folder.mkdir()
    if request.param == "tmpfs":
        mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder]
    else:
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("mkfs.ext4 is not installed: apt-get install e2fsprogs")
        with image.open("wb") as file:
            file.truncate(32 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        mount = ["mount", "-o", "loop", image, folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip(f"a small {request.param} cannot be mounted here")
    yield Disk(folder)
    subprocess.run(["umount", "-l", folder], check=True)


def fill_log(device: tsengine.Device) -> int:
    """Write until the disk takes no more; return the number of points that were acknowledged."""
    stored = 0
    with pytest.raises(StorageFullError):
        while True:
            device.append_many([{"variable": "t", "value": float(stored), "metadata": {"text": "x" * 200}}])
            stored += 1
    return stored


@pytest.mark.parametrize("is_flushed_late", [False, True])
def test_every_kind_of_write_on_a_full_disk(disk: Disk, is_flushed_late: bool) -> None:
    """Registers that are flushed when the disk is full already take some of the reserve; the rest is left for deletes."""
    with tsengine.open(disk.folder / "data") as db:
        columns, registers = db.create_device("columns", chunk_period="day"), db.create_device("registers", type="mutable")
        now_us = db.clock.now_us()
        for day in range(3):
            columns.append_many([{"variable": "old", "value": day, "time": now_us - day * DAY_US}] * 10)
        db.seal()
        registers.append_many([{"variable": "r", "value": number} for number in range(100)])
        if not is_flushed_late:
            db.registers.flush()
        disk.fill()
        db.registers.flush()
        stored = fill_log(columns)
        for _ in range(3):
            with pytest.raises(StorageFullError):
                registers.append("r", 1.0)
        kept = registers.count()
        assert columns.count("t") == stored and kept == 100
        for _ in range(2):
            with pytest.raises(StorageFullError):
                for number in range(5000):  # small commands may fit into what was written ahead, but not for ever
                    db.create_device(f"device {number}", description="x" * 300)
        known = len(db.devices())
        # What frees space works, and reads go on.
        assert db.device(columns.id).count("t") == stored
        oldest = min(columns.chunks(), key=lambda chunk: chunk.start)
        columns.delete_chunk(oldest.id)
        assert columns.count("old") == 20
        registers.delete(limit=50)
        assert registers.count() == 50
        disk.free()
        db.create_device("one more")
        columns.append("t", 1.0)
        registers.append("r", 1.0)
        assert (columns.count("t"), registers.count(), len(db.devices())) == (stored + 1, 51, known + 1)
        db.seal()
        db._maintain()
        assert (disk.folder / "data" / "reserve").stat().st_size == RESERVE_BYTES
    with tsengine.open(disk.folder / "data") as db:
        assert (db.device(columns.id).count("t"), db.device(registers.id).count(), len(db.devices())) == (stored + 1, 51, known + 1)
        assert db.check().problems == []


def test_work_in_the_background_leaves_the_reserve_to_deletes(disk: Disk) -> None:
    with tsengine.open(disk.folder / "data") as db:
        device = db.create_device("columns", chunk_period="day")
        device.append("t", 1.0)
        registers = db.create_device("registers", type="mutable")
        registers.append_many([{"variable": "r", "value": "x" * 1000}] * 300)
        disk.fill()
        db.registers.flush()
        sealed = db.columnar.view.segments
        for work in (db._maintain, db._merge):
            with pytest.raises(StorageFullError, match="no room for the space that is kept for deletes"):
                work()
        assert db.columnar.view.segments == sealed
        device.delete_chunk(device.chunks()[0].id)
        registers.empty()
        assert device.count() == registers.count() == 0
        disk.free()
        db._maintain()
        assert (disk.folder / "data" / "reserve").stat().st_size == RESERVE_BYTES


def test_close_and_open_on_a_full_disk(disk: Disk) -> None:
    with tsengine.open(disk.folder / "data") as db:
        device = db.create_device("device")
        device.append("t", 1.0)
        disk.fill()
        stored = fill_log(device) + 1
    with tsengine.open(disk.folder / "data") as db:
        assert db.device(device.id).count() == stored
        with pytest.raises(StorageFullError):
            db.device(device.id).append_many([{"variable": "t", "value": "x" * 4000}] * 1000)
        disk.free()
        db.device(device.id).append("t", 1.0)
        assert db.check().problems == []


class FullStores:
    """LMDB environments that have no room, as often as the test says; the log has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0
        self.names: tuple[str, ...] = ("catalog", "manifest")
        write = Environment.write

        def refuse(environment: Environment, *args: object, **options: object) -> object:
            if self.left and environment.path.name in self.names:
                self.left -= 1
                raise StorageFullError(errno.ENOSPC, "no space to write", environment.file)
            return write(environment, *args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(Environment, "write", refuse)


def test_a_store_without_room_takes_the_command_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stores = FullStores(monkeypatch)
    with tsengine.open(tmp_path) as db:
        device = db.create_device("device")
        device.append_many([{"variable": "t", "value": 1}] * 10)
        db.create_device("applied")
        stores.left = 4
        with pytest.raises(StorageFullError):
            db.create_device("in doubt")
        with pytest.raises(StorageFullError):
            device.append("t", 2)
        assert device.count() == 10 and len(db.devices()) == 2  # reads go on
        while stores.left:
            with pytest.raises(StorageFullError):
                db.edit_device(device.id, description="refused")
        device.append("t", 3)
        assert device.count() == 11
        assert sorted(known.name for known in db.devices()) == ["applied", "device", "in doubt"]
        stores.left = 1
        device.empty()  # the reserve is given up for it
        assert "was given up" in caplog.text and device.count() == 0
        device.append("t", 3)
        stores.left = 3
        with pytest.raises(StorageFullError):
            device.empty()
        stores.left = 0
        device.append("t", 4)
        assert [point.value for point in device.points()] == [4]
        db.delete_device(db.devices(name="in doubt")[0].id)
    with tsengine.open(tmp_path) as db:
        assert [point.value for point in db.device(device.id).points()] == [4]
        assert sorted(known.name for known in db.devices()) == ["applied", "device"]
        assert db.check().problems == []


def test_points_in_the_group_of_a_command_without_room_are_applied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = FullStores(monkeypatch)
    with tsengine.open(tmp_path) as db:
        device = db.create_device("device")
        device.append("t", 0)
        monkeypatch.setattr(db._reserve, "release", lambda: False)
        device.append_many([{"variable": "t", "value": 1}] * 5, sync=False)
        stores.left = 1
        with pytest.raises(StorageFullError):
            device.empty()  # one group with the points before it, if they were not committed yet
        device.append_many([{"variable": "t", "value": 2}] * 5)
        assert [point.value for point in device.points(limit=None)] == [2] * 5


def test_sync_tells_of_writes_that_nobody_waited_for(tmp_path: Path) -> None:
    with tsengine.open(tmp_path) as db:
        device = db.create_device("device")
        device.append("t", 1.0)
        with Faults("pwrite", nth=1, error=errno.ENOSPC, forever=True):
            device.append("t", 2.0, sync=False)
            with pytest.raises(StorageFullError):
                db.sync()
        db.sync()  # told once
        assert device.count() == 1  # and reads go on
        device.append("t", 3.0)
        assert [point.value for point in device.points()] == [3.0, 1.0]


def test_reads_go_on_after_an_unwaited_write_was_refused(tmp_path: Path) -> None:
    db = tsengine.open(tmp_path)
    device = db.create_device("device")
    device.append("t", 1.0)
    with Faults("pwrite", nth=1, error=errno.ENOSPC, forever=True):
        device.append("t", 2.0, sync=False)
        for _ in range(3):
            assert [point.value for point in device.points()] == [1.0]
    with pytest.raises(StorageFullError):
        db.close()  # nobody was told before


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_after_a_failed_sync_writes_are_refused_until_reopen_and_reads_go_on(tmp_path: Path, error: int) -> None:
    """Also for lack of space: the pages that found none are marked clean, so nothing that was not synced can be trusted."""
    db = tsengine.open(tmp_path)
    devices = [db.create_device("columns"), db.create_device("registers", type="mutable")]
    for device in devices:
        device.append("t", 1.0)
    with Faults("fdatasync", nth=1, error=error), pytest.raises(StorageError, match="reopen"):
        devices[0].append("t", 2.0)
    for device in devices:
        with pytest.raises(StorageError, match="reopen"):
            device.append("t", 3.0)
        with pytest.raises(StorageError, match="reopen"):
            device.append("t", 3.0, sync=False)
        assert [point.value for point in device.points()] == [1.0]
    with pytest.raises(StorageError, match="reopen"):
        db.create_device("another")
    with pytest.raises(StorageError):
        db.close()
    with tsengine.open(tmp_path) as db:
        columns, registers = (db.device(device.id) for device in devices)
        assert [point.value for point in columns.points()] in ([1.0], [2.0, 1.0])  # the second was in doubt
        assert [point.value for point in registers.points()] == [1.0]
        registers.append("t", 4.0)
        assert db.check().problems == []


# --- asyncio -----------------------------------------------------------------------------------------------------------------


def test_asyncio_writers_are_bounded_and_told_that_the_store_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "QUEUE_BYTES", 40_000)
    log = LocalLog(tmp_path / "wal", queue_bytes=20_000, queue_wait_ms=100)
    entered, may_go = threading.Event(), threading.Event()
    may_go.set()

    class Held(Engine):
        def _apply(self, first_seq: int, records: list[bytes]) -> None:
            entered.set()
            assert may_go.wait(60)
            super()._apply(first_seq, records)

    async def main() -> None:
        async with aio.AsyncEngine(Held(tmp_path, log=log)) as db:
            device = await db.create_device("device")
            await device.append("t", 0)
            entered.clear()
            may_go.clear()
            first = asyncio.create_task(device.append("t", 1))
            await asyncio.to_thread(entered.wait)
            tasks = [asyncio.create_task(device.append("t", "x" * 1000)) for _ in range(100)]
            busy, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert all(isinstance(task.exception(), BusyError) for task in busy)  # those for whom there is no place to wait
            while len(pending) > 30:  # those who waited for the stated time
                more, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                assert all(isinstance(task.exception(), BusyError) for task in more)
                busy |= more
            assert 10 <= len(pending) <= 20  # staged
            assert await device.count() >= 0 if may_go.is_set() else True
            may_go.set()
            await asyncio.gather(first, *pending)
            assert await device.count() == 2 + len(pending)
            await device.append("t", 2)

    asyncio.run(main())


# --- after a crash -----------------------------------------------------------------------------------------------------------


def test_a_torn_tail_is_cut_off_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with tsengine.open(tmp_path / "data") as db:
        device = db.create_device("device")
        device.append("t", 1.0)
        device.append("t", 2.0)
        shutil.copytree(tmp_path / "data", tmp_path / "killed")
        assert db.stats()["log_torn_bytes"] == 0
    wal = next((tmp_path / "killed" / "wal").glob("*.wal"))
    content = wal.read_bytes().rstrip(b"\0")
    wal.write_bytes(content[:-10])
    with tsengine.open(tmp_path / "killed") as db:
        assert [point.value for point in db.device(device.id).points()] == [1.0]
        assert db.stats()["log_torn_bytes"] > 0
        assert "never acknowledged" in caplog.text and wal.parent.name in caplog.text
        assert db.check().problems == []
    with tsengine.open(tmp_path / "killed") as db:
        assert db.stats()["log_torn_bytes"] == 0
