/* Floats to integers and back; see kernels.h. */

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
