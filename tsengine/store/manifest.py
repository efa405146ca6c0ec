"""The manifest: which segments are live, which deletes hide points in them, and how much of the log they hold (LMDB).

Its transaction is the commit of the columnar store: a segment exists from the commit that adds it until the commit that
removes it, whatever files lie in the folder. Format: docs/format/manifest.md.

Invariants:
- A commit is durable when it returns (synced fully), all of it or nothing.
- An id of a segment is given out once: `next_segment_id` only rises, also past segments that were removed.
- `applied_seq` and a device's next sequence only rise.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping

import msgspec

from tsengine.core.store.segment import Segment
from tsengine.errors import CorruptionError, InputError
from tsengine.store.environment import Environment, Transaction

FORMAT_VERSION = 1

_KEY_NEXT_SEGMENT = b"next_segment"
_TOMBSTONE = struct.Struct(">IQQQ")
_SIGN = 1 << 63


class SegmentEntry(msgspec.Struct, array_like=True, frozen=True):
    """What the manifest knows of one sealed segment, enough to prune it without opening its file.

    Attributes:
        id: names the file; never given out twice.
        month: months since January 1970, UTC.
        size_bytes: length of the file.
        first_us, last_us: time bounds of its points, inclusive, microseconds.
        first_device, last_device: bounds of the device numbers in it, inclusive.
        first_log_seq, last_log_seq: bounds of the log sequences that its points came from, inclusive.
        tier: how often its points were merged; the compaction's business.
    """

    id: int
    month: int
    size_bytes: int
    point_count: int
    first_us: int
    last_us: int
    first_device: int
    last_device: int
    first_log_seq: int
    last_log_seq: int
    tier: int = 0


class Tombstone(msgspec.Struct, frozen=True):
    """A delete that hides the points of a device with start_us <= time <= end_us logged before log_seq."""

    device: int
    start_us: int
    end_us: int
    log_seq: int


def entry_of(segment: Segment, id: int, first_log_seq: int, last_log_seq: int, tier: int) -> SegmentEntry:
    """Return what the manifest should say of a segment."""
    first_us, last_us = segment.time_bounds()
    devices = segment.devices()
    return SegmentEntry(
        id=id,
        month=segment.month,
        size_bytes=segment.size_bytes,
        point_count=segment.point_count,
        first_us=first_us,
        last_us=last_us,
        first_device=devices[0],
        last_device=devices[-1],
        first_log_seq=first_log_seq,
        last_log_seq=last_log_seq,
        tier=tier,
    )


_encode = msgspec.msgpack.Encoder().encode
_decode_segment = msgspec.msgpack.Decoder(SegmentEntry).decode


class Manifest:
    """An open manifest.

    Args:
        path: folder of the environment, made if it is missing.

    Raises:
        StorageError, CorruptionError: as `Environment`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        databases: dict[str, dict[str, bool]] = {"segments": {}, "tombstones": {}, "sequences": {}}
        self._environment = Environment(path, store="manifest", version=FORMAT_VERSION, databases=databases)
        self._segments = self._environment.database("segments")
        self._tombstones = self._environment.database("tombstones")
        self._sequences = self._environment.database("sequences")

    @property
    def applied_seq(self) -> int:
        """Everything of the log up to this sequence is in segments; 0 = nothing."""
        return self._environment.applied_seq

    @property
    def next_segment_id(self) -> int:
        """An id that no segment had yet, 1 at first."""
        return self._environment.read(lambda txn: self._environment.get_number(txn, _KEY_NEXT_SEGMENT, 1))

    def segments(self) -> list[SegmentEntry]:
        """Return the live segments by id."""

        def work(txn: Transaction) -> list[SegmentEntry]:
            return [_decode_segment(value) for value in txn.cursor(self._segments).iternext(keys=False)]

        return self._environment.read(work)

    def tombstones(self) -> list[Tombstone]:
        """Return the tombstones by device, start, end and log sequence."""

        def work(txn: Transaction) -> list[Tombstone]:
            return [self._tombstone(key) for key in txn.cursor(self._tombstones).iternext(values=False)]

        return self._environment.read(work)

    def next_sequence(self, device: int) -> int | None:
        """Return the sequence that a device's next point gets as far as the segments know, or None if they know none."""
        stored = self._environment.read(lambda txn: txn.get(device.to_bytes(4, "big"), db=self._sequences))
        return None if stored is None else int.from_bytes(stored, "big")

    def next_sequences(self) -> dict[int, int]:
        """Return `next_sequence` of every device that has one."""

        def work(txn: Transaction) -> dict[int, int]:
            return {int.from_bytes(key, "big"): int.from_bytes(value, "big") for key, value in txn.cursor(self._sequences)}

        return self._environment.read(work)

    def commit(
        self,
        *,
        add: Iterable[SegmentEntry] = (),
        remove: Iterable[int] = (),
        tombstones_add: Iterable[Tombstone] = (),
        tombstones_remove: Iterable[Tombstone] = (),
        applied_seq: int | None = None,
        next_sequences: Mapping[int, int | None] | None = None,
        next_segment_id: int | None = None,
    ) -> None:
        """Change the set of live segments in one durable transaction.

        Args:
            add: new segments, whose files are complete and durable already.
            remove: ids of live segments that are no longer; their files may go after the commit.
            tombstones_add, tombstones_remove: adding one that is there, or removing one that is not, changes nothing.
            applied_seq: the log may be trimmed up to here afterwards.
            next_sequences: device -> its next sequence; None forgets the device.
            next_segment_id: ids below it are taken, also those that never came to be a segment.

        Raises:
            InputError: an added id is live already, or a removed one is not; nothing was changed.
            StorageFullError, StorageError: nothing was changed.
        Durability: returns after the sync.
        """
        add, remove = tuple(add), tuple(remove)
        tombstones_add, tombstones_remove = tuple(tombstones_add), tuple(tombstones_remove)

        def work(txn: Transaction) -> None:
            for segment_id in remove:
                if not txn.delete(segment_id.to_bytes(8, "big"), db=self._segments):
                    raise InputError(f"segment {segment_id} is not in the manifest {self._environment.path}; nothing was changed")
            for entry in add:
                if not txn.put(entry.id.to_bytes(8, "big"), _encode(entry), overwrite=False, db=self._segments):
                    raise InputError(f"segment {entry.id} is in the manifest {self._environment.path} already; nothing was changed")
            self._raise_next_segment(txn, max([next_segment_id or 1] + [entry.id + 1 for entry in add]))
            for tombstone in tombstones_remove:
                txn.delete(_tombstone_key(tombstone), db=self._tombstones)
            for tombstone in tombstones_add:
                txn.put(_tombstone_key(tombstone), b"", db=self._tombstones)
            for device, sequence in (next_sequences or {}).items():
                self._put_sequence(txn, device, sequence)
            if applied_seq is not None:
                self._environment.put_applied(txn, applied_seq)

        self._environment.write(work)

    def copy(self, folder: str | os.PathLike[str]) -> None:
        """Write a consistent copy for a backup; see `Environment.copy`."""
        self._environment.copy(folder)

    def close(self) -> None:
        """Close the environment; a second close does nothing."""
        self._environment.close()

    def _raise_next_segment(self, txn: Transaction, number: int) -> None:
        if number > self._environment.get_number(txn, _KEY_NEXT_SEGMENT, 1):
            self._environment.put_number(txn, _KEY_NEXT_SEGMENT, number)

    def _put_sequence(self, txn: Transaction, device: int, sequence: int | None) -> None:
        key = device.to_bytes(4, "big")
        if sequence is None:
            txn.delete(key, db=self._sequences)
        elif sequence > int.from_bytes(txn.get(key, b"", db=self._sequences), "big"):
            txn.put(key, sequence.to_bytes(8, "big"), db=self._sequences)

    def _tombstone(self, key: bytes) -> Tombstone:
        if len(key) != _TOMBSTONE.size:
            expected = f"a key of {_TOMBSTONE.size} bytes"
            raise CorruptionError("tombstone", file=self._environment.file, expected=expected, found=f"{len(key)} bytes")
        device, start, end, log_seq = _TOMBSTONE.unpack(key)
        return Tombstone(device, start - _SIGN, end - _SIGN, log_seq)


def _tombstone_key(tombstone: Tombstone) -> bytes:
    return _TOMBSTONE.pack(tombstone.device, tombstone.start_us + _SIGN, tombstone.end_us + _SIGN, tombstone.log_seq)
