"""A large batch straight to segments."""

from libc.stdint cimport int64_t, uint32_t

from tsengine.core.batch cimport BatchView
from tsengine.core.codec.strings cimport StringTable
from tsengine.core.store.points cimport Columns


cdef class Dealer:
    """Deals the points of a batch out to one buffer a series."""

    cdef readonly list buffers      # a PointBuffer for each series that has points
    cdef readonly list names        # of those series
    cdef StringTable strings        # the batch's, borrowed: buffers keep its numbers
    cdef bytes record               # keeps the view valid
    cdef BatchView view
    cdef uint32_t* series           # number of the buffer of each (variable, kind)
    cdef Columns* targets           # the columns of each buffer, all of them writable

    cdef int64_t slot(self, uint32_t i) noexcept nogil
    cdef int make_buffers(self) except -1
    cdef void deal(self) noexcept nogil
