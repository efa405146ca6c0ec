"""The folder of WAL files: frames are written to the newest, read from all, and trimmed files are written again.

Life of a file: made as a draft, or taken from the spares; named `.wal` once its header is on disk; filled with frames; left
when the next frame would pass `file_bytes`; trimmed to a spare, or removed, when nobody needs its records.
One thread at a time writes (the leader of wal.pyx); trim and read may run beside it. Format: docs/format/wal.md.
"""

import os
import threading

from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport EDQUOT, EFBIG, ENOENT, ENOSPC
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from tsengine.core.log.frame cimport (
    FILE_HEADER_BYTES,
    FLAG_RECYCLED,
    FRAME_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    FileHeader,
    FrameHeader,
    FrameWalker,
    RecordHeader,
    file_header_fill,
    file_seed,
    frame_header_fill,
    record_bytes,
    record_crc,
)
from tsengine.core.log.recovery cimport Recovery
from tsengine.core.os.file cimport file_close, file_sync_data, file_truncate, file_write, file_zero

from tsengine.core.log.recovery import DRAFT_NAME, SPARE_SUFFIX, SUFFIX, list_files
from tsengine.core.os.file import (
    close_file,
    open_file,
    remove_file,
    rename_file,
    size_of,
    storage_error,
    sync_file,
    sync_folder,
    truncate_file,
    write_at,
)
from tsengine.errors import CorruptionError, NotFoundError, StorageError, StorageFullError
from tsengine.notices import logger

cdef enum:
    # Zeros are written ahead, because overwriting syncs in 2/3 of the time of appending: as many as the file has, within these bounds.
    # A store that is opened for one write does not wait for a mebibyte.
    AHEAD_BYTES_MIN = 1 << 16
    AHEAD_BYTES_MAX = 1 << 20
    BUFFER_BYTES = 1 << 20          # frames up to this are one pwrite
    SPARE_FILES_MAX = 2             # trimmed files kept for reuse


cdef class WalFolder:
    def __cinit__(self, str path, bint sync, int64_t file_bytes):
        self.fd = -1
        self.folder = path
        self.sync = sync
        self.file_bytes = file_bytes
        self.files = []
        self.closed_bytes = {}
        self.spares = []
        self.trim_lock = threading.Lock()
        self.buffer = <unsigned char *> malloc(BUFFER_BYTES)
        if self.buffer == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.buffer)
        if self.fd >= 0:
            file_close(self.fd)

    cdef Recovery recover(self, int64_t applied, int64_t newest, int64_t reach, deliver):
        cdef Recovery recovery
        cdef int64_t last_seq
        self.make_folder()
        recovery = Recovery(self.folder, applied, self.sync, deliver, reach)
        recovery.run()
        self.files = recovery.files
        self.closed_bytes = {path: os.path.getsize(path) for _, path in self.files}
        self.clear_leftovers()
        last_seq = max(recovery.last_seq, applied, newest)
        if self.sync:
            self.synced_seq = last_seq
        if self.files and recovery.last_seq == last_seq and recovery.end_offset < self.file_bytes:
            self.continue_file(recovery.end_offset)
        elif self.rotate(last_seq + 1, recovery.last_seq if self.files else last_seq) != OUTCOME_DONE:
            raise self.trouble
        return recovery

    cdef object make_folder(self):
        if os.path.isdir(self.folder):
            return
        try:
            os.makedirs(self.folder, mode=0o700)
        except OSError as error:
            raise storage_error(error.errno, "make the folder", self.folder) from error
        sync_folder(os.path.dirname(self.folder))

    cdef object clear_leftovers(self):
        self.spares = []
        draft = os.path.join(self.folder, DRAFT_NAME)
        if os.path.exists(draft):
            remove_file(draft)
        for _, path in list_files(self.folder, SPARE_SUFFIX):
            if len(self.spares) < SPARE_FILES_MAX:
                self.spares.append(path)
            else:
                remove_file(path)

    cdef object continue_file(self, int64_t end_offset):
        cdef FrameWalker walker
        first_seq, path = self.files[len(self.files) - 1]
        del self.closed_bytes[path]
        walker = FrameWalker(path, first_seq)
        self.header = walker.header
        self.seed = walker.seed
        walker.close()
        self.fd = open_file(path, write=True)
        self.path = path
        self.position = end_offset
        self.allocated_bytes = size_of(self.fd, path)

    cdef Outcome write(self, const Staged *items, int64_t count, int64_t body_bytes, int64_t first_seq) noexcept nogil:
        cdef int64_t frame_bytes = FRAME_HEADER_BYTES + body_bytes
        cdef Outcome outcome
        if self.position + frame_bytes > self.file_bytes and self.position > FILE_HEADER_BYTES:
            with gil:
                outcome = self.rotate(first_seq, first_seq - 1)
            if outcome != OUTCOME_DONE:
                return outcome
        self.error = self.make_room(frame_bytes)
        if self.error == 0:
            self.error = self.write_frame(items, count, body_bytes, first_seq)
        if self.error < 0:
            # The frame is incomplete: cut it off now, or before the next one if even that fails.
            self.is_torn = True
            self.action = "write to the log"
            if self.error in (-ENOSPC, -EDQUOT, -EFBIG):
                self.is_tight = True
                self.make_room(0)
                return OUTCOME_REFUSED
            return OUTCOME_FAILED
        if self.sync:
            self.error = file_sync_data(self.fd)
            if self.error < 0:
                self.action = "sync the log"
                return OUTCOME_FAILED
            self.synced_seq = first_seq + count - 1
        self.position = self.position + frame_bytes
        return OUTCOME_DONE

    cdef int make_room(self, int64_t frame_bytes) noexcept nogil:
        cdef int64_t end_offset = self.position + frame_bytes
        cdef int64_t ahead_bytes = min(max(self.position, <int64_t> AHEAD_BYTES_MIN), <int64_t> AHEAD_BYTES_MAX)
        cdef int status
        if self.is_torn:
            status = file_truncate(self.fd, self.position)
            if status < 0:
                return status
            self.is_torn = False
            self.allocated_bytes = self.position
        if end_offset > self.allocated_bytes and 0 < frame_bytes <= AHEAD_BYTES_MAX and not self.is_tight:
            # Best effort: when there is no room for zeros there may still be room for the frame. What zeros took is given
            # back, and no more are written in this file: the stores need what is left of the disk.
            if file_zero(self.fd, ahead_bytes, end_offset) == 0:
                self.allocated_bytes = end_offset + ahead_bytes
            else:
                self.is_tight = True
                status = file_truncate(self.fd, self.allocated_bytes)
                if status < 0:
                    return status
        return 0

    cdef int write_frame(self, const Staged *items, int64_t count, int64_t body_bytes, int64_t first_seq) noexcept nogil:
        cdef int64_t i, offset = self.position, used = FRAME_HEADER_BYTES, need, padding
        cdef RecordHeader record
        cdef const Staged *item
        cdef int status
        frame_header_fill(<FrameHeader *> self.buffer, self.seed, first_seq, self.synced_seq, body_bytes, <uint32_t> count)
        for i in range(count):
            item = &items[i]
            need = record_bytes(item.length)
            padding = need - RECORD_HEADER_BYTES - item.length
            if used + need > BUFFER_BYTES:
                status = file_write(self.fd, self.buffer, used, offset)
                if status < 0:
                    return status
                offset += used
                used = 0
            record.length = item.length
            record.seq = first_seq + i
            record.crc = record_crc(self.seed, record.seq, item.length, item.data)
            memcpy(self.buffer + used, &record, RECORD_HEADER_BYTES)
            used += RECORD_HEADER_BYTES
            if need > BUFFER_BYTES:  # longer than the buffer: written from where it is, without a copy
                status = file_write(self.fd, self.buffer, used, offset)
                if status == 0:
                    status = file_write(self.fd, item.data, item.length, offset + used)
                if status < 0:
                    return status
                offset += used + item.length
                used = 0
            else:
                memcpy(self.buffer + used, item.data, item.length)
                used += item.length
            memset(self.buffer + used, 0, padding)
            used += padding
        status = file_write(self.fd, self.buffer, used, offset)
        if status == 0 and offset + used > self.allocated_bytes:
            self.allocated_bytes = offset + used
        return status

    cdef Outcome rotate(self, int64_t first_seq, int64_t previous_seq) noexcept:
        # A file gets its .wal name only when its header is on disk, so that a .wal file with a bad header is damage.
        cdef FileHeader header
        cdef uint64_t salt
        cdef Outcome outcome = OUTCOME_REFUSED
        cdef bytes random
        fd = -1
        spare = draft = None
        try:
            random = os.urandom(8)
            memcpy(&salt, PyBytes_AS_STRING(random), 8)
            spare = self.spares.pop() if self.spares else None
            draft = spare or os.path.join(self.folder, DRAFT_NAME)
            path = os.path.join(self.folder, f"{first_seq:020}{SUFFIX}")
            if spare is None and os.path.exists(draft):
                remove_file(draft)
            fd = open_file(draft, write=True, create=spare is None)
            file_header_fill(&header, first_seq, previous_seq, self.synced_seq, salt, FLAG_RECYCLED if spare else 0)
            write_at(fd, (<unsigned char *> &header)[:FILE_HEADER_BYTES], 0, draft)
            size_bytes = size_of(fd, draft)
            outcome = OUTCOME_FAILED
            sync_file(fd, draft)
            outcome = OUTCOME_REFUSED
            rename_file(draft, path)
            draft = None
            outcome = OUTCOME_FAILED
            sync_folder(self.folder)
            if self.fd >= 0:
                self.closed_bytes[self.path] = self.allocated_bytes
                old_fd, self.fd = self.fd, -1
                close_file(old_fd, self.path)
        except BaseException as error:
            self.trouble = error
            if fd >= 0:
                os.close(fd)
            if draft is not None and fd >= 0:
                try:
                    remove_file(draft)
                except StorageError as second:
                    error.add_note(f"and could not remove {draft}: {second}")
            elif spare is not None and fd < 0:
                self.spares.append(spare)
            return outcome
        self.files.append((first_seq, path))
        self.fd = fd
        self.path = path
        self.header = header
        self.seed = file_seed(&header)
        self.position = FILE_HEADER_BYTES
        self.allocated_bytes = size_bytes
        self.is_torn = self.is_tight = False
        return OUTCOME_DONE

    cdef int close(self, bint is_clean, int64_t last_seq) except -1:
        if self.fd < 0:
            return 0
        try:
            if is_clean:
                self.shrink(last_seq)
                self.finish_file(last_seq)
        finally:
            fd, self.fd = self.fd, -1
            close_file(fd, self.path)
        return 0

    cdef int shrink(self, int64_t last_seq) except -1:
        # A closed store has no use for files that would be written again, nor for records that nobody needs.
        try:
            if self.trimmed_seq >= last_seq and self.position > FILE_HEADER_BYTES:
                if self.rotate(last_seq + 1, last_seq) == OUTCOME_DONE:
                    self.trim(last_seq)
            while self.spares:
                remove_file(self.spares.pop())
        except StorageError as error:       # only space is lost; a full disk may have no room for another file
            logger(__name__).warning("the log keeps files that it does not need: %s", error)
        return 0

    cdef int finish_file(self, int64_t last_seq) except -1:
        # The witness says that all before it had been on disk, so that damage to the very last frame is told from a torn
        # tail; and the next open has no bytes behind the end to look through.
        cdef FrameHeader frame
        if not self.sync:
            for _, path in self.files[:len(self.files) - 1]:
                fd = open_file(path)
                try:
                    sync_file(fd, path)
                finally:
                    close_file(fd, path)
        sync_file(self.fd, self.path)
        if self.position > FILE_HEADER_BYTES and not self.is_torn:
            frame_header_fill(&frame, self.seed, last_seq + 1, last_seq, 0, 0)
            try:
                write_at(self.fd, (<unsigned char *> &frame)[:FRAME_HEADER_BYTES], self.position, self.path)
                self.position += FRAME_HEADER_BYTES
            except StorageFullError:
                pass  # the log is complete without it
        truncate_file(self.fd, self.position, self.path)
        sync_file(self.fd, self.path)
        return 0

    cdef object take_error(self):
        # The error of the last outcome that was not OUTCOME_DONE.
        error, self.trouble = self.trouble, None
        return error or storage_error(-self.error, (<bytes> self.action).decode(), self.path)

    def read(self, int64_t from_seq, int64_t last_seq):
        cdef FrameWalker walker
        cdef int64_t seq, place, reached
        if from_seq > last_seq:
            return
        self.reader_count += 1
        try:
            files = list(self.files)
            if from_seq < files[0][0]:
                raise NotFoundError(f"the log begins at sequence {files[0][0]}, {from_seq} was trimmed")
            reached = -1
            place = max(i for i, (first_seq, _) in enumerate(files) if first_seq <= from_seq)
            for first_seq, path in files[place:]:
                try:
                    walker = FrameWalker(path, first_seq)
                except StorageError as error:
                    if error.errno == ENOENT:
                        raise NotFoundError(f"the records from sequence {first_seq} on were trimmed while they were read") from error
                    raise
                if reached >= 0 and walker.previous_seq != reached:
                    raise CorruptionError(f"log at sequence {reached + 1}", file=walker.path, expected=f"sequence {reached + 1}",
                                          found=f"{walker.next_seq}")
                while (seq := walker.next_seq) <= last_seq and (records := walker.next_frame()) is not None:
                    for record in records:
                        if seq >= from_seq:
                            yield seq, record
                        seq += 1
                reached = walker.next_seq - 1
                offset = walker.offset
                walker.close()
                if reached >= last_seq:
                    return
            raise CorruptionError(f"log at sequence {reached + 1}", file=path, offset=offset, expected="a frame",
                                  found="none that verifies")
        finally:
            self.reader_count -= 1

    cdef int trim(self, int64_t seq) except -1:
        with self.trim_lock:
            self.trimmed_seq = max(self.trimmed_seq, seq)
            is_changed = False
            freed = []
            while len(self.files) > 1 and self.files[1][0] <= seq + 1:
                _, path = self.files.pop(0)
                size_bytes = self.closed_bytes.pop(path)
                is_changed = True
                # A reader may have the file open, and a longer one would keep its size for ever.
                is_kept = size_bytes <= self.file_bytes + AHEAD_BYTES_MAX and len(self.spares) + len(freed) < SPARE_FILES_MAX
                if self.reader_count or not is_kept:
                    remove_file(path)
                else:
                    spare = path.removesuffix(SUFFIX) + SPARE_SUFFIX
                    rename_file(path, spare)
                    freed.append(spare)
            if is_changed:
                # Before a spare gets a new header: the old name must not come back in front of it.
                sync_folder(self.folder)
                self.spares.extend(freed)
        return 0

    cdef int64_t count_bytes(self) except -1:
        return sum(self.closed_bytes.values()) + self.allocated_bytes
