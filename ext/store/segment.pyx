"""A sealed file: the reader over a mapping of it.

Life: written once by SegmentWriter, synced, renamed into place, listed in the manifest; read through a mapping; unlinked
after compaction or retention, while readers that still hold a Segment go on reading. Opening checks the trailer, the
footer's checksum and every bound in it, so that the rest of this file may trust the footer; blocks and dictionaries carry
their own checksums and are checked each time they are read. Format: docs/format/segment.md.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from tsengine.core.calendar cimport TIME_MAX, TIME_MIN, PeriodCounter
from tsengine.core.codec.crc32c cimport crc32c
from tsengine.core.codec.strings cimport StringTable, utf8_is_valid
from tsengine.core.limits cimport BLOCK_POINTS, KIND_COUNT
from tsengine.core.os.mapping cimport Mapping
from tsengine.core.store.block cimport block_decode
from tsengine.core.store.points cimport WANT_ALL, Columns, PointBuffer, StringMap
from tsengine.core.store.statistics cimport STATS_NOT_FINITE, BlockStats, block_stats

from tsengine.errors import CorruptionError, StorageError

cdef enum:
    # Dictionaries kept of one segment: up to 64 KiB of text each, and most segments have a few. A month of texts that never
    # repeat has thousands, and a merge or a scan reads them one after the other.
    DICTIONARIES_KEPT = 64

MAGIC = b"TSEGMENT"
TRAILER_MAGIC = b"TSEGFOOT"


cdef inline int64_t padded(int64_t size) noexcept nogil:
    return (size + 7) & ~<int64_t> 7


cdef int64_t footer_point(const uint8_t* data, const SegmentCounts* counts, SegmentFooter* footer) noexcept nogil:
    """Lay the arrays that these counts announce over `data`; return their size in bytes, each padded to 8."""
    cdef int64_t S = counts.series_count, B = counts.block_count, D = counts.dictionary_count
    cdef int64_t at = sizeof(SegmentCounts)
    footer.counts = <const SegmentCounts*> data
    footer.series_device = <const uint32_t*> (data + at)
    at += padded(4 * S)
    footer.series_name = <const uint32_t*> (data + at)
    at += padded(4 * (S + 1))
    footer.series_first_block = <const uint32_t*> (data + at)
    at += padded(4 * (S + 1))
    footer.series_kind = data + at
    at += padded(S)
    footer.names = <const char*> (data + at)
    at += padded(counts.name_bytes)
    footer.first_time = <const int64_t*> (data + at)
    footer.last_time = footer.first_time + B
    footer.minimum = footer.last_time + B
    footer.maximum = footer.minimum + B
    footer.sum_high = footer.maximum + B
    footer.sum_low = footer.sum_high + B
    footer.first = footer.sum_low + B
    footer.last = footer.first + B
    footer.offset = <const uint64_t*> (footer.last + B)
    at += 9 * 8 * B
    footer.length = <const uint32_t*> (data + at)
    at += padded(4 * B)
    footer.dictionary = <const uint32_t*> (data + at)
    at += padded(4 * B)
    footer.crc = <const uint32_t*> (data + at)
    at += padded(4 * B)
    footer.count = <const uint16_t*> (data + at)
    at += padded(2 * B)
    footer.flags = <const uint16_t*> (data + at)
    at += padded(2 * B)
    footer.dictionary_offset = <const uint64_t*> (data + at)
    at += 8 * D
    footer.dictionary_length = <const uint32_t*> (data + at)
    at += padded(4 * D)
    footer.dictionary_entries = <const uint32_t*> (data + at)
    at += padded(4 * D)
    footer.dictionary_crc = <const uint32_t*> (data + at)
    at += padded(4 * D)
    return at


cdef inline uint16_t read_u16(const uint8_t* data) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, data, 2)
    return value


cdef inline uint32_t read_u32(const uint8_t* data) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, data, 4)
    return value


cdef inline uint64_t read_u64(const uint8_t* data) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, data, 8)
    return value


cdef int compare_series(
    const SegmentFooter* footer, int64_t series, uint32_t device, const char* name, int64_t size, uint8_t kind
) noexcept nogil:
    """Order of a series of the footer against (device, name, kind): negative, 0 or positive."""
    cdef int64_t own_size = footer.series_name[series + 1] - footer.series_name[series]
    cdef int order
    if footer.series_device[series] != device:
        return -1 if footer.series_device[series] < device else 1
    order = memcmp(footer.names + footer.series_name[series], name, min(own_size, size))
    if order:
        return order
    if own_size != size:
        return -1 if own_size < size else 1
    return <int> footer.series_kind[series] - <int> kind


cdef const char* find_series_fault(const SegmentFooter* footer) noexcept nogil:
    cdef const SegmentCounts* counts = footer.counts
    cdef int64_t series, block
    if footer.series_name[0] != 0 or footer.series_name[counts.series_count] != counts.name_bytes:
        return "series names"
    if footer.series_first_block[0] != 0 or footer.series_first_block[counts.series_count] != counts.block_count:
        return "series blocks"
    for series in range(counts.series_count):
        if footer.series_name[series] >= footer.series_name[series + 1]:
            return "series names"
        if footer.series_first_block[series] >= footer.series_first_block[series + 1]:
            return "series blocks"
        if footer.series_name[series + 1] > counts.name_bytes or footer.series_first_block[series + 1] > counts.block_count:
            return "series bounds"
        if not utf8_is_valid(footer.names + footer.series_name[series], footer.series_name[series + 1] - footer.series_name[series]):
            return "series names"
        if footer.series_kind[series] >= KIND_COUNT:
            return "series kind"
        if series and compare_series(
            footer, series - 1, footer.series_device[series], footer.names + footer.series_name[series],
            footer.series_name[series + 1] - footer.series_name[series], footer.series_kind[series]
        ) >= 0:
            return "series order"
        for block in range(footer.series_first_block[series] + <int64_t> 1, footer.series_first_block[series + 1]):
            if footer.first_time[block] < footer.first_time[block - 1]:
                return "block order"
    return NULL


cdef const char* find_block_fault(const SegmentFooter* footer, int64_t data_end) noexcept nogil:
    cdef const SegmentCounts* counts = footer.counts
    cdef uint64_t points = 0
    cdef int64_t i
    for i in range(counts.block_count):
        if footer.count[i] < 1 or footer.count[i] > BLOCK_POINTS or footer.flags[i] > STATS_NOT_FINITE:
            return "block count"
        if footer.first_time[i] > footer.last_time[i] or footer.first_time[i] < TIME_MIN or footer.last_time[i] > TIME_MAX:
            return "block times"
        if footer.offset[i] < SEGMENT_HEADER_BYTES or footer.offset[i] > <uint64_t> data_end:
            return "block offset"
        if footer.length[i] > <uint64_t> data_end - footer.offset[i]:
            return "block length"
        if footer.dictionary[i] != NO_DICTIONARY and footer.dictionary[i] >= counts.dictionary_count:
            return "block dictionary"
        points += footer.count[i]
    if points != counts.point_count:
        return "point count"
    for i in range(counts.dictionary_count):
        if footer.dictionary_offset[i] < SEGMENT_HEADER_BYTES or footer.dictionary_offset[i] > <uint64_t> data_end:
            return "dictionary offset"
        if footer.dictionary_length[i] > <uint64_t> data_end - footer.dictionary_offset[i]:
            return "dictionary length"
        if <uint64_t> footer.dictionary_entries[i] * 2 > footer.dictionary_length[i]:
            return "dictionary entries"
    return NULL


cdef class Segment:
    """A sealed file, open for reading.

    Args:
        path: the file.
        id: the manifest's number of the segment.
        last_log_seq: log sequence of the newest batch in it; tombstones of later commands apply to it.

    Raises:
        CorruptionError: a checksum or bound of the footer is wrong. StorageError: the file cannot be read.
    """

    def __cinit__(self, path, id=0, last_log_seq=0):
        self.file = Mapping(path)
        self.id = id
        self.last_log_seq = last_log_seq
        self._open()
        self.dictionaries = [None] * self.footer.counts.dictionary_count

    def _open(self):
        cdef const uint8_t* data = self.file.data
        cdef int64_t size = self.file.size_bytes
        cdef const uint8_t* trailer
        cdef SegmentCounts counts
        cdef uint64_t offset, length, footer_end
        cdef uint32_t crc
        cdef const char* fault
        if size < SEGMENT_HEADER_BYTES + SEGMENT_TRAILER_BYTES:
            raise self.damaged("segment", 0, f"{size} bytes, too few")
        if data[:8] != MAGIC:
            raise self.damaged("segment header", 0, "another kind of file")
        if SEGMENT_VERSION < read_u32(data + 8) == read_u32(data + size - 12) and data[size - 8:size] == TRAILER_MAGIC:
            raise StorageError(
                f"{self.path} was written by a newer tsengine (segment version {read_u32(data + 8)}, this one reads up to version"
                f" {SEGMENT_VERSION}); open the store with that one"
            )
        if read_u32(data + 8) != SEGMENT_VERSION or read_u32(data + 12) != 0:
            raise self.damaged("segment header", 8, f"version {read_u32(data + 8)}, this program reads version {SEGMENT_VERSION}")
        trailer = data + size - SEGMENT_TRAILER_BYTES
        if trailer[24:32] != TRAILER_MAGIC:
            raise self.damaged("segment trailer", size - 8, "no end mark; the file is cut short or overwritten")
        offset = read_u64(trailer)
        length = read_u64(trailer + 8)
        footer_end = <uint64_t> (size - SEGMENT_TRAILER_BYTES)
        if offset < SEGMENT_HEADER_BYTES or offset % 8 or offset > footer_end or length != footer_end - offset:
            raise self.damaged("segment trailer", size - SEGMENT_TRAILER_BYTES, f"a footer of {length} bytes at {offset}")
        with nogil:
            crc = crc32c(data + offset, length + 16, 0)
        if crc != read_u32(trailer + 16) or read_u32(trailer + 20) != SEGMENT_VERSION:
            raise self.damaged("segment footer", offset, f"checksum {crc:08x} or version {read_u32(trailer + 20)}")
        if length < sizeof(SegmentCounts):
            raise self.damaged("segment footer", offset, f"{length} bytes, too few")
        memcpy(&counts, data + offset, sizeof(SegmentCounts))
        if <uint64_t> footer_point(data + offset, &counts, &self.footer) != length:
            raise self.damaged("segment footer", offset, "counts that do not fit its length")
        with nogil:
            fault = find_series_fault(&self.footer)
            if fault == NULL:
                fault = find_block_fault(&self.footer, offset)
        if fault != NULL:
            raise self.damaged("segment footer", offset, f"wrong {fault.decode()}")

    cdef object damaged(self, str what, int64_t offset, str found):
        return CorruptionError(what, file=self.file.path, offset=offset, expected="what was sealed", found=found)

    cdef int64_t find(self, uint32_t device, bytes name, uint8_t kind) noexcept:
        """Return the number of the series, or -1."""
        cdef int64_t low = 0, high = self.footer.counts.series_count, middle
        cdef int order
        while low < high:
            middle = (low + high) // 2
            order = compare_series(&self.footer, middle, device, name, len(name), kind)
            if order == 0:
                return middle
            if order < 0:
                low = middle + 1
            else:
                high = middle
        return -1

    cdef StringTable dictionary(self, uint32_t number):
        """Return the strings of a dictionary; they lie in the mapping, so keep the segment as long as the table."""
        cdef uint64_t offset
        cdef uint32_t length, entries, i, at
        cdef const uint8_t* data
        cdef StringTable table
        if number == NO_DICTIONARY:
            return StringTable()
        table = self.dictionaries[number]
        if table is not None:
            return table
        offset = self.footer.dictionary_offset[number]
        length = self.footer.dictionary_length[number]
        entries = self.footer.dictionary_entries[number]
        data = self.file.data + offset
        if crc32c(data, length, 0) != self.footer.dictionary_crc[number]:
            raise self.damaged("dictionary", offset, "another checksum")
        table = StringTable()
        at = entries * 2
        for i in range(entries):
            if read_u16(data + 2 * i) > length - at:
                raise self.damaged("dictionary", offset, "a string past its end")
            if not utf8_is_valid(<const char*> data + at, read_u16(data + 2 * i)):
                raise self.damaged("dictionary", offset, "text that is not UTF-8")
            table.borrow(<const char*> data + at, read_u16(data + 2 * i))
            at += read_u16(data + 2 * i)
        if at != length:
            raise self.damaged("dictionary", offset, "bytes behind its last string")
        if self.dictionaries_kept == DICTIONARIES_KEPT:
            self.dictionaries = [None] * self.footer.counts.dictionary_count
            self.dictionaries_kept = 0
        self.dictionaries[number] = table
        self.dictionaries_kept += 1
        return table

    cdef int check_block(self, int64_t block) except -1:
        cdef uint64_t offset = self.footer.offset[block]
        cdef uint32_t crc
        with nogil:
            crc = crc32c(self.file.data + offset, self.footer.length[block], 0)
        if crc != self.footer.crc[block]:
            raise self.damaged("block", offset, f"checksum {crc:08x} instead of {self.footer.crc[block]:08x}")
        return 0

    cdef int decode(self, int64_t block, uint8_t kind, PointBuffer into, StringMap map) except -1:
        """Append a block's points to a buffer of its kind; map: from the block's dictionary to into.strings."""
        cdef uint64_t offset = self.footer.offset[block]
        cdef int64_t before = into.count
        cdef const char* fault
        self.check_block(block)
        with nogil:
            fault = block_decode(self.file.data + offset, self.footer.length[block], self.footer.count[block], into, map)
        if fault != NULL:
            raise self.damaged("block", offset, f"wrong {fault.decode()} stream")
        # A block whose times contradict its directory entry would make readers skip or repeat points.
        if into.time[before] != self.footer.first_time[block] or into.time[into.count - 1] != self.footer.last_time[block]:
            into.count = before
            raise self.damaged("block", offset, "times that are not those of its directory entry")
        return 0

    # --- the Python side: for planning, checking and tools -----------------------------------------------------------

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def size_bytes(self) -> int:
        return self.file.size_bytes

    @property
    def month(self) -> int:
        """Months since January 1970 of every point in it."""
        return self.footer.counts.month

    @property
    def point_count(self) -> int:
        return self.footer.counts.point_count

    @property
    def block_count(self) -> int:
        return self.footer.counts.block_count

    @property
    def series_count(self) -> int:
        return self.footer.counts.series_count

    def device_series(self, device: int) -> list[tuple[bytes, int]]:
        """Return (variable, kind) of every series of a device, in order."""
        cdef int64_t i = self._first_series(device)
        cdef list result = []
        while i < self.footer.counts.series_count and self.footer.series_device[i] == device:
            result.append((self._name(i), self.footer.series_kind[i]))
            i += 1
        return result

    def device_bounds(self, device: int) -> tuple[int, int] | None:
        """Return the first and last time of a device's points, or None if it has none."""
        cdef int64_t series = self._first_series(device), block
        cdef int64_t low = TIME_MAX, high = TIME_MIN
        if series == self.footer.counts.series_count or self.footer.series_device[series] != <uint32_t> device:
            return None
        while series < self.footer.counts.series_count and self.footer.series_device[series] == <uint32_t> device:
            low = min(low, self.footer.first_time[self.footer.series_first_block[series]])
            for block in range(self.footer.series_first_block[series], self.footer.series_first_block[series + 1]):
                high = max(high, self.footer.last_time[block])
            series += 1
        return low, high

    def devices(self) -> list[int]:
        """Return the number of every device in it, ascending."""
        cdef int64_t i
        cdef list result = []
        for i in range(self.footer.counts.series_count):
            if i == 0 or self.footer.series_device[i] != self.footer.series_device[i - 1]:
                result.append(self.footer.series_device[i])
        return result

    def device_blocks(self, device: int) -> list[tuple[int, int, int]]:
        """Return (first time, last time, points) of every block of a device."""
        cdef int64_t i = self._first_series(device), block
        cdef list result = []
        while i < self.footer.counts.series_count and self.footer.series_device[i] == device:
            for block in range(self.footer.series_first_block[i], self.footer.series_first_block[i + 1]):
                result.append((self.footer.first_time[block], self.footer.last_time[block], self.footer.count[block]))
            i += 1
        return result

    def period_counts(self, device: int, period: str | None, hidden: list[tuple[int, int]]) -> dict[int, int]:
        """Return the points of a device in each of its periods: number of the period -> points.

        A block never crosses a period, so its first time tells. hidden: inclusive intervals, each of whole periods.
        """
        cdef int64_t i = self._first_series(device), block, time, low, high
        cdef PeriodCounter counter = PeriodCounter(period)
        while i < self.footer.counts.series_count and self.footer.series_device[i] == device:
            for block in range(self.footer.series_first_block[i], self.footer.series_first_block[i + 1]):
                time = self.footer.first_time[block]
                for low, high in hidden:
                    if low <= time <= high:
                        break
                else:
                    counter.add(time, self.footer.count[block])
            i += 1
        return counter.result()

    def time_bounds(self) -> tuple[int, int]:
        """Return the smallest and the largest time in it, microseconds."""
        cdef int64_t i
        cdef int64_t low = TIME_MAX, high = TIME_MIN
        for i in range(self.footer.counts.block_count):
            low = min(low, self.footer.first_time[i])
            high = max(high, self.footer.last_time[i])
        return low, high

    def verify(self) -> None:
        """Decode every block and dictionary, and compare the statistics of the directory with the values.

        Raises:
            CorruptionError: the first damaged one, with its offset.
        """
        cdef int64_t series, block
        cdef PointBuffer buffer
        cdef StringTable table
        for series in range(self.footer.counts.series_count):
            for block in range(self.footer.series_first_block[series], self.footer.series_first_block[series + 1]):
                buffer = PointBuffer(self.footer.series_kind[series], WANT_ALL)
                table = self.dictionary(self.footer.dictionary[block])
                self.decode(block, buffer.kind, buffer, StringMap(table, buffer.strings))
                if not self.agrees(block, buffer):
                    raise self.damaged("directory", self.footer.offset[block], "statistics that are not those of its block")

    cdef bint agrees(self, int64_t block, PointBuffer points) noexcept:
        """Whether the statistics of a block in the directory are those of its points."""
        cdef Columns columns
        cdef BlockStats stats
        points.view(0, points.count, &columns)
        block_stats(&columns, points.kind, &stats)
        return (
            stats.minimum == self.footer.minimum[block] and stats.maximum == self.footer.maximum[block]
            and stats.sum_high == self.footer.sum_high[block] and stats.sum_low == self.footer.sum_low[block]
            and stats.first == self.footer.first[block] and stats.last == self.footer.last[block]
            and stats.flags == self.footer.flags[block]
        )

    def _first_series(self, device: int) -> int:
        cdef int64_t low = 0, high = self.footer.counts.series_count, middle
        while low < high:
            middle = (low + high) // 2
            if self.footer.series_device[middle] < <uint32_t> device:
                low = middle + 1
            else:
                high = middle
        return low

    def _name(self, series: int) -> bytes:
        cdef uint32_t start = self.footer.series_name[series]
        return self.footer.names[start: self.footer.series_name[series + 1]]
