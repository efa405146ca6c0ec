/* The kernels of the codecs, compiled once per CPU target, and the choice between them.
 *
 * kernels.h is plain C. It is included below for the baseline of the architecture and, on x86-64, again for AVX2 with FMA.
 * Every target computes the same bits: integers wrap, and floats use only operations that are rounded once (see
 * decimal_quotient in number_kernels.h), so encoded bytes do not depend on the CPU.
 */
#ifndef TSENGINE_CODEC_DISPATCH_H
#define TSENGINE_CODEC_DISPATCH_H

#include "table.h"
#include "target.h"

#include <stdlib.h>

#define KERNEL(name) name##_baseline
#define KERNEL_NAME "baseline"
#define KERNEL_WORDS 4
#if defined(__aarch64__)
#define KERNEL_FMA 1 /* part of the architecture */
#else
#define KERNEL_FMA 0
#endif
#include "kernels.h"
#undef KERNEL
#undef KERNEL_NAME
#undef KERNEL_FMA
#undef KERNEL_WORDS

#if defined(__x86_64__) && defined(__GNUC__)
#define KERNEL_HAS_AVX2 1
TARGET_PUSH("avx2,fma,bmi,bmi2,lzcnt,popcnt")
#define KERNEL(name) name##_avx2
#define KERNEL_NAME "avx2"
#define KERNEL_FMA 1
#define KERNEL_WORDS 8
#include "kernels.h"
#undef KERNEL
#undef KERNEL_NAME
#undef KERNEL_FMA
#undef KERNEL_WORDS
TARGET_POP
#endif

/* The fastest kernels that this CPU can run; TSENGINE_CPU=baseline asks for the plain ones. */
static const Kernels *kernels_choose(void) {
#ifdef KERNEL_HAS_AVX2
    const char *wanted = getenv("TSENGINE_CPU");
    __builtin_cpu_init();
    if (!(wanted && strcmp(wanted, "baseline") == 0) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("lzcnt") &&
        __builtin_cpu_supports("popcnt"))
        return &table_avx2;
#endif
    return &table_baseline;
}

#endif
