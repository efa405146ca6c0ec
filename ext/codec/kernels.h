/* The loops of the codecs over one block, plain C that the compiler vectorises; dispatch.h includes this once per CPU target.
 *
 * n is 1 to KERNEL_BLOCK. Arrays that are written have room for KERNEL_BLOCK values and may be filled beyond n.
 * Nothing here reads beyond the packed_bytes(n, width) bytes that the caller has checked. Integers wrap.
 */

#include "packing_kernels.h"
#include "integer_kernels.h"
#include "number_kernels.h"

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
