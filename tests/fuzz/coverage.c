/* Which ways through the compiled core a run took: pairs of branches, counted in a table of 64 KiB, as AFL does it.
   Preloaded, so that the extensions of the fuzzed build find the function that gcc calls at each branch. */

#include <stdint.h>

#define TABLE_BYTES 65536

uint8_t fuzz_table[TABLE_BYTES];

static __thread uintptr_t before;

void __sanitizer_cov_trace_pc(void)
{
    uintptr_t here = (uintptr_t) __builtin_return_address(0) * (uintptr_t) 0x9E3779B97F4A7C15u >> 40;
    uint8_t *cell = &fuzz_table[(here ^ before) & (TABLE_BYTES - 1)];
    if (*cell < 255)
        ++*cell;
    before = here >> 1;
}
