"""A frozen memtable to segments, one a month."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from tsengine.core.codec.strings cimport StringTable
from tsengine.core.store.memtable cimport Memtable, MemtableSeries
from tsengine.core.store.points cimport PointBuffer
from tsengine.core.store.segment_writer cimport SegmentWriter


cdef class BlockCutter:
    """Cuts the ordered points of one series into blocks that cross neither a chunk's nor a month's bound."""

    cdef readonly dict writers          # month -> SegmentWriter
    cdef object make_writer             # month -> SegmentWriter
    cdef SegmentWriter writer           # of `month`
    cdef int64_t month

    cdef int64_t cut(self, PointBuffer points, StringTable strings, uint32_t device, const char* name, int64_t name_bytes,
                     int period, bint is_last) except -1
    cdef int select(self, int64_t month) except -1


cdef int64_t block_points(const int64_t* time, int64_t count, int period, bint is_last) noexcept nogil
