/* The loops of the codecs over one block, plain C that the compiler vectorises; dispatch.h includes this once per CPU target.
 *
 * n is 1 to KERNEL_BLOCK. Arrays that are written have room for KERNEL_BLOCK values and may be filled beyond n.
 * Nothing here reads beyond the packed_bytes(n, width) bytes that the caller has checked. Integers wrap.
 */

/* ---- bit packing ----
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

/* ---- transforms of integers ---- */

#define SMALLER(a, b) ((a) < (b) ? (a) : (b))
#define LARGER(a, b) ((a) > (b) ? (a) : (b))

/* In four parts side by side: one comparison waits for the one before it. */
static void KERNEL(range)(const int64_t *values, int32_t n, int64_t *low, int64_t *high) {
    int32_t quarter = n / 4;
    const int64_t *second = values + quarter, *third = second + quarter, *fourth = third + quarter;
    int64_t low0 = values[0], low1 = low0, low2 = low0, low3 = low0, high0 = low0, high1 = low0, high2 = low0, high3 = low0;
    for (int32_t i = 0; i < quarter; i++) {
        low0 = SMALLER(values[i], low0);
        low1 = SMALLER(second[i], low1);
        low2 = SMALLER(third[i], low2);
        low3 = SMALLER(fourth[i], low3);
        high0 = LARGER(values[i], high0);
        high1 = LARGER(second[i], high1);
        high2 = LARGER(third[i], high2);
        high3 = LARGER(fourth[i], high3);
    }
    for (int32_t i = 4 * quarter; i < n; i++) {
        low0 = SMALLER(values[i], low0);
        high0 = LARGER(values[i], high0);
    }
    low0 = SMALLER(low0, low1);
    low2 = SMALLER(low2, low3);
    high0 = LARGER(high0, high1);
    high2 = LARGER(high2, high3);
    *low = SMALLER(low0, low2);
    *high = LARGER(high0, high2);
}

#undef SMALLER
#undef LARGER

static void KERNEL(shift)(const int64_t *values, int32_t n, int64_t base, int64_t *restrict out) {
    for (int32_t i = 0; i < n; i++)
        out[i] = (int64_t)((uint64_t)values[i] - (uint64_t)base);
}

/* out[i] = values[i] - values[i - 1]; out[0] = out[1], so that it widens nothing. Needs n >= 2. */
static void KERNEL(difference)(const int64_t *values, int32_t n, int64_t *restrict out) {
    for (int32_t i = 1; i < n; i++)
        out[i] = (int64_t)((uint64_t)values[i] - (uint64_t)values[i - 1]);
    out[0] = out[1];
}

/* Whether values[i] == values[i - 1] + step for all. */
static int32_t KERNEL(is_regular)(const int64_t *values, int32_t n, int64_t step) {
    uint64_t wrong = 0;
    for (int32_t i = 1; i < n; i++)
        wrong |= ((uint64_t)values[i] - (uint64_t)values[i - 1]) ^ (uint64_t)step;
    return wrong == 0;
}

/* How often a value differs from the one before. */
static int32_t KERNEL(changes)(const int64_t *values, int32_t n) {
    uint64_t count = 0;
    for (int32_t i = 1; i < n; i++)
        count += values[i] != values[i - 1];
    return (int32_t)count;
}

/* Slope per value in 1/65536 between the means of both halves: single outliers and jitter at the ends hardly move it.
 * Values are below 2^44 in magnitude (the caller checks), so nothing overflows. Needs n >= 2. */
static int64_t KERNEL(slope)(const int64_t *values, int32_t n) {
    int32_t half = n / 2;
    int64_t before = 0, after = 0;
    for (int32_t i = 0; i < half; i++)
        before += values[i];
    for (int32_t i = n - half; i < n; i++)
        after += values[i];
    int64_t rise = after - before, run = (int64_t)half * (n - half);
    return rise / run * 65536 + rise % run * 65536 / run;
}

/* A line is floor(i * slope / 65536), here with a logical shift: AVX2 has no arithmetic one for 64 bits. */
#define LINE_START (1ull << 63)
#define LINE_AT(at) (((at) >> 16) - (1ull << 47))

static void KERNEL(line_subtract)(const int64_t *values, int32_t n, int64_t slope, int64_t *restrict out) {
    uint64_t at = LINE_START;
    for (int32_t i = 0; i < n; i++, at += (uint64_t)slope)
        out[i] = (int64_t)((uint64_t)values[i] - LINE_AT(at));
}

static void KERNEL(line_add)(int64_t *values, int32_t n, int64_t slope) {
    uint64_t at = LINE_START;
    for (int32_t i = 0; i < n; i++, at += (uint64_t)slope)
        values[i] = (int64_t)((uint64_t)values[i] + LINE_AT(at));
}

/* out[i] = values[i] / divisor, read as signed; returns the first index that leaves a remainder, or n.
 * Multiplies by the inverse of the odd part modulo 2^64: exact where the division is, and out of range where it is not. */
static int32_t KERNEL(divide)(const int64_t *values, int32_t n, uint64_t divisor, int64_t *restrict out) {
    int32_t zeros = __builtin_ctzll(divisor);
    uint64_t odd = divisor >> zeros, inverse = odd, low = low_bits(zeros), wrong = 0;
    uint64_t limit = (1ull << 63) / odd;
    for (int32_t k = 0; k < 5; k++) /* 3 correct bits at first, twice as many each time */
        inverse *= 2 - odd * inverse;
    for (int32_t i = 0; i < n; i++)
        out[i] = (int64_t)((uint64_t)(values[i] >> zeros) * inverse);
    if (odd == 1) {
        for (int32_t i = 0; i < n; i++)
            wrong |= (uint64_t)values[i] & low;
    } else {
        int64_t smallest = 0, largest = 0;
        for (int32_t i = 0; i < n; i++) {
            wrong |= (uint64_t)values[i] & low;
            smallest = out[i] < smallest ? out[i] : smallest;
            largest = out[i] > largest ? out[i] : largest;
        }
        wrong |= (uint64_t)largest > limit || 0 - (uint64_t)smallest > limit;
    }
    if (!wrong)
        return n;
    for (int32_t i = 0; i < n; i++) {
        uint64_t magnitude = out[i] < 0 ? 0 - (uint64_t)out[i] : (uint64_t)out[i];
        if (((uint64_t)values[i] & low) || (odd != 1 && magnitude > limit))
            return i;
    }
    return n;
}

/* out[i] = start + i * step. */
static void KERNEL(ramp)(int64_t start, int64_t step, int32_t n, int64_t *out) {
    uint64_t at = (uint64_t)start;
    for (int32_t i = 0; i < n; i++, at += (uint64_t)step)
        out[i] = (int64_t)at;
}

/* out[i] = origin + (i * step + floor((phase + i * fraction) / 2^32)) * divisor. */
static void KERNEL(grid)(int64_t origin, int64_t step, uint32_t fraction, uint32_t phase, uint64_t divisor, int32_t n, int64_t *out) {
    for (int32_t i = 0; i < n; i++) {
        uint64_t steps = (uint64_t)step * (uint64_t)i + ((phase + (uint64_t)fraction * (uint64_t)i) >> 32);
        out[i] = (int64_t)((uint64_t)origin + steps * divisor);
    }
}

/* values[i] = start + values[1] + ... + values[i], in four chains that run side by side. */
static void KERNEL(prefix)(int64_t *values, int32_t n, int64_t start) {
    int32_t quarter = n / 4;
    uint64_t first = 0, second = 0, third = 0;
    values[0] = 0;
    for (int32_t i = 0; i < quarter; i++) {
        first += (uint64_t)values[i];
        second += (uint64_t)values[quarter + i];
        third += (uint64_t)values[2 * quarter + i];
    }
    uint64_t a = (uint64_t)start, b = a + first, c = b + second, d = c + third;
    for (int32_t i = 0; i < quarter; i++) {
        a += (uint64_t)values[i];
        b += (uint64_t)values[quarter + i];
        c += (uint64_t)values[2 * quarter + i];
        d += (uint64_t)values[3 * quarter + i];
        values[i] = (int64_t)a;
        values[quarter + i] = (int64_t)b;
        values[2 * quarter + i] = (int64_t)c;
        values[3 * quarter + i] = (int64_t)d;
    }
    for (int32_t i = 4 * quarter; i < n; i++) {
        d += (uint64_t)values[i];
        values[i] = (int64_t)d;
    }
}

/* words[i] = (words[1] + step) + ... + (words[i] + step), and words[0] = 0; modulo 2^32. */
#if KERNEL_WORDS == 8
/* Eight side by side: each takes in the one before, then the two, then the four; what came before all eight is added last, so that
 * nothing but that addition waits for the eight before. */
static void KERNEL(prefix_words)(uint32_t *words, int32_t n, uint32_t step) {
    const eight_words zero = {0}, steps = {step, step, step, step, step, step, step, step};
    const eight_words one_back = {8, 0, 1, 2, 8, 4, 5, 6}, two_back = {8, 8, 0, 1, 8, 8, 4, 5};
    const eight_words fourth = {8, 8, 8, 8, 3, 3, 3, 3}, last = {7, 7, 7, 7, 7, 7, 7, 7};
    eight_words before = zero;
    words[0] = 0 - step;
    for (int32_t i = 0; i < n; i += 8) {
        eight_words sums = *(eight_words *)(words + i) + steps;
        sums += __builtin_shuffle(sums, zero, one_back);
        sums += __builtin_shuffle(sums, zero, two_back);
        sums += __builtin_shuffle(sums, zero, fourth);
        *(eight_words *)(words + i) = sums + before;
        before += __builtin_shuffle(sums, last);
    }
}
#else
/* In four chains that run side by side. */
static void KERNEL(prefix_words)(uint32_t *words, int32_t n, uint32_t step) {
    int32_t quarter = n / 4;
    uint32_t first = 0, second = 0, third = 0, steps = (uint32_t)quarter * step;
    words[0] = 0 - step;
    for (int32_t i = 0; i < quarter; i++) {
        first += words[i];
        second += words[quarter + i];
        third += words[2 * quarter + i];
    }
    uint32_t a = 0, b = first + steps, c = b + second + steps, d = c + third + steps;
    for (int32_t i = 0; i < quarter; i++) {
        words[i] = a += words[i] + step;
        words[quarter + i] = b += words[quarter + i] + step;
        words[2 * quarter + i] = c += words[2 * quarter + i] + step;
        words[3 * quarter + i] = d += words[3 * quarter + i] + step;
    }
    for (int32_t i = 4 * quarter; i < n; i++)
        words[i] = d += words[i] + step;
}
#endif

/* out[i] = (words[i] + floor(i * slope / 65536)) * scale + base, where what is in brackets is below 2^32. */
static void KERNEL(line_words)(const uint32_t *words, int32_t n, uint64_t slope, uint32_t scale, uint64_t base, int64_t *restrict out) {
    uint64_t at = 0;
    for (int32_t i = 0; i < n; i++, at += slope)
        out[i] = (int64_t)((((at >> 16) + words[i]) & 0xFFFFFFFFull) * scale + base);
}

/* Codes whose bit length is the width of the window that just holds values[i]: [anchor, anchor + 2^w), or, centred,
 * [anchor - 2^(w-1), anchor + 2^(w-1)), where width 0 holds the anchor alone. Returns all codes or-ed. */
static uint64_t KERNEL(window_codes)(const int64_t *values, int32_t n, int64_t anchor, int32_t centred, uint64_t *restrict codes) {
    uint64_t all = 0;
    if (centred)
        for (int32_t i = 0; i < n; i++) {
            uint64_t beside = (uint64_t)values[i] - (uint64_t)anchor;
            uint64_t folded = beside ^ (0 - (beside >> 63));
            codes[i] = folded << 1 | (beside != 0);
            all |= codes[i];
        }
    else
        for (int32_t i = 0; i < n; i++) {
            codes[i] = (uint64_t)values[i] - (uint64_t)anchor;
            all |= codes[i];
        }
    return all;
}

/* How many codes have more bits than the width, which is below 64; `inside` gets the others or-ed. */
static int32_t KERNEL(window_outside)(const uint64_t *codes, int32_t n, int32_t width, uint64_t *inside) {
    uint64_t count = 0, all = 0;
    for (int32_t i = 0; i < n; i++) {
        uint64_t fits = 0 - (uint64_t)(codes[i] >> width == 0);
        count += fits;
        all |= codes[i] & fits;
    }
    *inside = all;
    return n + (int32_t)count;
}

/* ---- floats ---- */

/* x / 10^k for an integer |x| < 2^51 and k <= 15, correctly rounded either way.
 * With FMA: q = x * y with y = RN(10^-k) is off by at most 1.5 units in the last place, so the residual x - q * 10^k is exact (its
 * odd part 5^k has 35 bits), and q + residual * y is within 1.5 * 2^-53 units of the true quotient. The true quotient is either
 * exact or at least 0.5 / 10^k units away from a tie, which is more, so rounding once gives what the division gives. */
static inline __attribute__((always_inline)) double KERNEL(decimal_quotient)(double x, double power, double reciprocal) {
#if KERNEL_FMA
    double quotient = x * reciprocal;
    return __builtin_fma(__builtin_fma(-quotient, power, x), reciprocal, quotient);
#else
    (void)reciprocal;
    return x / power;
#endif
}

/* Integers d with values[i] == d / 10^exponent (as a float32 first, when `single`); wrong[i] is 1 where there is none.
 * Returns how many are wrong. */
static int32_t KERNEL(decimal_encode)(const double *values, int32_t n, int32_t exponent, int32_t single, int64_t *restrict out,
                                      uint64_t *restrict wrong) {
    double power = POWER[exponent], reciprocal = RECIPROCAL[exponent];
    uint64_t count = 0;
    for (int32_t i = 0; i < n; i++) { /* anything from 2^51 up, infinite or NaN counts as 0 */
        uint64_t scaled = double_bits(values[i] * power);
        scaled &= 0 - (uint64_t)((int64_t)(scaled & ~(1ull << 63)) < (int64_t)DECIMAL_LIMIT_BITS);
        out[i] = double_integer(bits_double(scaled));
    }
    if (single)
        for (int32_t i = 0; i < n; i++) {
            double back = (double)(float)KERNEL(decimal_quotient)(integer_double(out[i]), power, reciprocal);
            wrong[i] = double_bits(back) != double_bits(values[i]);
        }
    else
        for (int32_t i = 0; i < n; i++) {
            double back = KERNEL(decimal_quotient)(integer_double(out[i]), power, reciprocal);
            wrong[i] = double_bits(back) != double_bits(values[i]);
        }
    for (int32_t i = 0; i < n; i++)
        count += wrong[i];
    return (int32_t)count;
}

static void KERNEL(decimal_decode)(const int64_t *values, int32_t n, int32_t exponent, int32_t single, double *restrict out) {
    double power = POWER[exponent], reciprocal = RECIPROCAL[exponent];
    if (single)
        for (int32_t i = 0; i < n; i++)
            out[i] = (double)(float)KERNEL(decimal_quotient)(integer_double(values[i]), power, reciprocal);
    else if (exponent == 0)
        for (int32_t i = 0; i < n; i++)
            out[i] = integer_double(values[i]);
    else
        for (int32_t i = 0; i < n; i++)
            out[i] = KERNEL(decimal_quotient)(integer_double(values[i]), power, reciprocal);
}

/* out[i] = (origin + words[i] * scale) / 10^exponent; origin and scale are integers, and so small that the sum is below 2^51.
 * Nothing is written beyond n here. */
static void KERNEL(decimal_words)(const int32_t *words, int32_t n, double origin, double scale, int32_t exponent, double *restrict out) {
    double power = POWER[exponent], reciprocal = RECIPROCAL[exponent];
    if (exponent == 0)
        for (int32_t i = 0; i < n; i++)
            out[i] = origin + (double)words[i] * scale;
    else
        for (int32_t i = 0; i < n; i++)
            out[i] = KERNEL(decimal_quotient)(origin + (double)words[i] * scale, power, reciprocal);
}

/* Bit patterns as integers in the order of the values: negative ones have their magnitude bits turned over. */
static void KERNEL(ordered_encode)(const double *values, int32_t n, int64_t *restrict out) {
    for (int32_t i = 0; i < n; i++) {
        uint64_t bits = double_bits(values[i]);
        out[i] = (int64_t)(bits ^ ((0 - (bits >> 63)) >> 1));
    }
}

static void KERNEL(ordered_decode)(const int64_t *values, int32_t n, double *restrict out) {
    for (int32_t i = 0; i < n; i++) {
        uint64_t bits = (uint64_t)values[i];
        out[i] = bits_double(bits ^ ((0 - (bits >> 63)) >> 1));
    }
}

/* The same for values that are exact as float32; returns how many are not. */
static int32_t KERNEL(single_encode)(const double *values, int32_t n, int64_t *restrict out) {
    uint64_t wrong = 0;
    for (int32_t i = 0; i < n; i++) {
        float narrow = (float)values[i];
        uint32_t bits;
        memcpy(&bits, &narrow, 4);
        wrong += double_bits((double)narrow) != double_bits(values[i]);
        out[i] = (int32_t)(bits ^ ((0 - (bits >> 31)) >> 1));
    }
    return (int32_t)wrong;
}

static void KERNEL(single_decode)(const int64_t *values, int32_t n, double *restrict out) {
    for (int32_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)values[i];
        float narrow;
        bits ^= (0 - (bits >> 31)) >> 1;
        memcpy(&narrow, &bits, 4);
        out[i] = narrow;
    }
}

/* out[i] = table[codes[i]]; returns how many codes are not below count. The table has room for KERNEL_BLOCK values. */
static int32_t KERNEL(lookup)(const int64_t *codes, int32_t n, const double *table, int32_t count, double *restrict out) {
    uint64_t wrong = 0;
    for (int32_t i = 0; i < n; i++)
        wrong |= (uint64_t)((uint64_t)codes[i] >= (uint64_t)count);
    if (!wrong)
        for (int32_t i = 0; i < n; i++)
            out[i] = table[codes[i]];
    return (int32_t)wrong;
}

/* Cut every bit pattern after its `width` low bits; the rest is looked up in `lefts`. Returns how many are not found there, with
 * their indexes in `wrong`; their code is 0. */
static int32_t KERNEL(split_encode)(const double *values, int32_t n, int32_t width, const uint16_t *lefts, int32_t count,
                                    int64_t *restrict rights, int64_t *restrict codes, uint16_t *restrict wrong) {
    uint64_t mask = low_bits(width);
    int32_t missing = 0;
    for (int32_t i = 0; i < n; i++) {
        rights[i] = (int64_t)(double_bits(values[i]) & mask);
        codes[i] = -1;
    }
    for (int32_t code = 0; code < count; code++)
        for (int32_t i = 0; i < n; i++)
            codes[i] = double_bits(values[i]) >> width == lefts[code] ? code : codes[i];
    for (int32_t i = 0; i < n; i++)
        if (codes[i] < 0) {
            codes[i] = 0;
            wrong[missing++] = (uint16_t)i;
        }
    return missing;
}

/* `lefts` has eight entries; codes are below eight. */
static void KERNEL(split_decode)(const int64_t *rights, const int64_t *codes, int32_t n, int32_t width, const uint16_t *lefts,
                                 double *restrict out) {
    uint64_t table[8];
    for (int32_t code = 0; code < 8; code++)
        table[code] = (uint64_t)lefts[code] << width;
    for (int32_t i = 0; i < n; i++)
        out[i] = bits_double((uint64_t)rights[i] | table[codes[i] & 7]);
}

#undef LINE_START
#undef LINE_AT

static const Kernels KERNEL(table) = {
    KERNEL_NAME,
    KERNEL(pack),
    KERNEL(unpack),
    KERNEL(unpack_words),
    KERNEL(prefix_words),
    KERNEL(line_words),
    KERNEL(range),
    KERNEL(difference),
    KERNEL(is_regular),
    KERNEL(changes),
    KERNEL(slope),
    KERNEL(line_subtract),
    KERNEL(line_add),
    KERNEL(shift),
    KERNEL(divide),
    KERNEL(scale),
    KERNEL(ramp),
    KERNEL(grid),
    KERNEL(prefix),
    KERNEL(window_codes),
    KERNEL(window_outside),
    KERNEL(decimal_encode),
    KERNEL(decimal_decode),
    KERNEL(decimal_words),
    KERNEL(ordered_encode),
    KERNEL(ordered_decode),
    KERNEL(single_encode),
    KERNEL(single_decode),
    KERNEL(lookup),
    KERNEL(split_encode),
    KERNEL(split_decode),
};
