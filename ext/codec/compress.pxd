# Long text to fewer bytes and back; needs the GIL, but works without it.

from libc.stdint cimport int64_t

# One Zstandard frame.
cdef bytes text_compress(const char* text, int64_t size)

# The text of exactly one frame, or None if it is damaged or has another length. Memory: text_bytes and 16 MB at most.
cdef bytes text_expand(const char* data, int64_t size, int64_t text_bytes)
