"""Civil dates and chunk periods, UTC, over int64 microseconds."""

from libc.stdint cimport int64_t

cdef enum:
    PERIOD_NONE = 0         # one chunk for ever
    PERIOD_DAY = 1
    PERIOD_WEEK = 2         # starts on Monday
    PERIOD_MONTH = 3
    PERIOD_QUARTER = 4

cdef extern from *:
    """
    #define TSENGINE_DAY_US 86400000000LL
    #define TSENGINE_TIME_MIN (-62135596800000000LL)
    #define TSENGINE_TIME_MAX 253402300799999999LL
    """
    const int64_t DAY_US "TSENGINE_DAY_US"
    const int64_t TIME_MIN "TSENGINE_TIME_MIN"      # 0001-01-01T00:00:00Z
    const int64_t TIME_MAX "TSENGINE_TIME_MAX"      # 9999-12-31T23:59:59.999999Z

cdef int64_t days_from_civil(int64_t year, int64_t month, int64_t day) noexcept nogil
cdef void civil_from_days(int64_t days, int* year, int* month, int* day) noexcept nogil
cdef int64_t month_of(int64_t time_us) noexcept nogil
cdef int64_t month_and_day(int64_t days_since_1970, int* day) noexcept nogil
cdef int64_t month_start(int64_t month) noexcept nogil
cdef int64_t period_number(int64_t time_us, int period) noexcept nogil
cdef int64_t period_start(int64_t number, int period) noexcept nogil
cdef int timestamp_parse(const char* text, int64_t size, int64_t* time_us) noexcept nogil


cdef class PeriodCounter:
    """How many points lie in each period; times that follow each other in one period cost a comparison."""

    cdef int code
    cdef int64_t number         # of the period from `start` to `end`
    cdef int64_t start
    cdef int64_t end
    cdef int64_t count          # points in it since it was entered
    cdef dict counts            # number of the period -> points before that

    cdef int add(self, int64_t time, int64_t count) except -1
    cdef dict result(self)
