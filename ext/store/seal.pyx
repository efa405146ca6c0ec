"""A frozen memtable to segments, one a month.

Series are written in order of (device, variable, kind), so every month's writer sees its own series in order, too. A
series that took its points in order streams through a small buffer; one with late points is collected and sorted first.
"""

from libc.stdint cimport int64_t, uint32_t

from tsengine.core.calendar cimport PERIOD_NONE, month_of, month_start, period_number, period_start
from tsengine.core.codec.strings cimport StringTable
from tsengine.core.limits cimport BLOCK_POINTS
from tsengine.core.store.memtable cimport Memtable, MemtableBlock, MemtableSeries
from tsengine.core.store.points cimport WANT_ALL, Columns, PointBuffer, lower_bound

from tsengine.core.calendar import PERIODS

cdef enum:
    # Points of an ordered series that are collected before blocks are cut off: many blocks, little memory.
    STREAM_POINTS = 16 * BLOCK_POINTS


cdef int64_t block_points(const int64_t* time, int64_t count, int period, bint is_last) noexcept nogil:
    """Return how many of these ascending times (at least one) the next block takes; 0: wait, more may follow."""
    cdef int64_t take = min(count, <int64_t> BLOCK_POINTS), bound = month_start(month_of(time[0]) + 1), left
    if period != PERIOD_NONE:
        bound = min(bound, period_start(period_number(time[0], period) + 1, period))
    if time[take - 1] >= bound:
        return lower_bound(time, take, bound)
    if is_last:
        # Two halves instead of a full block and a short one: a merge copies halves, but re-encodes short blocks.
        left = lower_bound(time, count, bound)
        if BLOCK_POINTS < left < BLOCK_POINTS + BLOCK_POINTS // 2:
            return (left + 1) // 2
    elif take < BLOCK_POINTS:
        return 0
    return take


cdef class BlockCutter:
    """Args:
        make_writer: called with a month the first time one of its points comes; returns its SegmentWriter.
    """

    def __cinit__(self, make_writer):
        self.writers = {}
        self.make_writer = make_writer

    cdef int select(self, int64_t month) except -1:
        if self.writer is None or self.month != month:
            if month not in self.writers:
                self.writers[month] = self.make_writer(month)
            self.writer = self.writers[month]
            self.month = month
        return 0

    cdef int64_t cut(self, PointBuffer points, StringTable strings, uint32_t device, const char* name, int64_t name_bytes,
                     int period, bint is_last) except -1:
        """Write the points as blocks and forget them; unless `is_last`, a rest that may still grow stays in the buffer.

        points: ordered, with the numbers of `strings`; every column wanted.
        """
        cdef int64_t at = 0, take
        cdef Columns columns
        while at < points.count:
            take = block_points(points.time + at, points.count - at, period, is_last)
            if take == 0:
                break
            self.select(month_of(points.time[at]))
            self.writer.begin_series(device, name, name_bytes, points.kind)
            points.view(at, take, &columns)
            self.writer.add_block(&columns, points.kind, strings)
            at += take
        points.drop(0, at)
        return 0


cdef int seal_series(Memtable memtable, MemtableSeries* series, PointBuffer buffer, BlockCutter cutter, int period) except -1:
    cdef const char* name = memtable.strings.entries[series.name].data
    cdef int64_t name_bytes = memtable.strings.entries[series.name].size
    cdef MemtableBlock* block = series.first
    buffer.clear()
    while block != NULL:
        with nogil:
            # No map: the buffer keeps the memtable's string numbers.
            buffer.append(&block.columns, 0, block.columns.count, None)
        block = block.next
        if series.in_order and buffer.count >= STREAM_POINTS:
            cutter.cut(buffer, memtable.strings, series.device, name, name_bytes, period, False)
    with nogil:
        buffer.sort()
    cutter.cut(buffer, memtable.strings, series.device, name, name_bytes, period, True)
    return 0


def seal(Memtable memtable, periods: dict, make_writer) -> list:
    """Write a frozen memtable through the writers that `make_writer` gives, one a month, and return them unfinished.

    Args:
        periods: device -> chunk period (None, "day", "week", "month", "quarter"). A device that is not there was deleted:
            its points are left out.

    Raises:
        StorageError, StorageFullError: from a writer; the caller aborts all of them.
    """
    cdef BlockCutter cutter = BlockCutter(make_writer)
    cdef list buffers = [PointBuffer(kind, WANT_ALL) for kind in range(5)]
    cdef MemtableSeries* series
    cdef int64_t i
    memtable.sort_series()
    for i in range(memtable.series_count):
        series = memtable.series[i]
        if series.device in periods:
            seal_series(memtable, series, buffers[series.kind], cutter, PERIODS[periods[series.device]])
    return [cutter.writers[month] for month in sorted(cutter.writers)]
