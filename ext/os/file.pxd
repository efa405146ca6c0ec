"""File calls for the compiled floors: plain C functions that return a negative errno instead of raising."""

from libc.stdint cimport int64_t, uint32_t


cdef struct FileCalls:
    # What the operating system offers, with libc's manners (-1 and errno). tests replace entries, see faulty.pyx.
    int (*open)(const char *path, int flags, uint32_t mode) noexcept nogil
    int (*close)(int fd) noexcept nogil
    int64_t (*pread)(int fd, void *data, int64_t size_bytes, int64_t offset) noexcept nogil
    int64_t (*pwrite)(int fd, const void *data, int64_t size_bytes, int64_t offset) noexcept nogil
    int (*ftruncate)(int fd, int64_t size_bytes) noexcept nogil
    int (*fdatasync)(int fd) noexcept nogil
    int (*fsync)(int fd) noexcept nogil
    int (*rename)(const char *old, const char *new) noexcept nogil
    int (*unlink)(const char *path) noexcept nogil

cdef FileCalls file_calls

# All return a negative errno on failure; the others say what they return.
cdef int file_open(const char *path, int flags) noexcept nogil                                                # the descriptor
cdef int file_close(int fd) noexcept nogil                                                                    # 0
cdef int64_t file_size(int fd) noexcept nogil                                                                 # bytes
cdef int64_t file_read(int fd, void *data, int64_t size_bytes, int64_t offset) noexcept nogil                 # bytes, short only at the end
cdef int file_write(int fd, const void *data, int64_t size_bytes, int64_t offset) noexcept nogil              # 0, all was written
cdef int file_zero(int fd, int64_t size_bytes, int64_t offset) noexcept nogil                                 # 0, all was written
cdef int file_truncate(int fd, int64_t size_bytes) noexcept nogil                                             # 0
cdef int file_sync_data(int fd) noexcept nogil                                                                # 0, content is on disk
cdef int file_sync(int fd) noexcept nogil                                                                     # 0, content and size are
cdef int file_rename(const char *old, const char *new) noexcept nogil                                         # 0
cdef int file_unlink(const char *path) noexcept nogil                                                         # 0
cdef int folder_sync(const char *path) noexcept nogil                                                         # 0
