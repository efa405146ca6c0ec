"""Opening, closing and caring for a store: one owner, damage, full and read-only disks, backups, limits, retention."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import tsengine
from tsengine import (
    BusyError,
    ClosedError,
    CorruptionError,
    InputError,
    LimitError,
    ManualClock,
    NotFoundError,
    StorageError,
    StorageFullError,
)
from tsengine.types import NO_DEVICE

NOON_US = 1_795_262_400_000_000  # 2026-11-21T12:00:00Z
DAY_US = 86_400_000_000


def numbers(count: int, *, start_us: int = NOON_US - DAY_US) -> tuple[np.ndarray, np.ndarray]:
    """Times a second apart and values of one decimal."""
    return start_us + np.arange(count, dtype=np.int64) * 1_000_000, np.round(np.sin(np.arange(count) / 50) * 20, 1)


# --- one owner ---------------------------------------------------------------------------------------------------------


def test_a_second_process_is_told_who_owns_the_store(tmp_path: Path) -> None:
    with tsengine.open(tmp_path):
        code = f"import tsengine\ntry:\n    tsengine.open({str(tmp_path)!r})\nexcept tsengine.BusyError as error:\n    print(error)"
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"is open in process {os.getpid()}" in answer


def test_the_same_process_cannot_open_a_store_twice(tmp_path: Path) -> None:
    with tsengine.open(tmp_path), pytest.raises(BusyError):
        tsengine.open(tmp_path)
    tsengine.open(tmp_path).close()


def test_everything_raises_closed_error_after_close(tmp_path: Path) -> None:
    db = tsengine.open(tmp_path)
    device = db.create_device("device")
    db.close()
    db.close()
    for call in (
        lambda: device.append("t", 1.0),
        lambda: device.points(),
        lambda: device.read("t"),
        lambda: device.count(),
        lambda: db.sync(),
        lambda: db.create_device("other"),
        lambda: db.devices(),
        lambda: db.stats(),
    ):
        with pytest.raises(ClosedError):
            call()


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    with tsengine.open(tmp_path / "data") as db:
        db.create_device("device").append("t", 1.0)
        db.seal()
    for path in [tmp_path / "data", *(tmp_path / "data").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


# --- damage --------------------------------------------------------------------------------------------------------------


def test_a_damaged_segment_is_an_error_that_names_it_and_the_rest_stays_readable(tmp_path: Path) -> None:
    with tsengine.open(tmp_path) as db:
        bad, good = db.create_device("bad"), db.create_device("good")
        bad.append_columns("t", *numbers(5_000))
        db.seal()
        good.append_columns("t", *numbers(5_000))
        db.seal()
    path = min((tmp_path / "segments").iterdir())
    data = bytearray(path.read_bytes())
    data[100] ^= 0x40
    path.write_bytes(data)
    with tsengine.open(tmp_path) as db:
        with pytest.raises(CorruptionError) as caught:
            db.device(bad.id).read("t")
        assert caught.value.file == str(path)
        assert caught.value.offset >= 16
        assert len(db.device(good.id).read("t")[0]) == 5_000
        assert [problem for problem in db.check().problems if path.name in problem]


def test_a_missing_segment_is_an_error(tmp_path: Path) -> None:
    with tsengine.open(tmp_path) as db:
        device = db.create_device("device")
        device.append_columns("t", *numbers(100))
        db.seal()
    next((tmp_path / "segments").iterdir()).unlink()
    with tsengine.open(tmp_path) as db, pytest.raises(StorageError):
        db.device(device.id).read("t")


def test_a_torn_end_of_the_log_is_cut_off(tmp_path: Path) -> None:
    db = tsengine.open(tmp_path / "data")
    device = db.create_device("device")
    device.append("t", 1.0)
    device.append("t", 2.0)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")  # what a kill leaves
    db.close()
    wal = max((tmp_path / "copy" / "wal").glob("*.wal"))
    data = bytearray(wal.read_bytes())
    end = len(bytes(data).rstrip(b"\0"))
    data[end - 5] ^= 1
    wal.write_bytes(data)
    with tsengine.open(tmp_path / "copy") as copy:
        assert [point.value for point in copy.device(device.id).points()] == [1.0]
        copy.device(device.id).append("t", 3.0)
    with tsengine.open(tmp_path / "copy") as copy:
        assert [point.value for point in copy.device(device.id).points(order="asc")] == [1.0, 3.0]


def test_damage_in_the_middle_of_the_log_is_refused(tmp_path: Path) -> None:
    db = tsengine.open(tmp_path / "data")
    device = db.create_device("device")
    for number in range(20):
        device.append("t", float(number))
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    db.close()
    wal = max((tmp_path / "copy" / "wal").glob("*.wal"))
    data = bytearray(wal.read_bytes())
    end = len(bytes(data).rstrip(b"\0"))
    data[end // 2] ^= 1
    wal.write_bytes(data)
    with pytest.raises(CorruptionError) as caught:
        tsengine.open(tmp_path / "copy")
    assert caught.value.file == str(wal)
    tsengine.open(tmp_path / "data").close()  # the failed open left nothing locked or changed elsewhere


# --- disks ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of a few megabytes."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_refuses_writes_keeps_reads_and_recovers(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with tsengine.open(small_disk / "data") as db:
        device = db.create_device("device")
        device.append("t", 0.0)
        stored = 1
        ballast.write_bytes(bytes(2 << 20))
        with pytest.raises(StorageFullError):
            for _ in range(3_000):
                device.append_columns("t", *numbers(1_000))
                stored += 1_000
        assert device.count() == stored
        ballast.unlink()
        device.append("t", 1.0)
        assert device.count() == stored + 1
    with tsengine.open(small_disk / "data") as db:
        assert db.device(device.id).count() == stored + 1
        assert db.check().problems == []


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError):
        tsengine.open(tmp_path / "file" / "data")


def test_a_read_only_disk_is_a_storage_error(small_disk: Path) -> None:
    tsengine.open(small_disk / "data").close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StorageError):
        tsengine.open(small_disk / "data")


# --- durability and order --------------------------------------------------------------------------------------------------


def test_a_write_without_sync_is_readable_at_once_and_durable_after_sync(tmp_path: Path) -> None:
    with tsengine.open(tmp_path) as db:
        device = db.create_device("device")
        for number in range(500):
            device.append("t", float(number), sync=False)
            assert device.last()[0].value == float(number)
        db.sync()
        assert db.log.durable_seq == db.log.last_seq


def test_memory_durability_keeps_what_was_closed(tmp_path: Path) -> None:
    with tsengine.open(tmp_path, durability="memory") as db:
        db.create_device("device", serial="S").append("t", 1.0)
    with tsengine.open(tmp_path) as db:
        assert db.device("S").count() == 1


def test_writers_in_many_threads_lose_nothing_and_keep_their_order(tmp_path: Path) -> None:
    with tsengine.open(tmp_path, memory_mb=1) as db:
        device = db.create_device("device", chunk_limit=None)

        def write(name: str) -> None:
            for number in range(200):
                device.append_many([{"variable": name, "value": number, "time": NOON_US} for _ in range(10)])

        threads = [threading.Thread(target=write, args=(f"v{i}",)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        db.compact()
        for i in range(16):
            assert device.read(f"v{i}")[1].tolist() == [number for number in range(200) for _ in range(10)]


def test_readers_see_whole_batches_while_segments_come_and_go(tmp_path: Path) -> None:
    with tsengine.open(tmp_path, memory_mb=1) as db:
        device = db.create_device("device")
        stop = threading.Event()
        problems: list[str] = []

        def read() -> None:
            while not stop.is_set():
                count = device.count("t")
                values = device.read("t")[1]
                if count % 100 or len(values) < count or (values != np.arange(len(values)) % 100).any():
                    problems.append(f"{count} {len(values)}")

        reader = threading.Thread(target=read)
        reader.start()
        for number in range(300):
            times = NOON_US + number * 1_000_000 + np.arange(100)
            device.append_columns("t", times, np.arange(100), sync=False)
            if number % 50 == 0:
                db.seal()
            if number % 120 == 0:
                db.compact()
        stop.set()
        reader.join()
        assert problems == []


# --- limits and retention ------------------------------------------------------------------------------------------------


def test_the_limit_of_registers_is_exact(tmp_path: Path) -> None:
    with tsengine.open(tmp_path) as db:
        device = db.create_device("device", type="mutable")
        device.append_many([{"variable": "t", "value": 1.0}] * 49_999)
        with pytest.raises(LimitError, match="The device has reached the limit of 50000 data registers"):
            device.append_many([{"variable": "t", "value": 1.0}] * 2)
        device.append("t", 2.0)
        with pytest.raises(LimitError):
            device.append("t", 3.0)
        assert device.count() == 50_000
        assert device.delete(limit=1) == 1
        device.append("t", 3.0)
        assert device.count() == 50_000


def test_writers_from_many_threads_never_pass_the_limit_of_registers(tmp_path: Path) -> None:
    """Batches are refused whole, what was deleted makes room, and the count is what was taken."""
    with tsengine.open(tmp_path, durability="os") as db:
        device = db.create_device("device", type="mutable")
        device.append_many([{"variable": "t", "value": 1.0}] * 49_000)
        taken: list[int] = []
        failures: list[BaseException] = []

        def work(size: int) -> None:
            try:
                for number in range(40):
                    try:
                        taken.append(device.append_many([{"variable": f"w{size}", "value": 1.0}] * size))
                    except LimitError:
                        taken.append(-device.delete(variables=f"w{size}", limit=size + 1))
                    if number % 5 == 0:
                        assert device.count() <= 50_000
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(size,)) for size in (7, 13, 50, 90)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert device.count() == 49_000 + sum(taken) <= 50_000
        device.append_many([{"variable": "t", "value": 1.0}] * (50_000 - device.count()))
        with pytest.raises(LimitError):
            device.append("t", 1.0)
        assert db.check().problems == []


def test_a_full_chunk_refuses_the_batch_and_others_still_take(tmp_path: Path) -> None:
    with tsengine.open(tmp_path, clock=ManualClock(NOON_US)) as db:
        device = db.create_device("device", chunk_period="day", chunk_limit=10, point_limit=15)
        device.append_many([{"variable": "t", "value": 1.0}] * 9)
        with pytest.raises(LimitError, match="The chunk 1795219200_1795305599 has reached the limit of 10 data registers"):
            device.append_many([{"variable": "t", "value": 1.0}] * 2)
        device.append_many([{"variable": "t", "value": 1.0, "time": NOON_US - DAY_US}] * 6)
        with pytest.raises(LimitError, match="The device has reached the limit of 15 data registers"):
            device.append("t", 1.0)
        device.delete_chunk("1795219200_1795305599")
        device.append("t", 1.0)
        assert device.count() == 7


def test_the_window_follows_retention(tmp_path: Path) -> None:
    clock = ManualClock(1_795_226_400_000_000)  # 2026-11-21T02:00:00Z
    with tsengine.open(tmp_path, clock=clock) as db:
        device = db.create_device("device", chunk_period="month", chunk_retention=1)
        for time in ("2026-10-01T00:00:00Z", "2026-11-22T23:59:59.999999Z"):
            device.append("t", 1.0, time=time)
        for time in ("2026-09-30T23:59:59.999999Z", "2026-11-23T00:00:00Z"):
            with pytest.raises(InputError, match="Time must be between 2026-10-01 and 2026-11-22"):
                device.append("t", 1.0, time=time)
        db.seal()
        clock.advance(seconds=10 * 86_400)  # December: October is no longer kept
        assert device.count() == 1
        assert [chunk.start for chunk in device.chunks()] == [datetime(2026, 11, 1, tzinfo=UTC)]
        assert len(db.columnar.view.segments) == 2
        db.compact()
        assert len(db.columnar.view.segments) == 1


def test_a_jump_of_the_clock_hides_but_does_not_destroy(tmp_path: Path) -> None:
    clock = ManualClock(NOON_US)
    with tsengine.open(tmp_path, clock=clock) as db:
        device = db.create_device("device", chunk_period="day", chunk_retention=1)
        device.append("t", 1.0)
        db.seal()
        clock.advance(seconds=3600)
        clock.jump(seconds=400 * 86_400)
        assert device.count() == 0
        db.compact()
        clock.jump(seconds=-400 * 86_400)
        assert device.count() == 1


def test_space_of_a_deleted_device_comes_back(tmp_path: Path) -> None:
    with tsengine.open(tmp_path) as db:
        kept, gone = db.create_device("kept"), db.create_device("gone")
        for device in (kept, gone):
            device.append_columns("t", *numbers(20_000))
        db.seal()
        before = db.stats()["segment_bytes"]
        db.delete_device(gone.id)
        db.compact()
        assert db.stats()["segment_bytes"] < before * 0.6
        assert kept.count() == 20_000
        with pytest.raises(NotFoundError):
            gone.append("t", 1.0)


# --- backup --------------------------------------------------------------------------------------------------------------


def test_a_backup_taken_while_writing_opens_and_is_sound(tmp_path: Path) -> None:
    with tsengine.open(tmp_path / "data", memory_mb=1) as db:
        device = db.create_device("columnar")
        registers = db.create_device("registers", type="mutable")
        token = db.create_token(device.id, "Default")
        device.append_columns("t", *numbers(50_000))
        db.seal()
        registers.append_many([{"variable": "r", "value": number} for number in range(1_000)])
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                device.append_many([{"variable": "live", "value": 1.0}] * 10)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            db.backup(tmp_path / "backup")
        finally:
            stop.set()
            writer.join()
        with pytest.raises(InputError):
            db.backup(tmp_path / "backup")
    with tsengine.open(tmp_path / "backup") as copy:
        assert copy.check().problems == []
        assert copy.device(device.id).count("t") == 50_000
        assert copy.device(device.id).count("live") % 10 == 0
        assert copy.device(registers.id).count() == 1_000
        assert copy.find_token(token.token) is not None
        copy.device(device.id).append("t", 1.0)


def test_a_delete_while_segments_are_copied_does_not_make_a_backup_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tsengine.open(tmp_path / "data") as db:
        device = db.create_device("device")
        device.append_columns("t", *numbers(5_000))
        db.seal()
        copy_file = shutil.copyfile

        def delete_then_copy(source: Path, target: Path) -> None:
            device.empty()
            copy_file(source, target)

        monkeypatch.setattr(shutil, "copyfile", delete_then_copy)
        db.backup(tmp_path / "backup")
        assert list((tmp_path / "data" / "segments").iterdir()) == []
    with tsengine.open(tmp_path / "backup") as copy:
        assert copy.check().problems == []
        assert copy.device(device.id).count() == 5_000  # the delete came after the log was copied


# --- the fleet -----------------------------------------------------------------------------------------------------------


def test_devices_are_found_by_id_serial_name_and_tags(tmp_path: Path) -> None:
    with tsengine.open(tmp_path) as db:
        one = db.create_device("Freezer one", serial="S1", tags=[("site", "Lisbon"), ("floor", "1")])
        two = db.create_device("freezer two", type="mutable", tags=[{"key": "site", "value": "Porto"}])
        assert db.device("S1").id == one.id
        assert [device.id for device in db.devices(name="FREEZER*")] == [one.id, two.id]
        assert [device.id for device in db.devices(tags=[("site", "l*")])] == [one.id]
        assert [device.id for device in db.devices(type="mutable")] == [two.id]
        with pytest.raises(InputError, match="serial"):
            db.create_device("third", serial="S1")
        with pytest.raises(NotFoundError):
            db.device("S2")
        assert db.edit_device(two.id, name="Fridge", serial="S2", extra={"a": 1}).info.extra == {"a": 1}
        assert db.device("S2").name == "Fridge"
        with pytest.raises(InputError):
            db.edit_device(two.id, type="immutable")


def test_tokens_expire_and_are_revoked(tmp_path: Path) -> None:
    clock = ManualClock(NOON_US)
    with tsengine.open(tmp_path, clock=clock) as db:
        device = db.create_device("device")
        expire = datetime.fromtimestamp(NOON_US / 1e6, UTC) + timedelta(hours=1)
        token = db.create_token(device.id, "Default", expire=expire)
        assert db.find_token(token.token) == token
        assert db.find_token("nonsense") is None
        clock.advance(seconds=3601)
        assert db.find_token(token.token) is None
        db.delete_token(token.token)
        assert db.tokens(device.id) == []
        with pytest.raises(NotFoundError):
            db.delete_token(token.token)


def test_authorization_tokens_are_found_by_secret_and_by_hash_until_they_expire(tmp_path: Path) -> None:
    clock = ManualClock(NOON_US)
    with tsengine.open(tmp_path, clock=clock) as db:
        device = db.create_device("device")
        token = db.create_authorization("gateway", expire=datetime.fromtimestamp(NOON_US / 1e6, UTC) + timedelta(hours=1))
        assert re.fullmatch("at[0-9a-f]{32}", token.token)
        assert (token.permission, token.device) == ("write", NO_DEVICE)
        hash = hashlib.sha256(token.token[2:].encode()).digest()
        assert db.find_authorization(token.token) == db.find_authorization_hash(hash[:8]) == db.find_authorization_hash(hash) == token
        assert db.find_token(token.token) is db.find_authorization_hash(hash[:7]) is db.find_authorization_hash(b"12345678") is None
        own = db.create_token(device.id, "Default").token
        assert db.find_authorization(own) is None
        assert db.find_authorization_hash(hashlib.sha256(own.encode()).digest()) is None
        assert (db.authorizations(), [each.token for each in db.tokens(device.id)]) == ([token], [own])
        clock.advance(seconds=3601)
        assert db.find_authorization(token.token) is db.find_authorization_hash(hash) is None
        db.delete_token(token.token)
        assert db.authorizations() == []
        with pytest.raises(InputError, match="permission"):
            db.create_authorization("gateway", permission="all")


def test_only_an_empty_inactive_device_is_converted_and_keeps_its_tokens(tmp_path: Path) -> None:
    with tsengine.open(tmp_path) as db:
        device = db.create_device("device", type="mutable", serial="S1")
        token = db.create_token(device.id, "Default").token
        device.append("a", 1)
        with pytest.raises(InputError, match="active"):
            db.convert_device(device.id, type="immutable")
        db.edit_device(device.id, active=False)
        with pytest.raises(InputError, match="not empty"):
            db.convert_device(device.id, type="immutable")
        device.empty()
        with pytest.raises(InputError, match="chunk_period"):
            db.convert_device(device.id, type="immutable", chunk_period="year")
        with pytest.raises(NotFoundError):
            db.convert_device("nobody", type="immutable")
        converted = db.convert_device(device.id, type="immutable", chunk_period="day", chunk_retention=3)
        assert (converted.id, converted.info.serial, converted.info.chunk_period) == (device.id, "S1", "day")
        converted.append("a", 2)
        found = db.find_token(token)
        assert found is not None and found.device == converted.number
        with pytest.raises(NotFoundError):
            device.append("a", 3)  # made before
    with tsengine.open(tmp_path) as db:
        assert [point.value for point in db.device("S1").points()] == [2]
        assert db.check().is_sound


def test_points_of_a_converted_device_that_are_replayed_do_not_reach_the_other_store(tmp_path: Path) -> None:
    """After a kill the catalog may be ahead of the other stores: what it says of the device now is not what it was then."""
    with tsengine.open(tmp_path / "data", durability="os") as db:
        device = db.create_device("device", type="immutable")
        device.append_many([{"variable": "a", "value": i} for i in range(100)])
        device.empty()
        db.edit_device(device.id, active=False)
        converted = db.convert_device(device.id, type="mutable")
        converted.append("b", 1)
        shutil.copytree(tmp_path / "data", tmp_path / "copy")  # what a kill leaves behind
    with tsengine.open(tmp_path / "copy") as db:
        assert [(point.variable, point.value) for point in db.device(device.id).points()] == [("b", 1)]
        assert db.check().is_sound
