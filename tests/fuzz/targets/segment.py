"""Segments: opened, every row read, aggregates and counts taken."""

from __future__ import annotations

import atexit
import random
import shutil
import struct
import tempfile
from pathlib import Path

from tests.store import reader
from tests.store.damage import with_footer_crc
from tests.store.making import random_points, read_segment, record_of, seal_to
from tsengine.core.codec.crc32c import crc32c
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.salvage import salvage
from tsengine.core.store.segment import Segment

FOLDER = Path(tempfile.mkdtemp(prefix="tsengine-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def seeds() -> list[bytes]:
    dice = random.Random(2)
    found = []
    for number, (count, kinds) in enumerate(((1, (0,)), (30, (0, 1, 2)), (300, (0, 1, 2, 3, 4)), (40, (3,)))):
        folder = FOLDER / f"seed-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        memtable = Memtable()
        for device in (7, 9):
            memtable.apply(record_of(device, random_points(dice, count, kinds=kinds, variables=("t", "state")), 1), device)
        found += [Path(segment.path).read_bytes() for segment in seal_to(folder, memtable, {7: "day", 9: None})]
    return [data for data in found if len(data) < 16_000]


def run(data: bytes) -> None:
    path = FOLDER / "input.seg"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    segment = Segment(path, 1, 100)
    segment.time_bounds()
    for device in segment.devices():
        segment.device_bounds(device)
        segment.period_counts(device, "week", [])
    read_segment(segment)
    for _ in salvage(segment, None, lambda points: None):
        pass


def repair(data: bytes) -> bytes:
    """Make the checksums of blocks, dictionaries and footer good, as far as the footer can be read."""
    data = with_footer_crc(data) if len(data) >= 48 else data
    try:
        footer = reader.read_footer(data)
        changed = bytearray(data)
        for field, entries in (("crc", footer.blocks), ("dictionary_crc", footer.dictionaries)):
            for number, entry in enumerate(entries):
                crc = crc32c(data[entry.offset : entry.offset + entry.length])
                struct.pack_into("<I", changed, footer.fields[field] + 4 * number, crc)
    except Exception:
        return data
    return with_footer_crc(bytes(changed))
