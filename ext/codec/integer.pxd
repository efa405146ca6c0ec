# Blocks of int64 values (integers, times, codes) to bytes and back. Format: docs/format/block-codecs.md.
# n is 1 to BLOCK_POINTS everywhere.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t

# Largest encoded size in bytes.
cdef int64_t integer_bound(int32_t n) noexcept nogil

# Returns the bytes written; `out` holds integer_bound(n).
cdef int64_t integer_encode(const int64_t* values, int32_t n, uint8_t* out) noexcept nogil

# Returns the bytes consumed, or -1 when they are damaged; `out` has room for BLOCK_POINTS values whatever n is.
cdef int64_t integer_decode(const uint8_t* data, int64_t size, int64_t* out, int32_t n) noexcept nogil

# What the 32-bit words of a narrow block mean: value i is origin + scale * words[i].
cdef struct Narrow:
    int64_t origin
    int64_t scale

# A block whose values lie so near to one another that 32 bits hold them, of form base or delta without patches: half the memory of
# the values, and twice as many in a register. Returns the bytes consumed, or -1 if it is no such block or damaged; `words` has room
# for BLOCK_POINTS. Nothing overflows, and no value is as far as 2^62 from 0.
cdef int64_t integer_narrow(const uint8_t* data, int64_t size, int32_t n, int32_t* words, Narrow* narrow) noexcept nogil

# A block whose values can be read one by one, without decoding it: forms base and line without patches.
cdef struct IntegerProbe:
    const uint8_t* packed
    int32_t n
    int32_t width       # 0: every residual is 0
    int32_t in_lanes
    int64_t origin
    int64_t slope       # 0 for form base
    uint64_t divisor

# Return 1 and set the probe (the data has to stay), or return 0 if it is no such block or damaged.
cdef int integer_probe(const uint8_t* data, int64_t size, int32_t n, IntegerProbe* probe) noexcept nogil

# Return value i, 0 to n - 1.
cdef int64_t integer_at(const IntegerProbe* probe, int32_t i) noexcept nogil

# Ascending positions below n, as a bitmap or packed, whichever is smaller. Shared with the number codec.
cdef int64_t positions_encode(const uint16_t* positions, int32_t count, int32_t n, uint8_t* out) noexcept nogil
cdef int64_t positions_decode(const uint8_t* data, int64_t size, int32_t count, int32_t n, uint16_t* positions) noexcept nogil
cdef int64_t positions_bits(int32_t count, int32_t n) noexcept nogil

# The border of the Python-visible doors.
cdef object integer_describe(const uint8_t* data, int64_t size)
