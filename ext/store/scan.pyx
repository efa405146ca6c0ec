"""The points of one series and kind across memtables and segments, in time order.

A scan is planned once, with the GIL: it notes the blocks that overlap its bounds and copies the views of memtable blocks.
After that it is a snapshot: writers go on, segments may be replaced. `next_run` then loads one block at a time and gives
out, in order, what no later block can precede: memory holds only as many blocks as overlap in time. Blocks that lie in one
instant all overlap: those are taken in order of their sequences, which are looked up first, so that memory holds a few of them.

More than 600 lines: the plan and the reads are one class, as they work on the same arrays of blocks without a copy or a lock.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, UINT64_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memchr, memcpy, memmove, memset

from cpython.exc cimport PyErr_NoMemory

from tsengine.core.limits cimport BLOCK_POINTS, KIND_BOOLEAN, KIND_NONE, KIND_NUMBER, KIND_TEXT
from tsengine.core.store.coded cimport coded_tests
from tsengine.core.store.condition cimport ADMITS_ALL, ADMITS_NONE, ADMITS_SOME, Condition
from tsengine.core.store.direct cimport DIRECT_GOOD, BlockSource, DirectBounds, DirectFault
from tsengine.core.store.direct cimport block_sources, direct_between, direct_decode, direct_raise
from tsengine.core.store.memtable cimport Memtable, MemtableBlock, MemtableSeries
from tsengine.core.store.points cimport WANT_ALL, WANT_SEQUENCE, Columns, PointBuffer, StringMap, lower_bound
from tsengine.core.store.recycled cimport fresh_array
from tsengine.core.store.reduce cimport reducers
from tsengine.core.store.segment cimport Segment, SegmentFooter

import numpy as np

WANTS = {"value": 1, "sequence": 2, "received": 4, "unit": 8, "group": 16, "location": 32, "metadata": 64, "all": WANT_ALL}


cdef int by_first_time(const void* left, const void* right) noexcept nogil:
    cdef const BlockRef* a = <const BlockRef*> left
    cdef const BlockRef* b = <const BlockRef*> right
    return (a.first_time > b.first_time) - (a.first_time < b.first_time)


cdef int by_last_time_down(const void* left, const void* right) noexcept nogil:
    cdef const BlockRef* a = <const BlockRef*> left
    cdef const BlockRef* b = <const BlockRef*> right
    return (a.last_time < b.last_time) - (a.last_time > b.last_time)


cdef int by_first_sequence(const void* left, const void* right) noexcept nogil:
    cdef const BlockRef* a = <const BlockRef*> left
    cdef const BlockRef* b = <const BlockRef*> right
    return (a.first_sequence > b.first_sequence) - (a.first_sequence < b.first_sequence)


cdef int by_last_sequence_down(const void* left, const void* right) noexcept nogil:
    cdef const BlockRef* a = <const BlockRef*> left
    cdef const BlockRef* b = <const BlockRef*> right
    return (a.last_sequence < b.last_sequence) - (a.last_sequence > b.last_sequence)


cdef class SeriesScan:
    """Args:
        sources: (Memtable or Segment, [(start, end), ...]) each; the intervals, inclusive microseconds, are hidden in it.
        device, name, kind: the series.
        start, end: inclusive bounds, microseconds.
        want: WANTS of the columns that are needed, added up.
        reverse: newest first.
        condition: only points that meet it.
        expanded: False leaves the blocks of segments as spans, for aggregates that may not look at single ones.
    """

    def __cinit__(
        self, list sources, uint32_t device, bytes name, uint8_t kind, int64_t start, int64_t end, int want, bint reverse=False,
        Condition condition=None, bint expanded=True,
    ):
        cdef int32_t number
        cdef Segment segment
        cdef MemtableSeries* series
        cdef int64_t found
        self.sources = sources
        self.kind = kind
        self.start = start
        self.end = end
        self.want = want if condition is None else want | condition.want
        self.reverse = reverse
        self.condition = condition
        self.tests = coded_tests(condition, kind)
        self.maps = {}
        if start > end or (condition is not None and not condition.admits_kind(kind)):
            self.is_expanded = True
            return
        self.spans = <Span*> malloc(max(len(sources), 1) * sizeof(Span))
        if self.spans == NULL:
            PyErr_NoMemory()
        for number in range(len(sources)):
            source, hidden = sources[number]
            if type(source) is Segment:
                segment = <Segment> source
                found = segment.find(device, name, kind)
                if found >= 0:
                    self.add_segment(number, segment, found, hidden)
            else:
                series = (<Memtable> source).lookup(device, name, kind)
                if series != NULL:
                    self.add_memtable(number, series, hidden)
        if expanded:
            self.expand()

    def __dealloc__(self):
        free(self.spans)
        free(self.refs)
        free(self.views)

    cdef int add_memtable(self, int32_t number, MemtableSeries* series, list hidden) except -1:
        cdef MemtableBlock* block = series.first
        cdef void* grown
        while block != NULL and block.columns.count:
            if block.time_min <= self.end and block.time_max >= self.start:
                if self.view_count == self.view_capacity:
                    self.view_capacity = max(self.view_capacity * 2, <int64_t> 16)
                    grown = realloc(self.views, self.view_capacity * sizeof(Columns))
                    if grown == NULL:
                        PyErr_NoMemory()
                    self.views = <Columns*> grown
                self.views[self.view_count] = block.columns
                self.add_ref(block.time_min, block.time_max, block.columns.count, self.view_count, number, hidden, ADMITS_SOME)
                self.view_count += 1
            block = block.next
        return 0

    cdef int add_segment(self, int32_t number, Segment segment, int64_t series, list hidden) except -1:
        cdef const SegmentFooter* footer = &segment.footer
        cdef int64_t low = footer.series_first_block[series]
        cdef int64_t high = footer.series_first_block[series + 1]
        cdef Span* span
        cdef int64_t first, last
        # Blocks are ordered by first time, and hardly overlap: past `end` none matters, and before `start` the last may.
        high = low + lower_bound(footer.first_time + low, high - low, self.end + 1 if self.end < INT64_MAX else self.end)
        low += max(lower_bound(footer.first_time + low, high - low, self.start) - 1, <int64_t> 0)
        while low > footer.series_first_block[series] and footer.last_time[low - 1] >= self.start:
            low -= 1
        while low < high and footer.last_time[low] < self.start:
            low += 1
        if low == high:
            return 0
        span = &self.spans[self.span_count]
        span.source = number
        span.low = low
        span.high = high
        span.is_inside = footer.first_time[low] >= self.start and footer.last_time[high - 1] <= self.end
        for first, last in hidden:
            if first <= footer.last_time[high - 1] and footer.first_time[low] <= last:
                span.is_inside = False
        self.span_count += 1
        return 0

    cdef int expand(self) except -1:
        """Note every block that may matter, in order."""
        cdef BlockRef* fresh = self.refs
        cdef int64_t fresh_count = self.ref_count, total = self.ref_count, i
        if self.is_expanded:
            return 0
        self.is_expanded = True
        for i in range(self.span_count):
            total += self.spans[i].high - self.spans[i].low
        self.refs = NULL
        self.ref_count = self.ref_capacity = 0
        try:
            self.reserve(total)
            for i in range(self.span_count):
                self.expand_span(&self.spans[i])
            for i in range(fresh_count):        # newest last, so that the order mostly is right as it is
                self.refs[self.ref_count] = fresh[i]
                self.ref_count += 1
        finally:
            free(fresh)
        self.order()
        return 0

    cdef int expand_span(self, Span* span) except -1:
        cdef Segment segment = <Segment> self.sources[span.source][0]
        cdef list hidden = self.sources[span.source][1]
        cdef const SegmentFooter* footer = &segment.footer
        cdef int verdict = ADMITS_ALL
        cdef int64_t block
        cdef BlockRef* ref
        if span.is_inside and self.condition is None:
            for block in range(span.low, span.high):
                ref = &self.refs[self.ref_count + block - span.low]
                ref.first_time = footer.first_time[block]
                ref.last_time = footer.last_time[block]
                ref.count = footer.count[block]
                ref.first_sequence = 0
                ref.last_sequence = UINT64_MAX
                ref.block = block
                ref.source = span.source
                ref.is_inside = ref.is_whole = True
                self.point_count += ref.count
            self.ref_count += span.high - span.low
            return 0
        for block in range(span.low, span.high):
            if footer.last_time[block] < self.start:
                continue
            if self.condition is not None:
                verdict = self.condition.admits_block(self.kind, footer.minimum[block], footer.maximum[block], footer.flags[block])
                if verdict == ADMITS_NONE:
                    continue
            self.add_ref(footer.first_time[block], footer.last_time[block], footer.count[block], block, span.source, hidden, verdict)
        return 0

    cdef int reserve(self, int64_t count) except -1:
        """Make room for this many blocks in all."""
        cdef void* grown
        if count <= self.ref_capacity:
            return 0
        count = max(self.ref_capacity * 2, count)
        grown = realloc(self.refs, count * sizeof(BlockRef))
        if grown == NULL:
            PyErr_NoMemory()
        self.refs = <BlockRef*> grown
        self.ref_capacity = count
        return 0

    cdef int add_ref(
        self, int64_t first_time, int64_t last_time, int64_t count, int64_t block, int32_t number, list hidden, int verdict
    ) except -1:
        cdef BlockRef* ref
        cdef int64_t low, high
        cdef bint is_inside = first_time >= self.start and last_time <= self.end
        for low, high in hidden:
            if low <= first_time and last_time <= high:
                return 0
            if low <= last_time and first_time <= high:
                is_inside = False
        self.reserve(self.ref_count + 1)
        ref = &self.refs[self.ref_count]
        ref.first_time = first_time
        ref.last_time = last_time
        ref.count = count
        ref.first_sequence = 0
        ref.last_sequence = UINT64_MAX
        ref.block = block
        ref.source = number
        ref.is_inside = is_inside
        ref.is_whole = is_inside and (self.condition is None or verdict == ADMITS_ALL)
        self.ref_count += 1
        self.point_count += count
        return 0

    cdef void order(self) noexcept nogil:
        cdef int64_t i
        cdef BlockRef swapped
        # Segments of one month after another are in order as they come; in reverse they are when they are turned round.
        if self.reverse:
            for i in range(self.ref_count // 2):
                swapped = self.refs[i]
                self.refs[i] = self.refs[self.ref_count - 1 - i]
                self.refs[self.ref_count - 1 - i] = swapped
        for i in range(1, self.ref_count):
            if (
                self.refs[i].last_time > self.refs[i - 1].last_time if self.reverse
                else self.refs[i].first_time < self.refs[i - 1].first_time
            ):
                qsort(self.refs, self.ref_count, sizeof(BlockRef), by_last_time_down if self.reverse else by_first_time)
                return

    cdef int order_instant(self, int64_t at) except -1:
        """Put the blocks from `at` on that begin (reverse: end) at the same time in order of their sequences, as far as they can have one.

        A block that holds that instant alone may hold any sequences: they are looked up. Others come first: of each source it is
        at most one.
        """
        cdef int64_t end = at, alone = 0, i, time
        cdef BlockRef* ref
        if at < self.ordered or at >= self.ref_count:
            return 0
        time = self.refs[at].last_time if self.reverse else self.refs[at].first_time
        while end < self.ref_count and (self.refs[end].last_time if self.reverse else self.refs[end].first_time) == time:
            alone += self.refs[end].first_time == self.refs[end].last_time
            end += 1
        if alone > 1:
            for i in range(at, end):
                ref = &self.refs[i]
                if ref.first_time == ref.last_time:
                    self.look_up_sequences(ref)
            qsort(&self.refs[at], end - at, sizeof(BlockRef), by_last_sequence_down if self.reverse else by_first_sequence)
        self.ordered = end
        return 0

    cdef int look_up_sequences(self, BlockRef* ref) except -1:
        """Note the first and the last sequence of a block."""
        cdef object source = self.sources[ref.source][0]
        cdef const uint64_t* sequence
        cdef PointBuffer points
        cdef int64_t i
        if type(source) is Segment:
            points = PointBuffer(self.kind, WANT_SEQUENCE)
            (<Segment> source).decode(ref.block, self.kind, points, StringMap(points.strings, points.strings))
            sequence = points.sequence
        else:
            sequence = self.views[ref.block].sequence
        ref.first_sequence, ref.last_sequence = UINT64_MAX, 0
        for i in range(ref.count):
            ref.first_sequence = min(ref.first_sequence, sequence[i])
            ref.last_sequence = max(ref.last_sequence, sequence[i])
        return 0

    cdef bint is_simple(self) noexcept:
        """Whether all that matters are whole blocks of segments."""
        cdef int64_t i
        if self.is_expanded or self.ref_count or self.condition is not None:
            return False
        for i in range(self.span_count):
            if not self.spans[i].is_inside:
                return False
        return True

    cdef bint has_overlaps(self) noexcept:
        """Whether blocks share times: their order is then not that of their points."""
        cdef int64_t i
        for i in range(1, self.ref_count):
            if self.reverse:
                if self.refs[i].last_time >= self.refs[i - 1].first_time:
                    return True
            elif self.refs[i].first_time <= self.refs[i - 1].last_time:
                return True
        return False

    cdef StringMap map_of(self, int32_t number, uint32_t dictionary, PointBuffer into):
        """Return the map from a source's strings (or one of its dictionaries) to those of the buffer."""
        cdef object source
        cdef StringMap map = <StringMap> self.maps.get((number, dictionary))
        if map is None or map.target is not into.strings:
            source = self.sources[number][0]
            if type(source) is Segment:
                map = StringMap((<Segment> source).dictionary(dictionary), into.strings)
            else:
                map = StringMap((<Memtable> source).strings, into.strings)
            self.maps[number, dictionary] = map
        return map

    cdef int load(self, BlockRef* ref, PointBuffer into) except -1:
        """Append the points of a block that count to a buffer."""
        cdef object source = self.sources[ref.source][0]
        cdef Segment segment
        cdef StringMap map
        cdef int64_t begin = into.count
        cdef uint8_t[BLOCK_POINTS] kept
        cdef bint is_tested = self.condition is None
        memset(kept, 1, BLOCK_POINTS)
        if type(source) is Segment:
            segment = <Segment> source
            if self.tests is not None and not ref.is_whole:
                is_tested = self.tests.keep(segment, ref.source, ref.block, kept)
                if memchr(kept, 1, ref.count) == NULL:
                    return 0
            segment.decode(ref.block, self.kind, into, self.map_of(ref.source, segment.footer.dictionary[ref.block], into))
        else:
            # With the GIL: the writer may add strings to the memtable's table, which moves its entries.
            map = self.map_of(ref.source, 0, into)
            into.append(&self.views[ref.block], 0, self.views[ref.block].count, map)
        if not ref.is_whole:
            self.filter(into, begin, ref, kept, is_tested)
        return 0

    cdef int filter(self, PointBuffer points, int64_t begin, BlockRef* ref, uint8_t* kept, bint is_tested) except -1:
        """Of the points of a block, behind `begin`, keep those that count; `kept` may rule out some already, or all that do not."""
        cdef int64_t count = points.count - begin, i, low, high
        if not ref.is_inside:
            for i in range(count):
                kept[i] &= self.start <= points.time[begin + i] <= self.end
            for low, high in self.sources[ref.source][1]:
                for i in range(count):
                    kept[i] &= not low <= points.time[begin + i] <= high
        if not is_tested:
            self.condition.keep(points, begin, kept)
        points.keep(begin, kept)
        return 0

    cdef PointBuffer split(self, const BlockRef* following):
        """Take from `pending` what comes before every block not loaded yet; None if there is nothing.

        following: the first of those blocks, put in order; NULL if none is left.
        """
        cdef PointBuffer ready = self.pending
        cdef PointBuffer rest
        cdef StringMap map
        cdef Columns columns
        cdef int64_t cut
        with nogil:
            ready.sort()
        if self.reverse:
            cut = 0
            if following != NULL:
                cut = lower_bound(ready.time, ready.count, following.last_time + 1)
                while cut and ready.time[cut - 1] == following.last_time and ready.sequence[cut - 1] > following.last_sequence:
                    cut -= 1
            if cut == ready.count:
                return None
        else:
            cut = ready.count
            if following != NULL:
                cut = lower_bound(ready.time, ready.count, following.first_time)
                while cut < ready.count and ready.time[cut] == following.first_time and ready.sequence[cut] < following.first_sequence:
                    cut += 1
            if cut == 0:
                return None
        rest = PointBuffer(self.kind, self.want)
        if 0 < cut < ready.count:
            map = StringMap(ready.strings, rest.strings)
            ready.view(0, ready.count, &columns)
            if self.reverse:
                rest.append(&columns, 0, cut, map)
                ready.drop(0, cut)
            else:
                rest.append(&columns, cut, ready.count - cut, map)
                ready.drop(cut, ready.count)
        self.pending = rest
        return ready

    def next_run(self):
        """Return the next points in order as a PointBuffer (ascending in itself, also in reverse), or None at the end.

        Runs do not overlap: every point of a run comes before (reverse: after) every point of the next one.

        Raises:
            CorruptionError: a block or dictionary is damaged.
        """
        cdef PointBuffer ready
        if self.pending is None:
            self.pending = PointBuffer(self.kind, self.want)
        while self.next_ref < self.ref_count:
            self.order_instant(self.next_ref)
            self.load(&self.refs[self.next_ref], self.pending)
            self.next_ref += 1
            self.order_instant(self.next_ref)
            if self.pending.count:
                ready = self.split(&self.refs[self.next_ref] if self.next_ref < self.ref_count else NULL)
                if ready is not None:
                    return ready
        return None

    def next_points(self, at_least: int):
        """Return the next runs joined until they hold at least so many points, or None at the end."""
        cdef PointBuffer points = self.next_run()
        cdef PointBuffer run
        cdef Columns columns
        cdef StringMap map
        if points is not None:
            points.reserve(min(<int64_t> at_least, self.point_count) + BLOCK_POINTS)       # growing it would copy it, again and again
        while points is not None and points.count < <int64_t> at_least:
            run = self.next_run()
            if run is None:
                break
            map = StringMap(run.strings, points.strings)
            run.view(0, run.count, &columns)
            with nogil:
                points.append(&columns, 0, run.count, map)
        return points

    def collect(self):
        """Return every point that is left, ordered, as one PointBuffer."""
        cdef PointBuffer points = PointBuffer(self.kind, self.want) if self.pending is None else self.pending
        self.pending = None
        points.reserve(points.count + self.point_count + BLOCK_POINTS)     # a block is decoded into room for a whole one
        while self.next_ref < self.ref_count:
            self.load(&self.refs[self.next_ref], points)
            self.next_ref += 1
        with nogil:
            points.sort()
        return points

    def count(self) -> int:
        """Return the exact number of points; decodes blocks at the edges, and those that a condition cuts.

        Raises:
            CorruptionError: such a block is damaged.
        """
        cdef BlockSource* sources = block_sources(self.sources)
        cdef bint is_bounds = self.condition is not None and self.condition.is_bounds(self.kind)
        cdef int64_t[BLOCK_POINTS] cells
        cdef uint8_t[BLOCK_POINTS] kept
        cdef int64_t total = 0, i, at
        cdef DirectFault fault = DIRECT_GOOD
        cdef DirectBounds bounds
        cdef const BlockSource* source
        cdef BlockRef* ref
        cdef PointBuffer points
        bounds.exponent = -1
        if is_bounds:
            bounds.low, bounds.high = self.condition.number_low, self.condition.number_high
        try:
            for i in range(self.ref_count):
                ref = &self.refs[i]
                source = &sources[ref.source]
                if ref.is_whole:
                    total += ref.count
                elif source.footer != NULL and ref.is_inside and is_bounds:
                    with nogil:
                        if self.kind == KIND_NUMBER:
                            fault = direct_between(source, ref.block, &bounds, &total)
                        else:
                            fault = direct_decode(source, ref.block, self.kind, NULL, cells)
                            if fault == DIRECT_GOOD:
                                total += reducers.integer_between(cells, ref.count, self.condition.integer_low, self.condition.integer_high)
                elif source.footer != NULL and not source.has_hidden and self.condition is None:
                    with nogil:
                        fault = direct_decode(source, ref.block, self.kind, cells, NULL)
                        if fault == DIRECT_GOOD:
                            total -= lower_bound(cells, ref.count, self.start)
                            total += lower_bound(cells, ref.count, self.end + 1) if self.end < INT64_MAX else ref.count
                elif source.footer != NULL and ref.is_inside and self.tests is not None and self.tests.is_all:
                    memset(kept, 1, BLOCK_POINTS)
                    if self.tests.keep(<Segment> self.sources[ref.source][0], ref.source, ref.block, kept):
                        for at in range(ref.count):
                            total += kept[at]
                    else:
                        points = PointBuffer(self.kind, self.condition.want)
                        self.load(ref, points)
                        total += points.count
                else:
                    points = PointBuffer(self.kind, 0 if self.condition is None else self.condition.want)
                    self.load(ref, points)
                    total += points.count
                if fault != DIRECT_GOOD:
                    direct_raise(<Segment> self.sources[ref.source][0], ref.block, fault)
        finally:
            free(sources)
        return total

    def has_points(self) -> bool:
        """Return whether there is a point; mostly without decoding any."""
        cdef int64_t i
        cdef PointBuffer points
        if self.span_count and self.is_simple():
            return True
        self.expand()
        for i in range(self.ref_count):
            if self.refs[i].is_whole:
                return True
        for i in range(self.ref_count):
            points = PointBuffer(self.kind, self.want)
            self.load(&self.refs[i], points)
            if points.count:
                return True
        return False

    def time_bounds(self):
        """Return the first and the last time that the scan may give, or None if it gives nothing.

        Bounds of blocks, cut to the bounds of the scan: a point need not lie on them.
        """
        cdef int64_t low = INT64_MAX, high = INT64_MIN, i
        cdef Segment segment
        for i in range(self.ref_count):
            low = min(low, self.refs[i].first_time)
            high = max(high, self.refs[i].last_time)
        if not self.is_expanded:
            for i in range(self.span_count):
                segment = <Segment> self.sources[self.spans[i].source][0]
                low = min(low, segment.footer.first_time[self.spans[i].low])
                high = max(high, segment.footer.last_time[self.spans[i].high - 1])
        return None if low > high else (max(low, self.start), min(high, self.end))

    cdef bint is_direct(self) noexcept:
        """Whether points can be decoded straight into arrays: see `next_arrays`."""
        cdef int64_t i
        if self.kind == KIND_TEXT or self.kind == KIND_NONE or self.condition is not None or self.reverse or self.pending is not None:
            return False
        if self.has_overlaps():
            return False
        for i in range(self.ref_count):
            if not self.refs[i].is_inside and self.sources[self.refs[i].source][1]:
                return False
        for i in range(self.view_count):
            if not reducers.ascends(self.views[i].time, self.views[i].count):
                return False
        return True

    def arrays(self):
        """Return (times, values) of every point as new arrays, or None where `collect` has to be asked; see `next_arrays`."""
        return self.next_arrays(INT64_MAX) if self.next_ref < self.ref_count else None

    def next_arrays(self, int64_t at_most):
        """Return (times, values) of the next points as new arrays; None at the end, or where `next_points` has to be asked.

        Blocks are decoded straight into the arrays. That needs numbers, integers or booleans in blocks that do not overlap,
        no condition, and nothing hidden in part.

        Args:
            at_most: so many points, but at least a block.

        Raises:
            CorruptionError: a block is damaged.
        """
        cdef int64_t at = 0, i, n, low, high, stop, total = 0
        cdef int64_t[::1] times, values
        cdef BlockSource* sources
        cdef BlockRef* ref
        cdef DirectFault fault = DIRECT_GOOD
        if self.next_ref == 0:
            self.goes_direct = self.is_direct()
        if not self.goes_direct or self.next_ref == self.ref_count:
            return None
        stop = self.next_ref
        while stop < self.ref_count and (stop == self.next_ref or total + self.refs[stop].count <= at_most):
            total += self.refs[stop].count
            stop += 1
        time_array = fresh_array(total + BLOCK_POINTS)              # decoders may write a whole block
        value_array = fresh_array(total + BLOCK_POINTS)
        times, values = time_array, value_array
        sources = block_sources(self.sources)
        with nogil:
            for i in range(self.next_ref, stop):
                ref = &self.refs[i]
                n = ref.count
                if sources[ref.source].footer != NULL:
                    fault = direct_decode(&sources[ref.source], ref.block, self.kind, &times[at], &values[at])
                    if fault != DIRECT_GOOD:
                        break
                else:
                    memcpy(&times[at], self.views[ref.block].time, 8 * n)
                    memcpy(&values[at], self.views[ref.block].value, 8 * n)
                if not ref.is_inside:
                    low = lower_bound(&times[at], n, self.start)
                    high = lower_bound(&times[at], n, self.end + 1) if self.end < INT64_MAX else n
                    n = max(high - low, <int64_t> 0)
                    memmove(&times[at], &times[at + low], 8 * n)
                    memmove(&values[at], &values[at + low], 8 * n)
                at += n
        free(sources)
        if fault != DIRECT_GOOD:
            direct_raise(<Segment> self.sources[ref.source][0], ref.block, fault)
        self.next_ref = stop
        time_array, value_array = time_array[:at], value_array[:at]
        if self.kind == KIND_BOOLEAN:
            return time_array, value_array.astype(bool)
        return time_array, value_array.view(np.float64) if self.kind == KIND_NUMBER else value_array


def plan(
    sources: list,
    device: int,
    sealed: frozenset,
    names: frozenset | None,
    kinds: object,
    start: int,
    end: int,
    want: int,
    reverse: bool,
    condition: Condition | None,
    expanded: bool,
) -> list:
    """Return (name, SeriesScan) of the series that may have points, by name and kind: all of one moment.

    One call from first to last: no batch is added to a memtable meanwhile, so each is seen whole or not at all.
    """
    cdef list result = []
    cdef set series = set(sealed)
    cdef SeriesScan scan
    cdef bytes key
    for source, _ in sources:
        if type(source) is Memtable:
            series.update((<Memtable> source).device_series(device))
    for key, kind in sorted([one for one in series if (names is None or one[0] in names) and one[1] in kinds]):
        scan = SeriesScan(sources, device, key, kind, start, end, want, reverse, condition, expanded)
        if scan.ref_count or (not scan.is_expanded and scan.span_count):
            result.append((key.decode(), scan))
    return result
