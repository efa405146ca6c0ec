from libc.stdint cimport int64_t, uint8_t


cdef class Mapping:
    """A whole file, read-only, in memory as long as the object lives. The file may be unlinked meanwhile, not truncated."""

    cdef readonly str path
    cdef readonly int64_t size_bytes
    cdef const uint8_t* data
