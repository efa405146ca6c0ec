/* reduce_kernels.h for each CPU target, and the choice between them; see codec/dispatch.h. */
#ifndef TSENGINE_STORE_REDUCE_DISPATCH_H
#define TSENGINE_STORE_REDUCE_DISPATCH_H

#include "reduce.h"

#include "codec/target.h"

#include <stdlib.h>

#define REDUCE(name) reduce_##name##_baseline
#include "reduce_kernels.h"
#undef REDUCE

#if defined(__x86_64__) && defined(__GNUC__)
#define REDUCE_HAS_AVX2 1
TARGET_PUSH("avx2")
#define REDUCE(name) reduce_##name##_avx2
#include "reduce_kernels.h"
#undef REDUCE
TARGET_POP
#endif

/* TSENGINE_CPU=baseline asks for the plain ones, as for the codecs. */
static const Reducers *reducers_choose(void) {
#ifdef REDUCE_HAS_AVX2
    const char *wanted = getenv("TSENGINE_CPU");
    __builtin_cpu_init();
    if (!(wanted && strcmp(wanted, "baseline") == 0) && __builtin_cpu_supports("avx2"))
        return &reduce_table_avx2;
#endif
    return &reduce_table_baseline;
}

#endif
