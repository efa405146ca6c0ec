"""Writes one sealed file, series by series in order. Format: docs/format/segment.md."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from tsengine.core.codec.strings cimport StringTable
from tsengine.core.store.block cimport BlockEncoder
from tsengine.core.store.points cimport Columns, StringMap
from tsengine.core.store.segment cimport Segment
from tsengine.core.store.statistics cimport BlockStats


cdef struct SeriesEntry:
    uint32_t device
    uint32_t name               # offset in names
    uint32_t first_block
    uint8_t kind


cdef struct BlockEntry:
    BlockStats stats
    uint64_t offset
    uint32_t length
    uint32_t dictionary
    uint32_t crc


cdef struct DictionaryEntry:
    uint64_t offset
    uint32_t length
    uint32_t entries
    uint32_t crc


cdef class Vector:
    """A growable array of cells of one size."""

    cdef uint8_t* data
    cdef int64_t count
    cdef int64_t capacity
    cdef int64_t cell_bytes

    cdef void* push(self, int64_t cells) except NULL nogil


cdef class SegmentWriter:
    cdef readonly str path
    cdef readonly int64_t month
    cdef readonly int64_t point_count
    cdef readonly int64_t size_bytes        # written or buffered so far
    cdef int fd
    cdef int64_t written
    cdef Vector pending                     # bytes not yet given to the kernel
    cdef Vector series
    cdef Vector names
    cdef Vector blocks
    cdef Vector dictionaries
    cdef StringTable dictionary             # the one that is being filled
    cdef uint32_t dictionary_number
    cdef StringMap map                      # from the last source of strings to `dictionary`
    cdef BlockEncoder encoder
    cdef dict copied_dictionaries           # (path of a segment, number) -> own number

    cdef int begin_series(self, uint32_t device, const char* name, int64_t name_bytes, uint8_t kind) except -1 nogil
    cdef int add_block(self, const Columns* columns, uint8_t kind, StringTable strings) except -1 nogil
    cdef int copy_block(self, Segment segment, int64_t block) except -1
    cdef int put(self, const void* data, int64_t size) except -1 nogil
    cdef int flush(self) except -1 nogil
    cdef int write(self, const void* data, int64_t size) except -1 nogil
    cdef int end_dictionary(self) except -1
    cdef int choose_dictionary(self, StringTable strings) except -1
    cdef int begin_dictionary(self) except -1
    cdef uint32_t copy_dictionary(self, Segment segment, uint32_t number) except? 0
    cdef uint8_t* _footer(self, int64_t* footer_bytes) except NULL
