"""Blocks of int64 values (integers, times, codes) to bytes and back.

A block subtracts what is regular (a base, a step, a step of the step, a line), divides by the common divisor, and packs what is
left at one width; values that would need a wider one are patched on top. Long runs are stored as runs; what ticks regularly, but
not in whole units, as a grid. All arithmetic wraps at 64 bits, so every int64 comes back. Format: docs/format/block-codecs.md.
"""

from libc.stdint cimport UINT32_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from tsengine.core.codec.dispatch cimport bit_length, kernels, low_bits, packed_at, packed_bytes, uses_lanes
from tsengine.core.codec.fields cimport get_byte, get_signed, get_varint, put_varint, unzigzag, zigzag
from tsengine.core.codec.plan cimport Plan, common_divisor, plan_all, plan_sample
from tsengine.core.limits cimport BLOCK_POINTS

cdef enum:
    # Fewer values, or fewer steps that are longer than the others, take less than the 20 to 40 bytes of a grid.
    GRID_POINTS_MIN = 512
    GRID_LONG_MIN = 32
    GRID_TRIALS = 16        # each at least halves the slopes that are left, of 2^-9 at first
    # Bounds of a narrow block: 1,024 steps of 20 bits each add up to less than 2^30, and 2^30 * 2^30 + 2^61 is below 2^62.
    NARROW_WIDTH_MAX = 19
    NARROW_STEP_MAX = 1 << 19
    NARROW_SCALE_MAX = 1 << 30
    LINE_WIDTH_MAX = 31     # of what lies beside a line that is decoded in words of 32 bits

cdef int64_t NARROW_ORIGIN_MAX = (<int64_t> 1) << 61

# Residual range where the sums of the slope cannot overflow.
cdef int64_t LINE_LIMIT = (<int64_t> 1) << 44


cdef int64_t integer_bound(int32_t n) noexcept nogil:
    # Packing at the full width is always a candidate; lanes round it up by an eighth at most.
    return 9 * <int64_t> n + 64


# ---- encoding ----

cdef int64_t positions_encode(const uint16_t* positions, int32_t count, int32_t n, uint8_t* out) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] values
    cdef int32_t i, width = bit_length(<uint64_t> (n - 1))
    if count * width > n:
        memset(out, 0, <size_t> ((n + 7) // 8))
        for i in range(count):
            out[positions[i] >> 3] |= <uint8_t> (1 << (positions[i] & 7))
        return (n + 7) // 8
    for i in range(count):
        values[i] = positions[i]
    return kernels.pack(values, count, 0, width, out)


# Write the width, the patches and the packed residuals; completes the flags in `first`.
cdef uint8_t* residuals_encode(const int64_t* values, int32_t n, Plan* plan, uint8_t* first, uint8_t* out) noexcept nogil:
    cdef uint16_t[BLOCK_POINTS] positions
    cdef int64_t[BLOCK_POINTS] highs
    cdef uint64_t residual, limit = low_bits(plan.width), all_highs = 0
    cdef int32_t i, count = 0, high_width = 0
    if plan.width < plan.full_width or plan.is_centred:
        for i in range(n):
            residual = <uint64_t> values[i] - <uint64_t> plan.base
            if residual > limit:
                positions[count] = <uint16_t> i
                highs[count] = <int64_t> zigzag(<int64_t> residual >> plan.width)
                all_highs |= <uint64_t> highs[count]
                count += 1
    if plan.width:
        first[0] |= FLAG_PACKED
        out[0] = <uint8_t> plan.width
        out += 1
    if count:
        first[0] |= FLAG_PATCHED
        high_width = bit_length(all_highs)
        out = put_varint(out, <uint64_t> count)
        out[0] = <uint8_t> high_width
        out += 1
    out += kernels.pack(values, n, plan.base, plan.width, out)
    if count:
        out += positions_encode(positions, count, n, out)
        out += kernels.pack(highs, count, 0, high_width, out)
    return out


cdef inline int64_t place(int64_t origin, int64_t steps, uint64_t divisor) noexcept nogil:
    return <int64_t> (<uint64_t> origin + <uint64_t> steps * divisor)


cdef int64_t runs_encode(const int64_t* values, int32_t n, int32_t count, uint8_t* out) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] heads
    cdef int64_t[BLOCK_POINTS] lengths
    cdef uint8_t* cursor
    cdef int32_t i, start = 0, run = 0
    for i in range(1, n + 1):
        if i == n or values[i] != values[start]:
            heads[run] = values[start]
            lengths[run] = i - start - 1
            run += 1
            start = i
    out[0] = FORM_RUNS
    cursor = put_varint(out + 1, <uint64_t> count)
    cursor += encode_forms(heads, count, cursor, False)
    cursor += encode_forms(lengths, count, cursor, False)
    return cursor - out


# Whether all values have the same distance from the one before. Most that have not show it in the first three.
cdef inline bint is_regular(const int64_t* values, int32_t n) noexcept nogil:
    cdef uint64_t step = <uint64_t> values[1] - <uint64_t> values[0]
    if n > 2 and <uint64_t> values[2] - <uint64_t> values[1] != step:
        return False
    return kernels.is_regular(values, n, <int64_t> step)


# The fraction and phase, in 1/2^32, with floor((phase + i * fraction) / 2^32) = longer[i], the number of the first i steps that are
# longer than the others; return whether there are such. Each trial finds the two values that contradict its fraction most, and so
# a bound for the right one.
cdef bint find_grid(const int64_t* longer, int32_t n, uint32_t* fraction, uint32_t* phase) noexcept nogil:
    cdef int64_t one = (<int64_t> 1) << 32
    cdef int64_t low = (longer[n - 1] - 1) * one // (n - 1), high = (longer[n - 1] + 1) * one // (n - 1)
    cdef int64_t trial = longer[n - 1] * one // (n - 1), rest, least, most
    cdef int32_t i, _trial, least_at, most_at
    for _trial in range(GRID_TRIALS):
        least = most = 0
        least_at = most_at = 0
        for i in range(1, n):
            rest = longer[i] * one - i * trial
            if rest > most:
                most = rest
                most_at = i
            if rest < least:
                least = rest
                least_at = i
        if most - least < one:
            fraction[0] = <uint32_t> trial
            phase[0] = <uint32_t> most
            return 0 < trial < one
        if most - least >= 3 * one:     # more than a wrong slope between the bounds explains
            return False
        if most_at > least_at:
            low = max(low, (longer[most_at] - longer[least_at] - 1) * one // (most_at - least_at) + 1)
        else:
            high = min(high, ((longer[least_at] - longer[most_at] + 1) * one - 1) // (least_at - most_at))
        if low > high:
            return False
        trial = low + (high - low) // 2
    return False


# Write a grid if the values, whose steps of `step` or one more multiples of the divisor are given, are one; else return 0.
cdef int64_t grid_encode(
    int64_t origin, const int64_t* steps, int64_t step, uint64_t divisor, int32_t n, uint8_t* out
) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] longer
    cdef uint8_t* cursor = out + 1
    cdef uint32_t fraction, phase
    cdef int32_t i
    longer[0] = 0
    for i in range(1, n):
        longer[i] = longer[i - 1] + (steps[i] - step)
    if not GRID_LONG_MIN <= longer[n - 1] < n - GRID_LONG_MIN or not find_grid(longer, n, &fraction, &phase):
        return 0
    out[0] = FORM_GRID
    if divisor > 1:
        out[0] |= FLAG_SCALED
        cursor = put_varint(cursor, divisor)
    cursor = put_varint(cursor, zigzag(origin))
    cursor = put_varint(cursor, zigzag(step))
    memcpy(cursor, &fraction, 4)
    memcpy(cursor + 4, &phase, 4)
    return cursor + 8 - out


cdef int64_t encode_forms(const int64_t* values, int32_t n, uint8_t* out, bint with_runs) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] shifted
    cdef int64_t[BLOCK_POINTS] scaled
    cdef int64_t[BLOCK_POINTS] steps
    cdef int64_t[BLOCK_POINTS] turns
    cdef int64_t[BLOCK_POINTS] line
    cdef uint8_t[9 * 128 + 64] runs
    cdef const int64_t* residuals
    cdef const int64_t* chosen
    cdef uint8_t* cursor = out + 1
    cdef Plan plan, best
    cdef uint64_t divisor
    cdef int64_t origin = values[0], step, steps_high, low, high, slope = 0, size, size_runs
    cdef int32_t changes, form = FORM_BASE
    cdef bint has_runs

    if n == 1 or is_regular(values, n):
        step = <int64_t> (<uint64_t> values[1] - <uint64_t> origin) if n > 1 else 0
        out[0] = FORM_DELTA if step else FORM_BASE
        cursor = put_varint(cursor, zigzag(origin))
        return (put_varint(cursor, zigzag(step)) if step else cursor) - out

    changes = kernels.changes(values, n)
    kernels.shift(values, n, origin, shifted)
    divisor = common_divisor(shifted, n, scaled)
    residuals = shifted
    if divisor > 1:
        residuals = scaled
    chosen = residuals
    # Runs are what mostly equal values become; no line and no turn comes near them.
    has_runs = with_runs and changes < n // 8
    kernels.difference(residuals, n, steps)
    kernels.range(steps, n, &step, &steps_high)
    if n >= GRID_POINTS_MIN and not has_runs and <uint64_t> steps_high - <uint64_t> step == 1:
        size = grid_encode(origin, steps, step, divisor, n, out)
        if size:
            return size

    kernels.range(residuals, n, &low, &high)
    plan_sample(residuals, n, low, high, &best)
    if not has_runs and -LINE_LIMIT < low and high < LINE_LIMIT:
        slope = kernels.slope(residuals, n)
        if slope:
            kernels.line_subtract(residuals, n, slope, line)
            kernels.range(line, n, &low, &high)
            plan_sample(line, n, low, high, &plan)
            plan.bits += 24
            if plan.bits < best.bits:
                best = plan
                chosen = line
                form = FORM_LINE
    plan_sample(steps, n, step, steps_high, &plan)
    plan.bits += 16
    if plan.bits < best.bits:
        best = plan
        chosen = steps
        form = FORM_DELTA
    if not has_runs:
        kernels.difference(steps, n, turns)
        turns[1] = turns[2]
        turns[0] = turns[2]
        kernels.range(turns, n, &low, &high)
        plan_sample(turns, n, low, high, &plan)
        plan.bits += 32
        if plan.bits < best.bits:
            best = plan
            chosen = turns
            form = FORM_TURN

    plan_all(chosen, n, &best)
    out[0] = <uint8_t> form
    if divisor > 1:
        out[0] |= FLAG_SCALED
        cursor = put_varint(cursor, divisor)
    if form == FORM_BASE or form == FORM_LINE:
        cursor = put_varint(cursor, zigzag(place(origin, best.base, divisor)))
        if form == FORM_LINE:
            cursor = put_varint(cursor, zigzag(slope))
    else:
        cursor = put_varint(cursor, zigzag(origin))
        if form == FORM_TURN:
            cursor = put_varint(cursor, zigzag(values[1] - values[0]))
        cursor = put_varint(cursor, zigzag(best.base))
    size = residuals_encode(chosen, n, &best, out, cursor) - out

    if has_runs and changes < size:
        size_runs = runs_encode(values, n, changes + 1, runs)
        if size_runs < size:
            memcpy(out, runs, <size_t> size_runs)
            return size_runs
    return size


cdef int64_t integer_encode(const int64_t* values, int32_t n, uint8_t* out) noexcept nogil:
    return encode_forms(values, n, out, True)


# ---- decoding ----

cdef int64_t positions_decode(const uint8_t* data, int64_t size, int32_t count, int32_t n, uint16_t* positions) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] values
    cdef int32_t i, position, found = 0, width = bit_length(<uint64_t> (n - 1))
    cdef uint8_t byte
    if count * width > n:
        if size < (n + 7) // 8:
            return -1
        for i in range((n + 7) // 8):
            byte = data[i]
            while byte:
                position = 8 * i + bit_length(byte & (~byte + 1)) - 1
                if position >= n or found == count:
                    return -1
                positions[found] = <uint16_t> position
                found += 1
                byte &= byte - 1
        return (n + 7) // 8 if found == count else -1
    if size < packed_bytes(count, width):
        return -1
    kernels.unpack(data, count, width, 1, 0, values)
    for i in range(count):
        if values[i] >= n:
            return -1
        positions[i] = <uint16_t> values[i]
    return packed_bytes(count, width)


cdef const uint8_t* header_decode(const uint8_t* data, const uint8_t* end, Header* header) noexcept nogil:
    cdef uint8_t first
    cdef const uint8_t* cursor = get_byte(data, end, &first)
    memset(header, 0, sizeof(Header))
    if cursor == NULL or first & FLAG_UNKNOWN:
        return NULL
    header.form = first & FORM_MASK
    header.flags = first & ~FORM_MASK
    header.divisor = 1
    if header.form == FORM_RUNS or header.form > FORM_GRID or (header.form == FORM_GRID and first & (FLAG_PACKED | FLAG_PATCHED)):
        return NULL
    if first & FLAG_SCALED:
        cursor = get_varint(cursor, end, &header.divisor)
    cursor = get_signed(cursor, end, &header.origin)
    if header.form == FORM_GRID:
        cursor = get_signed(cursor, end, &header.step)
        if cursor == NULL or end - cursor < 8:
            return NULL
        memcpy(&header.fraction, cursor, 4)
        memcpy(&header.phase, cursor + 4, 4)
        return cursor + 8
    if header.form == FORM_LINE:
        cursor = get_signed(cursor, end, &header.slope)
    elif header.form != FORM_BASE:
        if header.form == FORM_TURN:
            cursor = get_signed(cursor, end, &header.step)
        cursor = get_signed(cursor, end, &header.base)
    if first & FLAG_PACKED:
        cursor = get_byte(cursor, end, &header.width)
        if header.width < 1 or header.width > 64:
            return NULL
    if first & FLAG_PATCHED:
        cursor = get_varint(cursor, end, &header.patched)
        cursor = get_byte(cursor, end, &header.high_width)
        if header.high_width < 1 or header.high_width > 64 or header.patched < 1 or header.patched > BLOCK_POINTS:
            return NULL
    return cursor


# Add the high bits of the patched residuals. Returns the bytes consumed, or -1.
cdef int64_t patches_decode(const uint8_t* data, int64_t size, const Header* header, int32_t n, uint64_t scale,
                            int64_t* out) noexcept nogil:
    cdef uint16_t[BLOCK_POINTS] positions
    cdef int64_t[BLOCK_POINTS] highs
    cdef int32_t i, count = <int32_t> header.patched
    cdef uint64_t high
    cdef int64_t consumed
    if count > n or header.width == 64:
        return -1
    consumed = positions_decode(data, size, count, n, positions)
    if consumed < 0 or size - consumed < packed_bytes(count, header.high_width):
        return -1
    kernels.unpack(data + consumed, count, header.high_width, 1, 0, highs)
    for i in range(count):
        high = <uint64_t> unzigzag(<uint64_t> highs[i]) << header.width
        out[positions[i]] = <int64_t> (<uint64_t> out[positions[i]] + high * scale)
    return consumed + packed_bytes(count, header.high_width)


cdef int64_t integer_narrow(const uint8_t* data, int64_t size, int32_t n, int32_t* words, Narrow* narrow) noexcept nogil:
    cdef Header header
    cdef const uint8_t* end = data + size
    cdef const uint8_t* cursor
    if size < 1 or n < 1 or n > BLOCK_POINTS or (data[0] & FORM_MASK != FORM_BASE and data[0] & FORM_MASK != FORM_DELTA):
        return -1
    cursor = header_decode(data, end, &header)
    if cursor == NULL or header.flags & FLAG_PATCHED or end - cursor < packed_bytes(n, header.width):
        return -1
    if header.width > NARROW_WIDTH_MAX or header.divisor > <uint64_t> NARROW_SCALE_MAX:
        return -1
    if not -NARROW_ORIGIN_MAX <= header.origin <= NARROW_ORIGIN_MAX or not -NARROW_STEP_MAX <= header.base <= NARROW_STEP_MAX:
        return -1
    kernels.unpack_words(cursor, n, header.width, <uint32_t*> words)
    if header.form == FORM_DELTA:
        kernels.prefix_words(<uint32_t*> words, n, <uint32_t> header.base)
    narrow.origin = header.origin
    narrow.scale = <int64_t> header.divisor
    return cursor + packed_bytes(n, header.width) - data


cdef int64_t runs_decode(const uint8_t* data, int64_t size, int64_t* out, int32_t n) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] heads
    cdef int64_t[BLOCK_POINTS] lengths
    cdef const uint8_t* end = data + size
    cdef uint64_t count
    cdef int64_t consumed
    cdef int32_t run, i, at = 0, stop
    cdef const uint8_t* cursor = get_varint(data + 1, end, &count)
    if cursor == NULL or data[0] != FORM_RUNS or count < 1 or count > <uint64_t> n:
        return -1
    consumed = decode_forms(cursor, end - cursor, heads, <int32_t> count)
    if consumed < 0:
        return -1
    cursor += consumed
    consumed = decode_forms(cursor, end - cursor, lengths, <int32_t> count)
    if consumed < 0:
        return -1
    cursor += consumed
    for run in range(<int32_t> count):
        if <uint64_t> lengths[run] >= <uint64_t> (n - at):
            return -1
        stop = at + <int32_t> lengths[run] + 1
        for i in range(at, stop):
            out[i] = heads[run]
        at = stop
    return cursor - data if at == n else -1


# Whether a line and what lies beside it are below 2^32, so that one multiplication of 32 bits gives each value.
cdef inline bint is_short_line(const Header* header) noexcept nogil:
    return (
        0 <= header.slope <= (<int64_t> 1) << 36                # 1,024 steps of it are below 2^31 when divided by 65536
        and header.width <= LINE_WIDTH_MAX and header.divisor <= UINT32_MAX and not header.flags & FLAG_PATCHED
    )


cdef int64_t decode_forms(const uint8_t* data, int64_t size, int64_t* out, int32_t n) noexcept nogil:
    cdef Header header
    cdef const uint8_t* end = data + size
    cdef const uint8_t* cursor = header_decode(data, end, &header)
    cdef uint64_t scale = header.divisor, base = <uint64_t> header.origin
    cdef uint32_t[BLOCK_POINTS] words
    cdef int64_t consumed
    if cursor == NULL or end - cursor < packed_bytes(n, header.width):
        return -1
    if header.form == FORM_GRID:
        kernels.grid(header.origin, header.step, header.fraction, header.phase, header.divisor, n, out)
        return cursor - data
    if header.form == FORM_DELTA or header.form == FORM_TURN:
        base = <uint64_t> header.base * scale
        if header.form == FORM_DELTA and not header.flags & (FLAG_PACKED | FLAG_PATCHED):
            kernels.ramp(header.origin, <int64_t> base, n, out)
            return cursor - data
    elif header.form == FORM_LINE:
        if is_short_line(&header):
            kernels.unpack_words(cursor, n, header.width, words)
            kernels.line_words(words, n, <uint64_t> header.slope, <uint32_t> scale, base, out)
            return cursor + packed_bytes(n, header.width) - data
        if scale != 1:
            scale, base = 1, 0
    kernels.unpack(cursor, n, header.width, scale, base, out)
    cursor += packed_bytes(n, header.width)
    if header.flags & FLAG_PATCHED:
        consumed = patches_decode(cursor, end - cursor, &header, n, scale, out)
        if consumed < 0:
            return -1
        cursor += consumed
    if header.form == FORM_DELTA:
        kernels.prefix(out, n, header.origin)
    elif header.form == FORM_TURN:
        # out[1] must become the first difference and out[0] is free, so both sums start after it.
        out[0] = 0
        if n > 1:
            out[1] = 0
        kernels.prefix(out, n, header.step)
        kernels.prefix(out, n, header.origin)
    elif header.form == FORM_LINE:
        kernels.line_add(out, n, header.slope)
        if header.divisor != 1:
            kernels.scale(out, n, header.divisor, <uint64_t> header.origin)
    return cursor - data


cdef int64_t integer_decode(const uint8_t* data, int64_t size, int64_t* out, int32_t n) noexcept nogil:
    if size < 1 or n < 1 or n > BLOCK_POINTS:
        return -1
    if data[0] & FORM_MASK == FORM_RUNS:
        return runs_decode(data, size, out, n)
    return decode_forms(data, size, out, n)


# ---- single values ----

cdef int integer_probe(const uint8_t* data, int64_t size, int32_t n, IntegerProbe* probe) noexcept nogil:
    cdef Header header
    cdef const uint8_t* end = data + size
    cdef const uint8_t* cursor
    if size < 1 or n < 1 or n > BLOCK_POINTS or (data[0] & FORM_MASK != FORM_BASE and data[0] & FORM_MASK != FORM_LINE):
        return 0
    cursor = header_decode(data, end, &header)
    if cursor == NULL or header.flags & FLAG_PATCHED or end - cursor != packed_bytes(n, header.width):
        return 0
    probe.packed = cursor
    probe.n = n
    probe.width = header.width
    probe.in_lanes = uses_lanes(n, header.width)
    probe.origin = header.origin
    probe.slope = header.slope if header.form == FORM_LINE else 0
    probe.divisor = header.divisor
    return 1


cdef int64_t integer_at(const IntegerProbe* probe, int32_t i) noexcept nogil:
    cdef uint64_t residual = packed_at(probe.packed, probe.n, probe.width, probe.in_lanes, i) if probe.width else 0
    cdef uint64_t line = <uint64_t> ((<int64_t> (<uint64_t> i * <uint64_t> probe.slope)) >> 16)
    return <int64_t> (<uint64_t> probe.origin + (residual + line) * probe.divisor)
