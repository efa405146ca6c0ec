"""Points that are only in the log and in memory, per series (device, variable, kind).

Life: the store applies batches to the active memtable, in log order and from one thread at a time; when it passes its
budget it is frozen, sealed to segments in the background, and dropped once the manifest lists them. Readers copy the
`columns` of the blocks they need while they hold the GIL: a block's cells below its count never change and its arrays
never move. The table of strings does move while points are added, so strings are looked up with the GIL. Memory is one
arena, so its size is known exactly and freed at once.
"""

from libc.math cimport NAN, isnan
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort, realloc
from libc.string cimport memcmp, memcpy, memset

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
from tsengine.core.calendar cimport period_number, period_start
from tsengine.core.codec.strings cimport StringEntry, StringTable
from tsengine.core.limits cimport BLOCK_POINTS, GROUP_AUTO, GROUP_TEXT, KIND_COUNT, KIND_NONE, KIND_TEXT
from tsengine.core.os.arena cimport Arena

from tsengine.core.calendar import PERIODS

cdef enum:
    BLOCK_POINTS_FIRST = 4      # an idle series of a fleet should cost little; each next block is twice as large
    SERIES_FIRST = 64


cdef inline uint32_t series_hash(uint32_t device, uint32_t name, uint8_t kind) noexcept nogil:
    cdef uint64_t state = (<uint64_t> device << 32 | name) * 0x9E3779B97F4A7C15ULL
    state = (state ^ state >> 29 ^ kind) * 0xBF58476D1CE4E5B9ULL
    return <uint32_t> (state >> 32)


cdef inline bint same_group(const GroupCell* a, const GroupCell* b) noexcept nogil:
    return memcmp(a, b, sizeof(GroupCell)) == 0


cdef inline bint same_location(const LocationCell* a, const LocationCell* b) noexcept nogil:
    if isnan(a.lat) or isnan(b.lat):
        return isnan(a.lat) and isnan(b.lat)
    return memcmp(a, b, sizeof(LocationCell)) == 0


cdef class Memtable:
    def __cinit__(self):
        self.arena = Arena()
        self.strings = StringTable()
        self.by_device = {}

    def __dealloc__(self):
        free(self.series)
        free(self.slots)
        free(self.cache)
        free(self.string_cache)

    @property
    def size_bytes(self) -> int:
        """Memory it holds, bytes."""
        return self.arena.size_bytes + self.strings.arena.size_bytes + 40 * <int64_t> self.strings.capacity + 16 * self.series_capacity

    def apply(self, record: bytes, log_seq: int) -> int:
        """Add the points of a batch; return how many.

        Raises:
            CorruptionError: the record is damaged; nothing was added.
        """
        cdef BatchView view
        if self.is_frozen:
            raise RuntimeError("a frozen memtable takes no batch")
        batch_open(<const uint8_t*> PyBytes_AS_STRING(record), PyBytes_GET_SIZE(record), &view)
        self.apply_view(&view)
        if self.first_log_seq == 0:
            self.first_log_seq = log_seq
        self.last_log_seq = log_seq
        self.point_count += view.header.count
        return view.header.count

    def freeze(self) -> None:
        """From now on nothing is added."""
        self.is_frozen = True

    def device_series(self, device: int) -> list[tuple[bytes, int]]:
        """Return (variable, kind) of every series of a device, in no particular order."""
        cdef MemtableSeries* series = self.first_of(device)
        cdef list result = []
        while series != NULL:
            result.append((self.strings[series.name], series.kind))
            series = series.next_of_device
        return result

    def device_count(self, device: int) -> int:
        """Return how many points of a device were ever added."""
        cdef MemtableSeries* series = self.first_of(device)
        cdef int64_t count = 0
        while series != NULL:
            count += series.count
            series = series.next_of_device
        return count

    def devices(self) -> list[int]:
        """Return the number of every device in it."""
        return list(self.by_device)

    def holds(self, device: int, start_us: int, end_us: int) -> bool:
        """Whether a series of the device has points that may lie within the bounds."""
        cdef MemtableSeries* series = self.first_of(device)
        cdef int64_t start = start_us, end = end_us
        while series != NULL:
            if series.time_min <= end and series.time_max >= start:
                return True
            series = series.next_of_device
        return False

    def device_bounds(self, device: int) -> tuple[int, int] | None:
        """Return the first and last time of a device's points, or None if it has none."""
        cdef MemtableSeries* series = self.first_of(device)
        cdef int64_t low = INT64_MAX, high = INT64_MIN
        while series != NULL:
            if series.count:
                low = min(low, series.time_min)
                high = max(high, series.time_max)
            series = series.next_of_device
        return None if low > high else (low, high)

    def period_counts(self, device: int, period: str | None) -> dict[int, int]:
        """Return how many points of a device lie in each period: number of the period -> points."""
        cdef MemtableSeries* series = self.first_of(device)
        cdef MemtableBlock* block
        cdef int code = PERIODS[period]
        cdef int64_t number = 0, start = INT64_MAX, end = INT64_MIN, count = 0, i
        cdef dict result = {}
        while series != NULL:
            block = series.first
            while block != NULL:
                for i in range(block.columns.count):
                    if not start <= block.columns.time[i] < end:
                        if count:
                            result[number] = result.get(number, 0) + count
                        number = period_number(block.columns.time[i], code)
                        start = period_start(number, code)
                        end = period_start(number + 1, code)
                        count = 0
                    count += 1
                block = block.next
            series = series.next_of_device
        if count:
            result[number] = result.get(number, 0) + count
        return result

    cdef int apply_view(self, const BatchView* view) except -1:
        cdef uint32_t device = view.header.device
        cdef uint32_t variable, i
        cdef uint8_t kind
        cdef MemtableSeries** cached
        self.reserve_cache(view.header.string_count)
        for i in range(view.header.count):
            variable = view.variable[i * view.step[COLUMN_VARIABLE]]
            kind = view.kind[i * view.step[COLUMN_KIND]]
            cached = &self.cache[<int64_t> variable * KIND_COUNT + kind]
            if cached[0] == NULL:
                cached[0] = self.find_or_add(device, <uint32_t> self.own_string(view, variable), kind)
            self.append(cached[0], view, i)
        return 0

    cdef int append(self, MemtableSeries* series, const BatchView* view, uint32_t i) except -1 nogil:
        """Add point i of a batch behind the series' last one."""
        cdef MemtableBlock* block = series.last
        cdef int64_t time = view.time[i * view.step[COLUMN_TIME]]
        cdef uint32_t received = <uint32_t> (view.header.received_us // 1000000)
        cdef uint32_t unit = 0, metadata = 0
        cdef GroupCell group
        cdef LocationCell location
        cdef int64_t at
        if block == NULL or block.columns.count == block.capacity:
            block = self.grow(series, view)
        at = block.columns.count
        (<int64_t*> block.columns.time)[at] = time
        (<uint64_t*> block.columns.sequence)[at] = view.header.first_sequence + i
        if series.kind == KIND_TEXT:
            (<int64_t*> block.columns.value)[at] = self.own_string(view, <uint32_t> view.value[i * view.step[COLUMN_VALUE]])
        elif series.kind != KIND_NONE:
            (<int64_t*> block.columns.value)[at] = view.value[i * view.step[COLUMN_VALUE]]

        if view.unit != NULL and view.unit[i * view.step[COLUMN_UNIT]]:
            unit = <uint32_t> self.own_string(view, view.unit[i * view.step[COLUMN_UNIT]] - 1) + 1
        if view.metadata != NULL and view.metadata[i * view.step[COLUMN_METADATA]]:
            metadata = <uint32_t> self.own_string(view, view.metadata[i * view.step[COLUMN_METADATA]] - 1) + 1
        memset(&group, 0, sizeof(group))
        if view.group != NULL:
            group = view.group[i * view.step[COLUMN_GROUP]]
        if group.form == GROUP_AUTO:
            group.high = 0
            group.low = i
        elif group.form == GROUP_TEXT:
            group.low = <uint32_t> self.own_string(view, group.low)
        location.lat = location.lng = NAN
        if view.location != NULL:
            location = view.location[i * view.step[COLUMN_LOCATION]]

        if at == 0:
            block.received = received
            block.unit = unit
            block.metadata = metadata
            block.group = group
            block.location = location
        # A column that is the same for every point of the block has one cell (step 0) until a point differs.
        if block.columns.received_step == 0 and received != block.received:
            self.spread(block, <const void**> &block.columns.received, &block.columns.received_step, 4)
        if block.columns.unit_step == 0 and unit != block.unit:
            self.spread(block, <const void**> &block.columns.unit, &block.columns.unit_step, 4)
        if block.columns.metadata_step == 0 and metadata != block.metadata:
            self.spread(block, <const void**> &block.columns.metadata, &block.columns.metadata_step, 4)
        if block.columns.group_step == 0 and not same_group(&group, &block.group):
            self.spread(block, <const void**> &block.columns.group, &block.columns.group_step, sizeof(GroupCell))
        if block.columns.location_step == 0 and not same_location(&location, &block.location):
            self.spread(block, <const void**> &block.columns.location, &block.columns.location_step, sizeof(LocationCell))
        if block.columns.received_step:
            (<uint32_t*> block.columns.received)[at] = received
        if block.columns.unit_step:
            (<uint32_t*> block.columns.unit)[at] = unit
        if block.columns.metadata_step:
            (<uint32_t*> block.columns.metadata)[at] = metadata
        if block.columns.group_step:
            (<GroupCell*> block.columns.group)[at] = group
        if block.columns.location_step:
            (<LocationCell*> block.columns.location)[at] = location

        if series.count and time < series.time_max:
            series.in_order = False
        block.time_min = min(block.time_min, time)
        block.time_max = max(block.time_max, time)
        series.time_min = min(series.time_min, time)
        series.time_max = max(series.time_max, time)
        series.count += 1
        block.columns.count = at + 1
        return 0

    cdef MemtableBlock* grow(self, MemtableSeries* series, const BatchView* view) except NULL nogil:
        """Hang an empty block behind the series' last one."""
        cdef int64_t capacity = BLOCK_POINTS_FIRST
        cdef MemtableBlock* block
        if series.last != NULL:
            capacity = min(series.last.capacity * 2, <int64_t> BLOCK_POINTS)
        elif view.header.count > BLOCK_POINTS_FIRST * KIND_COUNT * 16:
            capacity = BLOCK_POINTS         # a large batch: the series will need it at once
        block = <MemtableBlock*> self.arena.take(sizeof(MemtableBlock))
        memset(block, 0, sizeof(MemtableBlock))
        block.capacity = capacity
        block.time_min = view.header.time_max
        block.time_max = view.header.time_min
        block.columns.time = <const int64_t*> self.arena.take(8 * capacity)
        block.columns.sequence = <const uint64_t*> self.arena.take(8 * capacity)
        if series.kind != KIND_NONE:
            block.columns.value = <const int64_t*> self.arena.take(8 * capacity)
        block.columns.received = &block.received
        block.columns.unit = &block.unit
        block.columns.metadata = &block.metadata
        block.columns.group = &block.group
        block.columns.location = &block.location
        if series.last == NULL:
            series.first = block
            series.time_min = block.time_min
            series.time_max = block.time_max
        else:
            series.last.next = block
        series.last = block
        return block

    cdef int spread(self, MemtableBlock* block, const void** column, int64_t* step, int64_t cell_bytes) except -1 nogil:
        """Give a constant column a cell for each point.

        A reader that copied the view before still sees the old single cell, which stays as it is.
        """
        cdef char* cells = <char*> self.arena.take(cell_bytes * block.capacity)
        cdef int64_t i
        for i in range(block.columns.count):
            memcpy(cells + i * cell_bytes, column[0], cell_bytes)
        column[0] = cells
        step[0] = 1
        return 0

    cdef int64_t own_string(self, const BatchView* view, uint32_t number) except -1 nogil:
        """Return the memtable's number of a string of the batch."""
        cdef uint32_t start
        if self.string_cache[number] == 0:
            start = view.string_offsets[number]
            self.string_cache[number] = <uint32_t> self.strings.add(view.strings + start, view.string_offsets[number + 1] - start) + 1
        return self.string_cache[number] - 1

    cdef int reserve_cache(self, uint32_t strings) except -1:
        """Make room for, and empty, the scratch tables of one batch."""
        if strings > self.cache_strings:
            free(self.cache)
            free(self.string_cache)
            self.cache = NULL
            self.string_cache = NULL
            self.cache_strings = 0
            self.cache = <MemtableSeries**> calloc(<int64_t> strings * 2 * KIND_COUNT, sizeof(void*))
            self.string_cache = <uint32_t*> calloc(<int64_t> strings * 2, sizeof(uint32_t))
            if self.cache == NULL or self.string_cache == NULL:
                PyErr_NoMemory()
            self.cache_strings = <int64_t> strings * 2
        memset(self.cache, 0, <size_t> strings * KIND_COUNT * sizeof(void*))
        memset(self.string_cache, 0, <size_t> strings * sizeof(uint32_t))
        return 0

    cdef MemtableSeries* find(self, uint32_t device, uint32_t name, uint8_t kind) noexcept nogil:
        cdef int64_t slot
        cdef MemtableSeries* series
        if self.slots == NULL:
            return NULL
        slot = series_hash(device, name, kind) & self.slot_mask
        while self.slots[slot]:
            series = self.series[self.slots[slot] - 1]
            if series.device == device and series.name == name and series.kind == kind:
                return series
            slot = (slot + 1) & self.slot_mask
        return NULL

    cdef MemtableSeries* find_or_add(self, uint32_t device, uint32_t name, uint8_t kind) except NULL:
        cdef MemtableSeries* series = self.find(device, name, kind)
        cdef int64_t slot
        if series != NULL:
            return series
        if self.series_count == self.series_capacity:
            self.rehash()
        series = <MemtableSeries*> self.arena.take(sizeof(MemtableSeries))
        memset(series, 0, sizeof(MemtableSeries))
        series.device = device
        series.name = name
        series.kind = kind
        series.in_order = True
        series.next_of_device = self.first_of(device)
        self.by_device[device] = <size_t> series
        self.series[self.series_count] = series
        self.series_count += 1
        slot = series_hash(device, name, kind) & self.slot_mask
        while self.slots[slot]:
            slot = (slot + 1) & self.slot_mask
        self.slots[slot] = <uint32_t> self.series_count
        return series

    cdef int rehash(self) except -1:
        """Double the room for series and enter those there are into a new hash table, half full at most."""
        cdef int64_t capacity = max(self.series_capacity * 2, <int64_t> SERIES_FIRST)
        cdef void* series = realloc(self.series, capacity * sizeof(void*))
        cdef uint32_t* slots
        cdef int64_t i, slot
        if series == NULL:
            PyErr_NoMemory()
        self.series = <MemtableSeries**> series
        slots = <uint32_t*> calloc(capacity * 2, sizeof(uint32_t))
        if slots == NULL:
            PyErr_NoMemory()
        for i in range(self.series_count):
            slot = series_hash(self.series[i].device, self.series[i].name, self.series[i].kind) & (capacity * 2 - 1)
            while slots[slot]:
                slot = (slot + 1) & (capacity * 2 - 1)
            slots[slot] = <uint32_t> i + 1
        free(self.slots)
        self.slots = slots
        self.slot_mask = capacity * 2 - 1
        self.series_capacity = capacity
        return 0

    cdef MemtableSeries* first_of(self, uint32_t device) noexcept:
        cdef object address = self.by_device.get(device)
        return NULL if address is None else <MemtableSeries*> <size_t> address

    cdef MemtableSeries* lookup(self, uint32_t device, bytes name, uint8_t kind):
        """Return the series of this name, or NULL."""
        cdef MemtableSeries* series = self.first_of(device)
        cdef uint32_t size = <uint32_t> len(name)
        while series != NULL:
            if series.kind == kind and self.strings.entries[series.name].size == size:
                if memcmp(self.strings.entries[series.name].data, <const char*> name, size) == 0:
                    return series
            series = series.next_of_device
        return NULL

    cdef int sort_series(self) except -1:
        """Order `series` by (device, name, kind) for sealing; the hash table is of no use afterwards."""
        global sorting_entries
        free(self.slots)
        self.slots = NULL
        sorting_entries = self.strings.entries
        qsort(self.series, self.series_count, sizeof(void*), compare_series)
        return 0


# qsort passes no context; sorting happens with the GIL held, so one table at a time.
cdef StringEntry* sorting_entries = NULL


cdef int compare_series(const void* left, const void* right) noexcept nogil:
    cdef const MemtableSeries* a = (<const MemtableSeries**> left)[0]
    cdef const MemtableSeries* b = (<const MemtableSeries**> right)[0]
    cdef uint32_t size_a, size_b
    cdef int order
    if a.device != b.device:
        return 1 if a.device > b.device else -1
    size_a = sorting_entries[a.name].size
    size_b = sorting_entries[b.name].size
    order = memcmp(sorting_entries[a.name].data, sorting_entries[b.name].data, min(size_a, size_b))
    if order:
        return order
    if size_a != size_b:
        return 1 if size_a > size_b else -1
    return <int> a.kind - <int> b.kind
