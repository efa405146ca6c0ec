/* What integer blocks subtract before they are packed, and add back; see kernels.h. */

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
    eight_words before = zero;
    words[0] = 0 - step;
    for (int32_t i = 0; i < n; i += 8) {
        eight_words sums = *(eight_words *)(words + i) + steps;
        sums += EIGHT_WORDS_OF(sums, zero, 8, 0, 1, 2, 8, 4, 5, 6);
        sums += EIGHT_WORDS_OF(sums, zero, 8, 8, 0, 1, 8, 8, 4, 5);
        sums += EIGHT_WORDS_OF(sums, zero, 8, 8, 8, 8, 3, 3, 3, 3);
        *(eight_words *)(words + i) = sums + before;
        before += EIGHT_WORDS_OF(sums, sums, 7, 7, 7, 7, 7, 7, 7, 7);
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

#undef LINE_START
#undef LINE_AT
