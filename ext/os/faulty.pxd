"""Faults by number for tests; see faulty.pyx."""

from libc.stdint cimport int64_t


cdef class Faults:
    cdef readonly frozenset chosen
    cdef int64_t nth
    cdef int error
    cdef bint forever, torn, deadly
