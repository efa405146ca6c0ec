"""Buckets over block statistics, decoding only blocks at the edges.

Sums are compensated: a float sum is kept as two float64 (the rounded sum and what the roundings lost), an integer sum as an
int128, so the result does not depend on how points were cut into blocks beyond its last bit. NaN values are left out of
everything, the count included.
"""

from libc.math cimport INFINITY, isfinite, isnan
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from cpython.exc cimport PyErr_NoMemory

from tsengine.core.limits cimport KIND_NUMBER
from tsengine.core.store.points cimport PointBuffer
from tsengine.core.store.scan cimport BlockRef, SeriesScan
from tsengine.core.store.segment cimport Segment

import numpy as np

from tsengine.errors import LimitError

cdef enum:
    # About 0.5 GB of buckets: three years by the half minute.
    BUCKETS_MAX = 4194304


cdef extern from *:
    """
    typedef __int128 tsengine_int128;
    """
    ctypedef long long int128 "tsengine_int128"


cdef inline double as_number(int64_t bits) noexcept:
    cdef double number
    memcpy(&number, &bits, 8)
    return number


cdef inline void add_number(Bucket* bucket, double high, double low) noexcept:
    """Knuth's two-sum into the bucket."""
    cdef double before = bucket.sum_high, part
    bucket.sum_high = before + high
    part = bucket.sum_high - before
    bucket.sum_low += (before - (bucket.sum_high - part)) + (high - part) + low


cdef inline void add_integer(Bucket* bucket, int64_t high, int64_t low) noexcept:
    cdef int128 total = (<int128> bucket.integer_high << 64) + <uint64_t> bucket.integer_low + (<int128> high << 64) + <uint64_t> low
    bucket.integer_high = <int64_t> (total >> 64)
    bucket.integer_low = <int64_t> total


cdef inline double total_of(const Bucket* cell) noexcept:
    """The sum of all values, floats and integers."""
    cdef int128 whole = (<int128> cell.integer_high << 64) + <uint64_t> cell.integer_low
    cdef double rounded = <double> whole
    cdef Bucket total = cell[0]
    if not isfinite(cell.sum_high):
        return cell.sum_high
    add_number(&total, rounded, <double> (whole - <int128> rounded))
    return total.sum_high + total.sum_low


cdef class Buckets:
    """Args:
        origin, width, bucket_count: buckets of equal width, microseconds; or
        edges: starts of the buckets, ascending int64, the last one being the end of the last bucket.

    Points outside every bucket must not be added: bound the scans.
    """

    def __cinit__(self, origin=0, width=0, bucket_count=0, const int64_t[::1] edges=None):
        cdef int64_t i
        self.is_integer = True
        self.origin = origin
        self.width = width
        self.bucket_count = bucket_count
        if edges is not None:
            self.edges = edges
            self.bucket_count = edges.shape[0] - 1
        if self.bucket_count > BUCKETS_MAX:
            raise LimitError(
                f"{self.bucket_count} buckets are too many, at most {BUCKETS_MAX} are allowed; use a larger `every` or a shorter range"
            )
        self.cells = <Bucket*> calloc(max(self.bucket_count, 1), sizeof(Bucket))
        if self.cells == NULL:
            PyErr_NoMemory()
        for i in range(self.bucket_count):
            self.cells[i].minimum = INFINITY
            self.cells[i].maximum = -INFINITY
            self.cells[i].integer_minimum = INT64_MAX
            self.cells[i].integer_maximum = INT64_MIN
            self.cells[i].first_time = INT64_MAX
            self.cells[i].last_time = INT64_MIN

    def __dealloc__(self):
        free(self.cells)

    cdef int64_t find(self, int64_t time) noexcept:
        cdef int64_t low = 0, high, middle
        if self.width:
            return (time - self.origin) // self.width
        high = self.bucket_count
        while low < high:
            middle = (low + high) // 2
            if self.edges[middle + 1] <= time:
                low = middle + 1
            else:
                high = middle
        return low

    cdef int64_t end_of(self, int64_t bucket) noexcept:
        return self.origin + (bucket + 1) * self.width if self.width else self.edges[bucket + 1]

    def add(self, SeriesScan scan, bint in_order) -> None:
        """Add every point of a scan over a number, integer or boolean series.

        Args:
            in_order: first and last are asked for, so points at equal times have to come in the order of their sequence.

        Raises:
            CorruptionError: a block that has to be decoded is damaged.
        """
        cdef int64_t i
        cdef PointBuffer points
        if scan.kind == KIND_NUMBER and scan.ref_count:
            self.is_integer = False
        if in_order and overlaps(scan):
            while True:
                points = scan.next_run()
                if points is None:
                    return
                self.add_points(points)
        points = PointBuffer(scan.kind, scan.want)
        for i in range(scan.ref_count):
            if not self.add_statistics(scan, &scan.refs[i]):
                points.clear()
                scan.load(&scan.refs[i], points)
                points.sort()
                self.add_points(points)

    cdef int add_statistics(self, SeriesScan scan, BlockRef* ref) except -1:
        """Add a block by its statistics and return 1, or return 0 if they do not tell enough."""
        cdef Segment segment
        cdef Bucket* bucket
        cdef int64_t at = ref.block
        if not ref.is_whole or type(scan.sources[ref.source][0]) is not Segment:
            return 0
        segment = <Segment> scan.sources[ref.source][0]
        if segment.footer.flags[at] or self.find(ref.first_time) != self.find(ref.last_time):
            return 0
        bucket = &self.cells[self.find(ref.first_time)]
        bucket.count += ref.count
        if scan.kind == KIND_NUMBER:
            bucket.minimum = min(bucket.minimum, as_number(segment.footer.minimum[at]))
            bucket.maximum = max(bucket.maximum, as_number(segment.footer.maximum[at]))
            add_number(bucket, as_number(segment.footer.sum_high[at]), as_number(segment.footer.sum_low[at]))
        else:
            bucket.minimum = min(bucket.minimum, <double> segment.footer.minimum[at])
            bucket.maximum = max(bucket.maximum, <double> segment.footer.maximum[at])
            bucket.integer_minimum = min(bucket.integer_minimum, segment.footer.minimum[at])
            bucket.integer_maximum = max(bucket.integer_maximum, segment.footer.maximum[at])
            add_integer(bucket, segment.footer.sum_high[at], segment.footer.sum_low[at])
        if ref.first_time < bucket.first_time:
            bucket.first_time = ref.first_time
            bucket.integer_first = segment.footer.first[at]
            bucket.first = as_number(segment.footer.first[at]) if scan.kind == KIND_NUMBER else <double> segment.footer.first[at]
        if ref.last_time >= bucket.last_time:
            bucket.last_time = ref.last_time
            bucket.integer_last = segment.footer.last[at]
            bucket.last = as_number(segment.footer.last[at]) if scan.kind == KIND_NUMBER else <double> segment.footer.last[at]
        return 1

    cdef int add_points(self, PointBuffer points) except -1:
        """Add ordered points one by one."""
        cdef int64_t i, bucket = 0, end = INT64_MIN
        for i in range(points.count):
            if points.time[i] >= end:
                bucket = self.find(points.time[i])
                end = self.end_of(bucket)
            self.add_value(&self.cells[bucket], points.time[i], points.value[i], points.kind)
        return 0

    cdef void add_value(self, Bucket* bucket, int64_t time, int64_t bits, uint8_t kind) noexcept:
        cdef double value = as_number(bits) if kind == KIND_NUMBER else <double> bits
        if isnan(value):
            return
        bucket.count += 1
        bucket.minimum = min(bucket.minimum, value)
        bucket.maximum = max(bucket.maximum, value)
        if kind == KIND_NUMBER:
            add_number(bucket, value, 0)
        else:
            bucket.integer_minimum = min(bucket.integer_minimum, bits)
            bucket.integer_maximum = max(bucket.integer_maximum, bits)
            add_integer(bucket, bits >> 63, bits)
        if time < bucket.first_time:
            bucket.first_time = time
            bucket.first = value
            bucket.integer_first = bits
        if time >= bucket.last_time:
            bucket.last_time = time
            bucket.last = value
            bucket.integer_last = bits

    def result(self, function: str):
        """Return (starts, values) of the buckets that hold a value, as arrays: int64 microseconds and float64 or int64.

        Args:
            function: "avg", "sum", "min", "max", "count", "first" or "last". A sum of integers that int64 cannot hold
                comes as float64.
        """
        cdef int64_t i, at = 0, filled = 0
        cdef Bucket* cell
        cdef double[::1] numbers
        cdef int64_t[::1] integers, starts
        cdef bint exact = self.is_integer and function != "avg"
        for i in range(self.bucket_count):
            if self.cells[i].count:
                filled += 1
                if function == "sum" and self.cells[i].integer_high != (self.cells[i].integer_low >> 63):
                    exact = False
        if function == "count":
            exact = True
        times = np.empty(filled, dtype=np.int64)
        values = np.empty(filled, dtype=np.int64 if exact else np.float64)
        starts = times
        if exact:
            integers = values
        else:
            numbers = values
        for i in range(self.bucket_count):
            cell = &self.cells[i]
            if cell.count == 0:
                continue
            starts[at] = self.origin + i * self.width if self.width else self.edges[i]
            if exact:
                integers[at] = integer_result(cell, function)
            else:
                numbers[at] = number_result(cell, function)
            at += 1
        return times, values


cdef bint overlaps(SeriesScan scan) noexcept:
    """Whether blocks share times: their order is then not that of their points."""
    cdef int64_t i, last = INT64_MIN
    for i in range(scan.ref_count):
        if scan.refs[i].first_time <= last:
            return True
        last = max(last, scan.refs[i].last_time)
    return False


cdef int64_t integer_result(const Bucket* cell, str function):
    if function == "sum":
        return cell.integer_low
    if function == "min":
        return cell.integer_minimum
    if function == "max":
        return cell.integer_maximum
    if function == "first":
        return cell.integer_first
    if function == "last":
        return cell.integer_last
    return cell.count


cdef double number_result(const Bucket* cell, str function):
    if function == "avg":
        return total_of(cell) / cell.count
    if function == "sum":
        return total_of(cell)
    if function == "min":
        return cell.minimum
    if function == "max":
        return cell.maximum
    if function == "first":
        return cell.first
    return cell.last
