"""Decimal numbers in text to the nearest float64."""

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    DECIMAL_NONE = 0        # no number by JSON's grammar
    DECIMAL_FOUND = 1
    DECIMAL_HARD = 2        # a number, but one that the general and slow way has to round


cdef int decimal_parse(const char* text, int64_t size, int64_t* used, double* number) noexcept nogil
cdef bint decimal_round(uint64_t digits, int64_t exponent, double* number) noexcept nogil
