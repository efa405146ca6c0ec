"""Points as the rows of the HTTP API, in JSON."""

from tsengine.core.places cimport Places


cdef class JsonText:
    # Grows; what is written goes to its end.
    cdef char *data
    cdef Py_ssize_t size
    cdef Py_ssize_t capacity

    cdef int reserve(self, Py_ssize_t more) except -1
    cdef int raw(self, const char *text, Py_ssize_t size) except -1
    cdef int literal(self, const char *text) except -1
    cdef int encoded(self, object value) except -1
    cdef int string(self, str text) except -1
    cdef int number(self, double value) except -1
    cdef int moment(self, object time) except -1
    cdef int row(self, object point, Places places, bytes device, bint details) except -1
