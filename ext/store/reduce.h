/* Reductions over the values of one block or less, chosen for this CPU at import; reduce_kernels.h has their code.
 *
 * The same bits on every CPU: values are dealt to eight lanes by their place, whatever the width of a register, and lanes are put
 * together in their order. Nothing here may be given a NaN, but the infinities are welcome where it says so.
 */
#ifndef TSENGINE_STORE_REDUCE_H
#define TSENGINE_STORE_REDUCE_H

#include <stdint.h>
#include <string.h>

#define REDUCE_LANES 8

typedef struct {
    /* Sum of finite values as high + low: about 106 bits (Knuth's two-sum in each lane). */
    void (*sum)(const double *values, int64_t n, double *high, double *low);
    void (*range)(const double *values, int64_t n, double *low, double *high);
    /* Sum of (value - mean)^2. */
    double (*squares)(const double *values, int64_t n, double mean);
    int32_t (*all_finite)(const double *values, int64_t n);
    int32_t (*ascends)(const int64_t *values, int64_t n);
    int64_t (*between)(const double *values, int64_t n, double low, double high);
    /* Sum as high * 2^32 + low; n below 2^31. */
    void (*integer_sum)(const int64_t *values, int64_t n, int64_t *high, int64_t *low);
    void (*integer_range)(const int64_t *values, int64_t n, int64_t *low, int64_t *high);
    int64_t (*integer_between)(const int64_t *values, int64_t n, int64_t low, int64_t high);
    void (*word_range)(const int32_t *values, int64_t n, int32_t *low, int32_t *high);
    int64_t (*word_between)(const int32_t *values, int64_t n, int32_t low, int32_t high);
} Reducers;

/* Four lanes: one register with AVX2, two of SSE2 or NEON. Memory need not be aligned. */
typedef double reduce_four __attribute__((vector_size(32)));
typedef double reduce_four_loose __attribute__((vector_size(32), aligned(8), may_alias));

typedef int64_t reduce_mask __attribute__((vector_size(32)));

#define REDUCE_LOAD(at) (*(const reduce_four_loose *)(at))
/* mask ? a : b, lane by lane. */
#define REDUCE_CHOOSE(mask, a, b) ((reduce_four)(((mask) & (reduce_mask)(a)) | (~(mask) & (reduce_mask)(b))))

static inline void reduce_two_sum(double *high, double *low, double value) {
    double before = *high, total = before + value, part = total - before;
    *low += (before - (total - part)) + (value - part);
    *high = total;
}

#endif
