"""The points of one series and kind across memtables and segments, in time order."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from tsengine.core.store.coded cimport CodedTests
from tsengine.core.store.condition cimport Condition
from tsengine.core.store.direct cimport BlockSource
from tsengine.core.store.memtable cimport MemtableSeries
from tsengine.core.store.points cimport Columns, PointBuffer, StringMap
from tsengine.core.store.segment cimport Segment


cdef struct BlockRef:
    int64_t first_time
    int64_t last_time
    int64_t count
    uint64_t first_sequence     # of blocks of one instant that were put in order; of others no bound: 0 and UINT64_MAX
    uint64_t last_sequence
    int64_t block               # in the segment, or the number of its view for a memtable
    int32_t source              # number in sources
    bint is_inside              # every point is within the bounds and not hidden
    bint is_whole               # and meets the condition, so that every point counts


cdef struct Span:
    int64_t low                 # blocks of a segment, from low up to high, that may matter
    int64_t high
    int32_t source
    bint is_inside              # all of them


cdef class SeriesScan:
    """One series of a snapshot: which blocks matter, and their points in order."""

    cdef readonly uint8_t kind
    cdef readonly int64_t point_count       # of all blocks that matter; an upper bound unless every block is whole
    cdef readonly int want
    cdef readonly bint reverse
    cdef Condition condition                # or None
    cdef CodedTests tests                   # those of its tests that coded columns answer, or None
    cdef list sources                       # (Memtable or Segment, hidden intervals)
    cdef int64_t start
    cdef int64_t end
    cdef Span* spans                        # one for each segment
    cdef int64_t span_count
    cdef BlockRef* refs                     # of memtables; with those of the spans, in order, after `expand`
    cdef int64_t ref_count
    cdef int64_t ref_capacity
    cdef bint is_expanded
    cdef bint goes_direct                   # `next_arrays` works for it
    cdef int64_t next_ref
    cdef int64_t ordered                    # of so many blocks the order is final; see order_instant
    cdef Columns* views                     # of memtable blocks, copied while the GIL was held
    cdef int64_t view_count
    cdef int64_t view_capacity
    cdef PointBuffer pending                # loaded, but a later block may still hold points between them
    cdef dict maps                          # (source, dictionary) -> StringMap into pending.strings

    cdef int add_memtable(self, int32_t number, MemtableSeries* series, list hidden) except -1
    cdef int add_segment(self, int32_t number, Segment segment, int64_t series, list hidden) except -1
    cdef int reserve(self, int64_t count) except -1
    cdef int add_ref(
        self, int64_t first_time, int64_t last_time, int64_t count, int64_t block, int32_t number, list hidden, int verdict
    ) except -1
    cdef int expand(self) except -1
    cdef int expand_span(self, Span* span) except -1
    cdef void order(self) noexcept nogil
    cdef bint is_simple(self) noexcept
    cdef bint is_direct(self) noexcept
    cdef int load(self, BlockRef* ref, PointBuffer into) except -1
    cdef StringMap map_of(self, int32_t number, uint32_t dictionary, PointBuffer into)
    cdef int order_instant(self, int64_t at) except -1
    cdef int look_up_sequences(self, BlockRef* ref) except -1
    cdef PointBuffer split(self, const BlockRef* following)
    cdef int filter(self, PointBuffer points, int64_t begin, BlockRef* ref, uint8_t* kept, bint is_tested) except -1
    cdef bint has_overlaps(self) noexcept
