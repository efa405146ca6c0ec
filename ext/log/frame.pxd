"""Bytes of a WAL file: headers, checksums, and a walker that verifies all of them. Format: docs/format/wal.md."""

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef enum:
    WAL_VERSION = 1
    FILE_HEADER_BYTES = 64
    FRAME_HEADER_BYTES = 40
    RECORD_HEADER_BYTES = 16
    FRAME_MAGIC = 0x4D524657        # "WFRM" as little-endian bytes
    FLAG_RECYCLED = 1               # the file held older frames; they are still behind its end

# The structs have the layout of the file: little-endian, naturally aligned, without holes.

cdef struct FileHeader:
    unsigned char magic[8]
    uint32_t version
    uint32_t crc                    # of the other 60 bytes
    int64_t first_seq               # of the first record in this file
    int64_t previous_seq            # of the last record before this file; first_seq - 1 but for a log that lost its tail
    int64_t synced_seq              # everything up to here was on disk when the file was made
    uint64_t salt                   # random; seeds all checksums of the file, so that bytes of another life never verify
    uint32_t flags
    uint32_t reserved[3]

cdef struct FrameHeader:
    uint32_t magic
    uint32_t crc                    # of the 32 bytes that follow, seeded
    int64_t first_seq
    int64_t synced_seq              # everything up to here was on disk when the frame was written
    int64_t body_bytes              # records with their headers and padding; 0 for a witness
    uint32_t record_count
    uint32_t reserved

cdef struct RecordHeader:
    uint32_t length                 # of the payload, without padding
    uint32_t crc                    # of seq, length and payload, seeded
    int64_t seq


cdef int64_t record_bytes(int64_t length) noexcept nogil            # what a payload takes in a frame
cdef uint32_t record_crc(uint32_t seed, int64_t seq, uint32_t length, const void *payload) noexcept nogil
cdef uint32_t file_seed(const FileHeader *header) noexcept nogil
cdef void file_header_fill(FileHeader *header, int64_t first_seq, int64_t previous_seq, int64_t synced_seq, uint64_t salt,
                           uint32_t flags) noexcept nogil
cdef void frame_header_fill(FrameHeader *header, uint32_t seed, int64_t first_seq, int64_t synced_seq, int64_t body_bytes,
                            uint32_t record_count) noexcept nogil


cdef class FrameWalker:
    cdef readonly str path
    cdef int fd
    cdef FileHeader header
    cdef uint32_t seed
    cdef readonly int64_t offset            # of the next frame
    cdef readonly int64_t next_seq          # that the next frame must begin with
    cdef unsigned char *window              # the part of the file that was read last
    cdef int64_t window_offset, window_bytes

    cdef const unsigned char *view(self, int64_t offset, int64_t size_bytes) except? NULL
    cdef bint find_header(self, int64_t offset, FrameHeader *header) except -1
    cdef list read_body(self, int64_t offset, const FrameHeader *header)
