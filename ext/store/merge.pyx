"""Several segments of one month to one: what compaction does.

Blocks that overlap no other and are full enough are copied byte for byte. Blocks that overlap or are short are decoded,
put in order and encoded again; hidden, expired and deleted points are left out. Memory: the blocks that overlap at one
point in time, and the directories of the inputs.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint32_t

from tsengine.core.limits cimport BLOCK_POINTS
from tsengine.core.store.points cimport WANT_ALL, Columns, PointBuffer, StringMap
from tsengine.core.store.scan cimport BlockRef, SeriesScan
from tsengine.core.store.seal cimport BlockCutter
from tsengine.core.store.segment cimport Segment

import heapq

from tsengine.core.calendar import PERIODS

cdef enum:
    # A block of at least this many points is left alone: joining it to its neighbours would save little.
    FULL_ENOUGH = BLOCK_POINTS // 2


cdef bint is_copyable(SeriesScan scan, int64_t i, int64_t last_time) noexcept:
    """Whether block i can go over as it is: whole, full enough, and alone in its span of time."""
    cdef BlockRef* ref = &scan.refs[i]
    if not ref.is_whole or ref.count < FULL_ENOUGH or ref.first_time <= last_time:
        return False
    return i + 1 == scan.ref_count or scan.refs[i + 1].first_time > ref.last_time


cdef int merge_series(SeriesScan scan, BlockCutter cutter, uint32_t device, bytes name, int period) except -1:
    cdef PointBuffer pending = PointBuffer(scan.kind, WANT_ALL)
    cdef PointBuffer ready
    cdef BlockRef* ref
    cdef Segment segment
    cdef Columns rest
    cdef int64_t i, last_time = INT64_MIN, frontier
    cdef bint is_last
    scan.pending = pending
    for i in range(scan.ref_count):
        ref = &scan.refs[i]
        if scan.pending.count == 0 and is_copyable(scan, i, last_time):
            segment = <Segment> scan.sources[ref.source][0]
            cutter.select(segment.footer.counts.month)
            cutter.writer.begin_series(device, name, len(name), scan.kind)
            cutter.writer.copy_block(segment, ref.block)
            last_time = ref.last_time
        else:
            scan.load(ref, scan.pending)
            scan.pending.sort()
            last_time = max(last_time, ref.last_time)
            frontier = scan.refs[i + 1].first_time if i + 1 < scan.ref_count else INT64_MAX
            if scan.pending.count and scan.pending.time[scan.pending.count - 1] < frontier:
                # Enough for a block of its own before one that can be copied: stop here, or re-encoding would run on through
                # all that follow.
                is_last = frontier == INT64_MAX or (scan.pending.count >= FULL_ENOUGH and is_copyable(scan, i + 1, last_time))
                cutter.cut(scan.pending, scan.pending.strings, device, name, len(name), period, is_last)
            elif scan.pending.count > 4 * BLOCK_POINTS:
                ready = scan.split(frontier)
                if ready is not None:
                    cutter.cut(ready, ready.strings, device, name, len(name), period, False)
                    # What is left is no full block: it goes on with the points that follow, which are sorted when they are loaded.
                    ready.view(0, ready.count, &rest)
                    scan.pending.append(&rest, 0, ready.count, StringMap(ready.strings, scan.pending.strings))
    return cutter.cut(scan.pending, scan.pending.strings, device, name, len(name), period, True)


def merge(list segments, periods: dict, hidden_of, make_writer, progress=None) -> list:
    """Write segments of one month as one, and return its writer unfinished in a list (empty if no point is left).

    Args:
        segments: Segment objects.
        periods: device -> chunk period; a device that is not there was deleted.
        hidden_of: called with (segment, device); returns (first time that is kept, hidden intervals) for it.
        progress: called with the number of points of each series before it is merged; raise in it to stop.

    Raises:
        CorruptionError: a block of an input is damaged. StorageError: from the writer. The caller aborts the writer.
    """
    cdef BlockCutter cutter = BlockCutter(make_writer)
    cdef SeriesScan scan
    previous = None
    for device, name, kind in heapq.merge(*[series_keys(segment) for segment in segments]):
        if (device, name, kind) == previous:
            continue
        previous = (device, name, kind)
        if device not in periods:
            continue
        keep_from = INT64_MIN
        sources = []
        for segment in segments:
            keep_from, hidden = hidden_of(segment, device)
            sources.append((segment, hidden))
        scan = SeriesScan(sources, device, name, kind, max(keep_from, INT64_MIN // 2), INT64_MAX // 2, WANT_ALL)
        if progress is not None:
            progress(scan.point_count)
        if scan.ref_count:
            merge_series(scan, cutter, device, name, PERIODS[periods[device]])
    return [cutter.writers[month] for month in sorted(cutter.writers)]


def series_keys(Segment segment):
    """Yield (device, name, kind) of every series of a segment, in order."""
    cdef int64_t i
    for i in range(segment.footer.counts.series_count):
        yield segment.footer.series_device[i], segment._name(i), segment.footer.series_kind[i]
