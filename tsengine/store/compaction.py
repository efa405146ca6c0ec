"""Which segments to merge, and the merges: fewer files, no expired, deleted or hidden points.

Segments of one month are merged by tiers: as soon as MERGE_COUNT segments of the same tier lie there, they become one of
the next tier, so every point is written again at most once a tier. A segment of which a merge would leave out a quarter is
written again by itself. `merge_all` merges whatever a merge improves.

Each merge is one commit of the manifest: after a kill the merges that ended are not done again, and of the one that ran its
file is removed at the next open. What is lost is at most the merge of one month.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec

from tsengine.clock import ManualClock, SystemClock
from tsengine.core.store.merge import dead_points, merge
from tsengine.core.store.segment import Segment
from tsengine.errors import StorageFullError
from tsengine.store.columnar import ColumnarStore
from tsengine.store.pace import Pace
from tsengine.store.period import TIME_MIN_US, kept_from
from tsengine.store.view import Interval, LiveSegment, hidden_in, hides
from tsengine.types import DeviceInfo

MERGE_COUNT = 4
"""Segments of one month and tier that are merged together: each tier is four times the size of the one below."""

MERGE_COUNT_MAX = 32
"""Most segments of one merge. Memory: up to two blocks of each may overlap at one point in time, 200 kB a segment."""

WASTE_SHARE = 4
"""A segment is written again when one point in so many is expired, deleted or hidden: files are at most a third too large."""

WASTE_INTERVAL_US = 10 * 60 * 1_000_000
"""How often such segments are looked for, microseconds: it takes a look at every block's directory entry."""

DeviceOf = Callable[[int], DeviceInfo | None]
Progress = Callable[[int, int], None]
"""Called with (points done, points in all)."""


def by_month(segments: tuple[LiveSegment, ...]) -> dict[int, list[LiveSegment]]:
    """Return the live segments of each month that are not known to be damaged, oldest first."""
    months: dict[int, list[LiveSegment]] = defaultdict(list)
    for live in segments:
        if live.damage is None:
            months[live.entry.month].append(live)
    return months


def next_merge(segments: tuple[LiveSegment, ...]) -> list[LiveSegment]:
    """Return the segments that should be merged next, or an empty list."""
    for _, month in sorted(by_month(segments).items()):
        tiers: dict[int, list[LiveSegment]] = defaultdict(list)
        for live in month:
            tiers[live.entry.tier].append(live)
        for _, tier in sorted(tiers.items()):
            if len(tier) >= MERGE_COUNT:
                return tier[:MERGE_COUNT_MAX]
    return []


class Cut:
    """What is left out of a device's points: the time that is kept, and what tombstones hide. A snapshot.

    Args:
        now_us: expired points are left out by this time; None = keep them (the clock is not trusted).
    """

    def __init__(self, store: ColumnarStore, segments: list[LiveSegment], device_of: DeviceOf, now_us: int | None) -> None:
        self._tombstones = store.view.tombstones
        self._kept_from: dict[int, int] = {}
        self.periods: dict[int, str | None] = {}  # of every device that was not deleted
        for device in {device for live in segments for device in live.open().devices()}:
            info = device_of(device)
            if info is not None:
                self.periods[device] = info.chunk_period
                self._kept_from[device] = TIME_MIN_US if now_us is None else kept_from(info, now_us)

    def hidden_of(self, segment: Segment, device: int) -> tuple[int, list[Interval]]:
        return self._kept_from[device], hidden_in(segment.last_log_seq, self._tombstones.get(device, ()))


class Work(msgspec.Struct):
    """How far a merge is, or what all of them did."""

    points: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    def add(self, points: int, bytes_read: int, bytes_written: int) -> None:
        self.points += points
        self.bytes_read += bytes_read
        self.bytes_written += bytes_written


class Merge(Work):
    """A merge that runs."""

    month: int = 0
    segments: int = 0
    points_total: int = 0
    began_us: int = 0

    def shown(self, now_us: int) -> dict[str, Any]:
        size_bytes = self.bytes_read + self.bytes_written
        return {
            "month": f"{1970 + self.month // 12:04}-{self.month % 12 + 1:02}",
            "segments": self.segments,
            "points": self.points,
            "points_total": self.points_total,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "bytes_per_second": round(size_bytes * 1_000_000 / max(now_us - self.began_us, 1)),
        }


class Compaction:
    """The merges of a store, one at a time.

    Args:
        device_of: number -> what the catalog knows of the device, or None if it was deleted.
        bytes_per_second: what merges in the background read and write together; None = no limit.
        clock: measures the pace; the wall clock plays no part.
    """

    def __init__(
        self,
        store: ColumnarStore,
        device_of: DeviceOf,
        *,
        bytes_per_second: float | None = None,
        clock: SystemClock | ManualClock | None = None,
    ) -> None:
        self._store = store
        self._device_of = device_of
        self._clock = clock or SystemClock()
        self.pace = Pace(bytes_per_second, self._clock)
        self._running: Merge | None = None
        self._ended = Work()  # all merges since the store was opened, the running one included
        self._merges = 0
        self._wasteful: list[LiveSegment] = []
        self._looked_us: int | None = None

    def merge_due(self, now_us: int | None) -> bool:
        """Do the next merge that is due, at the pace; return whether there was one.

        Args:
            now_us: expired points are left out by this time; None = keep them (the clock is not trusted).

        Raises:
            ClosedError: the store is closed meanwhile. StorageFullError: there is no room for it; it was not begun, or
                nothing was changed. StorageError: nothing was changed.
        """
        if not self._store.merging.acquire(blocking=False):
            return False  # `merge_all` is at it
        try:
            old = next_merge(self._store.view.segments) or self._next_wasteful(now_us)
            with self._store.sparing_damaged(old):
                if old:
                    self._check_room(old)
                    self._merge(old, now_us)
            return bool(old)
        finally:
            self._store.merging.release()

    def merge_all(self, now_us: int | None, progress: Progress | None = None) -> None:
        """Merge every month that a merge improves: several segments, or points that are hidden, expired or deleted.

        No pace holds it, nor a merge in the background that it has to wait for.

        Raises:
            CorruptionError: a segment is damaged; every month without such a segment was merged all the same.
            ClosedError, StorageFullError, StorageError: as `merge_due`; months merged before stay merged.
        """
        with self.pace.lifted(), self._store.merging:
            due = []
            for _, month in sorted(by_month(self._store.view.segments).items()):
                with self._store.sparing_damaged(month):
                    if is_improvable(self._store, month, self._device_of, now_us):
                        due.append(month)
            total = sum(live.entry.point_count for month in due for live in month)
            before = self._ended.points

            def tell() -> None:
                if progress is not None:
                    progress(min(self._ended.points - before, total), total)

            for month in due:
                with self._store.sparing_damaged(month):
                    while month:
                        merged = self._merge(month[:MERGE_COUNT_MAX], now_us, tell)
                        month = [*merged, *month[MERGE_COUNT_MAX:]] if len(month) > MERGE_COUNT_MAX else []
            if progress is not None:
                progress(total, total)
            for live in self._store.view.segments:
                if live.damage is not None:
                    raise live.damage

    def stop(self) -> None:
        """Have the merge that runs abandoned, and every later one refused."""
        self.pace.stop()

    def stats(self) -> dict[str, Any]:
        """Return the merge that runs (None if none does), and what all did since the store was opened."""
        running = self._running
        return {
            "running": None if running is None else running.shown(self._clock.monotonic_us()),
            "merges": self._merges,
            "points": self._ended.points,
            "bytes_read": self._ended.bytes_read,
            "bytes_written": self._ended.bytes_written,
            "bytes_per_second_max": self.pace.bytes_per_second,
        }

    def _merge(self, old: list[LiveSegment], now_us: int | None, tell: Callable[[], None] | None = None) -> list[LiveSegment]:
        """Merge segments of one month, put the result in their place and return it; the caller holds store.merging."""
        cut = Cut(self._store, old, self._device_of, now_us)
        total = sum(live.entry.point_count for live in old)
        running = self._running = Merge(
            month=old[0].entry.month, segments=len(old), points_total=total, began_us=self._clock.monotonic_us()
        )

        def account(points: int, bytes_read: int, bytes_written: int) -> None:
            running.add(points, bytes_read, bytes_written)
            self._ended.add(points, bytes_read, bytes_written)
            if tell is not None:
                tell()
            self.pace.spend(bytes_read + bytes_written)

        try:
            self.pace.spend(0)  # a store that is being closed begins no merge
            added = self._store.replace(
                old,
                lambda make_writer: merge([live.open() for live in old], cut.periods, cut.hidden_of, make_writer, account),
                tier=max(live.entry.tier for live in old) + (len(old) > 1),
            )
            self._merges += 1
            return added
        finally:
            self._running = None

    def _next_wasteful(self, now_us: int | None) -> list[LiveSegment]:
        """Return the next segment that a merge would make smaller by a good part, or an empty list."""
        monotonic_us = self._clock.monotonic_us()
        if not self._wasteful and (self._looked_us is None or monotonic_us - self._looked_us >= WASTE_INTERVAL_US):
            self._looked_us = monotonic_us
            for live in self._store.view.segments:
                with self._store.sparing_damaged([live]):
                    if live.damage is None and self._dead_points(live, now_us) * WASTE_SHARE >= live.entry.point_count:
                        self._wasteful.append(live)
        while self._wasteful:
            live = self._wasteful.pop()
            if live in self._store.view.segments:
                return [live]
        return []

    def _dead_points(self, live: LiveSegment, now_us: int | None) -> int:
        cut = Cut(self._store, [live], self._device_of, now_us)
        return dead_points(live.open(), cut.periods, cut.hidden_of)

    def _check_room(self, old: list[LiveSegment]) -> None:
        """Leave the disk to the log: begin no merge whose result might fill it."""
        needed = sum(live.entry.size_bytes for live in old)
        disk = os.statvfs(old[0].path.parent)
        if disk.f_bavail * disk.f_frsize < needed:
            raise StorageFullError(f"merging segments needs {needed} bytes beside {old[0].path}, which are not free; free some space")


def is_improvable(store: ColumnarStore, month: list[LiveSegment], device_of: DeviceOf, now_us: int | None) -> bool:
    """Whether a merge of a month's segments would leave something out; a second merge right after one never does."""
    if len(month) > 1:
        return True
    live = month[0]
    if any(hides(tombstone, live) for known in store.view.tombstones.values() for tombstone in known):
        return True
    segment = live.open()
    for device in segment.devices():
        info = device_of(device)
        if info is None:
            return True
        if now_us is not None and kept_from(info, now_us) > min(first_us for first_us, _, _ in segment.device_blocks(device)):
            return True
    return False
