"""Up to 1,024 points of one series: encode, decode. Format: docs/format/segment.md."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from tsengine.core.limits cimport BLOCK_POINTS
from tsengine.core.store.points cimport Columns, PointBuffer, StringMap
from tsengine.core.store.statistics cimport BlockStats

# Streams in the order in which they lie in a block; the number is the bit in the block's first byte.
cdef enum:
    STREAM_TIME = 0
    STREAM_VALUE = 1
    STREAM_SEQUENCE = 2
    STREAM_RECEIVED = 3
    STREAM_UNIT = 4
    STREAM_GROUP = 5
    STREAM_LOCATION = 6
    STREAM_METADATA = 7
    STREAM_COUNT = 8

# Forms of a stream of strings.
cdef enum:
    STRINGS_DICTIONARY = 0      # integers: number in the dictionary + 1, 0 = none
    STRINGS_PLAIN = 1           # integers: length + 1, 0 = none; then the bytes
    STRINGS_COMPRESSED = 2      # the same, the bytes as one Zstandard frame

# Forms of a stream of groups.
cdef enum:
    GROUPS_AUTO = 0             # integers: offset in the request
    GROUPS_HEX = 1              # integers: high; integers: low
    GROUPS_MIXED = 2            # integers: form; integers: high; integers: low

cdef class BlockEncoder:
    """Encodes one block after another into its own buffer."""

    cdef uint8_t* buffer
    cdef int64_t capacity
    cdef int64_t begin                      # of the encoded block in the buffer
    cdef int64_t end
    cdef int32_t exponent_hint
    cdef int64_t cells[BLOCK_POINTS]        # a column widened for the integer codec
    cdef double degrees[BLOCK_POINTS]

    cdef int encode(self, const Columns* columns, uint8_t kind, StringMap map, BlockStats* stats) except -1 nogil
    cdef int ensure(self, int64_t size) except -1 nogil
    cdef int put_integers(self, const int64_t* values, int32_t n) except -1 nogil
    cdef int put_numbers(self, const double* values, int32_t n, int32_t* hint) except -1 nogil
    cdef int put_received(self, const Columns* columns) except -1 nogil
    cdef int put_string_column(self, const uint32_t* column, int64_t step, int32_t n, StringMap map) except -1 nogil
    cdef int put_strings(self, int32_t n, StringMap map) except -1 nogil
    cdef bint compress(self, int64_t text) except -1 with gil
    cdef int put_lengths(self, int32_t n) except -1 nogil
    cdef bint is_unique_text(self, int32_t n, StringMap map) noexcept nogil
    cdef int put_value(self, const Columns* columns, uint8_t kind, StringMap map) except -1 nogil
    cdef int put_group(self, const Columns* columns, StringMap map) except -1 nogil
    cdef int put_mixed_group(self, const Columns* columns, const int64_t* highs, StringMap map) except -1 nogil
    cdef int put_location(self, const Columns* columns) except -1 nogil


cdef int find_streams(const uint8_t* data, int64_t size, int64_t* start, int64_t* length) noexcept nogil
cdef const char* block_decode(
    const uint8_t* data, int64_t size, int32_t n, PointBuffer into, StringMap map
) except? NULL nogil
