"""The self-contained columns of one write: the record of the log. Format: docs/format/batch.md."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from tsengine.core.codec.strings cimport StringTable

cdef enum:
    RECORD_POINTS = 1
    BATCH_VERSION = 1

# Columns in the order in which they lie in a batch; the number is the bit in `present` and `constant`.
cdef enum:
    COLUMN_TIME = 0
    COLUMN_VARIABLE = 1
    COLUMN_KIND = 2
    COLUMN_VALUE = 3
    COLUMN_UNIT = 4
    COLUMN_GROUP = 5
    COLUMN_LOCATION = 6
    COLUMN_METADATA = 7
    COLUMN_COUNT = 8


cdef struct BatchHeader:            # 64 bytes, little-endian, as on disk
    uint8_t record                  # RECORD_POINTS
    uint8_t version
    uint16_t present                # columns that are there
    uint16_t constant               # columns of a single cell that holds for every point
    uint16_t reserved
    uint32_t device
    uint32_t count
    uint64_t first_sequence         # of the first point; the others follow by one
    int64_t received_us
    int64_t time_min
    int64_t time_max
    uint32_t string_count
    uint32_t string_bytes
    uint64_t reserved_2


cdef struct GroupCell:              # 16 bytes
    uint64_t high                   # GROUP_HEX: first 8 bytes, read big-endian
    uint32_t low                    # GROUP_HEX: last 4 bytes; GROUP_TEXT: string number; GROUP_AUTO in stores: offset in the request
    uint32_t form                   # GROUP_*


cdef struct LocationCell:           # 16 bytes; absent where lat is NaN
    double lat
    double lng


# A number as its cell has it, and back.
cdef inline double as_number(int64_t bits) noexcept nogil:
    cdef double number
    memcpy(&number, &bits, 8)
    return number


cdef inline int64_t as_bits(double number) noexcept nogil:
    cdef int64_t bits
    memcpy(&bits, &number, 8)
    return bits


cdef struct BatchView:
    # Pointers into a checked record. Cell of point i: column[i * step]; a step is 0 where the column is constant.
    const BatchHeader* header
    const int64_t* time
    const uint32_t* variable        # string number
    const uint8_t* kind
    const int64_t* value            # bits of the float, int64, 0 or 1, or a string number, by kind
    const uint32_t* unit            # string number + 1, 0 = none; the column may be NULL = none at all (below likewise)
    const GroupCell* group          # NULL = automatic
    const LocationCell* location
    const uint32_t* metadata        # string number + 1, 0 = none
    int64_t step[COLUMN_COUNT]
    const uint32_t* string_offsets  # string_count + 1 of them
    const char* strings


cdef class BatchBuilder:
    """Collects points one by one, then lays them out as a record."""

    cdef StringTable strings
    cdef uint32_t count
    cdef uint32_t capacity
    cdef uint16_t constant          # columns whose first cell is known to hold for every point; the others are looked at
    cdef int64_t* time
    cdef uint32_t* variable
    cdef uint8_t* kind
    cdef int64_t* value
    cdef uint32_t* unit
    cdef GroupCell* group
    cdef LocationCell* location
    cdef uint32_t* metadata

    cdef void clear(self) noexcept
    cdef int reserve(self, uint32_t count) except -1
    cdef bytes finish(self, int64_t received_us)
    cdef bint _is_absent(self, int column) noexcept


cdef int batch_open(const uint8_t* data, int64_t size, BatchView* view) except -1
cdef void batch_stamp(bytes record, uint32_t device, uint64_t first_sequence) noexcept
cdef bytes batch_layout(BatchHeader* header, StringTable strings, BatchView* view)
cdef str group_text(uint32_t device, uint64_t sequence, const GroupCell* cell)
cdef int group_parse(const char* text, int64_t size, GroupCell* cell) noexcept nogil
