/* Bit packing of integers; see kernels.h.
 *
 * In lanes: value i sits in lane i % L of row i / L; the bits of a lane's rows follow one another in words that are interleaved
 * between the lanes, so a row decodes with the same shift in all lanes and values come out in natural order.
 * L is 32 words of 32 bits for widths up to 32, else 16 words of 64 bits: 128 bytes a word row in both.
 * Sequential: value i sits in bits i * width and up. */

static int64_t KERNEL(pack_lanes)(const uint64_t *residuals, int32_t n, int32_t width, uint8_t *out) {
    int64_t size = lane_bytes(n, width);
    if (width <= 32) {
        uint32_t words[KERNEL_BLOCK];
        memset(words, 0, (size_t)size);
        for (int32_t row = 0; row * 32 < n; row++) {
            int32_t word = row * width >> 5, shift = row * width & 31;
            const uint64_t *in = residuals + row * 32;
            for (int32_t lane = 0; lane < 32; lane++)
                words[word * 32 + lane] |= (uint32_t)in[lane] << shift;
            if (shift + width > 32)
                for (int32_t lane = 0; lane < 32; lane++)
                    words[word * 32 + 32 + lane] |= (uint32_t)in[lane] >> (32 - shift);
        }
        memcpy(out, words, (size_t)size);
    } else {
        uint64_t words[16] = {0};
        int32_t used = 0;
        for (int32_t row = 0; row * 16 < n; row++, residuals += 16) {
            for (int32_t lane = 0; lane < 16; lane++)
                words[lane] |= residuals[lane] << used;
            used += width;
            if (used >= 64) {
                memcpy(out, words, 128);
                out += 128;
                used -= 64;
                for (int32_t lane = 0; lane < 16; lane++)
                    words[lane] = used ? residuals[lane] >> (width - used) : 0;
            }
        }
        if (used)
            memcpy(out, words, 128);
    }
    return size;
}

static int64_t KERNEL(pack_sequential)(const uint64_t *residuals, int32_t n, int32_t width, uint8_t *out) {
    uint8_t *cursor = out;
    uint64_t word = 0;
    int32_t filled = 0;
    for (int32_t i = 0; i < n; i++) {
        word |= residuals[i] << filled;
        filled += width;
        if (filled >= 64) {
            memcpy(cursor, &word, 8);
            cursor += 8;
            filled -= 64;
            word = filled ? residuals[i] >> (width - filled) : 0;
        }
    }
    int32_t rest = (filled + 7) / 8;
    memcpy(cursor, &word, (size_t)rest);
    return cursor + rest - out;
}

/* Pack the low `width` bits of values[i] - base; returns packed_bytes(n, width). */
static int64_t KERNEL(pack)(const int64_t *values, int32_t n, int64_t base, int32_t width, uint8_t *out) {
    uint64_t residuals[KERNEL_BLOCK + 32], mask = low_bits(width);
    if (width == 0)
        return 0;
    for (int32_t i = 0; i < n; i++)
        residuals[i] = ((uint64_t)values[i] - (uint64_t)base) & mask;
    if (!uses_lanes(n, width))
        return KERNEL(pack_sequential)(residuals, n, width, out);
    memset(residuals + n, 0, 32 * sizeof(uint64_t));
    return KERNEL(pack_lanes)(residuals, n, width, out);
}

static inline __attribute__((always_inline)) void KERNEL(row32)(const word32 *in, uint32_t *out, int32_t row, int32_t width) {
    int32_t word = row * width >> 5, shift = row * width & 31;
    uint32_t mask = (uint32_t)low_bits(width);
    in += word * 32;
    out += row * 32;
    if (shift + width <= 32)
        for (int32_t lane = 0; lane < 32; lane++)
            out[lane] = (in[lane] >> shift) & mask;
    else
        for (int32_t lane = 0; lane < 32; lane++)
            out[lane] = ((in[lane] >> shift) | (in[lane + 32] << (32 - shift))) & mask;
}

/* One function per width for whole blocks: all shifts and masks are constants. */
#define ROWS_4(row, width)                      \
    KERNEL(row32)(in, out, row, width);         \
    KERNEL(row32)(in, out, row + 1, width);     \
    KERNEL(row32)(in, out, row + 2, width);     \
    KERNEL(row32)(in, out, row + 3, width);
#define UNPACK_WIDTH(width)                                                        \
    static void KERNEL(unpack_##width)(const word32 *in, uint32_t *restrict out) { \
        ROWS_4(0, width) ROWS_4(4, width) ROWS_4(8, width) ROWS_4(12, width)       \
        ROWS_4(16, width) ROWS_4(20, width) ROWS_4(24, width) ROWS_4(28, width)    \
    }
UNPACK_WIDTH(1) UNPACK_WIDTH(2) UNPACK_WIDTH(3) UNPACK_WIDTH(4) UNPACK_WIDTH(5) UNPACK_WIDTH(6) UNPACK_WIDTH(7) UNPACK_WIDTH(8)
UNPACK_WIDTH(9) UNPACK_WIDTH(10) UNPACK_WIDTH(11) UNPACK_WIDTH(12) UNPACK_WIDTH(13) UNPACK_WIDTH(14) UNPACK_WIDTH(15) UNPACK_WIDTH(16)
UNPACK_WIDTH(17) UNPACK_WIDTH(18) UNPACK_WIDTH(19) UNPACK_WIDTH(20) UNPACK_WIDTH(21) UNPACK_WIDTH(22) UNPACK_WIDTH(23) UNPACK_WIDTH(24)
UNPACK_WIDTH(25) UNPACK_WIDTH(26) UNPACK_WIDTH(27) UNPACK_WIDTH(28) UNPACK_WIDTH(29) UNPACK_WIDTH(30) UNPACK_WIDTH(31) UNPACK_WIDTH(32)
#undef ROWS_4
#undef UNPACK_WIDTH

static void (*const KERNEL(unpack_block)[33])(const word32 *, uint32_t *restrict) = {
    NULL, KERNEL(unpack_1), KERNEL(unpack_2), KERNEL(unpack_3), KERNEL(unpack_4), KERNEL(unpack_5), KERNEL(unpack_6),
    KERNEL(unpack_7), KERNEL(unpack_8), KERNEL(unpack_9), KERNEL(unpack_10), KERNEL(unpack_11), KERNEL(unpack_12),
    KERNEL(unpack_13), KERNEL(unpack_14), KERNEL(unpack_15), KERNEL(unpack_16), KERNEL(unpack_17), KERNEL(unpack_18),
    KERNEL(unpack_19), KERNEL(unpack_20), KERNEL(unpack_21), KERNEL(unpack_22), KERNEL(unpack_23), KERNEL(unpack_24),
    KERNEL(unpack_25), KERNEL(unpack_26), KERNEL(unpack_27), KERNEL(unpack_28), KERNEL(unpack_29), KERNEL(unpack_30),
    KERNEL(unpack_31), KERNEL(unpack_32)};

/* Row by row with the running words of all lanes in registers; adds `base` on the way. Four lanes a vector, written out: of plain
 * loops over sixteen words the compiler makes single ones, which took three times as long. */
static void KERNEL(unpack_lanes64)(const uint8_t *data, int32_t n, int32_t width, uint64_t base, int64_t *restrict out) {
    four64 words[4] = {{0}}, mask = (four64){0} + low_bits(width);
    four64 *target = (four64 *)out;
    const four64 *source = (const four64 *)data;
    int32_t used = 64;
    for (int32_t row = 0; row * 16 < n; row++, target += 4) {
        if (used == 64) {
            for (int32_t part = 0; part < 4; part++)
                words[part] = source[part];
            source += 4;
            used = 0;
        }
        if (used + width <= 64) {
            for (int32_t part = 0; part < 4; part++)
                target[part] = ((words[part] >> used) & mask) + base;
            used += width;
        } else {
            for (int32_t part = 0; part < 4; part++) {
                four64 next = source[part];
                target[part] = (((words[part] >> used) | (next << (64 - used))) & mask) + base;
                words[part] = next;
            }
            source += 4;
            used += width - 64;
        }
    }
}

/* The values whose first bytes are at `data`; eight bytes may be read from the first byte of each. width <= 56. */
static inline void KERNEL(unpack_near)(const uint8_t *data, int32_t first_bit, int32_t n, int32_t width, uint64_t *restrict out) {
    uint64_t mask = low_bits(width);
    for (int32_t i = 0; i < n; i++) {
        int32_t bit = first_bit + i * width;
        out[i] = (*(const word64 *)(data + (bit >> 3)) >> (bit & 7)) & mask;
    }
}

static void KERNEL(unpack_sequential)(const uint8_t *data, int32_t n, int32_t width, uint64_t *restrict out) {
    int32_t size = (n * width + 7) / 8;
    uint8_t tail[32] = {0};
    if (width <= 56) {
        /* One unaligned load holds a value. Those of the last values would end beyond the data: they read a padded copy. */
        int32_t safe = size >= 8 ? ((size - 8) * 8 + 7) / width + 1 : 0;
        safe = safe < n ? safe : n;
        KERNEL(unpack_near)(data, 0, safe, width, out);
        if (safe < n) {
            int32_t start = safe * width >> 3;
            memcpy(tail, data + start, (size_t)(size - start));
            KERNEL(unpack_near)(tail, safe * width & 7, n - safe, width, out + safe);
        }
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        int32_t byte = i * width >> 3, shift = i * width & 7;
        memcpy(tail, data + byte, (size_t)(size - byte < 9 ? size - byte : 9));
        uint64_t word = *(const word64 *)tail >> shift;
        if (shift)
            word |= (uint64_t)tail[8] << (64 - shift);
        out[i] = word & low_bits(width);
    }
}

static void KERNEL(scale)(int64_t *values, int32_t n, uint64_t scale, uint64_t base) {
    if (scale == 1)
        for (int32_t i = 0; i < n; i++)
            values[i] = (int64_t)((uint64_t)values[i] + base);
    else
        for (int32_t i = 0; i < n; i++)
            values[i] = (int64_t)((uint64_t)values[i] * scale + base);
}

/* out[i] = packed[i]; width 0 to 32. */
static void KERNEL(unpack_words)(const uint8_t *data, int32_t n, int32_t width, uint32_t *restrict out) {
    if (width == 0)
        memset(out, 0, (size_t)n * 4);
    else if (!uses_lanes(n, width)) {
        uint64_t values[KERNEL_BLOCK];
        KERNEL(unpack_sequential)(data, n, width, values);
        for (int32_t i = 0; i < n; i++)
            out[i] = (uint32_t)values[i];
    } else if (n > KERNEL_BLOCK - 32)
        KERNEL(unpack_block)[width]((const word32 *)data, out);
    else
        for (int32_t row = 0; row * 32 < n; row++)
            KERNEL(row32)((const word32 *)data, out, row, width);
}

/* out[i] = packed[i] * scale + base. */
static void KERNEL(unpack)(const uint8_t *data, int32_t n, int32_t width, uint64_t scale, uint64_t base, int64_t *restrict out) {
    if (width == 0) {
        for (int32_t i = 0; i < n; i++)
            out[i] = (int64_t)base;
        return;
    }
    if (width > 32 || !uses_lanes(n, width)) {
        int lanes = uses_lanes(n, width);
        if (lanes)
            KERNEL(unpack_lanes64)(data, n, width, scale == 1 ? base : 0, out);
        else
            KERNEL(unpack_sequential)(data, n, width, (uint64_t *)out);
        if (scale != 1 || (base != 0 && !lanes))
            KERNEL(scale)(out, n, scale, base);
        return;
    }
    uint32_t words[KERNEL_BLOCK] __attribute__((aligned(64)));
    KERNEL(unpack_words)(data, n, width, words);
    if (scale == 1)
        for (int32_t i = 0; i < n; i++)
            out[i] = (int64_t)(words[i] + base);
    else if (scale <= UINT32_MAX) {
        uint32_t factor = (uint32_t)scale; /* 32 by 32 bits is one instruction */
        for (int32_t i = 0; i < n; i++)
            out[i] = (int64_t)((uint64_t)words[i] * factor + base);
    } else
        for (int32_t i = 0; i < n; i++)
            out[i] = (int64_t)(words[i] * scale + base);
}
