# The small fields of encoded blocks: little-endian base-128 varints, zigzag for signed ones. Reading never passes `end`.

from libc.stdint cimport int64_t, uint8_t, uint64_t


cdef inline uint64_t zigzag(int64_t value) noexcept nogil:
    return (<uint64_t> value << 1) ^ <uint64_t> (value >> 63)


cdef inline int64_t unzigzag(uint64_t value) noexcept nogil:
    return <int64_t> ((value >> 1) ^ (0 - (value & 1)))


# Write at most 10 bytes; returns the end of what was written.
cdef inline uint8_t* put_varint(uint8_t* out, uint64_t value) noexcept nogil:
    while value >= 128:
        out[0] = <uint8_t> (value | 128)
        out += 1
        value >>= 7
    out[0] = <uint8_t> value
    return out + 1


# Returns the byte after the field, or NULL when it is cut off or has more than 64 bits. A NULL cursor stays NULL, so that several
# fields can be read before one check.
cdef inline const uint8_t* get_varint(const uint8_t* cursor, const uint8_t* end, uint64_t* value) noexcept nogil:
    cdef uint64_t result = 0
    cdef uint8_t byte
    cdef int shift = 0
    value[0] = 0
    if cursor == NULL:
        return NULL
    while cursor < end and shift < 70:
        byte = cursor[0]
        cursor += 1
        if shift == 63 and byte > 1:
            return NULL
        result |= <uint64_t> (byte & 127) << shift
        if byte < 128:
            value[0] = result
            return cursor
        shift += 7
    return NULL


cdef inline const uint8_t* get_signed(const uint8_t* cursor, const uint8_t* end, int64_t* value) noexcept nogil:
    cdef uint64_t raw
    cursor = get_varint(cursor, end, &raw)
    value[0] = unzigzag(raw)
    return cursor


cdef inline const uint8_t* get_byte(const uint8_t* cursor, const uint8_t* end, uint8_t* value) noexcept nogil:
    value[0] = 0
    if cursor == NULL or cursor >= end:
        return NULL
    value[0] = cursor[0]
    return cursor + 1
