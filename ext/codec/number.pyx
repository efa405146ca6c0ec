"""Blocks of float64 values to bytes and back, every bit pattern kept.

Most readings are decimals: v == d / 10^k, and the integers d pack well. What is no decimal is patched; blocks that have none are
packed as a dictionary of few values, as float32 or float64 bit patterns in the order of the values, or split into a few
distinct left parts and the bits at the right. Format: docs/format/block-codecs.md.
"""

from libc.math cimport ceil, fabs
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy, memset

from tsengine.core.codec.dispatch cimport DECIMAL_LIMIT, POWER, bit_length, is_decimal, kernels, packed_bytes
from tsengine.core.codec.fields cimport get_byte, get_varint, put_varint
from tsengine.core.codec.integer cimport (
    Narrow,
    integer_bound,
    integer_decode,
    integer_encode,
    integer_narrow,
    positions_decode,
    positions_encode,
)
from tsengine.core.limits cimport BLOCK_POINTS

cdef enum:
    EXPONENT_MAX = 15
    # Above 21 bits a decimal that became a float32 has no fewer bits than the float32 itself.
    SINGLE_LIMIT = 1 << 21
    SAMPLES = 48            # values that choose the mode
    DISTINCT_LIMIT = 24     # distinct values of the sample above which no dictionary is tried for dense decimals
    DICTIONARY_LIMIT = 255  # values of a dictionary
    SLOTS = 1024            # hash table of the dictionary, a power of two
    FILTER_WORDS = 16       # a bit for each slot
    LEFTS = 8               # left parts of a split
    LEFT_BITS = 16
    # Bytes of a decimal block per value above which bit patterns are tried as well.
    DENSE_BYTES = 5
    DENSE_BYTES_SINGLE = 2

# Origins that leave room below 2^51 for what a narrow block adds.
cdef int64_t DECIMAL_ORIGIN_MAX = (<int64_t> 1) << 50


cdef int64_t number_bound(int32_t n) noexcept nogil:
    # MODE_BITS is always a candidate and adds a byte to its integer block; every other candidate is built apart.
    return integer_bound(n) + 1


# Room for a candidate: an integer block, positions, and up to n patches as another integer block.
cdef enum:
    SCRATCH = 9 * 1024 * 2 + 128 + 256 + 64


# ---- decimals ----

# Take up to SAMPLES values: evenly, each moved by a golden-ratio sequence, so that no period of the values hides from them.
cdef int32_t take_sample(const double* values, int32_t n, double* sample) noexcept nogil:
    cdef int32_t i, step = n // SAMPLES
    if n <= SAMPLES:
        memcpy(sample, values, n * sizeof(double))
        return n
    for i in range(SAMPLES):
        sample[i] = values[i * step + ((i * 40503 & 65535) * step >> 16)]
    return SAMPLES


# The largest exponent at which `value` is still below the limit of decimals, or -1.
cdef inline int32_t largest_exponent(double value, int32_t single) noexcept nogil:
    cdef double limit = SINGLE_LIMIT if single else DECIMAL_LIMIT
    cdef int32_t exponent = EXPONENT_MAX
    while exponent >= 0 and not fabs(value) * POWER[exponent] < limit:
        exponent -= 1
    return exponent


# The smallest exponent that makes decimals of most of the values, or -1. A value that is no decimal at its largest exponent is none
# at a smaller one: such outliers cost one trial, and too many of them mean that the block is not decimal.
cdef int32_t find_exponent(const double* values, int32_t n, int32_t single, int32_t hint) noexcept nogil:
    cdef int32_t i, largest, exponent = 0, outliers = 0
    cdef double value
    if 0 < hint <= EXPONENT_MAX and is_decimal(values[0], hint, single) and not is_decimal(values[0], hint - 1, single):
        exponent = hint  # what the first value would lead to
    for i in range(n):
        value = values[i]
        if is_decimal(value, exponent, single):
            continue
        largest = largest_exponent(value, single)
        if largest > exponent and is_decimal(value, largest, single):
            exponent += 1
            while not is_decimal(value, exponent, single):
                exponent += 1
        else:
            outliers += 1
            if 2 * outliers > n:
                return -1
    return exponent


cdef void find_wrong(const double* values, int32_t n, const uint64_t* wrong, uint16_t* positions, double* patches) noexcept nogil:
    cdef int32_t i, found = 0
    for i in range(n):
        if wrong[i]:
            positions[found] = <uint16_t> i
            patches[found] = values[i]
            found += 1


# Patched values take the integer before them, so that they widen nothing.
cdef void fill_wrong(int64_t* integers, int32_t n, const uint64_t* wrong) noexcept nogil:
    cdef int32_t i = 0
    cdef int64_t last
    while wrong[i]:
        i += 1
    last = integers[i]
    for i in range(n):
        if wrong[i]:
            integers[i] = last
        else:
            last = integers[i]


# Returns 0 when more than half of the values are no decimals. Raises the exponent once if many that are wrong have more digits than
# the sample.
cdef int64_t decimal_encode(const double* values, int32_t n, int32_t* exponent, int32_t single, uint8_t* out) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] integers
    cdef uint64_t[BLOCK_POINTS] wrong
    cdef uint16_t[BLOCK_POINTS] positions
    cdef double[BLOCK_POINTS] patches
    cdef uint8_t* cursor = out + 1
    cdef int32_t count, finer
    count = kernels.decimal_encode(values, n, exponent[0], single, integers, wrong)
    if count:
        find_wrong(values, n, wrong, positions, patches)
        finer = find_exponent(patches, count if count < SAMPLES else SAMPLES, single, -1) if 16 * count > n else -1
        if finer > exponent[0]:
            exponent[0] = finer
            count = kernels.decimal_encode(values, n, finer, single, integers, wrong)
            find_wrong(values, n, wrong, positions, patches)
    if 2 * count > n:
        return 0
    out[0] = <uint8_t> ((MODE_DECIMAL_SINGLE if single else MODE_DECIMAL) | exponent[0] << EXPONENT_SHIFT)
    if count:
        out[0] |= FLAG_PATCHED
        cursor = put_varint(cursor, <uint64_t> count)
        fill_wrong(integers, n, wrong)
    cursor += integer_encode(integers, n, cursor)
    if count:
        cursor += positions_encode(positions, count, n, cursor)
        kernels.ordered_encode(patches, count, integers)
        cursor += integer_encode(integers, count, cursor)
    return cursor - out


cdef const uint8_t* decimal_decode(const uint8_t* data, const uint8_t* end, uint8_t first, double* out, int32_t n) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] integers
    cdef int32_t[BLOCK_POINTS] words
    cdef uint16_t[BLOCK_POINTS] positions
    cdef double[BLOCK_POINTS] patches
    cdef Narrow narrow
    cdef uint64_t count = 0
    cdef int64_t consumed
    cdef int32_t i, exponent
    cdef const uint8_t* cursor = data
    if first & ~EXPONENT_MASK == MODE_DECIMAL:
        consumed = number_narrow(data - 1, end - data + 1, n, words, &narrow, &exponent)
        if consumed >= 0:
            kernels.decimal_words(words, n, <double> narrow.origin, <double> narrow.scale, exponent, out)
            return data - 1 + consumed
    if first & FLAG_PATCHED:
        cursor = get_varint(cursor, end, &count)
        if cursor == NULL or count < 1 or count > <uint64_t> n:
            return NULL
    consumed = integer_decode(cursor, end - cursor, integers, n)
    if consumed < 0:
        return NULL
    cursor += consumed
    kernels.decimal_decode(integers, n, (first & EXPONENT_MASK) >> EXPONENT_SHIFT, first & MODE_MASK == MODE_DECIMAL_SINGLE, out)
    if count:
        consumed = positions_decode(cursor, end - cursor, <int32_t> count, n, positions)
        if consumed < 0:
            return NULL
        cursor += consumed
        consumed = integer_decode(cursor, end - cursor, integers, <int32_t> count)
        if consumed < 0:
            return NULL
        cursor += consumed
        kernels.ordered_decode(integers, <int32_t> count, patches)
        for i in range(<int32_t> count):
            out[positions[i]] = patches[i]
    return cursor


# ---- bit patterns ----

# As float32 where all values are, else as float64.
cdef int64_t bits_encode(const double* values, int32_t n, uint8_t* out) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] integers
    out[0] = MODE_SINGLE
    if kernels.single_encode(values, n, integers):
        out[0] = MODE_BITS
        kernels.ordered_encode(values, n, integers)
    return 1 + integer_encode(integers, n, out + 1)


cdef const uint8_t* bits_decode(const uint8_t* data, const uint8_t* end, uint8_t first, double* out, int32_t n) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] integers
    cdef int64_t consumed = integer_decode(data, end - data, integers, n)
    if consumed < 0:
        return NULL
    if first & MODE_MASK == MODE_SINGLE:
        kernels.single_decode(integers, n, out)
    else:
        kernels.ordered_decode(integers, n, out)
    return data + consumed


# ---- split ----

# Choose on a sample where to cut, and the left parts that get a code: most frequent first. Returns the estimated bytes of the block.
cdef int64_t split_plan(
    const double* sample, int32_t count, int32_t n, int32_t* width, uint16_t* lefts, int32_t* left_count
) noexcept nogil:
    cdef uint16_t[SAMPLES] tops
    cdef uint16_t[SAMPLES] parts
    cdef int32_t[SAMPLES] counts
    cdef uint64_t bits
    cdef uint16_t part
    cdef int32_t i, j, cut, distinct, covered, coded
    cdef int64_t cost, best = (<int64_t> 1) << 62
    for i in range(count):
        memcpy(&bits, &sample[i], 8)
        part = <uint16_t> (bits >> (64 - LEFT_BITS))
        j = i
        while j > 0 and tops[j - 1] > part:
            tops[j] = tops[j - 1]
            j -= 1
        tops[j] = part
    for cut in range(64 - LEFT_BITS, 64):
        distinct = 0
        for i in range(count):
            part = tops[i] >> (cut - (64 - LEFT_BITS))
            if distinct and parts[distinct - 1] == part:
                counts[distinct - 1] += 1
            else:
                parts[distinct] = part
                counts[distinct] = 1
                distinct += 1
        coded = 0
        covered = 0
        while coded < LEFTS and coded < distinct:  # move the most frequent of the rest forward
            j = coded
            for i in range(coded + 1, distinct):
                if counts[i] > counts[j]:
                    j = i
            part = parts[j]
            covered += counts[j]
            parts[j] = parts[coded]
            counts[j] = counts[coded]
            parts[coded] = part
            coded += 1
        cost = (cut + bit_length(<uint64_t> (coded - 1))) * count + (count - covered) * (LEFT_BITS + 10)
        if cost < best:
            best = cost
            width[0] = cut
            left_count[0] = coded
            memcpy(lefts, parts, coded * sizeof(uint16_t))
    return best * n // (8 * count)


cdef int64_t split_encode(const double* values, int32_t n, int32_t width, const uint16_t* lefts, int32_t left_count,
                          uint8_t* out) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] rights
    cdef int64_t[BLOCK_POINTS] codes
    cdef uint16_t[BLOCK_POINTS] positions
    cdef uint64_t bits
    cdef int32_t i, count = kernels.split_encode(values, n, width, lefts, left_count, rights, codes, positions)
    cdef uint8_t* cursor = out + 3
    out[0] = MODE_SPLIT
    out[1] = <uint8_t> width
    out[2] = <uint8_t> left_count
    memcpy(cursor, lefts, left_count * sizeof(uint16_t))
    cursor += left_count * sizeof(uint16_t)
    if count:
        out[0] |= FLAG_PATCHED
        cursor = put_varint(cursor, <uint64_t> count)
    cursor += kernels.pack(rights, n, 0, width, cursor)
    cursor += kernels.pack(codes, n, 0, bit_length(<uint64_t> (left_count - 1)), cursor)
    if count:
        cursor += positions_encode(positions, count, n, cursor)
        for i in range(count):
            memcpy(&bits, &values[positions[i]], 8)
            codes[i] = <int64_t> (bits >> width)
        cursor += kernels.pack(codes, count, 0, LEFT_BITS, cursor)
    return cursor - out


cdef const uint8_t* split_decode(const uint8_t* data, const uint8_t* end, uint8_t first, double* out, int32_t n) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] rights
    cdef int64_t[BLOCK_POINTS] codes
    cdef uint16_t[BLOCK_POINTS] positions
    cdef uint16_t[LEFTS] lefts
    cdef uint8_t width, left_count
    cdef uint64_t bits, count = 0
    cdef int64_t consumed
    cdef int32_t i, code_width
    cdef const uint8_t* cursor = get_byte(data, end, &width)
    cursor = get_byte(cursor, end, &left_count)
    if cursor == NULL or width < 64 - LEFT_BITS or width > 63 or left_count < 1 or left_count > LEFTS:
        return NULL
    if end - cursor < <int64_t> (left_count * sizeof(uint16_t)):
        return NULL
    memset(lefts, 0, sizeof(lefts))
    memcpy(lefts, cursor, left_count * sizeof(uint16_t))
    cursor += left_count * sizeof(uint16_t)
    if first & FLAG_PATCHED:
        cursor = get_varint(cursor, end, &count)
        if cursor == NULL or count < 1 or count > <uint64_t> n:
            return NULL
    code_width = bit_length(<uint64_t> (left_count - 1))
    if end - cursor < packed_bytes(n, width) + packed_bytes(n, code_width):
        return NULL
    kernels.unpack(cursor, n, width, 1, 0, rights)
    cursor += packed_bytes(n, width)
    kernels.unpack(cursor, n, code_width, 1, 0, codes)
    cursor += packed_bytes(n, code_width)
    kernels.split_decode(rights, codes, n, width, lefts, out)
    if count:
        consumed = positions_decode(cursor, end - cursor, <int32_t> count, n, positions)
        if consumed < 0:
            return NULL
        cursor += consumed
        if end - cursor < packed_bytes(<int32_t> count, LEFT_BITS):
            return NULL
        kernels.unpack(cursor, <int32_t> count, LEFT_BITS, 1, 0, codes)
        cursor += packed_bytes(<int32_t> count, LEFT_BITS)
        for i in range(<int32_t> count):
            bits = <uint64_t> rights[positions[i]] | <uint64_t> codes[i] << width
            memcpy(&out[positions[i]], &bits, 8)
    return cursor


# ---- dictionary ----

cdef inline uint64_t slot_of(int64_t key) noexcept nogil:
    return (<uint64_t> key * <uint64_t> 0x9E3779B97F4A7C15) >> 54  # 10 bits: SLOTS


# Distinct values, or a few less where two of them share a bit of the filter.
cdef int32_t distinct_count(const double* sample, int32_t count) noexcept nogil:
    cdef uint64_t[FILTER_WORDS] seen
    cdef uint64_t bits, slot
    cdef int32_t i, found = 0
    memset(seen, 0, sizeof(seen))
    for i in range(count):
        memcpy(&bits, &sample[i], 8)
        slot = slot_of(<int64_t> bits)
        found += not (seen[slot >> 6] >> (slot & 63)) & 1
        seen[slot >> 6] |= <uint64_t> 1 << (slot & 63)
    return found


# Returns 0 when the block has more than DICTIONARY_LIMIT distinct values, or more than a quarter of n.
cdef int64_t dictionary_encode(const double* values, int32_t n, uint8_t* out) noexcept nogil:
    cdef int64_t[BLOCK_POINTS] keys
    cdef int64_t[SLOTS] slot_key
    cdef uint8_t[SLOTS] slot_rank           # 0: empty; while filling, any other number: used
    cdef int64_t[DICTIONARY_LIMIT] entries
    cdef double[BLOCK_POINTS] entry_values
    cdef int64_t key
    cdef uint64_t slot
    cdef uint8_t* cursor = out + 1
    cdef int32_t i, j, gap, count = 0, limit = n // 4
    if limit > DICTIONARY_LIMIT:
        limit = DICTIONARY_LIMIT
    memset(slot_rank, 0, sizeof(slot_rank))
    kernels.ordered_encode(values, n, keys)
    for i in range(n):
        slot = slot_of(keys[i])
        while slot_rank[slot] and slot_key[slot] != keys[i]:
            slot = (slot + 1) % SLOTS
        if not slot_rank[slot]:
            if count == limit:
                return 0
            slot_rank[slot] = 1
            slot_key[slot] = keys[i]
            entries[count] = keys[i]
            count += 1
    gap = 121  # Shell sort with Knuth's gaps
    while gap:
        for i in range(gap, count):
            key = entries[i]
            j = i
            while j >= gap and entries[j - gap] > key:
                entries[j] = entries[j - gap]
                j -= gap
            entries[j] = key
        gap //= 3
    for i in range(count):
        slot = slot_of(entries[i])
        while slot_key[slot] != entries[i] or not slot_rank[slot]:
            slot = (slot + 1) % SLOTS
        slot_rank[slot] = <uint8_t> (i + 1)
    for i in range(n):
        slot = slot_of(keys[i])
        while slot_key[slot] != keys[i] or not slot_rank[slot]:
            slot = (slot + 1) % SLOTS
        keys[i] = slot_rank[slot] - 1
    out[0] = MODE_DICTIONARY
    cursor = put_varint(cursor, <uint64_t> count)
    kernels.ordered_decode(entries, count, entry_values)
    cursor += plain_encode(entry_values, count, cursor)
    return cursor + integer_encode(keys, n, cursor) - out


# The entries: decimals if they are, else bit patterns.
cdef int64_t plain_encode(const double* values, int32_t n, uint8_t* out) noexcept nogil:
    cdef int32_t exponent = find_exponent(values, n, False, -1)
    cdef int64_t size = decimal_encode(values, n, &exponent, False, out) if exponent >= 0 else 0
    return size if size else bits_encode(values, n, out)


cdef const uint8_t* dictionary_decode(const uint8_t* data, const uint8_t* end, double* out, int32_t n) noexcept nogil:
    cdef double[BLOCK_POINTS] table
    cdef int64_t[BLOCK_POINTS] codes
    cdef uint64_t count
    cdef int64_t consumed
    cdef const uint8_t* cursor = get_varint(data, end, &count)
    if cursor == NULL or count < 1 or count > <uint64_t> n:
        return NULL
    cursor = plain_decode(cursor, end, table, <int32_t> count)
    if cursor == NULL:
        return NULL
    consumed = integer_decode(cursor, end - cursor, codes, n)
    if consumed < 0 or kernels.lookup(codes, n, table, <int32_t> count, out):
        return NULL
    return cursor + consumed


# ---- choosing ----

cdef int64_t number_encode(const double* values, int32_t n, uint8_t* out, int32_t* exponent_hint) noexcept nogil:
    cdef uint8_t[SCRATCH] scratch
    cdef double[SAMPLES] sample
    cdef uint16_t[LEFTS] lefts
    cdef int32_t count, exponent, single = False, distinct, width = 0, left_count = 0
    cdef int64_t size = 0, best = 0, bound = number_bound(n), estimate
    cdef bint is_dense
    count = take_sample(values, n, sample)
    exponent = find_exponent(sample, count, False, exponent_hint[0])
    if exponent < 0:
        single = True
        exponent = find_exponent(sample, count, True, exponent_hint[0])
    if exponent >= 0:
        size = decimal_encode(values, n, &exponent, single, scratch)
        exponent_hint[0] = exponent
        if size and size < bound:
            memcpy(out, scratch, <size_t> size)
            best = size
    distinct = 1
    if not best or 4 * best > n:  # less than two bits a value are left alone
        distinct = distinct_count(sample, count)
    # Dense decimals are worth it for few values only. For others it saves most of the bits: whatever repeats in the sample is tried,
    # and of 255 values, the most of a dictionary, hardly any sample is without a repetition.
    is_dense = best and best <= (DENSE_BYTES_SINGLE if single else DENSE_BYTES) * n
    if 1 < distinct <= (DISTINCT_LIMIT if is_dense else count - 1):
        estimate = (<int64_t> n * bit_length(<uint64_t> (distinct - 1)) + 16 * distinct) // 8
        if not best or estimate < best:
            size = dictionary_encode(values, n, scratch)
            if size and size < bound and (not best or size < best):
                memcpy(out, scratch, <size_t> size)
                best = size
    if is_dense:
        return best
    size = bits_encode(values, n, scratch)
    if not best or size < best:
        memcpy(out, scratch, <size_t> size)
        best = size
    if out[0] != MODE_SINGLE:
        estimate = split_plan(sample, count, n, &width, lefts, &left_count)
        if estimate < best:
            size = split_encode(values, n, width, lefts, left_count, scratch)
            if size < best:
                memcpy(out, scratch, <size_t> size)
                best = size
    return best


# All modes that hold values themselves. Returns the byte after the block, or NULL.
cdef const uint8_t* plain_decode(const uint8_t* data, const uint8_t* end, double* out, int32_t n) noexcept nogil:
    cdef uint8_t first
    cdef const uint8_t* cursor = get_byte(data, end, &first)
    cdef uint8_t mode = first & MODE_MASK
    if cursor == NULL:
        return NULL
    if mode == MODE_DECIMAL or mode == MODE_DECIMAL_SINGLE:
        return decimal_decode(cursor, end, first, out, n)
    if mode == MODE_BITS or mode == MODE_SINGLE:
        return bits_decode(cursor, end, first, out, n) if first == mode else NULL
    if mode == MODE_SPLIT and not first & EXPONENT_MASK:
        return split_decode(cursor, end, first, out, n)
    return NULL


cdef int64_t number_decode(const uint8_t* data, int64_t size, double* out, int32_t n) noexcept nogil:
    cdef const uint8_t* end
    if size < 1 or n < 1 or n > BLOCK_POINTS:
        return -1
    if data[0] == MODE_DICTIONARY:
        end = dictionary_decode(data + 1, data + size, out, n)
    else:
        end = plain_decode(data, data + size, out, n)
    return end - data if end != NULL else -1


cdef int64_t number_decode_integers(const uint8_t* data, int64_t size, int64_t* out, int32_t n, int32_t* exponent) noexcept nogil:
    cdef int64_t consumed
    if size < 2 or n < 1 or n > BLOCK_POINTS or data[0] & ~EXPONENT_MASK != MODE_DECIMAL:
        return -1
    exponent[0] = (data[0] & EXPONENT_MASK) >> EXPONENT_SHIFT
    consumed = integer_decode(data + 1, size - 1, out, n)
    return consumed + 1 if consumed >= 0 else -1


cdef int64_t number_narrow(
    const uint8_t* data, int64_t size, int32_t n, int32_t* words, Narrow* narrow, int32_t* exponent
) noexcept nogil:
    cdef int64_t consumed
    if size < 2 or data[0] & ~EXPONENT_MASK != MODE_DECIMAL:
        return -1
    consumed = integer_narrow(data + 1, size - 1, n, words, narrow)
    # A word is below 2^30 in magnitude.
    if consumed < 0 or narrow.scale > 1 << 20 or not -DECIMAL_ORIGIN_MAX <= narrow.origin <= DECIMAL_ORIGIN_MAX:
        return -1
    exponent[0] = (data[0] & EXPONENT_MASK) >> EXPONENT_SHIFT
    return consumed + 1


cdef int64_t number_decode_keys(const uint8_t* data, int64_t size, int64_t* out, int32_t n) noexcept nogil:
    cdef int64_t consumed
    if size < 2 or n < 1 or n > BLOCK_POINTS or data[0] != MODE_BITS:
        return -1
    consumed = integer_decode(data + 1, size - 1, out, n)
    return consumed + 1 if consumed >= 0 else -1


cdef int64_t number_key(double bound, bint is_upper) noexcept nogil:
    cdef int64_t bits
    if bound == 0:
        bound = 0.0 if is_upper else -0.0       # -0.0 comes before 0.0, and both are meant
    memcpy(&bits, &bound, 8)
    return bits ^ <int64_t> ((0 - (<uint64_t> bits >> 63)) >> 1)


cdef int64_t decimal_from(double bound, int32_t exponent) noexcept nogil:
    cdef double limit = 2251799813685248.0      # 2^51: every d is below
    cdef double scaled = bound * POWER[exponent]
    cdef double d
    if not scaled < limit:
        return <int64_t> limit
    if scaled < -limit:
        return -<int64_t> limit
    # The product is rounded: the integer looked for is at most a few away.
    d = ceil(scaled)
    while d > -limit and (d - 1) / POWER[exponent] >= bound:
        d -= 1
    while d < limit and d / POWER[exponent] < bound:
        d += 1
    return <int64_t> d
