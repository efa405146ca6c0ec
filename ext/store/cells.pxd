"""What is known of each bucket of time, and the results that follow from it."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

# What the functions that are asked for need to be known of a bucket; the count always is.
cdef enum:
    NEEDS_SUM = 1
    NEEDS_RANGE = 2             # minimum and maximum
    NEEDS_ENDS = 4              # first and last
    NEEDS_SQUARES = 8           # for the standard deviation; goes with the sum

    # Values below which a plain loop is done before a vectorised one has begun.
    FEW = 16


cdef struct End:
    # The first or last value of a bucket: by time, and by sequence where it is known.
    int64_t time
    uint64_t sequence
    int64_t bits
    double number


cdef class BucketCells:
    cdef readonly bint is_integer       # every value so far was an integer or boolean
    cdef int needs
    cdef int64_t bucket_count
    cdef int64_t origin                 # start of bucket 0
    cdef int64_t width                  # microseconds; 0 = use edges
    cdef const int64_t[::1] edges       # starts of the buckets, ascending, and the end of the last
    cdef int64_t current                # bucket that was found last
    cdef int64_t current_start
    cdef int64_t current_end
    cdef char* scratch                  # memory of the cells up to `last`
    cdef int64_t scratch_bytes
    cdef int64_t scratch_used
    # One cell a bucket; NULL where no function needs it.
    cdef int64_t* count                 # of values that are not NaN
    cdef double* sum_high               # of numbers: the rounded sum, and what the roundings lost
    cdef double* sum_low
    cdef double* minimum
    cdef double* maximum
    cdef double* weight                 # of the values in `squares`: how many, their mean, their squared distances from it
    cdef double* mean
    cdef double* squares
    cdef End* first
    cdef End* last
    # The same of integers, exact; made with the first series of integers.
    cdef int64_t* integer_high          # int128
    cdef int64_t* integer_low
    cdef int64_t* integer_minimum
    cdef int64_t* integer_maximum

    cdef int take_scratch(self, int64_t bucket_bytes) except -1
    cdef void* cells(self, int64_t cell_bytes) noexcept
    cdef void* own_cells(self) except NULL
    cdef int prepare_integers(self) except -1
    cdef int64_t find(self, int64_t time) noexcept nogil
    cdef void add_sum(self, int64_t bucket, double high, double low) noexcept nogil
    cdef void add_integer_sum(self, int64_t bucket, int64_t high, uint64_t low) noexcept nogil
    cdef void add_end(self, int64_t bucket, int64_t time, uint64_t sequence, int64_t bits, uint8_t kind) noexcept nogil
    cdef void add_numbers(self, int64_t bucket, const double* values, int64_t n) noexcept nogil
    cdef void add_odd_numbers(self, int64_t bucket, const double* values, int64_t n) noexcept nogil
    cdef void add_integers(self, int64_t bucket, const int64_t* values, int64_t n) noexcept nogil
    cdef void add_squares(self, int64_t bucket, const double* values, int64_t n) noexcept nogil
    cdef double total(self, int64_t bucket) noexcept nogil
    cdef bint fits(self) noexcept nogil
    cdef int64_t integer_of(self, int function, int64_t bucket) noexcept nogil
    cdef double number_of(self, int function, int64_t bucket) noexcept nogil
