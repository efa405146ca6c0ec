from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef struct Page:
    # LMDB's MDB_page, the head of each page. Of a run of overflow pages, lower and upper are how many there are.
    uint64_t number
    uint16_t pad                                       # on a page of keys alone: the length of each
    uint16_t flags
    uint16_t lower                                     # where the offsets of the nodes end
    uint16_t upper                                     # where the nodes begin

cdef struct Node:
    # MDB_node. On a leaf low and high are the length of the value; on a branch, with the flags, the page that it leads to.
    uint16_t low
    uint16_t high
    uint16_t flags
    uint16_t key_bytes

cdef struct Tree:
    # MDB_db: where a tree begins, and what should be in it.
    uint32_t pad
    uint16_t flags
    uint16_t depth
    uint64_t branch_pages
    uint64_t leaf_pages
    uint64_t overflow_pages
    uint64_t entries
    uint64_t root

cdef struct Meta:
    # MDB_meta, behind the head of the first two pages.
    uint32_t magic
    uint32_t version
    uint64_t address
    uint64_t map_bytes
    Tree free
    Tree main
    uint64_t last_page
    uint64_t transaction

cdef struct Database:
    # A tree that the main tree leads to.
    Tree tree
    const uint8_t* name
    int64_t name_bytes

cdef enum:
    DATABASES_MAX = 32

cdef struct Walk:
    # A look at the trees of the newest transaction, and the first problem of the tree that it is in.
    const uint8_t* data
    uint8_t* seen                                      # a byte a page: it is in a tree, or in a list of free pages
    int64_t page_bytes
    uint64_t page_count                                # of the file
    uint64_t last_page                                 # that was ever used
    bint with_leaves
    uint64_t entries
    const uint8_t* key                                 # what comes next must be above this; NULL = anything may come
    int64_t key_bytes
    bint may_equal                                     # the key is a branch's: its leaf may begin with it
    int64_t database_count
    Database databases[DATABASES_MAX]
    const char* problem
    uint64_t page

# All return 0, or -1 with the problem noted.
cdef int walk_tree(Walk* walk, const Tree* tree, int kind) noexcept nogil
cdef int walk_page(Walk* walk, const Tree* tree, int kind, uint64_t number, int depth) noexcept nogil
cdef int walk_branch(Walk* walk, const Tree* tree, int kind, uint64_t number, int depth, const Page* page) noexcept nogil
cdef int walk_nodes(Walk* walk, const Tree* tree, int kind, uint64_t number, const uint8_t* data, int64_t size_bytes) noexcept nogil
cdef int walk_equal_keys(Walk* walk, uint64_t number, const uint8_t* data, int64_t size_bytes) noexcept nogil
cdef int walk_duplicates(Walk* walk, const Tree* tree, uint64_t number, int flags, const uint8_t* value, int64_t size_bytes) noexcept nogil
cdef int walk_free_list(Walk* walk, uint64_t number, const uint8_t* value, int64_t size_bytes) noexcept nogil
cdef int take_overflow(Walk* walk, uint64_t number, int64_t value_bytes) noexcept nogil
cdef int take_key(Walk* walk, uint64_t number, const uint8_t* key, int64_t size_bytes, bint is_number) noexcept nogil
cdef int take_pages(Walk* walk, uint64_t first, uint64_t count) noexcept nogil
cdef int failed(Walk* walk, uint64_t page, const char* problem) noexcept nogil
