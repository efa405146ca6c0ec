# The kernels of this CPU, chosen once at import. See packing_kernels.h, integer_kernels.h and number_kernels.h for what each computes.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "codec/table.h" nogil:
    ctypedef struct Kernels:
        const char* name
        int64_t (*pack)(const int64_t* values, int32_t n, int64_t base, int32_t width, uint8_t* out) noexcept nogil
        void (*unpack)(const uint8_t* data, int32_t n, int32_t width, uint64_t scale, uint64_t base, int64_t* out) noexcept nogil
        void (*unpack_words)(const uint8_t* data, int32_t n, int32_t width, uint32_t* out) noexcept nogil
        void (*prefix_words)(uint32_t* words, int32_t n, uint32_t step) noexcept nogil
        void (*line_words)(
            const uint32_t* words, int32_t n, uint64_t slope, uint32_t scale, uint64_t base, int64_t* out
        ) noexcept nogil
        void (*range)(const int64_t* values, int32_t n, int64_t* low, int64_t* high) noexcept nogil
        void (*difference)(const int64_t* values, int32_t n, int64_t* out) noexcept nogil
        int32_t (*is_regular)(const int64_t* values, int32_t n, int64_t step) noexcept nogil
        int32_t (*changes)(const int64_t* values, int32_t n) noexcept nogil
        int64_t (*slope)(const int64_t* values, int32_t n) noexcept nogil
        void (*line_subtract)(const int64_t* values, int32_t n, int64_t slope, int64_t* out) noexcept nogil
        void (*line_add)(int64_t* values, int32_t n, int64_t slope) noexcept nogil
        void (*shift)(const int64_t* values, int32_t n, int64_t base, int64_t* out) noexcept nogil
        int32_t (*divide)(const int64_t* values, int32_t n, uint64_t divisor, int64_t* out) noexcept nogil
        void (*scale)(int64_t* values, int32_t n, uint64_t scale, uint64_t base) noexcept nogil
        void (*ramp)(int64_t start, int64_t step, int32_t n, int64_t* out) noexcept nogil
        void (*grid)(
            int64_t origin, int64_t step, uint32_t fraction, uint32_t phase, uint64_t divisor, int32_t n, int64_t* out
        ) noexcept nogil
        void (*prefix)(int64_t* values, int32_t n, int64_t start) noexcept nogil
        uint64_t (*window_codes)(const int64_t* values, int32_t n, int64_t anchor, int32_t centred, uint64_t* codes) noexcept nogil
        int32_t (*window_outside)(const uint64_t* codes, int32_t n, int32_t width, uint64_t* inside) noexcept nogil
        int32_t (*decimal_encode)(
            const double* values, int32_t n, int32_t exponent, int32_t single, int64_t* out, uint64_t* wrong
        ) noexcept nogil
        void (*decimal_decode)(const int64_t* values, int32_t n, int32_t exponent, int32_t single, double* out) noexcept nogil
        void (*decimal_words)(
            const int32_t* words, int32_t n, double origin, double scale, int32_t exponent, double* out
        ) noexcept nogil
        void (*ordered_encode)(const double* values, int32_t n, int64_t* out) noexcept nogil
        void (*ordered_decode)(const int64_t* values, int32_t n, double* out) noexcept nogil
        int32_t (*single_encode)(const double* values, int32_t n, int64_t* out) noexcept nogil
        void (*single_decode)(const int64_t* values, int32_t n, double* out) noexcept nogil
        int32_t (*lookup)(const int64_t* codes, int32_t n, const double* table, int32_t count, double* out) noexcept nogil
        int32_t (*split_encode)(
            const double* values, int32_t n, int32_t width, const uint16_t* lefts, int32_t count,
            int64_t* rights, int64_t* codes, uint16_t* wrong
        ) noexcept nogil
        void (*split_decode)(
            const int64_t* rights, const int64_t* codes, int32_t n, int32_t width, const uint16_t* lefts, double* out
        ) noexcept nogil

    const double DECIMAL_LIMIT
    const double* POWER
    int32_t bit_length(uint64_t value)
    uint64_t low_bits(int32_t width)
    int64_t packed_bytes(int32_t n, int32_t width)
    bint uses_lanes(int32_t n, int32_t width)
    uint64_t packed_at(const uint8_t* data, int32_t n, int32_t width, int32_t in_lanes, int32_t i)
    bint is_decimal(double value, int32_t exponent, int32_t single)


cdef const Kernels* kernels
