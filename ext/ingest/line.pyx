"""InfluxDB line protocol to batches: `measurement,tag=value field=1.5,other=2i 1700000000000000000`.

Every field of a line becomes a point. Its variable is the measurement where the field is called `value`, else measurement_field; what a
variable must not contain becomes `_`. All tags of a line become the metadata of its points. Integers stay integers, times keep their
microseconds. Names and tag sets are recognized by their bytes, so only the first of each costs Python.

Every step is checked against the end of the body. Errors are InputErrors that name the line; nothing is stored then.
"""

from libc.math cimport NAN
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from tsengine.core.batch cimport COLUMN_GROUP, COLUMN_LOCATION, COLUMN_UNIT, BatchBuilder, GroupCell
from tsengine.core.calendar cimport TIME_MAX, TIME_MIN
from tsengine.core.codec.strings cimport utf8_is_valid
from tsengine.core.ingest.decimal cimport DECIMAL_FOUND, decimal_parse
from tsengine.core.ingest.fields cimport put_metadata, put_variable
from tsengine.core.ingest.memo cimport Memo
from tsengine.core.limits cimport BATCH_POINTS, KIND_BOOLEAN, KIND_INTEGER, KIND_NUMBER, KIND_TEXT, TEXT_VALUE_BYTES

import math
import re

from tsengine.errors import InputError

cdef enum:
    ROWS_FIRST = 256
    INTEGER_CHARS = 40          # longer ones are outside of int64, or have no business with so many zeros
    NAME_BYTES = 1024           # of measurement and field key together; a variable has at most 100 characters of 4 bytes

# What a variable must not contain, as fields.pyx has it.
cdef dict REPLACED = dict.fromkeys([*range(33), 127, *map(ord, "*?!<>.-=$")], "_")
cdef object ESCAPED = re.compile(r"\\([,= ])")
cdef object NUMBER = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
cdef object INTEGER = re.compile(rb"(?:-?[0-9]+i|[0-9]+u)\Z")
cdef object TAG_END = re.compile(r"(?:\\[,= ]|[^,= ])*")


cdef inline bint is_special(char letter) noexcept nogil:
    return letter == c',' or letter == c' ' or letter == c'='


cdef inline int64_t name_end(const char* data, int64_t at, int64_t size, bint stops_at_equals, bint stops_at_comma) noexcept nogil:
    """Return where a name ends: at a space, the end of the line, or as asked; a backslash takes these from a letter behind it."""
    cdef char letter
    while at < size:
        letter = data[at]
        if letter == c'\\' and at + 1 < size and is_special(data[at + 1]):
            at += 2
            continue
        if letter == c' ' or letter == c'\n' or letter == c'\r':
            break
        if (letter == c',' and stops_at_comma) or (letter == c'=' and stops_at_equals):
            break
        at += 1
    return at


cdef inline bint ends_line(const char* data, int64_t at, int64_t size) noexcept nogil:
    return at >= size or data[at] == c'\n' or (data[at] == c'\r' and (at + 1 == size or data[at + 1] == c'\n'))


cdef class LineReader:
    def __cinit__(self, bytes body not None, int64_t now_us, int64_t unit_ns, bint by_device):
        self.body = body
        self.data = PyBytes_AS_STRING(body)
        self.size = PyBytes_GET_SIZE(body)
        self.now_us, self.unit_ns = now_us, unit_ns
        self.builder = BatchBuilder()
        self.builder.reserve(ROWS_FIRST)
        self.names, self.tags = Memo(), Memo()
        self.devices = {} if by_device else None
        self.lines = {}

    cdef int run(self) except -1 nogil:
        """Read all lines."""
        cdef const char* end
        self.line = 1
        while self.at < self.size:
            if self.data[self.at] == c'\n':
                self.line += 1
                self.at += 1
            elif self.data[self.at] == c' ' or self.data[self.at] == c'\t' or self.data[self.at] == c'\r':
                self.at += 1
            elif self.data[self.at] == c'#':
                end = <const char*> memchr(self.data + self.at, c'\n', self.size - self.at)
                self.at = self.size if end == NULL else end - self.data
            else:
                self._line()
        memset(self.builder.group, 0, sizeof(GroupCell))
        self.builder.unit[0] = 0
        self.builder.location[0].lat = self.builder.location[0].lng = NAN
        self.builder.constant = 1 << COLUMN_UNIT | 1 << COLUMN_GROUP | 1 << COLUMN_LOCATION
        return 0

    cdef int _line(self) except -1 nogil:
        """Read the line at `at`, which is neither empty nor a comment."""
        cdef const char* data = self.data
        cdef int64_t size = self.size, start = self.at, tags = 0, tags_size = 0, measurement_size, time_us
        cdef int64_t breaks = 0
        cdef uint32_t first = self.builder.count, row
        self.at = name_end(data, start, size, False, True)
        measurement_size = self.at - start
        if measurement_size == 0:
            self._fail("missing measurement")
        if self.at < size and data[self.at] == c',':
            tags = self.at + 1
            self.at = name_end(data, tags, size, False, False)
            tags_size = self.at - tags
            if tags_size == 0:
                self._fail("missing tag key")
        while self.at < size and data[self.at] == c' ':
            self.at += 1
        if ends_line(data, self.at, size):
            self._fail("missing fields")
        while True:
            self._field(data + start, measurement_size, tags, tags_size)
            if self.at >= size or data[self.at] != c',':
                break
            self.at += 1
        time_us = self._time()
        for row in range(first, self.builder.count):
            self.builder.time[row] = time_us
        if self.devices is not None:
            self._note(start, first)
        for breaks in range(start, self.at):        # texts may hold line breaks
            self.line += data[breaks] == c'\n'
        return 0

    cdef int _field(self, const char* measurement, int64_t measurement_size, int64_t tags, int64_t tags_size) except -1 nogil:
        """Read `key=value` at `at` into a row."""
        cdef char[NAME_BYTES] name
        cdef uint32_t row = self.builder.count
        cdef int64_t key = self.at, key_size, first
        if row == self.builder.capacity:
            self._grow(row)
        self.at = name_end(self.data, key, self.size, True, True)
        key_size = self.at - key
        if self.at >= self.size or self.data[self.at] != c'=':
            self._fail("missing field value")
        if key_size == 0:
            self._fail("missing field key")
        if 4 + measurement_size + key_size > NAME_BYTES:
            self._fail("measurement and field key make a variable of more than 100 characters")
        self.at += 1
        memcpy(name, &measurement_size, 4)
        memcpy(name + 4, measurement, measurement_size)
        memcpy(name + 4 + measurement_size, self.data + key, key_size)
        first = self.names.row_of(name, 4 + measurement_size + key_size, row)
        if first == row:
            with gil:
                self._name(measurement[:measurement_size], self.data[key: key + key_size], row)
        else:
            self.builder.variable[row] = self.builder.variable[first]
        self.builder.metadata[row] = 0
        if tags_size:
            first = self.tags.row_of(self.data + tags, tags_size, row)
            if first == row:
                with gil:
                    self._tags(self.data[tags: tags + tags_size], row)
            else:
                self.builder.metadata[row] = self.builder.metadata[first]
        self._value(row)
        self.builder.count = row + 1
        return 0

    cdef int _value(self, uint32_t row) except -1 nogil:
        """Read the value at `at`, up to a comma, a space or the end of the line."""
        cdef const char* text = self.data + self.at
        cdef int64_t start = self.at, size
        cdef char letter
        if start < self.size and text[0] == c'"':
            self._text(row)
        else:
            while self.at < self.size:
                letter = self.data[self.at]
                if letter == c',' or letter == c' ' or letter == c'\n' or letter == c'\r':
                    break
                self.at += 1
            size = self.at - start
            if size == 0:
                self._fail("missing field value")
            elif (
                (size == 1 and (text[0] == c't' or text[0] == c'T'))
                or (size == 4 and (memcmp(text, "true", 4) == 0 or memcmp(text, "True", 4) == 0 or memcmp(text, "TRUE", 4) == 0))
            ):
                self.builder.kind[row], self.builder.value[row] = KIND_BOOLEAN, 1
            elif (
                (size == 1 and (text[0] == c'f' or text[0] == c'F'))
                or (size == 5 and (memcmp(text, "false", 5) == 0 or memcmp(text, "False", 5) == 0 or memcmp(text, "FALSE", 5) == 0))
            ):
                self.builder.kind[row], self.builder.value[row] = KIND_BOOLEAN, 0
            else:
                self._number(text, size, row)
        if not ends_line(self.data, self.at, self.size) and self.data[self.at] != c',' and self.data[self.at] != c' ':
            self._fail("a field value must be followed by a comma, a space or the end of the line")
        return 0

    cdef int _text(self, uint32_t row) except -1 nogil:
        """Read the text in quotes at `at`; a backslash stands in front of a quote or of itself."""
        cdef const char* text = self.data + self.at + 1
        cdef int64_t size = self.size - self.at - 1, end = 0
        cdef bint is_escaped = False
        while end < size and text[end] != c'"':
            if text[end] == c'\\' and end + 1 < size and (text[end + 1] == c'"' or text[end + 1] == c'\\'):
                is_escaped = True
                end += 1
            end += 1
        if end >= size:
            self._fail("unbalanced quotes")
        self.at += end + 2
        self.builder.kind[row] = KIND_TEXT
        if not utf8_is_valid(text, end):
            self._fail("value must be UTF-8")
        if is_escaped:
            with gil:
                unescaped = re.sub(rb'\\(["\\])', rb"\1", text[:end])
                if len(unescaped) <= TEXT_VALUE_BYTES:
                    self.builder.value[row] = self.builder.strings.add(unescaped, <uint32_t> len(unescaped))
                    return 0
        elif end <= TEXT_VALUE_BYTES:
            self.builder.value[row] = self.builder.strings.add(text, <uint32_t> end)
            return 0
        with gil:
            self._fail(f"value must have at most {TEXT_VALUE_BYTES} bytes of text")
        return 0

    cdef int _number(self, const char* text, int64_t size, uint32_t row) except -1 nogil:
        cdef int64_t used = 0, at = 0
        cdef uint64_t digits = 0
        cdef double number
        if text[size - 1] == c'i' or text[size - 1] == c'u':
            if text[0] == c'-' and text[size - 1] == c'i':
                at = 1
            if at < size - 1 and size - at <= 19:            # 18 digits fit without a look
                while at < size - 1 and c'0' <= text[at] <= c'9':
                    digits = digits * 10 + <uint64_t> (text[at] - c'0')
                    at += 1
                if at == size - 1:
                    self.builder.kind[row] = KIND_INTEGER
                    self.builder.value[row] = -<int64_t> digits if text[0] == c'-' else <int64_t> digits
                    return 0
        elif decimal_parse(text, size, &used, &number) == DECIMAL_FOUND and used == size:
            self.builder.kind[row] = KIND_NUMBER
            memcpy(&self.builder.value[row], &number, 8)
            return 0
        with gil:
            self._slow_number(text[:size], row)
        return 0

    cdef int64_t _time(self) except? -1 nogil:
        """Read the time at `at` and what is left of the line; return microseconds."""
        cdef const char* data = self.data
        cdef int64_t number = 0, at, time_us, start
        cdef bint is_negative = False
        while self.at < self.size and data[self.at] == c' ':
            self.at += 1
        if ends_line(data, self.at, self.size):
            return self.now_us
        at = self.at
        if data[at] == c'-':
            is_negative = True
            at += 1
        start = at
        while at < self.size and c'0' <= data[at] <= c'9':
            if number > (INT64_MAX - 9) // 10:
                self._fail("time must lie in the years 1 to 9999")
            number = number * 10 + (data[at] - c'0')
            at += 1
        self.at = at
        while self.at < self.size and data[self.at] == c' ':
            self.at += 1
        if at == start or not ends_line(data, self.at, self.size):
            self._fail("bad timestamp")
        if is_negative:
            number = -number
        if self.unit_ns < 1000:
            time_us = number // 1000 - (1 if number % 1000 < 0 else 0)          # rounded down
        else:
            if not TIME_MIN // (self.unit_ns // 1000) <= number <= TIME_MAX // (self.unit_ns // 1000):
                self._fail("time must lie in the years 1 to 9999; does the precision fit?")
            time_us = number * (self.unit_ns // 1000)
        if not TIME_MIN <= time_us <= TIME_MAX:
            self._fail("time must lie in the years 1 to 9999; does the precision fit?")
        return time_us

    # --- what needs Python: once for each name and tag set, and for what is wrong --------------------------------------

    cdef int _grow(self, uint32_t row) except -1 with gil:
        self.builder.reserve(row + 1 if row >= BATCH_POINTS else min(2 * row, <uint32_t> BATCH_POINTS))
        return 0

    cdef int _fail(self, str problem) except -1 with gil:
        raise InputError(f"line {self.line}: {problem}", index=self.line - 1)

    cdef int _name(self, bytes measurement, bytes key, uint32_t row) except -1:
        cdef str name
        try:
            name = ESCAPED.sub(r"\1", measurement.decode())
            if key != b"value":
                name += "_" + ESCAPED.sub(r"\1", key.decode())
            put_variable(self.builder, name.translate(REPLACED), row)
        except UnicodeDecodeError:
            self._fail("measurement and field keys must be UTF-8")
        except InputError as error:
            self._fail(str(error).partition(": ")[2])
        return 0

    cdef int _tags(self, bytes tags, uint32_t row) except -1:
        cdef dict found = {}
        cdef str text
        cdef int64_t at = 0
        try:
            text = tags.decode()
        except UnicodeDecodeError:
            self._fail("tags must be UTF-8")
        while True:
            key = TAG_END.match(text, at)
            value = TAG_END.match(text, key.end() + 1) if text[key.end(): key.end() + 1] == "=" else None
            if key.end() == at:
                self._fail("missing tag key")
            if value is None or value.end() == value.start() or text[value.end(): value.end() + 1] == "=":
                self._fail(f"missing tag value for {key.group()!r}")
            name = ESCAPED.sub(r"\1", key.group())
            if name in found:
                self._fail(f"duplicate tag {name!r}")
            found[name] = ESCAPED.sub(r"\1", value.group())
            at = value.end() + 1
            if at > <int64_t> len(text):
                break
        if self.devices is not None:
            self.devices[row] = found.get("device")
        try:
            self.builder.metadata[row] = put_metadata(self.builder, found, row)
        except InputError as error:
            self._fail(str(error).partition(": ")[2])
        return 0

    cdef int _slow_number(self, bytes text, uint32_t row) except -1:
        """Read a number that is long, or not JSON's (`+1`, `1.`, `.5`), or refuse it."""
        cdef double number
        if INTEGER.match(text):
            if len(text) > INTEGER_CHARS or not -(1 << 63) <= int(text.rstrip(b"iu")) < 1 << 63:
                self._fail("value is an integer outside the range of int64; send a float")
            self.builder.kind[row] = KIND_INTEGER
            self.builder.value[row] = int(text.rstrip(b"iu"))
            return 0
        number = float(text) if NUMBER.match(text) else NAN
        if not math.isfinite(number):
            self._fail(f"invalid value {text[:40].decode('utf-8', 'replace')!r}; text goes in quotes")
        self.builder.kind[row] = KIND_NUMBER
        memcpy(&self.builder.value[row], &number, 8)
        return 0

    cdef int _note(self, int64_t start, uint32_t row) except -1 with gil:
        """Note whose line it is that ends at `at`; `row` is its first."""
        cdef object device = None
        cdef int64_t tags = name_end(self.data, start, self.size, False, True)
        cdef int64_t end
        if self.data[tags] == c',':
            end = name_end(self.data, tags + 1, self.size, False, False)
            device = self.devices[self.tags.row_of(self.data + tags + 1, end - tags - 1, row)]
        if not device:
            self._fail("the tag `device` is missing; with the account token it tells whose data it is")
        self.lines.setdefault(device, []).append(self.body[start: self.at])
        return 0


def from_lines(body: bytes, now_us: int, unit_ns: int) -> bytes:
    """Return the record of a line protocol body, its points in their order; empty bytes if it has none.

    Args:
        now_us: time of lines that carry none, and the batch's time of receipt, microseconds.
        unit_ns: of the times in the lines, nanoseconds: 1, or a multiple of 1,000.

    Raises:
        InputError: a line is not well-formed or outside the limits; `index` is its number less one. LimitError: too many points.
    Cost: about 50 ns a point.
    """
    cdef LineReader reader = LineReader(body, now_us, unit_ns, False)
    with nogil:
        reader.run()
    return reader.builder.finish(now_us) if reader.builder.count else b""


def split_lines(body: bytes, unit_ns: int) -> dict[str, bytes]:
    """Check a body, and return the lines of each device: those with its id or serial in the tag `device`.

    Raises:
        InputError: as from_lines, or a line has no such tag.
    """
    cdef LineReader reader = LineReader(body, 0, unit_ns, True)
    with nogil:
        reader.run()
    return {device: b"\n".join(lines) for device, lines in reader.lines.items()}
