"""A frozen memtable to segments, one a month."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from tsengine.core.codec.strings cimport StringTable
from tsengine.core.store.memtable cimport Memtable, MemtableSeries
from tsengine.core.store.points cimport Columns, PointBuffer
from tsengine.core.store.segment_writer cimport SegmentWriter

cdef enum:
    # Months that are written at a time: each costs an open file and some hundred kilobytes of buffers.
    MONTHS_AT_ONCE = 48


cdef class BlockCutter:
    """Cuts the ordered points of one series into blocks that cross neither a chunk's nor a month's bound."""

    cdef readonly dict writers          # month -> SegmentWriter
    cdef object make_writer             # month -> SegmentWriter
    cdef SegmentWriter writer           # of `month`
    cdef int64_t month

    cdef int64_t cut(self, PointBuffer points, StringTable strings, uint32_t device, const char* name, int64_t name_bytes,
                     int period, bint is_last) except -1
    cdef int select(self, int64_t month) except -1 nogil


cdef struct Run:
    const Columns* columns          # of a memtable block
    const uint16_t* order           # its points by (time, sequence)
    int64_t at                      # next point, in `order`
    int64_t end


cdef struct Head:
    int64_t time                    # of the next point of a run: here, where comparisons find it
    uint64_t sequence
    Run* run


cdef class RunHeap:
    """The points of a series that took some late ones, in order: a heap of its blocks by their next point."""

    cdef Run* runs
    cdef Head* heads                # the heap
    cdef uint16_t* order            # of all runs, two bytes a point
    cdef int64_t count

    @staticmethod
    cdef RunHeap of(const MemtableSeries* series, int64_t start, int64_t end)
    cdef void fill(self, const MemtableSeries* series, int64_t start, int64_t end) noexcept nogil
    cdef void sink(self, int64_t at) noexcept nogil
    cdef bint take(self, PointBuffer into, int64_t points) except -1 nogil


cdef int64_t block_points(const int64_t* time, int64_t count, int period, bint is_last) noexcept nogil
