"""Statistics of one block, as they lie in the block directory. Format: docs/format/segment.md."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from tsengine.core.store.points cimport Columns

cdef enum:
    STATS_NOT_FINITE = 1        # NaN or infinity among the values: sum leaves them out, minimum and maximum leave NaN out


cdef struct BlockStats:
    int64_t first_time          # microseconds, of the first and last point: blocks are in time order
    int64_t last_time
    int64_t minimum             # bits by kind: float64, int64, 0 or 1; zero for text and points without a value
    int64_t maximum
    int64_t sum_high            # number: float64, rounded sum; integer and boolean: high half of an int128
    int64_t sum_low             # number: float64, what the rounding lost; integer and boolean: low half
    int64_t first
    int64_t last
    uint32_t count
    uint32_t flags              # STATS_*


# Fill in the statistics of 1 to 1,024 points of one kind, which are in time order.
cdef void block_stats(const Columns* columns, uint8_t kind, BlockStats* stats) noexcept nogil
