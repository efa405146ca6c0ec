"""The fields of one point, checked and put into a batch builder as point i."""

from libc.stdint cimport int64_t, uint32_t

from tsengine.core.batch cimport BatchBuilder, LocationCell

cdef object invalid(uint32_t i, str problem)
cdef int put_variable(BatchBuilder builder, object variable, uint32_t i) except -1
cdef int put_value(BatchBuilder builder, object value, uint32_t i, bint wire) except -1
cdef uint32_t put_unit(BatchBuilder builder, object unit, uint32_t i) except? 4294967295
cdef int put_group(BatchBuilder builder, object group, uint32_t i) except -1
cdef int put_location(LocationCell* cell, object location, uint32_t i) except -1
cdef uint32_t put_metadata(BatchBuilder builder, object metadata, uint32_t i) except? 4294967295
cdef int64_t time_of(object time, int64_t now_us, uint32_t i) except? -1
cdef int64_t wire_time_of(object time, int64_t now_us, uint32_t i) except? -1
cdef str serie_text(object serie)
