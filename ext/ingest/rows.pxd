"""Rows of a table to cells."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from tsengine.core.batch cimport GroupCell, LocationCell
from tsengine.core.ingest.table cimport Cells, Column, Table

cdef void gather_times(Table table, const uint32_t* rows, int64_t count, int64_t* out) noexcept nogil
cdef void gather_values(Table table, uint8_t kind, const uint32_t* rows, int64_t count, int64_t* out) noexcept nogil
cdef void gather_strings(const Cells* cells, const uint32_t* numbers, const uint32_t* rows, int64_t count, uint32_t* out) noexcept nogil
cdef void gather_groups(Column column, const uint32_t* rows, int64_t count, GroupCell* out) noexcept nogil
cdef void gather_locations(Table table, const uint32_t* rows, int64_t count, LocationCell* out) noexcept nogil
