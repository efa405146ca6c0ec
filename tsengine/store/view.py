"""What a reader sees of immutable devices: live segments, memtables, and the tombstones that hide points in them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tsengine.core.calendar import TIMES, start_of
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.segment import Segment
from tsengine.errors import CorruptionError, StorageError, TsengineError
from tsengine.store.manifest import SegmentEntry, Tombstone, entry_of

Interval = tuple[int, int]
"""First and last microsecond, both inside."""

Source = tuple[Memtable | Segment, list[Interval]]


class LiveSegment:
    """A segment of the manifest, opened when it is first read, or when its file is removed: who has it in a view may still read it."""

    def __init__(self, entry: SegmentEntry, path: Path) -> None:
        self.entry = entry
        self.path = path
        self.damage: CorruptionError | None = None  # seen by background work, which leaves it alone from then on
        self._segment: Segment | None = None

    def open(self) -> Segment:
        segment = self._segment
        if segment is None:
            try:
                segment = Segment(self.path, self.entry.id, self.entry.last_log_seq)
            except StorageError:
                segment = self._segment  # opened meanwhile by who removed the file
                if segment is None:
                    raise
                return segment
            entry = self.entry
            found = entry_of(segment, entry.id, entry.first_log_seq, entry.last_log_seq, entry.tier)
            if found != entry:  # whole, but another's: its points would be looked for elsewhere
                raise CorruptionError("segment", file=str(self.path), expected=f"as in the manifest, {entry}", found=str(found))
            self._segment = segment
        return segment


class Table(msgspec.Struct, frozen=True):
    """A memtable, and the sequence that the next point of each device in it gets."""

    memtable: Memtable
    next_sequences: dict[int, int]


class View(msgspec.Struct, frozen=True):
    """What a reader sees: live segments, frozen memtables from old to new, the active one, and tombstones by device."""

    segments: tuple[LiveSegment, ...]
    frozen: tuple[Table, ...]
    active: Table
    tombstones: dict[int, tuple[Tombstone, ...]]


class Known(msgspec.Struct, frozen=True):
    """What the live segments hold of a device; good as long as they are the same."""

    live: tuple[LiveSegment, ...]
    found: list[tuple[Segment | TsengineError, int, int]]  # with the device's first and last time in it; or why it cannot be read
    series: frozenset[tuple[bytes, int]]  # (variable, kind)


def new_table() -> Table:
    return Table(Memtable(), {})


class Snapshot(msgspec.Struct, frozen=True):
    """The points of a device at one moment: every read of one question uses the same."""

    device: int
    known: Known
    memtables: list[Memtable]
    tombstones: tuple[Tombstone, ...]

    def sources(self, start_us: int, end_us: int) -> list[Source]:
        """Return what may hold points within the bounds, each with the intervals that are hidden in it.

        Raises:
            CorruptionError, StorageError: a segment of these times cannot be read.
        """
        found: list[Source] = []
        for segment, first_us, last_us in self.known.found:
            if first_us <= end_us and last_us >= start_us:
                if isinstance(segment, TsengineError):
                    raise segment
                found.append((segment, hidden_in(segment.last_log_seq, self.tombstones)))
        for memtable in self.memtables:
            if memtable.holds(self.device, start_us, end_us):
                found.append((memtable, hidden_in(memtable.last_log_seq, self.tombstones)))
        return found

    def series(self) -> frozenset[tuple[bytes, int]]:
        """Return (variable, kind) of every series that may have points."""
        return self.known.series.union(*(memtable.device_series(self.device) for memtable in self.memtables))

    def unsealed_count(self) -> int:
        """Return how many points of the device came to the memtables; it grows while the newest of them is written."""
        return sum(memtable.device_count(self.device) for memtable in self.memtables)

    def bounds(self) -> list[tuple[int, int]]:
        """Return the first and last time of the device in each source that has points of it."""
        found = [(first_us, last_us) for _, first_us, last_us in self.known.found]
        return found + [bounds for memtable in self.memtables if (bounds := memtable.device_bounds(self.device)) is not None]


def touches(entry: SegmentEntry, tombstone: Tombstone) -> bool:
    """Whether a tombstone may hide points of a segment."""
    return (
        entry.last_log_seq < tombstone.log_seq
        and entry.first_device <= tombstone.device <= entry.last_device
        and entry.first_us <= tombstone.end_us
        and entry.last_us >= tombstone.start_us
    )


def hides(tombstone: Tombstone, live: LiveSegment) -> bool:
    """Whether a tombstone may hide points of a segment, told by the blocks of its device. Cost: opens a segment that it touches."""
    if not touches(live.entry, tombstone):
        return False
    try:
        blocks = live.open().device_blocks(tombstone.device)
    except TsengineError:  # a damaged segment keeps its tombstones, and does not keep others from being merged
        return True
    return any(first_us <= tombstone.end_us and last_us >= tombstone.start_us for first_us, last_us, _ in blocks)


def is_covered(entry: SegmentEntry, tombstone: Tombstone) -> bool:
    """Whether a tombstone hides every point of a segment."""
    return (
        touches(entry, tombstone)
        and entry.first_device == entry.last_device
        and tombstone.start_us <= entry.first_us
        and entry.last_us <= tombstone.end_us
    )


def hidden_in(last_log_seq: int, tombstones: tuple[Tombstone, ...]) -> list[Interval]:
    """Return the intervals that a device's tombstones hide in a memtable or segment."""
    return [(tombstone.start_us, tombstone.end_us) for tombstone in tombstones if last_log_seq < tombstone.log_seq]


def is_hidden(time_us: int, hidden: list[Interval]) -> bool:
    return any(start <= time_us <= end for start, end in hidden)


def counts_in(source: Memtable | Segment, device: int, period: str | None, hidden: list[Interval]) -> dict[int, int]:
    """Return the points of a device in each period that a source holds; tombstones hide whole periods."""
    if isinstance(source, Segment):
        return source.period_counts(device, period, hidden)
    found = source.period_counts(device, period)
    return {number: points for number, points in found.items() if not is_hidden(max(start_of(number, period), TIMES[0]), hidden)}
