"""The points of one series and kind across memtables and segments, in time order.

A scan is planned once, with the GIL: it notes the blocks that overlap its bounds and copies the views of memtable blocks.
After that it is a snapshot: writers go on, segments may be replaced. `next_run` then loads one block at a time and gives
out, in order, what no later block can precede: memory holds only as many blocks as overlap in time.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, qsort, realloc

from cpython.exc cimport PyErr_NoMemory

from tsengine.core.limits cimport BLOCK_POINTS
from tsengine.core.store.memtable cimport Memtable, MemtableBlock, MemtableSeries
from tsengine.core.store.points cimport WANT_ALL, Columns, PointBuffer, StringMap, lower_bound
from tsengine.core.store.segment cimport Segment

WANTS = {"value": 1, "sequence": 2, "received": 4, "unit": 8, "group": 16, "location": 32, "metadata": 64, "all": WANT_ALL}


cdef int by_first_time(const void* left, const void* right) noexcept nogil:
    cdef const BlockRef* a = <const BlockRef*> left
    cdef const BlockRef* b = <const BlockRef*> right
    return (a.first_time > b.first_time) - (a.first_time < b.first_time)


cdef int by_last_time_down(const void* left, const void* right) noexcept nogil:
    cdef const BlockRef* a = <const BlockRef*> left
    cdef const BlockRef* b = <const BlockRef*> right
    return (a.last_time < b.last_time) - (a.last_time > b.last_time)


cdef class SeriesScan:
    """Args:
        sources: (Memtable or Segment, [(start, end), ...]) each; the intervals, inclusive microseconds, are hidden in it.
        device, name, kind: the series.
        start, end: inclusive bounds, microseconds.
        want: WANTS of the columns that are needed, added up.
        reverse: newest first.
    """

    def __cinit__(
        self, list sources, uint32_t device, bytes name, uint8_t kind, int64_t start, int64_t end, int want, bint reverse=False
    ):
        cdef int32_t number
        cdef Segment segment
        cdef MemtableSeries* series
        cdef int64_t found
        self.sources = sources
        self.kind = kind
        self.start = start
        self.end = end
        self.want = want
        self.reverse = reverse
        self.maps = {}
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
        self.order()

    def __dealloc__(self):
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
                self.add_ref(block.time_min, block.time_max, block.columns.count, self.view_count, number, hidden)
                self.view_count += 1
            block = block.next
        return 0

    cdef int add_segment(self, int32_t number, Segment segment, int64_t series, list hidden) except -1:
        cdef int64_t low = segment.footer.series_first_block[series]
        cdef int64_t high = segment.footer.series_first_block[series + 1]
        cdef int64_t block
        # Blocks are ordered by first time: past `end` none matters.
        high = low + lower_bound(segment.footer.first_time + low, high - low, self.end + 1 if self.end < INT64_MAX else self.end)
        for block in range(low, high):
            if segment.footer.last_time[block] >= self.start:
                self.add_ref(
                    segment.footer.first_time[block], segment.footer.last_time[block], segment.footer.count[block], block, number, hidden
                )
        return 0

    cdef int add_ref(self, int64_t first_time, int64_t last_time, int64_t count, int64_t block, int32_t number, list hidden) except -1:
        cdef BlockRef* ref
        cdef void* grown
        cdef int64_t low, high
        cdef bint is_whole = first_time >= self.start and last_time <= self.end
        for low, high in hidden:
            if low <= first_time and last_time <= high:
                return 0
            if low <= last_time and first_time <= high:
                is_whole = False
        if self.ref_count == self.ref_capacity:
            self.ref_capacity = max(self.ref_capacity * 2, <int64_t> 16)
            grown = realloc(self.refs, self.ref_capacity * sizeof(BlockRef))
            if grown == NULL:
                PyErr_NoMemory()
            self.refs = <BlockRef*> grown
        ref = &self.refs[self.ref_count]
        ref.first_time = first_time
        ref.last_time = last_time
        ref.count = count
        ref.block = block
        ref.source = number
        ref.is_whole = is_whole
        self.ref_count += 1
        self.point_count += count
        return 0

    cdef void order(self) noexcept nogil:
        if self.ref_count > 1:
            qsort(self.refs, self.ref_count, sizeof(BlockRef), by_last_time_down if self.reverse else by_first_time)

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
        if type(source) is Segment:
            segment = <Segment> source
            segment.decode(ref.block, self.kind, into, self.map_of(ref.source, segment.footer.dictionary[ref.block], into))
        else:
            # With the GIL: the writer may add strings to the memtable's table, which moves its entries.
            map = self.map_of(ref.source, 0, into)
            into.append(&self.views[ref.block], 0, self.views[ref.block].count, map)
        if not ref.is_whole:
            self.filter(into, begin, self.sources[ref.source][1])
        return 0

    cdef int filter(self, PointBuffer points, int64_t begin, list hidden) except -1:
        """Of the points behind `begin` keep those inside the bounds that no interval hides."""
        cdef int64_t at = points.count, high, time, low_hidden, high_hidden
        cdef bint kept
        # From the end, so that a run that is dropped moves only points already seen.
        while at > begin:
            high = at
            while at > begin:
                time = points.time[at - 1]
                kept = self.start <= time <= self.end
                for low_hidden, high_hidden in hidden:
                    kept = kept and not low_hidden <= time <= high_hidden
                if kept:
                    break
                at -= 1
            if at < high:
                points.drop(at, high)
            else:
                at -= 1
        return 0

    cdef PointBuffer split(self, int64_t frontier):
        """Take from `pending` what comes before every block not loaded yet; None if there is nothing.

        frontier: the first (reverse: last) time that an unloaded block may hold.
        """
        cdef PointBuffer ready = self.pending
        cdef PointBuffer rest
        cdef StringMap map
        cdef Columns columns
        cdef int64_t cut
        with nogil:
            ready.sort()
        if self.reverse:
            cut = lower_bound(ready.time, ready.count, frontier + 1) if frontier < INT64_MAX else ready.count
            if cut == ready.count:
                return None
        else:
            cut = lower_bound(ready.time, ready.count, frontier) if frontier < INT64_MAX else ready.count
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
        cdef int64_t frontier
        if self.pending is None:
            self.pending = PointBuffer(self.kind, self.want)
        while self.next_ref < self.ref_count:
            self.load(&self.refs[self.next_ref], self.pending)
            self.next_ref += 1
            if self.next_ref < self.ref_count:
                frontier = self.refs[self.next_ref].last_time if self.reverse else self.refs[self.next_ref].first_time
            else:
                frontier = INT64_MIN if self.reverse else INT64_MAX
            if self.pending.count:
                ready = self.split(frontier)
                if ready is not None:
                    return ready
        return None

    def next_points(self, at_least: int):
        """Return the next runs joined until they hold at least so many points, or None at the end."""
        cdef PointBuffer points = self.next_run()
        cdef PointBuffer run
        cdef Columns columns
        cdef StringMap map
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
        """Return the exact number of points; decodes the times of blocks at the edges only."""
        cdef int64_t total = 0, i
        cdef PointBuffer points
        for i in range(self.ref_count):
            if self.refs[i].is_whole:
                total += self.refs[i].count
            else:
                points = PointBuffer(self.kind, 0)
                self.load(&self.refs[i], points)
                total += points.count
        return total

    def time_bounds(self):
        """Return the first and the last time that the scan may give, or None if it gives nothing.

        Bounds of blocks, cut to the bounds of the scan: a point need not lie on them.
        """
        cdef int64_t low = INT64_MAX, high = INT64_MIN, i
        for i in range(self.ref_count):
            low = min(low, self.refs[i].first_time)
            high = max(high, self.refs[i].last_time)
        return None if self.ref_count == 0 else (max(low, self.start), min(high, self.end))
