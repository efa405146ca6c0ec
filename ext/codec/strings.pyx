"""Distinct byte strings, numbered in order of first use: the dictionary behind text, units, metadata and names."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy

from cpython.exc cimport PyErr_NoMemory

from tsengine.core.os.arena cimport Arena

cdef enum:
    ENTRIES_FIRST = 16      # most batches use fewer names and units than this


cdef inline uint32_t string_hash(const char* data, uint32_t size) noexcept nogil:
    # Multiply and fold, eight bytes at a time; only speed depends on it, no file does.
    cdef uint64_t state = 0x9E3779B97F4A7C15ULL ^ size
    cdef uint64_t word
    while size >= 8:
        memcpy(&word, data, 8)
        state = (state ^ word) * 0xD6E8FEB86659FD93ULL
        state ^= state >> 32
        data += 8
        size -= 8
    if size:
        word = 0
        memcpy(&word, data, size)
        state = (state ^ word) * 0xD6E8FEB86659FD93ULL
        state ^= state >> 32
    state *= 0xD6E8FEB86659FD93ULL
    return <uint32_t> (state >> 32)


cdef bint utf8_is_valid(const char* text, int64_t size) noexcept nogil:
    """Whether the bytes are UTF-8 as Python decodes it: shortest forms, no surrogates, at most U+10FFFF."""
    cdef const uint8_t* data = <const uint8_t*> text
    cdef uint64_t word
    cdef uint8_t first, low, high
    cdef int64_t at = 0, tail
    while at < size:
        if size - at >= 8:
            memcpy(&word, data + at, 8)
            if word & 0x8080808080808080ULL == 0:
                at += 8
                continue
        first = data[at]
        at += 1
        if first < 0x80:
            continue
        # The second byte's range is what rules out long forms, surrogates and too large code points.
        low, high = 0x80, 0xBF
        if 0xC2 <= first <= 0xDF:
            tail = 1
        elif 0xE0 <= first <= 0xEF:
            tail = 2
            low = 0xA0 if first == 0xE0 else low
            high = 0x9F if first == 0xED else high
        elif 0xF0 <= first <= 0xF4:
            tail = 3
            low = 0x90 if first == 0xF0 else low
            high = 0x8F if first == 0xF4 else high
        else:
            return False
        if size - at < tail or not low <= data[at] <= high:
            return False
        at += 1
        tail -= 1
        while tail:
            if data[at] & 0xC0 != 0x80:
                return False
            at += 1
            tail -= 1
    return True


cdef class StringTable:
    def __cinit__(self):
        self.arena = Arena()
        self.texts = []

    def __dealloc__(self):
        free(self.entries)
        free(self.slots)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> bytes:
        if not 0 <= number < self.count:
            raise IndexError(number)
        return self.entries[<uint32_t> number].data[: self.entries[<uint32_t> number].size]

    def put(self, data: bytes) -> int:
        """Return the number of this string, added if it is new."""
        return self.add(data, <uint32_t> len(data))

    cdef int64_t add(self, const char* data, uint32_t size) except -1 nogil:
        """Return the number of this string; its bytes are copied if it is new."""
        cdef uint32_t hash = string_hash(data, size)
        cdef uint32_t slot, number
        cdef StringEntry* entry
        cdef char* copy
        if self.slots == NULL or self.count * 2 > self.slot_mask:
            self._rehash()
        slot = hash & self.slot_mask
        while self.slots[slot]:
            number = self.slots[slot] - 1
            entry = &self.entries[number]
            if entry.hash == hash and entry.size == size and memcmp(entry.data, data, size) == 0:
                return number
            slot = (slot + 1) & self.slot_mask
        copy = <char*> self.arena.take(size)
        memcpy(copy, data, size)
        self._append(copy, size, hash)
        self.slots[slot] = self.count
        return self.count - 1

    cdef int64_t add_again(self, const char* data, uint32_t size, uint32_t likely) except -1 nogil:
        """As `add`; `likely` is the number that it probably has, such as that of the point before: comparing is cheaper than hashing."""
        if likely < self.count and self.entries[likely].size == size and memcmp(self.entries[likely].data, data, size) == 0:
            return likely
        return self.add(data, size)

    cdef int64_t borrow(self, const char* data, uint32_t size) except -1 nogil:
        """Append a string without copying its bytes or looking for an equal one; they must outlive the table."""
        self._append(data, size, 0)
        return self.count - 1

    cdef str text(self, uint32_t number):
        """Return the string as str; made once, so that equal units and texts of a result share one object."""
        cdef object known
        if number >= self.count:
            raise IndexError(number)
        while len(self.texts) <= number:
            self.texts.append(None)
        known = self.texts[number]
        if known is None:
            known = self.entries[number].data[: self.entries[number].size].decode("utf-8")
            self.texts[number] = known
        return known

    cdef void clear(self) noexcept:
        """Forget every string but keep the tables' memory."""
        cdef uint32_t slot
        self.arena = Arena()
        self.texts = []
        self.count = 0
        self.text_bytes = 0
        if self.slots != NULL:
            for slot in range(self.slot_mask + 1):
                self.slots[slot] = 0

    cdef int _append(self, const char* data, uint32_t size, uint32_t hash) except -1 nogil:
        cdef uint32_t capacity
        cdef void* grown
        if self.count == self.capacity:
            capacity = self.capacity * 2 if self.capacity else ENTRIES_FIRST
            grown = realloc(self.entries, capacity * sizeof(StringEntry))
            if grown == NULL:
                with gil:
                    PyErr_NoMemory()
                return -1
            self.entries = <StringEntry*> grown
            self.capacity = capacity
        self.entries[self.count].data = data
        self.entries[self.count].size = size
        self.entries[self.count].hash = hash
        self.count += 1
        self.text_bytes += size
        return 0

    cdef int _rehash(self) except -1 nogil:
        cdef uint32_t slot_count = (self.slot_mask + 1) * 2 if self.slots != NULL else ENTRIES_FIRST * 2
        cdef uint32_t* slots = <uint32_t*> calloc(slot_count, sizeof(uint32_t))
        cdef uint32_t number, slot
        if slots == NULL:
            with gil:
                PyErr_NoMemory()
            return -1
        for number in range(self.count):
            slot = self.entries[number].hash & (slot_count - 1)
            while slots[slot]:
                slot = (slot + 1) & (slot_count - 1)
            slots[slot] = number + 1
        free(self.slots)
        self.slots = slots
        self.slot_mask = slot_count - 1
        return 0
