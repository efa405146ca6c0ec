/* CRC-32C (Castagnoli, reflected polynomial 0x82f63b78): eight table look-ups a word, or the CPU's instructions where it has them.
 *
 * The instruction takes one word a cycle but answers after three, so large inputs run as three streams whose registers are joined
 * by a table that advances a register over a stretch of zero bytes: 23 GB/s on one core.
 *
 * Carry-less products of 512 bits take more than twice as much. 16 bytes are a polynomial; moved forward by so many bits, that is
 * multiplied by a power of x and reduced, they may be added to the 16 bytes that lie there without changing the checksum. So all
 * input is added up into 256, then 64, then 16 bytes, and those are given to the instruction.
 */
#ifndef TSENGINE_CODEC_CRC32C_H
#define TSENGINE_CODEC_CRC32C_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__ARM_FEATURE_CRC32) || (defined(__aarch64__) && defined(__linux__) && !defined(__clang__))
#define CRC32C_ARM 1
#include <arm_acle.h>
#endif
#if defined(CRC32C_ARM) && !defined(__ARM_FEATURE_CRC32)
#include <sys/auxv.h>
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

#include "target.h"

#define CRC32C_LONG 4096 /* bytes of each of three streams; two sizes, so that middling inputs gain as well */
#define CRC32C_SHORT 256
#define CRC32C_WIDE 512 /* bytes from which folding is faster */

static uint32_t crc32c_tables[8][256];     /* [k][b]: register after byte b and k zero bytes */
static uint32_t crc32c_long[4][256];       /* [k][b]: byte b at place k of the register, after CRC32C_LONG zero bytes */
static uint32_t crc32c_short[4][256];

static inline uint64_t crc32c_word(const uint8_t *data) {
    uint64_t word;
    memcpy(&word, data, 8);
    return word;
}

static uint32_t crc32c_plain(uint32_t crc, const uint8_t *data, size_t size) {
    for (; size >= 8; data += 8, size -= 8) {
        uint64_t word = crc32c_word(data) ^ crc;
        crc = crc32c_tables[7][word & 255] ^ crc32c_tables[6][word >> 8 & 255] ^ crc32c_tables[5][word >> 16 & 255] ^
              crc32c_tables[4][word >> 24 & 255] ^ crc32c_tables[3][word >> 32 & 255] ^ crc32c_tables[2][word >> 40 & 255] ^
              crc32c_tables[1][word >> 48 & 255] ^ crc32c_tables[0][word >> 56];
    }
    for (; size; data++, size--)
        crc = crc >> 8 ^ crc32c_tables[0][(crc ^ *data) & 255];
    return crc;
}

static inline uint32_t crc32c_advance(const uint32_t table[4][256], uint32_t crc) {
    return table[0][crc & 255] ^ table[1][crc >> 8 & 255] ^ table[2][crc >> 16 & 255] ^ table[3][crc >> 24];
}

#if defined(__x86_64__) && defined(__GNUC__)
#ifdef __clang__
TARGET_PUSH("crc32") /* a feature of its own there */
#else
TARGET_PUSH("sse4.2")
#endif
#define CRC32C_STEP(crc, data) __builtin_ia32_crc32di(crc, crc32c_word(data))

static inline uint32_t crc32c_streams(uint32_t crc, const uint8_t *data, size_t stretch, const uint32_t table[4][256]) {
    uint64_t first = crc, second = 0, third = 0;
    for (size_t i = 0; i < stretch; i += 8) {
        first = CRC32C_STEP(first, data + i);
        second = CRC32C_STEP(second, data + stretch + i);
        third = CRC32C_STEP(third, data + 2 * stretch + i);
    }
    return crc32c_advance(table, crc32c_advance(table, (uint32_t)first) ^ (uint32_t)second) ^ (uint32_t)third;
}

static uint32_t crc32c_fast(uint32_t crc, const uint8_t *data, size_t size) {
    for (; size >= 3 * CRC32C_LONG; data += 3 * CRC32C_LONG, size -= 3 * CRC32C_LONG)
        crc = crc32c_streams(crc, data, CRC32C_LONG, crc32c_long);
    for (; size >= 3 * CRC32C_SHORT; data += 3 * CRC32C_SHORT, size -= 3 * CRC32C_SHORT)
        crc = crc32c_streams(crc, data, CRC32C_SHORT, crc32c_short);
    for (; size >= 8; data += 8, size -= 8)
        crc = (uint32_t)CRC32C_STEP(crc, data);
    for (; size; data++, size--)
        crc = __builtin_ia32_crc32qi(crc, *data);
    return crc;
}

#undef CRC32C_STEP
TARGET_POP

#ifdef __clang__
TARGET_PUSH("crc32,pclmul,avx512f,vpclmulqdq")
#else
TARGET_PUSH("sse4.2,pclmul,avx512f,vpclmulqdq")
#endif

/* Factors that move 16 bytes forward by so many bytes: of their first eight and of their last eight. */
static uint64_t crc32c_by_256[2], crc32c_by_64[2], crc32c_by_16[2];

static inline __m512i crc32c_fold(__m512i sum, __m512i next, __m512i factors) {
    __m512i first = _mm512_clmulepi64_epi128(sum, factors, 0x00), last = _mm512_clmulepi64_epi128(sum, factors, 0x11);
    return _mm512_ternarylogic_epi64(first, last, next, 0x96); /* a ^ b ^ c */
}

static inline __m128i crc32c_fold_16(__m128i sum, __m128i next) {
    __m128i factors = _mm_loadu_si128((const __m128i *)crc32c_by_16);
    __m128i first = _mm_clmulepi64_si128(sum, factors, 0x00), last = _mm_clmulepi64_si128(sum, factors, 0x11);
    return _mm_xor_si128(_mm_xor_si128(first, last), next);
}

static inline __m512i crc32c_four(const uint64_t factors[2]) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)factors));
}

static uint32_t crc32c_wide(uint32_t crc, const uint8_t *data, size_t size) {
    if (size < CRC32C_WIDE)
        return crc32c_fast(crc, data, size);
    __m512i by_256 = crc32c_four(crc32c_by_256), by_64 = crc32c_four(crc32c_by_64);
    __m512i sum = _mm512_xor_si512(_mm512_loadu_si512(data), _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
    __m512i second = _mm512_loadu_si512(data + 64), third = _mm512_loadu_si512(data + 128), fourth = _mm512_loadu_si512(data + 192);
    for (data += 256, size -= 256; size >= 256; data += 256, size -= 256) {
        sum = crc32c_fold(sum, _mm512_loadu_si512(data), by_256);
        second = crc32c_fold(second, _mm512_loadu_si512(data + 64), by_256);
        third = crc32c_fold(third, _mm512_loadu_si512(data + 128), by_256);
        fourth = crc32c_fold(fourth, _mm512_loadu_si512(data + 192), by_256);
    }
    sum = crc32c_fold(sum, second, by_64);
    sum = crc32c_fold(sum, third, by_64);
    sum = crc32c_fold(sum, fourth, by_64);
    for (; size >= 64; data += 64, size -= 64)
        sum = crc32c_fold(sum, _mm512_loadu_si512(data), by_64);
    __m128i rest = crc32c_fold_16(_mm512_castsi512_si128(sum), _mm512_extracti32x4_epi32(sum, 1));
    rest = crc32c_fold_16(rest, _mm512_extracti32x4_epi32(sum, 2));
    rest = crc32c_fold_16(rest, _mm512_extracti32x4_epi32(sum, 3));
    uint64_t words[2];
    _mm_storeu_si128((__m128i *)words, rest);
    _mm256_zeroupper(); /* not left to the compiler, which forgets it before the last call: everything after would take 200 ns more */
    crc = (uint32_t)__builtin_ia32_crc32di(__builtin_ia32_crc32di(0, words[0]), words[1]);
    return crc32c_fast(crc, data, size);
}

TARGET_POP

/* x to a power, modulo the polynomial, its coefficients from the highest bit down. */
static uint64_t crc32c_power(int exponent) {
    uint32_t power = 1u << 31;
    while (exponent--)
        power = power >> 1 ^ (0x82f63b78u & (0 - (power & 1)));
    return power;
}

/* The product of 64 and 32 coefficients lies 33 places too high in 128 bits; the first eight bytes are 64 places above the last. */
static void crc32c_fill_factors(uint64_t factors[2], int bytes) {
    factors[0] = crc32c_power(8 * bytes + 64 - 33);
    factors[1] = crc32c_power(8 * bytes - 33);
}

#define CRC32C_HAS_WIDE (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("pclmul"))
#define CRC32C_HAS_FAST __builtin_cpu_supports("sse4.2")
#elif defined(CRC32C_ARM)
#ifdef __ARM_FEATURE_CRC32
#define CRC32C_HAS_FAST 1 /* as on every Mac */
#else /* an option of the first ARMv8 */
#define CRC32C_HAS_FAST (getauxval(AT_HWCAP) & HWCAP_CRC32)
TARGET_PUSH("+crc")
#endif
static uint32_t crc32c_fast(uint32_t crc, const uint8_t *data, size_t size) {
    for (; size >= 8; data += 8, size -= 8)
        crc = __crc32cd(crc, crc32c_word(data));
    for (; size; data++, size--)
        crc = __crc32cb(crc, *data);
    return crc;
}
#ifndef __ARM_FEATURE_CRC32
TARGET_POP
#endif
#else
#define crc32c_fast crc32c_plain
#define CRC32C_HAS_FAST 0
#endif

typedef uint32_t (*crc32c_update)(uint32_t crc, const uint8_t *data, size_t size);

/* Fill the tables and choose; TSENGINE_CPU=baseline asks for the tables. */
static crc32c_update crc32c_choose(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78u & (0 - (crc & 1)));
        crc32c_tables[0][byte] = crc;
    }
    for (int k = 1; k < 8; k++)
        for (uint32_t byte = 0; byte < 256; byte++)
            crc32c_tables[k][byte] = crc32c_tables[k - 1][byte] >> 8 ^ crc32c_tables[0][crc32c_tables[k - 1][byte] & 255];
    static const uint8_t zeros[CRC32C_LONG];
    for (int k = 0; k < 4; k++) /* the register is linear: entries are sums of those of single bits */
        for (int bit = 0; bit < 8; bit++) {
            uint32_t one = 1u << (8 * k + bit);
            uint32_t after_long = crc32c_plain(one, zeros, CRC32C_LONG), after_short = crc32c_plain(one, zeros, CRC32C_SHORT);
            for (uint32_t byte = 0; byte < 256; byte++)
                if (byte >> bit & 1) {
                    crc32c_long[k][byte] ^= after_long;
                    crc32c_short[k][byte] ^= after_short;
                }
        }
    const char *wanted = getenv("TSENGINE_CPU");
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
#endif
    if (wanted && strcmp(wanted, "baseline") == 0)
        return crc32c_plain;
#ifdef CRC32C_HAS_WIDE
    if (CRC32C_HAS_FAST && CRC32C_HAS_WIDE) {
        crc32c_fill_factors(crc32c_by_256, 256);
        crc32c_fill_factors(crc32c_by_64, 64);
        crc32c_fill_factors(crc32c_by_16, 16);
        return crc32c_wide;
    }
#endif
    if (CRC32C_HAS_FAST)
        return crc32c_fast;
    return crc32c_plain;
}

#endif
