"""Up to 1,024 points of one series: encode, decode.

A block is one byte that says which streams are there, the length of each but the last as a varint, and the streams.
Strings are numbers of the dictionary that the block's directory entry names, or lie in the block where most of them occur
once. Nothing in a block depends on another block, so compaction moves blocks byte for byte. Format: docs/format/segment.md.
"""

from libc.math cimport NAN, isnan
from libc.stdint cimport UINT32_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_NoMemory

from tsengine.core.batch cimport GroupCell, LocationCell
from tsengine.core.codec.compress cimport text_compress, text_expand
from tsengine.core.codec.fields cimport put_varint
from tsengine.core.codec.integer cimport integer_bound, integer_decode, integer_encode
from tsengine.core.codec.number cimport number_bound, number_decode, number_encode
from tsengine.core.codec.strings cimport utf8_is_valid
from tsengine.core.limits cimport (
    BLOCK_POINTS,
    GROUP_AUTO,
    GROUP_HEX,
    GROUP_TEXT,
    KIND_BOOLEAN,
    KIND_INTEGER,
    KIND_NUMBER,
    KIND_TEXT,
    METADATA_BYTES,
)
from tsengine.core.store.points cimport (
    WANT_GROUP,
    WANT_LOCATION,
    WANT_METADATA,
    WANT_RECEIVED,
    WANT_UNIT,
    WANT_VALUE,
    Columns,
    PointBuffer,
    StringMap,
)
from tsengine.core.store.statistics cimport BlockStats, block_stats

cdef enum:
    HEADER_BYTES_MAX = 1 + 5 * (STREAM_COUNT - 1)

cdef enum:
    # Below this many bytes of new text a dictionary costs less than it could save.
    PLAIN_BYTES_MIN = 1024
    # Less text is not worth a call of the compressor (10 to 20 us) each time it is written and read.
    COMPRESS_BYTES_MIN = 4096
    # No string in a block is longer: metadata is what may be longest.
    STRING_BYTES_MAX = METADATA_BYTES

# Forms of a stream of locations.
cdef enum:
    LOCATIONS_ALL = 0           # numbers: latitude; numbers: longitude
    LOCATIONS_SOME = 1          # integers: 1 where there is one; then as above, absent ones repeat the one before


# --- encode -------------------------------------------------------------------------------------------------------

cdef inline bint is_constant(const uint32_t* column, int64_t step, int64_t n) noexcept nogil:
    cdef uint32_t wrong = 0
    cdef int64_t i
    if step == 1:
        for i in range(n):
            wrong |= column[i] ^ column[0]
    elif step:
        return False
    return not wrong


cdef inline void widen(const uint32_t* column, int64_t step, int64_t n, int64_t* cells) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        cells[i] = column[i * step]


cdef class BlockEncoder:
    def __cinit__(self):
        self.exponent_hint = -1

    def __dealloc__(self):
        free(self.buffer)

    cdef int encode(self, const Columns* columns, uint8_t kind, StringMap map, BlockStats* stats) except -1 nogil:
        """Encode 1 to 1,024 points in time order into buffer[begin:end] and fill in their statistics.

        map: from the strings of the columns to the dictionary that the block will name.
        """
        cdef int32_t n = <int32_t> columns.count
        cdef int64_t start[STREAM_COUNT + 1]
        cdef uint8_t header[HEADER_BYTES_MAX]
        cdef int64_t header_bytes = 1
        cdef int stream, last
        block_stats(columns, kind, stats)
        self.end = HEADER_BYTES_MAX
        start[STREAM_TIME] = self.end
        self.put_integers(columns.time, n)
        start[STREAM_VALUE] = self.end
        self.put_value(columns, kind, map)
        start[STREAM_SEQUENCE] = self.end
        self.put_integers(<const int64_t*> columns.sequence, n)
        start[STREAM_RECEIVED] = self.end
        self.put_received(columns)
        start[STREAM_UNIT] = self.end
        self.put_string_column(columns.unit, columns.unit_step, n, map)
        start[STREAM_GROUP] = self.end
        self.put_group(columns, map)
        start[STREAM_LOCATION] = self.end
        self.put_location(columns)
        start[STREAM_METADATA] = self.end
        self.put_string_column(columns.metadata, columns.metadata_step, n, map)
        start[STREAM_COUNT] = self.end

        header[0] = 0
        last = 0
        for stream in range(STREAM_COUNT):
            if start[stream + 1] > start[stream]:
                header[0] |= 1 << stream
                last = stream
        for stream in range(last):
            if header[0] >> stream & 1:
                header_bytes = put_varint(header + header_bytes, start[stream + 1] - start[stream]) - header
        self.begin = HEADER_BYTES_MAX - header_bytes
        memcpy(self.buffer + self.begin, header, header_bytes)
        return 0

    cdef int ensure(self, int64_t size) except -1 nogil:
        """Make room for this many bytes behind `end`."""
        cdef int64_t capacity = self.end + size
        cdef void* grown
        if capacity <= self.capacity:
            return 0
        capacity *= 2
        grown = realloc(self.buffer, capacity)
        if grown == NULL:
            with gil:
                PyErr_NoMemory()
            return -1
        self.buffer = <uint8_t*> grown
        self.capacity = capacity
        return 0

    cdef int put_integers(self, const int64_t* values, int32_t n) except -1 nogil:
        self.ensure(integer_bound(n))
        self.end += integer_encode(values, n, self.buffer + self.end)
        return 0

    cdef int put_numbers(self, const double* values, int32_t n, int32_t* hint) except -1 nogil:
        self.ensure(number_bound(n))
        self.end += number_encode(values, n, self.buffer + self.end, hint)
        return 0

    cdef int put_value(self, const Columns* columns, uint8_t kind, StringMap map) except -1 nogil:
        cdef int32_t n = <int32_t> columns.count
        cdef int64_t i
        if kind == KIND_NUMBER:
            self.put_numbers(<const double*> columns.value, n, &self.exponent_hint)
        elif kind == KIND_INTEGER or kind == KIND_BOOLEAN:
            self.put_integers(columns.value, n)
        elif kind == KIND_TEXT:
            for i in range(n):
                self.cells[i] = columns.value[i] + 1
            self.put_strings(n, map)
        return 0

    cdef int put_received(self, const Columns* columns) except -1 nogil:
        cdef int32_t n = <int32_t> columns.count
        if is_constant(columns.received, columns.received_step, n):
            n = 1           # one value and n equal ones are the same bytes
        widen(columns.received, columns.received_step, n, self.cells)
        return self.put_integers(self.cells, n)

    cdef int put_string_column(self, const uint32_t* column, int64_t step, int32_t n, StringMap map) except -1 nogil:
        """Write the strings whose numbers + 1 are in the column (0 = none); write nothing if there is none."""
        if not is_constant(column, step, n):
            widen(column, step, n, self.cells)
            return self.put_strings(n, map)
        if column[0] == 0:
            return 0
        self.cells[0] = column[0]
        if n == 1:
            return self.put_strings(1, map)
        map.reserve()
        self.ensure(1)
        self.buffer[self.end] = STRINGS_DICTIONARY
        self.end += 1
        self.cells[0] = map.get(column[0] - 1) + 1
        return self.put_integers(self.cells, 1)

    cdef int put_strings(self, int32_t n, StringMap map) except -1 nogil:
        """Write the strings whose numbers + 1 are in `cells` (0 = none), some of them at least."""
        cdef int64_t i, size, form = self.end, text, last = 0, mapped = 0
        cdef uint32_t number
        map.reserve()
        self.ensure(1)
        if not self.is_unique_text(n, map):
            self.buffer[self.end] = STRINGS_DICTIONARY
            self.end += 1
            for i in range(n):
                if self.cells[i] != last:
                    last = self.cells[i]
                    mapped = map.get(<uint32_t> (last - 1)) + 1 if last else 0
                self.cells[i] = mapped
            return self.put_integers(self.cells, n)
        self.buffer[self.end] = STRINGS_PLAIN
        self.end += 1
        # The text goes behind the lengths, so the numbers are needed twice: the lengths get the upper half of each cell.
        for i in range(n):
            if self.cells[i]:
                number = <uint32_t> (self.cells[i] - 1)
                self.cells[i] |= (<int64_t> map.source.entries[number].size + 1) << 33
        self.put_lengths(n)
        text = self.end
        for i in range(n):
            if self.cells[i]:
                number = <uint32_t> ((self.cells[i] & ((<int64_t> 1 << 33) - 1)) - 1)
                size = map.source.entries[number].size
                self.ensure(size)
                memcpy(self.buffer + self.end, map.source.entries[number].data, size)
                self.end += size
        if self.end - text >= COMPRESS_BYTES_MIN and self.compress(text):
            self.buffer[form] = STRINGS_COMPRESSED
        return 0

    cdef bint compress(self, int64_t text) except -1 with gil:
        """Compress what was written since `text` in its place, if that saves a fifth: letters at random save less."""
        cdef int64_t size = self.end - text
        cdef bytes compressed = text_compress(<const char*> self.buffer + text, size)
        if PyBytes_GET_SIZE(compressed) * 5 > size * 4:
            return False
        memcpy(self.buffer + text, PyBytes_AS_STRING(compressed), PyBytes_GET_SIZE(compressed))
        self.end = text + PyBytes_GET_SIZE(compressed)
        return True

    cdef int put_lengths(self, int32_t n) except -1 nogil:
        cdef int64_t lengths[BLOCK_POINTS]
        cdef int32_t i
        for i in range(n):
            lengths[i] = self.cells[i] >> 33
        return self.put_integers(lengths, n)

    cdef bint is_unique_text(self, int32_t n, StringMap map) noexcept nogil:
        """Whether most of the strings in `cells` are new to the dictionary and long: then it would only get in the way."""
        cdef int64_t present = 0, new_count = 0, new_bytes = 0
        cdef uint32_t number
        cdef int32_t i
        for i in range(n):
            if self.cells[i]:
                present += 1
                number = <uint32_t> (self.cells[i] - 1)
                if map.numbers[number] == 0:
                    map.numbers[number] = UINT32_MAX        # seen in this block; taken back below
                    new_count += 1
                    new_bytes += map.source.entries[number].size
        for i in range(n):
            if self.cells[i] and map.numbers[self.cells[i] - 1] == UINT32_MAX:
                map.numbers[self.cells[i] - 1] = 0
        return new_bytes >= PLAIN_BYTES_MIN and 4 * new_count > 3 * present

    cdef int put_group(self, const Columns* columns, StringMap map) except -1 nogil:
        cdef int32_t n = <int32_t> columns.count
        cdef int64_t highs[BLOCK_POINTS]
        cdef const GroupCell* cell = columns.group
        cdef uint32_t form = cell.form, differs = 0
        cdef int64_t i
        for i in range(n):
            differs |= cell.form ^ form
            highs[i] = <int64_t> cell.high
            self.cells[i] = cell.low
            cell += columns.group_step
        self.ensure(1)
        if differs or form == GROUP_TEXT:
            return self.put_mixed_group(columns, highs, map)
        self.buffer[self.end] = GROUPS_AUTO if form == GROUP_AUTO else GROUPS_HEX
        self.end += 1
        if form == GROUP_HEX:
            self.put_integers(highs, n)
        return self.put_integers(self.cells, n)

    cdef int put_mixed_group(self, const Columns* columns, const int64_t* highs, StringMap map) except -1 nogil:
        """Write groups of several forms, whose low parts are in `cells`."""
        cdef int32_t n = <int32_t> columns.count
        cdef int64_t forms[BLOCK_POINTS]
        cdef int64_t i
        for i in range(n):
            forms[i] = (columns.group + i * columns.group_step).form
            if forms[i] == GROUP_TEXT:
                self.cells[i] = map.get(<uint32_t> self.cells[i])
        self.buffer[self.end] = GROUPS_MIXED
        self.end += 1
        self.put_integers(forms, n)
        self.put_integers(highs, n)
        return self.put_integers(self.cells, n)

    cdef int put_location(self, const Columns* columns) except -1 nogil:
        cdef int32_t n = <int32_t> columns.count
        cdef const LocationCell* cell
        cdef LocationCell last
        cdef int64_t present = 0, i
        cdef int32_t hint
        for i in range(n):
            present += not isnan((columns.location + i * columns.location_step).lat)
        if present == 0:
            return 0
        self.ensure(1)
        self.buffer[self.end] = LOCATIONS_ALL if present == n else LOCATIONS_SOME
        self.end += 1
        if present < n:
            for i in range(n):
                self.cells[i] = not isnan((columns.location + i * columns.location_step).lat)
            self.put_integers(self.cells, n)
        last.lat = last.lng = 0
        for i in range(n):
            cell = columns.location + i * columns.location_step
            last.lat = last.lat if isnan(cell.lat) else cell.lat
            self.degrees[i] = last.lat
        hint = -1
        self.put_numbers(self.degrees, n, &hint)
        for i in range(n):
            cell = columns.location + i * columns.location_step
            last.lng = last.lng if isnan(cell.lat) else cell.lng
            self.degrees[i] = last.lng
        return self.put_numbers(self.degrees, n, &hint)


# --- decode -------------------------------------------------------------------------------------------------------

cdef int find_streams(const uint8_t* data, int64_t size, int64_t* start, int64_t* length) noexcept nogil:
    """Set where each stream starts and how long it is (0 = absent); return 0 if the header does not fit the block."""
    cdef int64_t at = 1, total = 0
    cdef uint64_t value
    cdef int stream, last = -1, shift
    if size < 1:
        return 0
    for stream in range(STREAM_COUNT):
        length[stream] = 0
        if data[0] >> stream & 1:
            last = stream
    for stream in range(last):
        if data[0] >> stream & 1:
            value = 0
            shift = 0
            while True:
                if at >= size or shift > 28:
                    return 0
                value |= <uint64_t> (data[at] & 127) << shift
                shift += 7
                at += 1
                if data[at - 1] < 128:
                    break
            length[stream] = <int64_t> value
            total += <int64_t> value
    if last < 0 or at + total >= size:
        return 0
    length[last] = size - at - total
    for stream in range(STREAM_COUNT):
        start[stream] = at
        at += length[stream]
    return 1


cdef int decode_small(const uint8_t* data, int64_t size, int32_t n, int64_t* cells, uint32_t* out) noexcept nogil:
    """Decode a whole stream of 32-bit values; return 0 if it is damaged."""
    cdef int32_t i
    if integer_decode(data, size, cells, n) != size:
        return 0
    for i in range(n):
        if cells[i] < 0 or cells[i] > UINT32_MAX:
            return 0
        out[i] = <uint32_t> cells[i]
    return 1


cdef int decode_strings(
    const uint8_t* data, int64_t size, int32_t n, int64_t* cells, StringMap map, PointBuffer into
) except -1 nogil:
    """Decode a stream of strings to numbers + 1 of into.strings in `cells`; return 0 if it is damaged."""
    cdef int64_t used, at, last = 0, mapped = 0
    cdef int32_t i
    if size < 1:
        return 0
    used = integer_decode(data + 1, size - 1, cells, n)
    if used < 0:
        return 0
    if data[0] == STRINGS_DICTIONARY:
        if used != size - 1:
            return 0
        for i in range(n):
            if cells[i] != last:
                last = cells[i]
                if last < 0 or last > map.source.count:
                    return 0
                mapped = map.get(<uint32_t> (last - 1)) + 1 if last else 0
            cells[i] = mapped
        return 1
    at = used + 1
    if data[0] == STRINGS_PLAIN:
        return decode_text(<const char*> data + at, size - at, n, cells, into)
    if data[0] == STRINGS_COMPRESSED:
        return decode_compressed(<const char*> data + at, size - at, n, cells, into)
    return 0


cdef int decode_text(const char* text, int64_t size, int32_t n, int64_t* cells, PointBuffer into) except -1 nogil:
    """Turn lengths + 1 (0 = none) of strings that lie one after another to numbers + 1; return 0 if they do not fit the text."""
    cdef int64_t at = 0, length
    cdef int32_t i
    for i in range(n):
        if cells[i]:
            length = cells[i] - 1
            if length < 0 or length > size - at or not utf8_is_valid(text + at, length):
                return 0
            cells[i] = into.strings.add(text + at, <uint32_t> length) + 1
            at += length
    return at == size


cdef int decode_compressed(const char* data, int64_t size, int32_t n, int64_t* cells, PointBuffer into) except -1 nogil:
    """The same of compressed text. The lengths bound its size: at most 10.5 MB a block, whatever the frame says of itself."""
    cdef int64_t total = 0
    cdef int32_t i
    for i in range(n):
        if cells[i] < 0 or cells[i] > STRING_BYTES_MAX + 1:
            return 0
        total += cells[i] - 1 if cells[i] else 0
    with gil:
        text = text_expand(data, size, total)
        if text is None:
            return 0
        return decode_text(PyBytes_AS_STRING(text), total, n, cells, into)


cdef int decode_group(
    const uint8_t* data, int64_t size, int32_t n, int64_t* cells, StringMap map, GroupCell* out
) except -1 nogil:
    cdef int64_t at = 1, used
    cdef int32_t i
    if size < 1 or data[0] > GROUPS_MIXED:
        return 0
    for i in range(n):
        out[i].form = GROUP_HEX if data[0] == GROUPS_HEX else GROUP_AUTO
        out[i].high = 0
    if data[0] == GROUPS_MIXED:
        used = integer_decode(data + at, size - at, cells, n)
        if used < 0:
            return 0
        at += used
        for i in range(n):
            if cells[i] < GROUP_AUTO or cells[i] > GROUP_TEXT:
                return 0
            out[i].form = <uint32_t> cells[i]
    if data[0] != GROUPS_AUTO:
        used = integer_decode(data + at, size - at, cells, n)
        if used < 0:
            return 0
        at += used
        for i in range(n):
            out[i].high = <uint64_t> cells[i]
    if integer_decode(data + at, size - at, cells, n) != size - at:
        return 0
    for i in range(n):
        if cells[i] < 0 or cells[i] > UINT32_MAX or (out[i].form == GROUP_TEXT and cells[i] >= map.source.count):
            return 0
        out[i].low = <uint32_t> (map.get(<uint32_t> cells[i]) if out[i].form == GROUP_TEXT else cells[i])
    return 1


cdef int decode_location(const uint8_t* data, int64_t size, int32_t n, int64_t* cells, LocationCell* out) noexcept nogil:
    cdef double degrees[BLOCK_POINTS]
    cdef int64_t at = 1, used
    cdef int32_t i
    if size < 1 or data[0] > LOCATIONS_SOME:
        return 0
    if data[0] == LOCATIONS_SOME:
        used = integer_decode(data + at, size - at, cells, n)
        if used < 0:
            return 0
        at += used
    used = number_decode(data + at, size - at, degrees, n)
    if used < 0:
        return 0
    at += used
    for i in range(n):
        out[i].lat = degrees[i]
    if number_decode(data + at, size - at, degrees, n) != size - at:
        return 0
    for i in range(n):
        out[i].lng = degrees[i]
        if data[0] == LOCATIONS_SOME and cells[i] == 0:
            out[i].lat = out[i].lng = NAN
    return 1


cdef int decode_value(const uint8_t* data, int64_t size, int32_t n, int64_t* out, StringMap map, PointBuffer into) except -1 nogil:
    cdef int32_t i
    if into.kind == KIND_NUMBER:
        return number_decode(data, size, <double*> out, n) == size
    if into.kind != KIND_TEXT:
        return integer_decode(data, size, out, n) == size
    if not decode_strings(data, size, n, out, map, into):
        return 0
    for i in range(n):
        out[i] -= 1
        if out[i] < 0:
            return 0
    return 1


cdef const char* block_decode(
    const uint8_t* data, int64_t size, int32_t n, PointBuffer into, StringMap map
) except? NULL nogil:
    """Append the n points of an encoded block to a buffer: the columns that it wants.

    map: from the block's dictionary to into.strings. Returns the name of a damaged stream, or NULL; the caller knows file
    and offset. Nothing is appended then.
    """
    cdef int64_t start[STREAM_COUNT]
    cdef int64_t length[STREAM_COUNT]
    cdef int64_t cells[BLOCK_POINTS]
    cdef int64_t at = into.count
    cdef int32_t i
    if not find_streams(data, size, start, length):
        return "header"
    into.reserve(at + BLOCK_POINTS)             # decoders may write a whole block
    if integer_decode(data + start[STREAM_TIME], length[STREAM_TIME], into.time + at, n) != length[STREAM_TIME]:
        return "time"
    if into.want & WANT_VALUE:
        if not decode_value(data + start[STREAM_VALUE], length[STREAM_VALUE], n, into.value + at, map, into):
            return "value"
    if integer_decode(data + start[STREAM_SEQUENCE], length[STREAM_SEQUENCE], <int64_t*> into.sequence + at, n) != length[STREAM_SEQUENCE]:
        return "sequence"
    if into.want & WANT_RECEIVED:
        if not decode_small(data + start[STREAM_RECEIVED], length[STREAM_RECEIVED], n, cells, into.received + at):
            return "received"
    if into.want & WANT_UNIT:
        memset(into.unit + at, 0, 4 * <int64_t> n)
        if length[STREAM_UNIT]:
            if not decode_strings(data + start[STREAM_UNIT], length[STREAM_UNIT], n, cells, map, into):
                return "unit"
            for i in range(n):
                into.unit[at + i] = <uint32_t> cells[i]
    if into.want & WANT_GROUP:
        if not decode_group(data + start[STREAM_GROUP], length[STREAM_GROUP], n, cells, map, into.group + at):
            return "group"
    if into.want & WANT_LOCATION:
        if length[STREAM_LOCATION]:
            if not decode_location(data + start[STREAM_LOCATION], length[STREAM_LOCATION], n, cells, into.location + at):
                return "location"
        else:
            for i in range(n):
                into.location[at + i].lat = into.location[at + i].lng = NAN
    if into.want & WANT_METADATA:
        memset(into.metadata + at, 0, 4 * <int64_t> n)
        if length[STREAM_METADATA]:
            if not decode_strings(data + start[STREAM_METADATA], length[STREAM_METADATA], n, cells, map, into):
                return "metadata"
            for i in range(n):
                into.metadata[at + i] = <uint32_t> cells[i]
    if not into.added(n):       # readers rely on it: buckets are found by the first and last time of a block
        into.count = at
        return "order, in its time or sequence"
    return NULL
