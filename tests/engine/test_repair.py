"""check and repair over really damaged files: what is not in the damaged parts reads back equal, and nothing is destroyed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tsengine
import tsengine.care.repair as repair_module
from tests.store import reader
from tsengine import Device, Engine, Point, StorageError
from tsengine.care.check import Report, check_folder
from tsengine.care.repair import Repair, repair_folder
from tsengine.core.log.frame import FrameWalker
from tsengine.errors import CorruptionError
from tsengine.log import LocalLog
from tsengine.store.catalog import Catalog
from tsengine.store.registers import Registers
from tsengine.types import Parameter, Token

T0 = 1_700_000_000_000_000
Content = dict[str, dict[str, Point]]
"""Name of a device -> id -> point."""


def open_small(path: Path) -> Engine:
    """A store whose log has files of a few kilobytes."""
    return Engine(path, log=LocalLog(path / "wal", file_bytes=3_000))


def content_of(db: Engine) -> Content:
    return {device.name: {point.id or "": point for point in device.points(limit=None)} for device in db.devices()}


def opened_content(path: Path) -> Content:
    with tsengine.open(path, durability="os") as db:
        assert db.check().problems == []
        return content_of(db)


def files_of(path: Path) -> dict[str, bytes]:
    """Every file of a store but the locks."""
    found = (file for file in path.rglob("*") if file.is_file() and file.name not in ("lock", "lock.mdb"))
    return {str(file.relative_to(path)): file.read_bytes() for file in found}


class Damaged:
    """A store as a kill left it, what was in it, and for each log sequence which points came with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.points_of: dict[int, tuple[str, set[str]]] = {}
        with open_small(path.with_name("live")) as db:
            columns = db.create_device("columns")
            registers = db.create_device("registers", type="mutable")
            db.create_token(columns.id, "sensor")
            for month in range(3):
                times = T0 + month * 31 * 86_400_000_000 + np.arange(3_000, dtype=np.int64) * 1_000_000
                columns.append_columns("number", times, np.arange(3_000) / 10)
                columns.append_columns("text", times[:1_500], np.array([f"state {n % 7}" for n in range(1_500)]))
                db.seal()
            registers.append_many([{"variable": f"r{n % 3}", "value": n, "time": T0 + n} for n in range(100)])
            db.registers.flush()
            for worker in db._workers:  # so that what follows is in the log alone
                worker.stop()
            batches: list[tuple[int, Device, int]] = []
            for number in range(12):
                for device in (columns, registers):
                    device.append_many([{"variable": "live", "value": number + n / 10, "unit": "C"} for n in range(10)])
                    batches.append((int(db.log.last_seq), device, number))
            shutil.copytree(db.path, path)
            self.applied = db.registers.applied_seq
            self.content = content_of(db)
            for seq, device, number in batches:
                points = self.content[device.name].items()
                ids = {id for id, point in points if point.variable == "live" and int(point.value or 0) == number}
                assert len(ids) == 10
                self.points_of[seq] = device.name, ids

    @property
    def segments(self) -> list[Path]:
        return sorted((self.path / "segments").glob("*.seg"))

    @property
    def logs(self) -> list[Path]:
        return sorted((self.path / "wal").glob("*.wal"))

    def without(self, *seqs: int) -> Content:
        """The content without what these log sequences brought."""
        gone = {(name, id) for seq in seqs for name, ids in (self.points_of[seq],) for id in ids}
        return {name: {id: point for id, point in points.items() if (name, id) not in gone} for name, points in self.content.items()}

    def check(self) -> Report:
        """Check, and see that nothing was changed by it."""
        before = files_of(self.path)
        report = check_folder(self.path)
        assert files_of(self.path) == before
        return report

    def repair(self) -> Repair:
        """Repair, and see that every byte that was there still is, that the store is sound, and that a second repair does nothing."""
        before = files_of(self.path)
        assert self.check().problems or self.check().notes
        repair = repair_folder(self.path)
        assert (repair.check.problems, repair.check.notes) == ([], [])
        kept = set(files_of(self.path).values())
        for name, data in before.items():
            if not name.endswith((".mdb", "unfinished")):
                assert data in kept, name
        assert repair_folder(self.path).actions == []
        return repair


def flip(path: Path, offset: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 0x55
    path.write_bytes(raw)


def texts(repair: Repair, action: str) -> list[str]:
    return [done.text for done in repair.actions if done.action == action]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    return Damaged(tmp_path_factory.mktemp("pristine") / "store")


@pytest.fixture
def store(pristine: Damaged, tmp_path: Path) -> Damaged:
    """A copy of the store, to be damaged."""
    copy = object.__new__(Damaged)
    copy.path, copy.content, copy.points_of, copy.applied = tmp_path / "store", pristine.content, pristine.points_of, pristine.applied
    shutil.copytree(pristine.path, copy.path)
    return copy


# --- a sound store -------------------------------------------------------------------------------------------------------


def test_a_sound_store_is_not_touched(store: Damaged) -> None:
    before = files_of(store.path)
    report = store.check()
    assert (report.problems, report.notes, report.segments, report.points, report.registers) == ([], [], 3, 13_500, 100)
    assert report.records >= 24
    assert repair_folder(store.path).actions == []
    assert files_of(store.path) == before
    assert opened_content(store.path) == store.content


def test_an_open_store_is_not_repaired(store: Damaged) -> None:
    with tsengine.open(store.path), pytest.raises(tsengine.BusyError):
        repair_folder(store.path)
    with tsengine.open(store.path), pytest.raises(tsengine.BusyError):
        check_folder(store.path)


# --- segments ------------------------------------------------------------------------------------------------------------


def test_a_damaged_block_is_left_out_and_told(store: Damaged) -> None:
    path = store.segments[0]
    block = reader.read_footer(path.read_bytes()).blocks[1]
    flip(path, block.offset + block.length // 2)
    assert len(store.check().problems) == 1
    repair = store.repair()
    (lost,) = [action for action in repair.actions if action.action == "lost"]
    assert (lost.device, lost.variable, lost.points) == (1, "number", block.point_count)
    assert lost.start is not None and lost.start < (lost.end or "")
    content = opened_content(store.path)
    missing = store.content["columns"].keys() - content["columns"].keys()
    assert len(missing) == block.point_count
    for id in missing:
        assert store.content["columns"][id].variable == "number"
        assert block.first_time <= round(store.content["columns"][id].time.timestamp() * 1e6) <= block.last_time
    assert content == {**store.content, "columns": {id: p for id, p in store.content["columns"].items() if id not in missing}}


def test_a_damaged_dictionary_takes_its_blocks_only(store: Damaged) -> None:
    path = next(path for path in store.segments if reader.read_footer(path.read_bytes()).dictionaries[0].length > 0)
    footer = reader.read_footer(path.read_bytes())
    flip(path, footer.dictionaries[0].offset + footer.dictionaries[0].length - 1)
    lost_points = sum(block.point_count for block in footer.blocks if block.dictionary == 0)
    repair = store.repair()
    assert sum(action.points or 0 for action in repair.actions if action.action == "lost") == lost_points > 0
    content = opened_content(store.path)
    assert len(content["columns"]) == len(store.content["columns"]) - lost_points
    assert content["columns"].items() <= store.content["columns"].items()
    assert content["registers"] == store.content["registers"]


def test_every_block_of_a_segment_damaged(store: Damaged) -> None:
    path = store.segments[0]
    blocks = reader.read_footer(path.read_bytes()).blocks
    for block in blocks:
        flip(path, block.offset)
    assert len(store.check().problems) == len(blocks)
    store.repair()
    assert len(opened_content(store.path)["columns"]) == len(store.content["columns"]) - sum(block.point_count for block in blocks)


@pytest.mark.parametrize("damage", ["footer", "cut", "missing", "empty"])
def test_an_unreadable_segment_is_taken_out_of_the_manifest(store: Damaged, damage: str) -> None:
    path = store.segments[0]
    count = sum(block.point_count for block in reader.read_footer(path.read_bytes()).blocks)
    if damage == "footer":
        flip(path, path.stat().st_size - 100)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    repair = store.repair()
    (lost,) = [action for action in repair.actions if action.action == "lost"]
    assert (lost.device, lost.points) == (1, count) and str(path) in lost.text
    content = opened_content(store.path)
    assert len(content["columns"]) == len(store.content["columns"]) - count
    assert content["columns"].items() <= store.content["columns"].items()


def test_leftovers_are_moved_aside(store: Damaged) -> None:
    shutil.copy(store.segments[0], store.path / "segments" / "00000000000000ff.seg")
    (store.path / "segments" / "00000000000000fe.seg.tmp").write_bytes(b"half")
    (store.path / "segments" / "notes.txt").write_bytes(b"mine")
    report = store.check()
    assert (report.problems, len(report.notes)) == ([], 2)
    assert len(texts(store.repair(), "kept")) == 2
    assert opened_content(store.path) == store.content


# --- keys ----------------------------------------------------------------------------------------------------------------


def key_damage() -> dict[str, tuple[Callable[[Registers, Any], Any], str]]:
    def one(store: Registers, txn: Any) -> bytes:
        cursor = txn.cursor(store._by_time)
        assert cursor.first()
        return bytes(cursor.value())

    def wrong_variable(store: Registers, txn: Any) -> None:
        keys = list(txn.cursor(store._by_variable).iternext_nodup())
        txn.put(keys[0], one(store, txn)[:8] + bytes(8), db=store._by_variable)

    return {
        "a time key is missing": (lambda s, t: t.delete(b"\0\0\0\2", one(s, t), db=s._by_time), "without their time key"),
        "a time key is too many": (lambda s, t: t.put(b"\0\0\0\2", bytes(16), db=s._by_time), "a time key without its register"),
        "a time key is of another device": (lambda s, t: t.put(b"\0\0\0\7", bytes(16), db=s._by_time), "has time keys but no registers"),
        "a variable key is missing": (lambda s, t: t.delete(b"\0\0\0\2\0\0\0\0", db=s._by_variable), "without their key of variable 0"),
        "a variable key is wrong": (wrong_variable, "a key of variable 0 without its register"),
        "a name is missing": (lambda s, t: t.delete(b"\0\0\0\2\0\0\0\0", db=s._names), "variables and registers differ"),
        "a number is missing": (lambda s, t: t.delete(b"\0\0\0\2r0", db=s._numbers), "names and numbers of variables differ"),
        "all keys are missing": (lambda s, t: [t.drop(d, delete=False) for d in (s._by_time, s._by_variable)], "the count is 0"),
        "the highest sequence is missing": (lambda s, t: t.drop(s._devices, delete=False), "above the highest sequence 0"),
    }


@pytest.mark.parametrize("damage", key_damage())
def test_keys_of_registers_are_made_again(store: Damaged, damage: str) -> None:
    work, problem = key_damage()[damage]
    registers = Registers(store.path / "registers")
    registers._environment.write(lambda txn: work(registers, txn))
    registers._environment.sync()
    registers.close()
    assert any(problem in found for found in store.check().problems)
    repair = store.repair()
    assert texts(repair, "lost") == []
    assert opened_content(store.path) == store.content
    with tsengine.open(store.path) as db:
        (device,) = db.devices(type="mutable")
        device.append("r0", 1.0)
        assert device.count() == 221


def test_a_lost_name_and_an_unreadable_row_are_told(store: Damaged) -> None:
    registers = Registers(store.path / "registers")

    def work(txn: Any) -> None:
        txn.delete(b"\0\0\0\2\0\0\0\0", db=registers._names)
        txn.delete(b"\0\0\0\2r0", db=registers._numbers)
        cursor = txn.cursor(registers._rows)
        assert cursor.last()
        txn.put(cursor.key(), b"\xc1", db=registers._rows)

    registers._environment.write(work)
    registers.close()
    assert len(texts(store.repair(), "lost")) == 2
    content = opened_content(store.path)["registers"]
    assert len(content) == len(store.content["registers"]) - 1
    for id, point in content.items():
        expected = store.content["registers"][id]
        assert point.value == expected.value
        assert point.variable == ("lost_0" if expected.variable == "r0" else expected.variable)


def test_keys_of_the_catalog_are_made_again(store: Damaged) -> None:
    catalog = Catalog(store.path / "catalog")

    def work(txn: Any) -> None:
        txn.drop(catalog._ids, delete=False)
        txn.drop(catalog._device_tokens, delete=False)
        catalog._put_token(txn, Token("stray", 99, "stray"))
        catalog._store_parameters(txn, 98, [Parameter("1" * 24, "k", "v")])

    catalog._environment.write(work)
    catalog.close()
    assert len(store.check().problems) == 4
    assert len(texts(store.repair(), "lost")) == 2
    assert opened_content(store.path) == store.content
    with tsengine.open(store.path) as db:
        assert [token.name for device in db.devices() for token in db.tokens(device.id)] == ["sensor"]


@pytest.mark.parametrize("name", ["catalog", "registers", "manifest"])
@pytest.mark.parametrize("damage", ["pages", "cut", "missing", "other"])
def test_a_damaged_environment_is_told_and_left(store: Damaged, name: str, damage: str) -> None:
    """LMDB itself would trust such a file, and read past its end."""
    path = store.path / name / "data.mdb"
    raw = path.read_bytes()
    if damage == "pages":
        path.write_bytes(raw[:8192] + b"".join(bytes(16) + raw[at + 16 : at + 4096] for at in range(8192, len(raw), 4096)))
    elif damage == "cut":
        path.write_bytes(raw[:8192])
    elif damage == "other":
        path.write_bytes(b"x" * 10_000)
    else:
        path.unlink()
    before = files_of(store.path)
    problems = store.check().problems
    assert problems and any(name in problem for problem in problems)
    repair = repair_folder(store.path)
    assert texts(repair, "left") and not repair.check.is_sound
    assert files_of(store.path) == before
    if damage == "missing":
        with pytest.raises(CorruptionError, match="since there is a log"):
            tsengine.open(store.path)
        assert files_of(store.path) == before


def test_random_damage_to_pages_never_ends_the_process(store: Damaged) -> None:
    path = store.path / "registers" / "data.mdb"
    raw = path.read_bytes()
    rng = random.Random(20)
    found = 0
    for _ in range(300):
        damaged = bytearray(raw)
        page = rng.randrange(len(raw) // 4096) * 4096
        damaged[page + rng.randrange(64)] = rng.randrange(256)
        path.write_bytes(damaged)
        found += bool(check_folder(store.path).problems)
    assert found > 50


# --- the log -------------------------------------------------------------------------------------------------------------


def frames_of(path: Path) -> list[tuple[int, int, int, int]]:
    """(offset, end, first sequence, records) of each frame."""
    walker = FrameWalker(str(path), int(path.stem))
    found = []
    while True:
        offset, seq = walker.offset, walker.next_seq
        if (records := walker.next_frame()) is None:
            walker.close()
            return found
        found.append((offset, walker.offset, seq, len(records)))


def needed_frames(store: Damaged) -> list[tuple[Path, tuple[int, int, int, int]]]:
    """The frames with points that are in the log alone, or at least are known to the test."""
    return [(path, frame) for path in store.logs for frame in frames_of(path) if frame[3] and frame[2] in store.points_of]


def test_a_damaged_record_in_the_middle_is_lost_alone(store: Damaged) -> None:
    frames = needed_frames(store)
    assert store.applied < frames[0][1][2] and len(frames) == 24 and len({path for path, _ in frames}) > 2
    for path, (offset, _, seq, _) in frames[5:9]:
        flip(path, offset + 40 + 16 + 5)
        last = seq
    with pytest.raises(CorruptionError):
        tsengine.open(store.path)
    repair = store.repair()
    seqs = [frame[2] for _, frame in frames[5:9]]
    assert [text.split(" of the log")[0] for text in texts(repair, "lost")] == [f"records {seqs[0]} to {last}"]
    assert opened_content(store.path) == store.without(*seqs)


def test_each_part_of_each_frame_damaged(store: Damaged, tmp_path: Path) -> None:
    """Damage to a frame's header alone loses nothing: its record proves itself."""
    rng = random.Random(4)
    whole = store.path
    for path, (offset, end, seq, _) in rng.sample(needed_frames(store)[:-1], 8):
        for part, at in (
            ("frame", rng.randrange(40)),
            ("record", 40 + rng.randrange(16)),
            ("payload", 56 + rng.randrange(end - offset - 64)),
        ):
            store.path = tmp_path / "copy"
            shutil.copytree(whole, store.path)
            flip(store.path / "wal" / path.name, offset + at)
            store.repair()
            content = opened_content(store.path)
            assert content == (store.content if part == "frame" else store.without(seq)), (part, at)
            shutil.rmtree(store.path)


def test_a_damaged_header_of_a_log_file_loses_nothing(store: Damaged) -> None:
    """Its salt is good, so every record in it proves itself."""
    flip(store.logs[-2], 20)
    repair = store.repair()
    assert texts(repair, "lost") == []
    assert opened_content(store.path) == store.content


def test_a_missing_log_file_in_the_middle(store: Damaged) -> None:
    path = store.logs[-2]
    seqs = [frame[2] for frame in frames_of(path) if frame[3]]
    path.rename(store.path.parent / "gone")
    repair = store.repair()
    assert len(texts(repair, "lost")) == 1
    assert opened_content(store.path) == store.without(*seqs)
    with tsengine.open(store.path) as db:
        (device,) = db.devices(type="immutable")
        device.append("after", 1.0)
    with tsengine.open(store.path) as db:
        assert db.check().problems == []
        assert db.devices(type="immutable")[0].count("after") == 1


def test_the_creation_of_a_device_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_small(path) as db:
        db.create_device("first").append("t", 1.0)
        db.catalog.sync()
    saved = files_of(path)
    with open_small(path) as db:
        device = db.create_device("second")
        seq = int(db.log.last_seq)
        device.append_many([Point("t", n) for n in range(5)])
    for name in ("catalog", "registers", "manifest"):  # as a power cut leaves them: the log has more
        (path / name / "data.mdb").write_bytes(saved[f"{name}/data.mdb"])
    (file,) = (path / "wal").glob("*.wal")
    flip(file, next(offset for offset, _, first, count in frames_of(file) if first == seq and count) + 60)
    repair = repair_folder(path)
    assert [action.points for action in repair.actions if action.action == "lost"] == [None, 5]
    assert opened_content(path).keys() == {"first"}


def test_a_torn_tail_is_noted_and_left_to_the_next_open(store: Damaged) -> None:
    path = store.logs[-1]
    _, end, seq, _ = [frame for frame in frames_of(path) if frame[3]][-1]
    path.write_bytes(path.read_bytes()[: end - 3])
    report = store.check()
    assert report.problems == [] and "did not finish" in report.notes[0]
    assert repair_folder(store.path).actions == []
    assert opened_content(store.path) == store.without(seq)


def test_an_interrupted_exchange_of_the_log_goes_on(store: Damaged, monkeypatch: pytest.MonkeyPatch) -> None:
    path, (offset, _, seq, _) = needed_frames(store)[3]
    flip(path, offset + 60)
    rename = repair_module.rename_file

    def fail_at_the_second(old: Path, new: Path) -> None:
        if Path(old).name == "wal.new":
            raise StorageError(5, "the power went", str(old))
        rename(old, new)

    with monkeypatch.context() as context:
        context.setattr(repair_module, "rename_file", fail_at_the_second)
        with pytest.raises(StorageError, match="the power went"):
            repair_folder(store.path)
    assert not (store.path / "wal").exists()
    with pytest.raises(StorageError, match="a repair was interrupted"):
        tsengine.open(store.path)
    assert not check_folder(store.path).is_sound
    store.repair()
    assert opened_content(store.path) == store.without(seq)


def test_everything_at_once(store: Damaged) -> None:
    footer = reader.read_footer(store.segments[1].read_bytes())
    flip(store.segments[1], footer.blocks[0].offset)
    gone = footer.blocks[0].point_count + sum(block.point_count for block in reader.read_footer(store.segments[2].read_bytes()).blocks)
    store.segments[2].unlink()
    registers = Registers(store.path / "registers")
    registers._environment.write(lambda txn: txn.drop(registers._by_time, delete=False))
    registers.close()
    path, (offset, _, seq, _) = needed_frames(store)[8]
    flip(path, offset + 60)
    assert len(store.check().problems) >= 4
    store.repair()
    content = opened_content(store.path)
    expected = store.without(seq)
    assert content["registers"] == expected["registers"]
    assert content["columns"].items() <= expected["columns"].items()
    assert len(content["columns"]) == len(expected["columns"]) - gone
