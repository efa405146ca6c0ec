"""Whole columns of points in the caller's memory: checked once, then read by row; for the log, or straight for segments.

Nothing is copied: a column is a pointer, a bitmap of the cells that are set (as Arrow has them), and for text a code into a
dictionary. The check walks each column once; texts are validated and numbered once each, and only those that a row uses: what
else a dictionary holds is nobody's data. After it, every cell may be read without a test.

Errors are InputErrors that name the column and the row.
"""

from libc.math cimport isnan
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc

from cpython.exc cimport PyErr_NoMemory

from tsengine.core.batch cimport BatchBuilder, GroupCell
from tsengine.core.calendar cimport TIME_MAX, TIME_MIN, PeriodCounter, month_of, month_start, period_number
from tsengine.core.ingest.fields cimport put_group, put_metadata, put_unit, put_value, put_variable
from tsengine.core.limits cimport KIND_BOOLEAN, KIND_INTEGER, KIND_NONE, KIND_NUMBER, KIND_TEXT

from tsengine.core.calendar import PERIODS
from tsengine.errors import InputError, LimitError


cdef uint8_t nothing = 0


cdef object bad_row(str name, int64_t row, str problem):
    return InputError(f"column {name!r}, row {row}: {problem}", index=row)


cdef void* allocate(int64_t size) except NULL:
    cdef void* memory = malloc(max(size, 1))
    if memory == NULL:
        PyErr_NoMemory()
    return memory


cdef class Column:
    """Args:
        data: a buffer of the cells (int64, float64, int32 codes, 12-byte groups, or bits for booleans); None = no cell is set.
        valid: a buffer of bits, one a cell, least significant first; None = every cell is set.
        first: cells in front of the first one that counts, in both buffers.
        texts: what the codes stand for.
        is_constant: the buffer has one cell, which holds for every row.
    """

    def __cinit__(self, data, valid=None, int64_t first=0, list texts=None, bint is_constant=False):
        cdef const uint8_t[::1] view
        if data is not None:
            self.data_view = view = memoryview(data).cast("B")
            self.cells.data = &view[0] if view.shape[0] else &nothing       # not NULL: `need` has to see that cells are missing
        if valid is not None:
            self.valid_view = view = memoryview(valid).cast("B")
            self.cells.valid = &view[0] if view.shape[0] else &nothing
        self.cells.first = self.cells.valid_first = first
        self.cells.step = 0 if is_constant else 1
        self.texts = texts

    def __dealloc__(self):
        free(self.numbers)
        free(self.groups)

    cdef int need(self, str name, int64_t count, int64_t cell_bits) except -1:
        """Raise unless the buffers hold this many cells."""
        cdef int64_t cells = self.cells.first + (count if self.cells.step else 1)
        if self.cells.data != NULL and 8 * <int64_t> len(self.data_view) < cells * cell_bits:
            raise InputError(f"column {name!r} has {8 * len(self.data_view) // cell_bits} cells, {cells} are needed")
        if self.cells.valid != NULL and 8 * <int64_t> len(self.valid_view) < cells:
            raise InputError(f"column {name!r} has a bitmap of {len(self.valid_view)} bytes, too few for {cells} cells")
        return 0

    cdef int64_t* first_users(self, str name, int64_t count) except NULL:
        """Check the codes, and return for each the first row that uses it, + 1, or 0; the caller frees it."""
        cdef int64_t size = len(self.texts), row
        cdef int64_t* users = <int64_t*> calloc(max(size, 1), sizeof(int64_t))
        if users == NULL:
            PyErr_NoMemory()
        with nogil:
            row = find_users(&self.cells, count if self.cells.step else min(count, 1), size, users)
        if row >= 0:
            free(users)
            raise bad_row(name, row, f"its code is outside the dictionary of {size} texts")
        return users

    cdef int number_texts(self, str name, int64_t count, BatchBuilder builder) except -1:
        """Check the codes, and check and number every text that a row uses."""
        cdef int64_t size = len(self.texts), code
        cdef int64_t* users = self.first_users(name, count)
        try:
            self.numbers = <uint32_t*> calloc(max(size, 1), sizeof(uint32_t))
            if self.numbers == NULL:
                PyErr_NoMemory()
            if name == "group":
                self.groups = <GroupCell*> calloc(max(size, 1), sizeof(GroupCell))
                if self.groups == NULL:
                    PyErr_NoMemory()
            for code in range(size):
                if users[code]:
                    try:
                        self._number(name, code, builder)
                    except InputError as error:
                        problem = str(error).removeprefix("Invalid data at index 0: ")
                        raise InputError(f"Invalid data at index {users[code] - 1}: {problem}", index=users[code] - 1) from None
        finally:
            free(users)
        return 0

    def _number(self, name, code, BatchBuilder builder):
        cdef object text = self.texts[code]
        cdef uint32_t number = 1
        if name == "variable":
            put_variable(builder, text, 0)
            number = builder.variable[0] + 1
        elif name == "value_text":
            put_value(builder, text, 0, False)
            number = <uint32_t> builder.value[0] + 1
        elif name == "unit":
            number = put_unit(builder, text, 0)
        elif name == "metadata":
            number = put_metadata(builder, text, 0)
        elif name == "group":
            put_group(builder, text, 0)
            self.groups[<int64_t> code] = builder.group[0]
        self.numbers[<int64_t> code] = number

    cdef bint is_constant(self, const uint32_t* rows, int64_t count) noexcept nogil:
        """Whether all of these rows have the same code, or none has one."""
        cdef const int32_t* codes = <const int32_t*> self.cells.data + self.cells.first
        cdef int64_t i, row = row_at(rows, 0)
        cdef bint is_first_set = is_set(&self.cells, row)
        cdef int32_t first
        if self.cells.step == 0 or self.cells.data == NULL:
            return True
        first = codes[row]
        for i in range(1, count):
            row = row_at(rows, i)
            if is_set(&self.cells, row) != is_first_set or (is_first_set and codes[row] != first):
                return False
        return True


cdef int64_t find_users(const Cells* of, int64_t count, int64_t size, int64_t* users) noexcept nogil:
    """Note for each code the first row that uses it, + 1; return a row whose code is outside 0 .. size - 1, or -1."""
    cdef Cells cells = of[0]                    # a copy, which writing to `users` cannot change: the compiler keeps it in registers
    cdef const int32_t* codes = <const int32_t*> cells.data + cells.first
    cdef int64_t row
    if cells.data == NULL:
        return -1
    for row in range(count):
        if is_set(&cells, row):
            if not 0 <= codes[row] < size:
                return row
            if users[codes[row]] == 0:
                users[codes[row]] = row + 1
    return -1


cdef class Table:
    """Args:
        received_us: time of receipt of all rows, microseconds.
        time: int64 microseconds, all set. variable: codes, all set.
        number: float64 or int64 cells, as `number_kind` (KIND_NUMBER, KIND_INTEGER) says; boolean: bits; text: codes.
            A row has at most one of the three.
        integer: int64 cells; where one is set it is the row's value, whatever number stands beside it (floats for all rows and
            integers as they are is how a scan gives both).
        unit, metadata: codes. group: codes, or cells of 12 bytes that stand for 24 hexadecimal characters (no texts).
        lat, lng: float64 degrees, NaN = no location.
        device: codes, all set; without it all rows are of one device.

    Raises:
        InputError: a cell, a text or a shape is not acceptable; nothing was stored.
    Cost: some nanoseconds a row; one to five bytes a row are kept beside the caller's columns, nine with `device`.
    """

    def __cinit__(
        self,
        int64_t received_us,
        Column time not None,
        Column variable not None,
        *,
        Column number=None,
        uint8_t number_kind=KIND_NUMBER,
        Column integer=None,
        Column boolean=None,
        Column text=None,
        Column unit=None,
        Column group=None,
        Column metadata=None,
        Column lat=None,
        Column lng=None,
        Column device=None,
        int64_t count,
    ):
        cdef Column column
        self.count = count
        self.received_us = received_us
        self.time, self.variable, self.number, self.integer = time, variable, number, integer
        self.boolean, self.text = boolean, text
        self.unit, self.group, self.metadata, self.lat, self.lng, self.device = unit, group, metadata, lat, lng, device
        self.number_kind = number_kind
        self.builder = BatchBuilder()
        self.builder.reserve(1)
        self.strings = self.builder.strings
        if not 0 < count <= <int64_t> 0xFFFFFFFF:
            raise LimitError(f"a table holds 1 to {0xFFFFFFFF} rows, not {count}")
        if number is not None and number_kind != KIND_NUMBER and number_kind != KIND_INTEGER:
            raise InputError(f"{number_kind} is not the kind of a number")
        if number is not None and integer is not None and number_kind == KIND_INTEGER:
            raise InputError("columns 'value' and 'value_int' both hold integers; give one of them")
        if (lat is None) != (lng is None):
            raise InputError("columns 'lat' and 'lng' belong together; one is missing")
        for name, column, bits in (
            ("time", time, 64), ("variable", variable, 32), ("value", number, 64), ("value_int", integer, 64),
            ("value_bool", boolean, 1), ("value_text", text, 32),
            ("unit", unit, 32), ("group", group, 96 if group is not None and group.texts is None else 32), ("metadata", metadata, 32),
            ("lat", lat, 64), ("lng", lng, 64), ("device", device, 32),
        ):
            if column is not None:
                column.need(name, count, bits)
        for name, column in (("time", time), ("variable", variable), ("device", device)):
            if column is not None and (column.cells.data == NULL or column.cells.valid != NULL):
                raise InputError(f"column {name!r} must be set in every row")
        self.check_times()
        for name, column in (("variable", variable), ("value_text", text), ("unit", unit), ("group", group), ("metadata", metadata)):
            if column is not None and column.texts is not None:
                column.number_texts(name, count, self.builder)
        self.find_kinds()
        if lat is not None:
            self.check_locations()

    def __dealloc__(self):
        free(self.kinds)
        free(self.rows)
        free(self.parts)

    def __len__(self) -> int:
        return self.count

    cdef int check_times(self) except -1:
        cdef int64_t low, high
        bounds_of(self.time, NULL, self.count, &low, &high)
        if low < TIME_MIN or high > TIME_MAX:
            raise InputError("time: every time must lie in the years 1 to 9999, as int64 microseconds (no NaT)")
        return 0

    cdef int find_kinds(self) except -1:
        """Find out which of the columns of values each row has."""
        cdef list given = [
            (column, kind)
            for column, kind in (
                (self.integer, KIND_INTEGER), (self.number, self.number_kind), (self.boolean, KIND_BOOLEAN), (self.text, KIND_TEXT),
            )
            if column is not None and (<Column> column).cells.data != NULL
        ]
        self.kind = KIND_NONE
        if len(given) == 1 and (<Column> given[0][0]).cells.valid == NULL:
            self.kind = given[0][1]
        elif given:
            self.kinds = <uint8_t*> calloc(self.count, 1)
            if self.kinds == NULL:
                PyErr_NoMemory()
            for column, kind in given:
                self.take_values(column, kind)
        return 0

    cdef int take_values(self, Column column, uint8_t kind) except -1:
        cdef Cells cells = column.cells
        cdef uint8_t* kinds = self.kinds
        cdef uint8_t stays = KIND_INTEGER if column is self.number and self.integer is not None else <uint8_t> KIND_NONE
        cdef int64_t row, clash = -1
        with nogil:
            for row in range(self.count):
                if is_set(&cells, row):
                    if kinds[row] == KIND_NONE:
                        kinds[row] = kind
                    elif kinds[row] != stays:
                        clash = row
                        break
        if clash >= 0:
            raise InputError(f"row {clash} has two values; each row takes one of 'value', 'value_bool' and 'value_text'", index=clash)
        return 0

    cdef int check_locations(self) except -1:
        cdef const double* lat = <const double*> self.lat.cells.data + self.lat.cells.first
        cdef const double* lng = <const double*> self.lng.cells.data + self.lng.cells.first
        cdef int64_t row, bad = -1
        if self.lat.cells.valid != NULL or self.lng.cells.valid != NULL or self.lat.cells.data == NULL or self.lng.cells.data == NULL:
            raise InputError("columns 'lat' and 'lng' must mark a missing location with NaN")
        with nogil:
            for row in range(self.count):
                # A comparison with NaN is false, so half a location counts as none.
                if (lat[row] < -90 or lat[row] > 90 or lng[row] < -180 or lng[row] > 180) and not (isnan(lat[row]) or isnan(lng[row])):
                    bad = row
                    break
        if bad >= 0:
            raise InputError(
                f"Invalid data at index {bad}: location lat must be between -90 and 90, lng between -180 and 180", index=bad
            )
        return 0

    # --- parts: the rows of each device ----------------------------------------------------------------------------

    def devices(self) -> list[str]:
        """Return the texts of the `device` column that a row uses, by code; None for those that no row does.

        Raises:
            InputError: a code is outside the dictionary.
        """
        cdef int64_t code
        cdef int64_t* users = self.device.first_users("device", self.count)
        try:
            return [self.device.texts[code] if users[code] else None for code in range(<int64_t> len(self.device.texts))]
        finally:
            free(users)

    def assign(self, numbers: list[int]) -> None:
        """Say which device each code of the `device` column is (without one: a list of one number), by device number.

        Codes of the same number (an id and a serial) become one part. After it `part_count` parts can be asked for.
        """
        cdef list distinct = sorted({number for number in numbers if number is not None})
        cdef int64_t size = len(numbers), i, row, at
        cdef int64_t* part_of = NULL
        cdef const int32_t* codes
        free(self.rows)
        free(self.parts)
        self.rows = NULL
        self.part_count = len(distinct)
        self.parts = <Part*> calloc(self.part_count, sizeof(Part))
        if self.parts == NULL:
            PyErr_NoMemory()
        for i in range(self.part_count):
            self.parts[i].device = distinct[i]
        if self.device is None or self.part_count == 1:
            self.parts[0].count = self.count
            return
        place = {number: i for i, number in enumerate(distinct)}
        part_of = <int64_t*> allocate(8 * size)
        try:
            for i in range(size):
                part_of[i] = -1 if numbers[i] is None else place[numbers[i]]
            self.rows = <uint32_t*> allocate(4 * self.count)
            codes = <const int32_t*> self.device.cells.data + self.device.cells.first
            with nogil:
                for row in range(self.count):
                    self.parts[part_of[codes[row]]].count += 1
                at = 0
                for i in range(self.part_count):
                    self.parts[i].first = at
                    at += self.parts[i].count
                    self.parts[i].count = 0
                for row in range(self.count):
                    i = part_of[codes[row]]
                    self.rows[self.parts[i].first + self.parts[i].count] = <uint32_t> row
                    self.parts[i].count += 1
        finally:
            free(part_of)

    def part_device(self, part: int) -> int:
        """Return the number of the device of a part."""
        return self.parts[<int64_t> part].device

    def part_size(self, part: int) -> int:
        return self.parts[<int64_t> part].count

    def time_bounds(self, part: int) -> tuple[int, int]:
        """Return the smallest and the largest time of a part, microseconds."""
        cdef const Part* of = &self.parts[<int64_t> part]
        cdef int64_t low, high
        bounds_of(self.time, NULL if self.rows == NULL else self.rows + of.first, of.count, &low, &high)
        return low, high

    def period_counts(self, part: int, period: str | None) -> dict[int, int]:
        """Return how many points of a part lie in each period: number of the period -> points."""
        cdef const Part* of = &self.parts[<int64_t> part]
        cdef const uint32_t* rows = NULL if self.rows == NULL else self.rows + of.first
        cdef const int64_t* times = <const int64_t*> self.time.cells.data + self.time.cells.first
        cdef int code = PERIODS[period]
        cdef int64_t low, high, i
        cdef PeriodCounter counter
        bounds_of(self.time, rows, of.count, &low, &high)
        if period_number(low, code) == period_number(high, code):
            return {period_number(low, code): of.count}
        counter = PeriodCounter(period)
        for i in range(of.count):
            counter.add(times[row_at(rows, i)], 1)
        return counter.result()

    def months(self) -> list[int]:
        """Return the months (since January 1970) in which a row lies, ascending."""
        cdef const int64_t* times = <const int64_t*> self.time.cells.data + self.time.cells.first
        cdef int64_t low, high, row, start, end
        cdef set found
        bounds_of(self.time, NULL, self.count, &low, &high)
        start, end = month_start(month_of(low)), month_start(month_of(low) + 1)
        found = {month_of(low)}
        if high >= end:
            for row in range(self.count):
                if not start <= times[row] < end:
                    start, end = month_start(month_of(times[row])), month_start(month_of(times[row]) + 1)
                    found.add(month_of(times[row]))
        return sorted(found)


cdef void bounds_of(Column time, const uint32_t* rows, int64_t count, int64_t* low, int64_t* high) noexcept:
    cdef const int64_t* times = <const int64_t*> time.cells.data + time.cells.first
    cdef int64_t i, smallest = INT64_MAX, largest = INT64_MIN
    with nogil:
        for i in range(count):
            smallest = min(smallest, times[row_at(rows, i)])
            largest = max(largest, times[row_at(rows, i)])
    low[0] = smallest
    high[0] = largest
