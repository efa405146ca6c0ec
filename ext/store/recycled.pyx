"""Arrays for results in memory that is used again: fresh memory costs more than decoding into it (a page fault for each 4 KiB).

Life: an array holds a Slab; when its last view is gone, the slab's memory is kept as spare for the next array of about that size.
Small arrays are not worth it: the allocator has their memory at hand. Memory is taken and given back with the GIL.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.exc cimport PyErr_NoMemory

import numpy as np

cdef enum:
    RECYCLED_BYTES_MIN = 131072     # what malloc maps anew, and gives back, each time
    SPARE_BYTES_MAX = 16777216      # all spare memory together
    SPARE_COUNT_MAX = 8


cdef struct Spare:
    void* data
    int64_t size_bytes

cdef Spare[SPARE_COUNT_MAX] spares              # the one given back last is the last
cdef int spare_count = 0
cdef int64_t spare_bytes = 0


cdef Spare take_spare(int place) noexcept:
    global spare_count, spare_bytes
    cdef Spare spare = spares[place]
    spare_count -= 1
    spare_bytes -= spare.size_bytes
    memmove(&spares[place], &spares[place + 1], (spare_count - place) * sizeof(Spare))
    return spare


cdef class Slab:
    cdef Spare memory

    def __cinit__(self, int64_t size_bytes):
        cdef int place
        for place in range(spare_count - 1, -1, -1):
            if size_bytes <= spares[place].size_bytes <= 2 * size_bytes:
                self.memory = take_spare(place)
                return
        self.memory.data = malloc(size_bytes)
        self.memory.size_bytes = size_bytes
        if self.memory.data == NULL:
            PyErr_NoMemory()

    def __dealloc__(self):
        global spare_count, spare_bytes
        if self.memory.data == NULL:
            return
        if self.memory.size_bytes > SPARE_BYTES_MAX // 2:       # of two arrays of a read both are kept, or none
            free(self.memory.data)
            return
        while spare_count == SPARE_COUNT_MAX or spare_bytes + self.memory.size_bytes > SPARE_BYTES_MAX:
            free(take_spare(0).data)
        spares[spare_count] = self.memory
        spare_count += 1
        spare_bytes += self.memory.size_bytes

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.memory.data, self.memory.size_bytes, 0, flags)


cdef object fresh_array(int64_t count):
    if count * 8 < RECYCLED_BYTES_MIN:
        return np.empty(count, np.int64)
    return np.frombuffer(Slab(count * 8), np.int64, count)
