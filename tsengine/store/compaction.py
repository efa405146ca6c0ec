"""Which segments to merge, and the merge: fewer files, no expired, deleted or hidden points.

Segments of one month are merged by tiers: as soon as MERGE_COUNT segments of the same tier lie there, they become one of
the next tier, so every point is written again at most once a tier. `compact_all` merges whatever a merge improves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from tsengine.core.store.merge import merge
from tsengine.core.store.segment import Segment
from tsengine.store.columnar import ColumnarStore, Interval, LiveSegment, hidden_in, hides
from tsengine.store.period import TIME_MIN_US, kept_from
from tsengine.types import DeviceInfo

MERGE_COUNT = 4
"""Segments of one month and tier that are merged together: each tier is four times the size of the one below."""

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
                return tier
    return []


def merge_segments(
    store: ColumnarStore, old: list[LiveSegment], device_of: DeviceOf, now_us: int | None, count: Callable[[int], None] | None = None
) -> None:
    """Merge segments of one month and put the result in their place; the caller holds store.maintenance.

    Args:
        now_us: expired points are left out by this time; None = keep them (the clock is not trusted).
        count: called with the points of each series before it is merged.
    """
    tombstones = store.view.tombstones
    infos: dict[int, DeviceInfo | None] = {}
    periods: dict[int, str | None] = {}
    for live in old:
        for device in live.open().devices():
            if device not in infos:
                info = infos[device] = device_of(device)
                if info is not None:
                    periods[device] = info.chunk_period

    def hidden_of(segment: Segment, device: int) -> tuple[int, list[Interval]]:
        info = infos[device]
        keep_from_us = kept_from(info, now_us) if info is not None and now_us is not None else TIME_MIN_US
        return keep_from_us, hidden_in(segment.last_log_seq, tombstones.get(device, ()))

    segments = [live.open() for live in old]
    tier = max(live.entry.tier for live in old) + 1
    store.replace(old, lambda make_writer: merge(segments, periods, hidden_of, make_writer, count), tier=tier)


def compact_one(store: ColumnarStore, device_of: DeviceOf, now_us: int | None) -> bool:
    """Do the next merge that is due; return whether there was one."""
    with store.maintenance:
        old = next_merge(store.view.segments)
        with store.sparing_damaged(old):
            if old:
                merge_segments(store, old, device_of, now_us)
        return bool(old)


def compact_all(store: ColumnarStore, device_of: DeviceOf, now_us: int | None, progress: Progress | None = None) -> None:
    """Merge every month that a merge improves: several segments, or points that are hidden, expired or deleted.

    Raises:
        CorruptionError: a segment is damaged; every month without such a segment was merged all the same.
    """
    with store.maintenance:
        due = []
        for _, month in sorted(by_month(store.view.segments).items()):
            with store.sparing_damaged(month):
                if is_improvable(store, month, device_of, now_us):
                    due.append(month)
        total = sum(live.entry.point_count for month in due for live in month)
        done = 0

        def count(points: int) -> None:
            nonlocal done
            done += points
            if progress is not None:
                progress(min(done, total), total)

        for month in due:
            with store.sparing_damaged(month):
                merge_segments(store, month, device_of, now_us, count)
        if progress is not None:
            progress(total, total)
        for live in store.view.segments:
            if live.damage is not None:
                raise live.damage


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
