"""The write-ahead log: append, group commit, rotation, replay, trim. See wal.pyx and docs/format/wal.md."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from tsengine.core.log.folder cimport Outcome, Staged, WalFolder

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    ctypedef unsigned long pthread_t            # a pointer on macOS; only ever compared


cdef enum State:
    STATE_NEW = 0                   # not recovered yet
    STATE_OPEN = 1
    STATE_FAILED = 2                # takes nothing more until it is reopened
    STATE_CLOSED = 3

cdef enum Verdict:                  # why a wait ends
    VERDICT_NONE = 0
    VERDICT_DONE
    VERDICT_REFUSED                 # its group did not fit on the disk
    VERDICT_STALLED                 # a store has no room to apply the group
    VERDICT_OVER                    # the log failed or is closed
    VERDICT_BUSY                    # no room in the queue in time
    VERDICT_UNKNOWN                 # never promised
    VERDICT_ITSELF                  # the leader would wait for itself

cdef struct Group:                  # what becomes one frame
    PyObject *records               # list[bytes], owned
    Staged *items                   # the same, for C
    int64_t count, capacity
    int64_t body_bytes


cdef class Generation:
    # Sequences promised between two refusals; a refusal takes back those from `refused_from` on.
    cdef int64_t refused_from
    cdef object error


cdef class Wal:
    cdef readonly str folder
    cdef WalFolder files                    # None with durability "memory": nothing is written
    cdef bint has_files                     # the same, to be asked without the GIL
    cdef readonly int64_t replayed_count    # records that start() delivered
    cdef readonly int64_t torn_bytes        # bytes of an unfinished write that it cut away
    cdef object apply_group                 # apply(first_seq, records), given to start()

    # Under `mutex`, which is held for a few instructions only and never while waiting for the GIL.
    cdef pthread_mutex_t mutex
    cdef pthread_cond_t done[2]             # the group with this parity is finished, or needs a leader
    cdef pthread_cond_t nudged              # the committer has work
    cdef pthread_cond_t room                # the queue was taken, or needs a leader
    cdef bint has_locks
    cdef State state
    cdef bint is_closing                    # close() has begun: no new records
    cdef Group groups[2]                    # one is staged into, the other is being written
    cdef int staging                        # index of the former
    cdef bint is_committing                 # a leader is at work
    cdef pthread_t leader                   # its thread
    cdef int64_t group_number               # of the group being staged; its parity picks `done`
    cdef int64_t staged_seq                 # last one promised
    cdef int64_t taken_seq                  # last one that a leader took
    cdef int64_t written_seq                # last one durable (as the durability says)
    cdef int64_t finished_seq               # last one applied
    cdef int64_t nudged_seq                 # somebody wants everything up to here committed without waiting
    cdef Generation generation              # of the sequences promised now
    cdef bint is_stalled                    # the group that is not staged is durable, but a store had no room to apply it
    cdef int64_t queue_bytes                # staged at most
    cdef int64_t queue_wait_ms              # how long a writer waits for room

    # Under the GIL.
    cdef object failure                     # why the log failed
    cdef object stall                       # why it is stalled
    cdef object setup_lock
    cdef tuple listeners
    cdef object committer                   # the thread that leads for those who do not wait

    cdef object stop(self)
    cdef int64_t append_record(self, bytes record) except -1
    cdef Generation generation_of(self, object ticket)
    cdef object explain(self)
    cdef bint is_crowded(self) noexcept nogil
    cdef int lead(self) noexcept nogil
    cdef Group *take(self) noexcept nogil
    cdef Outcome write(self, Group *group) noexcept nogil
    cdef int finish(self, Group *group, Outcome outcome) noexcept
    cdef int sleep(self, pthread_cond_t *cond, int64_t until_ns) noexcept nogil
