"""Times and values of sealed blocks alone, straight into arrays: what numbers are made of, without sequences and strings."""

from libc.math cimport INFINITY, nextafter
from libc.stdint cimport int32_t, int64_t, uint8_t

from tsengine.core.codec.crc32c cimport crc32c
from tsengine.core.codec.integer cimport IntegerProbe, integer_decode, integer_probe
from tsengine.core.codec.number cimport decimal_from, number_decode, number_decode_integers
from tsengine.core.limits cimport BLOCK_POINTS, KIND_NUMBER
from tsengine.core.store.block cimport STREAM_COUNT, STREAM_TIME, STREAM_VALUE, find_streams
from tsengine.core.store.reduce cimport reducers
from tsengine.core.store.segment cimport Segment

FAULTS = {
    DIRECT_HEADER: "wrong header stream",
    DIRECT_TIME: "wrong time stream",
    DIRECT_VALUE: "wrong value stream",
    DIRECT_ORDER: "times that are not in order or not those of its directory entry",
}


cdef DirectFault direct_decode(
    const BlockSource* source, int64_t block, uint8_t kind, int64_t* time, int64_t* value
) noexcept nogil:
    cdef int64_t start[STREAM_COUNT]
    cdef int64_t length[STREAM_COUNT]
    cdef const uint8_t* data = source.data + source.footer.offset[block]
    cdef int64_t size = source.footer.length[block], used
    cdef int32_t n = source.footer.count[block]
    if crc32c(data, size, 0) != source.footer.crc[block]:
        return DIRECT_CHECKSUM
    if not find_streams(data, size, start, length):
        return DIRECT_HEADER
    if time != NULL:
        if integer_decode(data + start[STREAM_TIME], length[STREAM_TIME], time, n) != length[STREAM_TIME]:
            return DIRECT_TIME
        if not reducers.ascends(time, n) or time[0] != source.footer.first_time[block] or time[n - 1] != source.footer.last_time[block]:
            return DIRECT_ORDER
    if value != NULL:
        if kind == KIND_NUMBER:
            used = number_decode(data + start[STREAM_VALUE], length[STREAM_VALUE], <double*> value, n)
        else:
            used = integer_decode(data + start[STREAM_VALUE], length[STREAM_VALUE], value, n)
        if used != length[STREAM_VALUE]:
            return DIRECT_VALUE
    return DIRECT_GOOD


cdef DirectFault direct_between(
    const BlockSource* source, int64_t block, double low, double high, int64_t* count
) noexcept nogil:
    cdef int64_t start[STREAM_COUNT]
    cdef int64_t length[STREAM_COUNT]
    cdef int64_t[BLOCK_POINTS] cells
    cdef const uint8_t* data = source.data + source.footer.offset[block]
    cdef int64_t size = source.footer.length[block]
    cdef int32_t n = source.footer.count[block], exponent
    if crc32c(data, size, 0) != source.footer.crc[block]:
        return DIRECT_CHECKSUM
    if not find_streams(data, size, start, length):
        return DIRECT_HEADER
    if number_decode_integers(data + start[STREAM_VALUE], length[STREAM_VALUE], cells, n, &exponent) == length[STREAM_VALUE]:
        count[0] += reducers.integer_between(
            cells, n, decimal_from(low, exponent), decimal_from(nextafter(high, INFINITY), exponent) - 1
        )
        return DIRECT_GOOD
    if number_decode(data + start[STREAM_VALUE], length[STREAM_VALUE], <double*> cells, n) != length[STREAM_VALUE]:
        return DIRECT_VALUE
    count[0] += reducers.between(<double*> cells, n, low, high)
    return DIRECT_GOOD


cdef int direct_probe(const BlockSource* source, int64_t block, IntegerProbe* probe) noexcept nogil:
    cdef int64_t start[STREAM_COUNT]
    cdef int64_t length[STREAM_COUNT]
    cdef const uint8_t* data = source.data + source.footer.offset[block]
    if not find_streams(data, source.footer.length[block], start, length):
        return 0
    return integer_probe(data + start[STREAM_TIME], length[STREAM_TIME], source.footer.count[block], probe)


cdef int direct_raise(Segment segment, int64_t block, DirectFault fault) except -1:
    if fault == DIRECT_CHECKSUM:
        segment.check_block(block)
    raise segment.damaged("block", segment.footer.offset[block], FAULTS[<int> fault])
