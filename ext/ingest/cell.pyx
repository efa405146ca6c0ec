"""Single cells of JSON and MessagePack arrays: found one after the other, read where they lie.

What arrives here has passed msgspec, so its grammar is right; every step is checked against the end all the same.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

cdef extern from * nogil:         # words of big-endian data; our machines are little-endian
    uint64_t __builtin_bswap64(uint64_t value)
    uint32_t __builtin_bswap32(uint32_t value)
    uint16_t __builtin_bswap16(uint16_t value)

from tsengine.core.ingest.decimal cimport DECIMAL_FOUND, DECIMAL_NONE, decimal_parse


cdef bint walk_array(Walk* walk, const char* data, int64_t size, bint is_packed) noexcept nogil:
    """Begin a walk over an array's cells and return 1, or 0 if the data is no array."""
    cdef uint8_t first
    cdef int64_t header
    walk.data, walk.size, walk.is_packed = data, size, is_packed
    if size < 1:
        return False
    first = <uint8_t> data[0]
    if not is_packed:
        walk.at, walk.left = 1, 0
        return first == c'['
    if first >> 4 == 9:
        walk.at, walk.left = 1, first & 15
        return True
    if first != 0xDC and first != 0xDD:
        return False
    header = 3 if first == 0xDC else 5
    if size < header:
        return False
    walk.at, walk.left = header, <int64_t> big(data + 1, <int> header - 1)
    return True


cdef int64_t walk_bound(const Walk* walk) noexcept nogil:
    """Return how many cells the array may have at most, as its size tells."""
    return min(walk.left, walk.size - walk.at) if walk.is_packed else (walk.size - walk.at + 1) // 2


cdef int walk_next(Walk* walk, Cell* cell) noexcept nogil:
    """Read the next cell and return 1; 0 at the end, -1 where the array is malformed."""
    if walk.is_packed:
        if walk.left == 0:
            return 0 if walk.at == walk.size else -1
        walk.left -= 1
        if not packed_cell(walk.data + walk.at, walk.size - walk.at, cell):
            return -1
        walk.at += cell.size
        return 1
    skip_space(walk)
    if walk.at < walk.size and walk.data[walk.at] == c']':
        return 0 if walk.at + 1 == walk.size else -1
    if not json_cell(walk.data + walk.at, walk.size - walk.at, cell):
        return -1
    walk.at += cell.size
    skip_space(walk)
    if walk.at >= walk.size:
        return -1
    if walk.data[walk.at] == c',':
        walk.at += 1
    elif walk.data[walk.at] != c']':
        return -1
    return 1


cdef inline void skip_space(Walk* walk) noexcept nogil:
    cdef char letter
    while walk.at < walk.size:
        letter = walk.data[walk.at]
        if letter != c' ' and letter != c'\n' and letter != c'\t' and letter != c'\r':
            return
        walk.at += 1


cdef bint cell_of(const char* data, int64_t size, bint is_packed, Cell* cell) noexcept nogil:
    """Read data that is one cell and nothing else; return 0 if it is not."""
    if not (packed_cell(data, size, cell) if is_packed else json_cell(data, size, cell)):
        return False
    return cell.size == size


# --- JSON ----------------------------------------------------------------------------------------------------------------

cdef inline bint json_cell(const char* data, int64_t size, Cell* cell) noexcept nogil:
    cdef char first
    cdef int found
    if size < 1:
        return False
    first = data[0]
    cell.data = data
    if c'0' <= first <= c'9' or first == c'-':
        found = decimal_parse(data, size, &cell.size, &cell.number)
        cell.kind = CELL_NUMBER if found == DECIMAL_FOUND else CELL_OTHER
        return found != DECIMAL_NONE
    if first == c'"':
        return json_text(data, size, cell)
    if first == c'n':
        return json_word(data, size, "null", 4, CELL_NULL, cell)
    if first == c't':
        return json_word(data, size, "true", 4, CELL_TRUE, cell)
    if first == c'f':
        return json_word(data, size, "false", 5, CELL_FALSE, cell)
    return json_nested(data, size, cell)


cdef bint json_word(const char* data, int64_t size, const char* word, int64_t letters, int kind, Cell* cell) noexcept nogil:
    cell.kind = kind
    cell.size = letters
    return size >= letters and memcmp(data, word, letters) == 0


cdef bint json_text(const char* data, int64_t size, Cell* cell) noexcept nogil:
    cdef const char* end = <const char*> memchr(data + 1, c'"', size - 1)
    cdef int64_t at
    if end == NULL:
        return False
    cell.kind = CELL_TEXT
    cell.text = data + 1
    cell.text_size = end - data - 1
    cell.size = end - data + 1
    if cell.text_size and memchr(cell.text, c'\\', cell.text_size) != NULL:
        cell.kind = CELL_OTHER
        at = 1
        while at < size and data[at] != c'"':
            at += 2 if data[at] == c'\\' else 1
        cell.size = at + 1
        return at < size
    return True


cdef bint json_nested(const char* data, int64_t size, Cell* cell) noexcept nogil:
    """Find the end of an object or array."""
    cdef int64_t depth = 0, at = 0
    cdef Cell text
    cell.kind = CELL_OTHER
    while at < size:
        if data[at] == c'"':
            if not json_text(data + at, size - at, &text):
                return False
            at += text.size
            continue
        if data[at] == c'{' or data[at] == c'[':
            depth += 1
        elif data[at] == c'}' or data[at] == c']':
            depth -= 1
        at += 1
        if depth <= 0:
            break
    cell.size = at
    return depth == 0 and at > 1


# --- MessagePack -----------------------------------------------------------------------------------------------------------

cdef inline uint64_t big(const char* data, int size) noexcept nogil:
    """An unsigned number of 1, 2, 4 or 8 bytes, the highest first."""
    cdef uint64_t eight
    cdef uint32_t four
    cdef uint16_t two
    if size == 8:
        memcpy(&eight, data, 8)
        return __builtin_bswap64(eight)
    if size == 4:
        memcpy(&four, data, 4)
        return __builtin_bswap32(four)
    if size == 2:
        memcpy(&two, data, 2)
        return __builtin_bswap16(two)
    return <uint8_t> data[0]


cdef inline bint packed_number(const char* data, int64_t size, uint8_t first, Cell* cell) noexcept nogil:
    """Read what 0xCA to 0xD3 announce."""
    cdef int bytes_used = 1 << (first & 3)
    cdef uint64_t bits
    cdef uint32_t narrow
    cdef float small
    cell.kind = CELL_NUMBER
    if first < 0xCC:
        bytes_used = 4 if first == 0xCA else 8
    cell.size = 1 + bytes_used
    if size < cell.size:
        return False
    bits = big(data + 1, bytes_used)
    if first == 0xCB:
        memcpy(&cell.number, &bits, 8)
    elif first == 0xCA:
        narrow = <uint32_t> bits
        memcpy(&small, &narrow, 4)
        cell.number = small
    elif first <= 0xCF:
        cell.number = <double> bits
    elif bytes_used == 1:
        cell.number = <signed char> bits
    elif bytes_used == 2:
        cell.number = <int16_t> bits
    elif bytes_used == 4:
        cell.number = <int32_t> bits
    else:
        cell.number = <double> <int64_t> bits
    return True


cdef inline bint packed_cell(const char* data, int64_t size, Cell* cell) noexcept nogil:
    cdef uint8_t first
    cdef int64_t nested
    if size < 1:
        return False
    first = <uint8_t> data[0]
    cell.data = data
    cell.size = 1
    if 0xCA <= first <= 0xD3:
        return packed_number(data, size, first, cell)
    if first < 0x80 or first >= 0xE0:
        cell.kind = CELL_NUMBER
        cell.number = <signed char> first
        return True
    if first == 0xC0 or first == 0xC2 or first == 0xC3:
        cell.kind = CELL_NULL if first == 0xC0 else CELL_FALSE if first == 0xC2 else CELL_TRUE
        return True
    if not packed_extent(data, size, &cell.size, &nested):
        return False
    if first >> 5 == 5 or 0xD9 <= first <= 0xDB:
        cell.kind = CELL_TEXT
        cell.text_size = first & 31 if first >> 5 == 5 else <int64_t> big(data + 1, 1 << (first - 0xD9))
        cell.text = data + cell.size - cell.text_size
        return True
    cell.kind = CELL_OTHER
    return packed_nested(data, size, nested, &cell.size)


cdef bint packed_extent(const char* data, int64_t size, int64_t* used, int64_t* nested) noexcept nogil:
    """Set how many bytes the object at `data` has, without those that lie in it, and how many lie in it."""
    cdef uint8_t first = <uint8_t> data[0]
    cdef int64_t width = 0, fixed = 1, length
    nested[0] = 0
    if first < 0x80 or first >= 0xE0 or first == 0xC0 or first == 0xC2 or first == 0xC3:
        used[0] = 1
    elif first < 0xA0:
        used[0] = 1
        nested[0] = (first & 15) * (2 if first < 0x90 else 1)
    elif first < 0xC0:
        used[0] = 1 + (first & 31)
    elif 0xCA <= first <= 0xD3:
        used[0] = 1 + (4 if first == 0xCA else 8 if first == 0xCB else 1 << (first & 3))
    elif 0xD4 <= first <= 0xD8:
        used[0] = 2 + (1 << (first - 0xD4))
    elif first == 0xC1:
        return False
    else:
        if first <= 0xC6:               # binary
            width = 1 << (first - 0xC4)
        elif first <= 0xC9:             # extension: length, then a type
            width = 1 << (first - 0xC7)
            fixed = 2
        elif first <= 0xDB:             # text
            width = 1 << (first - 0xD9)
        else:                           # 0xDC, 0xDD arrays, 0xDE, 0xDF maps
            width = 2 if first & 1 == 0 else 4
        if size < fixed + width:
            return False
        length = <int64_t> big(data + 1, <int> width)
        used[0] = fixed + width
        if first >= 0xDC:
            nested[0] = length * (2 if first >= 0xDE else 1)
        else:
            used[0] += length
    return used[0] <= size


cdef bint packed_nested(const char* data, int64_t size, int64_t left, int64_t* used) noexcept nogil:
    """Add to `used` the bytes of so many objects that follow, and of those in them."""
    cdef int64_t own, nested
    while left > 0:
        if left > size - used[0] or not packed_extent(data + used[0], size - used[0], &own, &nested):
            return False
        used[0] += own
        left += nested - 1
    return True


def cells(data: bytes, is_packed: bool) -> list[tuple[int, bytes]] | None:
    cdef Walk walk
    cdef Cell cell
    cdef const char* text = data
    cdef list found = []
    cdef int state
    if not walk_array(&walk, text, len(data), is_packed):
        return None
    while True:
        state = walk_next(&walk, &cell)
        if state <= 0:
            return found if state == 0 else None
        found.append((cell.kind, cell.data[:cell.size]))
