/* The table of kernels that a CPU target fills, and the small rules that kernels and formats share. */
#ifndef TSENGINE_CODEC_TABLE_H
#define TSENGINE_CODEC_TABLE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tsengine stores little-endian words and needs a little-endian CPU"
#endif
#if UINTPTR_MAX < UINT64_MAX
#error "tsengine maps whole files and needs a 64-bit system"
#endif

#define KERNEL_BLOCK 1024  /* BLOCK_POINTS of limits.pxd: the room of every array that a kernel writes */
#define KERNEL_DECIMAL_MAX 15  /* largest decimal exponent; the proof in decimal_quotient needs 10^k < 2^53 / 3 */

/* Unaligned words inside encoded bytes. */
typedef uint32_t word32 __attribute__((aligned(1), may_alias));
typedef uint64_t word64 __attribute__((aligned(1), may_alias));
/* Four words beside one another, anywhere in memory. */
typedef uint64_t four64 __attribute__((vector_size(32), aligned(1), may_alias));

/* Eight integers of 32 bits side by side, at any address. */
typedef uint32_t eight_words __attribute__((vector_size(32), aligned(4), may_alias));

/* Eight of the words of two vectors, by their places: 0 to 7 in the first, 8 to 15 in the second. */
#ifdef __clang__
#define EIGHT_WORDS_OF(first, second, ...) __builtin_shufflevector(first, second, __VA_ARGS__)
#else
#define EIGHT_WORDS_OF(first, second, ...) __builtin_shuffle(first, second, (eight_words){__VA_ARGS__})
#endif

typedef struct {
    const char *name;
    int64_t (*pack)(const int64_t *values, int32_t n, int64_t base, int32_t width, uint8_t *out);
    void (*unpack)(const uint8_t *data, int32_t n, int32_t width, uint64_t scale, uint64_t base, int64_t *out);
    void (*unpack_words)(const uint8_t *data, int32_t n, int32_t width, uint32_t *out);
    void (*prefix_words)(uint32_t *words, int32_t n, uint32_t step);
    void (*line_words)(const uint32_t *words, int32_t n, uint64_t slope, uint32_t scale, uint64_t base, int64_t *out);
    void (*range)(const int64_t *values, int32_t n, int64_t *low, int64_t *high);
    void (*difference)(const int64_t *values, int32_t n, int64_t *out);
    int32_t (*is_regular)(const int64_t *values, int32_t n, int64_t step);
    int32_t (*changes)(const int64_t *values, int32_t n);
    int64_t (*slope)(const int64_t *values, int32_t n);
    void (*line_subtract)(const int64_t *values, int32_t n, int64_t slope, int64_t *out);
    void (*line_add)(int64_t *values, int32_t n, int64_t slope);
    void (*shift)(const int64_t *values, int32_t n, int64_t base, int64_t *out);
    int32_t (*divide)(const int64_t *values, int32_t n, uint64_t divisor, int64_t *out);
    void (*scale)(int64_t *values, int32_t n, uint64_t scale, uint64_t base);
    void (*ramp)(int64_t start, int64_t step, int32_t n, int64_t *out);
    void (*grid)(int64_t origin, int64_t step, uint32_t fraction, uint32_t phase, uint64_t divisor, int32_t n, int64_t *out);
    void (*prefix)(int64_t *values, int32_t n, int64_t start);
    uint64_t (*window_codes)(const int64_t *values, int32_t n, int64_t anchor, int32_t centred, uint64_t *codes);
    int32_t (*window_outside)(const uint64_t *codes, int32_t n, int32_t width, uint64_t *inside);
    int32_t (*decimal_encode)(const double *values, int32_t n, int32_t exponent, int32_t single, int64_t *out, uint64_t *wrong);
    void (*decimal_decode)(const int64_t *values, int32_t n, int32_t exponent, int32_t single, double *out);
    void (*decimal_words)(const int32_t *words, int32_t n, double origin, double scale, int32_t exponent, double *out);
    void (*ordered_encode)(const double *values, int32_t n, int64_t *out);
    void (*ordered_decode)(const int64_t *values, int32_t n, double *out);
    int32_t (*single_encode)(const double *values, int32_t n, int64_t *out);
    void (*single_decode)(const int64_t *values, int32_t n, double *out);
    int32_t (*lookup)(const int64_t *codes, int32_t n, const double *table, int32_t count, double *out);
    int32_t (*split_encode)(const double *values, int32_t n, int32_t width, const uint16_t *lefts, int32_t count, int64_t *rights,
                            int64_t *codes, uint16_t *wrong);
    void (*split_decode)(const int64_t *rights, const int64_t *codes, int32_t n, int32_t width, const uint16_t *lefts, double *out);
} Kernels;

static inline int32_t bit_length(uint64_t value) {
    return value ? 64 - __builtin_clzll(value) : 0;
}

static inline uint64_t low_bits(int32_t width) {
    return width >= 64 ? ~0ull : (1ull << width) - 1;
}

/* Bytes of n values of `width` bits packed in lanes: whole rows, cut after the last word row that is needed. */
static inline int64_t lane_bytes(int32_t n, int32_t width) {
    int32_t lanes = width <= 32 ? 32 : 16, word_bits = width <= 32 ? 32 : 64;
    int32_t rows = (n + lanes - 1) / lanes;
    return (int64_t)((rows * width + word_bits - 1) / word_bits) * 128;
}

/* Lanes decode fastest, but round up to rows: they are used where that costs at most an eighth, never for short blocks. */
static inline int uses_lanes(int32_t n, int32_t width) {
    return n >= 256 && 8 * lane_bytes(n, width) <= 9 * (((int64_t)n * width + 7) / 8);
}

static inline int64_t packed_bytes(int32_t n, int32_t width) {
    return uses_lanes(n, width) ? lane_bytes(n, width) : ((int64_t)n * width + 7) / 8;
}

/* Packed value i, without unpacking the others; nothing beyond the packed_bytes(n, width) bytes is read. */
static inline uint64_t packed_at(const uint8_t *data, int32_t n, int32_t width, int32_t in_lanes, int32_t i) {
    uint64_t low = 0, high = 0;
    if (in_lanes && width <= 32) {
        int32_t bit = i / 32 * width, shift = bit % 32;
        const uint8_t *word = data + bit / 32 * 128 + i % 32 * 4;
        memcpy(&low, word, 4);
        if (shift + width > 32)
            memcpy(&high, word + 128, 4);
        return (low >> shift | high << (32 - shift)) & low_bits(width);
    }
    if (in_lanes) {
        int32_t bit = i / 16 * width, shift = bit % 64;
        const uint8_t *word = data + bit / 64 * 128 + i % 16 * 8;
        memcpy(&low, word, 8);
        if (shift + width > 64)
            memcpy(&high, word + 128, 8);
        return (low >> shift | (shift ? high << (64 - shift) : 0)) & low_bits(width);
    }
    int32_t bit = i * width, size = (n * width + 7) / 8 - (bit >> 3), shift = bit & 7;
    memcpy(&low, data + (bit >> 3), (size_t)(size < 8 ? size : 8));
    if (size > 8 && shift)
        high = (uint64_t)data[(bit >> 3) + 8] << (64 - shift);
    return (low >> shift | high) & low_bits(width);
}

static const double POWER[KERNEL_DECIMAL_MAX + 1] = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
static const double RECIPROCAL[KERNEL_DECIMAL_MAX + 1] = {
    1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15};

static inline uint64_t double_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, 8);
    return bits;
}

static inline double bits_double(uint64_t bits) {
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

/* Adding 1.5 * 2^52 leaves an integer below 2^51 in the low bits of the sum, rounded to nearest: a conversion in both
 * directions that vectorises where the CPU has none for 64-bit integers. */
#define ROUNDING_SHIFT 6755399441055744.0
#define ROUNDING_BITS 0x4338000000000000ull
#define DECIMAL_LIMIT 2251799813685248.0 /* 2^51 */
#define DECIMAL_LIMIT_BITS 0x4320000000000000ull

static inline double integer_double(int64_t value) {
    return bits_double((uint64_t)value + ROUNDING_BITS) - ROUNDING_SHIFT;
}

static inline int64_t double_integer(double value) {
    return (int64_t)(double_bits(value + ROUNDING_SHIFT) - ROUNDING_BITS);
}

/* Whether `value` is d / 10^exponent for an integer d below 2^51 (as a float32 first, when `single`). */
static inline int is_decimal(double value, int32_t exponent, int32_t single) {
    double scaled = value * POWER[exponent];
    if (!(fabs(scaled) < DECIMAL_LIMIT))
        return 0;
    double back = integer_double(double_integer(scaled)) / POWER[exponent];
    return double_bits(single ? (double)(float)back : back) == double_bits(value);
}

#endif
