# Blocks of float64 values to bytes and back, every bit pattern kept. Format: docs/format/block-codecs.md.
# n is 1 to BLOCK_POINTS everywhere.

from libc.stdint cimport int32_t, int64_t, uint8_t

from tsengine.core.codec.integer cimport Narrow

# How the values are written. Stored: never renumber.
cdef enum Mode:
    MODE_BITS = 0           # bit patterns in order, as an integer block
    MODE_SINGLE = 1         # the same of float32
    MODE_DECIMAL = 2        # integers d, v = d / 10^exponent
    MODE_DECIMAL_SINGLE = 3  # the same, rounded to float32
    MODE_DICTIONARY = 4     # distinct values, and an integer block of indexes
    MODE_SPLIT = 5          # few left parts, and raw bits at the right
    MODE_MASK = 7

# Bits of the first byte beside the mode. Stored.
cdef enum:
    EXPONENT_SHIFT = 3
    EXPONENT_MASK = 120
    FLAG_PATCHED = 128      # decimals and split: some values are stored apart

# Largest encoded size in bytes.
cdef int64_t number_bound(int32_t n) noexcept nogil

# Returns the bytes written; `out` holds number_bound(n). `exponent_hint` is the decimal exponent of the series' last block
# (-1: none) and takes that of this one; it saves a search and never changes the bytes.
cdef int64_t number_encode(const double* values, int32_t n, uint8_t* out, int32_t* exponent_hint) noexcept nogil

# Returns the bytes consumed, or -1 when they are damaged; `out` has room for BLOCK_POINTS values whatever n is.
cdef int64_t number_decode(const uint8_t* data, int64_t size, double* out, int32_t n) noexcept nogil

# The same integers in words of 32 bits, where integer_narrow gives them and all are below 2^51 in magnitude: returns the bytes
# consumed, or -1.
cdef int64_t number_narrow(const uint8_t* data, int64_t size, int32_t n, int32_t* words, Narrow* narrow, int32_t* exponent) noexcept nogil

# The integers d of a block of decimals d / 10^exponent without patches: returns the bytes consumed, or -1 if it is no such block or
# damaged; `out` has room for BLOCK_POINTS values.
cdef int64_t number_decode_integers(const uint8_t* data, int64_t size, int64_t* out, int32_t n, int32_t* exponent) noexcept nogil

# Integers in the order of the values (see number_key) of a block of float64 bit patterns: returns the bytes consumed, or -1 if it is no
# such block or damaged; `out` has room for BLOCK_POINTS values.
cdef int64_t number_decode_keys(const uint8_t* data, int64_t size, int64_t* out, int32_t n) noexcept nogil

# The key of a bound: of keys from that of a lower one to that of an upper one the values are within both; NaN never is.
cdef int64_t number_key(double bound, bint is_upper) noexcept nogil

# The smallest d whose d / 10^exponent, correctly rounded, is at least `bound` (no NaN); beyond 2^51 in magnitude it may be cut.
cdef int64_t decimal_from(double bound, int32_t exponent) noexcept nogil
