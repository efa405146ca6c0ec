"""The points of one series and kind in memory.

Columns is a view that owns nothing: a memtable block, a slice of a buffer, a decoded block. PointBuffer owns growable
columns and is what blocks are decoded into, what merges collect, and what results are made from.
"""

from libc.math cimport isnan
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from cpython.exc cimport PyErr_NoMemory

from tsengine.core.batch cimport GroupCell, LocationCell, as_number, group_text
from tsengine.core.codec.strings cimport StringTable
from tsengine.core.limits cimport GROUP_AUTO, GROUP_TEXT, KIND_BOOLEAN, KIND_INTEGER, KIND_NONE, KIND_NUMBER, KIND_TEXT

import numpy as np

from tsengine.rows import Row


cdef int no_memory() except -1 nogil:
    with gil:
        PyErr_NoMemory()
    return -1


cdef int64_t lower_bound(const int64_t* times, int64_t count, int64_t time) noexcept nogil:
    """Return how many of the ascending times are smaller than this one."""
    cdef int64_t low = 0, high = count, middle
    while low < high:
        middle = (low + high) // 2
        if times[middle] < time:
            low = middle + 1
        else:
            high = middle
    return low


cdef class StringMap:
    def __cinit__(self, StringTable source, StringTable target):
        self.source = source
        self.target = target

    def __dealloc__(self):
        free(self.numbers)

    cdef int64_t get(self, uint32_t number) except -1 nogil:
        """Return the target's number of a string of the source, added there if it is new."""
        cdef int64_t found
        if number >= self.capacity:
            self.reserve()
        if self.numbers[number]:
            return self.numbers[number] - 1
        found = self.target.add(self.source.entries[number].data, self.source.entries[number].size)
        self.numbers[number] = <uint32_t> found + 1
        return found

    cdef int reserve(self) except -1 nogil:
        """Make room for every string the source holds by now."""
        cdef uint32_t capacity = self.source.capacity
        cdef void* grown
        if capacity <= self.capacity:
            return 0
        grown = realloc(self.numbers, capacity * sizeof(uint32_t))
        if grown == NULL:
            no_memory()
        self.numbers = <uint32_t*> grown
        memset(self.numbers + self.capacity, 0, (capacity - self.capacity) * sizeof(uint32_t))
        self.capacity = capacity
        return 0


cdef extern from *:
    """
    /* The first digit is the highest: in memory it comes first, on little-endian machines, which is all that the formats know. */
    static inline uint64_t tsengine_swap_bytes(uint64_t bits) { return __builtin_bswap64(bits); }
    """
    uint64_t swap_bytes "tsengine_swap_bytes"(uint64_t bits) noexcept nogil


cdef inline bint is_after(const SortKey* a, const SortKey* b) noexcept nogil:
    return a.time > b.time or (a.time == b.time and a.sequence > b.sequence)


cdef int64_t run_end(const SortKey* keys, int64_t first, int64_t count) noexcept nogil:
    """Return the end of the ascending run that starts at `first`."""
    cdef int64_t i = first + 1
    while i < count and not is_after(&keys[i - 1], &keys[i]):
        i += 1
    return min(i, count)


cdef int sort_keys(SortKey* keys, int64_t count) noexcept nogil:
    """Sort by (time, sequence); return 0 if there is no memory.

    Pairs of ascending runs are merged until one run is left: late points in a few runs, the usual case, cost a pass or two.
    """
    cdef SortKey* source = keys
    cdef SortKey* target = <SortKey*> malloc(count * sizeof(SortKey))
    cdef SortKey* spare = target
    cdef int64_t at, left, middle, right, end
    if target == NULL:
        return 0
    while run_end(source, 0, count) < count:
        at = 0
        while at < count:
            left, middle = at, run_end(source, at, count)
            right, end = middle, run_end(source, middle, count) if middle < count else count
            while left < middle and right < end:
                if is_after(&source[left], &source[right]):
                    target[at] = source[right]
                    right += 1
                else:
                    target[at] = source[left]
                    left += 1
                at += 1
            memcpy(target + at, source + left, (middle - left) * sizeof(SortKey))
            at += middle - left
            memcpy(target + at, source + right, (end - right) * sizeof(SortKey))
            at += end - right
        source, target = target, source
    if source != keys:
        memcpy(keys, source, count * sizeof(SortKey))
    free(spare)
    return 1


cdef class PointBuffer:
    def __cinit__(self, uint8_t kind, int want):
        self.kind = kind
        # Order needs the sequence.
        self.want = want | WANT_SEQUENCE
        if kind == KIND_NONE:
            self.want &= ~WANT_VALUE
        self.in_order = True
        self.strings = StringTable()

    def __dealloc__(self):
        free(self.time)
        free(self.value)
        free(self.sequence)
        free(self.received)
        free(self.unit)
        free(self.group)
        free(self.location)
        free(self.metadata)

    def __len__(self) -> int:
        return self.count

    cdef int reserve(self, int64_t count) except -1 nogil:
        """Make room for this many points in all."""
        cdef int64_t capacity = self.capacity * 2 if self.capacity * 2 > count else count
        if count <= self.capacity:
            return 0
        self.time = <int64_t*> grown(self.time, 8 * capacity)
        self.sequence = <uint64_t*> grown(self.sequence, 8 * capacity)
        if self.want & WANT_VALUE:
            self.value = <int64_t*> grown(self.value, 8 * capacity)
        if self.want & WANT_RECEIVED:
            self.received = <uint32_t*> grown(self.received, 4 * capacity)
        if self.want & WANT_UNIT:
            self.unit = <uint32_t*> grown(self.unit, 4 * capacity)
        if self.want & WANT_GROUP:
            self.group = <GroupCell*> grown(self.group, 16 * capacity)
        if self.want & WANT_LOCATION:
            self.location = <LocationCell*> grown(self.location, 16 * capacity)
        if self.want & WANT_METADATA:
            self.metadata = <uint32_t*> grown(self.metadata, 4 * capacity)
        self.capacity = capacity
        return 0

    cdef int append(self, const Columns* source, int64_t first, int64_t count, StringMap map) except -1 nogil:
        """Copy points first .. first + count of a view whose strings are those of map.source.

        Without a map the numbers of strings are kept as they are: the buffer then borrows the source's strings.
        """
        cdef int64_t at = self.count, i
        cdef const GroupCell* cell
        self.reserve(at + count)
        memcpy(self.time + at, source.time + first, 8 * count)
        memcpy(self.sequence + at, source.sequence + first, 8 * count)
        if self.want & WANT_VALUE:
            memcpy(self.value + at, source.value + first, 8 * count)
            if self.kind == KIND_TEXT and map is not None:
                for i in range(at, at + count):
                    self.value[i] = map.get(<uint32_t> self.value[i])
        if self.want & WANT_RECEIVED:
            for i in range(count):
                self.received[at + i] = source.received[(first + i) * source.received_step]
        if self.want & WANT_UNIT:
            map_strings(source.unit + first * source.unit_step, source.unit_step, count, self.unit + at, map)
        if self.want & WANT_METADATA:
            map_strings(source.metadata + first * source.metadata_step, source.metadata_step, count, self.metadata + at, map)
        if self.want & WANT_GROUP:
            for i in range(count):
                cell = source.group + (first + i) * source.group_step
                self.group[at + i] = cell[0]
                if cell.form == GROUP_TEXT and map is not None:
                    self.group[at + i].low = <uint32_t> map.get(cell.low)
        if self.want & WANT_LOCATION:
            for i in range(count):
                self.location[at + i] = source.location[(first + i) * source.location_step]
        self.added(count)
        return 0

    cdef bint added(self, int64_t count) noexcept nogil:
        """Take note of points that were written behind the last one; return whether they are in order among themselves."""
        cdef int64_t first = self.count, i
        cdef bint ordered = True
        for i in range(first + 1, first + count):
            if self.time[i] < self.time[i - 1] or (self.time[i] == self.time[i - 1] and self.sequence[i] < self.sequence[i - 1]):
                ordered = False
                break
        if not ordered:
            self.in_order = False
        elif first and count:
            if self.time[first] < self.time[first - 1] or (
                self.time[first] == self.time[first - 1] and self.sequence[first] < self.sequence[first - 1]
            ):
                self.in_order = False
        self.count += count
        return ordered

    cdef void drop(self, int64_t low, int64_t high) noexcept nogil:
        """Remove points low .. high."""
        self._shift(low, high, self.count - high)
        self.count -= high - low

    cdef void _shift(self, int64_t to, int64_t origin, int64_t count) noexcept nogil:
        if count == 0:          # an empty buffer has no columns yet
            return
        memmove(self.time + to, self.time + origin, 8 * count)
        memmove(self.sequence + to, self.sequence + origin, 8 * count)
        if self.want & WANT_VALUE:
            memmove(self.value + to, self.value + origin, 8 * count)
        if self.want & WANT_RECEIVED:
            memmove(self.received + to, self.received + origin, 4 * count)
        if self.want & WANT_UNIT:
            memmove(self.unit + to, self.unit + origin, 4 * count)
        if self.want & WANT_GROUP:
            memmove(self.group + to, self.group + origin, 16 * count)
        if self.want & WANT_LOCATION:
            memmove(self.location + to, self.location + origin, 16 * count)
        if self.want & WANT_METADATA:
            memmove(self.metadata + to, self.metadata + origin, 4 * count)

    cdef void keep(self, int64_t begin, const uint8_t* kept) noexcept nogil:
        """Of the points from `begin` on leave those with kept[i]; kept[0] is that of `begin`."""
        cdef int64_t at = begin, i
        for i in range(begin, self.count):
            if not kept[i - begin]:
                continue
            if at != i:
                self.time[at] = self.time[i]
                self.sequence[at] = self.sequence[i]
                if self.want & WANT_VALUE:
                    self.value[at] = self.value[i]
                if self.want & WANT_RECEIVED:
                    self.received[at] = self.received[i]
                if self.want & WANT_UNIT:
                    self.unit[at] = self.unit[i]
                if self.want & WANT_GROUP:
                    self.group[at] = self.group[i]
                if self.want & WANT_LOCATION:
                    self.location[at] = self.location[i]
                if self.want & WANT_METADATA:
                    self.metadata[at] = self.metadata[i]
            at += 1
        self.count = at

    cdef int sort(self) except -1 nogil:
        """Order the points by (time, sequence)."""
        cdef SortKey* keys
        cdef void* spare
        cdef int64_t i
        if self.in_order or self.count < 2:
            return 0
        keys = <SortKey*> malloc(self.count * sizeof(SortKey))
        spare = malloc(self.count * 16)
        if keys == NULL or spare == NULL:
            free(keys)
            free(spare)
            no_memory()
        for i in range(self.count):
            keys[i].time = self.time[i]
            keys[i].sequence = self.sequence[i]
            keys[i].index = i
        if not sort_keys(keys, self.count):
            free(keys)
            free(spare)
            no_memory()
        for i in range(self.count):
            self.time[i] = keys[i].time
            self.sequence[i] = keys[i].sequence
        permute(self.value, 8, keys, self.count, spare)
        permute(self.received, 4, keys, self.count, spare)
        permute(self.unit, 4, keys, self.count, spare)
        permute(self.group, 16, keys, self.count, spare)
        permute(self.location, 16, keys, self.count, spare)
        permute(self.metadata, 4, keys, self.count, spare)
        free(keys)
        free(spare)
        self.in_order = True
        return 0

    cdef void view(self, int64_t first, int64_t count, Columns* columns) noexcept nogil:
        """Set a view over points first .. first + count; a column that was not wanted must not be touched."""
        columns.count = count
        columns.time = self.time + first
        columns.value = NULL if self.value == NULL else self.value + first
        columns.sequence = self.sequence + first
        columns.received = self.received + first
        columns.unit = self.unit + first
        columns.group = self.group + first
        columns.location = self.location + first
        columns.metadata = self.metadata + first
        columns.received_step = columns.unit_step = columns.group_step = columns.location_step = columns.metadata_step = 1

    cdef void clear(self) noexcept nogil:
        """Forget the points, keep memory and strings."""
        self.count = 0
        self.in_order = True

    # --- results: with the GIL, once per point that leaves the store -----------------------------------------------

    cdef object value_at(self, int64_t i):
        if self.kind == KIND_NUMBER:
            return as_number(self.value[i])
        if self.kind == KIND_INTEGER:
            return self.value[i]
        if self.kind == KIND_BOOLEAN:
            return self.value[i] != 0
        if self.kind == KIND_TEXT:
            return self.strings.text(<uint32_t> self.value[i])
        return None

    cdef object group_at(self, uint32_t device, int64_t i):
        """Return the group of point i as text."""
        cdef const GroupCell* cell = &self.group[i]
        return self.strings.text(cell.low) if cell.form == GROUP_TEXT else group_text(device, self.sequence[i], cell)

    cdef object row_at(self, uint32_t device, str variable, int64_t i):
        """Return point i as a Row; every column has to have been wanted."""
        cdef uint32_t number
        cdef object metadata = None
        cdef bint located = not isnan(self.location[i].lat)
        if self.metadata[i]:
            number = self.metadata[i] - 1
            metadata = self.strings.entries[number].data[: self.strings.entries[number].size]
        return Row(
            self.sequence[i],
            self.time[i],
            variable,
            self.value_at(i),
            self.strings.text(self.unit[i] - 1) if self.unit[i] else None,
            self.group_at(device, i),
            self.location[i].lat if located else None,
            self.location[i].lng if located else None,
            metadata,
            <int64_t> self.received[i] * 1000000,
        )

    def times(self):
        """Return the times as a new int64 array, shape (n,)."""
        return copied(self.time, self.count, np.int64)

    def sequences(self):
        """Return the sequences as a new uint64 array, shape (n,)."""
        return copied(self.sequence, self.count, np.uint64)

    def values(self):
        """Return the values as a new array, shape (n,): float64, int64, bool, or object for text and points without a value."""
        if self.kind == KIND_NUMBER:
            return copied(self.value, self.count, np.float64)
        if self.kind == KIND_INTEGER:
            return copied(self.value, self.count, np.int64)
        if self.kind == KIND_BOOLEAN:
            return copied(self.value, self.count, np.int64).astype(bool)
        result = np.empty(self.count, dtype=object)
        if self.kind == KIND_TEXT:
            for i in range(self.count):
                result[i] = self.value_at(i)
        return result

    def string_codes(self, column: str):
        """Return (codes, list of bytes) of the unit or metadata: int64 arrays, -1 = none. None if no point has any."""
        cdef const uint32_t* cells = self.unit if column == "unit" else self.metadata
        cdef int64_t i = 0
        while i < self.count and cells[i] == 0:
            i += 1
        if i == self.count:
            return None
        return copied(cells, self.count, np.uint32).astype(np.int64) - 1, [self.strings[i] for i in range(len(self.strings))]

    def degrees(self):
        """Return (latitudes, longitudes) as float64 arrays, NaN = none; or None if no point has a location."""
        cdef int64_t i = 0
        while i < self.count and isnan(self.location[i].lat):
            i += 1
        if i == self.count:
            return None
        both = copied(self.location, self.count * 2, np.float64)
        return both[0::2].copy(), both[1::2].copy()

    def hex_texts(self, device: int, of_ids: bool):
        """Return (offsets, bytes) of the ids or groups one after another: int32, shape (n + 1,), and uint8."""
        cdef int64_t i, size = 0
        cdef uint32_t number, code = device
        cdef bint is_id = of_ids
        cdef const GroupCell* cell
        cdef uint64_t mark
        cdef int32_t[::1] offsets
        cdef uint8_t[::1] data
        cdef char* out
        for i in range(self.count):
            if is_id or self.group[i].form != GROUP_TEXT:
                size += 24
            else:
                size += self.strings.entries[self.group[i].low].size
        offset_array = np.empty(self.count + 1, np.int32)
        data_array = np.empty(max(size, 1), np.uint8)
        offsets, data = offset_array, data_array
        size = 0
        with nogil:
            for i in range(self.count):
                offsets[i] = <int32_t> size
                out = <char*> &data[0] + size
                if is_id:
                    put_hex(out, <uint64_t> code << 32 | self.sequence[i] >> 32)
                    put_hex8(out + 16, <uint32_t> self.sequence[i])
                    size += 24
                    continue
                cell = &self.group[i]
                if cell.form == GROUP_TEXT:
                    number = cell.low
                    memcpy(out, self.strings.entries[number].data, self.strings.entries[number].size)
                    size += self.strings.entries[number].size
                    continue
                if cell.form == GROUP_AUTO:
                    mark = (self.sequence[i] - cell.low) | <uint64_t> 1 << 63
                    put_hex(out, <uint64_t> code << 32 | mark >> 32)
                    put_hex8(out + 16, <uint32_t> mark)
                else:
                    put_hex(out, cell.high)
                    put_hex8(out + 16, cell.low)
                size += 24
            offsets[self.count] = <int32_t> size
        return offset_array, data_array[:size]

    def text_codes(self):
        """Return the values of a text series as (indices, list of bytes)."""
        return copied(self.value, self.count, np.int64), [self.strings[i] for i in range(len(self.strings))]

    def rows(self, device: int, variable: str, reverse: bool = False, first: int = 0, count: int | None = None) -> list:
        """Return points as Rows: `count` of them (None = all) from number `first` on, in the buffer's order or from its end."""
        cdef int64_t low = first, high = self.count, i
        if count is not None:
            high = min(low + <int64_t> count, self.count)
        if reverse:
            return [self.row_at(device, variable, self.count - 1 - i) for i in range(low, high)]
        return [self.row_at(device, variable, i) for i in range(low, high)]


cdef void put_hex(char* out, uint64_t bits) noexcept nogil:
    """Write 16 hexadecimal digits."""
    put_hex8(out, <uint32_t> (bits >> 32))
    put_hex8(out + 8, <uint32_t> bits)


cdef void put_hex8(char* out, uint32_t bits) noexcept nogil:
    """Write 8 hexadecimal digits, all at once: each gets a byte, and those above 9 are moved to the letters."""
    cdef uint64_t digits = bits, above
    digits = (digits << 16 | digits) & 0x0000FFFF0000FFFFULL
    digits = (digits << 8 | digits) & 0x00FF00FF00FF00FFULL
    digits = (digits << 4 | digits) & 0x0F0F0F0F0F0F0F0FULL
    above = (digits + 0x0606060606060606ULL) >> 4 & 0x0101010101010101ULL
    digits += 0x3030303030303030ULL + above * 39
    digits = swap_bytes(digits)
    memcpy(out, &digits, 8)


cdef void* grown(void* memory, int64_t size) except NULL nogil:
    memory = realloc(memory, size)
    if memory == NULL:
        no_memory()
    return memory


cdef int map_strings(const uint32_t* source, int64_t step, int64_t count, uint32_t* target, StringMap map) except -1 nogil:
    """Map numbers + 1 (0 = none); runs of equal numbers are looked up once."""
    cdef uint32_t last = 0, mapped = 0
    cdef int64_t i
    if map is None:
        for i in range(count):
            target[i] = source[i * step]
        return 0
    for i in range(count):
        if source[i * step] != last:
            last = source[i * step]
            mapped = <uint32_t> map.get(last - 1) + 1 if last else 0
        target[i] = mapped
    return 0


cdef void permute(void* column, int64_t cell_bytes, const SortKey* keys, int64_t count, void* spare) noexcept nogil:
    cdef int64_t i
    if column == NULL:
        return
    memcpy(spare, column, cell_bytes * count)
    if cell_bytes == 4:
        for i in range(count):
            (<uint32_t*> column)[i] = (<uint32_t*> spare)[keys[i].index]
    elif cell_bytes == 8:
        for i in range(count):
            (<uint64_t*> column)[i] = (<uint64_t*> spare)[keys[i].index]
    else:
        for i in range(count):
            (<GroupCell*> column)[i] = (<GroupCell*> spare)[keys[i].index]


cdef object copied(const void* column, int64_t count, dtype):
    cdef object result = np.empty(count, dtype=dtype)
    cdef size_t address = result.ctypes.data
    if count:
        memcpy(<void*> address, column, count * <int64_t> result.itemsize)
    return result
