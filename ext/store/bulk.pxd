"""A large table straight to segments."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from tsengine.core.batch cimport GroupCell, LocationCell
from tsengine.core.codec.strings cimport StringEntry
from tsengine.core.ingest.table cimport Table
from tsengine.core.limits cimport BLOCK_POINTS
from tsengine.core.store.points cimport Columns
from tsengine.core.store.seal cimport BlockCutter

cdef enum:
    # Points that are looked at to cut off one block: beyond these it makes no difference what follows.
    AHEAD_POINTS = BLOCK_POINTS + BLOCK_POINTS // 2


cdef struct Target:             # where the points of a part go
    uint64_t sequence           # of the first
    int period                  # of its device's chunks, PERIOD_*
    bint is_wanted              # the part is to be loaded


cdef struct Run:                # the points of one series
    uint32_t part
    uint32_t slot               # rank of the variable's name * KIND_COUNT + kind
    int64_t first               # in Loader.ranks
    int64_t count


cdef struct Scratch:            # the columns of one block
    uint32_t rows[AHEAD_POINTS]
    int64_t time[AHEAD_POINTS]
    int64_t value[BLOCK_POINTS]
    uint64_t sequence[BLOCK_POINTS]
    uint32_t unit[BLOCK_POINTS]
    uint32_t metadata[BLOCK_POINTS]
    GroupCell group[BLOCK_POINTS]
    LocationCell location[BLOCK_POINTS]
    uint32_t received


cdef class Loader:
    """Puts the rows of a table in order of series, and encodes series."""

    cdef Table table
    cdef Target* targets        # of each part
    cdef int64_t start
    cdef int64_t end
    cdef StringEntry* names     # variables in order
    cdef int64_t name_count
    cdef uint32_t* slot_of      # code of a variable -> rank of its name * KIND_COUNT
    cdef uint32_t* ranks        # places of points among the rows of their part, series by series
    cdef Run* runs
    cdef int64_t run_count
    cdef int64_t run_capacity
    cdef int64_t point_count

    cdef int take_targets(self, list targets) except -1
    cdef int rank_names(self) except -1
    cdef int sort_rows(self) except -1
    cdef int sort_part(self, uint32_t part, int64_t* counts, uint32_t* touched, uint32_t* slots) except -1 nogil
    cdef int push_run(self, uint32_t part, uint32_t slot, int64_t count) except -1 nogil
    cdef int order_run(self, const Run* run, int64_t first, int64_t end) except -1 nogil
    cdef int encode_run(self, const Run* run, int64_t first, int64_t end, Scratch* scratch, BlockCutter cutter) except -1 nogil
    cdef void gather(self, const Run* run, int64_t first, int64_t count, uint64_t sequence, Scratch* scratch, Columns* to) noexcept nogil
