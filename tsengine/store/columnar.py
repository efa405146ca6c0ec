"""Immutable devices: batches to memtables, memtables to segments, and the view that readers take of both.

Life of a point: `apply` puts it into the active memtable (after the log made it durable); a full memtable is frozen;
`seal` writes it as one segment a month and commits them to the manifest together with the log sequence they reach; from
then on the log may be trimmed. Deletes are tombstones: they hide points in everything that was logged before them, until
a merge leaves those points out.

Invariants:
- `View` is replaced, never changed: a reader that took one sees the same points until it drops it.
- A file is in the view only after it is synced, renamed and committed; it is unlinked only after the commit that removed it.
- A tombstone applies to a memtable or segment whose newest log sequence is smaller than its own.

Locks, in the order in which they may be taken:
- `sealing`, `merging`: one seal and one merge at a time; neither waits for the other, so a long merge never stalls writers.
- `_changes`: from a look at the view over the commit of the manifest to the new view, so that changes of segments and
  tombstones do not lose each other.
- `_lock`: for moments only: the active memtable, and the replacement of the view. Writers wait for nothing else.
- `maintenance`, apart from these: while it is held the log is not trimmed (checks and backups hold it, and a trim).
Readers take no lock at all.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from tsengine.core import batch
from tsengine.core.calendar import TIMES
from tsengine.core.ingest import table as ingest
from tsengine.core.os.file import remove_file, rename_file, sync_folder
from tsengine.core.store.seal import seal
from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter
from tsengine.errors import BusyError, CorruptionError, StorageError, StorageFullError, TsengineError
from tsengine.notices import logger
from tsengine.store.environment import make_folder
from tsengine.store.manifest import Manifest, Tombstone, entry_of
from tsengine.store.period import chunk_bounds
from tsengine.store.view import (
    Known,
    LiveSegment,
    Snapshot,
    Source,
    View,
    counts_in,
    hides,
    is_covered,
    new_table,
    touches,
)
from tsengine.types import DeviceInfo

SUFFIX, TEMPORARY_SUFFIX = ".seg", ".seg.tmp"
OWN_NAME = re.compile(r"[0-9a-f]{16}\.seg(\.tmp)?")

ADMIT_TIMEOUT_S = 10.0
"""Longest time a writer waits for a seal when memory is full, seconds; after it BusyError."""

Targets = list[tuple[int, str | None] | None]
"""Of each part of a table its first sequence and its device's chunk period; None: the part is not for this store."""

MakeWriter = Callable[[int], SegmentWriter]

DEVICES_KNOWN_MAX = 4_096
"""Devices of which the store remembers their segments: some kilobytes each, and a millisecond at most to find them again."""


class ColumnarStore:
    """Args:
        folder: holds `segments/` and `manifest/`.
        device_of: number -> what the catalog knows of the device, or None if it was deleted.
        memory_bytes: for memtables, active and frozen together; half of it freezes one.
        on_frozen: called (from `apply`) when there is something to seal.
        on_dropped: called when there is something for `let_go`.

    Raises:
        StorageError, CorruptionError: as Manifest. A damaged segment is reported when it is read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device_of: Callable[[int], DeviceInfo | None],
        memory_bytes: int,
        on_frozen: Callable[[], None],
        on_dropped: Callable[[], None],
    ) -> None:
        self._folder = folder / "segments"
        make_folder(self._folder)
        self.manifest = Manifest(folder / "manifest")
        self._device_of = device_of
        self._table_bytes_max = memory_bytes // 2
        self._on_frozen = on_frozen
        self._on_dropped = on_dropped
        self._dropped: list[LiveSegment] = []  # unlinked; a file's space is freed when the last of its mappings goes
        self._lock = threading.Lock()
        self._changes = threading.Lock()
        self.sealing = threading.Lock()
        self.merging = threading.Lock()
        self.maintenance = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._seal_error: TsengineError | None = None
        self.seal_count = 0  # of memtables, since the store was opened
        self._ids = count(self.manifest.next_segment_id)
        self._replayed_until = self.manifest.applied_seq
        self._keeping = threading.Lock()  # one backup or check at a time
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
            active = self._view.active
            memtable, next_sequences = active.memtable, active.next_sequences
            points = memtable.apply(record, seq)
            next_sequences[batch.device_of(record)] = batch.first_sequence_of(record) + points
        if memtable.size_bytes > self._table_bytes_max:
            self.freeze()

    def drop_points(self, seq: int, device: int, start_us: int, end_us: int) -> None:
        """Hide the points of a device within the bounds that were applied before; durable on return.

        Segments that hold nothing else are unlinked; their space is free after the next `let_go`, unless somebody reads them.
        """
        if seq <= self._replayed_until:
            return
        if self._view.active.memtable.holds(device, start_us, end_us):
            self.freeze()
        tombstone = Tombstone(device, start_us, end_us, seq)
        with self._changes:
            view = self._view
            dead = {segment for segment in view.segments if is_covered(segment.entry, tombstone)}
            known = view.tombstones.get(device, ())
            is_needed = any(touches(segment.entry, tombstone) for segment in view.segments if segment not in dead)
            is_needed = is_needed or any(table.memtable.holds(device, start_us, end_us) for table in view.frozen)
            if not dead and not is_needed:
                return
            self.manifest.commit(remove=[segment.entry.id for segment in dead], tombstones_add=[tombstone] if is_needed else ())
            with self._lock:
                self._view = msgspec.structs.replace(
                    self._view,
                    segments=tuple(segment for segment in view.segments if segment not in dead),
                    tombstones={**view.tombstones, device: (*known, tombstone)} if is_needed else view.tombstones,
                )
        self._unlink(dead)
        if dead:
            self._dropped.extend(dead)
            self._on_dropped()

    def let_go(self) -> None:
        """Unmap the segments of dropped points: freeing the space of a month takes about as long as making its drop durable."""
        self._dropped = []

    def freeze(self) -> None:
        """Let the active memtable be sealed, and start a new one."""
        with self._lock:
            table = self._view.active
            if table.memtable.point_count == 0:
                return
            table.memtable.freeze()
            self._view = msgspec.structs.replace(self._view, frozen=(*self._view.frozen, table), active=new_table())
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

    # --- background work ---------------------------------------------------------------------------------------------

    def seal(self) -> bool:
        """Write the oldest frozen memtable as segments and commit them; return False if there is none.

        Raises:
            StorageFullError, StorageError: nothing was changed; the memtable stays and the call may be repeated.
        Durability: the segments are on disk and in the manifest on return.
        """
        with self.sealing:
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
                with self._changes:
                    self._commit(
                        added,
                        applied_seq=table.memtable.last_log_seq,
                        next_sequences={device: n for device, n in table.next_sequences.items() if self._device_of(device)},
                    )
                    with self._room:
                        self._seal_error = None
                        self.seal_count += 1
                        self._view = msgspec.structs.replace(
                            self._view, segments=self._view.segments + tuple(added), frozen=self._view.frozen[1:]
                        )
                        self._room.notify_all()
            except Exception as error:
                with self._room:
                    self._seal_error = error if isinstance(error, TsengineError) else TsengineError(f"sealing failed: {error!r}")
                    self._room.notify_all()
                raise
            return True

    def load(self, tables: Iterable[tuple[ingest.Table, Targets]], log_seq: int) -> None:
        """Write the rows of tables straight to segments and commit them together.

        Args:
            tables: each with the first sequence and chunk period of its parts; taken one at a time.
            log_seq: of the newest record of the log; nothing of these devices may be on its way.

        Raises:
            StorageFullError, StorageError: nothing is stored.
        Durability: the segments are on disk and in the manifest on return.
        """
        from tsengine.core.store.bulk import seal_table  # when it is needed: a program that reads pays for no loader

        added: list[LiveSegment] = []
        following: dict[int, int] = {}
        try:
            for table, targets in tables:

                def work(make_writer: MakeWriter, table: ingest.Table = table, targets: Targets = targets) -> list[SegmentWriter]:
                    return seal_table(table, targets, make_writer)

                added += self._write(work, log_seq, log_seq, tier=0)
                for part, target in enumerate(targets):
                    if target is not None:
                        following[table.part_device(part)] = target[0] + table.part_size(part)
        except BaseException:
            self._unlink(added)
            raise
        with self._changes:
            self._commit(added, next_sequences=following)
            with self._lock:
                self._view = msgspec.structs.replace(self._view, segments=self._view.segments + tuple(added))

    def _commit(self, added: list[LiveSegment], **changes: Any) -> None:
        """Commit new segments with other changes; see `Manifest.commit`."""
        try:
            self.manifest.commit(add=[segment.entry for segment in added], **changes)
        except StorageFullError:  # after another error it is in doubt whether the manifest lists them: the next open knows
            self._unlink(added)
            raise

    def replace(self, old: list[LiveSegment], work: Callable[[MakeWriter], list[SegmentWriter]], *, tier: int) -> list[LiveSegment]:
        """Put the segments that `work` writes in the place of old ones (the caller holds `merging`); return them.

        Tombstones that hide nothing any more are forgotten in the same commit. If one of the old segments was removed meanwhile,
        its points may be in what was written: that is thrown away, nothing changes, and the list is empty.
        """
        first = min(segment.entry.first_log_seq for segment in old)
        last = max(segment.entry.last_log_seq for segment in old)
        added = self._write(work, first, last, tier)
        if not self._exchange(old, added):
            self._unlink(added)
            return []
        self._unlink(old)
        return added

    def remove(self, dead: Iterable[LiveSegment]) -> int:
        """Remove segments whose every point is expired or deleted; return how many were still there."""
        there = list(set(dead) & set(self._view.segments))
        if not there or not self._exchange(there, []):
            return 0
        self._unlink(there)
        return len(there)

    def _exchange(self, old: list[LiveSegment], added: list[LiveSegment]) -> bool:
        """Commit segments in the place of old ones; return False, and change nothing, if one of those is not there any more."""
        seen = self._view
        # Most of the work before the lock: tombstones that hide nothing in what will be left.
        gone = set(old)
        left = [*(set(seen.segments) - gone), *added]
        spent = [t for known in seen.tombstones.values() for t in known if not any(hides(t, segment) for segment in left)]
        with self._changes:
            view = self._view
            if not gone <= set(view.segments):
                return False
            fresh = set(view.segments) - set(seen.segments)
            spent = [
                tombstone
                for tombstone in spent
                if not any(hides(tombstone, segment) for segment in fresh)
                and not any(table.memtable.last_log_seq < tombstone.log_seq for table in view.frozen)
            ]
            self._commit(added, remove=[segment.entry.id for segment in old], tombstones_remove=spent)
            tombstones = view.tombstones
            if spent:
                kept = {device: tuple(t for t in known if t not in spent) for device, known in tombstones.items()}
                tombstones = {device: known for device, known in kept.items() if known}
            segments = (*(segment for segment in view.segments if segment not in gone), *added)
            with self._lock:
                self._view = msgspec.structs.replace(self._view, segments=segments, tombstones=tombstones)
        return True

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
            logger(__name__).error("%s", error)

    def _write(
        self, work: Callable[[MakeWriter], list[SegmentWriter]], first_log_seq: int, last_log_seq: int, tier: int
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
        live = LiveSegment(entry_of(segment, segment_id, first_log_seq, last_log_seq, tier), self.path_of(segment_id))
        live._segment = segment
        return live

    def _periods(self, devices: Iterable[int]) -> dict[int, str | None]:
        known = ((device, self._device_of(device)) for device in devices)
        return {device: info.chunk_period for device, info in known if info is not None}

    def holding_changes(self) -> AbstractContextManager[Any]:
        """Return the lock that keeps the manifest from changing while it is held; loads, seals, merges and deletes wait."""
        return self._changes

    @contextmanager
    def keeping_files(self) -> Iterator[None]:
        """Leave the files of segments that are removed meanwhile where they are until the end, for who reads them; one at a time."""
        with self._keeping:
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
        with self._lock:
            if self._kept is not None:
                self._kept.extend(segments)
                return
        for segment in segments:
            with suppress(TsengineError):  # nobody can read it, then
                segment.open()
            try:
                remove_file(segment.path)
            except StorageError as error:  # only space is lost: the next open removes what the manifest does not list
                logger(__name__).warning("segment file stays behind: %s", error)

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
            for number, points in counts_in(source, device, period, hidden).items():
                counts[number] = counts.get(number, 0) + points
        return counts

    def chunk_count(self, device: int, period: str | None, number: int) -> int:
        """Return the points of a device in one of its periods, hidden ones left out."""
        sources = self.sources(device, *chunk_bounds(number, period))
        return sum(counts_in(source, device, period, hidden).get(number, 0) for source, hidden in sources)

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


def abandon(writer: SegmentWriter) -> None:
    """Remove an unfinished file; what cannot be removed now goes at the next open."""
    try:
        writer.abort()
    except StorageError as error:
        logger(__name__).warning("unfinished segment stays behind: %s", error)
