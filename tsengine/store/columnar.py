"""Immutable devices: batches to memtables, memtables to segments, and the view that readers take of both.

Life of a point: `apply` puts it into the active memtable (after the log made it durable); a full memtable is frozen;
`seal` writes it as one segment a month and commits them to the manifest together with the log sequence they reach; from
then on the log may be trimmed. Deletes are tombstones: they hide points in everything that was logged before them, until
a merge leaves those points out.

Invariants:
- `View` is replaced, never changed: a reader that took one sees the same points until it drops it.
- A file is in the view only after it is synced, renamed and committed; it is unlinked only after the commit that removed it.
- A tombstone applies to a memtable or segment whose newest log sequence is smaller than its own.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tsengine.core import batch
from tsengine.core.calendar import TIMES, period_of, start_of
from tsengine.core.os.file import remove_file, rename_file, sync_folder
from tsengine.core.store.bulk import seal_batch
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.seal import seal
from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter
from tsengine.errors import BusyError, CorruptionError, StorageError, TsengineError
from tsengine.store.environment import make_folder
from tsengine.store.manifest import Manifest, SegmentEntry, Tombstone
from tsengine.types import DeviceInfo

logger = logging.getLogger(__name__)

SUFFIX, TEMPORARY_SUFFIX = ".seg", ".seg.tmp"
OWN_NAME = re.compile(r"[0-9a-f]{16}\.seg(\.tmp)?")

ADMIT_TIMEOUT_S = 10.0
"""Longest time a writer waits for a seal when memory is full, seconds; after it BusyError."""

Interval = tuple[int, int]
"""First and last microsecond, both inside."""

Source = tuple[Memtable | Segment, list[Interval]]

DEVICES_KNOWN_MAX = 4_096
"""Devices of which the store remembers their segments: some kilobytes each, and a millisecond at most to find them again."""


class LiveSegment:
    """A segment of the manifest, opened when it is first read."""

    def __init__(self, entry: SegmentEntry, path: Path) -> None:
        self.entry = entry
        self.path = path
        self.damage: CorruptionError | None = None  # seen by background work, which leaves it alone from then on
        self._segment: Segment | None = None

    def open(self) -> Segment:
        if self._segment is None:
            self._segment = Segment(self.path, self.entry.id, self.entry.last_log_seq)
        return self._segment


class Table(NamedTuple):
    """A memtable, and the sequence that the next point of each device in it gets."""

    memtable: Memtable
    next_sequences: dict[int, int]


class View(NamedTuple):
    """What a reader sees: live segments, frozen memtables from old to new, the active one, and tombstones by device."""

    segments: tuple[LiveSegment, ...]
    frozen: tuple[Table, ...]
    active: Table
    tombstones: dict[int, tuple[Tombstone, ...]]


class Known(NamedTuple):
    """What the live segments hold of a device; good as long as they are the same."""

    live: tuple[LiveSegment, ...]
    found: list[tuple[Segment | TsengineError, int, int]]  # with the device's first and last time in it; or why it cannot be read
    series: frozenset[tuple[bytes, int]]  # (variable, kind)


def new_table() -> Table:
    return Table(Memtable(), {})


class Snapshot(NamedTuple):
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


class ColumnarStore:
    """Args:
        folder: holds `segments/` and `manifest/`.
        device_of: number -> what the catalog knows of the device, or None if it was deleted.
        memory_bytes: for memtables, active and frozen together; half of it freezes one.
        on_frozen: called (from `apply`) when there is something to seal.

    Raises:
        StorageError, CorruptionError: as Manifest. A damaged segment is reported when it is read.
    """

    def __init__(
        self, folder: Path, *, device_of: Callable[[int], DeviceInfo | None], memory_bytes: int, on_frozen: Callable[[], None]
    ) -> None:
        self._folder = folder / "segments"
        make_folder(self._folder)
        self.manifest = Manifest(folder / "manifest")
        self._device_of = device_of
        self._table_bytes_max = memory_bytes // 2
        self._on_frozen = on_frozen
        self._lock = threading.Lock()  # guards the active memtable and the replacement of the view
        self._room = threading.Condition(self._lock)
        self._seal_error: TsengineError | None = None
        self._ids = count(self.manifest.next_segment_id)
        self._replayed_until = self.manifest.applied_seq
        self.maintenance = threading.Lock()  # one seal or merge at a time
        self._kept: list[LiveSegment] | None = None  # removed, but their files are still needed
        self._known: dict[int, Known] = {}  # of the segments of the view
        self._generation = 0  # grows with every view
        segments = tuple(LiveSegment(entry, self.path_of(entry.id)) for entry in self.manifest.segments())
        tombstones: dict[int, tuple[Tombstone, ...]] = {}
        for tombstone in self.manifest.tombstones():
            tombstones[tombstone.device] = (*tombstones.get(tombstone.device, ()), tombstone)
        self._view = View(segments, (), new_table(), tombstones)
        self._remove_leftovers()

    def path_of(self, segment_id: int) -> Path:
        return self._folder / f"{segment_id:016x}{SUFFIX}"

    def _remove_leftovers(self) -> None:
        """Remove files of unfinished seals and merges; other names are left alone."""
        live = {segment.path.name for segment in self._view.segments}
        for path in self._folder.iterdir():
            if OWN_NAME.fullmatch(path.name) and path.name not in live:
                remove_file(path)

    # --- writes: called by the log's committing thread, in log order -------------------------------------------------

    def sealed_until(self, applied_seq: int) -> int:
        """Return up to where the log is not needed, when everything up to `applied_seq` was applied here."""
        view = self._view
        waiting = [table.memtable.first_log_seq for table in (*view.frozen, view.active) if table.memtable.point_count]
        return min(waiting) - 1 if waiting else applied_seq

    def apply(self, seq: int, record: bytes) -> None:
        """Add a batch to the active memtable, unless it is sealed already (replay); freeze the memtable when it is full.

        Raises:
            CorruptionError: the record is damaged.
        """
        if seq <= self._replayed_until:
            return
        with self._lock:  # a memtable must not be frozen between being picked and taking the batch
            memtable, next_sequences = self._view.active
            points = memtable.apply(record, seq)
            next_sequences[batch.device_of(record)] = batch.first_sequence_of(record) + points
        if memtable.size_bytes > self._table_bytes_max:
            self.freeze()

    def drop_points(self, seq: int, device: int, start_us: int, end_us: int) -> None:
        """Hide the points of a device within the bounds that were applied before; durable on return.

        Segments that hold nothing else are removed at once, so dropping a chunk gives its space back.
        """
        if seq <= self._replayed_until:
            return
        if self._view.active.memtable.holds(device, start_us, end_us):
            self.freeze()
        tombstone = Tombstone(device, start_us, end_us, seq)
        with self._lock:
            dead = [segment for segment in self._view.segments if is_covered(segment.entry, tombstone)]
            known = self._view.tombstones.get(device, ())
            is_needed = any(touches(segment.entry, tombstone) for segment in self._view.segments if segment not in dead)
            is_needed = is_needed or any(table.memtable.holds(device, start_us, end_us) for table in self._view.frozen)
            self.manifest.commit(remove=[segment.entry.id for segment in dead], tombstones_add=[tombstone] if is_needed else ())
            self._view = self._view._replace(
                segments=tuple(segment for segment in self._view.segments if segment not in dead),
                tombstones={**self._view.tombstones, device: (*known, tombstone)} if is_needed else self._view.tombstones,
            )
        self._unlink(dead)

    def freeze(self) -> None:
        """Let the active memtable be sealed, and start a new one."""
        with self._lock:
            table = self._view.active
            if table.memtable.point_count == 0:
                return
            table.memtable.freeze()
            self._view = self._view._replace(frozen=(*self._view.frozen, table), active=new_table())
        self._on_frozen()

    def has_room(self) -> bool:
        """Whether there is memory for another batch."""
        return not self._view.frozen or self._view.active.memtable.size_bytes < self._table_bytes_max // 2

    def admit(self) -> None:
        """Wait until there is memory for another batch; called by writers before they stage one.

        Raises:
            BusyError: a seal did not make room in ADMIT_TIMEOUT_S. StorageError: it failed.
        """
        if self.has_room():
            return
        with self._room:
            if self._room.wait_for(lambda: not self._view.frozen or self._seal_error, timeout=ADMIT_TIMEOUT_S):
                if self._seal_error is not None:
                    raise self._seal_error
                return
        raise BusyError(f"memory for unsealed points is full and sealing took longer than {ADMIT_TIMEOUT_S:g} s; try again later")

    # --- background work: one thread at a time holds `maintenance` ---------------------------------------------------

    def seal(self) -> bool:
        """Write the oldest frozen memtable as segments and commit them; return False if there is none.

        Raises:
            StorageFullError, StorageError: nothing was changed; the memtable stays and the call may be repeated.
        Durability: the segments are on disk and in the manifest on return.
        """
        with self.maintenance:
            if not self._view.frozen:
                return False
            table = self._view.frozen[0]
            try:
                added = self._write(
                    lambda make_writer: seal(table.memtable, self._periods(table.memtable.devices()), make_writer),
                    table.memtable.first_log_seq,
                    table.memtable.last_log_seq,
                    tier=0,
                )
                self.manifest.commit(
                    add=[segment.entry for segment in added],
                    applied_seq=table.memtable.last_log_seq,
                    next_sequences={device: n for device, n in table.next_sequences.items() if self._device_of(device)},
                )
            except Exception as error:
                with self._room:
                    self._seal_error = error if isinstance(error, TsengineError) else TsengineError(f"sealing failed: {error!r}")
                    self._room.notify_all()
                raise
            with self._room:
                self._seal_error = None
                self._view = self._view._replace(segments=self._view.segments + tuple(added), frozen=self._view.frozen[1:])
                self._room.notify_all()
            return True

    def load(self, records: Iterable[bytes], info: DeviceInfo, log_seq: int) -> None:
        """Write stamped batches of a device straight to segments and commit them together.

        Args:
            records: taken one at a time, so that memory holds one of them.
            log_seq: of the newest record of the log; nothing of the device may be on its way.

        Raises:
            StorageFullError, StorageError: nothing is stored.
        Durability: the segments are on disk and in the manifest on return.
        """
        added: list[LiveSegment] = []
        following = 1
        try:
            for record in records:

                def work(make_writer: Callable[[int], SegmentWriter], record: bytes = record) -> list[SegmentWriter]:
                    return seal_batch(record, info.chunk_period, make_writer)

                added += self._write(work, log_seq, log_seq, tier=0)
                following = batch.first_sequence_of(record) + batch.count_of(record)
            with self._lock:
                self.manifest.commit(add=[segment.entry for segment in added], next_sequences={info.number: following})
                self._view = self._view._replace(segments=self._view.segments + tuple(added))
        except BaseException:
            self._unlink(added)
            raise

    def replace(
        self, old: list[LiveSegment], work: Callable[[Callable[[int], SegmentWriter]], list[SegmentWriter]], *, tier: int
    ) -> list[LiveSegment]:
        """Put the segments that `work` writes in the place of old ones (the caller holds `maintenance`); return them.

        Tombstones that hide nothing any more are forgotten in the same commit. If `drop_points` removed one of the old segments
        meanwhile, its points may be in what was written: that is thrown away, nothing changes, and the list is empty.
        """
        first = min(segment.entry.first_log_seq for segment in old)
        last = max(segment.entry.last_log_seq for segment in old)
        added = self._write(work, first, last, tier)
        with self._lock:
            if any(segment not in self._view.segments for segment in old):
                self._unlink(added)
                return []
            segments = tuple(segment for segment in self._view.segments if segment not in old) + tuple(added)
            spent = [
                tombstone
                for tombstones in self._view.tombstones.values()
                for tombstone in tombstones
                if not any(hides(tombstone, segment) for segment in segments)
                and not any(table.memtable.last_log_seq < tombstone.log_seq for table in self._view.frozen)
            ]
            self.manifest.commit(
                add=[segment.entry for segment in added], remove=[segment.entry.id for segment in old], tombstones_remove=spent
            )
            left = {device: tuple(t for t in known if t not in spent) for device, known in self._view.tombstones.items()}
            self._view = self._view._replace(segments=segments, tombstones={device: known for device, known in left.items() if known})
        self._unlink(old)
        return added

    def remove(self, dead: list[LiveSegment]) -> None:
        """Remove segments whose every point is expired or deleted."""
        self.replace(dead, lambda _: [], tier=0)

    @contextmanager
    def sparing_damaged(self, segments: Iterable[LiveSegment]) -> Iterator[None]:
        """Let background work on these segments end early at damage in one of them, which is noted and left alone from then on.

        So one bad file does not keep the others from being merged and dropped; whoever reads it still gets the error.
        """
        try:
            yield
        except CorruptionError as error:
            damaged = [live for live in segments if str(live.path) == error.file]
            if not damaged:
                raise
            for live in damaged:
                live.damage = error
            logger.error("%s", error)

    def _write(
        self, work: Callable[[Callable[[int], SegmentWriter]], list[SegmentWriter]], first_log_seq: int, last_log_seq: int, tier: int
    ) -> list[LiveSegment]:
        """Have segments written, synced and renamed into place; not yet committed."""
        begun: list[tuple[int, SegmentWriter]] = []

        def temporary(segment_id: int) -> Path:
            return self._folder / f"{segment_id:016x}{TEMPORARY_SUFFIX}"

        def make_writer(month: int) -> SegmentWriter:
            segment_id = next(self._ids)
            writer = SegmentWriter(temporary(segment_id), month)
            begun.append((segment_id, writer))
            return writer

        try:
            work(make_writer)
            for _, writer in begun:
                writer.finish()
        except BaseException:
            for _, writer in begun:
                abandon(writer)
            raise
        for segment_id, _ in begun:
            rename_file(temporary(segment_id), self.path_of(segment_id))
        if begun:
            sync_folder(self._folder)
        return [self._described(segment_id, first_log_seq, last_log_seq, tier) for segment_id, _ in begun]

    def _described(self, segment_id: int, first_log_seq: int, last_log_seq: int, tier: int) -> LiveSegment:
        segment = Segment(self.path_of(segment_id), segment_id, last_log_seq)
        first_us, last_us = segment.time_bounds()
        devices = segment.devices()
        live = LiveSegment(
            SegmentEntry(
                id=segment_id,
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
            ),
            self.path_of(segment_id),
        )
        live._segment = segment
        return live

    def _periods(self, devices: Iterable[int]) -> dict[int, str | None]:
        known = ((device, self._device_of(device)) for device in devices)
        return {device: info.chunk_period for device, info in known if info is not None}

    @contextmanager
    def keeping_files(self) -> Iterator[None]:
        """Leave the files of segments that are removed meanwhile where they are until the end, for a backup that copies them."""
        with self._lock:
            kept: list[LiveSegment] = []
            self._kept = kept
        try:
            yield
        finally:
            with self._lock:
                self._kept = None
            self._unlink(kept)

    def _unlink(self, segments: Iterable[LiveSegment]) -> None:
        if self._kept is not None:
            self._kept.extend(segments)
            return
        for segment in segments:
            try:
                remove_file(segment.path)
            except StorageError as error:  # only space is lost: the next open removes what the manifest does not list
                logger.warning("segment file stays behind: %s", error)

    # --- reads -------------------------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """What is readable now; the object never changes."""
        return self._view

    def sources(self, device: int, start_us: int, end_us: int) -> list[Source]:
        """Return the memtables and segments that may hold points of a device within the bounds, with what is hidden in each."""
        return self.snapshot(device).sources(start_us, end_us)

    @property
    def _view(self) -> View:
        return self._newest_view

    @_view.setter
    def _view(self, view: View) -> None:
        # Nothing may keep segments that are no longer of the view: their files would keep their space.
        self._known = {}
        self._newest_view = view
        self._generation += 1

    def version(self, device: int) -> tuple[int, int | None]:
        """Return what changes with every change of a device's points: number of the view, next sequence in its memtable."""
        generation = self._generation
        return generation, self._view.active.next_sequences.get(device)

    def snapshot(self, device: int) -> Snapshot:
        """Return what there is of a device now.

        Cost: after a change of the segments, a look into the footer of each that may hold the device.
        """
        view = self._view
        known = self._known.get(device)
        if known is None or known.live is not view.segments:
            known = self._remember(device, view.segments)
        tombstones = view.tombstones.get(device, ())
        return Snapshot(device, known, [table.memtable for table in (*view.frozen, view.active)], tombstones)

    def _remember(self, device: int, live: tuple[LiveSegment, ...]) -> Known:
        found: list[tuple[Segment | TsengineError, int, int]] = []
        series: set[tuple[bytes, int]] = set()
        is_whole = True
        for one in live:
            entry = one.entry
            if not entry.first_device <= device <= entry.last_device:
                continue
            try:
                segment = one.open()
            except TsengineError as error:  # for whoever reads its times; others go on
                found.append((error, entry.first_us, entry.last_us))
                is_whole = False
                continue
            bounds = segment.device_bounds(device)
            if bounds is not None:
                found.append((segment, *bounds))
                series.update(segment.device_series(device))
        known = Known(live, found, frozenset(series))
        if not is_whole or self._view.segments is not live:
            return known  # the next read tries again
        if len(self._known) >= DEVICES_KNOWN_MAX:
            with suppress(KeyError, StopIteration, RuntimeError):  # another thread may have been faster
                del self._known[next(iter(self._known))]
        self._known[device] = known
        return known

    def period_counts(self, device: int, period: str | None) -> dict[int, int]:
        """Return the points of a device in each of its periods, hidden ones left out: number of the period -> points."""
        counts: dict[int, int] = {}
        for source, hidden in self.sources(device, *TIMES):
            if isinstance(source, Segment):
                found = segment_period_counts(source, device, period, hidden)
            else:
                found = source.period_counts(device, period)
                found = {n: points for n, points in found.items() if not is_hidden(max(start_of(n, period), TIMES[0]), hidden)}
            for number, points in found.items():
                counts[number] = counts.get(number, 0) + points
        return counts

    def forget_device(self, seq: int, device: int) -> None:
        """Drop everything of a device that was deleted from the catalog."""
        self.drop_points(seq, device, *TIMES)
        if seq > self._replayed_until:
            self.manifest.commit(next_sequences={device: None})

    def next_sequence(self, device: int) -> int:
        """Return the sequence that the device's next point gets, as far as this store knows."""
        view = self._view
        newest = max((table.next_sequences.get(device, 1) for table in (*view.frozen, view.active)), default=1)
        return max(newest, self.manifest.next_sequence(device) or 1)

    def close(self) -> None:
        self.manifest.close()


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


def segment_period_counts(segment: Segment, device: int, period: str | None, hidden: list[Interval]) -> dict[int, int]:
    """Return the points of a device in each period; a block never crosses a period, so its first time tells."""
    counts: dict[int, int] = {}
    for first_us, _, points in segment.device_blocks(device):
        if not is_hidden(first_us, hidden):
            number = period_of(first_us, period)
            counts[number] = counts.get(number, 0) + points
    return counts


def abandon(writer: SegmentWriter) -> None:
    """Remove an unfinished file; what cannot be removed now goes at the next open."""
    try:
        writer.abort()
    except StorageError as error:
        logger.warning("unfinished segment stays behind: %s", error)
