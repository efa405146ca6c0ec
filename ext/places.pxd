"""Where the objects of a Struct type have their fields, so that many objects are read without a look-up of names for each."""

from cpython.object cimport PyObject

cdef enum:
    PLACES = 10                 # fields of a type at most

cdef class Places:
    cdef readonly object kind           # the type; None: it has not all of the fields in places of their own
    cdef tuple names
    cdef Py_ssize_t[PLACES] offset      # of each field, bytes from the start of an object

    cdef Places of(self, object kind)


cdef inline object field(object holder, Py_ssize_t offset):
    # The object must be of the very type that the places are of.
    cdef PyObject *found = (<PyObject **> (<char *> <PyObject *> holder + offset))[0]
    return None if found == NULL else <object> found
