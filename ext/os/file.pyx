"""The one place where files are opened, read, written, synced, renamed and removed.

C callers use the nogil functions (negative errno); Python callers use those at the end, which raise StorageError or
StorageFullError with the path and the action. Everything goes through the table `file_calls`, so that a test can make any
single call fail. Writes may be cut short by the system (a nearly full disk, a signal), so both directions loop.
A sync is never retried: after a failed one the kernel may have dropped the pages, and a second call would lie.
"""

import os as _os

from libc.errno cimport EDQUOT, EFBIG, EINTR, EIO, ENOSPC, errno
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset
from posix.fcntl cimport O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_RDWR
from posix.stat cimport fstat, struct_stat

from tsengine.errors import StorageError, StorageFullError

cdef extern from "<fcntl.h>" nogil:
    int c_open "open"(const char *path, int flags, ...) noexcept

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd) noexcept
    ssize_t c_pread "pread"(int fd, void *data, size_t size, int64_t offset) noexcept
    ssize_t c_pwrite "pwrite"(int fd, const void *data, size_t size, int64_t offset) noexcept
    int c_ftruncate "ftruncate"(int fd, int64_t size) noexcept
    int c_unlink "unlink"(const char *path) noexcept

cdef extern from "<stdio.h>" nogil:
    int c_rename "rename"(const char *old, const char *new) noexcept

cdef extern from "os/platform.h" nogil:
    int platform_sync(int fd) noexcept
    int platform_sync_data(int fd) noexcept
    int platform_allocate(int fd, int64_t offset, int64_t size_bytes) noexcept

cdef enum:
    FILE_MODE = 0o600
    ZERO_BYTES = 65536

cdef unsigned char zeros[ZERO_BYTES]
memset(zeros, 0, ZERO_BYTES)


cdef int call_open(const char *path, int flags, uint32_t mode) noexcept nogil:
    return c_open(path, flags, mode)


cdef int call_close(int fd) noexcept nogil:
    return c_close(fd)


cdef int64_t call_pread(int fd, void *data, int64_t size_bytes, int64_t offset) noexcept nogil:
    return c_pread(fd, data, <size_t> size_bytes, offset)


cdef int64_t call_pwrite(int fd, const void *data, int64_t size_bytes, int64_t offset) noexcept nogil:
    return c_pwrite(fd, data, <size_t> size_bytes, offset)


cdef int call_ftruncate(int fd, int64_t size_bytes) noexcept nogil:
    return c_ftruncate(fd, size_bytes)


cdef int call_fdatasync(int fd) noexcept nogil:
    return platform_sync_data(fd)


cdef int call_fsync(int fd) noexcept nogil:
    return platform_sync(fd)


cdef int call_rename(const char *old, const char *new) noexcept nogil:
    return c_rename(old, new)


cdef int call_unlink(const char *path) noexcept nogil:
    return c_unlink(path)


file_calls.open = call_open
file_calls.close = call_close
file_calls.pread = call_pread
file_calls.pwrite = call_pwrite
file_calls.ftruncate = call_ftruncate
file_calls.fdatasync = call_fdatasync
file_calls.fsync = call_fsync
file_calls.rename = call_rename
file_calls.unlink = call_unlink


cdef int file_open(const char *path, int flags) noexcept nogil:
    cdef int fd
    while True:
        fd = file_calls.open(path, flags | O_CLOEXEC, FILE_MODE)
        if fd >= 0:
            return fd
        if errno != EINTR:
            return -errno


cdef int file_close(int fd) noexcept nogil:
    # The descriptor is gone even after EINTR; a second close could hit a file that another thread just opened.
    if file_calls.close(fd) < 0 and errno != EINTR:
        return -errno
    return 0


cdef int64_t file_size(int fd) noexcept nogil:
    cdef struct_stat status
    if fstat(fd, &status) < 0:
        return -errno
    return status.st_size


cdef int64_t file_read(int fd, void *data, int64_t size_bytes, int64_t offset) noexcept nogil:
    cdef int64_t done_bytes = 0, count
    while done_bytes < size_bytes:
        count = file_calls.pread(fd, <char *> data + done_bytes, size_bytes - done_bytes, offset + done_bytes)
        if count > 0:
            done_bytes += count
        elif count == 0:
            break
        elif errno != EINTR:
            return -errno
    return done_bytes


cdef int file_write(int fd, const void *data, int64_t size_bytes, int64_t offset) noexcept nogil:
    cdef int64_t done_bytes = 0, count
    while done_bytes < size_bytes:
        count = file_calls.pwrite(fd, <const char *> data + done_bytes, size_bytes - done_bytes, offset + done_bytes)
        if count > 0:
            done_bytes += count
        elif count == 0:
            return -EIO  # a device that takes nothing and reports nothing would spin here for ever
        elif errno != EINTR:
            return -errno
    return 0


cdef int file_zero(int fd, int64_t size_bytes, int64_t offset) noexcept nogil:
    cdef int64_t step_bytes
    cdef int status
    while size_bytes > 0:
        step_bytes = min(size_bytes, <int64_t> ZERO_BYTES)
        status = file_write(fd, zeros, step_bytes, offset)
        if status < 0:
            return status
        offset += step_bytes
        size_bytes -= step_bytes
    return 0


cdef int file_truncate(int fd, int64_t size_bytes) noexcept nogil:
    while file_calls.ftruncate(fd, size_bytes) < 0:
        if errno != EINTR:
            return -errno
    return 0


cdef int file_sync_data(int fd) noexcept nogil:
    return -errno if file_calls.fdatasync(fd) < 0 else 0


cdef int file_sync(int fd) noexcept nogil:
    return -errno if file_calls.fsync(fd) < 0 else 0


cdef int file_rename(const char *old, const char *new) noexcept nogil:
    return -errno if file_calls.rename(old, new) < 0 else 0


cdef int file_unlink(const char *path) noexcept nogil:
    return -errno if file_calls.unlink(path) < 0 else 0


cdef int folder_sync(const char *path) noexcept nogil:
    cdef int status, fd = file_open(path, O_RDONLY | O_DIRECTORY)
    if fd < 0:
        return fd
    status = file_sync(fd)
    file_close(fd)
    return status


# ---- for Python callers -------------------------------------------------------------------------------------------------


def storage_error(int error, str action, path):
    if error in (ENOSPC, EDQUOT, EFBIG):
        return StorageFullError(error, f"could not {action}: {_os.strerror(error)}; free some space and try again", str(path))
    return StorageError(error, f"could not {action}: {_os.strerror(error)}", str(path))


def open_file(path, *, bint write=False, bint create=False):
    cdef bytes name = _os.fsencode(path)
    cdef const char *text = name
    cdef int fd, flags = O_RDWR | O_CREAT | O_EXCL if create else O_RDWR if write else O_RDONLY
    with nogil:
        fd = file_open(text, flags)
    if fd < 0:
        raise storage_error(-fd, "create" if create else "open", path)
    return fd


def close_file(int fd, path):
    cdef int status
    with nogil:
        status = file_close(fd)
    if status < 0:
        raise storage_error(-status, "close", path)


def size_of(int fd, path):
    cdef int64_t size_bytes = file_size(fd)
    if size_bytes < 0:
        raise storage_error(<int> -size_bytes, "get the size", path)
    return size_bytes


def write_at(int fd, const unsigned char[::1] data, int64_t offset, path):
    cdef int64_t size_bytes = data.shape[0]
    cdef const unsigned char *source = &data[0] if size_bytes > 0 else zeros
    cdef int status
    with nogil:
        status = file_write(fd, source, size_bytes, offset)
    if status < 0:
        raise storage_error(-status, f"write {size_bytes} bytes at {offset}", path)


def truncate_file(int fd, int64_t size_bytes, path):
    cdef int status
    with nogil:
        status = file_truncate(fd, size_bytes)
    if status < 0:
        raise storage_error(-status, f"cut to {size_bytes} bytes", path)


def sync_file(int fd, path):
    cdef int status
    with nogil:
        status = file_sync(fd)
    if status < 0:
        raise storage_error(-status, "sync", path)


def allocate_file(int fd, int64_t offset, int64_t size_bytes, path):
    cdef int error = EINTR
    with nogil:
        while error == EINTR:
            error = platform_allocate(fd, offset, size_bytes)
    if error:
        raise storage_error(error, f"take {size_bytes} bytes", path)


def sync_folder(path):
    cdef bytes name = _os.fsencode(path)
    cdef const char *text = name
    cdef int status
    with nogil:
        status = folder_sync(text)
    if status < 0:
        raise storage_error(-status, "sync the folder", path)


def rename_file(old, new):
    cdef bytes old_name = _os.fsencode(old), new_name = _os.fsencode(new)
    cdef const char *old_text = old_name
    cdef const char *new_text = new_name
    cdef int status
    with nogil:
        status = file_rename(old_text, new_text)
    if status < 0:
        raise storage_error(-status, f"rename to {new}", old)


def remove_file(path):
    cdef bytes name = _os.fsencode(path)
    cdef const char *text = name
    cdef int status
    with nogil:
        status = file_unlink(text)
    if status < 0:
        raise storage_error(-status, "remove", path)
