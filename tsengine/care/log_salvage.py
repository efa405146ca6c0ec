"""What can still be proved of a damaged log, and a new log of it. Format: docs/format/wal.md.

A record is taken if its own checksum holds, which covers its sequence and is seeded with its file's salt: so it is whole, its
place in the order is known, and it can be applied once. Records of a frame whose other parts are damaged are taken, too, as
long as something later says that they had been on disk; otherwise nobody was told that they are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tsengine.core.codec.crc32c import crc32c
from tsengine.core.log.recovery import SUFFIX, list_files
from tsengine.errors import StorageError
from tsengine.log import LocalLog

_FILE = struct.Struct("<8s I I q q q 8s I 12x")
_FRAME = struct.Struct("<4s I q q q I 4x")
_RECORD = struct.Struct("<I I q")
_MAGIC, _FRAME_MAGIC, _VERSION = b"tsenWAL\n", b"WFRM", 1
_RECORD_BYTES_MAX = 256 << 20


class Place(NamedTuple):
    """Where the payload of a record lies."""

    path: str
    offset: int
    length: int


class Salvage(NamedTuple):
    """What was found.

    Attributes:
        records: sequence -> place, ascending.
        proven_seq: everything up to here had been on disk, whatever became of it.
    """

    records: dict[int, Place]
    proven_seq: int

    def lost(self, applied: int) -> list[tuple[int, int]]:
        """Return the first and last sequence of each run behind `applied` that had been on disk and is gone."""
        there = [applied, *(seq for seq in self.records if seq > applied)]
        gaps = [(before + 1, after - 1) for before, after in pairwise(there) if after > before + 1]
        return gaps + ([(there[-1] + 1, self.proven_seq)] if self.proven_seq > there[-1] else [])


def find_records(folder: Path) -> Salvage:
    """Return every record of a log that can be proved; nothing is changed.

    Raises:
        StorageError: a file was written by a newer version.
    Cost: reads all of it, one file in memory at a time.
    """
    whole: dict[int, Place] = {}
    loose: dict[int, Place] = {}
    proven_seq = 0
    for first_seq, path in list_files(str(folder), SUFFIX):
        file = _File(path, first_seq)
        proven_seq = max(proven_seq, file.walk())
        whole.update(file.whole)
        loose.update(file.loose)
    records = {seq: place for seq, place in loose.items() if seq <= proven_seq} | whole
    return Salvage(dict(sorted(records.items())), proven_seq)


def read_record(place: Place) -> bytes:
    """Return the payload of a record."""
    with open(place.path, "rb") as file:
        file.seek(place.offset)
        return file.read(place.length)


def write_log(folder: Path, salvage: Salvage, applied: int, newest: int) -> None:
    """Write a log with the records behind `applied` under their own sequences, each gap at the beginning of a file.

    Args:
        folder: must not exist.
        newest: new records come after this sequence.
    Durability: on disk on return.
    """
    _extend(folder, applied, applied, ())  # the file that holds the first sequence a store needs, even if that is lost
    runs: list[list[int]] = []
    for seq in salvage.records:
        if seq <= applied:
            continue
        if not runs or seq != runs[-1][-1] + 1:
            runs.append([])
        runs[-1].append(seq)
    last = applied
    for run in runs:
        _extend(folder, last, run[0] - 1, (read_record(salvage.records[seq]) for seq in run))
        last = run[-1]
    _extend(folder, last, max(last, newest, salvage.proven_seq), ())


def _extend(folder: Path, last: int, newest: int, records: Iterable[bytes]) -> None:
    """Append records to a log that ends at `last`; the first gets the sequence `newest` + 1."""
    log = LocalLog(folder)
    try:
        log.start(last, lambda first_seq, records: None, newest=newest)
        for record in records:
            log.append(record)
        log.wait(log.last_seq)
    finally:
        log.close()


class _File:
    """One WAL file, in memory.

    Attributes:
        whole: records of frames that verify.
        loose: records that verify by themselves, in places where no frame does.
    """

    def __init__(self, path: str, first_seq: int) -> None:
        self.whole: dict[int, Place] = {}
        self.loose: dict[int, Place] = {}
        self._path = path
        self._data = Path(path).read_bytes()
        self._first_seq = first_seq
        self._synced_seq = 0
        self._seed = 0
        if len(self._data) >= _FILE.size:
            magic, version, crc, _, _, synced_seq, salt, _ = _FILE.unpack_from(self._data)
            is_good = crc32c(self._data[:12] + bytes(4) + self._data[16 : _FILE.size]) == crc and magic == _MAGIC
            if is_good and version > _VERSION:
                raise StorageError(f"{path} was written by a newer tsengine (WAL version {version}); repair it with that one")
            # The salt of a damaged header may be good all the same: the records' checksums tell.
            self._seed = crc32c(salt)
            self._synced_seq = synced_seq if is_good else 0

    def walk(self) -> int:
        """Fill in the records; return up to where this file proves that everything had been on disk."""
        data, offset, gap_from = self._data, _FILE.size, _FILE.size
        proven_seq, expected = self._synced_seq, self._first_seq
        while True:
            frame = self._frame(offset)
            if frame is None:
                offset = data.find(_FRAME_MAGIC, offset + 4)
                if offset < 0:
                    break
                offset += -offset % 8
                continue
            first_seq, synced_seq, end_offset, places = frame
            if gap_from < offset:
                self._find_loose(gap_from, offset, expected, first_seq - 1)
            self.whole.update((first_seq + number, place) for number, place in enumerate(places))
            proven_seq = max(proven_seq, synced_seq)
            expected = first_seq + len(places)
            offset = gap_from = end_offset
        self._find_loose(gap_from, len(data), expected, expected + len(data))
        return proven_seq

    def _frame(self, offset: int) -> tuple[int, int, int, list[Place]] | None:
        """Return (first sequence, synced sequence, end, places of the records) of a frame of which everything verifies."""
        data = self._data
        if offset + _FRAME.size > len(data):
            return None
        magic, crc, first_seq, synced_seq, body_bytes, count = _FRAME.unpack_from(data, offset)
        if magic != _FRAME_MAGIC or crc32c(data[offset + 8 : offset + _FRAME.size], self._seed) != crc:
            return None
        end = offset + _FRAME.size + body_bytes
        places = []
        offset += _FRAME.size
        for number in range(count):
            place = self._record(offset, end, first_seq + number, first_seq + number)
            if place is None:
                return None
            places.append(place[1])
            offset = place[1].offset + place[1].length + -place[1].length % 8
        return (first_seq, synced_seq, end, places) if offset == end <= len(data) else None

    def _record(self, offset: int, end: int, low: int, high: int) -> tuple[int, Place] | None:
        """Return (sequence, place) of a record that verifies and whose sequence is within the bounds."""
        if offset + _RECORD.size > min(end, len(self._data)):
            return None
        length, crc, seq = _RECORD.unpack_from(self._data, offset)
        start = offset + _RECORD.size
        if not low <= seq <= high or length > _RECORD_BYTES_MAX or start + length > min(end, len(self._data)):
            return None
        key = self._data[offset + 8 : start] + self._data[offset : offset + 4]
        if crc32c(memoryview(self._data)[start : start + length], crc32c(key, self._seed)) != crc:
            return None
        return seq, Place(self._path, start, length)

    def _find_loose(self, begin: int, end: int, low: int, high: int) -> None:
        """Look at every place where a record may begin. Those with a possible sequence are few, so only they cost a checksum."""
        count = (end - begin - 8) // 8
        if count <= 0:
            return
        numbers = np.frombuffer(self._data, "<i8", count, begin + 8)
        for index in np.flatnonzero((numbers >= low) & (numbers <= high)):
            found = self._record(begin + 8 * int(index), end, low, high)
            if found is not None:
                self.loose[found[0]] = found[1]


def payloads(salvage: Salvage, after: int) -> Iterator[bytes]:
    """Yield every record behind a sequence."""
    for seq, place in salvage.records.items():
        if seq > after:
            yield read_record(place)
