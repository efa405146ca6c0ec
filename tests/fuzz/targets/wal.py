"""Files of the log: walked, recovered and salvaged."""

from __future__ import annotations

import atexit
import random
import shutil
import struct
import tempfile
from pathlib import Path

from tsengine.care.log_salvage import find_records
from tsengine.core.codec.crc32c import crc32c
from tsengine.core.log.recovery import Recovery
from tsengine.errors import TsengineError
from tsengine.log import LocalLog

FOLDER = Path(tempfile.mkdtemp(prefix="tsengine-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
FILE_HEADER_BYTES, FRAME_HEADER_BYTES, RECORD_HEADER_BYTES = 64, 40, 16


def seeds() -> list[bytes]:
    dice = random.Random(3)
    found = []
    for number in range(3):
        folder = FOLDER / f"seed-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        log = LocalLog(folder)
        log.start(0, lambda first_seq, records: None)
        for _ in range(1 + number * 4):
            for _ in range(dice.randrange(1, 4)):
                log.append(dice.randbytes(dice.randrange(60)))
            log.wait(log.last_seq)
        if number:
            log.close()
        found += [path.read_bytes()[:3000] for path in folder.glob("*.wal")]
        if not number:
            log.close()
    return found


def run(data: bytes) -> None:
    folder = FOLDER / "wal"
    folder.mkdir(exist_ok=True)
    (folder / f"{1:020}.wal").write_bytes(data)
    counted = 0

    def count(first_seq: int, records: list[bytes]) -> None:
        nonlocal counted
        counted += len(records)

    try:
        recovery = Recovery(str(folder), 0, False, count)
        recovery.run(cut=False)
        assert counted == recovery.record_count == recovery.last_seq
    except TsengineError:
        pass
    find_records(folder)


def repair(data: bytes) -> bytes:
    """Make the checksums of the header, and of each frame and record that can be reached, good again."""
    changed = bytearray(data)
    if len(changed) < FILE_HEADER_BYTES:
        return data
    changed[12:16] = bytes(4)
    changed[12:16] = struct.pack("<I", crc32c(bytes(changed[:FILE_HEADER_BYTES])))
    seed = crc32c(bytes(changed[40:48]))
    at = FILE_HEADER_BYTES
    while at + FRAME_HEADER_BYTES <= len(changed) and changed[at : at + 4] == b"WFRM":
        body_bytes, count = struct.unpack_from("<qI", changed, at + 24)
        place, end = at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + body_bytes
        for _ in range(min(count, 1000)):
            if place + RECORD_HEADER_BYTES > len(changed):
                break
            length, _, seq = struct.unpack_from("<IIq", changed, place)
            payload = bytes(changed[place + RECORD_HEADER_BYTES : place + RECORD_HEADER_BYTES + length])
            struct.pack_into("<I", changed, place + 4, crc32c(struct.pack("<qI", seq, length) + payload, seed))
            place += RECORD_HEADER_BYTES + -(-length // 8) * 8
        struct.pack_into("<I", changed, at + 4, crc32c(bytes(changed[at + 8 : at + FRAME_HEADER_BYTES]), seed))
        if not 0 <= body_bytes <= len(changed):
            break
        at = end
    return bytes(changed)
