"""Several segments of one month to one."""

from libc.stdint cimport int64_t, uint32_t

from tsengine.core.store.scan cimport SeriesScan
from tsengine.core.store.seal cimport BlockCutter


cdef class Merging:
    """A merge on its way, and what it has to tell of itself."""

    cdef BlockCutter cutter
    cdef object pace                # called with (points, bytes read, bytes written), or None
    cdef int64_t points             # since the last call
    cdef int64_t bytes_read         # since the last call
    cdef int64_t bytes_written      # until the last call

    cdef int count(self, int64_t points, int64_t bytes_read) except -1
    cdef int tell(self) except -1
    cdef int renew(self, SeriesScan scan) except -1
    cdef int series(self, SeriesScan scan, uint32_t device, bytes name, int period) except -1
