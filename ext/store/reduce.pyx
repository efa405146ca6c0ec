"""Reductions over the values of a block, for this CPU, chosen once at import."""


cdef extern from "store/reduce_dispatch.h" nogil:
    const Reducers* reducers_choose()


reducers = reducers_choose()
