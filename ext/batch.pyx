"""The self-contained columns of one write: the record of the log, and later the message between machines.

A batch is built once (BatchBuilder, or batch_layout for whole columns), stamped with its device and first sequence when
it is staged, and from then on only read. Reading is pointer arithmetic over checked bounds. Format: docs/format/batch.md.
"""

from libc.math cimport isnan
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_NoMemory

from tsengine.core.calendar cimport TIME_MAX, TIME_MIN, PeriodCounter, period_number
from tsengine.core.codec.strings cimport StringTable, utf8_is_valid
from tsengine.core.limits cimport (
    BATCH_BYTES,
    BATCH_POINTS,
    GROUP_AUTO,
    GROUP_HEX,
    GROUP_TEXT,
    KIND_BOOLEAN,
    KIND_COUNT,
    KIND_INTEGER,
    KIND_NUMBER,
    KIND_TEXT,
)

from tsengine.core.calendar import PERIODS
from tsengine.errors import CorruptionError, LimitError
from tsengine.rows import Row

cdef enum:
    RELEASE_BYTES = 64 << 10        # records above it are checked without the GIL: that takes longer than a thread's turn

cdef int64_t[COLUMN_COUNT] CELL_BYTES
CELL_BYTES[:] = [8, 4, 1, 8, 4, 16, 16, 4]


cdef inline int64_t padded(int64_t size) noexcept nogil:
    return (size + 7) & ~<int64_t> 7


cdef inline int64_t column_bytes(const BatchHeader* header, int column) noexcept nogil:
    if not header.present >> column & 1:
        return 0
    return padded(CELL_BYTES[column] * (1 if header.constant >> column & 1 else <int64_t> header.count))


cdef int64_t batch_bytes(const BatchHeader* header) noexcept nogil:
    """Size of the whole record that this header announces."""
    cdef int64_t size = sizeof(BatchHeader)
    cdef int column
    for column in range(COLUMN_COUNT):
        size += column_bytes(header, column)
    return size + padded(4 * (<int64_t> header.string_count + 1)) + padded(header.string_bytes)


cdef void point_at(const uint8_t* data, BatchView* view) noexcept nogil:
    """Set every pointer of the view; the header has to announce a size that fits."""
    cdef const BatchHeader* header = <const BatchHeader*> data
    cdef const uint8_t* column[COLUMN_COUNT]
    cdef const uint8_t* at = data + sizeof(BatchHeader)
    cdef int number
    for number in range(COLUMN_COUNT):
        column[number] = at if header.present >> number & 1 else NULL
        view.step[number] = 0 if header.constant >> number & 1 else 1
        at += column_bytes(header, number)
    view.header = header
    view.time = <const int64_t*> column[COLUMN_TIME]
    view.variable = <const uint32_t*> column[COLUMN_VARIABLE]
    view.kind = column[COLUMN_KIND]
    view.value = <const int64_t*> column[COLUMN_VALUE]
    view.unit = <const uint32_t*> column[COLUMN_UNIT]
    view.group = <const GroupCell*> column[COLUMN_GROUP]
    view.location = <const LocationCell*> column[COLUMN_LOCATION]
    view.metadata = <const uint32_t*> column[COLUMN_METADATA]
    view.string_offsets = <const uint32_t*> at
    view.strings = <const char*> at + padded(4 * (<int64_t> header.string_count + 1))


cdef const char* find_fault(const uint8_t* data, int64_t size, BatchView* view) noexcept nogil:
    """Check every bound of the record; return what is wrong, or NULL with the view set."""
    cdef const BatchHeader* header = <const BatchHeader*> data
    cdef uint16_t needed = 1 << COLUMN_TIME | 1 << COLUMN_VARIABLE | 1 << COLUMN_KIND | 1 << COLUMN_VALUE
    cdef uint32_t i, strings
    cdef uint8_t kind
    if size < <int64_t> sizeof(BatchHeader):
        return "size"
    if header.record != RECORD_POINTS:
        return "record type"
    if header.version != BATCH_VERSION:
        return "version"
    if header.present & needed != needed or header.present >> COLUMN_COUNT or header.count == 0 or header.count > BATCH_POINTS:
        return "columns"
    if batch_bytes(header) != size:
        return "size"
    if header.time_min < TIME_MIN or header.time_max > TIME_MAX or not TIME_MIN <= header.received_us <= TIME_MAX:
        return "time"
    point_at(data, view)
    strings = header.string_count
    if view.string_offsets[0] != 0 or view.string_offsets[strings] != header.string_bytes:
        return "string table"
    for i in range(strings):
        if view.string_offsets[i] > view.string_offsets[i + 1] or view.string_offsets[i + 1] > header.string_bytes:
            return "string table"
        if not utf8_is_valid(view.strings + view.string_offsets[i], view.string_offsets[i + 1] - view.string_offsets[i]):
            return "text"
    for i in range(header.count):
        kind = view.kind[i * view.step[COLUMN_KIND]]
        if kind >= KIND_COUNT:
            return "kind"
        if kind == KIND_TEXT and <uint64_t> view.value[i * view.step[COLUMN_VALUE]] >= strings:
            return "text value"
        if view.variable[i * view.step[COLUMN_VARIABLE]] >= strings:
            return "variable"
        if not header.time_min <= view.time[i * view.step[COLUMN_TIME]] <= header.time_max:
            return "time"
        if view.unit != NULL and view.unit[i * view.step[COLUMN_UNIT]] > strings:
            return "unit"
        if view.metadata != NULL and view.metadata[i * view.step[COLUMN_METADATA]] > strings:
            return "metadata"
        if view.group != NULL:
            if view.group[i * view.step[COLUMN_GROUP]].form > GROUP_TEXT:
                return "group"
            if view.group[i * view.step[COLUMN_GROUP]].form == GROUP_TEXT and view.group[i * view.step[COLUMN_GROUP]].low >= strings:
                return "group"
    return NULL


cdef int batch_open(const uint8_t* data, int64_t size, BatchView* view) except -1:
    """Check a record and set the view over it; the view is valid as long as the bytes are.

    Raises:
        CorruptionError: a bound, a string number or a kind is wrong.
    """
    cdef const char* fault
    # Letting go of the GIL for a small record costs a wake-up of whoever waits for it, and then up to 5 ms until it comes back.
    if size < RELEASE_BYTES:
        fault = find_fault(data, size, view)
    else:
        with nogil:
            fault = find_fault(data, size, view)
    if fault != NULL:
        raise CorruptionError("batch", expected="a points record", found=f"wrong {fault.decode()}")
    return 0


cdef void clear_padding(uint8_t* data, const BatchHeader* header) noexcept nogil:
    """Zero the last word of every column and of the strings; what is not padding there is written afterwards."""
    cdef int64_t at = sizeof(BatchHeader), size
    cdef int column
    for column in range(COLUMN_COUNT):
        size = column_bytes(header, column)
        at += size
        if size:
            memset(data + at - 8, 0, 8)
    at += padded(4 * (<int64_t> header.string_count + 1))
    memset(data + at - 8, 0, 8)
    at += padded(header.string_bytes)
    if header.string_bytes:
        memset(data + at - 8, 0, 8)


cdef bytes batch_layout(BatchHeader* header, StringTable strings, BatchView* view):
    """Return a new record with header and strings in place and the view over its still empty columns.

    The header has to hold count, present, constant, received_us, time_min and time_max; the caller fills the columns
    through the view (casting the const away) before anyone else sees the record.
    """
    cdef bytes record
    cdef uint8_t* data
    cdef uint32_t* offsets
    cdef char* at
    cdef uint32_t i
    cdef int64_t size
    header.record = RECORD_POINTS
    header.version = BATCH_VERSION
    header.string_count = strings.count
    if strings.text_bytes > BATCH_BYTES:
        raise LimitError(f"the texts of the batch take {strings.text_bytes} bytes, at most {BATCH_BYTES} are allowed; send it in parts")
    header.string_bytes = <uint32_t> strings.text_bytes
    size = batch_bytes(header)
    if size > BATCH_BYTES:
        raise LimitError(f"the batch takes {size} bytes, at most {BATCH_BYTES} are allowed; send it in parts")
    record = PyBytes_FromStringAndSize(NULL, size)
    data = <uint8_t*> PyBytes_AS_STRING(record)
    memcpy(data, header, sizeof(BatchHeader))
    point_at(data, view)
    clear_padding(data, header)
    offsets = <uint32_t*> view.string_offsets
    at = <char*> view.strings
    offsets[0] = 0
    for i in range(strings.count):
        memcpy(at + offsets[i], strings.entries[i].data, strings.entries[i].size)
        offsets[i + 1] = offsets[i] + strings.entries[i].size
    return record


cdef void batch_stamp(bytes record, uint32_t device, uint64_t first_sequence) noexcept:
    """Write device and first sequence into a record that nobody else has seen yet."""
    cdef BatchHeader* header = <BatchHeader*> PyBytes_AS_STRING(record)
    header.device = device
    header.first_sequence = first_sequence


cdef bint is_constant(const char* cells, int64_t cell_bytes, uint32_t count) noexcept nogil:
    # Equal to itself shifted by one cell: memcmp does the work.
    return count == 1 or memcmp(cells, cells + cell_bytes, cell_bytes * (count - 1)) == 0


cdef class BatchBuilder:
    def __cinit__(self):
        self.strings = StringTable()

    def __dealloc__(self):
        free(self.time)
        free(self.variable)
        free(self.kind)
        free(self.value)
        free(self.unit)
        free(self.group)
        free(self.location)
        free(self.metadata)

    cdef void clear(self) noexcept:
        self.count = 0
        self.constant = 0
        self.strings.clear()

    cdef int reserve(self, uint32_t count) except -1:
        """Make room for this many points in all."""
        if count > BATCH_POINTS:
            raise LimitError(f"a batch of {count} points is too large, at most {BATCH_POINTS} are allowed; send it in parts")
        if count <= self.capacity:
            return 0
        self.time = <int64_t*> grown(self.time, 8 * <int64_t> count)
        self.variable = <uint32_t*> grown(self.variable, 4 * <int64_t> count)
        self.kind = <uint8_t*> grown(self.kind, count)
        self.value = <int64_t*> grown(self.value, 8 * <int64_t> count)
        self.unit = <uint32_t*> grown(self.unit, 4 * <int64_t> count)
        self.group = <GroupCell*> grown(self.group, 16 * <int64_t> count)
        self.location = <LocationCell*> grown(self.location, 16 * <int64_t> count)
        self.metadata = <uint32_t*> grown(self.metadata, 4 * <int64_t> count)
        self.capacity = count
        return 0

    cdef bytes finish(self, int64_t received_us):
        """Return the record of the points collected so far (at least one); device and sequence are still zero."""
        cdef const char* columns[COLUMN_COUNT]
        cdef const char* targets[COLUMN_COUNT]
        cdef BatchHeader header
        cdef BatchView view
        cdef bytes record
        cdef uint32_t i
        cdef int column
        cdef bint constant
        columns[:] = [<const char*> self.time, <const char*> self.variable, <const char*> self.kind, <const char*> self.value,
                      <const char*> self.unit, <const char*> self.group, <const char*> self.location, <const char*> self.metadata]
        memset(&header, 0, sizeof(header))
        header.count = self.count
        header.received_us = received_us
        header.time_min = header.time_max = self.time[0]
        for i in range(1, self.count):
            header.time_min = min(header.time_min, self.time[i])
            header.time_max = max(header.time_max, self.time[i])
        for column in range(COLUMN_COUNT):
            constant = self.constant >> column & 1 or is_constant(columns[column], CELL_BYTES[column], self.count)
            header.constant |= constant << column
            header.present |= (not constant or not self._is_absent(column)) << column
        record = batch_layout(&header, self.strings, &view)
        targets[:] = [<const char*> view.time, <const char*> view.variable, <const char*> view.kind, <const char*> view.value,
                      <const char*> view.unit, <const char*> view.group, <const char*> view.location, <const char*> view.metadata]
        for column in range(COLUMN_COUNT):
            if targets[column] != NULL:
                memcpy(<char*> targets[column], columns[column], CELL_BYTES[column] * (self.count if view.step[column] else 1))
        return record

    cdef bint _is_absent(self, int column) noexcept:
        """Whether a constant column says nothing and can be left out."""
        if column == COLUMN_UNIT:
            return self.unit[0] == 0
        if column == COLUMN_METADATA:
            return self.metadata[0] == 0
        if column == COLUMN_GROUP:
            return self.group[0].form == GROUP_AUTO
        if column == COLUMN_LOCATION:
            return isnan(self.location[0].lat)
        return False


cdef void* grown(void* memory, int64_t size) except NULL:
    memory = realloc(memory, size)
    if memory == NULL:
        PyErr_NoMemory()
    return memory


cdef const char* HEX = "0123456789abcdef"


cdef str group_text(uint32_t device, uint64_t sequence, const GroupCell* cell):
    """Return the 24 hex characters of an automatic or hexadecimal group; for automatic ones `low` is the offset in the request."""
    cdef uint64_t high = cell.high
    cdef uint32_t low = cell.low
    cdef uint64_t mark
    cdef char[24] text
    cdef int i
    if cell.form == GROUP_AUTO:
        mark = (sequence - cell.low) | <uint64_t> 1 << 63
        high = <uint64_t> device << 32 | mark >> 32
        low = <uint32_t> mark
    for i in range(16):
        text[i] = HEX[high >> (60 - 4 * i) & 15]
    for i in range(8):
        text[16 + i] = HEX[low >> (28 - 4 * i) & 15]
    return text[:24].decode("ascii")


cdef int group_parse(const char* text, int64_t size, GroupCell* cell) noexcept nogil:
    """Fill the cell and return 1 if the text is 24 lowercase hexadecimal characters, else return 0."""
    cdef uint64_t high = 0
    cdef uint32_t low = 0
    cdef int i, digit
    if size != 24:
        return 0
    for i in range(24):
        if c'0' <= text[i] <= c'9':
            digit = text[i] - c'0'
        elif c'a' <= text[i] <= c'f':
            digit = text[i] - c'a' + 10
        else:
            return 0
        if i < 16:
            high = high << 4 | <uint64_t> digit
        else:
            low = low << 4 | <uint32_t> digit
    cell.high = high
    cell.low = low
    cell.form = GROUP_HEX
    return 1


# --- The Python side: for the register store, the engine, tools and tests -------------------------------------------

cdef str view_text(const BatchView* view, uint32_t number):
    cdef uint32_t start = view.string_offsets[number]
    return view.strings[start: view.string_offsets[number + 1]].decode("utf-8")


cdef object view_value(const BatchView* view, uint32_t i):
    cdef uint8_t kind = view.kind[i * view.step[COLUMN_KIND]]
    cdef int64_t bits = view.value[i * view.step[COLUMN_VALUE]]
    if kind == KIND_NUMBER:
        return as_number(bits)
    if kind == KIND_INTEGER:
        return bits
    if kind == KIND_BOOLEAN:
        return bits != 0
    if kind == KIND_TEXT:
        return view_text(view, <uint32_t> bits)
    return None


cdef str view_group(const BatchView* view, uint32_t i):
    cdef GroupCell automatic
    cdef const GroupCell* cell = &automatic
    if view.group != NULL and view.group[i * view.step[COLUMN_GROUP]].form != GROUP_AUTO:
        cell = &view.group[i * view.step[COLUMN_GROUP]]
        if cell.form == GROUP_TEXT:
            return view_text(view, cell.low)
    else:
        automatic.form = GROUP_AUTO
        automatic.low = i
    return group_text(view.header.device, view.header.first_sequence + i, cell)


def rows(record: bytes) -> list:
    """Return the points of a record as Rows in insertion order.

    Raises:
        CorruptionError: the record is damaged.
    """
    cdef BatchView view
    cdef uint32_t i, number
    cdef double lat, lng
    cdef object unit, metadata, location
    cdef list result = []
    batch_open(<const uint8_t*> PyBytes_AS_STRING(record), PyBytes_GET_SIZE(record), &view)
    for i in range(view.header.count):
        unit = metadata = None
        if view.unit != NULL and view.unit[i * view.step[COLUMN_UNIT]]:
            unit = view_text(&view, view.unit[i * view.step[COLUMN_UNIT]] - 1)
        if view.metadata != NULL and view.metadata[i * view.step[COLUMN_METADATA]]:
            number = view.metadata[i * view.step[COLUMN_METADATA]] - 1
            metadata = view.strings[view.string_offsets[number]: view.string_offsets[number + 1]]
        location = (None, None)
        if view.location != NULL:
            lat = view.location[i * view.step[COLUMN_LOCATION]].lat
            lng = view.location[i * view.step[COLUMN_LOCATION]].lng
            if not isnan(lat):
                location = (lat, lng)
        result.append(Row(
            view.header.first_sequence + i,
            view.time[i * view.step[COLUMN_TIME]],
            view_text(&view, view.variable[i * view.step[COLUMN_VARIABLE]]),
            view_value(&view, i),
            unit,
            view_group(&view, i),
            location[0],
            location[1],
            metadata,
            view.header.received_us,
        ))
    return result


cdef const BatchHeader* header_of(bytes record) except NULL:
    if PyBytes_GET_SIZE(record) < <Py_ssize_t> sizeof(BatchHeader):
        raise CorruptionError("batch", expected="a points record", found=f"{PyBytes_GET_SIZE(record)} bytes")
    return <const BatchHeader*> PyBytes_AS_STRING(record)


def device_of(record: bytes) -> int:
    """Return the number of the device the record belongs to."""
    return header_of(record).device


def count_of(record: bytes) -> int:
    """Return how many points the record holds."""
    return header_of(record).count


def first_sequence_of(record: bytes) -> int:
    """Return the sequence of the record's first point; the others follow by one."""
    return header_of(record).first_sequence


def time_bounds_of(record: bytes) -> tuple[int, int]:
    """Return the smallest and the largest time of the record, microseconds."""
    return header_of(record).time_min, header_of(record).time_max


def period_counts(record: bytes, period: str | None) -> dict[int, int]:
    """Return how many points of the record lie in each period: number of the period -> points."""
    cdef BatchView view
    cdef int code = PERIODS[period]
    cdef PeriodCounter counter
    cdef uint32_t i
    batch_open(<const uint8_t*> PyBytes_AS_STRING(record), PyBytes_GET_SIZE(record), &view)
    if period_number(view.header.time_min, code) == period_number(view.header.time_max, code):
        return {period_number(view.header.time_min, code): view.header.count}
    counter = PeriodCounter(period)
    for i in range(view.header.count):
        counter.add(view.time[i * view.step[COLUMN_TIME]], 1)
    return counter.result()


def stamp(record: bytes, device: int, first_sequence: int) -> None:
    """Write the device's number and the first sequence into a fresh record.

    The record must come straight from a builder: bytes objects are shared freely once others have seen them.
    """
    header_of(record)
    batch_stamp(record, device, first_sequence)
