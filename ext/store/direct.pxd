"""Times and values of sealed blocks alone, straight into arrays."""

from libc.stdint cimport int32_t, int64_t, uint8_t

from tsengine.core.codec.integer cimport Narrow
from tsengine.core.limits cimport BLOCK_POINTS
from tsengine.core.store.segment cimport Segment, SegmentFooter


cdef struct BlockSource:
    # What a loop without the GIL needs of a segment; the Segment has to be kept meanwhile.
    const SegmentFooter* footer
    const uint8_t* data
    bint has_hidden             # points of it may be hidden


# Of (Memtable or Segment, hidden intervals) each; memtables as zeros. To be freed.
cdef BlockSource* block_sources(list sources) except NULL


cdef enum DirectFault:
    DIRECT_GOOD = 0
    DIRECT_CHECKSUM = 1
    DIRECT_HEADER = 2
    DIRECT_TIME = 3
    DIRECT_VALUE = 4
    DIRECT_ORDER = 5


cdef struct DirectBlock:
    # The two streams of a block whose checksum is right.
    const uint8_t* time
    int64_t time_bytes
    const uint8_t* value
    int64_t value_bytes
    int32_t n


cdef struct BlockNumbers:
    # The numbers of a block; while they are narrow, only those that were asked for are made.
    bint is_narrow
    int32_t exponent
    Narrow narrow
    int32_t[BLOCK_POINTS] words
    double[BLOCK_POINTS] values


cdef struct DirectBounds:
    # Inclusive bounds of numbers, and as decimals of the exponent that was met last (-1: none yet).
    double low
    double high
    int32_t exponent
    int64_t decimal_low
    int64_t decimal_high

# Find the streams of a block, its checksum verified.
cdef DirectFault direct_open(const BlockSource* source, int64_t block, DirectBlock* opened) noexcept nogil

# Read the numbers of an open block of a number series.
cdef DirectFault direct_numbers(const DirectBlock* opened, BlockNumbers* numbers) noexcept nogil

# Return numbers low, low + 1, ... below high, of which there is one at least.
cdef const double* numbers_between(BlockNumbers* numbers, int64_t low, int64_t high) noexcept nogil

# Set the least and the greatest of them; none may be NaN.
cdef void numbers_range(BlockNumbers* numbers, int64_t low, int64_t high, double* least, double* greatest) noexcept nogil

# Decode a block's times (unless NULL) and values (unless NULL) of a number, integer or boolean series; both arrays have room for
# BLOCK_POINTS. Times are checked to ascend, and to be those of the directory.
cdef DirectFault direct_decode(
    const BlockSource* source, int64_t block, uint8_t kind, int64_t* time, int64_t* value
) noexcept nogil

# Add to `count` how many numbers of a block are within inclusive bounds (NaN is not); decimals are compared as integers.
cdef DirectFault direct_between(
    const BlockSource* source, int64_t block, DirectBounds* bounds, int64_t* count
) noexcept nogil

# Raise the error of a fault.
cdef int direct_raise(Segment segment, int64_t block, DirectFault fault) except -1
