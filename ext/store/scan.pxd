"""The points of one series and kind across memtables and segments, in time order."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from tsengine.core.store.memtable cimport MemtableSeries
from tsengine.core.store.points cimport Columns, PointBuffer, StringMap
from tsengine.core.store.segment cimport Segment


cdef struct BlockRef:
    int64_t first_time
    int64_t last_time
    int64_t count
    int64_t block               # in the segment, or the number of its view for a memtable
    int32_t source              # number in sources
    bint is_whole               # every point counts: inside the bounds, not hidden


cdef class SeriesScan:
    """One series of a snapshot: which blocks matter, and their points in order."""

    cdef readonly uint8_t kind
    cdef readonly int64_t point_count       # of all blocks that matter; an upper bound unless every block is whole
    cdef readonly int want
    cdef readonly bint reverse
    cdef list sources                       # (Memtable or Segment, hidden intervals)
    cdef int64_t start
    cdef int64_t end
    cdef BlockRef* refs
    cdef int64_t ref_count
    cdef int64_t ref_capacity
    cdef int64_t next_ref
    cdef Columns* views                     # of memtable blocks, copied while the GIL was held
    cdef int64_t view_count
    cdef int64_t view_capacity
    cdef PointBuffer pending                # loaded, but a later block may still hold points between them
    cdef dict maps                          # (source, dictionary) -> StringMap into pending.strings

    cdef int add_memtable(self, int32_t number, MemtableSeries* series, list hidden) except -1
    cdef int add_segment(self, int32_t number, Segment segment, int64_t series, list hidden) except -1
    cdef int add_ref(self, int64_t first_time, int64_t last_time, int64_t count, int64_t block, int32_t number, list hidden) except -1
    cdef void order(self) noexcept nogil
    cdef int load(self, BlockRef* ref, PointBuffer into) except -1
    cdef StringMap map_of(self, int32_t number, uint32_t dictionary, PointBuffer into)
    cdef PointBuffer split(self, int64_t frontier)
    cdef int filter(self, PointBuffer points, int64_t begin, list hidden) except -1
