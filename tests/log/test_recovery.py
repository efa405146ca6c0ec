"""Torn tails are dropped, damage is raised, and acknowledged records are never lost silently: each byte, each length."""

import os
import shutil
import struct
from pathlib import Path

import pytest

from tsengine.core.codec.crc32c import crc32c
from tsengine.core.log.frame import FrameWalker
from tsengine.errors import CorruptionError, StorageError
from tsengine.log import LocalLog

FILE_HEADER_BYTES, FRAME_HEADER_BYTES, RECORD_HEADER_BYTES = 64, 40, 16


def write_small(log: LocalLog) -> None:
    """Six groups of one to three records."""
    for group in ((b"a",), (b"bb", b"", b"c" * 30), (b"d" * 8,), (b"e" * 17, b"f"), (b"g" * 50,), (b"last" * 3,)):
        for record in group:
            log.append(record)
        log.wait(log.last_seq)


@pytest.fixture
def small(tmp_path, open_log, crash):
    """A log that was killed, one that was closed, and what both hold."""
    log, state = open_log(tmp_path / "wal")
    write_small(log)
    killed = crash(tmp_path / "wal")
    log.close()
    return killed, tmp_path / "wal", state.records


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.wal")
    return path


def frame_ends(path: Path) -> list[tuple[int, int]]:
    """(offset, next sequence) behind each frame, the beginning first."""
    walker = FrameWalker(str(path), int(path.stem))
    ends = [(walker.offset, walker.next_seq)]
    while walker.next_frame() is not None:
        ends.append((walker.offset, walker.next_seq))
    walker.close()
    return ends


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def prefix(records: dict[int, bytes], last_seq: int) -> dict[int, bytes]:
    return {seq: record for seq, record in records.items() if seq <= last_seq}


def check_goes_on(open_log, folder: Path, expected: dict[int, bytes]) -> None:
    """Open, append, close and open again: nothing that was cut comes back."""
    log, state = open_log(folder)
    assert state.records == expected
    log.wait(log.append(b"new"))
    log.close()
    log, state = open_log(folder)
    assert state.records == {**expected, len(expected) + 1: b"new"} and log.recovered.torn_bytes == 0
    log.close()


def test_every_length_of_a_killed_log(small, open_log, tmp_path):
    killed, _, records = small
    data = only_file(killed).read_bytes()
    ends = frame_ends(only_file(killed))
    name = only_file(killed).name
    for length in range(FILE_HEADER_BYTES, ends[-1][0] + 1):
        folder = tmp_path / "cut"
        folder.mkdir()
        (folder / name).write_bytes(data[:length])
        whole = max(next_seq for offset, next_seq in ends if offset <= length) - 1
        log, state = open_log(folder)
        assert state.records == prefix(records, whole)
        last_end = max(offset for offset, _ in ends if offset <= length)
        assert log.recovered.torn_bytes <= length - last_end
        log.close()
        if length % 7 == 0:
            (folder / name).write_bytes(data[:length])
            check_goes_on(open_log, folder, prefix(records, whole))
        shutil.rmtree(folder)


def test_a_file_header_cut_short_is_damage(small, open_log):
    killed, _, _ = small
    path = only_file(killed)
    data = path.read_bytes()
    for length in range(FILE_HEADER_BYTES):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptionError) as caught:
            open_log(killed)
        assert caught.value.file == str(path)


def test_every_flipped_byte_of_a_closed_log(small, open_log):
    """The witness vouches for all records, so that a flip is found or changes nothing."""
    _, closed, records = small
    path = only_file(closed)
    data = path.read_bytes()
    harmless = 0
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ (1 << position % 8)]) + data[position + 1 :])
        before = snapshot(closed)
        try:
            log, state = open_log(closed)
        except CorruptionError as error:
            assert error.file == str(path) and error.offset <= position
            assert snapshot(closed) == before, "nothing may change on disk"
            continue
        assert state.records == records
        harmless += 1
        log.close()
    padding = sum(-len(record) % 8 for record in records.values())
    assert harmless == padding + FRAME_HEADER_BYTES  # padding, and the witness itself


def test_every_flipped_byte_of_a_killed_log(small, open_log):
    """Without a witness the last group is in doubt, and only that one."""
    killed, _, records = small
    path = only_file(killed)
    ends = frame_ends(path)
    last_begin, last_seq = ends[-2][0], ends[-2][1] - 1
    data = path.read_bytes()
    damaged = 0
    for position in range(ends[-1][0] + 64):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x40]) + data[position + 1 :])
        try:
            log, state = open_log(killed)
        except CorruptionError:
            damaged += 1
            assert position < last_begin
            continue
        assert state.records in (records, prefix(records, last_seq))
        if state.records != records:
            assert position >= last_begin and log.recovered.torn_bytes > 0
        log.close()
    assert damaged > last_begin * 0.8


def test_a_lost_sector_in_the_middle_is_damage(small, open_log):
    killed, _, _ = small
    path = only_file(killed)
    ends = frame_ends(path)
    data = bytearray(path.read_bytes())
    data[ends[2][0] : ends[3][0]] = bytes(ends[3][0] - ends[2][0])
    path.write_bytes(data)
    with pytest.raises(CorruptionError) as caught:
        open_log(killed)
    assert caught.value.offset == ends[2][0]


def test_a_frame_in_a_record_proves_nothing(tmp_path, open_log, crash):
    """A record may hold the bytes of a frame of another log; in a torn tail it must not look like a later frame."""
    log, _ = open_log(tmp_path / "other")
    for i in range(30):
        log.wait(log.append(b"%d" % i))
    log.close()
    evil = only_file(tmp_path / "other").read_bytes()[FILE_HEADER_BYTES:]
    log, _ = open_log(tmp_path / "wal")
    log.wait(log.append(b"good"))
    log.wait(log.append(evil))
    killed = crash(tmp_path / "wal")
    path = only_file(killed)
    ends = frame_ends(path)
    data = bytearray(path.read_bytes())
    data[ends[1][0] + 4] ^= 1
    path.write_bytes(data)
    log, state = open_log(killed)
    assert state.records == {1: b"good"} and log.recovered.torn_bytes > len(evil)


@pytest.fixture
def several(tmp_path, open_log, crash):
    """A killed log of several files."""
    log, state = open_log(tmp_path / "wal", file_bytes=1024)
    for i in range(20):
        log.wait(log.append(b"%03d" % i * 60))
    killed = crash(tmp_path / "wal")
    paths = sorted(killed.glob("*.wal"))
    assert len(paths) >= 4
    return killed, paths, state.records


def test_a_missing_file_in_the_middle_is_damage(several, open_log):
    killed, paths, _ = several
    for missing in paths[1:-1]:
        data = missing.read_bytes()
        missing.unlink()
        before = snapshot(killed)
        with pytest.raises(CorruptionError):
            open_log(killed)
        assert snapshot(killed) == before
        missing.write_bytes(data)
    open_log(killed)


def test_reading_damage_in_an_open_log_raises(tmp_path, open_log):
    log, _ = open_log(tmp_path / "wal", file_bytes=1024)
    for i in range(20):
        log.wait(log.append(b"%03d" % i * 60))
    for path in sorted((tmp_path / "wal").glob("*.wal")):
        data = path.read_bytes()
        with path.open("r+b") as file:
            file.seek(frame_ends(path)[-2][0] + 60)
            file.write(b"X")
        with pytest.raises(CorruptionError):
            list(log.read(1))
        path.write_bytes(data)
    assert len(list(log.read(1))) == 20


def test_a_missing_file_in_front_matters_only_when_it_is_needed(several, open_log):
    killed, paths, records = several
    paths[0].unlink()
    first_seq = int(paths[1].stem)
    with pytest.raises(CorruptionError):
        open_log(killed, first_seq - 2)
    _, state = open_log(killed, first_seq - 1)
    assert state.records == {seq: record for seq, record in records.items() if seq >= first_seq}


def test_a_short_file_in_the_middle_is_damage(several, open_log):
    killed, paths, _ = several
    data = paths[1].read_bytes()
    end = frame_ends(paths[1])[-1][0]
    for length in (FILE_HEADER_BYTES, FILE_HEADER_BYTES + 100, end - 8):
        paths[1].write_bytes(data[:length])
        with pytest.raises(CorruptionError):
            open_log(killed)
    paths[1].write_bytes(data[:end])  # only the zeros behind the end are gone
    open_log(killed)


def test_damage_in_any_earlier_file_is_found(several, open_log):
    killed, paths, _ = several
    for path in paths[:-1]:
        data = bytearray(path.read_bytes())
        data[frame_ends(path)[-2][0] + FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + 5] ^= 1  # its last record
        original, _ = path.read_bytes(), path.write_bytes(data)
        with pytest.raises(CorruptionError) as caught:
            open_log(killed)
        assert caught.value.file == str(path)
        path.write_bytes(original)
    open_log(killed)


def test_a_power_cut_in_os_mode_drops_the_unsynced_tail(tmp_path, open_log, crash):
    """Pages go to disk in any order: a lost frame in front of good ones is no damage when nothing was synced."""
    log, state = open_log(tmp_path / "wal", durability="os", file_bytes=1024)
    for i in range(20):
        log.wait(log.append(b"%03d" % i * 60))
    killed = crash(tmp_path / "wal")
    paths = sorted(killed.glob("*.wal"))
    ends = frame_ends(paths[1])
    data = bytearray(paths[1].read_bytes())
    data[ends[1][0] : ends[2][0]] = bytes(ends[2][0] - ends[1][0])
    paths[1].write_bytes(data)
    log, again = open_log(killed, durability="os")
    kept = ends[1][1] - 1
    assert again.records == prefix(state.records, kept)
    assert log.recovered.torn_bytes > 0 and len(list(killed.glob("*.wal"))) == 2
    log.close()
    check_goes_on(open_log, killed, prefix(state.records, kept))


@pytest.mark.parametrize("durability", ["sync", "os", "memory"])
def test_a_log_that_reached_further_has_lost_its_end(tmp_path, open_log, durability):
    log, state = open_log(tmp_path / "wal")
    for i in range(20):
        log.wait(log.append(b"%03d" % i * 60))
    log.close()
    (path,) = (tmp_path / "wal").glob("*.wal")
    place, seq = frame_ends(path)[7]
    os.truncate(path, place)
    with pytest.raises(CorruptionError, match=f"its end is missing in .* at byte {place}: expected sequence 20, found {seq - 1}"):
        open_log(tmp_path / "wal", durability=durability, reach=20)
    assert path.stat().st_size == place, "nothing was changed"
    _, again = open_log(tmp_path / "wal", durability=durability, reach=seq - 1)
    assert again.records == prefix(state.records, seq - 1)


def test_old_frames_in_a_recycled_file_never_come_back(tmp_path, open_log, crash):
    """Frames of equal size, so that old ones begin exactly where the new end is; cut at every frame."""
    folder = tmp_path / "wal"
    log, state = open_log(folder, file_bytes=4096)
    recycled = 0
    for i in range(200):
        log.wait(log.append(b"%04d" % i * 20))
        log.trim(log.applied_seq - 5)
        if i % 9 == 0:
            killed = crash(folder)
            newest = max(killed.glob("*.wal"))
            walker = FrameWalker(str(newest), int(newest.stem))
            recycled += walker.is_recycled
            walker.close()
            applied = max(0, log.applied_seq - 5)
            reopened, again = open_log(killed, applied, file_bytes=4096)
            assert again.records == {seq: record for seq, record in state.records.items() if seq > applied}
            assert reopened.recovered.torn_bytes == 0
            reopened.close()
            shutil.rmtree(killed)
    assert recycled > 10


def test_a_torn_frame_in_a_recycled_file(tmp_path, open_log, crash):
    folder = tmp_path / "wal"
    log, _ = open_log(folder, file_bytes=4096)
    for i in range(101):
        log.wait(log.append(b"%04d" % i * 20))
        log.trim(log.applied_seq - 5)
    killed = crash(folder)
    newest = max(killed.glob("*.wal"))
    (begin, _), (end, next_seq) = frame_ends(newest)[-2:]
    data = bytearray(newest.read_bytes())
    data[end - 16 : end] = b"old bytes here.."
    newest.write_bytes(data)
    log, again = open_log(killed, 96, file_bytes=4096)
    assert max(again.records) == next_seq - 2 and log.recovered.torn_bytes == end - begin


def test_a_newer_version_is_named(small, open_log):
    _, closed, _ = small
    path = only_file(closed)
    data = bytearray(path.read_bytes())
    data[8:16] = struct.pack("<II", 2, 0)
    data[12:16] = struct.pack("<I", crc32c(bytes(data[:FILE_HEADER_BYTES])))
    path.write_bytes(data)
    with pytest.raises(StorageError, match="newer tsengine"):
        open_log(closed)


def test_the_format_page_is_enough_to_read_a_log(small):
    """A second reader, written from docs/format/wal.md."""
    _, closed, records = small
    data = only_file(closed).read_bytes()
    magic, version, _, first_seq, previous_seq, synced_seq, _, flags = struct.unpack_from("<8sIIqqq8sI", data)
    assert (magic, version, first_seq, previous_seq, synced_seq, flags) == (b"tsenWAL\n", 1, 1, 0, 0, 0)
    offset, found = FILE_HEADER_BYTES, {}
    while offset < len(data):
        magic, _, seq, synced_seq, body_bytes, count, reserved = struct.unpack_from("<4sIqqqII", data, offset)
        assert (magic, synced_seq, reserved) == (b"WFRM", seq - 1, 0)
        end = offset + FRAME_HEADER_BYTES + body_bytes
        offset += FRAME_HEADER_BYTES
        for _ in range(count):
            length, _, seq = struct.unpack_from("<IIq", data, offset)
            offset += RECORD_HEADER_BYTES
            found[seq] = data[offset : offset + length]
            offset += length + -length % 8
        assert offset == end
    assert found == records


def test_an_apply_that_fails_in_start_leaves_the_log_alone(small):
    killed, _, _ = small
    before = snapshot(killed)

    def apply(first_seq: int, records: list[bytes]) -> None:
        raise RuntimeError("store")

    with pytest.raises(RuntimeError):
        LocalLog(killed).start(0, apply)
    assert snapshot(killed) == before
