# Blocks of int64 values (integers, times, codes) to bytes and back. Format: docs/format/block-codecs.md.
# n is 1 to BLOCK_POINTS everywhere.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

# What was subtracted. Stored: never renumber.
cdef enum Form:
    FORM_BASE = 0       # x[i] = origin + r[i]
    FORM_DELTA = 1      # x[i] = x[i-1] + r[i]
    FORM_TURN = 2       # x[i] = 2 x[i-1] - x[i-2] + r[i] (delta of delta)
    FORM_LINE = 3       # x[i] = origin + i * slope / 65536 + r[i]
    FORM_RUNS = 4       # values and lengths of runs, each an integer block of another form
    FORM_GRID = 5       # x[i] = origin + i * (step + fraction / 2^32), rounded down
    FORM_MASK = 7

# Bits of the first byte beside the form. Stored.
cdef enum Flag:
    FLAG_PACKED = 8     # residuals have a width; without it they are all 0
    FLAG_SCALED = 16    # residuals are multiples of a divisor above 1
    FLAG_PATCHED = 32   # some residuals have more bits than the width
    FLAG_UNKNOWN = 192

# The parsed first part of a block that is not FORM_RUNS.
cdef struct Header:
    uint8_t form
    uint8_t flags
    uint8_t width
    uint8_t high_width
    uint64_t divisor
    int64_t origin
    int64_t step        # FORM_TURN: the first difference; FORM_GRID: whole part of the slope
    uint32_t fraction   # FORM_GRID: of the slope, 1/2^32
    uint32_t phase      # FORM_GRID: what the first value has beyond the origin, 1/2^32
    int64_t base        # FORM_DELTA, FORM_TURN: the residual that is packed as 0, in units of the divisor
    int64_t slope
    uint64_t patched

# Returns the first byte after the header, or NULL.
cdef const uint8_t* header_decode(const uint8_t* data, const uint8_t* end, Header* header) noexcept nogil

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
