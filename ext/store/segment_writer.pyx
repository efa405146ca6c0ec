"""Writes one sealed file, series by series in order of (device, variable, kind), block by block in order of time.

The file is written under a temporary name; `finish` writes the footer and syncs, after which the caller renames it, syncs
the folder and commits it to the manifest. Until then nothing refers to it, so an unfinished file is only a leftover.
Memory: the directory (about 100 bytes a block), one dictionary, and a write buffer. Format: docs/format/segment.md.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from cpython.exc cimport PyErr_NoMemory

from tsengine.core.codec.crc32c cimport crc32c
from tsengine.core.codec.strings cimport StringTable
from tsengine.core.limits cimport BLOCK_POINTS
from tsengine.core.os.file cimport file_write
from tsengine.core.store.block cimport BlockEncoder
from tsengine.core.store.points cimport Columns, PointBuffer, StringMap
from tsengine.core.store.segment cimport (
    NO_DICTIONARY,
    SEGMENT_HEADER_BYTES,
    SEGMENT_TRAILER_BYTES,
    SEGMENT_VERSION,
    Segment,
    SegmentCounts,
    SegmentFooter,
    footer_point,
)

from tsengine.core.os.file import close_file, open_file, remove_file, storage_error, sync_file
from tsengine.core.store.segment import MAGIC, TRAILER_MAGIC

cdef enum:
    # Bytes handed to the kernel at once: large enough that calls do not count, small beside the memory budget.
    WRITE_BYTES = 1048576
    # A dictionary ends once it holds this much, so that a reader never loads much more than it needs.
    DICTIONARY_BYTES = 65536
    DICTIONARY_ENTRIES = 16384


cdef class Vector:
    def __cinit__(self, int64_t cell_bytes):
        self.cell_bytes = cell_bytes

    def __dealloc__(self):
        free(self.data)

    cdef void* push(self, int64_t cells) except NULL nogil:
        """Add room for some cells and return the address of the first; addresses move when the vector grows."""
        cdef int64_t capacity
        cdef void* grown
        if self.data == NULL or self.count + cells > self.capacity:
            capacity = max(self.capacity * 2, self.count + cells, 16)
            grown = realloc(self.data, capacity * self.cell_bytes)
            if grown == NULL:
                with gil:
                    PyErr_NoMemory()
                return NULL
            self.data = <uint8_t*> grown
            self.capacity = capacity
        self.count += cells
        return self.data + (self.count - cells) * self.cell_bytes


cdef class SegmentWriter:
    """One segment in the making.

    Args:
        path: temporary name of the file; it must not exist. None: keep everything in memory, to be absorbed by another writer.
        month: months since January 1970 of every point that will be added.

    Raises:
        StorageError, StorageFullError: from any method; call `abort` then.
    """

    def __cinit__(self, path, month):
        self.path = None if path is None else str(path)
        self.month = month
        self.fd = -1
        self.pending = Vector(1)
        self.series = Vector(sizeof(SeriesEntry))
        self.names = Vector(1)
        self.blocks = Vector(sizeof(BlockEntry))
        self.dictionaries = Vector(sizeof(DictionaryEntry))
        self.encoder = BlockEncoder()
        self.copied_dictionaries = {}
        self.dictionary_number = NO_DICTIONARY
        if path is not None:
            self.fd = open_file(self.path, write=True, create=True)
        header = MAGIC + int(SEGMENT_VERSION).to_bytes(4, "little") + bytes(4)
        self.put(<const char*> header, SEGMENT_HEADER_BYTES)

    def __dealloc__(self):
        if self.fd >= 0:
            close_file(self.fd, self.path)

    cdef int begin_series(self, uint32_t device, const char* name, int64_t name_bytes, uint8_t kind) except -1 nogil:
        """Start the next series, unless it is the one already begun; at least one block has to follow."""
        cdef SeriesEntry* entry
        if self.series.count:
            entry = <SeriesEntry*> self.series.data + self.series.count - 1
            if (
                entry.device == device and entry.kind == kind and self.names.count - entry.name == name_bytes
                and memcmp(self.names.data + entry.name, name, name_bytes) == 0
            ):
                return 0
        entry = <SeriesEntry*> self.series.push(1)
        entry.device = device
        entry.kind = kind
        entry.name = <uint32_t> self.names.count
        entry.first_block = <uint32_t> self.blocks.count
        memcpy(self.names.push(name_bytes), name, name_bytes)
        self.encoder.exponent_hint = -1
        return 0

    cdef int add_block(self, const Columns* columns, uint8_t kind, StringTable strings) except -1 nogil:
        """Encode and write 1 to 1,024 points of the current series, in time order, none before the last block's first."""
        cdef BlockEntry* entry
        if (
            self.dictionary is None or self.dictionary.text_bytes > DICTIONARY_BYTES or self.dictionary.count > DICTIONARY_ENTRIES
            or self.map is None or self.map.source is not strings
        ):
            with gil:
                self.choose_dictionary(strings)
        entry = <BlockEntry*> self.blocks.push(1)
        self.encoder.encode(columns, kind, self.map, &entry.stats)
        entry.offset = self.size_bytes
        entry.length = <uint32_t> (self.encoder.end - self.encoder.begin)
        entry.crc = crc32c(self.encoder.buffer + self.encoder.begin, entry.length, 0)
        entry.dictionary = self.dictionary_number if self.dictionary.count else <uint32_t> NO_DICTIONARY
        self.point_count += columns.count
        self.put(self.encoder.buffer + self.encoder.begin, entry.length)
        return 0

    def add_points(self, device: int, name: bytes, points: PointBuffer) -> None:
        """Append a series with all points of a buffer, which are in order and of this writer's month."""
        cdef Columns columns
        cdef int64_t at
        self.begin_series(device, name, len(name), points.kind)
        for at in range(0, points.count, BLOCK_POINTS):
            with nogil:
                points.view(at, min(<int64_t> BLOCK_POINTS, points.count - at), &columns)
                self.add_block(&columns, points.kind, points.strings)

    cdef int copy_block(self, Segment segment, int64_t block) except -1:
        """Take a block of another segment over byte for byte, with the dictionary it names."""
        cdef BlockEntry* entry
        cdef uint32_t dictionary
        segment.check_block(block)
        dictionary = self.copy_dictionary(segment, segment.footer.dictionary[block])
        entry = <BlockEntry*> self.blocks.push(1)
        entry.stats.first_time = segment.footer.first_time[block]
        entry.stats.last_time = segment.footer.last_time[block]
        entry.stats.minimum = segment.footer.minimum[block]
        entry.stats.maximum = segment.footer.maximum[block]
        entry.stats.sum_high = segment.footer.sum_high[block]
        entry.stats.sum_low = segment.footer.sum_low[block]
        entry.stats.first = segment.footer.first[block]
        entry.stats.last = segment.footer.last[block]
        entry.stats.count = segment.footer.count[block]
        entry.stats.flags = segment.footer.flags[block]
        entry.offset = self.size_bytes
        entry.length = segment.footer.length[block]
        entry.crc = segment.footer.crc[block]
        entry.dictionary = dictionary
        self.point_count += entry.stats.count
        with nogil:
            self.put(segment.file.data + segment.footer.offset[block], entry.length)
        return 0

    cdef uint32_t copy_dictionary(self, Segment segment, uint32_t number) except? 0:
        cdef DictionaryEntry* entry
        cdef object own
        if number == NO_DICTIONARY:
            return NO_DICTIONARY
        own = self.copied_dictionaries.get((segment.file.path, number))
        if own is None:
            segment.dictionary(number)          # checks it
            own = self.dictionaries.count
            entry = <DictionaryEntry*> self.dictionaries.push(1)
            entry.offset = self.size_bytes
            entry.length = segment.footer.dictionary_length[number]
            entry.entries = segment.footer.dictionary_entries[number]
            entry.crc = segment.footer.dictionary_crc[number]
            self.put(segment.file.data + segment.footer.dictionary_offset[number], entry.length)
            self.copied_dictionaries[segment.file.path, number] = own
        return <uint32_t> own

    cdef int choose_dictionary(self, StringTable strings) except -1:
        """Begin another dictionary if there is none or it is full, and map these strings to it."""
        if self.dictionary is None or self.dictionary.text_bytes > DICTIONARY_BYTES or self.dictionary.count > DICTIONARY_ENTRIES:
            self.begin_dictionary()
        if self.map is None or self.map.source is not strings:
            self.map = StringMap(strings, self.dictionary)
        return 0

    cdef int begin_dictionary(self) except -1:
        self.end_dictionary()
        self.dictionary_number = <uint32_t> self.dictionaries.count
        memset(self.dictionaries.push(1), 0, sizeof(DictionaryEntry))
        self.dictionary = StringTable()
        self.map = None
        return 0

    cdef int end_dictionary(self) except -1:
        """Write the dictionary that is being filled: lengths as uint16, then the bytes."""
        cdef DictionaryEntry* entry
        cdef Vector data
        cdef uint16_t length
        cdef uint32_t i
        if self.dictionary is None:
            return 0
        data = Vector(1)
        for i in range(self.dictionary.count):
            length = <uint16_t> self.dictionary.entries[i].size
            memcpy(data.push(2), &length, 2)
        for i in range(self.dictionary.count):
            memcpy(data.push(self.dictionary.entries[i].size), self.dictionary.entries[i].data, self.dictionary.entries[i].size)
        entry = <DictionaryEntry*> self.dictionaries.data + self.dictionary_number
        entry.offset = self.size_bytes
        entry.length = <uint32_t> data.count
        entry.entries = self.dictionary.count
        entry.crc = crc32c(data.data, data.count, 0)
        self.put(data.data, data.count)
        self.dictionary = None
        self.map = None
        return 0

    def absorb(self, SegmentWriter other) -> None:
        """Append everything of a writer without a file, whose series all come after the last one here, or go on with it."""
        cdef int64_t shift, dictionaries, end, name_end, i, j
        cdef SeriesEntry* series
        cdef BlockEntry* block
        cdef DictionaryEntry* dictionary
        self.end_dictionary()
        other.end_dictionary()
        shift = self.size_bytes - SEGMENT_HEADER_BYTES
        dictionaries = self.dictionaries.count
        self.put(other.pending.data + SEGMENT_HEADER_BYTES, other.pending.count - SEGMENT_HEADER_BYTES)
        for i in range(other.series.count):
            series = <SeriesEntry*> other.series.data + i
            end, name_end = other.blocks.count, other.names.count
            if i + 1 < other.series.count:
                end, name_end = series[1].first_block, series[1].name
            self.begin_series(series.device, <const char*> other.names.data + series.name, name_end - series.name, series.kind)
            for j in range(series.first_block, end):
                block = <BlockEntry*> self.blocks.push(1)
                block[0] = (<BlockEntry*> other.blocks.data)[j]
                block.offset += shift
                if block.dictionary != <uint32_t> NO_DICTIONARY:
                    block.dictionary += <uint32_t> dictionaries
        for i in range(other.dictionaries.count):
            dictionary = <DictionaryEntry*> self.dictionaries.push(1)
            dictionary[0] = (<DictionaryEntry*> other.dictionaries.data)[i]
            dictionary.offset += shift
        self.point_count += other.point_count

    def finish(self) -> None:
        """Write the footer, sync and close the file; a second call does nothing.

        Durability: content is on disk on return, its name is not.
        """
        cdef int64_t footer_offset, footer_bytes
        cdef uint32_t crc, version = SEGMENT_VERSION
        cdef uint8_t* footer
        cdef char[8] padding
        cdef bytes magic = TRAILER_MAGIC
        if self.fd < 0:
            return
        memset(padding, 0, 8)
        self.end_dictionary()
        self.put(padding, -self.size_bytes & 7)
        footer_offset = self.size_bytes
        footer = self._footer(&footer_bytes)
        try:
            memcpy(footer + footer_bytes, &footer_offset, 8)
            memcpy(footer + footer_bytes + 8, &footer_bytes, 8)
            crc = crc32c(footer, footer_bytes + 16, 0)
            memcpy(footer + footer_bytes + 16, &crc, 4)
            memcpy(footer + footer_bytes + 20, &version, 4)
            memcpy(footer + footer_bytes + 24, <const char*> magic, 8)
            self.put(footer, footer_bytes + SEGMENT_TRAILER_BYTES)
        finally:
            free(footer)
        self.flush()
        sync_file(self.fd, self.path)
        self._close()

    def abort(self) -> None:
        """Close and remove the unfinished file."""
        self._close()
        remove_file(self.path)

    def _close(self):
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            # The memory goes with the file: a seal of very many months keeps their writers until all can be committed.
            self.encoder = None
            self.pending = self.series = self.names = self.blocks = self.dictionaries = None
            close_file(fd, self.path)

    cdef int put(self, const void* data, int64_t size) except -1 nogil:
        self.size_bytes += size
        if size >= WRITE_BYTES and self.fd >= 0:        # a large footer: not through the buffer
            self.flush()
            return self.write(data, size)
        if size:
            memcpy(self.pending.push(size), data, size)
            if self.pending.count >= WRITE_BYTES and self.fd >= 0:
                self.flush()
        return 0

    cdef int flush(self) except -1 nogil:
        self.write(self.pending.data, self.pending.count)
        self.pending.count = 0
        return 0

    cdef int write(self, const void* data, int64_t size) except -1 nogil:
        cdef int status = file_write(self.fd, data, size, self.written)
        if status < 0:
            with gil:
                raise storage_error(-status, f"write {size} bytes at {self.written}", self.path)
        self.written += size
        return 0

    cdef uint8_t* _footer(self, int64_t* footer_bytes) except NULL:
        """Return the footer in fresh memory with room for the trailer: the entries turned into arrays."""
        cdef SegmentCounts counts
        cdef SegmentFooter to
        cdef SeriesEntry* series = <SeriesEntry*> self.series.data
        cdef BlockEntry* block = <BlockEntry*> self.blocks.data
        cdef DictionaryEntry* dictionary = <DictionaryEntry*> self.dictionaries.data
        cdef uint8_t* data
        cdef int64_t i
        counts.series_count = <uint32_t> self.series.count
        counts.block_count = <uint32_t> self.blocks.count
        counts.dictionary_count = <uint32_t> self.dictionaries.count
        counts.name_bytes = <uint32_t> self.names.count
        counts.month = self.month
        counts.point_count = self.point_count
        footer_bytes[0] = footer_point(NULL, &counts, &to)
        data = <uint8_t*> calloc(1, footer_bytes[0] + SEGMENT_TRAILER_BYTES)
        if data == NULL:
            PyErr_NoMemory()
        footer_point(data, &counts, &to)
        memcpy(data, &counts, sizeof(counts))
        for i in range(self.series.count):
            (<uint32_t*> to.series_device)[i] = series[i].device
            (<uint32_t*> to.series_name)[i] = series[i].name
            (<uint32_t*> to.series_first_block)[i] = series[i].first_block
            (<uint8_t*> to.series_kind)[i] = series[i].kind
        (<uint32_t*> to.series_name)[self.series.count] = counts.name_bytes
        (<uint32_t*> to.series_first_block)[self.series.count] = counts.block_count
        if self.names.count:
            memcpy(<char*> to.names, self.names.data, self.names.count)
        for i in range(self.blocks.count):
            (<int64_t*> to.first_time)[i] = block[i].stats.first_time
            (<int64_t*> to.last_time)[i] = block[i].stats.last_time
            (<int64_t*> to.minimum)[i] = block[i].stats.minimum
            (<int64_t*> to.maximum)[i] = block[i].stats.maximum
            (<int64_t*> to.sum_high)[i] = block[i].stats.sum_high
            (<int64_t*> to.sum_low)[i] = block[i].stats.sum_low
            (<int64_t*> to.first)[i] = block[i].stats.first
            (<int64_t*> to.last)[i] = block[i].stats.last
            (<uint64_t*> to.offset)[i] = block[i].offset
            (<uint32_t*> to.length)[i] = block[i].length
            (<uint32_t*> to.dictionary)[i] = block[i].dictionary
            (<uint32_t*> to.crc)[i] = block[i].crc
            (<uint16_t*> to.count)[i] = <uint16_t> block[i].stats.count
            (<uint16_t*> to.flags)[i] = <uint16_t> block[i].stats.flags
        for i in range(self.dictionaries.count):
            (<uint64_t*> to.dictionary_offset)[i] = dictionary[i].offset
            (<uint32_t*> to.dictionary_length)[i] = dictionary[i].length
            (<uint32_t*> to.dictionary_entries)[i] = dictionary[i].entries
            (<uint32_t*> to.dictionary_crc)[i] = dictionary[i].crc
        return data
