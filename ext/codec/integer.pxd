# Blocks of int64 values (integers, times, codes) to bytes and back. Format: docs/format/block-codecs.md.
# n is 1 to BLOCK_POINTS everywhere.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t

# Largest encoded size in bytes.
cdef int64_t integer_bound(int32_t n) noexcept nogil

# Returns the bytes written; `out` holds integer_bound(n).
cdef int64_t integer_encode(const int64_t* values, int32_t n, uint8_t* out) noexcept nogil

# Returns the bytes consumed, or -1 when they are damaged; `out` has room for BLOCK_POINTS values whatever n is.
cdef int64_t integer_decode(const uint8_t* data, int64_t size, int64_t* out, int32_t n) noexcept nogil

# Ascending positions below n, as a bitmap or packed, whichever is smaller. Shared with the number codec.
cdef int64_t positions_encode(const uint16_t* positions, int32_t count, int32_t n, uint8_t* out) noexcept nogil
cdef int64_t positions_decode(const uint8_t* data, int64_t size, int32_t count, int32_t n, uint16_t* positions) noexcept nogil
cdef int64_t positions_bits(int32_t count, int32_t n) noexcept nogil

# The border of the Python-visible doors.
cdef object integer_describe(const uint8_t* data, int64_t size)
