"""Civil dates and chunk periods, UTC, over int64 microseconds; and the reading of ISO 8601 text.

A period (day, week, month, quarter) numbers its chunks: `period_number` of a time, `period_start` of a number.
Valid for years 1 to 9999, the range of a Python datetime; the border checks that.
"""

from cpython.datetime cimport datetime_new, get_utc, import_datetime
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t

from tsengine.errors import InputError

import_datetime()

PERIODS = {None: PERIOD_NONE, "day": PERIOD_DAY, "week": PERIOD_WEEK, "month": PERIOD_MONTH, "quarter": PERIOD_QUARTER}
TIMES = (TIME_MIN, TIME_MAX)


cdef inline int64_t floor_divide(int64_t dividend, int64_t divisor) noexcept nogil:
    cdef int64_t quotient = dividend // divisor       # C division: towards zero
    return quotient - (1 if dividend % divisor < 0 else 0)


cdef int64_t days_from_civil(int64_t year, int64_t month, int64_t day) noexcept nogil:
    """Return days since 1970-01-01 of a date of the proleptic Gregorian calendar.

    Years are counted from March, so that the leap day is the last of its year; 400 years have 146,097 days.
    """
    cdef int64_t shifted = year - 1 if month <= 2 else year
    cdef int64_t era = floor_divide(shifted, 400)
    cdef int64_t year_of_era = shifted - era * 400
    cdef int64_t day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468


cdef void civil_from_days(int64_t days, int* year, int* month, int* day) noexcept nogil:
    """Set the date of a day, counted from 1970-01-01."""
    cdef int64_t number = month_of(days * DAY_US)
    year[0] = <int> (1970 + floor_divide(number, 12))
    month[0] = <int> (number - floor_divide(number, 12) * 12 + 1)
    day[0] = <int> (days - days_from_civil(year[0], month[0], 1) + 1)


cdef int64_t month_of(int64_t time_us) noexcept nogil:
    """Return the number of the month that holds this time; 0 is January 1970."""
    return month_and_day(floor_divide(time_us, DAY_US), NULL)


cdef int64_t month_and_day(int64_t days_since_1970, int* day) noexcept nogil:
    """Return the number of the month that holds a day; `day`, if given, is set to the day of that month."""
    cdef int64_t days = days_since_1970 + 719468
    cdef int64_t era = floor_divide(days, 146097)
    cdef int64_t day_of_era = days - era * 146097
    cdef int64_t year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    cdef int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    cdef int64_t march_month = (5 * day_of_year + 2) // 153
    if day != NULL:
        day[0] = <int> (day_of_year - (153 * march_month + 2) // 5 + 1)
    return (year_of_era + era * 400 - 1970) * 12 + march_month + 2


cdef int64_t month_start(int64_t month) noexcept nogil:
    """Return the first microsecond of a month."""
    cdef int64_t year = floor_divide(month, 12)
    return days_from_civil(1970 + year, month - year * 12 + 1, 1) * DAY_US


cdef int64_t period_number(int64_t time_us, int period) noexcept nogil:
    """Return the number of the period that holds this time."""
    if period == PERIOD_DAY:
        return floor_divide(time_us, DAY_US)
    if period == PERIOD_WEEK:
        return floor_divide(floor_divide(time_us, DAY_US) + 3, 7)      # 1970-01-01 was a Thursday
    if period == PERIOD_MONTH:
        return month_of(time_us)
    if period == PERIOD_QUARTER:
        return floor_divide(month_of(time_us), 3)
    return 0


cdef int64_t period_start(int64_t number, int period) noexcept nogil:
    """Return the first microsecond of the period with this number."""
    if period == PERIOD_DAY:
        return number * DAY_US
    if period == PERIOD_WEEK:
        return (number * 7 - 3) * DAY_US
    if period == PERIOD_MONTH:
        return month_start(number)
    if period == PERIOD_QUARTER:
        return month_start(number * 3)
    return INT64_MIN if number <= 0 else INT64_MAX


cdef inline int two_digits(const char* text) noexcept nogil:
    if not (c'0' <= text[0] <= c'9' and c'0' <= text[1] <= c'9'):
        return -1
    return (text[0] - c'0') * 10 + text[1] - c'0'


cdef inline int days_in_month(int64_t year, int month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef int parse_clock(const char* text, int64_t size, int64_t* clock_us, int64_t* used) noexcept nogil:
    """Read HH:MM[:SS[.fraction]]; digits past the microsecond are cut off."""
    cdef int hour, minute, second = 0
    cdef int64_t at = 5, fraction = 0, scale = 100000
    if size < 5 or text[2] != c':':
        return 0
    hour = two_digits(text)
    minute = two_digits(text + 3)
    if size >= 8 and text[5] == c':':
        second = two_digits(text + 6)
        at = 8
        if size > 9 and (text[8] == c'.' or text[8] == c',') and c'0' <= text[9] <= c'9':
            at = 9
            while at < size and c'0' <= text[at] <= c'9':
                fraction += (text[at] - c'0') * scale
                scale //= 10
                at += 1
    if not (0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59):
        return 0
    clock_us[0] = ((hour * 60 + minute) * 60 + second) * <int64_t> 1000000 + fraction
    used[0] = at
    return 1


cdef int parse_offset(const char* text, int64_t size, int64_t* offset_us) noexcept nogil:
    """Read nothing, Z, +HH, +HHMM or +HH:MM."""
    cdef int hour, minute = 0
    cdef int64_t sign
    offset_us[0] = 0
    if size == 0 or (size == 1 and (text[0] == c'Z' or text[0] == c'z')):
        return 1
    if text[0] != c'+' and text[0] != c'-':
        return 0
    sign = 1 if text[0] == c'+' else -1
    if size == 6 and text[3] == c':':
        minute = two_digits(text + 4)
    elif size == 5:
        minute = two_digits(text + 3)
    elif size != 3:
        return 0
    hour = two_digits(text + 1)
    if not (0 <= hour <= 23 and 0 <= minute <= 59):
        return 0
    offset_us[0] = sign * (hour * 60 + minute) * <int64_t> 60000000
    return 1


cdef int timestamp_parse(const char* text, int64_t size, int64_t* time_us) noexcept nogil:
    """Read YYYY-MM-DD, optionally with T or a space, a time of day and an offset; without one it is UTC. Return 1, or 0."""
    cdef int64_t year, clock_us = 0, offset_us = 0, used
    cdef int month, day, century
    if size < 10 or text[4] != c'-' or text[7] != c'-':
        return 0
    century = two_digits(text)
    year = two_digits(text + 2)
    month = two_digits(text + 5)
    day = two_digits(text + 8)
    if century < 0 or year < 0:
        return 0
    year += century * 100
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= days_in_month(year, month):
        return 0
    if size > 10:
        if text[10] != c'T' and text[10] != c't' and text[10] != c' ':
            return 0
        if not parse_clock(text + 11, size - 11, &clock_us, &used):
            return 0
        used += 11
        if used < size and text[used] == c' ':
            used += 1
        if not parse_offset(text + used, size - used, &offset_us):
            return 0
    time_us[0] = days_from_civil(year, month, day) * DAY_US + clock_us - offset_us
    return TIME_MIN <= time_us[0] <= TIME_MAX


def to_datetime(int64_t time_us):
    cdef int day
    cdef int64_t days, month, year, rest
    if not TIME_MIN <= time_us <= TIME_MAX:
        raise OverflowError("date value out of range")
    days = floor_divide(time_us, DAY_US)
    rest = time_us - days * DAY_US
    month = month_and_day(days, &day)
    year = floor_divide(month, 12)
    return datetime_new(
        <int> (1970 + year), <int> (month - year * 12 + 1), day, <int> (rest // 3600000000), <int> (rest // 60000000 % 60),
        <int> (rest // 1000000 % 60), <int> (rest % 1000000), get_utc()
    )


def parse_time(text: str) -> int:
    """Return int64 microseconds of ISO 8601 text; without an offset it is UTC, digits past the microsecond are cut off.

    Raises:
        InputError: the text is no such time, or outside the years 1 to 9999.

    Example:
        >>> parse_time("1970-01-01T00:00:01.5Z")
        1500000
    """
    cdef bytes data = text.encode("utf-8", "replace")
    cdef int64_t time_us
    if not timestamp_parse(data, len(data), &time_us):
        raise InputError(f"{text!r} is not a time; write it like 2026-11-21T08:30:00Z")
    return time_us


def period_of(time_us: int, period: str | None) -> int:
    """Return the number of the period (None, "day", "week", "month", "quarter") that holds this time."""
    return period_number(time_us, PERIODS[period])


def start_of(number: int, period: str | None) -> int:
    """Return the first microsecond of the period with this number; it ends where the next one starts."""
    return period_start(number, PERIODS[period])


cdef class PeriodCounter:
    """Args:
        period: None, "day", "week", "month" or "quarter".
    """

    def __cinit__(self, period):
        self.code = PERIODS[period]
        self.start, self.end = INT64_MAX, INT64_MIN     # no period yet
        self.counts = {}

    cdef int add(self, int64_t time, int64_t count) except -1:
        """Count points whose period is that of this time."""
        if not self.start <= time < self.end:
            self.result()
            self.number = period_number(time, self.code)
            self.start = period_start(self.number, self.code)
            self.end = period_start(self.number + 1, self.code)
        self.count += count
        return 0

    cdef dict result(self):
        """Return number of the period -> points, for every period that has some."""
        if self.count:
            self.counts[self.number] = self.counts.get(self.number, 0) + self.count
            self.count = 0
        return self.counts
