/* The loops of reduce.h, plain C that the compiler vectorises; reduce_dispatch.h includes this once per CPU target. */

static void REDUCE(sum)(const double *values, int64_t n, double *high, double *low) {
    double sums[REDUCE_LANES], lost[REDUCE_LANES];
    reduce_four sum0 = {0}, sum1 = {0}, lost0 = {0}, lost1 = {0};
    int64_t i = 0;
    for (; i + REDUCE_LANES <= n; i += REDUCE_LANES) {
        reduce_four value0 = REDUCE_LOAD(values + i), value1 = REDUCE_LOAD(values + i + 4);
        reduce_four total0 = sum0 + value0, part0 = total0 - sum0, total1 = sum1 + value1, part1 = total1 - sum1;
        lost0 += (sum0 - (total0 - part0)) + (value0 - part0);
        lost1 += (sum1 - (total1 - part1)) + (value1 - part1);
        sum0 = total0;
        sum1 = total1;
    }
    memcpy(sums, &sum0, 32);
    memcpy(sums + 4, &sum1, 32);
    memcpy(lost, &lost0, 32);
    memcpy(lost + 4, &lost1, 32);
    for (int lane = 0; i < n; i++, lane++)
        reduce_two_sum(&sums[lane], &lost[lane], values[i]);
    *high = sums[0];
    *low = lost[0];
    for (int lane = 1; lane < REDUCE_LANES; lane++) {
        reduce_two_sum(high, low, sums[lane]);
        *low += lost[lane];
    }
}

#define SMALLER(a, b) ((a) < (b) ? (a) : (b))
#define LARGER(a, b) ((a) > (b) ? (a) : (b))

static void REDUCE(range)(const double *values, int64_t n, double *low, double *high) {
    double smallest = values[0], largest = values[0];
    int64_t i = 0;
    if (n >= REDUCE_LANES) {
        reduce_four low0 = REDUCE_LOAD(values), low1 = REDUCE_LOAD(values + 4), high0 = low0, high1 = low1;
        for (i = REDUCE_LANES; i + REDUCE_LANES <= n; i += REDUCE_LANES) {
            reduce_four value0 = REDUCE_LOAD(values + i), value1 = REDUCE_LOAD(values + i + 4);
            low0 = REDUCE_CHOOSE(value0 < low0, value0, low0);
            low1 = REDUCE_CHOOSE(value1 < low1, value1, low1);
            high0 = REDUCE_CHOOSE(value0 > high0, value0, high0);
            high1 = REDUCE_CHOOSE(value1 > high1, value1, high1);
        }
        low0 = REDUCE_CHOOSE(low1 < low0, low1, low0);
        high0 = REDUCE_CHOOSE(high1 > high0, high1, high0);
        for (int lane = 0; lane < 4; lane++) {
            smallest = SMALLER(low0[lane], smallest);
            largest = LARGER(high0[lane], largest);
        }
    }
    for (; i < n; i++) {
        smallest = SMALLER(values[i], smallest);
        largest = LARGER(values[i], largest);
    }
    *low = smallest;
    *high = largest;
}

static double REDUCE(squares)(const double *values, int64_t n, double mean) {
    double sums[REDUCE_LANES] = {0};
    int64_t i = 0;
    for (; i + REDUCE_LANES <= n; i += REDUCE_LANES)
        for (int lane = 0; lane < REDUCE_LANES; lane++) {
            double away = values[i + lane] - mean;
            sums[lane] += away * away;
        }
    for (int lane = 0; i < n; i++, lane++) {
        double away = values[i] - mean;
        sums[lane] += away * away;
    }
    for (int lane = 1; lane < REDUCE_LANES; lane++)
        sums[0] += sums[lane];
    return sums[0];
}

static int32_t REDUCE(ascends)(const int64_t *values, int64_t n) {
    uint64_t wrong = 0;
    for (int64_t i = 1; i < n; i++)
        wrong |= (uint64_t)(values[i] < values[i - 1]);
    return wrong == 0;
}

static int32_t REDUCE(all_finite)(const double *values, int64_t n) {
    uint64_t wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, &values[i], 8);
        wrong |= (uint64_t)((bits & 0x7FF0000000000000ull) == 0x7FF0000000000000ull);
    }
    return wrong == 0;
}

static int64_t REDUCE(between)(const double *values, int64_t n, double low, double high) {
    reduce_four lows = {low, low, low, low}, highs = {high, high, high, high};
    reduce_mask counts = {0};
    int64_t i = 0, count;
    for (; i + 4 <= n; i += 4) {
        reduce_four value = REDUCE_LOAD(values + i);
        counts -= (value >= lows) & (value <= highs);
    }
    count = counts[0] + counts[1] + counts[2] + counts[3];
    for (; i < n; i++)
        count += (values[i] >= low) & (values[i] <= high);
    return count;
}

static void REDUCE(integer_sum)(const int64_t *values, int64_t n, int64_t *high, int64_t *low) {
    uint64_t upper = 0, lower = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = (uint64_t)values[i] ^ (1ull << 63); /* AVX2 has no arithmetic shift of 64 bits */
        upper += bits >> 32;
        lower += bits & 0xFFFFFFFFull;
    }
    *high = (int64_t)(upper - ((uint64_t)n << 31));
    *low = (int64_t)lower;
}

static void REDUCE(integer_range)(const int64_t *values, int64_t n, int64_t *low, int64_t *high) {
    int64_t lows[REDUCE_LANES], highs[REDUCE_LANES];
    int64_t i = 0;
    for (int lane = 0; lane < REDUCE_LANES; lane++)
        lows[lane] = highs[lane] = values[0];
    for (; i + REDUCE_LANES <= n; i += REDUCE_LANES)
        for (int lane = 0; lane < REDUCE_LANES; lane++) {
            int64_t value = values[i + lane];
            lows[lane] = SMALLER(value, lows[lane]);
            highs[lane] = LARGER(value, highs[lane]);
        }
    for (; i < n; i++) {
        lows[0] = SMALLER(values[i], lows[0]);
        highs[0] = LARGER(values[i], highs[0]);
    }
    for (int lane = 1; lane < REDUCE_LANES; lane++) {
        lows[0] = SMALLER(lows[lane], lows[0]);
        highs[0] = LARGER(highs[lane], highs[0]);
    }
    *low = lows[0];
    *high = highs[0];
}

/* Moved so that `low` is the smallest integer there is, one comparison tells. */
static int64_t REDUCE(integer_between)(const int64_t *values, int64_t n, int64_t low, int64_t high) {
    uint64_t origin = (uint64_t)low + (1ull << 63);
    int64_t reach = (int64_t)((uint64_t)high - origin), outside = 0;
    if (low > high)
        return 0;
    for (int64_t i = 0; i < n; i++)
        outside += (int64_t)((uint64_t)values[i] - origin) > reach;
    return n - outside;
}

static void REDUCE(word_range)(const int32_t *values, int64_t n, int32_t *low, int32_t *high) {
    int32_t smallest = values[0], largest = values[0];
    for (int64_t i = 1; i < n; i++) {
        smallest = SMALLER(values[i], smallest);
        largest = LARGER(values[i], largest);
    }
    *low = smallest;
    *high = largest;
}

static int64_t REDUCE(word_between)(const int32_t *values, int64_t n, int32_t low, int32_t high) {
    int32_t count = 0; /* n is that of a block */
    for (int64_t i = 0; i < n; i++)
        count += (values[i] >= low) & (values[i] <= high);
    return count;
}

#undef SMALLER
#undef LARGER

static const Reducers REDUCE(table) = {
    REDUCE(sum),     REDUCE(range),       REDUCE(squares),       REDUCE(all_finite),      REDUCE(ascends),
    REDUCE(between), REDUCE(integer_sum), REDUCE(integer_range), REDUCE(integer_between),
    REDUCE(word_range), REDUCE(word_between),
};
