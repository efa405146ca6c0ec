"""What is known of each bucket of time: cells of counts, sums, ranges, ends and squares, and the results that follow from them.

Sums are those of the stored values, kept as two float64 (the rounded sum and what the roundings lost, about 106 bits) and
rounded once at the end; sums of integers are an int128. So they do not depend on how points were cut into blocks, nor on the
CPU. NaN values are left out of everything, the count included.
"""

from libc.math cimport INFINITY, NAN, isfinite, isnan, sqrt
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from cpython.exc cimport PyErr_NoMemory

from tsengine.core.batch cimport as_number
from tsengine.core.limits cimport KIND_NUMBER
from tsengine.core.store.reduce cimport reduce_two_sum, reducers

import numpy as np

from tsengine.errors import LimitError

cdef enum:
    # Three years by the half minute. A bucket takes 24 to 200 bytes.
    BUCKETS_MAX = 4194304
    # Memory of buckets that is kept for the next aggregate: fresh memory costs more than what is done with it.
    SCRATCH_BYTES_MAX = 8388608

    RESULT_COUNT = 0
    RESULT_AVG = 1
    RESULT_SUM = 2
    RESULT_MIN = 3
    RESULT_MAX = 4
    RESULT_FIRST = 5
    RESULT_LAST = 6
    RESULT_STDDEV = 7

FUNCTIONS = {
    "count": 0,
    "avg": NEEDS_SUM,
    "sum": NEEDS_SUM,
    "min": NEEDS_RANGE,
    "max": NEEDS_RANGE,
    "first": NEEDS_ENDS,
    "last": NEEDS_ENDS,
    "stddev": NEEDS_SUM | NEEDS_SQUARES,
}

RESULTS = {
    "count": RESULT_COUNT,
    "avg": RESULT_AVG,
    "sum": RESULT_SUM,
    "min": RESULT_MIN,
    "max": RESULT_MAX,
    "first": RESULT_FIRST,
    "last": RESULT_LAST,
    "stddev": RESULT_STDDEV,
}

cdef extern from *:
    """
    typedef __int128 tsengine_int128;
    """
    ctypedef long long int128 "tsengine_int128"


# Taken and given back with the GIL.
cdef char* scratch = NULL
cdef int64_t scratch_bytes = 0


cdef void averages(const double* high, const double* low, const int64_t* count, int64_t n, double* out) noexcept nogil:
    """Set what `number_of` gives for averages of numbers alone, in one loop without calls."""
    cdef int64_t i
    cdef double total
    for i in range(n):
        total = high[i] + low[i]
        # Beyond all floats, the lost part means nothing.
        out[i] = (total if total == total else high[i]) / <double> count[i]


cdef class BucketCells:
    """Args:
        functions: of FUNCTIONS; `result` answers for these.
        origin, width, bucket_count: buckets of equal width, microseconds; or
        edges: starts of the buckets, ascending int64, the last one being the end of the last bucket.

    Points outside every bucket must not be added: bound the scans.

    Raises:
        LimitError: too many buckets.
    """

    def __cinit__(self, functions, origin=0, width=0, bucket_count=0, const int64_t[::1] edges=None):
        cdef int64_t i
        for function in functions:
            self.needs |= <int> FUNCTIONS[function]
        self.is_integer = True
        self.origin = origin
        self.width = width
        if edges is not None:
            self.edges = edges
            bucket_count = edges.shape[0] - 1
        if bucket_count > BUCKETS_MAX:
            raise LimitError(
                f"{bucket_count} buckets are too many, at most {BUCKETS_MAX} are allowed; use a larger `every` or a shorter range"
            )
        self.bucket_count = bucket_count
        self.current_start = INT64_MAX
        self.current_end = INT64_MIN
        self.take_scratch(
            8 + (16 if self.needs & NEEDS_SUM else 0) + (16 if self.needs & NEEDS_RANGE else 0)
            + (24 if self.needs & NEEDS_SQUARES else 0) + (2 * sizeof(End) if self.needs & NEEDS_ENDS else 0)
        )
        self.count = <int64_t*> self.cells(8)
        if self.needs & NEEDS_SUM:
            self.sum_high = <double*> self.cells(8)
            self.sum_low = <double*> self.cells(8)
        if self.needs & NEEDS_RANGE:
            self.minimum = <double*> self.cells(8)
            self.maximum = <double*> self.cells(8)
            for i in range(self.bucket_count):
                self.minimum[i] = INFINITY
                self.maximum[i] = -INFINITY
        if self.needs & NEEDS_SQUARES:
            self.weight = <double*> self.cells(8)
            self.mean = <double*> self.cells(8)
            self.squares = <double*> self.cells(8)
        if self.needs & NEEDS_ENDS:
            self.first = <End*> self.cells(sizeof(End))
            self.last = <End*> self.cells(sizeof(End))
            for i in range(self.bucket_count):
                self.first[i].time = INT64_MAX
                self.last[i].time = INT64_MIN

    def __dealloc__(self):
        global scratch, scratch_bytes
        if scratch == NULL and self.scratch_bytes <= SCRATCH_BYTES_MAX:
            scratch = self.scratch
            scratch_bytes = self.scratch_bytes
        else:
            free(self.scratch)
        free(self.integer_high)
        free(self.integer_low)
        free(self.integer_minimum)
        free(self.integer_maximum)

    cdef int take_scratch(self, int64_t bucket_bytes) except -1:
        """Get zeroed memory for all cells of so many bytes a bucket."""
        global scratch, scratch_bytes
        cdef int64_t size = max(self.bucket_count, <int64_t> 1) * bucket_bytes
        if scratch != NULL and scratch_bytes >= size:
            self.scratch = scratch
            self.scratch_bytes = scratch_bytes
            scratch = NULL
            memset(self.scratch, 0, size)
            return 0
        free(scratch)
        scratch = NULL
        self.scratch = <char*> calloc(1, size)
        self.scratch_bytes = size
        if self.scratch == NULL:
            PyErr_NoMemory()
        return 0

    cdef void* cells(self, int64_t cell_bytes) noexcept:
        """Return the next cells of the scratch memory."""
        cdef void* memory = self.scratch + self.scratch_used
        self.scratch_used += max(self.bucket_count, <int64_t> 1) * cell_bytes
        return memory

    cdef void* own_cells(self) except NULL:
        """Return zeroed cells of 8 bytes."""
        cdef void* memory = calloc(max(self.bucket_count, <int64_t> 1), 8)
        if memory == NULL:
            PyErr_NoMemory()
        return memory

    cdef int prepare_integers(self) except -1:
        cdef int64_t i
        if self.needs & NEEDS_SUM and self.integer_high == NULL:
            self.integer_high = <int64_t*> self.own_cells()
            self.integer_low = <int64_t*> self.own_cells()
        if self.needs & NEEDS_RANGE and self.integer_minimum == NULL:
            self.integer_minimum = <int64_t*> self.own_cells()
            self.integer_maximum = <int64_t*> self.own_cells()
            for i in range(self.bucket_count):
                self.integer_minimum[i] = INT64_MAX
                self.integer_maximum[i] = INT64_MIN
        return 0

    cdef int64_t find(self, int64_t time) noexcept nogil:
        """Return the bucket of a time, and set `current` to it."""
        cdef int64_t low = 0, high, middle
        if self.current_start <= time < self.current_end:
            return self.current
        if self.width:
            # The next one, mostly; a division takes longer than all the rest.
            if self.current_end <= time < self.current_end + self.width and self.current_start <= self.current_end:
                self.current += 1
            else:
                self.current = (time - self.origin) // self.width
            self.current_start = self.origin + self.current * self.width
            self.current_end = self.current_start + self.width
            return self.current
        high = self.bucket_count
        while low < high:
            middle = (low + high) // 2
            if self.edges[middle + 1] <= time:
                low = middle + 1
            else:
                high = middle
        self.current = low
        self.current_start = self.edges[low]
        self.current_end = self.edges[low + 1]
        return low

    cdef void add_sum(self, int64_t bucket, double high, double low) noexcept nogil:
        reduce_two_sum(&self.sum_high[bucket], &self.sum_low[bucket], high)
        self.sum_low[bucket] += low

    cdef void add_integer_sum(self, int64_t bucket, int64_t high, uint64_t low) noexcept nogil:
        """Add high * 2^64 + low."""
        cdef int128 total = (<int128> self.integer_high[bucket] << 64) + <uint64_t> self.integer_low[bucket] + (<int128> high << 64) + low
        self.integer_high[bucket] = <int64_t> (total >> 64)
        self.integer_low[bucket] = <int64_t> total

    cdef void add_end(self, int64_t bucket, int64_t time, uint64_t sequence, int64_t bits, uint8_t kind) noexcept nogil:
        """Take note of a value if it is the first or last one; of equal times without sequences the later added is later."""
        cdef End* end = &self.first[bucket]
        if time < end.time or (time == end.time and sequence < end.sequence):
            end.time = time
            end.sequence = sequence
            end.bits = bits
            end.number = as_number(bits) if kind == KIND_NUMBER else <double> bits
        end = &self.last[bucket]
        if time > end.time or (time == end.time and sequence >= end.sequence):
            end.time = time
            end.sequence = sequence
            end.bits = bits
            end.number = as_number(bits) if kind == KIND_NUMBER else <double> bits

    cdef void add_numbers(self, int64_t bucket, const double* values, int64_t n) noexcept nogil:
        """Add finite numbers."""
        cdef double high, low
        cdef int64_t i
        self.count[bucket] += n
        if self.needs & NEEDS_SUM:
            if n < FEW:
                high = self.sum_high[bucket]
                low = self.sum_low[bucket]
                for i in range(n):
                    reduce_two_sum(&high, &low, values[i])
                self.sum_high[bucket] = high
                self.sum_low[bucket] = low
            else:
                reducers.sum(values, n, &high, &low)
                self.add_sum(bucket, high, low)
        if self.needs & NEEDS_RANGE:
            if n < FEW:
                low = self.minimum[bucket]
                high = self.maximum[bucket]
                for i in range(n):
                    low = min(low, values[i])
                    high = max(high, values[i])
            else:
                reducers.range(values, n, &low, &high)
            self.minimum[bucket] = min(self.minimum[bucket], low)
            self.maximum[bucket] = max(self.maximum[bucket], high)
        if self.needs & NEEDS_SQUARES:
            self.add_squares(bucket, values, n)

    cdef void add_odd_numbers(self, int64_t bucket, const double* values, int64_t n) noexcept nogil:
        """Add numbers among which are NaN, which is left out, or infinities."""
        cdef int64_t i
        for i in range(n):
            if isnan(values[i]):
                continue
            self.count[bucket] += 1
            if self.needs & NEEDS_SUM:
                reduce_two_sum(&self.sum_high[bucket], &self.sum_low[bucket], values[i])
            if self.needs & NEEDS_RANGE:
                self.minimum[bucket] = min(self.minimum[bucket], values[i])
                self.maximum[bucket] = max(self.maximum[bucket], values[i])
            if self.needs & NEEDS_SQUARES:
                self.add_squares(bucket, &values[i], 1)

    cdef void add_integers(self, int64_t bucket, const int64_t* values, int64_t n) noexcept nogil:
        cdef double[FEW] numbers
        cdef int64_t high, low, i, at = 0
        cdef int128 total
        self.count[bucket] += n
        if self.needs & NEEDS_SUM:
            reducers.integer_sum(values, n, &high, &low)
            total = (<int128> high << 32) + <uint64_t> low
            self.add_integer_sum(bucket, <int64_t> (total >> 64), <uint64_t> total)
        if self.needs & NEEDS_RANGE:
            reducers.integer_range(values, n, &low, &high)
            self.integer_minimum[bucket] = min(self.integer_minimum[bucket], low)
            self.integer_maximum[bucket] = max(self.integer_maximum[bucket], high)
        if self.needs & NEEDS_SQUARES:
            while at < n:
                for i in range(min(n - at, <int64_t> FEW)):
                    numbers[i] = <double> values[at + i]
                self.add_squares(bucket, numbers, min(n - at, <int64_t> FEW))
                at += FEW

    cdef void add_squares(self, int64_t bucket, const double* values, int64_t n) noexcept nogil:
        """Put the mean of some values and their squared distances from it together with those of the bucket (Chan's way)."""
        cdef double high, low, mean, away
        cdef double before = self.weight[bucket], after = before + n
        reducers.sum(values, n, &high, &low)
        mean = (high + low) / n
        away = mean - self.mean[bucket]
        self.squares[bucket] += reducers.squares(values, n, mean) + away * away * before * n / after
        self.mean[bucket] += away * n / after
        self.weight[bucket] = after

    cdef double total(self, int64_t bucket) noexcept nogil:
        """The sum of all values of a bucket, numbers and integers, rounded once."""
        cdef double high = self.sum_high[bucket], low = self.sum_low[bucket], rounded
        cdef int128 whole
        if not isfinite(high):
            return high
        if self.integer_high != NULL:
            whole = (<int128> self.integer_high[bucket] << 64) + <uint64_t> self.integer_low[bucket]
            rounded = <double> whole
            reduce_two_sum(&high, &low, rounded)
            low += <double> (whole - <int128> rounded)
        return high + low

    cdef bint fits(self) noexcept nogil:
        """Whether every sum of integers is an int64."""
        cdef int64_t i
        for i in range(self.bucket_count):
            if self.integer_high[i] != self.integer_low[i] >> 63:
                return False
        return True

    cdef int64_t integer_of(self, int function, int64_t bucket) noexcept nogil:
        if function == RESULT_SUM:
            return self.integer_low[bucket]
        if function == RESULT_MIN:
            return self.integer_minimum[bucket]
        if function == RESULT_MAX:
            return self.integer_maximum[bucket]
        if function == RESULT_FIRST:
            return self.first[bucket].bits
        if function == RESULT_LAST:
            return self.last[bucket].bits
        return self.count[bucket]

    cdef double number_of(self, int function, int64_t bucket) noexcept nogil:
        if function == RESULT_SUM:
            return self.total(bucket)
        if function == RESULT_AVG:
            return self.total(bucket) / self.count[bucket]
        if function == RESULT_MIN:
            if self.integer_minimum != NULL and self.integer_minimum[bucket] <= self.integer_maximum[bucket]:
                return min(self.minimum[bucket], <double> self.integer_minimum[bucket])
            return self.minimum[bucket]
        if function == RESULT_MAX:
            if self.integer_maximum != NULL and self.integer_minimum[bucket] <= self.integer_maximum[bucket]:
                return max(self.maximum[bucket], <double> self.integer_maximum[bucket])
            return self.maximum[bucket]
        if function == RESULT_FIRST:
            return self.first[bucket].number
        if function == RESULT_LAST:
            return self.last[bucket].number
        return sqrt(self.squares[bucket] / (self.count[bucket] - 1)) if self.count[bucket] > 1 else NAN

    def filled(self):
        """Return the numbers of the buckets that hold a value, ascending, as an int64 array; None = all of them do."""
        cdef int64_t i, at = 0, count = 0
        cdef const int64_t* counts = self.count
        cdef int64_t[::1] numbers
        for i in range(self.bucket_count):
            count += counts[i] != 0
        if count == self.bucket_count:
            return None
        result = np.empty(count, dtype=np.int64)
        numbers = result
        for i in range(self.bucket_count):
            if self.count[i]:
                numbers[at] = i
                at += 1
        return result

    def starts(self):
        """Return the starts of all buckets, microseconds, as an int64 array."""
        if self.width:
            return np.arange(self.origin, self.origin + self.width * self.bucket_count, self.width, dtype=np.int64)
        return np.asarray(self.edges)[: self.bucket_count].copy()

    def values(self, function: str):
        """Return the results of all buckets as float64 or int64; those of empty ones mean nothing.

        A sum of integers that int64 cannot hold comes as float64, all of them then. stddev is that of a sample (n - 1), NaN for
        a single value.
        """
        cdef int code = RESULTS[function]
        cdef int64_t i
        cdef double[::1] numbers
        cdef int64_t[::1] integers
        cdef bint exact
        if self.is_integer:
            self.prepare_integers()         # nothing may have been added
        exact = code == RESULT_COUNT or (
            self.is_integer and code != RESULT_AVG and code != RESULT_STDDEV and (code != RESULT_SUM or self.fits())
        )
        result = np.empty(self.bucket_count, dtype=np.int64 if exact else np.float64)
        if self.bucket_count == 0:
            return result
        if exact:
            integers = result
            with nogil:
                if code == RESULT_COUNT:
                    memcpy(&integers[0], self.count, 8 * self.bucket_count)
                else:
                    for i in range(self.bucket_count):
                        integers[i] = self.integer_of(code, i)
        else:
            numbers = result
            with nogil:
                if code == RESULT_AVG and self.integer_high == NULL:
                    averages(self.sum_high, self.sum_low, self.count, self.bucket_count, &numbers[0])
                else:
                    for i in range(self.bucket_count):
                        numbers[i] = self.number_of(code, i)
        return result
