"""The write-ahead log: it makes records durable in groups, applies them in order, and gives them back after a crash.

Life of a record: `append` stages it and promises a sequence. Whoever waits first becomes the leader: it takes everything
staged, writes one frame, syncs once, applies the group, and wakes the others with one broadcast. What is staged meanwhile
rides the next group, whose leader is one of its own waiters (or the committer thread, when they only nudged).
There is no timer, and a single writer never changes threads.

Invariants: one leader at a time; groups are written, synced and applied in the order of their sequences; finished_seq <=
written_seq <= taken_seq <= staged_seq; a thread that holds `mutex` never waits for the GIL. Format: docs/format/wal.md.
"""

import os
import sys
import threading

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_Append
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EDQUOT, EFBIG, EIO, ENOENT, ENOSPC
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from tsengine.core.limits cimport BATCH_BYTES
from tsengine.core.log.frame cimport (
    FILE_HEADER_BYTES,
    FLAG_RECYCLED,
    FRAME_HEADER_BYTES,
    RECORD_HEADER_BYTES,
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
from tsengine.errors import ClosedError, InputError, LimitError, NotFoundError, StorageError, StorageFullError

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_condattr_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_condattr_init(pthread_condattr_t *attributes)
    int pthread_condattr_destroy(pthread_condattr_t *attributes)
    int pthread_condattr_setclock(pthread_condattr_t *attributes, int clock)
    int pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes)
    int pthread_cond_destroy(pthread_cond_t *cond)
    int pthread_cond_signal(pthread_cond_t *cond)
    int pthread_cond_broadcast(pthread_cond_t *cond)
    int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const timespec *until)
    unsigned long pthread_self()

cdef enum:
    WAL_FILE_BYTES = 64 << 20       # a file is left when the next frame would pass this; only a larger frame makes it longer
    PREALLOCATE_BYTES = 1 << 20     # zeros are written ahead in such steps: overwriting syncs in 2/3 of the time of appending
    PENDING_BYTES_MAX = 64 << 20    # staged at most; beyond it append takes part in committing
    BUFFER_BYTES = 1 << 20          # frames up to this are one pwrite
    SPARE_FILES_MAX = 2             # trimmed files kept for reuse
    SLICE_NS = 100_000_000          # a waiter looks for signals this often

DURABILITIES = {"memory": DURABILITY_MEMORY, "os": DURABILITY_OS, "sync": DURABILITY_SYNC}


class Ticket(int):
    """A promised sequence. It remembers its generation, because a refused sequence is promised again to another record."""

    generation: Generation


cdef class Generation:
    def __cinit__(self):
        self.refused_from = INT64_MAX


cdef class Wal:
    def __cinit__(self, *args, **kwargs):
        self.fd = -1

    def __init__(self, folder, *, str durability="sync", int64_t file_bytes=WAL_FILE_BYTES):
        cdef pthread_condattr_t attributes
        cdef int i
        if durability not in DURABILITIES:
            raise InputError(f"durability must be one of {', '.join(DURABILITIES)}, not {durability!r}")
        if self.has_locks:
            raise InputError("a log is made once")
        self.folder = os.path.abspath(os.fspath(folder))
        self.durability = <Durability> <int> DURABILITIES[durability]
        self.file_bytes = file_bytes
        self.group_number = 1
        self.generation = Generation()
        self.files = []
        self.closed_bytes = {}
        self.spares = []
        self.listeners = ()
        self.trim_lock = threading.Lock()
        self.buffer = <unsigned char *> malloc(BUFFER_BYTES)
        if self.buffer == NULL:
            raise MemoryError()
        for i in range(2):
            records = []
            Py_INCREF(records)
            self.groups[i].records = <PyObject *> records
        pthread_mutex_init(&self.mutex, NULL)
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(&self.done[0], &attributes)
        pthread_cond_init(&self.done[1], &attributes)
        pthread_cond_init(&self.nudged, &attributes)
        pthread_condattr_destroy(&attributes)
        self.has_locks = True

    def __dealloc__(self):
        cdef int i
        for i in range(2):
            if self.groups[i].records != NULL:
                Py_DECREF(<object> self.groups[i].records)
            free(self.groups[i].items)
        free(self.buffer)
        if self.fd >= 0:
            file_close(self.fd)
        if self.has_locks:
            pthread_cond_destroy(&self.done[0])
            pthread_cond_destroy(&self.done[1])
            pthread_cond_destroy(&self.nudged)
            pthread_mutex_destroy(&self.mutex)

    # ---- opening and closing --------------------------------------------------------------------------------------------

    def start(self, int64_t applied, apply, *, int64_t newest=0):
        cdef Recovery recovery
        if self.state != STATE_NEW:
            raise ClosedError("the log was started before; make a new one")
        self.apply_group = apply
        if self.durability == DURABILITY_MEMORY:
            self.begin_at(max(applied, newest))
            self.state = STATE_OPEN
            return
        self.make_folder()
        recovery = Recovery(self.folder, applied, self.durability == DURABILITY_SYNC, apply)
        recovery.run()
        self.replayed_count = recovery.record_count
        self.torn_bytes = recovery.torn_bytes
        self.files = recovery.files
        self.closed_bytes = {path: os.path.getsize(path) for _, path in self.files[:len(self.files) - 1]}
        self.clear_leftovers()
        last_seq = max(recovery.last_seq, applied, newest)
        self.begin_at(last_seq)
        if self.files and recovery.last_seq == last_seq and recovery.end_offset < self.file_bytes:
            self.continue_file(recovery.end_offset)
        elif self.rotate(last_seq + 1, recovery.last_seq if self.files else last_seq) != OUTCOME_DONE:
            raise self.trouble
        self.state = STATE_OPEN

    cdef object make_folder(self):
        if os.path.isdir(self.folder):
            return
        try:
            os.makedirs(self.folder, mode=0o700)
        except OSError as error:
            raise storage_error(error.errno, "make the folder", self.folder) from error
        sync_folder(os.path.dirname(self.folder))

    cdef object begin_at(self, int64_t seq):
        self.staged_seq = self.taken_seq = self.written_seq = self.finished_seq = seq
        if self.durability == DURABILITY_SYNC:
            self.synced_seq = seq

    cdef object clear_leftovers(self):
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
        walker = FrameWalker(path, first_seq)
        self.header = walker.header
        self.seed = walker.seed
        walker.close()
        self.fd = open_file(path, write=True)
        self.path = path
        self.position = end_offset
        self.allocated_bytes = size_of(self.fd, path)

    def close(self):
        if self.is_committing and self.leader == pthread_self():
            raise InputError("apply and listeners cannot close the log: it waits for them")
        pthread_mutex_lock(&self.mutex)
        self.is_closing = True
        pthread_mutex_unlock(&self.mutex)
        try:
            while self.state == STATE_OPEN and self.finished_seq < self.staged_seq:
                self.wait(self.staged_seq)
        finally:
            self.stop()

    cdef object stop(self):
        # Nobody may lead any more; then the last file gets its witness and is cut to its end.
        cdef State before
        with nogil:
            pthread_mutex_lock(&self.mutex)
            before = self.state
            self.state = STATE_CLOSED
            pthread_cond_broadcast(&self.done[0])
            pthread_cond_broadcast(&self.done[1])
            pthread_cond_broadcast(&self.nudged)
            while self.is_committing:
                self.sleep(&self.done[(self.group_number - 1) & 1])
            pthread_mutex_unlock(&self.mutex)
        if before == STATE_CLOSED:
            return
        if self.committer is not None and self.committer is not threading.current_thread():
            self.committer.join()
        self.committer = None
        if self.fd < 0:
            return
        try:
            if before == STATE_OPEN:
                self.finish_file()
        finally:
            fd, self.fd = self.fd, -1
            close_file(fd, self.path)

    cdef int finish_file(self) except -1:
        # The witness says that all before it had been on disk, so that damage to the very last frame is told from a torn
        # tail; and the next open has no bytes behind the end to look through.
        cdef FrameHeader frame
        if self.durability == DURABILITY_OS:
            for first_seq, path in self.files[:len(self.files) - 1]:
                fd = open_file(path)
                try:
                    sync_file(fd, path)
                finally:
                    close_file(fd, path)
        sync_file(self.fd, self.path)
        if self.position > FILE_HEADER_BYTES and not self.is_torn:
            frame_header_fill(&frame, self.seed, self.written_seq + 1, self.written_seq, 0, 0)
            try:
                write_at(self.fd, (<unsigned char *> &frame)[:FRAME_HEADER_BYTES], self.position, self.path)
                self.position += FRAME_HEADER_BYTES
            except StorageFullError:
                pass  # the log is complete without it
        truncate_file(self.fd, self.position, self.path)
        sync_file(self.fd, self.path)
        return 0

    # ---- writers --------------------------------------------------------------------------------------------------------

    def append(self, bytes record not None):
        cdef Generation generation
        cdef int64_t seq = self.append_record(record)
        # Still the same generation: nothing since the promise let another thread run Python code.
        generation = self.generation
        ticket = Ticket(seq)
        ticket.generation = generation
        return ticket

    cdef int64_t append_record(self, bytes record) except -1:
        cdef int64_t length = PyBytes_GET_SIZE(record), seq
        cdef Group *group
        cdef Staged *items
        if length > BATCH_BYTES:
            raise LimitError(f"a record of {length} bytes is above the limit of {<int64_t> BATCH_BYTES}; split the batch")
        while True:
            pthread_mutex_lock(&self.mutex)
            if self.state != STATE_OPEN or self.is_closing:
                pthread_mutex_unlock(&self.mutex)
                raise self.explain()
            group = &self.groups[self.staging]
            if (
                group.count == 0
                or group.body_bytes + record_bytes(length) <= PENDING_BYTES_MAX
                or (self.is_committing and self.leader == pthread_self())
            ):
                break
            pthread_mutex_unlock(&self.mutex)
            self.wait(self.last_seq)
        if group.count == group.capacity:
            items = <Staged *> realloc(group.items, max(64, 2 * group.capacity) * sizeof(Staged))
            if items == NULL:
                pthread_mutex_unlock(&self.mutex)
                raise MemoryError()
            group.items = items
            group.capacity = max(64, 2 * group.capacity)
        try:
            PyList_Append(<list> group.records, record)
        except MemoryError:
            pthread_mutex_unlock(&self.mutex)
            raise
        group.items[group.count].data = <const unsigned char *> PyBytes_AS_STRING(record)
        group.items[group.count].length = <uint32_t> length
        group.count += 1
        group.body_bytes += record_bytes(length)
        self.staged_seq += 1
        seq = self.staged_seq
        pthread_mutex_unlock(&self.mutex)
        return seq

    def wait(self, object ticket):
        cdef int64_t seq = ticket
        cdef Generation generation = self.generation_of(ticket)
        cdef Group *group
        cdef Outcome outcome
        cdef int verdict
        with nogil:
            pthread_mutex_lock(&self.mutex)
            while True:
                # 1: done, 2: refused, 3: the log takes part no more, 4: never promised, 5: waiting for itself
                verdict = 0
                if seq >= generation.refused_from:
                    verdict = 2
                elif seq <= self.finished_seq:
                    verdict = 1
                elif self.state != STATE_OPEN:
                    verdict = 3
                elif seq > self.staged_seq:
                    verdict = 4
                elif self.is_committing and self.leader == pthread_self():
                    verdict = 5
                if verdict:
                    break
                if not self.is_committing:
                    group = self.take()
                    pthread_mutex_unlock(&self.mutex)
                    outcome = self.write(group)
                    with gil:
                        self.finish(group, outcome)
                    pthread_mutex_lock(&self.mutex)
                elif self.sleep(&self.done[(self.group_number - 1 if seq <= self.taken_seq else self.group_number) & 1]):
                    pthread_mutex_unlock(&self.mutex)
                    with gil:
                        PyErr_CheckSignals()
                    pthread_mutex_lock(&self.mutex)
            pthread_mutex_unlock(&self.mutex)
        if verdict == 1:
            return
        if verdict == 2:
            raise refusal(generation.error) from generation.error
        if verdict == 3:
            raise self.explain()
        if verdict == 4:
            raise InputError(f"sequence {seq} was not appended yet; the last one is {self.staged_seq}")
        raise InputError("apply and listeners cannot wait for the log: it waits for them")

    def is_done(self, object ticket):
        cdef int64_t seq = ticket
        cdef Generation generation = self.generation_of(ticket)
        if seq >= generation.refused_from:
            raise refusal(generation.error) from generation.error
        if seq <= self.finished_seq:
            return True
        if self.state != STATE_OPEN:
            raise self.explain()
        return False

    cdef Generation generation_of(self, object ticket):
        return ticket.generation if isinstance(ticket, Ticket) else self.generation

    cdef object explain(self):
        # The error for a caller whom the log cannot serve.
        if self.failure is not None:
            error = StorageError(
                getattr(self.failure, "errno", None) or EIO,
                f"the log failed ({self.failure}) and takes nothing more; close and reopen the store",
                self.folder,
            )
            error.__cause__ = self.failure
            return error
        if self.state == STATE_NEW:
            return ClosedError("the log was not started yet")
        return ClosedError("the log is closed; open the store again")

    # ---- group commit ---------------------------------------------------------------------------------------------------

    cdef Group *take(self) noexcept nogil:
        # Under the mutex. The other group was emptied by finish().
        cdef Group *group = &self.groups[self.staging]
        self.staging = 1 - self.staging
        self.group_number += 1
        self.taken_seq = self.staged_seq
        self.is_committing = True
        self.leader = pthread_self()
        return group

    cdef Outcome write(self, Group *group) noexcept nogil:
        cdef int64_t frame_bytes = FRAME_HEADER_BYTES + group.body_bytes
        cdef Outcome outcome
        if self.durability == DURABILITY_MEMORY:
            return OUTCOME_DONE
        if self.position + frame_bytes > self.file_bytes and self.position > FILE_HEADER_BYTES:
            with gil:
                outcome = self.rotate(self.taken_seq - group.count + 1, self.taken_seq - group.count)
            if outcome != OUTCOME_DONE:
                return outcome
        self.error = self.make_room(frame_bytes)
        if self.error == 0:
            self.error = self.write_frame(group)
        if self.error < 0:
            # The frame is incomplete: cut it off now, or before the next one if even that fails.
            self.is_torn = True
            self.action = "write to the log"
            if self.error in (-ENOSPC, -EDQUOT, -EFBIG):
                self.make_room(0)
                return OUTCOME_REFUSED
            return OUTCOME_FAILED
        if self.durability == DURABILITY_SYNC:
            self.error = file_sync_data(self.fd)
            if self.error < 0:
                self.action = "sync the log"
                return OUTCOME_FAILED
            self.synced_seq = self.taken_seq
        self.position += frame_bytes
        return OUTCOME_DONE

    cdef int make_room(self, int64_t frame_bytes) noexcept nogil:
        cdef int64_t end_offset = self.position + frame_bytes
        cdef int status
        if self.is_torn:
            status = file_truncate(self.fd, self.position)
            if status < 0:
                return status
            self.is_torn = False
            self.allocated_bytes = self.position
        if end_offset > self.allocated_bytes and 0 < frame_bytes <= PREALLOCATE_BYTES:
            # Best effort: when there is no room for zeros there may still be room for the frame.
            if file_zero(self.fd, PREALLOCATE_BYTES, end_offset) == 0:
                self.allocated_bytes = end_offset + PREALLOCATE_BYTES
        return 0

    cdef int write_frame(self, Group *group) noexcept nogil:
        cdef int64_t first_seq = self.taken_seq - group.count + 1, offset = self.position
        cdef int64_t i, used = FRAME_HEADER_BYTES, need, padding
        cdef RecordHeader record
        cdef Staged *item
        cdef int status
        frame_header_fill(<FrameHeader *> self.buffer, self.seed, first_seq, self.synced_seq, group.body_bytes, <uint32_t> group.count)
        for i in range(group.count):
            item = &group.items[i]
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
        self.is_torn = False
        return OUTCOME_DONE

    cdef int finish(self, Group *group, Outcome outcome) noexcept:
        # Apply what was written, tell everybody, and hand over the lead. Nothing may escape from here.
        cdef int64_t last_seq = self.taken_seq, first_seq = self.taken_seq - group.count + 1
        cdef Generation generation = None
        cdef list records = <list> group.records, taken_back = None
        cdef list fresh = []
        error = None
        if outcome == OUTCOME_DONE:
            self.written_seq = last_seq
            try:
                self.apply_group(first_seq, records)
            except BaseException as caught:
                error = caught
                outcome = OUTCOME_FAILED
        else:
            error = self.trouble or storage_error(-self.error, (<bytes> self.action).decode(), self.path)
            self.trouble = None
        if outcome == OUTCOME_REFUSED:
            generation = Generation()
            taken_back = []
        elif outcome == OUTCOME_FAILED:
            self.failure = error

        pthread_mutex_lock(&self.mutex)
        if outcome == OUTCOME_DONE:
            self.finished_seq = last_seq
        elif outcome == OUTCOME_REFUSED:
            # Those staged behind go with the group: their sequences are promised again from `first_seq` on.
            self.generation.refused_from = first_seq
            self.generation.error = error
            generation, self.generation = self.generation, generation
            taken_back = swap_records(&self.groups[self.staging], taken_back)
            self.staged_seq = self.taken_seq = first_seq - 1
        elif self.state == STATE_OPEN:
            self.state = STATE_FAILED
        swap_records(group, fresh)
        pthread_cond_broadcast(&self.done[(self.group_number - 1) & 1])
        if outcome != OUTCOME_DONE:
            pthread_cond_broadcast(&self.done[self.group_number & 1])
        pthread_mutex_unlock(&self.mutex)

        for listener in self.listeners:
            try:
                listener(self.finished_seq, error)
            except BaseException:
                sys.unraisablehook(unraisable(sys.exc_info(), listener))

        pthread_mutex_lock(&self.mutex)
        self.is_committing = False
        if self.state == STATE_CLOSED:
            pthread_cond_broadcast(&self.done[(self.group_number - 1) & 1])
        if self.groups[self.staging].count > 0:
            pthread_cond_signal(&self.done[self.group_number & 1])
            if self.nudged_seq > self.taken_seq:
                pthread_cond_signal(&self.nudged)
        pthread_mutex_unlock(&self.mutex)
        return 0

    cdef int sleep(self, pthread_cond_t *cond) noexcept nogil:
        # Under the mutex; True when a slice passed without news.
        cdef timespec until
        clock_gettime(CLOCK_MONOTONIC, &until)
        until.tv_nsec += SLICE_NS
        if until.tv_nsec >= 1_000_000_000:
            until.tv_nsec -= 1_000_000_000
            until.tv_sec += 1
        return pthread_cond_timedwait(cond, &self.mutex, &until) != 0

    def nudge(self):
        if self.state != STATE_OPEN:
            raise self.explain()
        if self.committer is None:
            with self.trim_lock:
                if self.committer is None:
                    committer = threading.Thread(target=self.commit_nudged, name="tsengine-log", daemon=True)
                    committer.start()
                    self.committer = committer
        pthread_mutex_lock(&self.mutex)
        self.nudged_seq = self.staged_seq
        if not self.is_committing:
            pthread_cond_signal(&self.nudged)
        pthread_mutex_unlock(&self.mutex)

    def commit_nudged(self):
        """Lead for those who do not wait: the life of the committer thread."""
        cdef Group *group
        cdef Outcome outcome
        with nogil:
            pthread_mutex_lock(&self.mutex)
            while self.state == STATE_OPEN:
                if self.is_committing or self.nudged_seq <= self.taken_seq or self.groups[self.staging].count == 0:
                    self.sleep(&self.nudged)
                    continue
                group = self.take()
                pthread_mutex_unlock(&self.mutex)
                outcome = self.write(group)
                with gil:
                    self.finish(group, outcome)
                pthread_mutex_lock(&self.mutex)
            pthread_mutex_unlock(&self.mutex)

    def add_listener(self, listener):
        with self.trim_lock:
            self.listeners = (*self.listeners, listener)

    def remove_listener(self, listener):
        with self.trim_lock:
            self.listeners = tuple(known for known in self.listeners if known != listener)

    # ---- what is in it --------------------------------------------------------------------------------------------------

    def read(self, int64_t from_seq):
        if self.state == STATE_CLOSED or self.state == STATE_NEW:
            raise self.explain()
        return self.read_records(from_seq, self.written_seq)

    def read_records(self, int64_t from_seq, int64_t last_seq):
        """The generator behind read()."""
        cdef FrameWalker walker
        cdef int64_t seq, place
        if self.durability == DURABILITY_MEMORY or from_seq > last_seq:
            return
        self.reader_count += 1
        try:
            files = list(self.files)
            if from_seq < files[0][0]:
                raise NotFoundError(f"the log begins at sequence {files[0][0]}, {from_seq} was trimmed")
            place = max(i for i, (first_seq, _) in enumerate(files) if first_seq <= from_seq)
            for first_seq, path in files[place:]:
                try:
                    walker = FrameWalker(path, first_seq)
                except StorageError as error:
                    if error.errno == ENOENT:
                        raise NotFoundError(f"the records from sequence {first_seq} on were trimmed while they were read") from error
                    raise
                while (seq := walker.next_seq) <= last_seq and (records := walker.next_frame()) is not None:
                    for record in records:
                        if seq >= from_seq:
                            yield seq, record
                        seq += 1
                walker.close()
        finally:
            self.reader_count -= 1

    def trim(self, int64_t seq):
        if self.state == STATE_CLOSED or self.state == STATE_NEW:
            raise self.explain()
        with self.trim_lock:
            is_changed = False
            freed = []
            while len(self.files) > 1 and self.files[1][0] <= seq + 1:
                _, path = self.files.pop(0)
                size_bytes = self.closed_bytes.pop(path)
                is_changed = True
                # A reader may have the file open, and a longer one would keep its size for ever.
                if self.reader_count or len(self.spares) + len(freed) >= SPARE_FILES_MAX or size_bytes > self.file_bytes + PREALLOCATE_BYTES:
                    remove_file(path)
                else:
                    spare = path.removesuffix(SUFFIX) + SPARE_SUFFIX
                    rename_file(path, spare)
                    freed.append(spare)
            if is_changed:
                # Before a spare gets a new header: the old name must not come back in front of it.
                sync_folder(self.folder)
                self.spares.extend(freed)

    @property
    def last_seq(self):
        ticket = Ticket(self.staged_seq)
        ticket.generation = self.generation
        return ticket

    @property
    def durable_seq(self):
        return self.written_seq

    @property
    def applied_seq(self):
        return self.finished_seq

    @property
    def size_bytes(self):
        return sum(self.closed_bytes.values()) + self.allocated_bytes


cdef object swap_records(Group *group, list fresh):
    # Under the mutex: empty a group; what it held is returned, to be let go outside.
    cdef list records = <list> group.records
    Py_INCREF(fresh)
    group.records = <PyObject *> fresh
    group.count = 0
    group.body_bytes = 0
    Py_DECREF(records)
    return records


cdef object refusal(error):
    # A new instance for each waiter, so that tracebacks do not mix.
    return type(error)(error.errno, error.strerror, error.filename) if isinstance(error, StorageError) else StorageError(EIO, str(error))


cdef object unraisable(info, listener):
    from types import SimpleNamespace

    return SimpleNamespace(
        exc_type=info[0], exc_value=info[1], exc_traceback=info[2], err_msg="a listener of the log failed", object=listener
    )
