# How the residuals of an integer block are packed.

from libc.stdint cimport int32_t, int64_t, uint64_t

# One candidate.
cdef struct Plan:
    int64_t low         # of all values
    int32_t full_width  # bits of the whole range
    int64_t base        # value that is packed as 0
    int32_t width       # bits of a packed residual
    int64_t bits        # estimated size
    bint is_centred     # the window lies around the median, not above the lowest value

# The largest divisor of all values (not all are 0). Leaves values / divisor in `scaled` when it is above 1.
cdef uint64_t common_divisor(const int64_t* values, int32_t n, int64_t* scaled) noexcept nogil

# Estimate a candidate, whose lowest and highest value are known, on a sample.
cdef void plan_sample(const int64_t* values, int32_t n, int64_t low, int64_t high, Plan* plan) noexcept nogil

# Plan the winner on all values, with the kind of window that was best on the sample.
cdef void plan_all(const int64_t* values, int32_t n, Plan* plan) noexcept nogil
