"""The block codecs as Python sees them: `integer` and `number`, for tests, fuzzers and benchmarks. No store imports this module."""

from cython cimport final

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from tsengine.core.codec.fields cimport get_varint
from tsengine.core.codec.integer cimport (
    FORM_RUNS,
    Header,
    IntegerProbe,
    header_decode,
    integer_at,
    integer_bound,
    integer_decode,
    integer_encode,
    integer_probe,
)
from tsengine.core.codec.number cimport (
    EXPONENT_MASK,
    EXPONENT_SHIFT,
    FLAG_PATCHED,
    MODE_DECIMAL,
    MODE_DECIMAL_SINGLE,
    MODE_DICTIONARY,
    MODE_MASK,
    MODE_SPLIT,
    number_bound,
    number_decode,
    number_encode,
)
from tsengine.core.limits cimport BLOCK_POINTS

from tsengine.errors import CorruptionError, InputError

FORMS = ("base", "delta", "turn", "line", "runs", "grid")
MODES = ("bits", "single", "decimal", "decimal_single", "dictionary", "split")


@final
cdef class Codec:
    def __init__(self, str name, dtype):
        self.name = name
        self.dtype = np.dtype(dtype)
        self.is_number = self.dtype == np.float64

    cdef int64_t bound(self, int32_t n) noexcept nogil:
        return number_bound(n) if self.is_number else integer_bound(n)

    cdef int64_t encode_block(self, const uint8_t* values, int32_t n, uint8_t* out, int32_t* exponent_hint) noexcept nogil:
        if self.is_number:
            return number_encode(<const double*> values, n, out, exponent_hint)
        return integer_encode(<const int64_t*> values, n, out)

    cdef int64_t decode_block(self, const uint8_t* data, int64_t size, uint8_t* out, int32_t n) noexcept nogil:
        return number_decode(data, size, <double*> out, n) if self.is_number else integer_decode(data, size, <int64_t*> out, n)

    def encode(self, values, int32_t exponent_hint=-1) -> bytes:
        if not isinstance(values, np.ndarray) or values.dtype != self.dtype or values.ndim != 1:
            raise InputError(
                f"{self.name}.encode takes a one-dimensional {self.dtype} array; convert with numpy.ascontiguousarray(x, '{self.dtype}')"
            )
        if not 1 <= len(values) <= BLOCK_POINTS:
            raise InputError(f"a block has 1 to {BLOCK_POINTS} values, not {len(values)}; cut the array")
        cdef const uint8_t[::1] source = np.ascontiguousarray(values).view(np.uint8)
        cdef int32_t n = <int32_t> len(values)
        cdef bytearray out = bytearray(self.bound(n))
        cdef uint8_t[::1] target = out
        cdef int64_t size
        with nogil:
            size = self.encode_block(&source[0], n, &target[0], &exponent_hint)
        return bytes(target[:size])

    def decode(self, data, int32_t n):
        if not 1 <= n <= BLOCK_POINTS:
            raise InputError(f"a block has 1 to {BLOCK_POINTS} values, not {n}")
        cdef const uint8_t[::1] source = self.checked(data)
        values = np.empty(BLOCK_POINTS, self.dtype)
        cdef uint8_t[::1] target = values.view(np.uint8)
        cdef int64_t consumed
        with nogil:
            consumed = self.decode_block(&source[0], source.shape[0], &target[0], n)
        if consumed < 0:
            raise CorruptionError(
                f"{self.name} block", expected=f"a block of {n} values", found=f"{source.shape[0]} inconsistent bytes"
            )
        return values[:n].copy()

    def encode_column(self, values) -> bytes:
        cdef const uint8_t[::1] source = np.ascontiguousarray(values, self.dtype).view(np.uint8)
        cdef int64_t start = 0, count = len(values), size = 0
        cdef int32_t n
        cdef int32_t exponent_hint = -1
        cdef bytearray out = bytearray((count + BLOCK_POINTS - 1) // BLOCK_POINTS * self.bound(BLOCK_POINTS) + 1)
        cdef uint8_t[::1] target = out
        with nogil:
            while start < count:
                n = <int32_t> min(count - start, <int64_t> BLOCK_POINTS)
                size += self.encode_block(&source[8 * start], n, &target[size], &exponent_hint)
                start += n
        return bytes(target[:size])

    def decode_column(self, data, int64_t count):
        cdef const uint8_t[::1] source = data
        values = np.empty((count + BLOCK_POINTS - 1) // BLOCK_POINTS * BLOCK_POINTS, self.dtype)
        cdef uint8_t[::1] target = values.view(np.uint8)
        cdef int64_t start = 0, offset = 0, consumed = 0, size = source.shape[0]
        cdef int32_t n
        with nogil:
            while start < count:
                n = <int32_t> min(count - start, <int64_t> BLOCK_POINTS)
                consumed = self.decode_block(&source[offset], size - offset, &target[8 * start], n) if offset < size else -1
                if consumed < 0:
                    break
                offset += consumed
                start += n
        if consumed < 0:
            raise CorruptionError(f"{self.name} block", offset=offset, expected="another block", found="inconsistent bytes")
        return values[:count]

    def describe(self, data) -> dict:
        cdef const uint8_t[::1] source = self.checked(data)
        if self.is_number:
            return number_describe(&source[0], source.shape[0])
        return integer_describe(&source[0], source.shape[0])

    cdef object checked(self, data):
        if len(data) == 0:
            raise CorruptionError(f"{self.name} block", expected="at least one byte", found="none")
        return data


integer = Codec("integer", np.int64)
number = Codec("number", np.float64)


def integers_at(data, int32_t n):
    cdef const uint8_t[::1] source = data
    cdef IntegerProbe probe
    if source.shape[0] == 0 or not integer_probe(&source[0], source.shape[0], n, &probe):
        return None
    return np.array([integer_at(&probe, i) for i in range(n)], np.int64)


cdef dict header_describe(const uint8_t* data, const uint8_t* end):
    cdef Header header
    if header_decode(data, end, &header) == NULL:
        raise CorruptionError("integer block", expected="a header", found="inconsistent bytes")
    return {
        "transform": FORMS[header.form],
        "width": header.width,
        "divisor": header.divisor,
        "exceptions": header.patched,
        "exception_width": header.high_width,
    }


cdef dict integer_describe(const uint8_t* data, int64_t size):
    cdef const uint8_t* cursor
    cdef uint64_t count
    if size < 1 or data[0] != FORM_RUNS:
        return header_describe(data, data + size)
    cursor = get_varint(data + 1, data + size, &count)
    if cursor == NULL:
        raise CorruptionError("integer block", expected="a count of runs", found="no such field")
    return {"transform": "runs", "runs": count, "values": header_describe(cursor, data + size)}


cdef dict number_describe(const uint8_t* data, int64_t size):
    cdef uint64_t count = 0
    cdef const uint8_t* cursor = data + 1
    cdef const uint8_t* end = data + size
    cdef int mode = data[0] & MODE_MASK
    if size < 2 or mode > MODE_SPLIT:
        raise CorruptionError("number block", expected="a known mode", found="inconsistent bytes")
    result = {"transform": MODES[mode]}
    if mode == MODE_SPLIT:
        if size < 3:
            raise CorruptionError("number block", expected="the fields of a split", found="too few bytes")
        result |= {"width": data[1], "lefts": data[2]}
        cursor = data + 3 + 2 * data[2]
    if mode == MODE_DICTIONARY or data[0] & FLAG_PATCHED:
        cursor = get_varint(cursor if cursor < end else NULL, end, &count)
        if cursor == NULL:
            raise CorruptionError("number block", expected="a count", found="no such field")
    if mode == MODE_DICTIONARY:
        return result | {"entries": count}
    if mode == MODE_DECIMAL or mode == MODE_DECIMAL_SINGLE:
        result["exponent"] = (data[0] & EXPONENT_MASK) >> EXPONENT_SHIFT
    result["exceptions"] = count
    if mode != MODE_SPLIT:
        result["integers"] = integer_describe(cursor, end - cursor)
    return result
