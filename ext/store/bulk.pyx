"""A large batch straight to segments, past log and memtable.

The points are dealt out to one buffer a series in a single pass, each buffer is put in order, and blocks are encoded by two
threads: one writes the file, the other encodes the later half of the series into memory, which is appended at the end. The
result is what sealing a memtable with the same points would have written.
"""

from libc.math cimport NAN
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_NoMemory

from tsengine.core.batch cimport (
    COLUMN_GROUP,
    COLUMN_KIND,
    COLUMN_LOCATION,
    COLUMN_METADATA,
    COLUMN_TIME,
    COLUMN_UNIT,
    COLUMN_VALUE,
    COLUMN_VARIABLE,
    BatchView,
    GroupCell,
    LocationCell,
    batch_open,
)
from tsengine.core.codec.strings cimport StringTable
from tsengine.core.limits cimport GROUP_AUTO, KIND_COUNT
from tsengine.core.store.points cimport WANT_ALL, Columns, PointBuffer
from tsengine.core.store.seal cimport BlockCutter
from tsengine.core.store.segment_writer cimport SegmentWriter

from concurrent.futures import ThreadPoolExecutor

from tsengine.core.calendar import PERIODS


cdef class Dealer:
    """Args:
        record: a stamped batch.

    Raises:
        CorruptionError: the record is damaged.
    """

    def __cinit__(self, bytes record):
        cdef uint32_t i
        cdef const uint32_t* offsets
        self.record = record
        batch_open(<const uint8_t*> PyBytes_AS_STRING(record), PyBytes_GET_SIZE(record), &self.view)
        self.strings = StringTable()
        offsets = self.view.string_offsets
        for i in range(self.view.header.string_count):
            self.strings.borrow(self.view.strings + offsets[i], offsets[i + 1] - offsets[i])
        self.make_buffers()
        with nogil:
            self.deal()

    def __dealloc__(self):
        free(self.series)
        free(self.targets)

    cdef int64_t slot(self, uint32_t i) noexcept nogil:
        """Number of the (variable, kind) of point i."""
        return (
            <int64_t> self.view.variable[i * self.view.step[COLUMN_VARIABLE]] * KIND_COUNT
            + self.view.kind[i * self.view.step[COLUMN_KIND]]
        )

    cdef int make_buffers(self) except -1:
        """Count the points of every series, and make a buffer for each that has some."""
        cdef int64_t slots = <int64_t> self.view.header.string_count * KIND_COUNT, slot
        cdef int64_t* counts = <int64_t*> calloc(slots, sizeof(int64_t))
        cdef PointBuffer buffer
        cdef uint32_t i
        self.buffers = []
        self.names = []
        self.series = <uint32_t*> calloc(slots, sizeof(uint32_t))
        try:
            if counts == NULL or self.series == NULL:
                PyErr_NoMemory()
            with nogil:
                for i in range(self.view.header.count):
                    counts[self.slot(i)] += 1
            for slot in range(slots):
                if counts[slot]:
                    self.series[slot] = <uint32_t> len(self.buffers)
                    buffer = PointBuffer(slot % KIND_COUNT, WANT_ALL)
                    buffer.reserve(counts[slot])
                    self.buffers.append(buffer)
                    self.names.append(self.strings[slot // KIND_COUNT])
        finally:
            free(counts)
        self.targets = <Columns*> calloc(len(self.buffers), sizeof(Columns))
        if self.targets == NULL:
            PyErr_NoMemory()
        for i in range(<uint32_t> len(self.buffers)):
            (<PointBuffer> self.buffers[i]).view(0, 0, &self.targets[i])
        return 0

    cdef void deal(self) noexcept nogil:
        """Copy every point behind the others of its series."""
        cdef const BatchView* view = &self.view
        cdef uint32_t received = <uint32_t> (view.header.received_us // 1000000)
        cdef LocationCell nowhere
        cdef GroupCell group
        cdef Columns* to
        cdef int64_t at
        cdef uint32_t i
        nowhere.lat = nowhere.lng = NAN
        memset(&group, 0, sizeof(group))
        for i in range(view.header.count):
            to = &self.targets[self.series[self.slot(i)]]
            at = to.count
            to.count = at + 1
            (<int64_t*> to.time)[at] = view.time[i * view.step[COLUMN_TIME]]
            (<uint64_t*> to.sequence)[at] = view.header.first_sequence + i
            (<uint32_t*> to.received)[at] = received
            if to.value != NULL:
                (<int64_t*> to.value)[at] = view.value[i * view.step[COLUMN_VALUE]]
            (<uint32_t*> to.unit)[at] = 0 if view.unit == NULL else view.unit[i * view.step[COLUMN_UNIT]]
            (<uint32_t*> to.metadata)[at] = 0 if view.metadata == NULL else view.metadata[i * view.step[COLUMN_METADATA]]
            (<LocationCell*> to.location)[at] = nowhere if view.location == NULL else view.location[i * view.step[COLUMN_LOCATION]]
            if view.group != NULL and view.group[i * view.step[COLUMN_GROUP]].form != GROUP_AUTO:
                (<GroupCell*> to.group)[at] = view.group[i * view.step[COLUMN_GROUP]]
            else:
                group.low = i
                (<GroupCell*> to.group)[at] = group

    def encode(self, numbers: list, cutter: BlockCutter, period: str | None) -> BlockCutter:
        """Cut the series with these numbers, in this order, into blocks; return the cutter."""
        cdef PointBuffer buffer
        cdef uint32_t number
        cdef bytes name
        for number in numbers:
            buffer = self.buffers[number]
            name = self.names[number]
            with nogil:
                buffer.added(self.targets[number].count)
                buffer.sort()
            (<BlockCutter> cutter).cut(buffer, self.strings, self.view.header.device, name, len(name), PERIODS[period], True)
        return cutter


def seal_batch(record: bytes, period: str | None, make_writer) -> list[SegmentWriter]:
    """Write a stamped batch through the writers that `make_writer` gives, one a month, and return them unfinished.

    Memory: about 100 bytes a point beside the record. The GIL is released for the work on points.

    Raises:
        StorageError, StorageFullError: from a writer; the caller aborts all of them. CorruptionError: the record is damaged.
    """
    cdef Dealer dealer = Dealer(record)
    cdef BlockCutter front = BlockCutter(make_writer)
    cdef BlockCutter back = BlockCutter(lambda month: SegmentWriter(None, month))
    order = sorted(range(len(dealer.buffers)), key=lambda number: (dealer.names[number], dealer.buffers[number].kind))
    middle = (len(order) + 1) // 2
    with ThreadPoolExecutor(1) as pool:
        encoded = pool.submit(dealer.encode, order[middle:], back, period)
        dealer.encode(order[:middle], front, period)
        encoded.result()
    for month in sorted(back.writers):
        front.select(month)
        front.writer.absorb(back.writers[month])
    return [front.writers[month] for month in sorted(front.writers)]
