"""Long text to fewer bytes and back: Zstandard, level 1.

The library is that of Python 3.14 (`compression.zstd`) or its backport. It is imported when the first long text is written or
read, never with the store: it takes a few milliseconds. It releases the GIL while it works.
"""

import sys

from libc.stdint cimport int64_t

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory

from tsengine.errors import CorruptionError

cdef enum:
    LEVEL = 1                   # measured: at most 2 % larger than level 3, and twice as fast
    WINDOW_LOG_MAX = 24         # a frame may make its reader hold 16 MB; the text of a block has at most 10.5

cdef object library = None


cdef object zstd():
    global library
    if library is None:
        if sys.version_info >= (3, 14):
            from compression import zstd as library_found
        else:
            from backports import zstd as library_found
        library = library_found
    return library


cdef bytes text_compress(const char* text, int64_t size):
    return zstd().compress(PyMemoryView_FromMemory(<char*> text, size, PyBUF_READ), LEVEL)


cdef bytes text_expand(const char* data, int64_t size, int64_t text_bytes):
    module = zstd()
    try:
        expander = module.ZstdDecompressor(options={module.DecompressionParameter.window_log_max: WINDOW_LOG_MAX})
        # One byte more than there may be: the end of the frame is only noticed behind its last byte.
        text = expander.decompress(PyMemoryView_FromMemory(<char*> data, size, PyBUF_READ), text_bytes + 1)
    except module.ZstdError:
        return None
    if not expander.eof or expander.unused_data or PyBytes_GET_SIZE(text) != text_bytes:
        return None
    return text


# ---- the Python-visible doors ----

def compress(data: bytes) -> bytes:
    return text_compress(data, PyBytes_GET_SIZE(data))


def expand(data: bytes, text_bytes: int) -> bytes:
    text = text_expand(data, PyBytes_GET_SIZE(data), text_bytes)
    if text is None:
        raise CorruptionError("compressed text", expected=f"a Zstandard frame of {text_bytes} bytes", found="something else")
    return text
