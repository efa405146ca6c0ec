"""Files mapped into memory for reading. The descriptor is closed at once, so mappings cost no descriptors."""

from libc.stdint cimport int64_t, uint8_t

from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, mmap, munmap

import os

from tsengine.errors import StorageError


cdef class Mapping:
    def __cinit__(self, path):
        cdef void* address
        cdef int fd
        self.path = os.fspath(path)
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self.size_bytes = os.fstat(fd).st_size
                if self.size_bytes:
                    address = mmap(NULL, self.size_bytes, PROT_READ, MAP_SHARED, fd, 0)
                    if address == MAP_FAILED:
                        raise OSError("the kernel refused to map the file")
                    self.data = <const uint8_t*> address
            finally:
                os.close(fd)
        except OSError as error:
            raise StorageError(f"cannot read {self.path}: {error.strerror or error}") from error

    def __dealloc__(self):
        cdef void* address = <void*> self.data
        cdef int64_t size_bytes = self.size_bytes
        if address != NULL:
            with nogil:     # it may be what frees the space of a file that was unlinked: a millisecond
                munmap(address, size_bytes)
