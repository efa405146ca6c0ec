"""File calls that fail on demand, for tests only: the n-th call fails once, fails for good, is torn, or kills the process.

`Faults` replaces entries of the table in file.pyx while it is entered; one at a time in a process. Counting is atomic, so
calls may come from threads that do not hold the GIL.
"""

from libc.signal cimport SIGKILL
from libc.stdint cimport int64_t, uint32_t
from posix.signal cimport kill
from posix.unistd cimport getpid

from tsengine.core.os.file cimport FileCalls, file_calls

cdef extern from *:
    """
    #include <errno.h>
    #define faulty_next(counter) __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST)
    #define faulty_set_errno(error) (errno = (error))
    """
    int64_t faulty_next(int64_t *counter) noexcept nogil
    void faulty_set_errno(int error) noexcept nogil

cdef enum:
    CALL_OPEN, CALL_CLOSE, CALL_PREAD, CALL_PWRITE, CALL_FTRUNCATE, CALL_FDATASYNC, CALL_FSYNC, CALL_RENAME, CALL_UNLINK, CALL_COUNT

NAMES = ("open", "close", "pread", "pwrite", "ftruncate", "fdatasync", "fsync", "rename", "unlink")

cdef struct Plan:
    bint chosen[CALL_COUNT]     # the calls that the plan is about
    int64_t nth                 # 1 is the first of them; 0: none, only count
    int error                   # errno of the failure; 0: no failure, the transfer is only short
    bint forever                # later ones fail as well
    bint torn                   # a pwrite stores half of its bytes before it fails
    bint deadly                 # the process is killed instead of an error being returned

cdef FileCalls real             # the table as it was
cdef Plan plan
cdef int64_t counts[CALL_COUNT]
cdef int64_t matches            # chosen calls so far
cdef bint is_installed = False


cdef bint is_due(int call) noexcept nogil:
    cdef int64_t number
    faulty_next(&counts[call])
    if not plan.chosen[call]:
        return False
    number = faulty_next(&matches)
    return plan.nth > 0 and (number == plan.nth or (plan.forever and number > plan.nth))


cdef int refuse() noexcept nogil:
    if plan.deadly:
        kill(getpid(), SIGKILL)
    faulty_set_errno(plan.error)
    return -1


cdef int faulty_open(const char *path, int flags, uint32_t mode) noexcept nogil:
    return refuse() if is_due(CALL_OPEN) else real.open(path, flags, mode)


cdef int faulty_close(int fd) noexcept nogil:
    return refuse() if is_due(CALL_CLOSE) else real.close(fd)


cdef int64_t faulty_pread(int fd, void *data, int64_t size_bytes, int64_t offset) noexcept nogil:
    if not is_due(CALL_PREAD):
        return real.pread(fd, data, size_bytes, offset)
    if plan.error == 0 and not plan.deadly:
        return real.pread(fd, data, (size_bytes + 1) // 2, offset)
    return refuse()


cdef int64_t faulty_pwrite(int fd, const void *data, int64_t size_bytes, int64_t offset) noexcept nogil:
    if not is_due(CALL_PWRITE):
        return real.pwrite(fd, data, size_bytes, offset)
    if plan.error == 0 and not plan.deadly:
        return real.pwrite(fd, data, (size_bytes + 1) // 2, offset)
    if plan.torn:
        real.pwrite(fd, data, size_bytes // 2, offset)
    return refuse()


cdef int faulty_ftruncate(int fd, int64_t size_bytes) noexcept nogil:
    return refuse() if is_due(CALL_FTRUNCATE) else real.ftruncate(fd, size_bytes)


cdef int faulty_fdatasync(int fd) noexcept nogil:
    return refuse() if is_due(CALL_FDATASYNC) else real.fdatasync(fd)


cdef int faulty_fsync(int fd) noexcept nogil:
    return refuse() if is_due(CALL_FSYNC) else real.fsync(fd)


cdef int faulty_rename(const char *old, const char *new) noexcept nogil:
    return refuse() if is_due(CALL_RENAME) else real.rename(old, new)


cdef int faulty_unlink(const char *path) noexcept nogil:
    return refuse() if is_due(CALL_UNLINK) else real.unlink(path)


cdef class Faults:
    def __init__(self, calls=NAMES, *, int64_t nth=0, int error=0, bint forever=False, bint torn=False, bint deadly=False):
        self.chosen = frozenset((calls,) if isinstance(calls, str) else calls)
        if not self.chosen <= set(NAMES):
            raise ValueError(f"unknown file calls: {sorted(self.chosen - set(NAMES))}")
        self.nth = nth
        self.error = error
        self.forever = forever
        self.torn = torn
        self.deadly = deadly

    def __enter__(self):
        global matches, real, is_installed
        if is_installed:
            raise RuntimeError("another Faults is entered already")
        is_installed = True
        matches = 0
        for call, name in enumerate(NAMES):
            counts[<int> call] = 0
            plan.chosen[<int> call] = name in self.chosen
        plan.nth = self.nth
        plan.error = self.error
        plan.forever = self.forever
        plan.torn = self.torn
        plan.deadly = self.deadly
        real = file_calls
        file_calls.open = faulty_open
        file_calls.close = faulty_close
        file_calls.pread = faulty_pread
        file_calls.pwrite = faulty_pwrite
        file_calls.ftruncate = faulty_ftruncate
        file_calls.fdatasync = faulty_fdatasync
        file_calls.fsync = faulty_fsync
        file_calls.rename = faulty_rename
        file_calls.unlink = faulty_unlink
        return self

    def __exit__(self, *error):
        global is_installed
        copy_table(&real, &file_calls)
        is_installed = False

    @property
    def matched(self):
        return matches

    def count(self, str name):
        return counts[<int> NAMES.index(name)]


cdef void copy_table(const FileCalls *source, FileCalls *target) noexcept nogil:
    target[0] = source[0]
