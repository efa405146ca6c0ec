"""The folder of WAL files: write frames, rotate, read, trim. See folder.pyx and docs/format/wal.md."""

from libc.stdint cimport int64_t, uint32_t

from tsengine.core.log.frame cimport FileHeader
from tsengine.core.log.recovery cimport Recovery


cdef enum Outcome:
    OUTCOME_DONE = 0
    OUTCOME_REFUSED = 1             # nothing of the frame counts; the log goes on
    OUTCOME_FAILED = 2              # the state of the disk is unknown
    OUTCOME_STALLED = 3             # written, but a store had no room to apply it

cdef struct Staged:                 # one record
    const unsigned char *data       # borrowed from a bytes object
    uint32_t length


cdef class WalFolder:
    cdef str folder
    cdef bint sync                          # one fdatasync for each frame, before it counts as written
    cdef int64_t file_bytes                 # a file is left when the next frame would pass this

    # Of the one who writes.
    cdef int fd
    cdef object path                        # of the file being written
    cdef FileHeader header
    cdef uint32_t seed
    cdef int64_t position                   # where the next frame goes
    cdef int64_t allocated_bytes            # size of the file
    cdef bint is_torn                       # bytes of a refused frame lie behind `position`
    cdef bint is_tight                      # the disk was full: no zeros ahead in this file
    cdef int64_t synced_seq                 # last one known to be on disk
    cdef int64_t trimmed_seq        # newest record that `trim` said is not needed
    cdef unsigned char *buffer              # frames are put together here
    cdef int error                          # negative errno of the last outcome
    cdef const char *action
    cdef object trouble                     # the exception of the last outcome, when there is one

    # Under the GIL.
    cdef list files                         # (first_seq, path) of the live files, ascending
    cdef dict closed_bytes                  # path: size of a live file that is full
    cdef list spares                        # paths of trimmed files that can be written again
    cdef int reader_count                   # iterators of read(): files are not recycled under them
    cdef object trim_lock

    cdef Recovery recover(self, int64_t applied, int64_t newest, int64_t reach, deliver)
    cdef object make_folder(self)
    cdef object clear_leftovers(self)
    cdef object continue_file(self, int64_t end_offset)
    cdef Outcome write(self, const Staged *items, int64_t count, int64_t body_bytes, int64_t first_seq) noexcept nogil
    cdef int make_room(self, int64_t frame_bytes) noexcept nogil
    cdef int write_frame(self, const Staged *items, int64_t count, int64_t body_bytes, int64_t first_seq) noexcept nogil
    cdef Outcome rotate(self, int64_t first_seq, int64_t previous_seq) noexcept
    cdef int close(self, bint is_clean, int64_t last_seq) except -1
    cdef int finish_file(self, int64_t last_seq) except -1
    cdef int shrink(self, int64_t last_seq) except -1
    cdef object take_error(self)
    cdef int trim(self, int64_t seq) except -1
    cdef int64_t count_bytes(self) except -1
