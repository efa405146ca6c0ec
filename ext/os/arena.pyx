"""Memory that only grows and is freed all at once.

Large slabs are mapped, small ones come from the heap: freed heap pages are kept for later by the allocator, and a memtable
that was sealed has to leave the process at once for memory to stay within its budget. A large slab is one huge page, where
the system has them: the first touches of ordinary pages took a seventh of the time of small points in large batches.
"""

from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, madvise, mmap, munmap

from cpython.exc cimport PyErr_NoMemory

cdef extern from "<sys/mman.h>" nogil:
    """
    #ifndef MADV_HUGEPAGE
    #define MADV_HUGEPAGE MADV_NORMAL
    #endif
    """
    int MADV_HUGEPAGE

cdef enum:
    PAGE_BYTES = 65536                  # whole pages of every system: 4 KiB on x86-64, up to 64 KiB on arm64
    SLAB_BYTES_FIRST = 4096             # an idle store should cost next to nothing
    SLAB_BYTES_MAX = 2097152            # a huge page; larger only for what does not fit


cdef inline ArenaSlab* new_slab(size_t size_bytes) noexcept nogil:
    cdef char* mapped
    cdef size_t before
    if size_bytes < SLAB_BYTES_MAX:
        return <ArenaSlab*> malloc(size_bytes)
    mapped = <char*> mmap(NULL, size_bytes + SLAB_BYTES_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if mapped == <char*> MAP_FAILED:
        return NULL
    before = -<uintptr_t> mapped & (SLAB_BYTES_MAX - 1)             # up to where a huge page can begin
    if before:
        munmap(mapped, before)
    if SLAB_BYTES_MAX - before:
        munmap(mapped + before + size_bytes, SLAB_BYTES_MAX - before)
    madvise(mapped + before, size_bytes, MADV_HUGEPAGE)             # a wish: without it the pages are ordinary ones
    return <ArenaSlab*> (mapped + before)


cdef inline void free_slab(ArenaSlab* slab) noexcept nogil:
    if slab.size_bytes < SLAB_BYTES_MAX:
        free(slab)
    else:
        munmap(slab, slab.size_bytes)


cdef class Arena:
    def __dealloc__(self):
        cdef ArenaSlab* slab = self.slabs
        cdef ArenaSlab* following
        while slab != NULL:
            following = slab.next
            free_slab(slab)
            slab = following

    cdef void* take(self, size_t size_bytes) except NULL nogil:
        """Return memory of this size (at least 8 bytes), aligned to 8, that stay valid as long as the arena does."""
        cdef size_t rounded = (max(size_bytes, <size_t> 1) + 7) & ~<size_t> 7
        cdef void* taken
        if rounded > self.free_bytes or self.free == NULL:      # NULL would mean failure, also for no bytes at all
            self._grow(rounded)
        taken = self.free
        self.free += rounded
        self.free_bytes -= rounded
        return taken

    cdef int _grow(self, size_t needed) except -1 nogil:
        cdef size_t size_bytes = self.size_bytes        # doubles: as much again as there is
        cdef ArenaSlab* slab
        if size_bytes < SLAB_BYTES_FIRST:
            size_bytes = SLAB_BYTES_FIRST
        if size_bytes > SLAB_BYTES_MAX:
            size_bytes = SLAB_BYTES_MAX
        if size_bytes < needed:
            size_bytes = needed
        size_bytes += sizeof(ArenaSlab)
        if size_bytes > SLAB_BYTES_MAX:             # mapped: whole pages, and a huge one holds its header, too
            size_bytes = max(<size_t> SLAB_BYTES_MAX, (needed + sizeof(ArenaSlab) + PAGE_BYTES - 1) & ~<size_t> (PAGE_BYTES - 1))
        slab = new_slab(size_bytes)
        if slab == NULL:
            with gil:
                PyErr_NoMemory()
            return -1
        slab.next = self.slabs
        slab.size_bytes = size_bytes
        self.slabs = slab
        self.free = <char*> slab + sizeof(ArenaSlab)
        self.free_bytes = size_bytes - sizeof(ArenaSlab)
        self.size_bytes += size_bytes
        return 0
