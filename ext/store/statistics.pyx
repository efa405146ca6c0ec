"""Statistics of one block: what pruning reads, and what aggregates take where no point needs to be decoded.

Format: docs/format/segment.md.
"""

from libc.math cimport INFINITY, isfinite
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memset

from tsengine.core.batch cimport as_bits, as_number
from tsengine.core.limits cimport KIND_BOOLEAN, KIND_INTEGER, KIND_NUMBER
from tsengine.core.store.points cimport Columns

cdef int64_t EXPONENT_BITS = <int64_t> 0x7FF << 52         # all of them set: NaN or infinite


cdef extern from *:
    """
    typedef __int128 tsengine_int128;
    """
    ctypedef long long int128 "tsengine_int128"


cdef inline double lower(double value, double low) noexcept nogil:
    return value if value < low else low


cdef inline double higher(double value, double high) noexcept nogil:
    return value if value > high else high


cdef void number_range(const int64_t* values, int64_t n, double* low, double* high) noexcept nogil:
    """Set the smallest and largest value, NaN left out; of 0.0 and -0.0 the first counts.

    In four parts side by side: one comparison waits for the one before it.
    """
    cdef double[4] lows
    cdef double[4] highs
    cdef int64_t quarter = n // 4, i
    cdef int part
    for part in range(4):
        lows[part] = INFINITY
        highs[part] = -INFINITY
    for i in range(quarter):
        for part in range(4):
            lows[part] = lower(as_number(values[part * quarter + i]), lows[part])
            highs[part] = higher(as_number(values[part * quarter + i]), highs[part])
    for i in range(4 * quarter, n):
        lows[3] = lower(as_number(values[i]), lows[3])
        highs[3] = higher(as_number(values[i]), highs[3])
    low[0] = lower(lows[3], lower(lows[2], lower(lows[1], lows[0])))
    high[0] = higher(highs[3], higher(highs[2], higher(highs[1], highs[0])))


cdef bint all_finite(const int64_t* values, int64_t n) noexcept nogil:
    cdef int64_t wrong = 0, i
    for i in range(n):
        wrong |= (values[i] & EXPONENT_BITS) == EXPONENT_BITS
    return not wrong


cdef void number_stats(const int64_t* values, int64_t n, BlockStats* stats) noexcept nogil:
    cdef double low, high, total = 0, lost = 0, value, before, part
    cdef bint finite = all_finite(values, n)
    cdef int64_t i
    number_range(values, n, &low, &high)
    for i in range(n):
        value = as_number(values[i])
        if finite or isfinite(value):
            # Knuth's two-sum: `lost` collects exactly what each rounding of `total` dropped.
            before = total
            total = before + value
            part = total - before
            lost += (before - (total - part)) + (value - part)
    if not finite or not isfinite(total):
        stats.flags |= STATS_NOT_FINITE
    stats.minimum = as_bits(low)
    stats.maximum = as_bits(high)
    stats.sum_high = as_bits(total)
    stats.sum_low = as_bits(lost)


cdef void integer_stats(const int64_t* values, int64_t n, BlockStats* stats) noexcept nogil:
    cdef int64_t low = values[0], high = values[0], i
    cdef int128 total = 0
    for i in range(n):
        low = values[i] if values[i] < low else low
        high = values[i] if values[i] > high else high
        total += values[i]
    stats.minimum = low
    stats.maximum = high
    stats.sum_high = <int64_t> (total >> 64)
    stats.sum_low = <int64_t> total


cdef void block_stats(const Columns* columns, uint8_t kind, BlockStats* stats) noexcept nogil:
    cdef int64_t n = columns.count
    memset(stats, 0, sizeof(BlockStats))
    stats.count = <uint32_t> n
    stats.first_time = columns.time[0]
    stats.last_time = columns.time[n - 1]
    if kind == KIND_NUMBER:
        number_stats(columns.value, n, stats)
    elif kind == KIND_INTEGER or kind == KIND_BOOLEAN:
        integer_stats(columns.value, n, stats)
    else:
        return
    stats.first = columns.value[0]
    stats.last = columns.value[n - 1]
