"""Bodies of columns to batches: cells are read where they lie, straight into a batch builder.

An object has the fields of a data item, each as an array with a cell a row, or as one value for all rows. Numbers, plain text and
times are read here; equal cells of the other fields are recognized by their bytes; whatever is left goes, cell by cell, through the
decoder and the checks of the row form, so that both forms take and refuse the same, with the same words.
"""

from libc.math cimport floor
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_FromStringAndSize

from tsengine.core.batch cimport (
    COLUMN_GROUP,
    COLUMN_KIND,
    COLUMN_LOCATION,
    COLUMN_METADATA,
    COLUMN_TIME,
    COLUMN_UNIT,
    COLUMN_VALUE,
    COLUMN_VARIABLE,
    BatchBuilder,
)
from tsengine.core.calendar cimport TIME_MAX, TIME_MIN, timestamp_parse
from tsengine.core.codec.strings cimport utf8_is_valid
from tsengine.core.ingest.cell cimport (
    CELL_FALSE,
    CELL_NULL,
    CELL_NUMBER,
    CELL_TEXT,
    CELL_TRUE,
    Cell,
    Walk,
    cell_of,
    walk_array,
    walk_bound,
    walk_next,
)
from tsengine.core.ingest.fields cimport (
    invalid,
    put_group,
    put_location,
    put_metadata,
    put_unit,
    put_value,
    put_variable,
    wire_time_of,
)
from tsengine.core.ingest.memo cimport Memo
from tsengine.core.limits cimport BATCH_POINTS, KIND_BOOLEAN, KIND_NONE, KIND_NUMBER, KIND_TEXT, TEXT_VALUE_BYTES

from typing import Any

import msgspec

from tsengine.errors import InputError

cdef tuple NAMES = ("variable", "value", "time", "unit", "group", "location", "metadata")
cdef tuple TYPES = (str | None, str | float | bool | None, str | float | None, str | None, str | None, dict[str, Any] | None)

# Metadata stays the JSON that came; a time of MessagePack may be its timestamp.
cdef list JSON_DECODERS = [*(msgspec.json.Decoder(type).decode for type in TYPES), msgspec.Raw]
cdef list PACKED_DECODERS = [msgspec.msgpack.Decoder(type).decode for type in (*TYPES, dict[str, Any] | None)]
PACKED_DECODERS[FIELD_TIME] = msgspec.msgpack.Decoder().decode

cdef uint16_t[FIELD_COUNT] COLUMNS_OF       # field -> the builder's columns that hold it
COLUMNS_OF[:] = [
    1 << COLUMN_VARIABLE, 1 << COLUMN_KIND | 1 << COLUMN_VALUE, 1 << COLUMN_TIME, 1 << COLUMN_UNIT, 1 << COLUMN_GROUP,
    1 << COLUMN_LOCATION, 1 << COLUMN_METADATA,
]


cdef object malformed(str problem):
    return InputError(f"Malformed request syntax: {problem}")


cdef void copy_cell(BatchBuilder builder, int field, uint32_t source, uint32_t row) noexcept nogil:
    if field == FIELD_VARIABLE:
        builder.variable[row] = builder.variable[source]
    elif field == FIELD_VALUE:
        builder.value[row] = builder.value[source]
        builder.kind[row] = builder.kind[source]
    elif field == FIELD_TIME:
        builder.time[row] = builder.time[source]
    elif field == FIELD_UNIT:
        builder.unit[row] = builder.unit[source]
    elif field == FIELD_GROUP:
        builder.group[row] = builder.group[source]
    elif field == FIELD_LOCATION:
        builder.location[row] = builder.location[source]
    else:
        builder.metadata[row] = builder.metadata[source]


cdef class ColumnReader:
    def __cinit__(self, int64_t now_us, bint is_packed, bint is_alone):
        self.builder = BatchBuilder()
        self.now_us = now_us
        self.is_packed = is_packed
        self.is_alone = is_alone
        self.decoders = PACKED_DECODERS if is_packed else JSON_DECODERS
        self.memos = [Memo() for _ in range(FIELD_COUNT)]

    cdef int64_t add(self, list columns) except -1:
        """Put the rows of one object behind those that are there, and return how many it has.

        Args:
            columns: field -> a buffer with what the body has of it, or None if it is absent.
        """
        cdef uint32_t base = self.builder.count
        cdef int64_t count = -1, bound = 1, filled
        cdef int field, first = -1
        for field in range(FIELD_COUNT):
            self._open(field, columns[field])
            if self.walks[field].data != NULL:
                bound = max(bound, walk_bound(&self.walks[field]))
        if base + bound > self.builder.capacity:        # twice as much each time: a body may have many small objects
            bound = max(base + bound, 2 * <int64_t> self.builder.capacity)
            self.builder.reserve(<uint32_t> min(bound, <int64_t> BATCH_POINTS))
        for field in range(FIELD_COUNT):
            if self.walks[field].data != NULL:
                self.memo = self.memos[field]
                with nogil:
                    filled = self._fill(field, base)
                if count >= 0 and filled != count:
                    raise InputError(f"columns must have the same length: {NAMES[first]} has {count} cells, {NAMES[field]} has {filled}")
                if count < 0:
                    count, first = filled, field
        if count < 0:
            count = 1
        self.builder.reserve(<uint32_t> (base + count))         # raises if the batch is full and an object without arrays follows
        if count > 0:
            for field in range(FIELD_COUNT):
                if self.walks[field].data == NULL:
                    self.memo = self.memos[field]
                    self._fill_constant(field, base, count)
        self.builder.count += <uint32_t> count
        return count

    cdef int _open(self, int field, object column) except -1:
        """Begin to walk an array, or read the one cell that holds for all rows; a field that is absent is like one that is null."""
        cdef const uint8_t[::1] view
        cdef const char* data = b"\xc0" if self.is_packed else b"null"
        cdef int64_t size = 1 if self.is_packed else 4
        if column is not None:
            view = column
            size = view.shape[0]
            if size:
                data = <const char*> &view[0]
        if walk_array(&self.walks[field], data, size, self.is_packed):
            return 0
        self.walks[field].data = NULL
        if not cell_of(data, size, self.is_packed, &self.constants[field]):
            raise malformed(f"{NAMES[field]} is neither a value nor an array")
        return 0

    cdef int64_t _fill(self, int field, uint32_t base) except -1 nogil:
        """Read the cells of an array into rows from `base` on, and return how many there are."""
        cdef Walk walk = self.walks[field]
        cdef Cell cell
        cdef int64_t row = base
        cdef int state = walk_next(&walk, &cell)
        while state == 1 and row < self.builder.capacity:
            self._put(self.builder, field, &cell, <uint32_t> row)
            row += 1
            state = walk_next(&walk, &cell)
        if state != 0:
            with gil:
                if state == 1:
                    self.builder.reserve(BATCH_POINTS + 1)      # raises
                raise malformed(f"{NAMES[field]} is not a whole array")
        return row - base

    cdef int _fill_constant(self, int field, uint32_t base, int64_t count) except -1:
        """Put the same cell into every row of an object."""
        cdef int64_t row
        self._put(self.builder, field, &self.constants[field], base)
        if self.is_alone and field != FIELD_TIME:
            self.builder.constant |= COLUMNS_OF[field]
        else:
            with nogil:
                for row in range(base + 1, base + count):
                    copy_cell(self.builder, field, base, <uint32_t> row)
        return 0

    cdef int _put(self, BatchBuilder builder, int field, const Cell* cell, uint32_t row) except -1 nogil:
        cdef int64_t first
        cdef double number
        if field == FIELD_VALUE:
            if cell.kind == CELL_NUMBER:
                memcpy(&builder.value[row], &cell.number, 8)
                builder.kind[row] = KIND_NUMBER
                return 0
            if cell.kind == CELL_NULL:
                builder.value[row] = 0
                builder.kind[row] = KIND_NONE
                return 0
            if cell.kind == CELL_TRUE or cell.kind == CELL_FALSE:
                builder.value[row] = cell.kind == CELL_TRUE
                builder.kind[row] = KIND_BOOLEAN
                return 0
            if cell.kind == CELL_TEXT and cell.text_size <= TEXT_VALUE_BYTES and utf8_is_valid(cell.text, cell.text_size):
                builder.value[row] = builder.strings.add(cell.text, <uint32_t> cell.text_size)
                builder.kind[row] = KIND_TEXT
                return 0
            return self._decode(field, cell, row)
        if field == FIELD_TIME:
            if cell.kind == CELL_NULL or (cell.kind == CELL_NUMBER and cell.number == 0):
                builder.time[row] = self.now_us
                return 0
            if cell.kind == CELL_NUMBER:
                number = floor(cell.number)
                if <double> TIME_MIN <= number * 1000 <= <double> TIME_MAX:
                    builder.time[row] = <int64_t> number * 1000
                    return 0
            elif cell.kind == CELL_TEXT and timestamp_parse(cell.text, cell.text_size, &builder.time[row]):
                builder.time[row] -= (builder.time[row] % 1000 + 1000) % 1000
                return 0
            return self._decode(field, cell, row)
        first = self.memo.row_of(cell.data, cell.size, row)
        if first == row:
            return self._decode(field, cell, row)
        copy_cell(self.builder, field, <uint32_t> first, row)
        return 0

    cdef int _decode(self, int field, const Cell* cell, uint32_t row) except -1 with gil:
        """Let the decoder and the checks of the row form have a cell."""
        cdef BatchBuilder builder = self.builder
        cdef object item
        try:
            item = self.decoders[field](PyBytes_FromStringAndSize(cell.data, cell.size))
        except msgspec.ValidationError as error:
            raise invalid(row, f"{NAMES[field]}: {str(error).partition(' - at `')[0]}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise malformed(str(error)) from None
        if field == FIELD_VARIABLE:
            put_variable(builder, item, row)
        elif field == FIELD_VALUE:
            put_value(builder, item, row, True)
        elif field == FIELD_TIME:
            builder.time[row] = wire_time_of(item, self.now_us, row)
        elif field == FIELD_UNIT:
            builder.unit[row] = put_unit(builder, item, row)
        elif field == FIELD_GROUP:
            put_group(builder, item, row)
        elif field == FIELD_LOCATION:
            put_location(&builder.location[row], item, row)
        else:
            builder.metadata[row] = put_metadata(builder, item, row)
        return 0


def from_columns(objects: list, now_us: int, is_packed: bool) -> bytes:
    """Return the record of objects of columns, their rows one behind the other; empty bytes if there are none.

    Args:
        objects: with the attributes variable, value, time, unit, group, location and metadata: msgspec.Raw, well-formed, or None.
        now_us: time of rows that carry none, and the batch's time of receipt, microseconds.
        is_packed: the Raws are MessagePack, not JSON.

    Raises:
        InputError: as from_points with `wire`; `index` counts the rows of all objects. Or arrays of one object differ in length.
        LimitError: more points than one batch may hold.
    Cost: 15 to 25 ns a row for numbers and times; a Python object only for what is rare.
    """
    cdef ColumnReader reader = ColumnReader(now_us, is_packed, len(objects) == 1)
    for one in objects:
        reader.add([getattr(one, name) for name in NAMES])
    return reader.builder.finish(now_us) if reader.builder.count else b""
