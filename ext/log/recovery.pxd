"""Recovery of a folder of WAL files; see recovery.pyx."""

from libc.stdint cimport int64_t

from tsengine.core.log.frame cimport FrameWalker


cdef class Recovery:
    cdef str folder
    cdef bint sync                          # make durable what is read before it is delivered
    cdef int64_t reach                      # the files held everything up to here; less is damage
    cdef object deliver                     # called with (first_seq, records)
    cdef readonly list files                # (first_seq, path) of the files that stay, ascending
    cdef readonly int64_t last_seq          # of the log
    cdef readonly int64_t end_offset        # where the last file ends
    cdef readonly int64_t torn_bytes        # cut away
    cdef readonly int64_t record_count      # delivered
    cdef int64_t delivered_seq
    cdef list group                         # records collected for the next delivery
    cdef int64_t group_seq, group_bytes

    cdef FrameWalker open(self, int64_t index)
    cdef int walk(self, FrameWalker walker) except -1
    cdef int add(self, int64_t seq, bytes record) except -1
    cdef int flush(self) except -1
    cdef int judge(self, FrameWalker walker, int64_t index, bint cut) except -1
