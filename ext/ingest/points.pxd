"""Validated points and whole columns to batches."""

cdef enum:
    WIRE_FIELDS = 8             # of a data item: variable, value, time, unit, group, serie, location, metadata

cdef class Places:
    # Where the objects of one Struct type have the fields of a data item: bytes from the start of an object.
    cdef object kind            # that type; None: no type's
    cdef Py_ssize_t[WIRE_FIELDS] offset
