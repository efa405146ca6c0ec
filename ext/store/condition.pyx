"""What a read asks of the points themselves: value, unit, group, location.

The border turns comparisons into inclusive bounds and sets for each kind of value, exact for integers beyond 2^53, too; so
a block is told by its minimum and maximum whether none, some or all of its points count, and most are never decoded.
"""

from libc.math cimport isnan
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from tsengine.core.batch cimport as_number
from tsengine.core.limits cimport KIND_BOOLEAN, KIND_INTEGER, KIND_NUMBER, KIND_TEXT
from tsengine.core.store.points cimport WANT_GROUP, WANT_LOCATION, WANT_UNIT, WANT_VALUE, PointBuffer
from tsengine.core.store.statistics cimport STATS_NOT_FINITE


cdef void keep_numbers(const int64_t* values, int64_t count, double low, double high, bint accepts_nan, uint8_t* kept) noexcept nogil:
    cdef int64_t i
    cdef double value
    for i in range(count):
        value = as_number(values[i])
        kept[i] &= ((value >= low) & (value <= high)) | (accepts_nan & (value != value))


cdef void keep_integers(const int64_t* values, int64_t count, int64_t low, int64_t high, uint8_t* kept) noexcept nogil:
    cdef int64_t i
    for i in range(count):
        kept[i] &= (values[i] >= low) & (values[i] <= high)


cdef class Condition:
    def __cinit__(
        self, uint32_t device=0, *, tests_value=False, numbers=None, integers=None, booleans=(), texts=None, groups=None, units=None,
        has_location=False
    ):
        self.device = device
        self.tests_value = tests_value
        self.number_low = self.integer_low = 1
        self.number_high = self.integer_high = 0
        self.numbers_not = self.integers_not = frozenset()
        if numbers is not None:
            self.number_low, self.number_high, self.accepts_nan, self.numbers, self.numbers_not = numbers
            self.number_bounds_suffice = self.numbers is None and not self.numbers_not
        if integers is not None:
            self.integer_low, self.integer_high, self.integers, self.integers_not = integers
            self.integer_bounds_suffice = self.integers is None and not self.integers_not
        for value in booleans:
            self.booleans |= 2 if value else 1
        self.admits_text = texts is not None
        if texts is not None:
            self.texts, self.texts_not = texts
        self.groups = groups
        self.units = units
        self.tests_location = has_location
        if tests_value:
            self.want |= WANT_VALUE
        if groups is not None:
            self.want |= WANT_GROUP
        if units is not None:
            self.want |= WANT_UNIT
        if has_location:
            self.want |= WANT_LOCATION

    cdef bint admits_kind(self, uint8_t kind) noexcept:
        if not self.tests_value:
            return True
        if kind == KIND_NUMBER:
            return self.number_low <= self.number_high or self.accepts_nan
        if kind == KIND_INTEGER:
            return self.integer_low <= self.integer_high
        if kind == KIND_BOOLEAN:
            return self.booleans != 0
        return kind == KIND_TEXT and self.admits_text

    cdef bint is_bounds(self, uint8_t kind) noexcept:
        """Whether there is nothing to test but whether numbers or integers are within bounds."""
        if not self.tests_value or self.groups is not None or self.units is not None or self.tests_location:
            return False
        return self.number_bounds_suffice and not self.accepts_nan if kind == KIND_NUMBER else (
            kind == KIND_INTEGER and self.integer_bounds_suffice
        )

    cdef int admits_block(self, uint8_t kind, int64_t minimum, int64_t maximum, uint16_t flags) except -1:
        """Tell by a block's statistics whether none, some or all of its points count."""
        cdef int verdict = ADMITS_ALL
        if self.groups is not None or self.units is not None or self.tests_location:
            verdict = ADMITS_SOME
        if not self.tests_value:
            return verdict
        if kind == KIND_NUMBER:
            if not self.accepts_nan and (as_number(minimum) > self.number_high or as_number(maximum) < self.number_low):
                return ADMITS_NONE
            if flags & STATS_NOT_FINITE or not self.number_bounds_suffice:
                return ADMITS_SOME
            return verdict if self.number_low <= as_number(minimum) and as_number(maximum) <= self.number_high else ADMITS_SOME
        if kind == KIND_INTEGER:
            if minimum > self.integer_high or maximum < self.integer_low:
                return ADMITS_NONE
            if not self.integer_bounds_suffice:
                return ADMITS_SOME
            return verdict if self.integer_low <= minimum and maximum <= self.integer_high else ADMITS_SOME
        if kind == KIND_BOOLEAN:
            if not ((self.booleans & 1 and minimum == 0) or (self.booleans & 2 and maximum == 1)):
                return ADMITS_NONE
            return verdict if self.booleans == 3 else ADMITS_SOME
        return ADMITS_SOME if self.texts is not None or self.texts_not else verdict

    cdef int keep_values(self, uint8_t kind, const int64_t* values, int64_t count, PointBuffer points, uint8_t* kept) except -1:
        """Clear kept[i] where value i does not count; `points` has the strings of texts."""
        cdef int64_t i, last = -1
        cdef bint verdict = False
        cdef object value
        if kind == KIND_NUMBER:
            keep_numbers(values, count, self.number_low, self.number_high, self.accepts_nan, kept)
            if not self.number_bounds_suffice:
                for i in range(count):
                    value = as_number(values[i])
                    if kept[i] and value == value:
                        kept[i] = (self.numbers is None or value in self.numbers) and value not in self.numbers_not
        elif kind == KIND_INTEGER:
            keep_integers(values, count, self.integer_low, self.integer_high, kept)
            if not self.integer_bounds_suffice:
                for i in range(count):
                    if kept[i]:
                        value = values[i]
                        kept[i] = (self.integers is None or value in self.integers) and value not in self.integers_not
        elif kind == KIND_BOOLEAN:
            for i in range(count):
                kept[i] &= self.booleans >> (values[i] != 0) & 1
        elif kind == KIND_TEXT and self.admits_text:
            for i in range(count):
                if values[i] != last:
                    last = values[i]
                    value = points.strings.text(<uint32_t> last)
                    verdict = (self.texts is None or value in self.texts) and value not in self.texts_not
                kept[i] &= verdict
        else:
            memset(kept, 0, count)
        return 0

    cdef int keep(self, PointBuffer points, int64_t begin, uint8_t* kept) except -1:
        """Clear kept[i] where point begin + i of a buffer with the wanted columns does not count."""
        cdef int64_t i, count = points.count - begin, last = -1
        cdef bint verdict = False
        if self.tests_value:
            self.keep_values(points.kind, points.value + begin if points.value != NULL else NULL, count, points, kept)
        if self.tests_location:
            for i in range(count):
                kept[i] &= not isnan(points.location[begin + i].lat)
        if self.units is not None:
            for i in range(count):
                if kept[i]:
                    if points.unit[begin + i] != last:
                        last = points.unit[begin + i]
                        verdict = last != 0 and points.strings.text(<uint32_t> (last - 1)) in self.units
                    kept[i] = verdict
        if self.groups is not None:
            for i in range(count):
                if kept[i]:
                    kept[i] = points.group_at(self.device, begin + i) in self.groups
        return 0
