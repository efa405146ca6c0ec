"""A sealed file: its layout, and the reader over a mapping of it. Format: docs/format/segment.md."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from tsengine.core.codec.strings cimport StringTable
from tsengine.core.os.mapping cimport Mapping
from tsengine.core.store.points cimport PointBuffer, StringMap

cdef enum:
    SEGMENT_VERSION = 1
    SEGMENT_HEADER_BYTES = 16
    SEGMENT_TRAILER_BYTES = 32
    NO_DICTIONARY = 0xFFFFFFFF


cdef struct SegmentCounts:          # head of the footer, 32 bytes
    uint32_t series_count
    uint32_t block_count
    uint32_t dictionary_count
    uint32_t name_bytes
    int64_t month                   # months since January 1970
    uint64_t point_count


cdef struct SegmentFooter:
    # Pointers into the mapped footer. One entry a series (S), a block (B), a dictionary (D).
    const SegmentCounts* counts
    const uint32_t* series_device       # S, ascending
    const uint32_t* series_name         # S + 1 offsets into names
    const uint32_t* series_first_block  # S + 1
    const uint8_t* series_kind          # S
    const char* names
    const int64_t* first_time           # B, ascending within a series
    const int64_t* last_time
    const int64_t* minimum
    const int64_t* maximum
    const int64_t* sum_high
    const int64_t* sum_low
    const int64_t* first
    const int64_t* last
    const uint64_t* offset              # in the file
    const uint32_t* length
    const uint32_t* dictionary          # number, or NO_DICTIONARY
    const uint32_t* crc
    const uint16_t* count
    const uint16_t* flags
    const uint64_t* dictionary_offset   # D
    const uint32_t* dictionary_length
    const uint32_t* dictionary_entries
    const uint32_t* dictionary_crc


cdef int64_t footer_point(const uint8_t* data, const SegmentCounts* counts, SegmentFooter* footer) noexcept nogil


cdef class Segment:
    """A sealed file, read through a mapping. Every bound was checked when it was opened, every checksum is when it is used."""

    cdef readonly Mapping file
    cdef readonly uint64_t id
    cdef readonly uint64_t last_log_seq
    cdef SegmentFooter footer
    cdef list dictionaries              # number -> StringTable, loaded when first used; some are kept
    cdef int32_t dictionaries_kept

    cdef int64_t find(self, uint32_t device, bytes name, uint8_t kind) noexcept
    cdef StringTable dictionary(self, uint32_t number)
    cdef int decode(self, int64_t block, uint8_t kind, PointBuffer into, StringMap map) except -1
    cdef int check_block(self, int64_t block) except -1
    cdef bint agrees(self, int64_t block, PointBuffer points) noexcept
    cdef object damaged(self, str what, int64_t offset, str found)
