"""Several segments of one month to one: what compaction does.

Blocks that overlap no other and are full enough are copied byte for byte. Blocks that overlap or are short are decoded,
put in order and encoded again; hidden, expired and deleted points are left out. Memory: twice the blocks that overlap at
one point in time (at most one a segment), some dictionaries, and the directories of the inputs and of the output.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint32_t

from tsengine.core.limits cimport BLOCK_POINTS
from tsengine.core.store.points cimport WANT_ALL, Columns, PointBuffer, StringMap
from tsengine.core.store.scan cimport BlockRef, SeriesScan
from tsengine.core.store.seal cimport BlockCutter
from tsengine.core.store.segment cimport Segment
from tsengine.core.store.segment_writer cimport SegmentWriter

import heapq

from tsengine.core.calendar import PERIODS

cdef enum:
    # A block of at least this many points is left alone: joining it to its neighbours would save little.
    FULL_ENOUGH = BLOCK_POINTS // 2
    # Bytes read between two calls of `pace`: some milliseconds of work.
    PACE_BYTES = 262144
    # Text and dictionaries that a series collects before it begins with empty tables again.
    TEXT_BYTES_MAX = 1048576
    MAPS_MAX = 64


cdef bint is_copyable(SeriesScan scan, int64_t i, int64_t last_time) noexcept:
    """Whether block i can go over as it is: whole, full enough, and alone in its span of time."""
    cdef BlockRef* ref = &scan.refs[i]
    if not ref.is_whole or ref.count < FULL_ENOUGH or ref.first_time <= last_time:
        return False
    return i + 1 == scan.ref_count or scan.refs[i + 1].first_time > ref.last_time


cdef class Merging:
    def __cinit__(self, BlockCutter cutter, pace):
        self.cutter = cutter
        self.pace = pace

    cdef int count(self, int64_t points, int64_t bytes_read) except -1:
        """Take note of work that is done; tell of it when it is enough."""
        self.points += points
        self.bytes_read += bytes_read
        if self.bytes_read >= PACE_BYTES:
            self.tell()
        return 0

    cdef int tell(self) except -1:
        cdef SegmentWriter writer = self.cutter.writer
        cdef int64_t points = self.points, bytes_read = self.bytes_read, written = 0 if writer is None else writer.size_bytes
        written, self.bytes_written = written - self.bytes_written, written
        self.points = self.bytes_read = 0
        if self.pace is not None:
            self.pace(points, bytes_read, written)
        return 0

    cdef int renew(self, SeriesScan scan) except -1:
        """Begin with empty tables of strings when those of the points before have grown."""
        cdef PointBuffer fresh
        cdef Columns rest
        if scan.pending.strings.text_bytes > TEXT_BYTES_MAX or len(scan.maps) > MAPS_MAX:
            fresh = PointBuffer(scan.kind, WANT_ALL)
            scan.pending.view(0, scan.pending.count, &rest)
            fresh.append(&rest, 0, scan.pending.count, StringMap(scan.pending.strings, fresh.strings))
            scan.pending = fresh
            scan.maps = {}
        return 0

    cdef int series(self, SeriesScan scan, uint32_t device, bytes name, int period) except -1:
        """Write the points of one series."""
        cdef BlockCutter cutter = self.cutter
        cdef PointBuffer ready
        cdef BlockRef* ref
        cdef Segment segment
        cdef Columns rest
        cdef BlockRef* following
        cdef int64_t i, last_time = INT64_MIN, enough = 4 * BLOCK_POINTS
        cdef bint is_last
        scan.pending = PointBuffer(scan.kind, WANT_ALL)
        scan.order_instant(0)
        for i in range(scan.ref_count):
            ref = &scan.refs[i]
            scan.order_instant(i + 1)
            following = &scan.refs[i + 1] if i + 1 < scan.ref_count else NULL
            segment = <Segment> scan.sources[ref.source][0]
            if scan.pending.count == 0 and is_copyable(scan, i, last_time):
                cutter.select(segment.footer.counts.month)
                cutter.writer.begin_series(device, name, len(name), scan.kind)
                cutter.writer.copy_block(segment, ref.block)
                last_time = ref.last_time
            else:
                scan.load(ref, scan.pending)
                last_time = max(last_time, ref.last_time)
                if following == NULL or last_time < following.first_time:
                    with nogil:
                        scan.pending.sort()
                    # Enough for a block of its own before one that can be copied: stop here, or re-encoding would run on
                    # through all that follow.
                    is_last = following == NULL or (scan.pending.count >= FULL_ENOUGH and is_copyable(scan, i + 1, last_time))
                    cutter.cut(scan.pending, scan.pending.strings, device, name, len(name), period, is_last)
                    enough = 4 * BLOCK_POINTS
                elif scan.pending.count > enough:
                    ready = scan.split(following)
                    if ready is not None:
                        cutter.cut(ready, ready.strings, device, name, len(name), period, False)
                        # What is left is no full block: it goes on with the points that follow, and is sorted with them.
                        ready.view(0, ready.count, &rest)
                        scan.pending.append(&rest, 0, ready.count, StringMap(ready.strings, scan.pending.strings))
                    # Twice what has to be kept, so that a point is sorted about twice however many blocks overlap.
                    enough = max(<int64_t> 4 * BLOCK_POINTS, 2 * scan.pending.count)
                self.renew(scan)
            self.count(ref.count, segment.footer.length[ref.block])
        with nogil:
            scan.pending.sort()
        return cutter.cut(scan.pending, scan.pending.strings, device, name, len(name), period, True)


def merge(list segments, periods: dict, hidden_of, make_writer, pace=None) -> list:
    """Write segments of one month as one, and return its writer unfinished in a list (empty if no point is left).

    Args:
        segments: Segment objects.
        periods: device -> chunk period; a device that is not there was deleted.
        hidden_of: called with (segment, device); returns (first time that is kept, hidden intervals) for it.
        pace: called with (points, bytes read, bytes written) since its last call, after some 256 KiB read and at the end; wait in
            it to slow the merge down, raise in it to stop.

    Raises:
        CorruptionError: a block of an input is damaged. StorageError: from the writer. The caller aborts the writer.
    """
    cdef BlockCutter cutter = BlockCutter(make_writer)
    cdef Merging merging = Merging(cutter, pace)
    cdef SeriesScan scan
    cdef int64_t keep_from = INT64_MIN
    cdef list sources = []
    previous = (-1, b"", 0)
    for device, name, kind in heapq.merge(*[series_keys(segment) for segment in segments]):
        if (device, name, kind) == previous:
            continue
        if device not in periods:
            continue
        if device != previous[0]:
            sources = []
            for segment in segments:
                keep_from, hidden = hidden_of(segment, device)
                sources.append((segment, hidden))
        previous = (device, name, kind)
        scan = SeriesScan(sources, device, name, kind, max(keep_from, INT64_MIN // 2), INT64_MAX // 2, WANT_ALL)
        if scan.ref_count:
            merging.series(scan, device, name, PERIODS[periods[device]])
    merging.tell()
    return [cutter.writers[month] for month in sorted(cutter.writers)]


def dead_points(Segment segment, periods: dict, hidden_of) -> int:
    """Return how many points of a segment a merge would leave out, by whole blocks; arguments as for `merge`."""
    cdef int64_t series, block, keep_from = 0, low, high, dead = 0, device = -1
    cdef list hidden = []
    for series in range(segment.footer.counts.series_count):
        if segment.footer.series_device[series] != device:
            device = segment.footer.series_device[series]
            keep_from, hidden = hidden_of(segment, device) if device in periods else (INT64_MAX, [])
        for block in range(segment.footer.series_first_block[series], segment.footer.series_first_block[series + 1]):
            if segment.footer.last_time[block] < keep_from:
                dead += segment.footer.count[block]
                continue
            for low, high in hidden:
                if low <= segment.footer.first_time[block] and segment.footer.last_time[block] <= high:
                    dead += segment.footer.count[block]
                    break
    return dead


def series_keys(Segment segment):
    """Yield (device, name, kind) of every series of a segment, in order."""
    cdef int64_t i
    for i in range(segment.footer.counts.series_count):
        yield segment.footer.series_device[i], segment._name(i), segment.footer.series_kind[i]
