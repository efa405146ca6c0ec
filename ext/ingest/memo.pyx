"""Which row was the first with the same bytes: columns of names and units have few different cells, and each is decoded once."""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp

from cpython.exc cimport PyErr_NoMemory

from tsengine.core.codec.strings cimport StringTable

cdef enum:
    ROWS_FIRST = 16


cdef class Memo:
    def __cinit__(self):
        self.seen = StringTable()

    def __dealloc__(self):
        free(self.rows)

    cdef int64_t row_of(self, const char* text, int64_t size, uint32_t row) except -1 nogil:
        """Return the first row with this text: `row` itself if it is new."""
        cdef uint32_t known = self.seen.count
        cdef int64_t number
        if self.last != NULL and size == self.last_size and memcmp(text, self.last, size) == 0:
            return self.last_row
        number = self.seen.add(text, <uint32_t> size)
        if number == known:
            if known == self.capacity:
                self._grow()
            self.rows[number] = row
        self.last = self.seen.entries[number].data
        self.last_size, self.last_row = size, self.rows[number]
        return self.last_row

    cdef int _grow(self) except -1 nogil:
        cdef uint32_t capacity = self.capacity * 2 if self.capacity else ROWS_FIRST
        cdef void* grown = realloc(self.rows, capacity * sizeof(uint32_t))
        if grown == NULL:
            with gil:
                PyErr_NoMemory()
        self.rows = <uint32_t*> grown
        self.capacity = capacity
        return 0
