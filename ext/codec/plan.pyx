"""How the residuals of an integer block are packed: their common divisor, and the window of values that gives the smallest size.

Candidate forms are estimated on a sample, and the winner is planned on all of its values.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

from tsengine.core.codec.dispatch cimport bit_length, kernels
from tsengine.core.limits cimport BLOCK_POINTS

cdef enum:
    # Bits that a patched value must save beyond its own: the time of one patch against that of a wider unpack.
    PATCH_PENALTY = 2
    # Candidates are compared on every fifth value of a long block; the winner is planned on all. Odd, so that patterns of a power of
    # two are seen whole.
    SAMPLE_STEP = 5
    MEDIAN_SAMPLES = 15
    DIVISOR_SAMPLES = 12


cdef uint64_t divisor_of(uint64_t a, uint64_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a


cdef inline uint64_t magnitude(int64_t value) noexcept nogil:
    return 0 - <uint64_t> value if value < 0 else <uint64_t> value


cdef uint64_t common_divisor(const int64_t* values, int32_t n, int64_t* scaled) noexcept nogil:
    cdef int32_t i, sample
    cdef uint64_t divisor = 0
    for sample in range(DIVISOR_SAMPLES):
        divisor = divisor_of(magnitude(values[sample * n // DIVISOR_SAMPLES]), divisor)
        if divisor == 1:
            return 1
    if divisor == 0:
        i = 0
        while values[i] == 0:
            i += 1
        divisor = magnitude(values[i])
    while divisor > 1:
        i = kernels.divide(values, n, divisor, scaled)
        if i == n:
            return divisor
        divisor = divisor_of(magnitude(values[i]), divisor)
    return 1


cdef int64_t median(const int64_t* values, int32_t n) noexcept nogil:
    cdef int64_t[MEDIAN_SAMPLES] sorted_values
    cdef int64_t value
    cdef int32_t i, j, count = MEDIAN_SAMPLES if n >= MEDIAN_SAMPLES else n
    for i in range(count):
        value = values[i * n // count]
        j = i
        while j > 0 and sorted_values[j - 1] > value:
            sorted_values[j] = sorted_values[j - 1]
            j -= 1
        sorted_values[j] = value
    return sorted_values[count // 2]


cdef inline int64_t patch_bits(int32_t count, int32_t n, int32_t high_width) noexcept nogil:
    cdef int32_t packed = count * bit_length(<uint64_t> (n - 1))     # their positions, which may be a bitmap as well
    return 24 + (n if n < packed else packed) + count * (high_width + PATCH_PENALTY)


# Improve the plan of n values, of which these are every step-th, by a narrower window above or around `anchor`, if the values outside
# are few enough. Only widths that some value needs are tried: those between them cost more.
cdef void plan_windows(
    const int64_t* values, int32_t count, int32_t step, int32_t n, int64_t anchor, bint is_centred, Plan* plan
) noexcept nogil:
    cdef uint64_t[BLOCK_POINTS] codes
    cdef uint64_t inside = kernels.window_codes(values, count, anchor, is_centred, codes)
    cdef int32_t top = bit_length(inside), width = top, outside = 0
    cdef int64_t bits
    while True:
        bits = <int64_t> n * width
        if outside:
            bits += patch_bits(outside * step, n, top - width + 1)
        if bits < plan.bits:
            plan.bits = bits
            plan.width = width
            plan.base = anchor
            plan.is_centred = is_centred
            if is_centred and width:
                plan.base = <int64_t> (<uint64_t> anchor - (<uint64_t> 1 << (width - 1)))
        if width == 0:
            return
        outside = kernels.window_outside(codes, count, width - 1, &inside)
        if outside * step > n // 4:
            return
        width = bit_length(inside)


# The whole range, without patches.
cdef inline void plan_range(int64_t low, int64_t high, int32_t n, Plan* plan) noexcept nogil:
    plan.low = low
    plan.full_width = bit_length(<uint64_t> high - <uint64_t> low)
    plan.base = low
    plan.width = plan.full_width
    plan.bits = <int64_t> n * plan.width
    plan.is_centred = False


cdef void plan_sample(const int64_t* values, int32_t n, int64_t low, int64_t high, Plan* plan) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] sample
    cdef int32_t i, count = n, step = 1
    plan_range(low, high, n, plan)
    if plan.width == 0:
        return
    if n >= 256:
        step = SAMPLE_STEP
        count = (n + step - 1) // step
        for i in range(count):
            sample[i] = values[i * step]
        plan_windows(sample, count, step, n, low, False, plan)
        plan_windows(sample, count, step, n, median(values, n), True, plan)
    else:
        plan_windows(values, n, 1, n, low, False, plan)
        plan_windows(values, n, 1, n, median(values, n), True, plan)


cdef void plan_all(const int64_t* values, int32_t n, Plan* plan) noexcept nogil:
    cdef bint is_centred = plan.is_centred
    plan.base = plan.low
    plan.width = plan.full_width
    plan.bits = <int64_t> n * plan.width
    plan.is_centred = False
    if plan.width:
        plan_windows(values, n, 1, n, median(values, n) if is_centred else plan.low, is_centred, plan)
