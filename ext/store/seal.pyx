"""A frozen memtable to segments, one a month.

Series are written in order of (device, variable, kind), so every month's writer sees its own series in order, too. Every
series streams through a small buffer: one that took its points in order block by block, one with late points by a merge of
its blocks, each of which is put in order by an index of two bytes a point. Points of very many months are written some
months at a time, so that open files and buffers stay few whatever times a device sends.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, UINT64_MAX, int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort

from cpython.exc cimport PyErr_NoMemory

from tsengine.core.calendar cimport PERIOD_NONE, month_of, month_start, period_number, period_start
from tsengine.core.codec.strings cimport StringTable
from tsengine.core.limits cimport BLOCK_POINTS, KIND_COUNT
from tsengine.core.store.memtable cimport Memtable, MemtableBlock, MemtableSeries
from tsengine.core.store.points cimport WANT_ALL, Columns, PointBuffer, lower_bound

from tsengine.core.calendar import PERIODS

cdef enum:
    # Points of a series that are collected before blocks are cut off: many blocks, little memory.
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

    cdef int select(self, int64_t month) except -1 nogil:
        if self.writer is None or self.month != month:
            with gil:
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
        with nogil:
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


cdef struct SortCell:
    int64_t time
    uint64_t sequence
    int64_t index


cdef int compare_cells(const void* left, const void* right) noexcept nogil:
    cdef const SortCell* a = <const SortCell*> left
    cdef const SortCell* b = <const SortCell*> right
    if a.time != b.time:
        return 1 if a.time > b.time else -1
    return (a.sequence > b.sequence) - (a.sequence < b.sequence)


cdef inline bint comes_first(const Head* a, const Head* b) noexcept nogil:
    """Whether the next point of run a comes before that of run b."""
    return a.time < b.time or (a.time == b.time and a.sequence < b.sequence)


cdef inline void step_to(Head* head, int64_t at) noexcept nogil:
    """Make a point the next one of a run; behind the last one the run comes after all others."""
    cdef Run* run = head.run
    run.at = at
    if at < run.end:
        head.time = run.columns.time[run.order[at]]
        head.sequence = run.columns.sequence[run.order[at]]
    else:
        head.time = INT64_MAX
        head.sequence = UINT64_MAX


cdef class RunHeap:
    def __dealloc__(self):
        free(self.runs)
        free(self.heads)
        free(self.order)

    @staticmethod
    cdef RunHeap of(const MemtableSeries* series, int64_t start, int64_t end):
        """Return the points of a series with start <= time < end as a heap of ordered runs, one a block."""
        cdef RunHeap heap = RunHeap()
        cdef const MemtableBlock* block = series.first
        cdef int64_t blocks = 0
        while block != NULL:
            blocks += 1
            block = block.next
        heap.runs = <Run*> malloc(blocks * sizeof(Run))
        heap.heads = <Head*> malloc(blocks * sizeof(Head))
        heap.order = <uint16_t*> malloc(series.count * sizeof(uint16_t))
        if heap.runs == NULL or heap.heads == NULL or heap.order == NULL:
            PyErr_NoMemory()
        with nogil:
            heap.fill(series, start, end)
        return heap

    cdef void fill(self, const MemtableSeries* series, int64_t start, int64_t end) noexcept nogil:
        cdef SortCell[BLOCK_POINTS] cells
        cdef const MemtableBlock* block = series.first
        cdef uint16_t* order = self.order
        cdef Run* run
        cdef int64_t i, count
        while block != NULL:
            if block.columns.count and block.time_min < end and block.time_max >= start:
                count = 0
                for i in range(block.columns.count):
                    if start <= block.columns.time[i] < end:
                        cells[count].time = block.columns.time[i]
                        cells[count].sequence = block.columns.sequence[i]
                        cells[count].index = i
                        count += 1
                for i in range(1, count):
                    if compare_cells(&cells[i - 1], &cells[i]) > 0:
                        qsort(cells, count, sizeof(SortCell), compare_cells)
                        break
                for i in range(count):
                    order[i] = <uint16_t> cells[i].index
                if count:
                    run = &self.runs[self.count]
                    run.columns = &block.columns
                    run.order = order
                    run.end = count
                    self.heads[self.count].run = run
                    step_to(&self.heads[self.count], 0)
                    self.count += 1
                    order += count
            block = block.next
        for i in range(self.count // 2 - 1, -1, -1):
            self.sink(i)

    cdef void sink(self, int64_t at) noexcept nogil:
        """Let the head at this place of the heap go down to where it belongs.

        First to the bottom, then up: who has just given a point mostly belongs near the bottom, and this takes half the comparisons.
        """
        cdef Head moved = self.heads[at]
        cdef int64_t top = at, child = 2 * at + 1
        while child < self.count:
            if child + 1 < self.count and comes_first(&self.heads[child + 1], &self.heads[child]):
                child += 1
            self.heads[at] = self.heads[child]
            at = child
            child = 2 * at + 1
        while at > top and comes_first(&moved, &self.heads[(at - 1) // 2]):
            self.heads[at] = self.heads[(at - 1) // 2]
            at = (at - 1) // 2
        self.heads[at] = moved

    cdef bint take(self, PointBuffer into, int64_t points) except -1 nogil:
        """Append the next points until the buffer holds so many; return whether there are more."""
        cdef Head* top = self.heads
        cdef Run* run
        cdef int64_t first, second
        while into.count < points:
            if self.count == 0 or top.run.at == top.run.end:
                return False
            run = top.run
            second = 1
            if self.count > 2 and comes_first(&self.heads[2], &self.heads[1]):
                second = 2
            # As many neighbours of the top block as come before every other block: mostly all of them.
            first = run.order[run.at]
            while True:
                step_to(top, run.at + 1)
                if run.at == run.end or run.order[run.at] != run.order[run.at - 1] + 1:
                    break
                if self.count > 1 and comes_first(&self.heads[second], top):
                    break
            into.append(run.columns, first, run.order[run.at - 1] + 1 - first, None)
            self.sink(0)
        return True


cdef int seal_series(
    Memtable memtable, MemtableSeries* series, PointBuffer buffer, BlockCutter cutter, int period, int64_t start, int64_t end
) except -1:
    """Cut the points of a series with start <= time < end into blocks."""
    cdef const char* name = memtable.strings.entries[series.name].data
    cdef int64_t name_bytes = memtable.strings.entries[series.name].size
    cdef MemtableBlock* block = series.first
    cdef RunHeap heap
    cdef int64_t first, last
    cdef bint has_more = True
    # No map: the buffer keeps the memtable's string numbers.
    buffer.clear()
    if not series.in_order:
        heap = RunHeap.of(series, start, end)
        while has_more:
            with nogil:
                has_more = heap.take(buffer, STREAM_POINTS)
            cutter.cut(buffer, memtable.strings, series.device, name, name_bytes, period, not has_more)
        return 0
    while block != NULL:
        first = lower_bound(block.columns.time, block.columns.count, start)
        last = lower_bound(block.columns.time, block.columns.count, end)
        if first < last:
            with nogil:
                buffer.append(&block.columns, first, last - first, None)
        block = block.next
        if buffer.count >= STREAM_POINTS:
            cutter.cut(buffer, memtable.strings, series.device, name, name_bytes, period, False)
    return cutter.cut(buffer, memtable.strings, series.device, name, name_bytes, period, True)


cdef list months_of(Memtable memtable):
    """Return the months that have points, ascending; the first and the last are enough if all can be written at once."""
    cdef MemtableBlock* block
    cdef int64_t i, j, month, start = INT64_MAX, end = INT64_MIN
    cdef set months = set()
    for i in range(memtable.series_count):
        start = min(start, memtable.series[i].time_min)
        end = max(end, memtable.series[i].time_max)
    if memtable.series_count == 0 or month_of(end) - month_of(start) < MONTHS_AT_ONCE:
        return [month_of(start), month_of(end)] if memtable.series_count else []
    end = start
    for i in range(memtable.series_count):
        block = memtable.series[i].first
        while block != NULL:
            for j in range(block.columns.count):
                if not start <= block.columns.time[j] < end:
                    month = month_of(block.columns.time[j])
                    start = month_start(month)
                    end = month_start(month + 1)
                    months.add(month)
            block = block.next
    return sorted(months)


def seal(Memtable memtable, periods: dict, make_writer) -> list:
    """Write a frozen memtable through the writers that `make_writer` gives, one a month, and return them in order.

    Only those of the last months are unfinished: when there are very many, others are finished on the way.

    Args:
        periods: device -> chunk period (None, "day", "week", "month", "quarter"). A device that is not there was deleted:
            its points are left out.

    Raises:
        StorageError, StorageFullError: from a writer; the caller aborts all of them.
    """
    cdef BlockCutter cutter
    cdef list buffers = [PointBuffer(kind, WANT_ALL) for kind in range(KIND_COUNT)]
    cdef list writers = [], unfinished = [], months = months_of(memtable)
    cdef MemtableSeries* series
    cdef int64_t i, start, end, at
    memtable.sort_series()
    for at in range(0, len(months), MONTHS_AT_ONCE):
        for writer in unfinished:
            writer.finish()
        cutter = BlockCutter(make_writer)
        start = month_start(months[at])
        end = month_start(months[min(at + <int64_t> MONTHS_AT_ONCE, <int64_t> len(months)) - 1] + 1)
        for i in range(memtable.series_count):
            series = memtable.series[i]
            if series.time_max >= start and series.time_min < end and series.device in periods:
                seal_series(memtable, series, buffers[series.kind], cutter, PERIODS[periods[series.device]], start, end)
        unfinished = [cutter.writers[month] for month in sorted(cutter.writers)]
        writers += unfinished
    return writers
