"""Buckets over block statistics, decoding only blocks at the edges."""

from libc.stdint cimport int64_t, uint8_t

from tsengine.core.store.points cimport PointBuffer
from tsengine.core.store.scan cimport BlockRef, SeriesScan


cdef struct Bucket:
    int64_t count               # values that are not NaN
    int64_t first_time
    int64_t last_time
    double first
    double last
    double minimum
    double maximum
    double sum_high             # of floats: rounded sum, and what the roundings lost; integers have their own, below
    double sum_low
    int64_t integer_minimum     # the same for integers, exact; only where every value is one
    int64_t integer_maximum
    int64_t integer_first
    int64_t integer_last
    int64_t integer_high        # high and low half of the int128 sum
    int64_t integer_low


cdef class Buckets:
    cdef readonly bint is_integer       # every value so far was an integer or boolean
    cdef Bucket* cells
    cdef int64_t bucket_count
    cdef int64_t origin                 # start of bucket 0
    cdef int64_t width                  # microseconds; 0 = use edges
    cdef const int64_t[::1] edges       # starts of the buckets, ascending

    cdef int64_t find(self, int64_t time) noexcept
    cdef int64_t end_of(self, int64_t bucket) noexcept
    cdef int add_statistics(self, SeriesScan scan, BlockRef* ref) except -1
    cdef int add_points(self, PointBuffer points) except -1
    cdef void add_value(self, Bucket* bucket, int64_t time, int64_t bits, uint8_t kind) noexcept
