"""Where the objects of a Struct type have their fields, so that many objects are read without a look-up of names for each.

A look-up costs 15 ns; eight of them were a third of what it took to store a point of a request.
"""

from types import MemberDescriptorType

cdef extern from "structmember.h":
    int T_OBJECT_EX
    ctypedef struct PyMemberDef:
        int type
        Py_ssize_t offset
    ctypedef struct PyMemberDescrObject:
        PyMemberDef *d_member


cdef class Places:
    def __cinit__(self, object kind, tuple names):
        cdef PyMemberDef *member
        cdef Py_ssize_t at
        assert len(names) <= PLACES
        self.names = names
        for at, name in enumerate(names):
            descriptor = getattr(kind, name, None)
            if type(descriptor) is not MemberDescriptorType or not issubclass(kind, descriptor.__objclass__):
                return
            member = (<PyMemberDescrObject *> descriptor).d_member
            if member.type != T_OBJECT_EX:
                return
            self.offset[at] = member.offset
        self.kind = kind

    cdef Places of(self, object kind):
        """Return the places of the same fields in another type; itself if it is the same."""
        return self if self.kind is kind else Places(kind, self.names)
