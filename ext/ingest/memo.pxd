"""Which row was the first with the same bytes."""

from libc.stdint cimport int64_t, uint32_t

from tsengine.core.codec.strings cimport StringTable


cdef class Memo:
    """Texts of cells that were seen, and the first row of each: equal bytes mean an equal cell, so only the first is decoded."""

    cdef StringTable seen
    cdef uint32_t* rows         # number of the text -> its first row
    cdef uint32_t capacity
    cdef const char* last       # the newest text that was asked for, in the arena of `seen`, and its row
    cdef int64_t last_size
    cdef uint32_t last_row

    cdef int64_t row_of(self, const char* text, int64_t size, uint32_t row) except -1 nogil
    cdef int _grow(self) except -1 nogil
