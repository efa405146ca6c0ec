"""The smallest and the largest value of each of many equal parts of the time, found by block statistics."""

from libc.stdint cimport int64_t

from tsengine.core.limits cimport BLOCK_POINTS
from tsengine.core.store.direct cimport BlockSource, DirectFault
from tsengine.core.store.scan cimport SeriesScan


cdef struct Decoded:
    int64_t ref                     # number of the block in the scan, or -1
    int64_t[BLOCK_POINTS] time
    int64_t[BLOCK_POINTS] bits
    int64_t[BLOCK_POINTS] key       # integers in the order of the values; equal ones for 0.0 and -0.0


cdef struct Extreme:
    # The largest key of a part and the first point that has it; the smallest is the largest of the keys' complements.
    int64_t ref                     # -1: the part has no point yet
    int64_t place                   # in the block; -1: known when it is decoded
    int64_t key


cdef DirectFault decode_ref(SeriesScan scan, const BlockSource* sources, int64_t ref, Decoded* into) noexcept nogil
