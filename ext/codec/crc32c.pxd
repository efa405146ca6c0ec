# CRC-32C of everything on disk.

from libc.stdint cimport uint8_t, uint32_t

# `seed` is 0, or the result for the bytes before these.
cdef uint32_t crc32c(const uint8_t* data, size_t size, uint32_t seed) noexcept nogil
