"""A large table straight to segments, past log and memtable.

The rows are put in order of series (device, variable, kind) as a list of row numbers; the columns stay where they are. Then
blocks are gathered and encoded one by one by two threads: one writes the file, the other encodes the later half of the points
into memory, which is appended at the end. The result is what sealing a memtable with the same points would have written.
"""

from libc.math cimport NAN
from libc.stdint cimport UINT32_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memset

from cpython.exc cimport PyErr_NoMemory

from tsengine.core.batch cimport GroupCell
from tsengine.core.calendar cimport month_of, month_start
from tsengine.core.codec.strings cimport StringEntry, StringTable
from tsengine.core.ingest.rows cimport gather_groups, gather_locations, gather_strings, gather_values
from tsengine.core.ingest.table cimport Part, Table, row_at
from tsengine.core.limits cimport BLOCK_POINTS, GROUP_AUTO, KIND_COUNT
from tsengine.core.store.points cimport Columns, SortKey, sort_keys
from tsengine.core.store.seal cimport MONTHS_AT_ONCE, BlockCutter, block_points
from tsengine.core.store.segment_writer cimport SegmentWriter

from tsengine.core.calendar import PERIODS


cdef uint32_t LEFT_OUT = UINT32_MAX


cdef int no_memory() except -1 nogil:
    with gil:
        PyErr_NoMemory()
    return -1


cdef int compare_slots(const void* left, const void* right) noexcept nogil:
    cdef uint32_t a = (<const uint32_t*> left)[0], b = (<const uint32_t*> right)[0]
    return (a > b) - (a < b)


cdef class Loader:
    """Args:
        table: with its parts assigned.
        targets: of each part (first sequence, chunk period), or None for a part that is not to be loaded.
        start, end: rows with a time in front of start, or not in front of end, are left out.

    Memory: four bytes a row.
    """

    def __cinit__(self, Table table not None, list targets not None, int64_t start, int64_t end):
        self.table = table
        self.start, self.end = start, end
        self.take_targets(targets)
        self.rank_names()
        self.sort_rows()

    def __dealloc__(self):
        free(self.targets)
        free(self.names)
        free(self.slot_of)
        free(self.ranks)
        free(self.runs)

    cdef int take_targets(self, list targets) except -1:
        cdef int64_t part
        self.targets = <Target*> calloc(self.table.part_count, sizeof(Target))
        if self.targets == NULL:
            PyErr_NoMemory()
        for part in range(self.table.part_count):
            if targets[part] is not None:
                self.targets[part].is_wanted = True
                self.targets[part].sequence = targets[part][0]
                self.targets[part].period = PERIODS[targets[part][1]]
        return 0

    cdef int rank_names(self) except -1:
        cdef int64_t code, codes = len(self.table.variable.texts), rank
        cdef StringTable strings = self.table.strings
        cdef uint32_t number
        cdef list ordered = sorted({self.table.variable.numbers[code] for code in range(codes)} - {0}, key=lambda n: strings[n - 1])
        cdef dict rank_of = {number: rank for rank, number in enumerate(ordered)}
        self.name_count = len(ordered)
        self.names = <StringEntry*> calloc(self.name_count, sizeof(StringEntry))
        self.slot_of = <uint32_t*> calloc(max(codes, 1), sizeof(uint32_t))
        if self.names == NULL or self.slot_of == NULL:
            PyErr_NoMemory()
        for rank in range(self.name_count):
            self.names[rank] = strings.entries[<uint32_t> ordered[rank] - 1]
        for code in range(codes):
            number = self.table.variable.numbers[code]
            if number:
                self.slot_of[code] = rank_of[number] * KIND_COUNT
        return 0

    cdef int sort_rows(self) except -1:
        """Make the runs and their ranks, part by part."""
        cdef int64_t slots = self.name_count * KIND_COUNT, largest = 0, part
        cdef int64_t* counts = NULL
        cdef uint32_t* touched = NULL
        cdef uint32_t* slot_of_place = NULL
        for part in range(self.table.part_count):
            largest = max(largest, self.table.parts[part].count)
        try:
            counts = <int64_t*> calloc(slots, sizeof(int64_t))
            touched = <uint32_t*> malloc(slots * sizeof(uint32_t))
            slot_of_place = <uint32_t*> malloc(largest * sizeof(uint32_t))
            self.ranks = <uint32_t*> malloc(self.table.count * sizeof(uint32_t))
            if counts == NULL or touched == NULL or slot_of_place == NULL or self.ranks == NULL:
                PyErr_NoMemory()
            with nogil:
                for part in range(self.table.part_count):
                    if self.targets[part].is_wanted:
                        self.sort_part(<uint32_t> part, counts, touched, slot_of_place)
        finally:
            free(counts)
            free(touched)
            free(slot_of_place)
        return 0

    cdef int sort_part(self, uint32_t part, int64_t* counts, uint32_t* touched, uint32_t* slots) except -1 nogil:
        """Deal the places of a part's rows out to its series; `counts` is all zero, before and after."""
        cdef const Part* of = &self.table.parts[part]
        cdef const uint32_t* rows = NULL if self.table.rows == NULL else self.table.rows + of.first
        cdef const uint32_t* codes = <const uint32_t*> self.table.variable.cells.data + self.table.variable.cells.first
        cdef const uint8_t* kinds = self.table.kinds
        cdef const int64_t* times = <const int64_t*> self.table.time.cells.data + self.table.time.cells.first
        cdef int64_t step = self.table.variable.cells.step, place, row, at
        cdef uint32_t slot, i, touched_count = 0
        for place in range(of.count):
            row = row_at(rows, place)
            if not self.start <= times[row] < self.end:
                slots[place] = LEFT_OUT
                continue
            slot = self.slot_of[codes[row * step]] + (self.table.kind if kinds == NULL else kinds[row])
            slots[place] = slot
            if counts[slot] == 0:
                touched[touched_count] = slot
                touched_count += 1
            counts[slot] += 1
        qsort(touched, touched_count, sizeof(uint32_t), compare_slots)
        for i in range(touched_count):
            slot = touched[i]
            at = self.point_count
            self.push_run(part, slot, counts[slot])
            counts[slot] = at
        for place in range(of.count):
            slot = slots[place]
            if slot != LEFT_OUT:
                self.ranks[counts[slot]] = <uint32_t> place
                counts[slot] += 1
        for i in range(touched_count):
            counts[touched[i]] = 0
        return 0

    cdef int push_run(self, uint32_t part, uint32_t slot, int64_t count) except -1 nogil:
        cdef int64_t capacity
        cdef void* grown
        if self.run_count == self.run_capacity:
            capacity = max(2 * self.run_capacity, <int64_t> 16)
            grown = realloc(self.runs, capacity * sizeof(Run))
            if grown == NULL:
                no_memory()
            self.runs = <Run*> grown
            self.run_capacity = capacity
        self.runs[self.run_count].part = part
        self.runs[self.run_count].slot = slot
        self.runs[self.run_count].first = self.point_count
        self.runs[self.run_count].count = count
        self.run_count += 1
        self.point_count += count
        return 0

    cdef int order_run(self, const Run* run, int64_t first, int64_t end) except -1 nogil:
        """Put points first .. end of a run in order of (time, row); they are in order of rows."""
        cdef const Part* part = &self.table.parts[run.part]
        cdef const uint32_t* rows = NULL if self.table.rows == NULL else self.table.rows + part.first
        cdef const int64_t* times = <const int64_t*> self.table.time.cells.data + self.table.time.cells.first
        cdef uint32_t* ranks = self.ranks + run.first
        cdef int64_t count = end - first, i, time, last
        cdef SortKey* keys
        if count == 0:
            return 0
        last = times[row_at(rows, ranks[first])]
        for i in range(first, end):
            time = times[row_at(rows, ranks[i])]
            if time < last:
                break
            last = time
        else:
            return 0
        keys = <SortKey*> malloc(count * sizeof(SortKey))
        if keys == NULL:
            no_memory()
        for i in range(count):
            keys[i].index = ranks[first + i]
            keys[i].sequence = ranks[first + i]
            keys[i].time = times[row_at(rows, ranks[first + i])]
        if not sort_keys(keys, count):
            free(keys)
            no_memory()
        for i in range(count):
            ranks[first + i] = <uint32_t> keys[i].index
        free(keys)
        return 0

    def split(self) -> tuple[int, int]:
        """Return (run, place in it) of about the middle of all points, between two full blocks; that run is put in order."""
        cdef int64_t middle = self.point_count // 2, i
        for i in range(self.run_count):
            if self.runs[i].first + self.runs[i].count > middle:
                with nogil:
                    self.order_run(&self.runs[i], 0, self.runs[i].count)
                return i, (middle - self.runs[i].first) // BLOCK_POINTS * BLOCK_POINTS
        return 0, 0

    def encode(self, first: tuple[int, int], end: tuple[int, int], BlockCutter cutter) -> None:
        """Encode the points between two places (run, place in it) into the writers of a cutter."""
        cdef int64_t first_run = first[0], first_place = first[1], last_run = end[0], last_place = end[1], run, low, high
        cdef Scratch* scratch = <Scratch*> malloc(sizeof(Scratch))
        if scratch == NULL:
            PyErr_NoMemory()
        try:
            with nogil:
                for run in range(first_run, min(last_run + 1, self.run_count)):
                    low = first_place if run == first_run else 0
                    high = last_place if run == last_run else self.runs[run].count
                    if low < high:
                        self.encode_run(&self.runs[run], low, high, scratch, cutter)
        finally:
            free(scratch)

    cdef int encode_run(self, const Run* run, int64_t first, int64_t end, Scratch* scratch, BlockCutter cutter) except -1 nogil:
        cdef const Part* part = &self.table.parts[run.part]
        cdef const Target* target = &self.targets[run.part]
        cdef const StringEntry* name = &self.names[run.slot // KIND_COUNT]
        cdef const uint32_t* rows = NULL if self.table.rows == NULL else self.table.rows + part.first
        cdef const int64_t* times = <const int64_t*> self.table.time.cells.data + self.table.time.cells.first
        cdef uint8_t kind = run.slot % KIND_COUNT
        cdef int64_t at = first, ahead, take, i
        cdef Columns columns
        self.order_run(run, first, end)
        while at < end:
            ahead = min(end - at, <int64_t> AHEAD_POINTS)
            for i in range(ahead):
                scratch.rows[i] = <uint32_t> row_at(rows, self.ranks[run.first + at + i])
                scratch.time[i] = times[scratch.rows[i]]
            take = block_points(scratch.time, ahead, target.period, True)
            self.gather(run, at, take, target.sequence, scratch, &columns)
            cutter.select(month_of(columns.time[0]))
            cutter.writer.begin_series(part.device, name.data, name.size, kind)
            cutter.writer.add_block(&columns, kind, self.table.strings)
            at += take
        return 0

    cdef void gather(self, const Run* run, int64_t first, int64_t count, uint64_t sequence, Scratch* scratch, Columns* to) noexcept nogil:
        """Set the view over one block; its rows and times are in the scratch memory."""
        cdef const uint32_t* ranks = self.ranks + run.first + first
        cdef int64_t i
        to.count = count
        to.time = scratch.time
        for i in range(count):
            scratch.sequence[i] = sequence + ranks[i]
        to.sequence = scratch.sequence
        gather_values(self.table, run.slot % KIND_COUNT, scratch.rows, count, scratch.value)
        to.value = scratch.value if run.slot % KIND_COUNT else NULL
        scratch.received = <uint32_t> (self.table.received_us // 1000000)
        to.received = &scratch.received
        to.received_step = 0
        to.unit = scratch.unit
        scratch.unit[0] = 0
        to.unit_step = 0
        if self.table.unit is not None:
            gather_strings(&self.table.unit.cells, self.table.unit.numbers, scratch.rows, count, scratch.unit)
            to.unit_step = not is_same(scratch.unit, count)
        to.metadata = scratch.metadata
        scratch.metadata[0] = 0
        to.metadata_step = 0
        if self.table.metadata is not None:
            gather_strings(&self.table.metadata.cells, self.table.metadata.numbers, scratch.rows, count, scratch.metadata)
            to.metadata_step = not is_same(scratch.metadata, count)
        to.group = scratch.group
        to.group_step = 1
        if self.table.group is not None:
            gather_groups(self.table.group, scratch.rows, count, scratch.group)
        else:
            memset(scratch.group, 0, count * sizeof(GroupCell))
        for i in range(count):
            if scratch.group[i].form == GROUP_AUTO:
                scratch.group[i].low = ranks[i]
        to.location = scratch.location
        to.location_step = 0
        scratch.location[0].lat = scratch.location[0].lng = NAN
        if self.table.lat is not None:
            gather_locations(self.table, scratch.rows, count, scratch.location)
            to.location_step = 1


cdef bint is_same(const uint32_t* cells, int64_t count) noexcept nogil:
    cdef uint32_t difference = 0
    cdef int64_t i
    for i in range(1, count):
        difference |= cells[i] ^ cells[0]
    return difference == 0


def seal_table(table: Table, targets: list, make_writer) -> list[SegmentWriter]:
    """Write the parts of a table through the writers that `make_writer` gives, one a month, and return them.

    The writers of the last months are not finished; those of months before them are, so that few files are open at a time.

    Args:
        targets: of each part (first sequence, chunk period), or None for a part that is left out.

    Memory: four bytes a row, and the encoded later half of the points. The GIL is released for the work on points.

    Raises:
        StorageError, StorageFullError: from a writer; the caller aborts all of them.
    """
    cdef list writers = [], unfinished = [], months = table.months()
    for at in range(0, len(months), MONTHS_AT_ONCE):
        for writer in unfinished:
            writer.finish()
        last = months[min(at + MONTHS_AT_ONCE, len(months)) - 1]
        unfinished = seal_months(Loader(table, targets, month_start(months[at]), month_start(last + 1)), make_writer)
        writers += unfinished
    return writers


def seal_months(Loader loader, make_writer) -> list[SegmentWriter]:
    cdef BlockCutter front = BlockCutter(make_writer)
    cdef BlockCutter back = BlockCutter(lambda month: SegmentWriter(None, month))
    from concurrent.futures import ThreadPoolExecutor       # not when a store is opened

    middle = loader.split()
    with ThreadPoolExecutor(1) as pool:
        encoded = pool.submit(loader.encode, middle, (loader.run_count, 0), back)
        loader.encode((0, 0), middle, front)
        encoded.result()
    for month in sorted(back.writers):
        front.select(month)
        front.writer.absorb(back.writers[month])
    return [front.writers[month] for month in sorted(front.writers)]
