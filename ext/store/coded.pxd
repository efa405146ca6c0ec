"""What a condition says of a sealed block by its columns of texts, units and groups alone, as they are coded."""

from libc.stdint cimport int64_t, uint8_t

from tsengine.core.codec.strings cimport StringTable
from tsengine.core.store.condition cimport Condition
from tsengine.core.store.segment cimport Segment


cdef class CodedTests:
    """The tests of one scan on strings and groups; answers for a dictionary are found once."""

    cdef Condition condition
    cdef bint tests_text
    cdef bint is_all                    # nothing else is tested
    cdef dict admitted                  # (source, dictionary, column) -> bytes: for each number + 1 whether it counts; 0 = none
    cdef list pairs                     # (high, low) of wanted groups, or None: none is tested

    cdef bint keep(self, Segment segment, int64_t source, int64_t block, uint8_t* kept) except -1
    cdef bytes admits(self, StringTable table, object key, object wanted, object excluded)
    cdef bint keep_strings(
        self, Segment segment, int64_t source, int64_t block, const uint8_t* data, int64_t size, int stream, uint8_t* kept
    ) except -1
    cdef bint keep_groups(self, Segment segment, int64_t block, const uint8_t* data, int64_t size, uint8_t* kept) except -1


# Return the tests of a condition on a series of this kind, or None if there are none.
cdef CodedTests coded_tests(Condition condition, uint8_t kind)
