"""Times and values of sealed blocks alone, straight into arrays: what numbers are made of, without sequences and strings."""

from libc.math cimport INFINITY, nextafter
from libc.stdint cimport INT32_MAX, INT32_MIN, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc

from cpython.exc cimport PyErr_NoMemory

from tsengine.core.codec.crc32c cimport crc32c
from tsengine.core.codec.dispatch cimport kernels
from tsengine.core.codec.integer cimport Narrow, integer_decode
from tsengine.core.codec.number cimport decimal_from, number_decode, number_decode_integers, number_decode_keys, number_key, number_narrow
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


cdef BlockSource* block_sources(list sources) except NULL:
    cdef BlockSource* result = <BlockSource*> calloc(max(len(sources), 1), sizeof(BlockSource))
    cdef Segment segment
    cdef int64_t i
    if result == NULL:
        PyErr_NoMemory()
    for i in range(len(sources)):
        if type(sources[i][0]) is Segment:
            segment = <Segment> sources[i][0]
            result[i].footer = &segment.footer
            result[i].data = segment.file.data
            result[i].has_hidden = len(sources[i][1]) > 0
    return result


cdef DirectFault direct_open(const BlockSource* source, int64_t block, DirectBlock* opened) noexcept nogil:
    cdef int64_t start[STREAM_COUNT]
    cdef int64_t length[STREAM_COUNT]
    cdef const uint8_t* data = source.data + source.footer.offset[block]
    cdef int64_t size = source.footer.length[block]
    if crc32c(data, size, 0) != source.footer.crc[block]:
        return DIRECT_CHECKSUM
    if not find_streams(data, size, start, length):
        return DIRECT_HEADER
    opened.time = data + start[STREAM_TIME]
    opened.time_bytes = length[STREAM_TIME]
    opened.value = data + start[STREAM_VALUE]
    opened.value_bytes = length[STREAM_VALUE]
    opened.n = source.footer.count[block]
    return DIRECT_GOOD


cdef DirectFault direct_decode(
    const BlockSource* source, int64_t block, uint8_t kind, int64_t* time, int64_t* value
) noexcept nogil:
    cdef DirectBlock opened
    cdef DirectFault fault = direct_open(source, block, &opened)
    cdef int64_t used
    if fault != DIRECT_GOOD:
        return fault
    if time != NULL:
        if integer_decode(opened.time, opened.time_bytes, time, opened.n) != opened.time_bytes:
            return DIRECT_TIME
        if (
            time[0] != source.footer.first_time[block] or time[opened.n - 1] != source.footer.last_time[block]
            or not reducers.ascends(time, opened.n)
        ):
            return DIRECT_ORDER
    if value != NULL:
        if kind == KIND_NUMBER:
            used = number_decode(opened.value, opened.value_bytes, <double*> value, opened.n)
        else:
            used = integer_decode(opened.value, opened.value_bytes, value, opened.n)
        if used != opened.value_bytes:
            return DIRECT_VALUE
    return DIRECT_GOOD


cdef DirectFault direct_numbers(const DirectBlock* opened, BlockNumbers* numbers) noexcept nogil:
    numbers.is_narrow = (
        number_narrow(opened.value, opened.value_bytes, opened.n, numbers.words, &numbers.narrow, &numbers.exponent)
        == opened.value_bytes
    )
    if not numbers.is_narrow and number_decode(opened.value, opened.value_bytes, numbers.values, opened.n) != opened.value_bytes:
        return DIRECT_VALUE
    return DIRECT_GOOD


cdef inline void widen(const BlockNumbers* numbers, const int32_t* words, int64_t n, double* values) noexcept nogil:
    kernels.decimal_words(
        words, <int32_t> n, <double> numbers.narrow.origin, <double> numbers.narrow.scale, numbers.exponent, values
    )


cdef const double* numbers_between(BlockNumbers* numbers, int64_t low, int64_t high) noexcept nogil:
    if numbers.is_narrow:
        widen(numbers, numbers.words + low, high - low, numbers.values + low)
    return numbers.values + low


cdef void numbers_range(BlockNumbers* numbers, int64_t low, int64_t high, double* least, double* greatest) noexcept nogil:
    cdef int32_t[2] words
    cdef double[2] values
    if numbers.is_narrow:       # a greater integer is a greater decimal
        reducers.word_range(numbers.words + low, high - low, &words[0], &words[1])
        widen(numbers, words, 2, values)
        least[0] = values[0]
        greatest[0] = values[1]
    else:
        reducers.range(numbers.values + low, high - low, least, greatest)


cdef inline int64_t quotient_down(int64_t value, int64_t divisor) noexcept nogil:
    """Return value / divisor, which is positive, rounded down."""
    cdef int64_t quotient = value // divisor
    return quotient - 1 if quotient * divisor > value else quotient


cdef inline int32_t as_word(int64_t value) noexcept nogil:
    return <int32_t> min(max(value, <int64_t> INT32_MIN), <int64_t> INT32_MAX)


cdef void find_decimals(DirectBounds* bounds, int32_t exponent) noexcept nogil:
    """Set the bounds in decimals of an exponent: that of the block before, mostly."""
    if exponent != bounds.exponent:
        bounds.exponent = exponent
        bounds.decimal_low = decimal_from(bounds.low, exponent)
        bounds.decimal_high = decimal_from(nextafter(bounds.high, INFINITY), exponent) - 1


cdef DirectFault direct_between(
    const BlockSource* source, int64_t block, DirectBounds* bounds, int64_t* count
) noexcept nogil:
    cdef DirectBlock opened
    cdef int64_t[BLOCK_POINTS] cells
    cdef int32_t[BLOCK_POINTS] words
    cdef Narrow narrow
    cdef int32_t exponent
    cdef DirectFault fault = direct_open(source, block, &opened)
    if fault != DIRECT_GOOD:
        return fault
    if number_narrow(opened.value, opened.value_bytes, opened.n, words, &narrow, &exponent) == opened.value_bytes:
        find_decimals(bounds, exponent)
        count[0] += reducers.word_between(
            words, opened.n, as_word(-quotient_down(narrow.origin - bounds.decimal_low, narrow.scale)),
            as_word(quotient_down(bounds.decimal_high - narrow.origin, narrow.scale))
        )
    elif number_decode_integers(opened.value, opened.value_bytes, cells, opened.n, &exponent) == opened.value_bytes:
        find_decimals(bounds, exponent)
        count[0] += reducers.integer_between(cells, opened.n, bounds.decimal_low, bounds.decimal_high)
    elif number_decode_keys(opened.value, opened.value_bytes, cells, opened.n) == opened.value_bytes:
        count[0] += reducers.integer_between(cells, opened.n, number_key(bounds.low, False), number_key(bounds.high, True))
    elif number_decode(opened.value, opened.value_bytes, <double*> cells, opened.n) == opened.value_bytes:
        count[0] += reducers.between(<double*> cells, opened.n, bounds.low, bounds.high)
    else:
        return DIRECT_VALUE
    return DIRECT_GOOD


cdef int direct_raise(Segment segment, int64_t block, DirectFault fault) except -1:
    if fault == DIRECT_CHECKSUM:
        segment.check_block(block)
    raise segment.damaged("block", segment.footer.offset[block], FAULTS[<int> fault])
