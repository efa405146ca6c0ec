"""What a condition says of a sealed block by its columns of texts, units and groups alone, as they are coded.

A text is compared with each string of a dictionary once, then blocks are tested by numbers; a block none of whose points count is
skipped before its times and sequences are decoded. Only strings of dictionaries and groups of 24 hexadecimal digits are
tested here. What lies in a block itself, and groups that follow from sequences, are left to the tests of decoded points.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from tsengine.core.batch cimport GroupCell, group_parse
from tsengine.core.codec.integer cimport integer_decode
from tsengine.core.codec.strings cimport StringTable
from tsengine.core.limits cimport BLOCK_POINTS, KIND_TEXT
from tsengine.core.store.block cimport GROUPS_HEX, STREAM_COUNT, STREAM_GROUP, STREAM_UNIT, STREAM_VALUE, STRINGS_DICTIONARY, find_streams
from tsengine.core.store.condition cimport Condition
from tsengine.core.store.reduce cimport reducers
from tsengine.core.store.segment cimport Segment

NAMES = {STREAM_VALUE: "value", STREAM_UNIT: "unit", STREAM_GROUP: "group"}


cdef CodedTests coded_tests(Condition condition, uint8_t kind):
    cdef CodedTests tests
    cdef bint tests_text
    if condition is None:
        return None
    tests_text = kind == KIND_TEXT and condition.tests_value and (condition.texts is not None or condition.texts_not)
    if not tests_text and condition.units is None and condition.groups is None:
        return None
    tests = CodedTests()
    tests.condition = condition
    tests.tests_text = tests_text
    tests.is_all = not condition.tests_location and (kind == KIND_TEXT or not condition.tests_value)
    tests.admitted = {}
    if condition.groups is not None:
        tests.pairs = group_pairs(condition.groups)
    return tests


cdef list group_pairs(object groups):
    """Return (high, low) of the groups that are 24 hexadecimal digits, as a block has them."""
    cdef GroupCell cell
    cdef bytes text
    cdef list pairs = []
    for group in groups:
        text = group.encode("utf-8", "surrogatepass")
        if group_parse(PyBytes_AS_STRING(text), len(text), &cell):
            pairs.append((<int64_t> cell.high, <int64_t> cell.low))
    return pairs


cdef class CodedTests:
    cdef bint keep(self, Segment segment, int64_t source, int64_t block, uint8_t* kept) except -1:
        """Clear kept[i] where point i of a block does not count; return whether every test was made.

        Raises:
            CorruptionError: the block or its dictionary is damaged.
        """
        cdef int64_t[STREAM_COUNT] start
        cdef int64_t[STREAM_COUNT] length
        cdef const uint8_t* data = segment.file.data + segment.footer.offset[block]
        cdef bint is_all = self.is_all
        segment.check_block(block)
        if not find_streams(data, segment.footer.length[block], start, length):
            raise segment.damaged("block", segment.footer.offset[block], "wrong header stream")
        if self.pairs is not None:
            is_all &= self.keep_groups(segment, block, data + start[STREAM_GROUP], length[STREAM_GROUP], kept)
        if self.condition.units is not None:
            is_all &= self.keep_strings(segment, source, block, data + start[STREAM_UNIT], length[STREAM_UNIT], STREAM_UNIT, kept)
        if self.tests_text:
            is_all &= self.keep_strings(segment, source, block, data + start[STREAM_VALUE], length[STREAM_VALUE], STREAM_VALUE, kept)
        return is_all

    cdef bytes admits(self, StringTable table, object key, object wanted, object excluded):
        """Return for each string of a table + 1 whether it is wanted (None = any is) and not excluded; 0 is none, and never counts."""
        cdef bytes answers = self.admitted.get(key)
        cdef uint8_t* cells
        cdef uint64_t sizes = 0
        cdef uint32_t i
        cdef bytes text
        if answers is not None:
            return answers
        answers = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> table.count + 1)
        cells = <uint8_t*> PyBytes_AS_STRING(answers)
        memset(cells, wanted is None, <size_t> table.count + 1)
        cells[0] = 0
        named = {name.encode("utf-8", "surrogatepass") for name in (excluded if wanted is None else wanted - excluded)}
        for text in named:
            sizes |= <uint64_t> 1 << (len(text) & 63)
        for i in range(table.count):
            # Most strings of a large dictionary differ in size already.
            if sizes >> (table.entries[i].size & 63) & 1 and table.entries[i].data[: table.entries[i].size] in named:
                cells[i + 1] = wanted is not None
        self.admitted[key] = answers
        return answers

    cdef bint keep_strings(
        self, Segment segment, int64_t source, int64_t block, const uint8_t* data, int64_t size, int stream, uint8_t* kept
    ) except -1:
        cdef int64_t[BLOCK_POINTS] numbers
        cdef uint32_t dictionary = segment.footer.dictionary[block]
        cdef int32_t n = segment.footer.count[block], i
        cdef StringTable table
        cdef bytes answers
        cdef const uint8_t* cells
        if size == 0 and stream == STREAM_UNIT:
            memset(kept, 0, n)                      # no point has a unit
            return True
        if size == 0 or data[0] != STRINGS_DICTIONARY:
            return False
        table = segment.dictionary(dictionary)
        if stream == STREAM_UNIT:
            answers = self.admits(table, (source, dictionary, stream), self.condition.units, frozenset())
        else:
            answers = self.admits(table, (source, dictionary, stream), self.condition.texts, self.condition.texts_not)
        cells = <const uint8_t*> PyBytes_AS_STRING(answers)
        if memchr(cells, 1, len(answers)) == NULL:
            memset(kept, 0, n)                      # none of the dictionary's strings counts
            return True
        if integer_decode(data + 1, size - 1, numbers, n) != size - 1:
            raise segment.damaged("block", segment.footer.offset[block], f"wrong {NAMES[stream]} stream")
        for i in range(n):
            if numbers[i] < (stream == STREAM_VALUE) or numbers[i] > table.count:
                raise segment.damaged("block", segment.footer.offset[block], f"wrong {NAMES[stream]} stream")
            kept[i] &= cells[numbers[i]]
        return True

    cdef bint keep_groups(self, Segment segment, int64_t block, const uint8_t* data, int64_t size, uint8_t* kept) except -1:
        cdef int64_t[BLOCK_POINTS] highs
        cdef int64_t[BLOCK_POINTS] lows
        cdef uint8_t[BLOCK_POINTS] found
        cdef int32_t n = segment.footer.count[block], i
        cdef int64_t used, least, most, high, low
        cdef bint is_read = False
        if size < 1 or data[0] != GROUPS_HEX:
            return False
        used = integer_decode(data + 1, size - 1, highs, n)
        if used < 0:
            raise segment.damaged("block", segment.footer.offset[block], "wrong group stream")
        reducers.integer_range(highs, n, &least, &most)
        memset(found, 0, n)
        for high, low in self.pairs:
            if not least <= high <= most:
                continue
            if not is_read and integer_decode(data + 1 + used, size - 1 - used, lows, n) != size - 1 - used:
                raise segment.damaged("block", segment.footer.offset[block], "wrong group stream")
            is_read = True
            for i in range(n):
                found[i] |= (highs[i] == high) & (lows[i] == low)
        for i in range(n):
            kept[i] &= found[i]
        return True
