"""Points of many series in one order, made into objects only when they are given out."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from tsengine.core.batch cimport GroupCell
from tsengine.core.store.points cimport PointBuffer
from tsengine.core.store.scan cimport SeriesScan


cdef struct Lane:
    # A series of the merge. Until its next run is loaded, `time` is only a bound of what it may give.
    int64_t time
    uint64_t sequence
    int64_t left                    # points of the run not given out yet
    int32_t number                  # in scans
    bint is_loaded


cdef class Page:
    """A merge of scans in one direction."""

    cdef list scans                 # (variable, SeriesScan)
    cdef list runs                  # PointBuffer of each lane, or None
    cdef bint reverse
    cdef Lane* heap                 # the next point is at the top
    cdef int64_t lane_count

    cdef bint precedes(self, const Lane* a, const Lane* b) noexcept nogil
    cdef void sink(self, int64_t at) noexcept nogil
    cdef int settle(self) except -1
    cdef int64_t index(self, const Lane* lane) noexcept
    cdef void advance(self) noexcept


cdef class PointMaker:
    """Turns points of buffers into Points; what neighbours share is made once."""

    cdef uint32_t device
    cdef char[24] id_text
    cdef int64_t day                # date below
    cdef int year, month, dom
    cdef int64_t received           # time of `created_at`
    cdef object created_at
    cdef GroupCell group_cell       # of `group`; its low is the request's first sequence for automatic groups
    cdef uint64_t group_sequence
    cdef object group

    cdef object moment(self, int64_t time)
    cdef object moment_of_receipt(self, int64_t time)
    cdef object id_of(self, uint64_t sequence)
    cdef object group_of(self, PointBuffer points, int64_t i)
    cdef object make(self, str variable, PointBuffer points, int64_t i)
