"""Single cells of JSON and MessagePack arrays, where they lie in a body."""

from libc.stdint cimport int64_t

cdef enum:
    CELL_NULL = 0
    CELL_FALSE = 1
    CELL_TRUE = 2
    CELL_NUMBER = 3         # `number` is set
    CELL_TEXT = 4           # `text` is what the text is, without escapes; not checked to be UTF-8
    CELL_OTHER = 5          # anything that takes a decoder: text with escapes, objects, numbers that are hard to round


cdef struct Cell:
    int kind
    const char* data        # the whole cell as it was sent
    int64_t size
    const char* text
    int64_t text_size
    double number


cdef struct Walk:
    const char* data
    int64_t size
    int64_t at
    int64_t left            # MessagePack: cells that are still to come
    bint is_packed


cdef bint walk_array(Walk* walk, const char* data, int64_t size, bint is_packed) noexcept nogil
cdef int64_t walk_bound(const Walk* walk) noexcept nogil
cdef int walk_next(Walk* walk, Cell* cell) noexcept nogil
cdef bint cell_of(const char* data, int64_t size, bint is_packed, Cell* cell) noexcept nogil
