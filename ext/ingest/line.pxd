"""InfluxDB line protocol to batches."""

cimport cython
from libc.stdint cimport int64_t, uint32_t

from tsengine.core.batch cimport BatchBuilder
from tsengine.core.ingest.memo cimport Memo


@cython.final
cdef class LineReader:
    """Walks a body once, line by line, and puts every field of a line into a builder as a point."""

    cdef BatchBuilder builder
    cdef Memo names             # measurement and field key -> first row with that variable
    cdef Memo tags              # tag set as it was sent -> first row with that metadata
    cdef dict devices           # first row of a tag set -> its tag `device`; None: nobody asks
    cdef dict lines             # device -> its lines, where `devices` is a dict
    cdef object body
    cdef const char* data
    cdef int64_t size
    cdef int64_t at
    cdef int64_t line           # number of the line, from 1
    cdef int64_t now_us
    cdef int64_t unit_ns        # of times

    cdef int run(self) except -1 nogil
    cdef int _line(self) except -1 nogil
    cdef int _field(self, const char* measurement, int64_t measurement_size, int64_t tags, int64_t tags_size) except -1 nogil
    cdef int _value(self, uint32_t row) except -1 nogil
    cdef int _text(self, uint32_t row) except -1 nogil
    cdef int _number(self, const char* text, int64_t size, uint32_t row) except -1 nogil
    cdef int64_t _time(self) except? -1 nogil
    cdef int _grow(self, uint32_t row) except -1 with gil
    cdef int _fail(self, str problem) except -1 with gil
    cdef int _name(self, bytes measurement, bytes key, uint32_t row) except -1
    cdef int _tags(self, bytes tags, uint32_t row) except -1
    cdef int _slow_number(self, bytes text, uint32_t row) except -1
    cdef int _note(self, int64_t start, uint32_t row) except -1 with gil
