"""CRC-32C (Castagnoli) of everything on disk, by the CPU's instruction where it has one."""

from libc.stdint cimport uint8_t, uint32_t


cdef extern from "codec/crc32c.h" nogil:
    ctypedef uint32_t (*crc32c_update)(uint32_t crc, const uint8_t* data, size_t size) noexcept nogil
    crc32c_update crc32c_choose()


cdef crc32c_update update = crc32c_choose()


cdef uint32_t crc32c(const uint8_t* data, size_t size, uint32_t seed) noexcept nogil:
    return ~update(~seed, data, size)


def checksum(data, uint32_t seed=0) -> int:
    cdef const uint8_t[::1] source = memoryview(data).cast("B")
    cdef uint32_t result
    if source.shape[0] == 0:
        return seed
    with nogil:
        result = crc32c(&source[0], <size_t> source.shape[0], seed)
    return result


# Python sees the name of the C function, which Cython does not allow to be defined twice.
globals()["crc32c"] = checksum
