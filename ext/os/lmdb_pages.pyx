"""Verify the pages of an LMDB file without LMDB, which trusts them: a wrong number in one would end the process, not the read.

Every page that the newest transaction uses is walked: that it is in the file and used once, bounds and sizes of its nodes, order of its
keys and those of the branch above, duplicates, entries of each tree, and the lists of free pages, by which LMDB writes. LMDB has no
checksums, so a changed byte inside of a value is not seen here; that is for whoever decodes it. Layout: LMDB's own (data format 1 of
version 0.9, 64 bits, little-endian), see docs/format/catalog.md. The file is only read.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from tsengine.core.os.mapping cimport Mapping

import os

from tsengine.errors import CorruptionError, StorageError

LEAVES_PAGES_MAX = 16_384
"""Pages up to which `require_pages` reads all that are in use (64 MiB, some 10 ms); of more, branches and free pages alone."""

cdef enum:
    MAGIC = 0xBEEFC0DE
    FORMAT = 1
    HEADER_BYTES = 16
    NODE_BYTES = 8
    TREE_BYTES = 48
    KEY_BYTES_MAX = 511
    DEPTH_MAX = 32

    BRANCH = 0x01                                      # flags of pages
    LEAF = 0x02
    OVERFLOW = 0x04
    META_PAGE = 0x08
    DIRTY = 0x10                                       # means nothing on disk
    EQUAL_KEYS = 0x20
    SUBPAGE = 0x40

    BIG = 0x01                                         # flags of nodes
    TREE_DATA = 0x02
    DUPLICATES = 0x04

    SORTED_DUPLICATES = 0x04                           # flags of trees
    INTEGER_KEYS = 0x08
    EQUAL_DUPLICATES = 0x10

    OF_FREE = 0                                        # kinds of trees
    OF_MAIN = 1
    OF_ENTRIES = 2
    OF_DUPLICATES = 3

cdef uint64_t NO_PAGE = <uint64_t> -1


def check_pages(path):
    """Return what is wrong with the structure of an LMDB file that nobody writes to, one sentence for each tree; empty = nothing.

    Cost: reads every page in use, some 0.1 µs a key.
    """
    try:
        mapping = Mapping(path)
    except StorageError as error:
        return [str(error)]
    return [f"{mapping.path}: {problem}" for problem in look_at(mapping, {}, -1)[1]]


def require_pages(path, databases):
    """Return the names of the databases of a file that LMDB can be trusted with; none of one that is missing or empty.

    Args:
        databases: the flags (MDB_DUPSORT 0x04, MDB_DUPFIXED 0x10) that a database of such a name has to have.

    Raises:
        CorruptionError, StorageError: it cannot be read.
    Cost: as `check_pages`; of a file with more than LEAVES_PAGES_MAX pages its branches and free pages alone are read.
    """
    if not os.path.exists(path):
        return set()
    mapping = Mapping(path)
    if not mapping.size_bytes:
        return set()
    names, problems = look_at(mapping, databases, LEAVES_PAGES_MAX)
    if problems:
        raise CorruptionError("LMDB environment", file=mapping.path, found="; ".join(problems))
    return names


def look_at(Mapping mapping, databases, int64_t leaves_pages_max):
    """Return the names of databases, and the first problem of each tree. A negative bound of pages is none."""
    cdef Meta meta
    cdef Walk walk
    cdef int64_t number
    cdef int result
    memset(&walk, 0, sizeof(Walk))
    try:
        open_meta(mapping, &walk, &meta)
    except ValueError as error:
        return set(), [str(error)]
    walk.with_leaves = leaves_pages_max < 0 or <int64_t> walk.page_count <= leaves_pages_max
    walk.seen = <uint8_t*> calloc(walk.page_count, 1)
    if walk.seen == NULL:
        raise MemoryError
    names, problems = set(), []

    def note(what):
        page = f"page {walk.page} " if walk.page else ""
        problems.append(f"{what}: {page}{walk.problem.decode()}")

    try:
        with nogil:
            result = walk_tree(&walk, &meta.main, OF_MAIN)
        if result:
            note("list of databases")
        for number in range(walk.database_count):
            name = walk.databases[number].name[:walk.databases[number].name_bytes].decode("utf-8", "replace")
            names.add(name)
            if databases.get(name, walk.databases[number].tree.flags) != walk.databases[number].tree.flags:
                problems.append(f"database {name}: flags are wrong")
                continue
            with nogil:
                result = walk_tree(&walk, &walk.databases[number].tree, OF_ENTRIES)
            if result:
                note(f"database {name}")
        with nogil:
            result = walk_tree(&walk, &meta.free, OF_FREE)
        if result:
            note("free pages")
    finally:
        free(walk.seen)
    return names, problems


cdef int open_meta(Mapping mapping, Walk* walk, Meta* newest) except -1:
    """Take the newest of the two meta pages, as LMDB does.

    Raises:
        ValueError: one of them is none.
    """
    cdef int64_t number, at
    cdef Page page
    cdef Meta meta
    if mapping.size_bytes < HEADER_BYTES + <int64_t> sizeof(Meta):
        raise ValueError(f"{mapping.size_bytes} bytes are too few")
    memcpy(&meta, mapping.data + HEADER_BYTES, sizeof(Meta))
    walk.data = mapping.data
    walk.page_bytes = meta.free.pad
    if walk.page_bytes & (walk.page_bytes - 1) or not 512 <= walk.page_bytes <= 32768:
        raise ValueError(f"pages of {walk.page_bytes} bytes")
    if mapping.size_bytes < 2 * walk.page_bytes:
        raise ValueError(f"{mapping.size_bytes} bytes are too few")
    for number in range(2):
        at = number * walk.page_bytes
        memcpy(&page, mapping.data + at, sizeof(Page))
        memcpy(&meta, mapping.data + at + HEADER_BYTES, sizeof(Meta))
        # Transactions take turns with the two pages, so one at the wrong place, or of a wrong number, is none.
        if (
            page.flags & ~DIRTY != META_PAGE or meta.magic != MAGIC or meta.version != FORMAT or meta.free.pad != walk.page_bytes
            or (meta.transaction and meta.transaction & 1 != <uint64_t> number)
        ):
            raise ValueError(f"meta page {number} is none")
        if number == 0 or meta.transaction > newest.transaction:
            newest[0] = meta
    if newest.last_page < 1 or newest.last_page >= newest.map_bytes // <uint64_t> walk.page_bytes:
        raise ValueError(f"page {newest.last_page} cannot be the last one")
    # The last pages may be missing, if they were taken and freed by one transaction: the lists of free pages have them all the same.
    walk.page_count = min(newest.last_page + 1, <uint64_t> (mapping.size_bytes // walk.page_bytes))
    walk.last_page = newest.last_page
    return 0


cdef int walk_tree(Walk* walk, const Tree* tree, int kind) noexcept nogil:
    """Walk a tree from its root and count what is in it. LMDB's counts of pages are not exact when duplicates were deleted."""
    walk.entries = 0
    walk.key = NULL
    if kind == OF_FREE and tree.flags != INTEGER_KEYS or kind == OF_MAIN and tree.flags:
        return failed(walk, 0, b"flags are wrong")
    if kind == OF_ENTRIES and tree.flags not in (0, SORTED_DUPLICATES, SORTED_DUPLICATES | EQUAL_DUPLICATES):
        return failed(walk, 0, b"flags are wrong")
    if tree.root == NO_PAGE:
        return failed(walk, 0, b"entries are missing") if tree.entries else 0
    if not 0 < tree.depth <= DEPTH_MAX:
        return failed(walk, 0, b"the depth is wrong")
    if walk_page(walk, tree, kind, tree.root, 1):
        return -1
    # The free pages' leaves are always read.
    if (walk.with_leaves or kind == OF_FREE or kind == OF_MAIN) and walk.entries != tree.entries:
        return failed(walk, 0, b"the number of entries is wrong")
    return 0


cdef int walk_page(Walk* walk, const Tree* tree, int kind, uint64_t number, int depth) noexcept nogil:
    """Walk a page of a tree and what is below it."""
    cdef Page page
    cdef const uint8_t* at
    if take_pages(walk, number, 1):
        return -1
    if depth == tree.depth and kind == OF_ENTRIES and not walk.with_leaves:
        return 0
    at = walk.data + number * <uint64_t> walk.page_bytes
    memcpy(&page, at, sizeof(Page))
    if page.number != number:
        return failed(walk, number, b"has another number")
    if depth < tree.depth:
        if page.flags & ~DIRTY != BRANCH:
            return failed(walk, number, b"is no branch")
        return walk_branch(walk, tree, kind, number, depth, &page)
    if kind == OF_DUPLICATES and tree.flags & EQUAL_DUPLICATES:
        if page.flags & ~DIRTY != LEAF | EQUAL_KEYS or page.pad != tree.pad:
            return failed(walk, number, b"is no leaf of equally long duplicates")
        return walk_equal_keys(walk, number, at, walk.page_bytes)
    if page.flags & ~DIRTY != LEAF:
        return failed(walk, number, b"is no leaf")
    return walk_nodes(walk, tree, kind, number, at, walk.page_bytes)


cdef int walk_branch(Walk* walk, const Tree* tree, int kind, uint64_t number, int depth, const Page* page) noexcept nogil:
    """Walk the pages that a branch leads to; the key of each but the first is at or below the first of its page."""
    cdef const uint8_t* at = walk.data + number * <uint64_t> walk.page_bytes
    cdef int64_t count, index, used = 0
    cdef uint16_t offset
    cdef Node node
    if page.lower < HEADER_BYTES or page.lower > page.upper or page.upper > walk.page_bytes or page.lower % 2:
        return failed(walk, number, b"has wrong bounds")
    count = (page.lower - HEADER_BYTES) // 2
    if count < (1 if kind == OF_FREE else 2):  # LMDB takes it for granted
        return failed(walk, number, b"is a branch of nothing")
    for index in range(count):
        memcpy(&offset, at + HEADER_BYTES + 2 * index, 2)
        if offset < page.upper or offset + NODE_BYTES > walk.page_bytes:
            return failed(walk, number, b"has a node outside of it")
        memcpy(&node, at + offset, NODE_BYTES)
        used += NODE_BYTES + node.key_bytes + (node.key_bytes & 1)
        if node.key_bytes > KEY_BYTES_MAX or offset + NODE_BYTES + node.key_bytes > walk.page_bytes:
            return failed(walk, number, b"has a key past its end")
        if index:
            if take_key(walk, number, at + offset + NODE_BYTES, node.key_bytes, kind == OF_FREE):
                return -1
            walk.may_equal = True
        if walk_page(walk, tree, kind, node.low | <uint64_t> node.high << 16 | <uint64_t> node.flags << 32, depth + 1):
            return -1
    if used > walk.page_bytes - page.upper:
        return failed(walk, number, b"has nodes over one another")
    return 0


cdef int walk_nodes(Walk* walk, const Tree* tree, int kind, uint64_t number, const uint8_t* data, int64_t size_bytes) noexcept nogil:
    """Walk the nodes of a leaf, or of the small page of duplicates that a value may be."""
    cdef Page page
    cdef Node node
    cdef uint16_t offset
    cdef const uint8_t* key
    cdef const uint8_t* value
    cdef int64_t index, value_bytes, whole, used = 0
    cdef uint64_t first
    memcpy(&page, data, sizeof(Page))
    if page.lower < HEADER_BYTES or page.lower > page.upper or page.upper > size_bytes or page.lower % 2:
        return failed(walk, number, b"has wrong bounds")
    for index in range((page.lower - HEADER_BYTES) // 2):
        memcpy(&offset, data + HEADER_BYTES + 2 * index, 2)
        if offset < page.upper or offset + NODE_BYTES > size_bytes:
            return failed(walk, number, b"has a node outside of it")
        memcpy(&node, data + offset, NODE_BYTES)
        value_bytes = node.low | <int64_t> node.high << 16
        whole = NODE_BYTES + node.key_bytes + (8 if node.flags & BIG else value_bytes)
        used += whole + (whole & 1)
        if node.key_bytes > KEY_BYTES_MAX or offset + whole > size_bytes:
            return failed(walk, number, b"has an entry past its end")
        key, value = data + offset + NODE_BYTES, data + offset + NODE_BYTES + node.key_bytes
        if take_key(walk, number, key, node.key_bytes, kind == OF_FREE):
            return -1
        if node.flags & BIG:
            memcpy(&first, value, 8)
            if take_overflow(walk, first, value_bytes):
                return -1
            value = walk.data + first * <uint64_t> walk.page_bytes + HEADER_BYTES
        if kind == OF_FREE:
            if node.flags & ~BIG or walk_free_list(walk, number, value, value_bytes):
                return failed(walk, number, b"holds a wrong list of free pages")
        elif kind == OF_MAIN and node.flags == TREE_DATA:
            if value_bytes != TREE_BYTES or walk.database_count == DATABASES_MAX:
                return failed(walk, number, b"holds a database that is none")
            memcpy(&walk.databases[walk.database_count].tree, value, TREE_BYTES)
            walk.databases[walk.database_count].name = key
            walk.databases[walk.database_count].name_bytes = node.key_bytes
            walk.database_count += 1
        elif kind == OF_ENTRIES and tree.flags & SORTED_DUPLICATES:
            if node.flags & DUPLICATES:
                if walk_duplicates(walk, tree, number, node.flags, value, value_bytes):
                    return -1
                walk.key, walk.key_bytes, walk.may_equal = key, node.key_bytes, False
                continue
            if node.flags or value_bytes > KEY_BYTES_MAX:
                return failed(walk, number, b"has an entry that is none")
        elif node.flags & ~BIG or kind == OF_DUPLICATES and (node.flags or value_bytes):
            return failed(walk, number, b"has an entry that is none")
        walk.entries += 1
    if used > size_bytes - page.upper:
        return failed(walk, number, b"has entries over one another")
    return 0


cdef int walk_equal_keys(Walk* walk, uint64_t number, const uint8_t* data, int64_t size_bytes) noexcept nogil:
    """Walk a page of keys of one length, without nodes."""
    cdef Page page
    cdef int64_t index, count
    memcpy(&page, data, sizeof(Page))
    count = (page.lower - HEADER_BYTES) // 2
    if (
        page.lower < HEADER_BYTES or page.lower > page.upper or page.lower % 2 or not 0 < page.pad <= KEY_BYTES_MAX
        or page.upper - page.lower != size_bytes - HEADER_BYTES - count * page.pad
    ):
        return failed(walk, number, b"has wrong bounds")
    for index in range(count):
        if take_key(walk, number, data + HEADER_BYTES + index * page.pad, page.pad, False):
            return -1
    walk.entries += count
    return 0


cdef int walk_duplicates(Walk* walk, const Tree* tree, uint64_t number, int flags, const uint8_t* value, int64_t size_bytes) noexcept nogil:
    """Walk the duplicates of one key: a small page inside of its leaf, or a tree of their own."""
    cdef Tree inner
    cdef Page page
    cdef uint64_t before = walk.entries
    cdef bint is_equal = tree.flags & EQUAL_DUPLICATES != 0
    walk.key = NULL
    if flags == DUPLICATES | TREE_DATA:
        if size_bytes != TREE_BYTES:
            return failed(walk, number, b"has a tree of duplicates that is cut short")
        memcpy(&inner, value, TREE_BYTES)
        if inner.flags != (EQUAL_DUPLICATES if is_equal else 0) or not 0 < inner.depth <= DEPTH_MAX:
            return failed(walk, number, b"has a tree of duplicates that is none")
        if walk_page(walk, &inner, OF_DUPLICATES, inner.root, 1):
            return -1
        if walk.entries - before != inner.entries:
            return failed(walk, number, b"has a key with a wrong number of duplicates")
        return 0
    if flags != DUPLICATES or size_bytes < HEADER_BYTES:
        return failed(walk, number, b"has duplicates that are none")
    memcpy(&page, value, sizeof(Page))
    if page.flags & ~DIRTY != (SUBPAGE | LEAF | EQUAL_KEYS if is_equal else SUBPAGE | LEAF):
        return failed(walk, number, b"has duplicates that are none")
    if is_equal:
        return walk_equal_keys(walk, number, value, size_bytes)
    inner.flags = 0
    return walk_nodes(walk, &inner, OF_DUPLICATES, number, value, size_bytes)


cdef int walk_free_list(Walk* walk, uint64_t number, const uint8_t* value, int64_t size_bytes) noexcept nogil:
    """Look at a list of free pages: how many, then their numbers, the highest first. One that is in use would be written over."""
    cdef uint64_t count, page, before = walk.last_page + 1
    cdef int64_t index
    if size_bytes < 8 or size_bytes % 8:
        return -1
    memcpy(&count, value, 8)
    if count > <uint64_t> (size_bytes // 8 - 1):
        return -1
    for index in range(1, <int64_t> count + 1):
        memcpy(&page, value + 8 * index, 8)
        if page >= before or page < walk.page_count and take_pages(walk, page, 1):
            return -1
        before = page
    return 0


cdef int take_overflow(Walk* walk, uint64_t number, int64_t value_bytes) noexcept nogil:
    """Take the pages of a value that has its own; they may be more than it needs, if a longer value was there before it."""
    cdef Page page
    cdef int64_t count
    if take_pages(walk, number, 1):
        return -1
    memcpy(&page, walk.data + number * <uint64_t> walk.page_bytes, sizeof(Page))
    count = page.lower | <int64_t> page.upper << 16
    if page.number != number or page.flags & ~DIRTY != OVERFLOW or count * walk.page_bytes < value_bytes + HEADER_BYTES:
        return failed(walk, number, b"is no run of pages for its value")
    return take_pages(walk, number + 1, count - 1)


cdef int take_key(Walk* walk, uint64_t number, const uint8_t* key, int64_t size_bytes, bint is_number) noexcept nogil:
    """See that a key comes after the one before it; numbers are those of transactions, in the lists of free pages."""
    cdef int order = -1
    cdef uint64_t earlier, later
    if is_number:
        if size_bytes != 8:
            return failed(walk, number, b"has a key that is no transaction")
        if walk.key != NULL:
            memcpy(&earlier, walk.key, 8)
            memcpy(&later, key, 8)
            order = 1 if earlier > later else 0 if earlier == later else -1
    elif walk.key != NULL:
        order = memcmp(walk.key, key, min(walk.key_bytes, size_bytes))
        if order == 0:
            order = 1 if walk.key_bytes > size_bytes else 0 if walk.key_bytes == size_bytes else -1
    if order > 0 or order == 0 and not walk.may_equal:
        return failed(walk, number, b"has a key out of order")
    walk.key, walk.key_bytes, walk.may_equal = key, size_bytes, False
    return 0


cdef int take_pages(Walk* walk, uint64_t first, uint64_t count) noexcept nogil:
    """Note pages as used."""
    cdef uint64_t number
    if first < 2 or first > walk.last_page + 1 or count > walk.last_page + 1 - first:
        return failed(walk, first, b"does not exist")
    if first + count > walk.page_count:
        return failed(walk, first, b"is missing: the file is cut")
    for number in range(first, first + count):
        if walk.seen[number]:
            return failed(walk, number, b"is used twice")
        walk.seen[number] = 1
    return 0


cdef int failed(Walk* walk, uint64_t page, const char* problem) noexcept nogil:
    """Note a problem and the page it is on; 0 = that is not told."""
    walk.problem = problem
    walk.page = page
    return -1
