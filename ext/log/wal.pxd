"""The write-ahead log: append, group commit, rotation, replay, trim. See wal.pyx and docs/format/wal.md."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t

from tsengine.core.log.frame cimport FileHeader

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass


cdef enum Durability:
    DURABILITY_MEMORY = 0           # nothing is written
    DURABILITY_OS = 1               # written, not synced: survives a kill, not a power cut
    DURABILITY_SYNC = 2             # one fdatasync for each group before anybody is told

cdef enum State:
    STATE_NEW = 0                   # not recovered yet
    STATE_OPEN = 1
    STATE_FAILED = 2                # takes nothing more until it is reopened
    STATE_CLOSED = 3

cdef enum Outcome:
    OUTCOME_DONE = 0
    OUTCOME_REFUSED = 1             # nothing of the group counts; the log goes on
    OUTCOME_FAILED = 2              # the state of the disk is unknown

cdef struct Staged:
    const unsigned char *data       # borrowed from the bytes object in Group.records
    uint32_t length

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
    cdef Durability durability
    cdef int64_t file_bytes                 # a file is left when the next frame would pass this
    cdef readonly int64_t replayed_count    # records that start() delivered
    cdef readonly int64_t torn_bytes        # bytes of an unfinished write that it cut away
    cdef object apply_group                 # apply(first_seq, records), given to start()

    # Under `mutex`, which is held for a few instructions only and never while waiting for the GIL.
    cdef pthread_mutex_t mutex
    cdef pthread_cond_t done[2]             # the group with this parity is finished, or needs a leader
    cdef pthread_cond_t nudged              # the committer has work
    cdef bint has_locks
    cdef State state
    cdef bint is_closing                    # close() has begun: no new records
    cdef Group groups[2]                    # one is staged into, the other is being written
    cdef int staging                        # index of the former
    cdef bint is_committing                 # a leader is at work
    cdef unsigned long leader               # its thread
    cdef int64_t group_number               # of the group being staged; its parity picks `done`
    cdef int64_t staged_seq                 # last one promised
    cdef int64_t taken_seq                  # last one that a leader took
    cdef int64_t written_seq                # last one durable (as the durability says)
    cdef int64_t finished_seq               # last one applied
    cdef int64_t nudged_seq                 # somebody wants everything up to here committed without waiting
    cdef Generation generation              # of the sequences promised now

    # Owned by the leader.
    cdef int fd
    cdef object path                        # of the file being written
    cdef FileHeader header
    cdef uint32_t seed
    cdef int64_t position                   # where the next frame goes
    cdef int64_t allocated_bytes            # size of the file
    cdef bint is_torn                       # bytes of a refused frame lie behind `position`
    cdef int64_t synced_seq                 # last one known to be on disk
    cdef unsigned char *buffer              # frames are put together here
    cdef int error                          # errno of the last outcome
    cdef const char *action
    cdef object trouble                     # the exception of the last outcome, when there is one

    # Under the GIL.
    cdef object failure                     # why the log failed
    cdef list files                         # (first_seq, path) of the live files, ascending
    cdef dict closed_bytes                  # path: size of a live file that is full
    cdef list spares                        # paths of trimmed files that can be written again
    cdef int reader_count                   # iterators of read(): files are not recycled under them
    cdef object trim_lock
    cdef tuple listeners
    cdef object committer                   # the thread that leads for those who do not wait

    cdef object make_folder(self)
    cdef object begin_at(self, int64_t seq)
    cdef object clear_leftovers(self)
    cdef object continue_file(self, int64_t end_offset)
    cdef object stop(self)
    cdef int finish_file(self) except -1
    cdef int64_t append_record(self, bytes record) except -1
    cdef Generation generation_of(self, object ticket)
    cdef object explain(self)
    cdef Group *take(self) noexcept nogil
    cdef Outcome write(self, Group *group) noexcept nogil
    cdef int make_room(self, int64_t frame_bytes) noexcept nogil
    cdef int write_frame(self, Group *group) noexcept nogil
    cdef Outcome rotate(self, int64_t first_seq, int64_t previous_seq) noexcept
    cdef int finish(self, Group *group, Outcome outcome) noexcept
    cdef int sleep(self, pthread_cond_t *cond) noexcept nogil
