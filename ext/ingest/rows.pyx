"""Rows of a table to cells: for the blocks of a bulk load, and as records for the log.

The table has checked every cell, so nothing is tested here. Each function reads the rows of a list; NULL is the list of all.
"""

from libc.math cimport NAN, isnan
from libc.stdint cimport UINT32_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from * nogil:         # words of big-endian data; our machines are little-endian
    uint64_t __builtin_bswap64(uint64_t value)
    uint32_t __builtin_bswap32(uint32_t value)

from tsengine.core.batch cimport (
    COLUMN_GROUP,
    COLUMN_KIND,
    COLUMN_LOCATION,
    COLUMN_METADATA,
    COLUMN_UNIT,
    COLUMN_VARIABLE,
    BatchBuilder,
    GroupCell,
    LocationCell,
)
from tsengine.core.codec.strings cimport StringTable
from tsengine.core.ingest.table cimport Cells, Column, Part, Table, is_set, row_at
from tsengine.core.limits cimport BATCH_POINTS, GROUP_HEX, GROUP_TEXT, KIND_BOOLEAN, KIND_INTEGER, KIND_NUMBER, KIND_TEXT

from tsengine.errors import LimitError


cdef const int64_t* numbers_of(Table table, uint8_t kind) noexcept nogil:
    """The cells of the numbers of a kind."""
    if kind == KIND_INTEGER and table.integer is not None:
        return <const int64_t*> table.integer.cells.data + table.integer.cells.first
    return <const int64_t*> table.number.cells.data + table.number.cells.first


cdef int64_t value_of(Table table, uint8_t kind, int64_t row) noexcept nogil:
    """Bits of the float, int64, 0 or 1, or a string number, by kind."""
    cdef const Cells* cells
    cdef int64_t bit
    if kind == KIND_NUMBER or kind == KIND_INTEGER:
        return numbers_of(table, kind)[row]
    if kind == KIND_BOOLEAN:
        bit = table.boolean.cells.first + row
        return table.boolean.cells.data[bit >> 3] >> (bit & 7) & 1
    if kind == KIND_TEXT:
        cells = &table.text.cells
        return table.text.numbers[(<const int32_t*> cells.data)[cells.first + row * cells.step]] - 1
    return 0


cdef void gather_times(Table table, const uint32_t* rows, int64_t count, int64_t* out) noexcept nogil:
    cdef const int64_t* times = <const int64_t*> table.time.cells.data + table.time.cells.first
    cdef int64_t i
    for i in range(count):
        out[i] = times[row_at(rows, i)]


cdef void gather_values(Table table, uint8_t kind, const uint32_t* rows, int64_t count, int64_t* out) noexcept nogil:
    """Write the values of rows that all have this kind, as `value_of`."""
    cdef const int64_t* numbers
    cdef int64_t i
    if kind == KIND_NUMBER or kind == KIND_INTEGER:
        numbers = numbers_of(table, kind)
        for i in range(count):
            out[i] = numbers[row_at(rows, i)]
    else:
        for i in range(count):
            out[i] = value_of(table, kind, row_at(rows, i))


cdef void gather_strings(const Cells* of, const uint32_t* numbers, const uint32_t* rows, int64_t count, uint32_t* out) noexcept nogil:
    """Write string numbers + 1, 0 where a cell is not set."""
    cdef Cells cells = of[0]                    # as in find_users
    cdef const int32_t* codes = <const int32_t*> cells.data + cells.first
    cdef int64_t i, row
    for i in range(count):
        row = row_at(rows, i)
        out[i] = numbers[codes[row * cells.step]] if is_set(&cells, row) else 0


cdef void gather_groups(Column column, const uint32_t* rows, int64_t count, GroupCell* out) noexcept nogil:
    cdef Cells cells = column.cells
    cdef const GroupCell* groups = column.groups
    cdef const int32_t* codes = <const int32_t*> cells.data + cells.first
    cdef int64_t i, row
    if groups == NULL and cells.valid == NULL:
        for i in range(count):
            unpack_group(cells.data + 12 * (cells.first + row_at(rows, i) * cells.step), &out[i])
        return
    for i in range(count):
        row = row_at(rows, i)
        if not is_set(&cells, row):
            memset(&out[i], 0, sizeof(GroupCell))               # GROUP_AUTO
        elif groups != NULL:
            out[i] = groups[codes[row * cells.step]]
        else:
            unpack_group(cells.data + 12 * (cells.first + row * cells.step), &out[i])


cdef inline void unpack_group(const uint8_t* packed, GroupCell* out) noexcept nogil:
    """Read 12 bytes big-endian, so that a counter at their end counts up in `low`."""
    cdef uint64_t high
    cdef uint32_t low
    memcpy(&high, packed, 8)
    memcpy(&low, packed + 8, 4)
    out.high = __builtin_bswap64(high)
    out.low = __builtin_bswap32(low)
    out.form = GROUP_HEX


cdef void gather_locations(Table table, const uint32_t* rows, int64_t count, LocationCell* out) noexcept nogil:
    cdef const double* lat = <const double*> table.lat.cells.data + table.lat.cells.first
    cdef const double* lng = <const double*> table.lng.cells.data + table.lng.cells.first
    cdef int64_t i, row
    for i in range(count):
        row = row_at(rows, i)
        if isnan(lat[row]) or isnan(lng[row]):
            out[i].lat = out[i].lng = NAN
        else:
            out[i].lat = lat[row]
            out[i].lng = lng[row]


cdef void fill_strings(BatchBuilder builder, int number, uint32_t* out, Column column, const uint32_t* rows, uint32_t count) noexcept nogil:
    """Fill a builder's column of units or metadata; one that is the same for all rows is marked and gets one cell."""
    if column is None:
        out[0] = 0
        builder.constant |= 1 << number
    elif column.is_constant(rows, count):
        gather_strings(&column.cells, column.numbers, rows, 1, out)
        builder.constant |= 1 << number
    else:
        gather_strings(&column.cells, column.numbers, rows, count, out)


# --- a part of a table gets a string table of its own ----------------------------------------------------------------

cdef int move_strings(BatchBuilder builder, StringTable source) except -1:
    """Number the strings that the cells use anew, in the builder's own table."""
    cdef uint32_t count = builder.count, i
    cdef uint32_t last = UINT32_MAX, moved = 0
    move_column(builder, source, builder.variable, 0, 1 if builder.constant >> COLUMN_VARIABLE & 1 else count)
    move_column(builder, source, builder.unit, 1, 1 if builder.constant >> COLUMN_UNIT & 1 else count)
    move_column(builder, source, builder.metadata, 1, 1 if builder.constant >> COLUMN_METADATA & 1 else count)
    for i in range(count):
        if builder.kind[0 if builder.constant >> COLUMN_KIND & 1 else i] == KIND_TEXT:
            if builder.value[i] != last:
                last = <uint32_t> builder.value[i]
                moved = <uint32_t> builder.strings.add(source.entries[last].data, source.entries[last].size)
            builder.value[i] = moved
    if not builder.constant >> COLUMN_GROUP & 1:
        for i in range(count):
            if builder.group[i].form == GROUP_TEXT:
                if builder.group[i].low != last:
                    last = builder.group[i].low
                    moved = <uint32_t> builder.strings.add(source.entries[last].data, source.entries[last].size)
                builder.group[i].low = moved
    return 0


cdef int move_column(BatchBuilder builder, StringTable source, uint32_t* cells, uint32_t base, uint32_t count) except -1:
    """base: 1 where 0 means none and the others are numbers + 1."""
    cdef uint32_t last = UINT32_MAX, moved = 0, i
    for i in range(count):
        if cells[i] >= base:
            if cells[i] != last:
                last = cells[i]
                moved = <uint32_t> builder.strings.add(source.entries[last - base].data, source.entries[last - base].size) + base
            cells[i] = moved
    return 0


# --- records -----------------------------------------------------------------------------------------------------------

def record_of(Table table not None, part: int = 0) -> bytes:
    """Return the rows of a part as a record for the log; device and sequence are stamped later.

    Raises:
        LimitError: they are more than one batch may hold.
    """
    cdef const Part* of = &table.parts[<int64_t> part]
    cdef BatchBuilder builder = table.builder
    cdef bytes record
    if of.count > BATCH_POINTS:
        raise LimitError(f"a batch of {of.count} points is too large, at most {BATCH_POINTS} are allowed; send it in parts")
    if table.rows == NULL:
        fill(table, builder, NULL, <uint32_t> of.count)
    else:
        builder = BatchBuilder()
        fill(table, builder, table.rows + of.first, <uint32_t> of.count)
    record = builder.finish(table.received_us)
    return record


cdef int fill(Table table, BatchBuilder builder, const uint32_t* rows, uint32_t count) except -1:
    """Put rows into a builder whose strings are ours, or else it is new and gets the strings that the rows use."""
    cdef uint32_t i
    cdef int64_t row
    builder.reserve(count)
    builder.count = count
    builder.constant = 0
    with nogil:
        gather_times(table, rows, count, builder.time)
        fill_strings(builder, COLUMN_VARIABLE, builder.variable, table.variable, rows, count)
        for i in range(1 if builder.constant >> COLUMN_VARIABLE & 1 else count):
            builder.variable[i] -= 1
        if table.kinds == NULL:
            builder.kind[0] = table.kind
            builder.constant |= 1 << COLUMN_KIND
            gather_values(table, table.kind, rows, count, builder.value)
        else:
            for i in range(count):
                row = row_at(rows, i)
                builder.kind[i] = table.kinds[row]
                builder.value[i] = value_of(table, table.kinds[row], row)
        fill_strings(builder, COLUMN_UNIT, builder.unit, table.unit, rows, count)
        fill_strings(builder, COLUMN_METADATA, builder.metadata, table.metadata, rows, count)
        if table.group is None:
            memset(builder.group, 0, sizeof(GroupCell))
            builder.constant |= 1 << COLUMN_GROUP
        else:
            gather_groups(table.group, rows, count, builder.group)
        if table.lat is None:
            builder.location[0].lat = builder.location[0].lng = NAN
            builder.constant |= 1 << COLUMN_LOCATION
        else:
            gather_locations(table, rows, count, builder.location)
    if builder.strings is not table.strings:
        move_strings(builder, table.strings)
    return 0
