"""What a read asks of the points themselves: value, unit, group, location."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from tsengine.core.store.points cimport PointBuffer

# What statistics tell of a block.
cdef enum:
    ADMITS_NONE = 0
    ADMITS_SOME = 1
    ADMITS_ALL = 2


cdef class Condition:
    """Every test has to hold. A kind of value that is not named has no points that count."""

    cdef readonly int want                  # columns that the tests look at
    cdef uint32_t device                    # groups are made of its number
    cdef bint tests_value
    cdef bint tests_location
    cdef object groups                      # frozenset of str, or None
    cdef object units
    cdef double number_low, number_high     # of numbers: inclusive
    cdef bint accepts_nan
    cdef bint number_bounds_suffice         # nothing but the bounds to test
    cdef object numbers                     # frozenset, or None: any
    cdef object numbers_not
    cdef int64_t integer_low, integer_high
    cdef bint integer_bounds_suffice
    cdef object integers
    cdef object integers_not
    cdef int booleans                       # bit 0: False counts, bit 1: True does
    cdef bint admits_text
    cdef object texts
    cdef object texts_not

    cdef bint admits_kind(self, uint8_t kind) noexcept
    cdef bint is_bounds(self, uint8_t kind) noexcept
    cdef int admits_block(self, uint8_t kind, int64_t minimum, int64_t maximum, uint16_t flags) except -1
    cdef int keep(self, PointBuffer points, int64_t begin, uint8_t* kept) except -1
    cdef int keep_values(self, uint8_t kind, const int64_t* values, int64_t count, PointBuffer points, uint8_t* kept) except -1
