from libc.stddef cimport size_t


cdef struct ArenaSlab:
    ArenaSlab* next
    size_t size_bytes           # with this header


cdef class Arena:
    """Memory that only grows and is freed all at once; addresses never move, so readers need no lock and no copy."""

    cdef readonly size_t size_bytes         # taken from the system so far
    cdef ArenaSlab* slabs                   # newest first
    cdef char* free
    cdef size_t free_bytes

    cdef void* take(self, size_t size_bytes) except NULL nogil
    cdef int _grow(self, size_t needed) except -1 nogil
