"""The bytes of a WAL file, and the walker that reads frames back and believes nothing unverified.

A frame counts only when its header and every record in it verify; then all of it counts. A frame without records is a
witness: it says by its `synced_seq` what had been on disk. The walker never changes a file. Format: docs/format/wal.md.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from tsengine.core.codec.crc32c cimport crc32c
from tsengine.core.limits cimport BATCH_BYTES
from tsengine.core.os.file cimport file_read, file_size, file_sync_data

from tsengine.core.os.file import close_file, open_file, storage_error
from tsengine.errors import CorruptionError, StorageError

cdef enum:
    WINDOW_BYTES = 1 << 20          # read at once; larger records are read directly

cdef const unsigned char *FILE_MAGIC = b"tsenWAL\n"


cdef int64_t record_bytes(int64_t length) noexcept nogil:
    return RECORD_HEADER_BYTES + ((length + 7) & ~<int64_t> 7)


cdef uint32_t record_crc(uint32_t seed, int64_t seq, uint32_t length, const void *payload) noexcept nogil:
    cdef unsigned char key[12]
    memcpy(key, &seq, 8)
    memcpy(key + 8, &length, 4)
    return crc32c(<const uint8_t *> payload, length, crc32c(key, 12, seed))


cdef uint32_t file_seed(const FileHeader *header) noexcept nogil:
    return crc32c(<const uint8_t *> &header.salt, 8, 0)


cdef uint32_t file_header_crc(const FileHeader *header) noexcept nogil:
    cdef FileHeader copy = header[0]
    copy.crc = 0
    return crc32c(<const uint8_t *> &copy, FILE_HEADER_BYTES, 0)


cdef uint32_t frame_header_crc(const FrameHeader *header, uint32_t seed) noexcept nogil:
    return crc32c(<const uint8_t *> header + 8, FRAME_HEADER_BYTES - 8, seed)


cdef void file_header_fill(FileHeader *header, int64_t first_seq, int64_t previous_seq, int64_t synced_seq, uint64_t salt,
                           uint32_t flags) noexcept nogil:
    memset(header, 0, FILE_HEADER_BYTES)
    memcpy(header.magic, FILE_MAGIC, 8)
    header.version = WAL_VERSION
    header.first_seq = first_seq
    header.previous_seq = previous_seq
    header.synced_seq = synced_seq
    header.salt = salt
    header.flags = flags
    header.crc = file_header_crc(header)


cdef void frame_header_fill(FrameHeader *header, uint32_t seed, int64_t first_seq, int64_t synced_seq, int64_t body_bytes,
                            uint32_t record_count) noexcept nogil:
    memset(header, 0, FRAME_HEADER_BYTES)
    header.magic = FRAME_MAGIC
    header.first_seq = first_seq
    header.synced_seq = synced_seq
    header.body_bytes = body_bytes
    header.record_count = record_count
    header.crc = frame_header_crc(header, seed)


cdef class FrameWalker:
    def __cinit__(self, str path, int64_t first_seq):
        self.fd = -1
        self.path = path
        self.window = <unsigned char *> malloc(WINDOW_BYTES)
        if self.window == NULL:
            raise MemoryError()
        self.fd = open_file(path)
        cdef const unsigned char *data = self.view(0, FILE_HEADER_BYTES)
        if data == NULL:
            raise CorruptionError("WAL file header", file=path, expected=f"{<int> FILE_HEADER_BYTES} bytes", found="a shorter file")
        memcpy(&self.header, data, FILE_HEADER_BYTES)
        if memcmp(self.header.magic, FILE_MAGIC, 8) != 0 or self.header.crc != file_header_crc(&self.header):
            raise CorruptionError("WAL file header", file=path, expected="the magic bytes and a matching checksum", found="others")
        if self.header.version > WAL_VERSION:
            raise StorageError(
                f"{path} was written by a newer tsengine (WAL version {self.header.version}, this one reads up to"
                f" {<int> WAL_VERSION}); open it with that one"
            )
        if self.header.first_seq != first_seq:
            raise CorruptionError("WAL file header", file=path, expected=f"sequence {first_seq}", found=f"{self.header.first_seq}")
        self.seed = file_seed(&self.header)
        self.offset = FILE_HEADER_BYTES
        self.next_seq = first_seq

    def __dealloc__(self):
        self.close()
        free(self.window)

    def close(self):
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            close_file(fd, self.path)

    @property
    def previous_seq(self):
        return self.header.previous_seq

    @property
    def synced_seq(self):
        return self.header.synced_seq

    @property
    def is_recycled(self):
        return bool(self.header.flags & FLAG_RECYCLED)

    @property
    def size_bytes(self):
        cdef int64_t size_bytes = file_size(self.fd)
        if size_bytes < 0:
            raise storage_error(<int> -size_bytes, "get the size", self.path)
        return size_bytes

    def sync(self):
        cdef int status
        with nogil:
            status = file_sync_data(self.fd)
        if status < 0:
            raise storage_error(-status, "sync", self.path)

    def next_frame(self):
        cdef FrameHeader header
        if not self.find_header(self.offset, &header) or header.first_seq != self.next_seq:
            return None
        records = self.read_body(self.offset, &header)
        if records is not None:
            self.offset += FRAME_HEADER_BYTES + header.body_bytes
            self.next_seq += header.record_count
        return records

    def find_witness(self, int64_t seq):
        cdef FrameHeader header
        cdef int64_t place, offset = self.offset, size_bytes = self.size_bytes
        cdef const unsigned char *data
        cdef uint32_t magic
        while offset + FRAME_HEADER_BYTES <= size_bytes:
            data = self.view(offset, FRAME_HEADER_BYTES)
            if data == NULL:
                break
            # Skim the window for the magic number before anything is verified.
            place = offset - self.window_offset
            while place + FRAME_HEADER_BYTES <= self.window_bytes:
                memcpy(&magic, self.window + place, 4)
                if magic == FRAME_MAGIC:
                    break
                place += 8
            offset = self.window_offset + place
            if place + FRAME_HEADER_BYTES > self.window_bytes:
                continue
            if (
                self.find_header(offset, &header)
                and header.first_seq >= seq
                and header.synced_seq >= seq
                and self.read_body(offset, &header) is not None
            ):
                return offset
            offset += 8
        return -1

    def count_torn_bytes(self):
        cdef FrameHeader header
        cdef int64_t offset, place, size_bytes = self.size_bytes, end_offset = self.offset
        if self.offset >= size_bytes:
            return 0
        if self.is_recycled:  # older frames lie behind the end; only a header of this life tells what was being written
            if self.find_header(self.offset, &header):
                return min(FRAME_HEADER_BYTES + header.body_bytes, size_bytes - self.offset)
            return 0
        offset = self.offset
        while offset < size_bytes:
            if self.view(offset, 1) == NULL:
                break
            place = self.window_bytes
            while place > offset - self.window_offset and self.window[place - 1] == 0:
                place -= 1
            if place > offset - self.window_offset:
                end_offset = self.window_offset + place
            offset = self.window_offset + self.window_bytes
        return end_offset - self.offset

    cdef const unsigned char *view(self, int64_t offset, int64_t size_bytes) except? NULL:
        # At most WINDOW_BYTES; NULL when the file ends before. Valid until the next call.
        cdef int64_t count
        if offset < self.window_offset or offset + size_bytes > self.window_offset + self.window_bytes:
            with nogil:
                count = file_read(self.fd, self.window, WINDOW_BYTES, offset)
            if count < 0:
                self.window_bytes = 0
                raise storage_error(<int> -count, f"read at {offset}", self.path)
            self.window_offset = offset
            self.window_bytes = count
            if count < size_bytes:
                return NULL
        return self.window + (offset - self.window_offset)

    cdef bint find_header(self, int64_t offset, FrameHeader *header) except -1:
        cdef const unsigned char *data = self.view(offset, FRAME_HEADER_BYTES)
        if data == NULL:
            return False
        memcpy(header, data, FRAME_HEADER_BYTES)
        return header.magic == FRAME_MAGIC and header.crc == frame_header_crc(header, self.seed)

    cdef list read_body(self, int64_t offset, const FrameHeader *header):
        # The records of a frame whose header verified; None when one of them does not.
        cdef list records = []
        cdef RecordHeader record
        cdef const unsigned char *data
        cdef bytes payload
        cdef char *target
        cdef int64_t end_offset, count, seq = header.first_seq
        cdef uint32_t _
        offset += FRAME_HEADER_BYTES
        end_offset = offset + header.body_bytes
        if header.body_bytes < header.record_count * <int64_t> RECORD_HEADER_BYTES or end_offset > <int64_t> self.size_bytes:
            return None
        for _ in range(header.record_count):
            data = self.view(offset, RECORD_HEADER_BYTES) if end_offset - offset >= RECORD_HEADER_BYTES else NULL
            if data == NULL:
                return None
            memcpy(&record, data, RECORD_HEADER_BYTES)
            if record.seq != seq or record.length > BATCH_BYTES or record_bytes(record.length) > end_offset - offset:
                return None
            if record_bytes(record.length) <= WINDOW_BYTES:
                data = self.view(offset, record_bytes(record.length))
                if data == NULL:
                    return None
                payload = data[RECORD_HEADER_BYTES:RECORD_HEADER_BYTES + record.length]
            else:
                payload = PyBytes_FromStringAndSize(NULL, record.length)
                target = PyBytes_AS_STRING(payload)
                with nogil:
                    count = file_read(self.fd, target, record.length, offset + RECORD_HEADER_BYTES)
                if count < 0:
                    raise storage_error(<int> -count, f"read at {offset}", self.path)
                if count < record.length:
                    return None
            if record.crc != record_crc(self.seed, seq, record.length, PyBytes_AS_STRING(payload)):
                return None
            records.append(payload)
            offset += record_bytes(record.length)
            seq += 1
        return records if offset == end_offset else None
