"""Bodies of columns to batches: cells are read where they lie, straight into a batch builder."""

cimport cython
from libc.stdint cimport int64_t, uint32_t

from tsengine.core.batch cimport BatchBuilder
from tsengine.core.ingest.cell cimport Cell, Walk
from tsengine.core.ingest.memo cimport Memo

cdef enum:                  # in the order in which the fields of a point are checked
    FIELD_VARIABLE = 0
    FIELD_VALUE = 1
    FIELD_TIME = 2
    FIELD_UNIT = 3
    FIELD_GROUP = 4
    FIELD_LOCATION = 5
    FIELD_METADATA = 6
    FIELD_COUNT = 7


@cython.final
cdef class ColumnReader:
    """Puts objects of columns into one builder, one behind the other."""

    cdef BatchBuilder builder
    cdef int64_t now_us
    cdef bint is_packed
    cdef bint is_alone          # there is one object: what it holds for every row is stored once
    cdef list decoders          # field -> function from a cell's bytes to what `fields` takes
    cdef list memos             # field -> Memo
    cdef Memo memo              # of the field that is being filled
    cdef Walk[FIELD_COUNT] walks         # data is NULL where the object has no array
    cdef Cell[FIELD_COUNT] constants

    cdef int64_t add(self, list columns) except -1
    cdef int _open(self, int field, object column) except -1
    cdef int64_t _fill(self, int field, uint32_t base) except -1 nogil
    cdef int _fill_constant(self, int field, uint32_t base, int64_t count) except -1
    cdef int _put(self, BatchBuilder builder, int field, const Cell* cell, uint32_t row) except -1 nogil
    cdef int _decode(self, int field, const Cell* cell, uint32_t row) except -1 with gil
