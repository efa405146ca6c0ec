/* CRC-32C (Castagnoli, reflected polynomial 0x82f63b78): eight table look-ups a word, or the CPU's instruction where it has one.
 *
 * The instruction takes one word a cycle but answers after three, so large inputs run as three streams whose registers are joined
 * by a table that advances a register over a stretch of zero bytes.
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

#include "target.h"

#define CRC32C_LONG 4096 /* bytes of each of three streams; two sizes, so that middling inputs gain as well */
#define CRC32C_SHORT 256

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
    if (CRC32C_HAS_FAST && !(wanted && strcmp(wanted, "baseline") == 0))
        return crc32c_fast;
    return crc32c_plain;
}

#endif
