"""Arrays for results in memory that is used again."""

from libc.stdint cimport int64_t

# A new one-dimensional int64 numpy array, its values undefined.
cdef object fresh_array(int64_t count)
