"""The smallest and the largest value of each of many equal parts of the time, found by block statistics.

Statistics tell which block of a part holds its extreme; that one is decoded to find the point. A block that is cut by the end of
a part is decoded only if it could hold an extreme. Values are compared as integer keys, so numbers and integers are one case.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from cpython.exc cimport PyErr_NoMemory

from tsengine.core.batch cimport as_bits, as_number
from tsengine.core.limits cimport KIND_BOOLEAN, KIND_NUMBER
from tsengine.core.store.direct cimport (
    DIRECT_GOOD,
    DIRECT_VALUE,
    BlockSource,
    DirectFault,
    block_sources,
    direct_decode,
    direct_raise,
)
from tsengine.core.store.points cimport lower_bound
from tsengine.core.store.reduce cimport reducers
from tsengine.core.store.scan cimport BlockRef, SeriesScan
from tsengine.core.store.segment cimport Segment

import numpy as np

cdef extern from *:
    """
    typedef __int128 tsengine_int128;
    """
    ctypedef long long int128 "tsengine_int128"


cdef inline int64_t key_of(int64_t bits, uint8_t kind) noexcept nogil:
    """Return an integer that is ordered as the finite value is."""
    if kind != KIND_NUMBER:
        return bits
    bits = as_bits(as_number(bits) + 0.0)       # -0.0 becomes 0.0
    return bits ^ (bits >> 63 & INT64_MAX)


cdef DirectFault decode_ref(SeriesScan scan, const BlockSource* sources, int64_t ref, Decoded* into) noexcept nogil:
    """Decode a block of a scan, unless it is the one that was decoded last."""
    cdef const BlockRef* block = &scan.refs[ref]
    cdef DirectFault fault
    cdef int64_t i
    if into.ref == ref:
        return DIRECT_GOOD
    into.ref = -1
    if sources[block.source].footer != NULL:
        fault = direct_decode(&sources[block.source], block.block, scan.kind, into.time, into.bits)
        if fault != DIRECT_GOOD:
            return fault
    else:
        memcpy(into.time, scan.views[block.block].time, 8 * block.count)
        memcpy(into.bits, scan.views[block.block].value, 8 * block.count)
    for i in range(block.count):
        into.key[i] = key_of(into.bits[i], scan.kind)
    into.ref = ref
    return DIRECT_GOOD


cdef inline bint is_beaten(const Extreme* extreme, int64_t key, int64_t ref) noexcept nogil:
    """Whether a key of a block is larger, or comes first."""
    return extreme.ref < 0 or key > extreme.key or (key == extreme.key and ref < extreme.ref)


cdef inline void offer(Extreme* extreme, int64_t key, int64_t ref, int64_t place) noexcept nogil:
    if is_beaten(extreme, key, ref):
        extreme.key = key
        extreme.ref = ref
        extreme.place = place


cdef inline int64_t place_of(const int64_t* keys, int64_t low, int64_t high, int64_t key) noexcept nogil:
    while low < high and keys[low] != key:
        low += 1
    return low


cdef int64_t start_of_part(int64_t first, int64_t last, int64_t part, int64_t parts) noexcept nogil:
    return first + <int64_t> ((<int128> last - first + 1) * part // parts)


cdef bint is_plain(SeriesScan scan, const BlockSource* sources) noexcept nogil:
    """Whether there is no NaN; infinities are not told from them."""
    cdef const BlockRef* ref
    cdef int64_t i
    if scan.kind != KIND_NUMBER:
        return True
    for i in range(scan.ref_count):
        ref = &scan.refs[i]
        if sources[ref.source].footer != NULL:
            if sources[ref.source].footer.flags[ref.block]:
                return False
        elif not reducers.all_finite(<const double*> scan.views[ref.block].value, ref.count):
            return False
    return True


cdef DirectFault survey(
    SeriesScan scan, const BlockSource* sources, Decoded* cut, int64_t* first, int64_t* last, int64_t* total, int64_t* wrong
) noexcept nogil:
    """Set the first and last time and the number of points; a block at an edge of the bounds is decoded."""
    cdef const BlockRef* ref
    cdef DirectFault fault
    cdef int64_t i, low, high
    first[0] = INT64_MAX
    last[0] = INT64_MIN
    total[0] = 0
    for i in range(scan.ref_count):
        ref = &scan.refs[i]
        if ref.is_inside:
            first[0] = min(first[0], ref.first_time)
            last[0] = max(last[0], ref.last_time)
            total[0] += ref.count
            continue
        fault = decode_ref(scan, sources, i, cut)
        if fault != DIRECT_GOOD:
            wrong[0] = i
            return fault
        low = lower_bound(cut.time, ref.count, scan.start)
        high = lower_bound(cut.time, ref.count, scan.end + 1) if scan.end < INT64_MAX else ref.count
        if low < high:
            first[0] = min(first[0], cut.time[low])
            last[0] = max(last[0], cut.time[high - 1])
            total[0] += high - low
    return DIRECT_GOOD


cdef DirectFault find_part(
    SeriesScan scan, const BlockSource* sources, int64_t at, int64_t start, int64_t end, Decoded* cut, Extreme* low, Extreme* high,
    int64_t* wrong
) noexcept nogil:
    """Find the extremes of the points from `start` up to `end`; no block before `at` has any."""
    cdef const BlockRef* ref
    cdef const BlockSource* source
    cdef DirectFault fault
    cdef int64_t i, begin, stop, least, most
    cdef bint is_cut
    cdef int step
    low.ref = high.ref = low.place = high.place = -1
    low.key = high.key = INT64_MIN
    for step in range(2):               # whole blocks first: what they have may spare the others
        i = at
        while i < scan.ref_count and scan.refs[i].first_time < end:
            ref = &scan.refs[i]
            source = &sources[ref.source]
            is_cut = source.footer == NULL or not ref.is_inside or ref.first_time < start or ref.last_time >= end
            i += 1
            if is_cut != step:
                continue
            if source.footer != NULL:
                least = ~key_of(source.footer.minimum[ref.block], scan.kind)
                most = key_of(source.footer.maximum[ref.block], scan.kind)
                if not is_cut:
                    offer(low, least, i - 1, -1)
                    offer(high, most, i - 1, -1)
                    continue
                if not is_beaten(low, least, i - 1) and not is_beaten(high, most, i - 1):
                    continue
            fault = decode_ref(scan, sources, i - 1, cut)
            if fault != DIRECT_GOOD:
                wrong[0] = i - 1
                return fault
            begin = lower_bound(cut.time, ref.count, start)
            stop = lower_bound(cut.time, ref.count, end)
            if begin < stop:
                reducers.integer_range(cut.key + begin, stop - begin, &least, &most)
                if is_beaten(low, ~least, i - 1):
                    offer(low, ~least, i - 1, place_of(cut.key, begin, stop, least))
                if is_beaten(high, most, i - 1):
                    offer(high, most, i - 1, place_of(cut.key, begin, stop, most))
    return DIRECT_GOOD


cdef DirectFault point_at(
    SeriesScan scan, const BlockSource* sources, Extreme* extreme, int64_t key, Decoded* into, int64_t* time, int64_t* bits, int64_t* wrong
) noexcept nogil:
    """Set the time and value of the first point with the key that statistics tell of its block."""
    cdef DirectFault fault = decode_ref(scan, sources, extreme.ref, into)
    wrong[0] = extreme.ref
    if fault != DIRECT_GOOD:
        return fault
    if extreme.place < 0:
        extreme.place = place_of(into.key, 0, scan.refs[extreme.ref].count, key)
        if extreme.place == scan.refs[extreme.ref].count:
            return DIRECT_VALUE         # statistics of something else
    time[0] = into.time[extreme.place]
    bits[0] = into.bits[extreme.place]
    return DIRECT_GOOD


def extremes(SeriesScan scan, points: int):
    """Return (times, values) of the first smallest and the first largest value of each of points / 2 equal parts of the time.

    None where every point has to be looked at: blocks that overlap, a condition, values that are NaN or infinite; and where there are
    no more points than asked for.

    Raises:
        CorruptionError: a block that has to be decoded is damaged.
    Cost: at most four blocks of each part are decoded.
    """
    cdef int64_t parts, at_most = min(points, INT64_MAX), first = 0, last = 0, total = 0, wrong = 0, part, at = 0, start, end, count = 0
    cdef int64_t[::1] times, bits
    cdef DirectFault fault = DIRECT_GOOD
    cdef Extreme low, high
    cdef BlockSource* sources
    cdef Decoded* cut
    cdef Decoded* found
    cdef bint is_possible
    if scan.next_ref or not scan.is_direct():
        return None
    sources = block_sources(scan.sources)
    cut = <Decoded*> malloc(2 * sizeof(Decoded))
    try:
        if cut == NULL:
            PyErr_NoMemory()
        found = cut + 1
        cut.ref = found.ref = -1
        with nogil:
            is_possible = is_plain(scan, sources)
            if is_possible:
                fault = survey(scan, sources, cut, &first, &last, &total, &wrong)
        if fault != DIRECT_GOOD:
            direct_raise(<Segment> scan.sources[scan.refs[wrong].source][0], scan.refs[wrong].block, fault)
        if not is_possible or total <= at_most:
            return None
        parts = at_most // 2
        time_array, bits_array = np.empty(2 * parts, np.int64), np.empty(2 * parts, np.int64)
        times, bits = time_array, bits_array
        with nogil:
            for part in range(parts):
                start = start_of_part(first, last, part, parts)
                end = start_of_part(first, last, part + 1, parts)
                while at < scan.ref_count and scan.refs[at].last_time < start:
                    at += 1
                fault = find_part(scan, sources, at, start, end, cut, &low, &high, &wrong)
                if fault != DIRECT_GOOD:
                    break
                if low.ref < 0:
                    continue
                fault = point_at(
                    scan, sources, &low, ~low.key, cut if cut.ref == low.ref else found, &times[count], &bits[count], &wrong
                )
                if fault != DIRECT_GOOD:
                    break
                fault = point_at(
                    scan, sources, &high, high.key, cut if cut.ref == high.ref else found, &times[count + 1], &bits[count + 1], &wrong
                )
                if fault != DIRECT_GOOD:
                    break
                if low.ref > high.ref or (low.ref == high.ref and low.place > high.place):
                    times[count], times[count + 1] = times[count + 1], times[count]
                    bits[count], bits[count + 1] = bits[count + 1], bits[count]
                count += 1 + (low.ref != high.ref or low.place != high.place)
        if fault != DIRECT_GOOD:
            direct_raise(<Segment> scan.sources[scan.refs[wrong].source][0], scan.refs[wrong].block, fault)
    finally:
        free(sources)
        free(cut)
    times = bits = None
    time_array, bits_array = time_array[:count].copy(), bits_array[:count].copy()
    if scan.kind == KIND_BOOLEAN:
        return time_array, bits_array.astype(bool)
    return time_array, bits_array.view(np.float64) if scan.kind == KIND_NUMBER else bits_array
