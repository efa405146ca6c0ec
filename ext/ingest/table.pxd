"""Whole columns of points in the caller's memory: checked, and read by row."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from tsengine.core.batch cimport BatchBuilder, GroupCell
from tsengine.core.codec.strings cimport StringTable


cdef struct Cells:
    const uint8_t* data         # NULL: no cell is set
    const uint8_t* valid        # bit valid_first + i: cell i is set; NULL: every cell is
    int64_t first               # cells in front of cell 0; of a boolean column they are bits
    int64_t valid_first
    int64_t step                # 0: cell 0 holds for every row


cdef class Column:
    """Cells of one column, and what keeps their memory alive."""

    cdef Cells cells
    cdef object data_view
    cdef object valid_view
    cdef list texts                 # of a column of codes
    cdef uint32_t* numbers          # code -> string number + 1; 0 = no row uses it
    cdef GroupCell* groups          # code -> group; of group codes only

    cdef int need(self, str name, int64_t count, int64_t cell_bits) except -1
    cdef int64_t* first_users(self, str name, int64_t count) except NULL
    cdef int number_texts(self, str name, int64_t count, BatchBuilder builder) except -1
    cdef bint is_constant(self, const uint32_t* rows, int64_t count) noexcept nogil


cdef struct Part:
    uint32_t device             # its number
    int64_t first               # of its rows in Table.rows
    int64_t count


cdef class Table:
    """The rows of one call, of one device or of many."""

    cdef readonly int64_t count
    cdef readonly int64_t received_us
    cdef readonly int64_t part_count
    cdef Column time
    cdef Column device
    cdef Column variable
    cdef Column number
    cdef Column integer
    cdef Column boolean
    cdef Column text
    cdef Column unit
    cdef Column group
    cdef Column metadata
    cdef Column lat
    cdef Column lng
    cdef uint8_t number_kind
    cdef uint8_t kind               # of every value where `kinds` is NULL
    cdef uint8_t* kinds             # KIND_* of each row's value
    cdef BatchBuilder builder       # checked and numbered the texts
    cdef StringTable strings        # the builder's
    cdef uint32_t* rows             # rows device by device, ascending in each; NULL: all of one device, in order
    cdef Part* parts                # one a device, in order of their numbers

    cdef int check_times(self) except -1
    cdef int find_kinds(self) except -1
    cdef int take_values(self, Column column, uint8_t kind) except -1
    cdef int check_locations(self) except -1


cdef inline bint is_set(const Cells* cells, int64_t row) noexcept nogil:
    cdef int64_t bit
    if cells.valid == NULL:
        return cells.data != NULL
    bit = cells.valid_first + row * cells.step
    return cells.valid[bit >> 3] >> (bit & 7) & 1


cdef inline int64_t row_at(const uint32_t* rows, int64_t i) noexcept nogil:
    """The row of place i of a list of rows; NULL is the list of all."""
    return i if rows == NULL else rows[i]
