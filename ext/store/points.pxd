"""The points of one series and kind in memory: views over columns, and a buffer that owns some."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from tsengine.core.batch cimport GroupCell, LocationCell
from tsengine.core.codec.strings cimport StringTable

# Which columns a reader wants; time is always there.
cdef enum:
    WANT_VALUE = 1
    WANT_SEQUENCE = 2
    WANT_RECEIVED = 4
    WANT_UNIT = 8
    WANT_GROUP = 16
    WANT_LOCATION = 32
    WANT_METADATA = 64
    WANT_ALL = 127


cdef struct Columns:
    # A view. Cell of point i: column[i * step]; a step of 0 means one cell that holds for every point.
    int64_t count
    const int64_t* time
    const int64_t* value            # bits of the float, int64, 0 or 1, or a string number, by kind; NULL for KIND_NONE
    const uint64_t* sequence
    const uint32_t* received        # whole seconds since 1970
    const uint32_t* unit            # string number + 1, 0 = none
    const GroupCell* group          # GROUP_AUTO: low = offset of the point in its request
    const LocationCell* location
    const uint32_t* metadata        # string number + 1, 0 = none
    int64_t received_step
    int64_t unit_step
    int64_t group_step
    int64_t location_step
    int64_t metadata_step


cdef struct SortKey:
    int64_t time
    uint64_t sequence
    int64_t index               # where the point was


cdef class StringMap:
    """Numbers of one string table to numbers of another, looked up once each."""

    cdef StringTable source
    cdef StringTable target
    cdef uint32_t* numbers          # source number -> target number + 1, 0 = not looked up yet
    cdef uint32_t capacity

    cdef int64_t get(self, uint32_t number) except -1 nogil
    cdef int reserve(self) except -1 nogil


cdef class PointBuffer:
    """Growable columns of one series and kind, with their own strings."""

    cdef readonly int64_t count
    cdef readonly uint8_t kind
    cdef readonly int want
    cdef StringTable strings
    cdef int64_t capacity
    cdef bint in_order                  # by (time, sequence), as far as appended
    cdef int64_t* time
    cdef int64_t* value
    cdef uint64_t* sequence
    cdef uint32_t* received
    cdef uint32_t* unit
    cdef GroupCell* group
    cdef LocationCell* location
    cdef uint32_t* metadata

    cdef int reserve(self, int64_t count) except -1 nogil
    cdef int append(self, const Columns* source, int64_t first, int64_t count, StringMap map) except -1 nogil
    cdef bint added(self, int64_t count) noexcept nogil
    cdef void drop(self, int64_t low, int64_t high) noexcept nogil
    cdef void _shift(self, int64_t to, int64_t origin, int64_t count) noexcept nogil
    cdef int sort(self) except -1 nogil
    cdef void view(self, int64_t first, int64_t count, Columns* columns) noexcept nogil
    cdef void clear(self) noexcept nogil
    cdef void keep(self, int64_t begin, const uint8_t* kept) noexcept nogil
    cdef object value_at(self, int64_t i)
    cdef object group_at(self, uint32_t device, int64_t i)
    cdef object row_at(self, uint32_t device, str variable, int64_t i)


cdef int64_t lower_bound(const int64_t* times, int64_t count, int64_t time) noexcept nogil
cdef int sort_keys(SortKey* keys, int64_t count) noexcept nogil
