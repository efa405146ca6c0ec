"""Registers of a device as Points, made straight from their decoded rows."""

from libc.stdint cimport uint64_t

from tsengine.core.places cimport Places
from tsengine.core.store.page cimport PointMaker

# Fields of a stored row, in the order of the format.
cdef enum:
    FIELD_TIME = 0
    FIELD_VARIABLE = 1
    FIELD_RECEIVED = 2
    FIELD_GROUP = 3
    FIELD_VALUE = 4
    FIELD_UNIT = 5
    FIELD_LAT = 6
    FIELD_LNG = 7
    FIELD_METADATA = 8


cdef class RegisterMaker(PointMaker):
    """Turns decoded rows into Points; what neighbours share is made once."""

    cdef object names               # number of a variable -> its name
    cdef uint64_t first             # of the request whose group is `automatic`
    cdef object automatic

    cdef object point(self, uint64_t sequence, object row, Places places)
    cdef object text_of(self, uint64_t sequence, object group)
