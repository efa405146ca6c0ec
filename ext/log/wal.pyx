"""The write-ahead log: it makes records durable in groups, applies them in order, and gives them back after a crash.

Life of a record: `append` stages it and promises a sequence. Whoever waits first becomes the leader: it takes everything
staged, writes one frame, syncs once, applies the group, and wakes the others with one broadcast. What is staged meanwhile
rides the next group, whose leader is one of its own waiters (or the committer thread, when they only nudged).
There is no timer, and a single writer never changes threads. What is staged is bounded: a writer waits for room, then BusyError.

When a store has no room to apply a group (`apply` raised StorageFullError), the log is stalled: the group is durable and stays,
what was staged behind it is refused, and whoever comes next has it applied again before anything else.

Invariants: one leader at a time; groups are written, synced and applied in the order of their sequences; finished_seq <=
written_seq <= taken_seq <= staged_seq; a leader takes all that is staged, so a writer waits for two groups at most; a thread
that holds `mutex` never waits for the GIL. Format: docs/format/wal.md.
"""

import os
import sys
import threading

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_Append
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EIO, ENOSPC
from libc.stdint cimport INT64_MAX, int64_t, uint32_t
from libc.stdlib cimport free, realloc
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from tsengine.core.limits cimport BATCH_BYTES
from tsengine.core.log.folder cimport OUTCOME_DONE, OUTCOME_FAILED, OUTCOME_REFUSED, OUTCOME_STALLED, Outcome, Staged, WalFolder
from tsengine.core.log.frame cimport record_bytes
from tsengine.core.log.recovery cimport Recovery

from tsengine.errors import BusyError, ClosedError, InputError, LimitError, StorageError, StorageFullError

cdef extern from "<pthread.h>" nogil:
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_cond_destroy(pthread_cond_t *cond)
    int pthread_cond_signal(pthread_cond_t *cond)
    int pthread_cond_broadcast(pthread_cond_t *cond)
    int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
    pthread_t pthread_self()

cdef extern from "os/platform.h" nogil:
    int platform_condition_init(pthread_cond_t *cond)
    int platform_condition_sleep(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t wait_ns)

cdef enum:
    WAL_FILE_BYTES = 64 << 20       # a file is left when the next frame would pass this; only a larger frame makes it longer
    QUEUE_BYTES_MAX = 16 << 20      # staged at most: as long a write as shares a sync well; one larger record goes alone
    QUEUE_WAIT_MS = 10_000          # how long a writer waits for room
    STAGED_OVERHEAD_BYTES = 128     # what a staged record costs beside its bytes: object, ticket, place in the lists
    SLICE_NS = 100_000_000          # a waiter looks for signals this often

DURABILITIES = ("sync", "os", "memory")


class Ticket(int):
    """A promised sequence. It remembers its generation, because a refused sequence is promised again to another record."""

    generation: Generation


cdef class Generation:
    def __cinit__(self):
        self.refused_from = INT64_MAX


cdef class Wal:
    def __init__(self, folder, *, str durability="sync", int64_t file_bytes=WAL_FILE_BYTES, int64_t queue_bytes=QUEUE_BYTES_MAX,
                 int64_t queue_wait_ms=QUEUE_WAIT_MS):
        cdef int i
        if durability not in DURABILITIES:
            raise InputError(f"durability must be one of {', '.join(DURABILITIES)}, not {durability!r}")
        if self.has_locks:
            raise InputError("a log is made once")
        self.folder = os.path.abspath(os.fspath(folder))
        if durability != "memory":
            self.files = WalFolder(self.folder, durability == "sync", file_bytes)
        self.has_files = self.files is not None
        self.queue_bytes = queue_bytes
        self.queue_wait_ms = queue_wait_ms
        self.group_number = 1
        self.generation = Generation()
        self.listeners = ()
        self.setup_lock = threading.Lock()
        for i in range(2):
            records = []
            Py_INCREF(records)
            self.groups[i].records = <PyObject *> records
        pthread_mutex_init(&self.mutex, NULL)
        platform_condition_init(&self.done[0])
        platform_condition_init(&self.done[1])
        platform_condition_init(&self.nudged)
        platform_condition_init(&self.room)
        self.has_locks = True

    def __dealloc__(self):
        cdef int i
        for i in range(2):
            if self.groups[i].records != NULL:
                Py_DECREF(<object> self.groups[i].records)
            free(self.groups[i].items)
        if self.has_locks:
            pthread_cond_destroy(&self.done[0])
            pthread_cond_destroy(&self.done[1])
            pthread_cond_destroy(&self.nudged)
            pthread_cond_destroy(&self.room)
            pthread_mutex_destroy(&self.mutex)

    # ---- opening and closing --------------------------------------------------------------------------------------------

    def start(self, int64_t applied, apply, *, int64_t newest=0, int64_t reach=0):
        cdef Recovery recovery
        cdef int64_t last_seq = max(applied, newest)
        if self.state != STATE_NEW:
            raise ClosedError("the log was started before; make a new one")
        self.apply_group = apply
        if self.files is not None:
            recovery = self.files.recover(applied, newest, reach, apply)
            self.replayed_count = recovery.record_count
            self.torn_bytes = recovery.torn_bytes
            last_seq = max(last_seq, recovery.last_seq)
        elif os.path.isdir(self.folder):
            # In memory from now on; what was logged to files before is part of the store all the same.
            recovery = Recovery(self.folder, applied, True, apply, reach)
            recovery.run()
            self.replayed_count = recovery.record_count
            last_seq = max(last_seq, recovery.last_seq)
        self.staged_seq = self.taken_seq = self.written_seq = self.finished_seq = last_seq
        self.state = STATE_OPEN

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
            pthread_cond_broadcast(&self.room)
            while self.is_committing:
                self.sleep(&self.done[(self.group_number - 1) & 1], INT64_MAX)
            pthread_mutex_unlock(&self.mutex)
        if before == STATE_CLOSED:
            return
        if self.committer is not None and self.committer is not threading.current_thread():
            self.committer.join()
        self.committer = None
        if self.files is not None:
            self.files.close(before == STATE_OPEN, self.written_seq)

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
            if not self.is_crowded() or (self.is_committing and self.leader == pthread_self()):
                break
            pthread_mutex_unlock(&self.mutex)
            self.admit()
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

    cdef bint is_crowded(self) noexcept nogil:
        # Under the mutex: nothing more may be staged now.
        cdef const Group *group = &self.groups[self.staging]
        return self.is_stalled or group.body_bytes + group.count * STAGED_OVERHEAD_BYTES >= self.queue_bytes

    @property
    def has_room(self):
        cdef bint is_crowded
        pthread_mutex_lock(&self.mutex)
        is_crowded = self.is_crowded()
        pthread_mutex_unlock(&self.mutex)
        return not is_crowded

    @property
    def staged_bytes(self):
        return self.groups[self.staging].body_bytes

    @property
    def group_count(self):
        return self.group_number - 1

    def admit(self):
        cdef int64_t until_ns = now_ns() + self.queue_wait_ms * 1_000_000
        cdef Verdict verdict = VERDICT_NONE
        cdef bint has_led = False
        with nogil:
            pthread_mutex_lock(&self.mutex)
            while True:
                if self.state != STATE_OPEN or self.is_closing:
                    verdict = VERDICT_OVER
                elif not self.is_crowded() or (self.is_committing and self.leader == pthread_self()):
                    verdict = VERDICT_DONE
                elif has_led and self.is_stalled:
                    verdict = VERDICT_STALLED
                elif not self.is_committing:
                    self.lead()
                    has_led = True
                elif now_ns() >= until_ns:
                    verdict = VERDICT_BUSY
                elif self.sleep(&self.room, until_ns):
                    pthread_mutex_unlock(&self.mutex)
                    with gil:
                        PyErr_CheckSignals()
                    pthread_mutex_lock(&self.mutex)
                if verdict:
                    break
            pthread_mutex_unlock(&self.mutex)
        if verdict == VERDICT_STALLED:
            raise refusal(self.stall)
        if verdict == VERDICT_OVER:
            raise self.explain()
        if verdict == VERDICT_BUSY:
            raise BusyError(
                f"the log's queue of {self.queue_bytes} bytes is full, and the disk did not take it in {self.queue_wait_ms / 1000.0:g} s;"
                " nothing was stored, try again later"
            )

    def wait(self, object ticket):
        cdef int64_t seq = ticket
        cdef Generation generation = self.generation_of(ticket)
        cdef Verdict verdict = VERDICT_NONE
        cdef bint has_led = False
        with nogil:
            pthread_mutex_lock(&self.mutex)
            while True:
                if seq >= generation.refused_from:
                    verdict = VERDICT_REFUSED
                elif seq <= self.finished_seq:
                    verdict = VERDICT_DONE
                elif self.state != STATE_OPEN:
                    verdict = VERDICT_OVER
                elif seq > self.staged_seq:
                    verdict = VERDICT_UNKNOWN
                elif self.is_committing and self.leader == pthread_self():
                    verdict = VERDICT_ITSELF
                elif has_led and self.is_stalled:
                    verdict = VERDICT_STALLED
                elif not self.is_committing:
                    self.lead()
                    has_led = True
                elif self.sleep(&self.done[(self.group_number - 1 if seq <= self.taken_seq else self.group_number) & 1], INT64_MAX):
                    pthread_mutex_unlock(&self.mutex)
                    with gil:
                        PyErr_CheckSignals()
                    pthread_mutex_lock(&self.mutex)
                if verdict:
                    break
            pthread_mutex_unlock(&self.mutex)
        if verdict == VERDICT_DONE:
            return
        if verdict == VERDICT_REFUSED:
            raise refusal(generation.error) from generation.error
        if verdict == VERDICT_STALLED:
            raise in_doubt(self.stall)
        if verdict == VERDICT_OVER:
            raise self.explain()
        if verdict == VERDICT_UNKNOWN:
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
        if self.is_stalled and seq <= self.taken_seq:
            raise in_doubt(self.stall)
        return False

    cdef Generation generation_of(self, object ticket):
        return ticket.generation if isinstance(ticket, Ticket) else self.generation

    cdef object explain(self):
        # The error for a caller whom the log cannot serve.
        if self.state == STATE_FAILED:
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

    cdef int lead(self) noexcept nogil:
        # Under the mutex, which is let go meanwhile: commit what is staged, or apply the stalled group again.
        cdef Group *group
        cdef Outcome outcome = OUTCOME_DONE
        if self.is_stalled:
            group = &self.groups[1 - self.staging]
            self.is_committing = True
            self.leader = pthread_self()
            pthread_mutex_unlock(&self.mutex)
        else:
            group = self.take()
            pthread_mutex_unlock(&self.mutex)
            outcome = self.write(group)
        with gil:
            self.finish(group, outcome)
        pthread_mutex_lock(&self.mutex)
        return 0

    cdef Group *take(self) noexcept nogil:
        # Under the mutex. The other group was emptied by finish().
        cdef Group *group = &self.groups[self.staging]
        self.staging = 1 - self.staging
        self.group_number = self.group_number + 1
        self.taken_seq = self.staged_seq
        self.is_committing = True
        self.leader = pthread_self()
        pthread_cond_broadcast(&self.room)
        return group

    cdef Outcome write(self, Group *group) noexcept nogil:
        if not self.has_files:
            return OUTCOME_DONE
        return self.files.write(group.items, group.count, group.body_bytes, self.taken_seq - group.count + 1)

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
            except StorageFullError as caught:
                error = caught
                outcome = OUTCOME_STALLED
            except BaseException as caught:
                error = caught
                outcome = OUTCOME_FAILED
        else:
            error = self.files.take_error()
        if outcome == OUTCOME_REFUSED or outcome == OUTCOME_STALLED:
            generation = Generation()
            taken_back = []
        elif outcome == OUTCOME_FAILED:
            self.failure = error
        self.stall = error if outcome == OUTCOME_STALLED else None

        pthread_mutex_lock(&self.mutex)
        if outcome == OUTCOME_DONE:
            self.finished_seq = last_seq
        elif outcome == OUTCOME_REFUSED or outcome == OUTCOME_STALLED:
            # Those staged behind are refused with the group, or because it stalled: their sequences are promised again.
            if outcome == OUTCOME_REFUSED:
                self.taken_seq = first_seq - 1
            self.generation.refused_from = self.taken_seq + 1
            self.generation.error = error
            generation, self.generation = self.generation, generation
            taken_back = swap_records(&self.groups[self.staging], taken_back)
            self.staged_seq = self.taken_seq
        elif self.state == STATE_OPEN:
            self.state = STATE_FAILED
        self.is_stalled = outcome == OUTCOME_STALLED
        if outcome != OUTCOME_STALLED:
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
            pthread_cond_signal(&self.room)
            if self.nudged_seq > self.taken_seq:
                pthread_cond_signal(&self.nudged)
        elif outcome != OUTCOME_DONE:
            pthread_cond_broadcast(&self.done[(self.group_number - 1) & 1])
            pthread_cond_broadcast(&self.room)
        pthread_mutex_unlock(&self.mutex)
        return 0

    cdef int sleep(self, pthread_cond_t *cond, int64_t until_ns) noexcept nogil:
        # Under the mutex; True when a slice passed, or the time came, without news.
        return platform_condition_sleep(cond, &self.mutex, max(<int64_t> 0, min(until_ns - now_ns(), <int64_t> SLICE_NS))) != 0

    def nudge(self):
        if self.state != STATE_OPEN:
            raise self.explain()
        if self.committer is None:
            with self.setup_lock:
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
        with nogil:
            pthread_mutex_lock(&self.mutex)
            while self.state == STATE_OPEN:
                if self.is_committing or self.nudged_seq <= self.taken_seq or self.groups[self.staging].count == 0:
                    pthread_cond_wait(&self.nudged, &self.mutex)
                else:
                    self.lead()
            pthread_mutex_unlock(&self.mutex)

    def add_listener(self, listener):
        with self.setup_lock:
            self.listeners = (*self.listeners, listener)

    def remove_listener(self, listener):
        with self.setup_lock:
            self.listeners = tuple(known for known in self.listeners if known != listener)

    # ---- what is in it --------------------------------------------------------------------------------------------------

    def read(self, int64_t from_seq):
        if self.state == STATE_CLOSED or self.state == STATE_NEW:
            raise self.explain()
        return iter(()) if self.files is None else self.files.read(max(from_seq, 1), self.written_seq)

    def trim(self, int64_t seq):
        if self.state == STATE_CLOSED or self.state == STATE_NEW:
            raise self.explain()
        if self.files is not None:
            self.files.trim(seq)

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
        return 0 if self.files is None else self.files.count_bytes()


cdef int64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec * <int64_t> 1_000_000_000 + now.tv_nsec


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
    if not isinstance(error, StorageError):
        return StorageError(EIO, str(error))
    if error.errno is None:
        return type(error)(*error.args)
    return type(error)(error.errno, error.strerror, error.filename)


cdef object in_doubt(error):
    return StorageFullError(
        error.errno or ENOSPC, f"{error.strerror or error}; the write is in the log, and applied when there is room", error.filename
    )


cdef object unraisable(info, listener):
    from types import SimpleNamespace

    return SimpleNamespace(
        exc_type=info[0], exc_value=info[1], exc_traceback=info[2], err_msg="a listener of the log failed", object=listener
    )
