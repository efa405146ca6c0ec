from libc.stdint cimport int64_t, uint32_t, uint64_t

from tsengine.core.os.arena cimport Arena


cdef struct StringEntry:
    const char* data        # in the table's arena, or borrowed from a mapped file (see `borrow`)
    uint32_t size
    uint32_t hash


cdef bint utf8_is_valid(const char* text, int64_t size) noexcept nogil


cdef class StringTable:
    """Distinct byte strings, numbered 0, 1, 2 ... in order of first use."""

    cdef readonly uint32_t count
    cdef readonly uint64_t text_bytes       # of all strings together
    cdef Arena arena
    cdef StringEntry* entries
    cdef uint32_t capacity
    cdef uint32_t* slots                    # open addressing: entry number + 1, 0 = free
    cdef uint32_t slot_mask
    cdef list texts                         # entry number -> str, filled when first asked for

    cdef int64_t add(self, const char* data, uint32_t size) except -1 nogil
    cdef int64_t add_again(self, const char* data, uint32_t size, uint32_t likely) except -1 nogil
    cdef int64_t borrow(self, const char* data, uint32_t size) except -1 nogil
    cdef str text(self, uint32_t number)
    cdef void clear(self) noexcept
    cdef int _append(self, const char* data, uint32_t size, uint32_t hash) except -1 nogil
    cdef int _rehash(self) except -1 nogil
