"""Buckets over block statistics, decoding only blocks at the edges.

A block that lies in one bucket gives its statistics; any other is decoded, times and values alone, and reduced run by run.
What is added up is in cells.pyx.
"""

from libc.math cimport fabs, isnan
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free

from tsengine.core.batch cimport as_number
from tsengine.core.codec.integer cimport IntegerProbe, integer_at, integer_decode, integer_probe
from tsengine.core.limits cimport BLOCK_POINTS, KIND_NUMBER
from tsengine.core.store.cells cimport FEW, NEEDS_ENDS, NEEDS_RANGE, NEEDS_SQUARES, NEEDS_SUM, BucketCells
from tsengine.core.store.direct cimport (
    DIRECT_GOOD,
    DIRECT_VALUE,
    BlockNumbers,
    BlockSource,
    DirectBlock,
    DirectBounds,
    DirectFault,
    block_sources,
    direct_between,
    direct_decode,
    direct_numbers,
    direct_open,
    direct_raise,
    numbers_between,
    numbers_range,
)
from tsengine.core.store.points cimport PointBuffer, lower_bound
from tsengine.core.store.reduce cimport reduce_two_sum, reducers
from tsengine.core.store.scan cimport BlockRef, SeriesScan, Span
from tsengine.core.store.segment cimport Segment, SegmentFooter

# Less than this share of the largest sum that values could have: a difference of sums has then fewer than 60 good bits.
cdef double CANCELLED = 2.0 ** -40


cdef inline int64_t time_at(const IntegerProbe* probe, int64_t i, const BlockRef* ref) noexcept nogil:
    """Return the time of a point, kept within those of its block: damage must not lead to a bucket that is not there."""
    return min(max(integer_at(probe, <int32_t> i), ref.first_time), ref.last_time)


cdef int64_t first_at(
    const IntegerProbe* probe, int64_t low, int64_t n, int64_t first_time, int64_t last_time, int64_t time
) noexcept nogil:
    """Return the first place from `low` on whose time is at least this one; the time before `low` and the last are known."""
    cdef int64_t high = n - 1, guess, middle       # the last one is: the caller knows
    # Times mostly are a line: look around where it leads to.
    guess = low - 1 + <int64_t> (<double> (time - first_time) / <double> (last_time - first_time) * (n - low))
    middle = guess - 1
    if low <= middle < high:
        if integer_at(probe, <int32_t> middle) < time:
            low = middle + 1
        else:
            high = middle
    middle = guess + 2
    if low <= middle < high:
        if integer_at(probe, <int32_t> middle) < time:
            low = middle + 1
        else:
            high = middle
    while low < high:
        middle = (low + high) // 2
        if integer_at(probe, <int32_t> middle) < time:
            low = middle + 1
        else:
            high = middle
    return low


cdef class Buckets(BucketCells):
    def add(self, SeriesScan scan, bint by_sequence=False) -> None:
        """Add every point of a scan over a number, integer or boolean series.

        Args:
            by_sequence: several series are added and first or last are asked for: of equal times the sequence tells.

        Raises:
            CorruptionError: a block that has to be decoded is damaged.
        """
        cdef PointBuffer points
        if scan.kind != KIND_NUMBER:
            self.prepare_integers()
        elif scan.ref_count or scan.span_count:
            self.is_integer = False
        if scan.is_simple() and self.bucket_count == 1 and not self.needs & (NEEDS_SQUARES | NEEDS_ENDS):
            self.add_spans(scan)
            return
        scan.expand()
        if self.needs & NEEDS_ENDS and (by_sequence or scan.has_overlaps()):
            while True:
                points = scan.next_run()
                if points is None:
                    return
                self.add_points(points.time, points.sequence, points.value, points.count, points.kind, False)
        self.add_direct(scan)

    cdef int add_spans(self, SeriesScan scan) except -1:
        """Add whole spans to the only bucket; blocks whose statistics do not tell enough are decoded."""
        cdef BlockSource* sources = block_sources(scan.sources)
        cdef int64_t[BLOCK_POINTS] times
        cdef int64_t[BLOCK_POINTS] values
        cdef DirectFault fault = DIRECT_GOOD
        cdef int64_t i, block = 0
        cdef Span* span = NULL
        with nogil:
            for i in range(scan.span_count):
                span = &scan.spans[i]
                for block in range(span.low, span.high):
                    if sources[span.source].footer.flags[block] == 0:
                        self.add_statistics(&sources[span.source], block, scan.kind, 0)
                        continue
                    fault = direct_decode(&sources[span.source], block, scan.kind, times, values)
                    if fault != DIRECT_GOOD:
                        break
                    self.add_points(times, NULL, values, sources[span.source].footer.count[block], scan.kind, False)
                if fault != DIRECT_GOOD:
                    break
        free(sources)
        if fault != DIRECT_GOOD:
            direct_raise(<Segment> scan.sources[span.source][0], block, fault)
        return 0

    cdef int add_direct(self, SeriesScan scan) except -1:
        """Add block by block, in no need of an order."""
        cdef BlockSource* sources = block_sources(scan.sources)
        cdef int64_t[BLOCK_POINTS] times
        cdef int64_t[BLOCK_POINTS] values
        cdef DirectFault fault = DIRECT_GOOD
        cdef BlockRef* ref = NULL
        cdef PointBuffer points
        cdef DirectBounds bounds
        cdef int64_t i, left = 0
        cdef bint is_plain = scan.condition is None or scan.condition.is_bounds(scan.kind)
        cdef bint counts_only = self.needs == 0 and self.bucket_count == 1 and scan.kind == KIND_NUMBER and scan.condition is not None
        # A single bucket and no edges: times tell nothing.
        cdef bint needs_times = self.bucket_count > 1 or self.needs & NEEDS_ENDS
        bounds.exponent = -1
        if counts_only:
            bounds.low, bounds.high = scan.condition.number_low, scan.condition.number_high
        try:
            with nogil:
                for i in range(scan.ref_count):
                    ref = &scan.refs[i]
                    if not is_plain or sources[ref.source].footer == NULL or not (ref.is_inside or not sources[ref.source].has_hidden):
                        left += 1
                    elif self.has_statistics(&sources[ref.source], ref):
                        self.add_statistics(&sources[ref.source], ref.block, scan.kind, self.current)
                    elif counts_only and ref.is_inside:
                        fault = direct_between(&sources[ref.source], ref.block, &bounds, self.count)
                        if fault != DIRECT_GOOD:
                            break
                    elif self.is_dense(&sources[ref.source], ref):
                        fault = self.add_dense(&sources[ref.source], ref, scan, times, values)
                        if fault != DIRECT_GOOD:
                            break
                    else:
                        fault = direct_decode(
                            &sources[ref.source], ref.block, scan.kind, times if needs_times or not ref.is_inside else NULL, values
                        )
                        if fault != DIRECT_GOOD:
                            break
                        self.add_block(scan, ref, sources[ref.source].footer.flags[ref.block] == 0, times, values)
            if fault != DIRECT_GOOD:
                direct_raise(<Segment> scan.sources[ref.source][0], ref.block, fault)
            i = 0
            while left:
                ref = &scan.refs[i]
                i += 1
                if not is_plain or sources[ref.source].footer == NULL or not (ref.is_inside or not sources[ref.source].has_hidden):
                    points = PointBuffer(scan.kind, scan.want)
                    scan.load(ref, points)
                    points.sort()
                    self.add_points(points.time, points.sequence, points.value, points.count, scan.kind, False)
                    left -= 1
        finally:
            free(sources)
        return 0

    cdef bint is_dense(self, const BlockSource* source, const BlockRef* ref) noexcept nogil:
        """Whether a block lies whole in few buckets: then its times are looked up where these are cut, and not decoded."""
        cdef int64_t first
        if not ref.is_whole or self.bucket_count == 1 or source.footer.flags[ref.block]:
            return False
        first = self.find(ref.first_time)
        return (self.find(ref.last_time) - first) * FEW * 2 < ref.count

    cdef DirectFault add_dense(
        self, const BlockSource* source, const BlockRef* ref, SeriesScan scan, int64_t* times, int64_t* values
    ) noexcept nogil:
        """Add a block that is dense: what its statistics do not tell is made of the values that are needed for it."""
        cdef DirectBlock opened
        cdef BlockNumbers numbers
        cdef IntegerProbe probe
        cdef DirectFault fault = direct_open(source, ref.block, &opened)
        if fault != DIRECT_GOOD:
            return fault
        if not integer_probe(opened.time, opened.time_bytes, opened.n, &probe):
            fault = direct_decode(source, ref.block, scan.kind, times, values)
            if fault == DIRECT_GOOD:
                self.add_block(scan, ref, True, times, values)
            return fault
        if scan.kind == KIND_NUMBER:
            fault = direct_numbers(&opened, &numbers)
            if fault != DIRECT_GOOD:
                return fault
        elif integer_decode(opened.value, opened.value_bytes, values, opened.n) != opened.value_bytes:
            return DIRECT_VALUE
        self.add_cuts(source, ref, &probe, scan.kind, &numbers, values)
        return DIRECT_GOOD

    cdef void add_cuts(
        self, const BlockSource* source, const BlockRef* ref, const IntegerProbe* probe, uint8_t kind, BlockNumbers* numbers,
        const int64_t* values
    ) noexcept nogil:
        """Add a block that is dense, its finite numbers or its integers decoded."""
        cdef int64_t low = 0, high, bucket, time = ref.first_time
        if kind == KIND_NUMBER and self.needs & NEEDS_ENDS:
            values = <const int64_t*> numbers_between(numbers, 0, ref.count)
        while low < ref.count:
            bucket = self.find(time)
            high = ref.count
            if ref.last_time >= self.current_end:
                high = first_at(probe, low + 1, ref.count, time, ref.last_time, self.current_end)
            if self.needs & NEEDS_ENDS:
                self.add_end(bucket, time, 0, values[low], kind)
                self.add_end(bucket, time_at(probe, high - 1, ref), 0, values[high - 1], kind)
            if kind != KIND_NUMBER:
                self.add_integers(bucket, values + low, high - low)
            elif low == 0 and self.has_halves(bucket, high, ref):
                self.add_halves(source.footer, ref.block, bucket, numbers, high, ref.count)
                if self.needs & NEEDS_ENDS:
                    self.add_end(bucket + 1, time_at(probe, high, ref), 0, values[high], kind)
                    self.add_end(bucket + 1, ref.last_time, 0, values[ref.count - 1], kind)
                return
            else:
                self.add_numbers(bucket, numbers_between(numbers, low, high), high - low)
            low = high
            if low < ref.count:
                time = time_at(probe, low, ref)

    cdef bint has_halves(self, int64_t bucket, int64_t cut, const BlockRef* ref) noexcept nogil:
        """Whether a block ends in the bucket after the one in which it begins."""
        return cut < ref.count and not self.needs & NEEDS_SQUARES and self.find(ref.last_time) == bucket + 1

    cdef void add_halves(
        self, const SegmentFooter* footer, int64_t block, int64_t bucket, BlockNumbers* numbers, int64_t cut, int64_t n
    ) noexcept nogil:
        """Add finite numbers up to `cut` to a bucket and the others to the next one, reducing the smaller part where that is enough.

        What the larger part adds up to is the block's sum less that of the smaller one, and its minimum is that of the block
        unless the smaller part has it, too.
        """
        cdef bint is_first = 2 * cut < n
        cdef int64_t small = bucket if is_first else bucket + 1, large = bucket + 1 if is_first else bucket
        cdef int64_t small_low = 0 if is_first else cut, small_high = cut if is_first else n
        cdef int64_t large_low = cut if is_first else 0, large_high = n if is_first else cut
        cdef double minimum = as_number(footer.minimum[block]), maximum = as_number(footer.maximum[block])
        cdef double high, low, rest = as_number(footer.sum_high[block]), rest_low = as_number(footer.sum_low[block])
        self.count[small] += small_high - small_low
        self.count[large] += large_high - large_low
        if self.needs & NEEDS_SUM:
            reducers.sum(numbers_between(numbers, small_low, small_high), small_high - small_low, &high, &low)
            self.add_sum(small, high, low)
            reduce_two_sum(&rest, &rest_low, -high)
            rest_low -= low
            # What is small beside the values that were added up has lost its last digits.
            if not fabs(rest) >= max(fabs(minimum), fabs(maximum)) * n * CANCELLED:
                reducers.sum(numbers_between(numbers, large_low, large_high), large_high - large_low, &rest, &rest_low)
            self.add_sum(large, rest, rest_low)
        if self.needs & NEEDS_RANGE:
            numbers_range(numbers, small_low, small_high, &low, &high)
            self.minimum[small] = min(self.minimum[small], low)
            self.maximum[small] = max(self.maximum[small], high)
            if not (low > minimum and high < maximum):
                numbers_range(numbers, large_low, large_high, &minimum, &maximum)
            self.minimum[large] = min(self.minimum[large], minimum)
            self.maximum[large] = max(self.maximum[large], maximum)

    cdef void add_block(self, SeriesScan scan, const BlockRef* ref, bint all_finite, int64_t* times, int64_t* values) noexcept nogil:
        """Add what counts of a decoded block."""
        cdef int64_t low = 0, high = ref.count, i, at
        cdef double number
        if not ref.is_inside:
            low = lower_bound(times, ref.count, scan.start)
            high = lower_bound(times, ref.count, scan.end + 1) if scan.end < INT64_MAX else ref.count
        if not ref.is_whole and scan.condition is not None:
            at = low
            for i in range(low, high):
                times[at] = times[i]
                values[at] = values[i]
                if scan.kind == KIND_NUMBER:
                    number = as_number(values[i])
                    at += (number >= scan.condition.number_low) & (number <= scan.condition.number_high)
                else:
                    at += (values[i] >= scan.condition.integer_low) & (values[i] <= scan.condition.integer_high)
            high = at
        if low < high:
            self.add_points(times + low, NULL, values + low, high - low, scan.kind, all_finite)

    cdef bint has_statistics(self, const BlockSource* source, const BlockRef* ref) noexcept nogil:
        """Whether a block's statistics are all there is to add, to bucket `current`."""
        if not ref.is_whole or self.needs & NEEDS_SQUARES or source.footer.flags[ref.block]:
            return False
        self.find(ref.first_time)
        return ref.last_time < self.current_end

    cdef void add_statistics(self, const BlockSource* source, int64_t block, uint8_t kind, int64_t bucket) noexcept nogil:
        cdef const SegmentFooter* footer = source.footer
        self.count[bucket] += footer.count[block]
        if kind == KIND_NUMBER:
            if self.needs & NEEDS_SUM:
                self.add_sum(bucket, as_number(footer.sum_high[block]), as_number(footer.sum_low[block]))
            if self.needs & NEEDS_RANGE:
                self.minimum[bucket] = min(self.minimum[bucket], as_number(footer.minimum[block]))
                self.maximum[bucket] = max(self.maximum[bucket], as_number(footer.maximum[block]))
        else:
            if self.needs & NEEDS_SUM:
                self.add_integer_sum(bucket, footer.sum_high[block], <uint64_t> footer.sum_low[block])
            if self.needs & NEEDS_RANGE:
                self.integer_minimum[bucket] = min(self.integer_minimum[bucket], footer.minimum[block])
                self.integer_maximum[bucket] = max(self.integer_maximum[bucket], footer.maximum[block])
        if self.needs & NEEDS_ENDS:
            self.add_end(bucket, footer.first_time[block], 0, footer.first[block], kind)
            self.add_end(bucket, footer.last_time[block], 0, footer.last[block], kind)

    cdef void add_points(
        self, const int64_t* time, const uint64_t* sequence, const int64_t* value, int64_t n, uint8_t kind, bint all_finite
    ) noexcept nogil:
        """Add points in order of time; `sequence` may be NULL."""
        cdef int64_t low = 0, high, bucket, i
        if n and kind == KIND_NUMBER and not all_finite:
            all_finite = reducers.all_finite(<const double*> value, n)
        if kind == KIND_NUMBER and all_finite and self.width and not self.needs & ~NEEDS_SUM:
            if (time[n - 1] - time[0]) // self.width * FEW > n:
                self.add_sparse(time, <const double*> value, n)
                return
        while low < n:
            bucket = 0
            high = n
            if self.bucket_count > 1:
                bucket = self.find(time[low])
                if time[n - 1] >= self.current_end:
                    # A few points a bucket, or very many.
                    high = low + 1
                    while high < n and high < low + FEW and time[high] < self.current_end:
                        high += 1
                    if high == low + FEW:
                        high += lower_bound(time + high, n - high, self.current_end)
            if kind != KIND_NUMBER:
                self.add_integers(bucket, value + low, high - low)
            elif all_finite:
                self.add_numbers(bucket, <const double*> value + low, high - low)
            else:
                self.add_odd_numbers(bucket, <const double*> value + low, high - low)
            if self.needs & NEEDS_ENDS:
                i = low
                while i < high and kind == KIND_NUMBER and isnan(as_number(value[i])):
                    i += 1
                if i < high:
                    self.add_end(bucket, time[i], 0 if sequence == NULL else sequence[i], value[i], kind)
                    i = high - 1
                    while kind == KIND_NUMBER and isnan(as_number(value[i])):
                        i -= 1
                    self.add_end(bucket, time[i], 0 if sequence == NULL else sequence[i], value[i], kind)
            low = high

    cdef void add_sparse(self, const int64_t* time, const double* values, int64_t n) noexcept nogil:
        """Count and add finite numbers of which few lie in the same bucket: the loop of all loops, so without calls."""
        cdef int64_t i, bucket = self.find(time[0]), end = self.current_end, count = 0
        cdef double high = 0, low = 0
        cdef bint adds = self.needs & NEEDS_SUM
        # A bucket's own sum goes on in registers. Where no sum is kept, all of them go to one cell that nobody reads.
        cdef double[2] spare
        cdef double* highs = self.sum_high if adds else &spare[0]
        cdef double* lows = self.sum_low if adds else &spare[1]
        cdef int64_t step = 1 if adds else 0
        spare[0] = spare[1] = 0
        high, low = highs[bucket * step], lows[bucket * step]
        for i in range(n):
            if time[i] >= end:
                self.count[bucket] += count
                highs[bucket * step] = high
                lows[bucket * step] = low
                bucket += 1
                end += self.width
                if time[i] >= end:
                    bucket = self.find(time[i])
                    end = self.current_end
                count = 0
                high, low = highs[bucket * step], lows[bucket * step]
            count += 1
            reduce_two_sum(&high, &low, values[i])
        self.count[bucket] += count
        highs[bucket * step] = high
        lows[bucket * step] = low
