"""Times and values of sealed blocks alone, straight into arrays."""

from libc.stdint cimport int32_t, int64_t, uint8_t

from tsengine.core.codec.integer cimport IntegerProbe
from tsengine.core.store.segment cimport Segment, SegmentFooter


cdef struct BlockSource:
    # What a loop without the GIL needs of a segment; the Segment has to be kept meanwhile.
    const SegmentFooter* footer
    const uint8_t* data
    bint has_hidden             # points of it may be hidden


cdef enum DirectFault:
    DIRECT_GOOD = 0
    DIRECT_CHECKSUM = 1
    DIRECT_HEADER = 2
    DIRECT_TIME = 3
    DIRECT_VALUE = 4
    DIRECT_ORDER = 5

# Decode a block's times (unless NULL) and values (unless NULL) of a number, integer or boolean series; both arrays have room for
# BLOCK_POINTS. Times are checked to ascend, and to be those of the directory.
cdef DirectFault direct_decode(
    const BlockSource* source, int64_t block, uint8_t kind, int64_t* time, int64_t* value
) noexcept nogil

# Add to `count` how many numbers of a block are within inclusive bounds (NaN is not); decimals are compared as integers.
cdef DirectFault direct_between(
    const BlockSource* source, int64_t block, double low, double high, int64_t* count
) noexcept nogil

# Set a probe of a block's times and return 1, or return 0 where they have to be decoded. The block's checksum is not looked at.
cdef int direct_probe(const BlockSource* source, int64_t block, IntegerProbe* probe) noexcept nogil

# Raise the error of a fault.
cdef int direct_raise(Segment segment, int64_t block, DirectFault fault) except -1
