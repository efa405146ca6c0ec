"""Decimal numbers in text to the nearest float64: what makes a body of numbers fast to read.

Up to 15 digits and powers up to 10^22 are exact floats, so one multiplication or division rounds right (Clinger). Up to 19 digits are
multiplied with 128 bits of the power of five (Eisel and Lemire, "Number parsing at a gigabyte per second", 2021; that the product
always decides is shown in Mushtak and Lemire, 2023). Everything else, longer or next to zero or infinity, is left to the caller.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

cdef extern from * nogil:
    """
    static inline uint64_t tsengine_multiply(uint64_t left, uint64_t right, uint64_t *low) {
        unsigned __int128 product = (unsigned __int128) left * right;
        *low = (uint64_t) product;
        return (uint64_t) (product >> 64);
    }
    """
    uint64_t multiply "tsengine_multiply"(uint64_t left, uint64_t right, uint64_t* low)
    int leading_zeros "__builtin_clzll"(uint64_t number)

cdef enum:
    POWER_MIN = -342            # of ten; with 19 digits anything smaller is zero
    POWER_MAX = 308
    POWERS = 651
    DIGITS_MAX = 19             # fit in 64 bits
    EXPONENT_MAX = 100000       # what an exponent is cut to while it is read: far outside of what a float holds
    EXACT_POWER = 22            # 10^22 is the largest power that a float64 holds exactly

cdef double[EXACT_POWER + 1] EXACT
cdef uint64_t[POWERS] FIVE_HIGH, FIVE_LOW       # 5^power, its upper 128 bits, the first of them set


def fill_tables():
    """Powers of five by Python's integers: rounded down, and up below zero, where the reciprocal is taken."""
    for power in range(POWER_MIN, POWER_MAX + 1):
        if power >= 0:
            scaled = 5**power << 128
        else:
            scaled = (1 << 1024) // 5**-power + 1
        scaled >>= scaled.bit_length() - 128
        if -27 <= power < 0:        # few bits: the reciprocal itself has to be rounded up in the last one
            scaled = (1 << ((5**-power - 1).bit_length() + 127)) // 5**-power + 1
        FIVE_HIGH[<int64_t> (power - POWER_MIN)] = scaled >> 64
        FIVE_LOW[<int64_t> (power - POWER_MIN)] = scaled & 0xFFFFFFFFFFFFFFFF
    for power in range(EXACT_POWER + 1):
        EXACT[<int64_t> power] = 10.0**power


fill_tables()


cdef bint decimal_round(uint64_t digits, int64_t exponent, double* number) noexcept nogil:
    """Set the float64 nearest to digits * 10^exponent and return 1, or 0 if it may be subnormal or infinite."""
    cdef uint64_t high, low, second, ignored, mantissa, bits
    cdef int64_t binary
    cdef int zeros, upper
    if digits < <uint64_t> 1 << 53 and -EXACT_POWER <= exponent <= EXACT_POWER:
        number[0] = <double> digits * EXACT[exponent] if exponent >= 0 else <double> digits / EXACT[-exponent]
        return True
    if digits == 0:
        number[0] = 0.0
        return True
    if not POWER_MIN <= exponent <= POWER_MAX:
        return False
    zeros = leading_zeros(digits)
    digits <<= zeros
    high = multiply(digits, FIVE_HIGH[exponent - POWER_MIN], &low)
    if high & 0x1FF == 0x1FF:       # the bits below the 55 that count could carry into them
        second = multiply(digits, FIVE_LOW[exponent - POWER_MIN], &ignored)
        low += second
        if low < second:
            high += 1
    upper = <int> (high >> 63)
    mantissa = high >> (upper + 9)
    binary = ((217706 * exponent) >> 16) + 63 + upper - zeros + 1023       # 217706 / 65536 is log2(10)
    if binary <= 0:
        return False
    if low <= 1 and -4 <= exponent <= 23 and mantissa & 3 == 1 and mantissa << (upper + 9) == high:
        mantissa &= ~<uint64_t> 1       # exactly between two floats: to the even one
    mantissa = (mantissa + (mantissa & 1)) >> 1
    if mantissa >> 53:
        mantissa >>= 1
        binary += 1
    if binary >= 0x7FF:
        return False
    bits = (mantissa & ((<uint64_t> 1 << 52) - 1)) | <uint64_t> binary << 52
    memcpy(number, &bits, 8)
    return True


cdef inline int64_t take_digits(const char* text, int64_t at, int64_t size, uint64_t* digits) noexcept nogil:
    """Read the digits from `at` on behind those that were read, eight at a time in one word, and return where they end."""
    cdef uint64_t word, found = digits[0]
    while size - at >= 8:
        memcpy(&word, text + at, 8)         # little-endian, as the files are
        if (word & 0xF0F0F0F0F0F0F0F0ULL) | ((word + 0x0606060606060606ULL) & 0xF0F0F0F0F0F0F0F0ULL) >> 4 != 0x3333333333333333ULL:
            break
        word = (word & 0x0F0F0F0F0F0F0F0FULL) * 2561 >> 8               # pairs of digits,
        word = (word & 0x00FF00FF00FF00FFULL) * 6553601 >> 16           # fours,
        found = found * 100000000 + ((word & 0x0000FFFF0000FFFFULL) * 42949672960001ULL >> 32)
        at += 8
    while at < size and c'0' <= text[at] <= c'9':
        found = found * 10 + <uint64_t> (text[at] - c'0')
        at += 1
    digits[0] = found
    return at


cdef int decimal_parse(const char* text, int64_t size, int64_t* used, double* number) noexcept nogil:
    """Read a number by JSON's grammar from the start of a text; set how many bytes it has, and for DECIMAL_FOUND the number."""
    cdef int64_t at = 0, first, exponent = 0, power = 0
    cdef uint64_t digits = 0
    cdef bint is_negative = False, is_power_negative = False
    cdef int64_t counted
    if size > 0 and text[0] == c'-':
        is_negative = True
        at = 1
    first = at
    at = take_digits(text, at, size, &digits)
    if at == first or (text[first] == c'0' and at - first > 1):
        return DECIMAL_NONE
    counted = at - first
    if at < size and text[at] == c'.':
        at += 1
        first = at
        at = take_digits(text, at, size, &digits)
        if at == first:
            return DECIMAL_NONE
        exponent = first - at
        counted += at - first
    if at < size and (text[at] == c'e' or text[at] == c'E'):
        at += 1
        if at < size and (text[at] == c'+' or text[at] == c'-'):
            is_power_negative = text[at] == c'-'
            at += 1
        first = at
        while at < size and c'0' <= text[at] <= c'9':
            power = min(power * 10 + (text[at] - c'0'), EXPONENT_MAX)
            at += 1
        if at == first:
            return DECIMAL_NONE
        exponent += -power if is_power_negative else power
    used[0] = at
    if counted > DIGITS_MAX:        # leading zeros of a fraction count, too: such numbers are rare
        return DECIMAL_HARD
    if not decimal_round(digits, exponent, number):
        return DECIMAL_HARD
    if is_negative:
        number[0] = -number[0]
    return DECIMAL_FOUND


def parse(text: bytes) -> tuple[int, int, float]:
    cdef int64_t used = 0
    cdef double number = 0
    cdef int found = decimal_parse(text, len(text), &used, &number)
    return found, used, number
