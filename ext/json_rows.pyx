"""Points as the rows of the HTTP API, in JSON.

The same text as msgspec makes of the rows, whose numbers are JavaScript's: 100.0 is 100, and NaN and the infinities are no value. What is
not plain (other numbers, text with escapes, metadata) is encoded by msgspec itself.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.datetime cimport (
    datetime_day,
    datetime_hour,
    datetime_microsecond,
    datetime_minute,
    datetime_month,
    datetime_second,
    datetime_year,
    import_datetime,
)
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, strlen

from tsengine.core.places cimport Places, field

import msgspec

from tsengine.types import Point

import_datetime()

cdef object encode = msgspec.json.Encoder().encode
cdef Places point_places = Places(Point, ("variable", "value", "time", "unit", "group", "location", "metadata", "id", "created_at"))

cdef double EXACT_INTEGER_MAX = 9007199254740992        # largest magnitude at which every whole float64 is one integer

cdef enum:
    ROW_BYTES = 256                 # of a usual row, and more than its keys and times
    INTEGER_CHARS = 20


cdef class JsonText:
    def __dealloc__(self):
        free(self.data)

    cdef int reserve(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t capacity
        cdef char *data
        if self.capacity - self.size < more:
            capacity = max(2 * self.capacity, self.size + more)
            data = <char *> realloc(self.data, capacity)
            if data == NULL:
                raise MemoryError()
            self.data = data
            self.capacity = capacity
        return 0

    cdef int raw(self, const char *text, Py_ssize_t size) except -1:
        self.reserve(size)
        memcpy(self.data + self.size, text, size)
        self.size += size
        return 0

    cdef int literal(self, const char *text) except -1:
        return self.raw(text, strlen(text))

    cdef int encoded(self, object value) except -1:
        cdef bytes text = encode(value)
        return self.raw(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))

    cdef int string(self, str text) except -1:
        cdef Py_ssize_t size, at
        cdef const char *letters = PyUnicode_AsUTF8AndSize(text, &size)
        cdef bint is_plain = True
        for at in range(size):
            is_plain &= <uint8_t> letters[at] >= 32 and letters[at] != b'"' and letters[at] != b"\\"
        if not is_plain:
            return self.encoded(text)
        self.reserve(size + 2)
        self.data[self.size] = b'"'
        memcpy(self.data + self.size + 1, letters, size)
        self.data[self.size + 1 + size] = b'"'
        self.size += size + 2
        return 0

    cdef int number(self, double value) except -1:
        """Write a finite number."""
        if -EXACT_INTEGER_MAX <= value <= EXACT_INTEGER_MAX and value == <double> <int64_t> value:
            self.reserve(INTEGER_CHARS)
            self.size += put_integer(self.data + self.size, <int64_t> value)
            return 0
        return self.encoded(value)

    cdef int moment(self, object time) except -1:
        """Write an aware UTC datetime as `"YYYY-MM-DDTHH:MM:SS.mmmZ"`; what is finer is cut."""
        cdef char *at
        self.reserve(26)
        at = self.data + self.size
        at[0] = at[25] = b'"'
        at[5] = at[8] = b"-"
        at[11] = b"T"
        at[14] = at[17] = b":"
        at[20] = b"."
        at[24] = b"Z"
        put_digits(at + 1, datetime_year(time), 4)
        put_digits(at + 6, datetime_month(time), 2)
        put_digits(at + 9, datetime_day(time), 2)
        put_digits(at + 12, datetime_hour(time), 2)
        put_digits(at + 15, datetime_minute(time), 2)
        put_digits(at + 18, datetime_second(time), 2)
        put_digits(at + 21, datetime_microsecond(time) // 1000, 3)
        self.size += 26
        return 0

    cdef int row(self, object point, Places places, bytes device, bint details) except -1:
        cdef Py_ssize_t *offset = places.offset
        cdef object value = field(point, offset[1]), unit = field(point, offset[3]), group = field(point, offset[4])
        cdef object location = field(point, offset[5]), metadata = field(point, offset[6]), created_at = field(point, offset[8])
        self.literal(b'{"id":')
        self.string(field(point, offset[7]))
        self.raw(PyBytes_AS_STRING(device), PyBytes_GET_SIZE(device))
        self.string(field(point, offset[0]))
        if type(value) is float:
            if isfinite(<double> value):
                self.literal(b',"value":')
                self.number(<double> value)
        elif value is not None:
            self.literal(b',"value":')
            if type(value) is str:
                self.string(value)
            else:
                self.encoded(value)
        if unit is not None:
            self.literal(b',"unit":')
            self.string(unit)
        if group is not None:
            self.literal(b',"group":')
            self.string(group)
        if location is not None:
            self.literal(b',"location":{"type":"Point","coordinates":[')
            self.number(location.lng)
            self.literal(b",")
            self.number(location.lat)
            self.literal(b"]}")
        if metadata is not None:
            self.literal(b',"metadata":')
            self.encoded(metadata)
        self.literal(b',"time":')
        self.moment(field(point, offset[2]))
        if details and created_at is not None:
            self.literal(b',"created_at":')
            self.moment(created_at)
        return self.literal(b"}")


cdef Py_ssize_t put_integer(char *at, int64_t value) noexcept nogil:
    # Within ±2**53; returns how many characters.
    cdef char[INTEGER_CHARS] digits
    cdef Py_ssize_t count = 0, size = 0
    cdef int64_t left = -value if value < 0 else value
    while True:
        digits[count] = <char> (48 + left % 10)
        count += 1
        left //= 10
        if left == 0:
            break
    if value < 0:
        at[0] = b"-"
        size = 1
    while count:
        count -= 1
        at[size] = digits[count]
        size += 1
    return size


cdef void put_digits(char *at, int value, int count) noexcept nogil:
    while count:
        count -= 1
        at[count] = <char> (48 + value % 10)
        value //= 10


def json_rows(list points, str device, bint details) -> bytes:
    cdef JsonText text = JsonText()
    cdef bytes device_key = b',"device":' + encode(device) + b',"variable":'
    cdef bint is_first = True
    cdef object point
    text.reserve(2 + len(points) * ROW_BYTES)
    text.literal(b"[")
    for point in points:
        if type(point) is not Point:
            raise TypeError(f"a row is made of a Point, not of {type(point).__name__}")
        if not is_first:
            text.literal(b",")
        text.row(point, point_places, device_key, details)
        is_first = False
    text.literal(b"]")
    return PyBytes_FromStringAndSize(text.data, text.size)
