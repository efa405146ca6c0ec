"""Points that are only in the log and in memory, per series."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from tsengine.core.batch cimport BatchView, GroupCell, LocationCell
from tsengine.core.codec.strings cimport StringTable
from tsengine.core.os.arena cimport Arena
from tsengine.core.store.points cimport Columns, PointBuffer


cdef struct MemtableBlock:
    # Cells below columns.count never change, and no array ever moves: whoever copied `columns` may read without a lock.
    Columns columns
    int64_t capacity
    int64_t time_min
    int64_t time_max
    uint32_t received               # the one cell of a column that is constant so far (step 0)
    uint32_t unit
    uint32_t metadata
    GroupCell group
    LocationCell location
    MemtableBlock* next


cdef struct MemtableSeries:
    uint32_t device
    uint32_t name                   # number in strings
    uint8_t kind
    bint in_order                   # every point came at or after the one before, so far
    int64_t count
    int64_t time_min
    int64_t time_max
    MemtableBlock* first
    MemtableBlock* last
    MemtableSeries* next_of_device


cdef class Memtable:
    cdef readonly int64_t point_count
    cdef readonly uint64_t first_log_seq    # of the first and last batch in it; 0 = none yet
    cdef readonly uint64_t last_log_seq
    cdef readonly bint is_frozen
    cdef Arena arena
    cdef StringTable strings
    cdef MemtableSeries** series
    cdef int64_t series_count
    cdef int64_t series_capacity
    cdef uint32_t* slots            # open addressing over (device, name, kind): series + 1, 0 = free
    cdef int64_t slot_mask
    cdef dict by_device             # device -> address of its first MemtableSeries
    cdef MemtableSeries** cache     # scratch of one apply: series of (batch string, kind)
    cdef uint32_t* string_cache     # scratch of one apply: own number + 1 of a batch string
    cdef int64_t cache_strings

    cdef int apply_view(self, const BatchView* view) except -1
    cdef MemtableSeries* find(self, uint32_t device, uint32_t name, uint8_t kind) noexcept nogil
    cdef MemtableSeries* find_or_add(self, uint32_t device, uint32_t name, uint8_t kind) except NULL
    cdef int append(self, MemtableSeries* series, const BatchView* view, uint32_t i) except -1 nogil
    cdef MemtableBlock* grow(self, MemtableSeries* series, const BatchView* view) except NULL nogil
    cdef int spread(self, MemtableBlock* block, const void** column, int64_t* step, int64_t cell_bytes) except -1 nogil
    cdef int64_t own_string(self, const BatchView* view, uint32_t number) except -1 nogil
    cdef int reserve_cache(self, uint32_t strings) except -1
    cdef int rehash(self) except -1
    cdef MemtableSeries* first_of(self, uint32_t device) noexcept
    cdef MemtableSeries* lookup(self, uint32_t device, bytes name, uint8_t kind)
    cdef int sort_series(self) except -1
