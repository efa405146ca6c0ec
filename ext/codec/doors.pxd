"""The block codecs as Python sees them."""

from libc.stdint cimport int32_t, int64_t, uint8_t


cdef class Codec:
    """One codec: of int64 or of float64 values."""

    cdef readonly str name
    cdef object dtype
    cdef bint is_number

    cdef int64_t bound(self, int32_t n) noexcept nogil
    cdef int64_t encode_block(self, const uint8_t* values, int32_t n, uint8_t* out, int32_t* exponent_hint) noexcept nogil
    cdef int64_t decode_block(self, const uint8_t* data, int64_t size, uint8_t* out, int32_t n) noexcept nogil
    cdef object checked(self, data)
