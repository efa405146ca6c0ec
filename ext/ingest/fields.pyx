"""The fields of one point, checked and put into a batch builder: what a caller may give, and what it is told otherwise.

Every error is an InputError that names the index, the field and the limit.
"""

from libc.math cimport NAN, floor, isfinite
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset

from cpython.datetime cimport (
    PyDateTime_Check,
    datetime_day,
    datetime_hour,
    datetime_microsecond,
    datetime_minute,
    datetime_month,
    datetime_second,
    datetime_tzinfo,
    datetime_year,
    import_datetime,
)
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_GET_LENGTH

from tsengine.core.batch cimport BatchBuilder, GroupCell, LocationCell, group_parse
from tsengine.core.calendar cimport DAY_US, TIME_MAX, TIME_MIN, days_from_civil, timestamp_parse
from tsengine.core.limits cimport (
    GROUP_CHARS,
    GROUP_TEXT,
    KIND_BOOLEAN,
    KIND_INTEGER,
    KIND_NONE,
    KIND_NUMBER,
    KIND_TEXT,
    METADATA_BYTES,
    TEXT_VALUE_BYTES,
    UNIT_CHARS,
    VARIABLE_CHARS,
)

from datetime import UTC

import msgspec

from tsengine.errors import InputError

import_datetime()

cdef object encode_json = msgspec.json.Encoder().encode
cdef object Raw = msgspec.Raw


cdef object invalid(uint32_t i, str problem):
    return InputError(f"Invalid data at index {i}: {problem}", index=i)


cdef double as_double(object number, uint32_t i, str field) except? -1:
    try:
        return <double> number
    except OverflowError:
        raise invalid(i, f"{field} is too large for a float64") from None


cdef const char* utf8_of(str text, Py_ssize_t* size, uint32_t i, str field) except NULL:
    try:
        return PyUnicode_AsUTF8AndSize(text, size)
    except UnicodeEncodeError:
        raise invalid(i, f"{field} must be text that UTF-8 can carry (no lone surrogates)") from None


cdef uint8_t[128] VARIABLE_LETTERS      # ASCII letter -> what is stored for it; 0 = not allowed in a variable's name
for code in range(128):
    VARIABLE_LETTERS[code] = 0 if code <= 32 or code == 127 or chr(code) in "*?!<>.-=$" else ord(chr(code).lower())


cdef int put_variable(BatchBuilder builder, object variable, uint32_t i) except -1:
    cdef char[VARIABLE_CHARS] lowered
    cdef Py_ssize_t size, at
    cdef const char* text
    cdef uint8_t letter = 1
    if type(variable) is not str:
        raise invalid(i, "variable is required" if variable is None else "variable must be text")
    text = utf8_of(<str> variable, &size, i, "variable")
    if size == 0:
        raise invalid(i, "variable is required")
    if PyUnicode_GET_LENGTH(variable) > VARIABLE_CHARS:
        raise invalid(i, f"variable must have at most {VARIABLE_CHARS} characters")
    for at in range(size):
        letter = <uint8_t> text[at]
        letter = VARIABLE_LETTERS[letter] if letter < 128 else letter
        if letter == 0:
            raise invalid(i, f"variable {variable!r} must not contain any of * ? ! < > . - = $ nor a space")
        lowered[at if at < VARIABLE_CHARS else 0] = <char> letter
    if PyUnicode_GET_LENGTH(variable) == size:          # ASCII
        builder.variable[i] = <uint32_t> builder.strings.add_again(lowered, <uint32_t> size, builder.variable[i - 1] if i else 0)
    else:
        variable = (<str> variable).lower()
        if len(<str> variable) > VARIABLE_CHARS:
            raise invalid(i, f"variable must have at most {VARIABLE_CHARS} characters in lower case")
        text = PyUnicode_AsUTF8AndSize(variable, &size)
        builder.variable[i] = <uint32_t> builder.strings.add(text, <uint32_t> size)
    return 0


cdef int put_value(BatchBuilder builder, object value, uint32_t i, bint wire) except -1:
    cdef Py_ssize_t size
    cdef const char* text
    cdef double number
    cdef int overflow
    if type(value) is float:
        number = <double> value
        memcpy(&builder.value[i], &number, 8)
        builder.kind[i] = KIND_NUMBER
    elif value is None:
        builder.value[i] = 0
        builder.kind[i] = KIND_NONE
    elif type(value) is bool:
        builder.value[i] = value is True
        builder.kind[i] = KIND_BOOLEAN
    elif type(value) is str:
        text = utf8_of(<str> value, &size, i, "value")
        if size > TEXT_VALUE_BYTES:
            raise invalid(i, f"value must have at most {TEXT_VALUE_BYTES} bytes of text")
        builder.value[i] = builder.strings.add(text, <uint32_t> size)
        builder.kind[i] = KIND_TEXT
    elif isinstance(value, int) and not wire:
        builder.value[i] = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            raise invalid(i, "value is an int outside the range of int64; give a float or text")
        builder.kind[i] = KIND_INTEGER
    elif isinstance(value, (int, float)):
        number = as_double(value, i, "value")
        memcpy(&builder.value[i], &number, 8)
        builder.kind[i] = KIND_NUMBER
    elif hasattr(value, "item") and getattr(value, "ndim", 1) == 0:       # a numpy scalar
        if isinstance(value.item(), (float, int, bool, str)):
            return put_value(builder, value.item(), i, wire)
        raise invalid(i, f"value must be a number, a boolean, text or None, not {type(value).__name__}")
    else:
        raise invalid(i, f"value must be a number, a boolean, text or None, not {type(value).__name__}")
    return 0


cdef uint32_t put_unit(BatchBuilder builder, object unit, uint32_t i) except? 4294967295:
    cdef Py_ssize_t size
    cdef const char* text
    if unit is None:
        return 0
    if type(unit) is not str:
        raise invalid(i, "unit must be text")
    if PyUnicode_GET_LENGTH(unit) > UNIT_CHARS:
        raise invalid(i, f"unit must have at most {UNIT_CHARS} characters")
    text = utf8_of(<str> unit, &size, i, "unit")
    return <uint32_t> builder.strings.add_again(text, <uint32_t> size, builder.unit[i - 1] - 1 if i else 0) + 1


cdef int put_group(BatchBuilder builder, object group, uint32_t i) except -1:
    cdef GroupCell* cell = &builder.group[i]
    cdef Py_ssize_t size
    cdef const char* text
    memset(cell, 0, sizeof(GroupCell))
    if group is None or group == "":
        return 0                                    # GROUP_AUTO
    if type(group) is not str:
        raise invalid(i, "group must be text")
    if len(<str> group) > GROUP_CHARS:
        raise invalid(i, f"group must have at most {GROUP_CHARS} characters")
    text = utf8_of(<str> group, &size, i, "group")
    if not group_parse(text, size, cell):
        cell.high = 0
        cell.low = <uint32_t> builder.strings.add(text, <uint32_t> size)
        cell.form = GROUP_TEXT
    return 0


cdef int put_location(LocationCell* cell, object location, uint32_t i) except -1:
    cdef object lat = None, lng = None, altitude = 0
    if location is None:
        cell.lat = NAN
        cell.lng = NAN
        return 0
    if isinstance(location, dict):
        if location.get("coordinates") is not None:
            if location.get("type", "Point") != "Point":
                raise invalid(i, "location must be a Point")
            coordinates = location["coordinates"]
            if isinstance(coordinates, (list, tuple)) and 2 <= len(coordinates) <= 3:
                lng, lat = coordinates[0], coordinates[1]
                altitude = coordinates[2] if len(coordinates) == 3 else 0
        else:
            lat, lng = location.get("lat"), location.get("lng")
    elif isinstance(location, (tuple, list)) and len(location) == 2:
        lat, lng = location
    for part in (lat, lng, altitude):           # the altitude is judged, not kept
        if isinstance(part, bool) or not isinstance(part, (int, float)):
            raise invalid(i, "location must be {lat, lng} or a GeoJSON Point with coordinates [lng, lat]")
    cell.lat = as_double(lat, i, "location lat")
    cell.lng = as_double(lng, i, "location lng")
    if not -90 <= cell.lat <= 90:
        raise invalid(i, "location lat must be between -90 and 90")
    if not -180 <= cell.lng <= 180:
        raise invalid(i, "location lng must be between -180 and 180")
    return 0


cdef enum:
    # Objects and arrays of metadata inside each other: readers decode and copy it recursively, and Python has room for 1,000 calls.
    METADATA_DEPTH = 100


cdef int64_t json_depth(const char *text, int64_t length) noexcept nogil:
    # How deep objects and arrays lie inside each other, of what is JSON; of anything else some number.
    cdef int64_t at = 0, depth = 0, deepest = 0
    cdef bint in_text = False
    while at < length:
        if in_text:
            if text[at] == c"\\":
                at += 1             # what is escaped ends no text
            elif text[at] == c'"':
                in_text = False
        elif text[at] == c'"':
            in_text = True
        elif text[at] == c"{" or text[at] == c"[":
            depth += 1
            deepest = max(deepest, depth)
        elif text[at] == c"}" or text[at] == c"]":
            depth -= 1
        at += 1
    return deepest


cdef uint32_t put_metadata(BatchBuilder builder, object metadata, uint32_t i) except? 4294967295:
    cdef bytes data
    if metadata is None:
        return 0
    if isinstance(metadata, Raw):
        data = bytes(metadata)
        if data == b"null":
            return 0
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            raise invalid(i, "metadata must be UTF-8") from None
    elif isinstance(metadata, dict):
        try:
            data = encode_json(metadata)
        except (TypeError, ValueError, RecursionError) as error:
            raise invalid(i, f"metadata must be a JSON object: {error}") from None
    else:
        raise invalid(i, "metadata must be a JSON object")
    if not data.startswith(b"{"):
        raise invalid(i, "metadata must be a JSON object")
    if len(data) > METADATA_BYTES:
        raise invalid(i, f"metadata must have at most {METADATA_BYTES} bytes as JSON")
    if json_depth(data, len(data)) > METADATA_DEPTH:
        raise invalid(i, f"metadata must have at most {METADATA_DEPTH} objects and arrays inside each other")
    return <uint32_t> builder.strings.add(data, <uint32_t> len(data)) + 1


cdef int64_t time_of(object time, int64_t now_us, uint32_t i) except? -1:
    """Microseconds of what a Python caller may give as a time."""
    cdef int64_t time_us
    cdef Py_ssize_t size
    cdef const char* text
    cdef int overflow
    if time is None:
        return now_us
    if PyLong_CheckExact(time):
        time_us = PyLong_AsLongLongAndOverflow(time, &overflow)
        if overflow or not TIME_MIN <= time_us <= TIME_MAX:
            raise invalid(i, "time must lie in the years 1 to 9999 (int means microseconds since 1970)")
        return time_us
    if PyDateTime_Check(time):
        if datetime_tzinfo(time) is not None and datetime_tzinfo(time) is not UTC:
            try:
                time = time.astimezone(UTC)
            except OverflowError:
                raise invalid(i, "time must lie in the years 1 to 9999, UTC") from None
        return days_from_civil(datetime_year(time), datetime_month(time), datetime_day(time)) * DAY_US + (
            (datetime_hour(time) * 60 + datetime_minute(time)) * 60 + datetime_second(time)
        ) * <int64_t> 1000000 + datetime_microsecond(time)
    if isinstance(time, int) and not isinstance(time, bool):
        return time_of(int(time), now_us, i)
    if isinstance(time, str):
        text = utf8_of(time, &size, i, "time")
        if timestamp_parse(text, size, &time_us):
            return time_us
        raise invalid(i, f"time {time!r} is not ISO 8601, like 2026-11-21T08:30:00Z")
    if type(time).__module__ == "numpy" and hasattr(time, "astype"):      # numpy.datetime64 or a numpy integer
        if time.dtype.kind == "M":
            year = int(time.astype("datetime64[Y]").astype("int64")) + 1970       # larger units wrap round in microseconds
            if year != INT64_MIN + 1970 and not 1 <= year <= 9999:
                raise invalid(i, f"time {time} is outside the years 1 to 9999")
            time = time.astype("datetime64[us]").astype("int64")
            if time == INT64_MIN:
                raise invalid(i, "time is NaT")
            return time_of(int(time), now_us, i)
        if time.dtype.kind in "iu":
            return time_of(int(time), now_us, i)
    raise invalid(i, f"time must be a datetime, int microseconds, numpy.datetime64 or ISO text, not {type(time).__name__}")


cdef int64_t wire_time_of(object time, int64_t now_us, uint32_t i) except? -1:
    """Microseconds, whole milliseconds, of what a device may send: ISO text, milliseconds, digits as text, MessagePack's timestamp;
    falsy = now."""
    cdef int64_t time_us
    cdef double number
    cdef Py_ssize_t size
    cdef const char* text
    if time is None:
        return now_us
    if type(time) is str:
        if time == "":
            return now_us
        text = utf8_of(<str> time, &size, i, "time")
        if not timestamp_parse(text, size, &time_us):
            if not ((size == 13 or size == 10) and (<str> time).isdecimal() and (<str> time).isascii()):
                raise invalid(i, f"time {time!r} is not ISO 8601 nor a Unix time of 10 or 13 digits")
            time_us = int(time) * (1000 if size == 13 else 1000000)
        return time_us - (time_us % 1000 + 1000) % 1000
    if PyDateTime_Check(time):
        time_us = time_of(time, now_us, i)
        return time_us - (time_us % 1000 + 1000) % 1000
    if time == 0:                                   # False, too
        return now_us
    if type(time) is bool or not isinstance(time, (int, float)):
        raise invalid(i, "time must be ISO 8601 text or Unix milliseconds")
    number = floor(as_double(time, i, "time"))
    if not (isfinite(number) and <double> TIME_MIN <= number * 1000 <= <double> TIME_MAX):
        raise invalid(i, "time must lie in the years 1 to 9999 (a number means milliseconds since 1970)")
    return <int64_t> number * 1000


cdef str serie_text(object serie):
    if isinstance(serie, float) and serie.is_integer():
        return str(int(serie))
    return serie if serie is None or isinstance(serie, str) else str(serie)


def to_time_us(time: object) -> int:
    """Return int64 microseconds of a datetime (without a zone it is UTC), int microseconds, numpy.datetime64 or ISO text.

    Raises:
        InputError: it is none of these, or outside the years 1 to 9999.
    """
    try:
        return time_of(time, 0, 0)
    except InputError as error:
        raise InputError(str(error).removeprefix("Invalid data at index 0: ")) from None
