"""Points of many series in one order, made into objects only when they are given out.

A Page holds one lane a series. A lane that may give the next point is loaded only when it comes to the top, so a page of
the newest points decodes the newest block of those series alone that have points in it. Nothing is made of points that are
skipped.
"""

from libc.math cimport isnan
from libc.stdint cimport INT64_MAX, INT64_MIN, UINT64_MAX, int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from cpython.datetime cimport datetime_new, import_datetime
from cpython.exc cimport PyErr_NoMemory

from tsengine.core.batch cimport GroupCell, group_text
from tsengine.core.calendar cimport DAY_US, civil_from_days
from tsengine.core.limits cimport GROUP_AUTO, GROUP_TEXT
from tsengine.core.store.points cimport PointBuffer
from tsengine.core.store.scan cimport SeriesScan

from datetime import UTC

import msgspec

from tsengine.types import Location, Point

import_datetime()

cdef object utc = UTC
cdef object decode_json = msgspec.json.Decoder(dict).decode
cdef const char* HEX = b"0123456789abcdef"


cdef class Page:
    def __cinit__(self, list scans, bint reverse):
        cdef int32_t number
        cdef SeriesScan scan
        cdef Lane* lane
        self.scans = scans
        self.reverse = reverse
        self.runs = [None] * len(scans)
        self.heap = <Lane*> calloc(max(len(scans), 1), sizeof(Lane))
        if self.heap == NULL:
            PyErr_NoMemory()
        for number in range(len(scans)):
            scan = scans[number][1]
            scan.expand()
            if scan.ref_count:
                lane = &self.heap[self.lane_count]
                lane.number = number
                lane.time = scan.refs[0].last_time if reverse else scan.refs[0].first_time
                lane.sequence = UINT64_MAX if reverse else 0
                self.lane_count += 1
        for number in range(<int32_t> (self.lane_count // 2), -1, -1):
            self.sink(number)

    def __dealloc__(self):
        free(self.heap)

    cdef bint precedes(self, const Lane* a, const Lane* b) noexcept nogil:
        if a.time != b.time:
            return a.time > b.time if self.reverse else a.time < b.time
        # A bound comes first, so that what it stands for is loaded before an equal time is given out.
        if a.is_loaded != b.is_loaded:
            return b.is_loaded
        return a.sequence > b.sequence if self.reverse else a.sequence < b.sequence

    cdef void sink(self, int64_t at) noexcept nogil:
        """Put the lane at a place of the heap where it belongs below it."""
        cdef Lane lane
        cdef int64_t child
        if at >= self.lane_count:
            return
        lane = self.heap[at]
        while True:
            child = 2 * at + 1
            if child >= self.lane_count:
                break
            if child + 1 < self.lane_count and self.precedes(&self.heap[child + 1], &self.heap[child]):
                child += 1
            if not self.precedes(&self.heap[child], &lane):
                break
            self.heap[at] = self.heap[child]
            at = child
        self.heap[at] = lane

    cdef int64_t index(self, const Lane* lane) noexcept:
        """Return the number of a lane's next point in its run."""
        cdef PointBuffer run = <PointBuffer> self.runs[lane.number]
        return lane.left - 1 if self.reverse else run.count - lane.left

    cdef int settle(self) except -1:
        """Load until a point is at the top; return 0 if there is none left."""
        cdef Lane* lane = self.heap
        cdef PointBuffer run
        cdef int64_t at
        while self.lane_count:
            if lane.left == 0:
                run = (<SeriesScan> self.scans[lane.number][1]).next_run()
                self.runs[lane.number] = run
                if run is None:
                    self.lane_count -= 1
                    self.heap[0] = self.heap[self.lane_count]
                    self.sink(0)
                    continue
                lane.left = run.count
            elif lane.is_loaded:
                return 1
            at = self.index(lane)
            run = <PointBuffer> self.runs[lane.number]
            lane.time = run.time[at]
            lane.sequence = run.sequence[at]
            lane.is_loaded = True
            self.sink(0)
        return 0

    cdef void advance(self) noexcept:
        """Go past the point at the top."""
        cdef Lane* lane = self.heap
        cdef PointBuffer run = <PointBuffer> self.runs[lane.number]
        cdef int64_t at
        lane.left -= 1
        if lane.left:
            at = self.index(lane)
            lane.time = run.time[at]
            lane.sequence = run.sequence[at]
        else:
            # The next run holds nothing before the last point of this one.
            lane.is_loaded = False
            lane.sequence = UINT64_MAX if self.reverse else 0
        self.sink(0)

    def skip(self, count: int) -> int:
        """Pass over points; return how many there were."""
        cdef int64_t left = count, done = 0
        while done < left and self.settle():
            self.advance()
            done += 1
        return done

    def points(self, device: int, limit: int | None) -> list:
        """Return the next points, `limit` of them at most (None = all), as Points."""
        cdef int64_t left = INT64_MAX if limit is None else limit
        cdef PointMaker maker = PointMaker(device)
        cdef list result = []
        cdef int32_t number
        while left > 0 and self.settle():
            number = self.heap.number
            result.append(maker.make(<str> (<tuple> self.scans[number])[0], <PointBuffer> self.runs[number], self.index(self.heap)))
            self.advance()
            left -= 1
        return result

    def pass_until(self, sequence: int) -> bool:
        """Pass over points until the one with this sequence is next; return whether there is one."""
        cdef uint64_t wanted = sequence
        while self.settle():
            if self.heap.sequence == wanted:
                return True
            self.advance()
        return False


def ends(scans: list, reverse: bool, device: int) -> dict:
    """Return the first point, in the direction of the scans, of each variable that has one: name -> Point."""
    cdef PointMaker maker = PointMaker(device)
    cdef dict result = {}
    cdef int64_t low = 0, high
    cdef Page page
    while low < len(scans):
        high = low + 1
        while high < len(scans) and scans[high][0] == scans[low][0]:
            high += 1
        page = Page(scans[low:high], reverse)
        if page.settle():
            result[scans[low][0]] = maker.make(<str> scans[low][0], <PointBuffer> page.runs[page.heap.number], page.index(page.heap))
        low = high
    return result


def inserted_end(scans: list, oldest: bool):
    """Return (sequence, time) of the point of some scans that was inserted last (or first), or None if they have none."""
    cdef bint is_oldest = oldest
    cdef uint64_t best = 0
    cdef int64_t time = 0, i
    cdef bint is_found = False
    cdef SeriesScan scan
    cdef PointBuffer run
    for scan in scans:
        while (run := scan.next_run()) is not None:
            for i in range(run.count):
                if not is_found or (run.sequence[i] < best if is_oldest else run.sequence[i] > best):
                    is_found = True
                    best = run.sequence[i]
                    time = run.time[i]
    return (best, time) if is_found else None


def points_of_rows(rows: list, device: int) -> list:
    """Return rows of one device as Points."""
    cdef PointMaker maker = PointMaker(device)
    cdef list result = []
    for sequence, time, variable, value, unit, group, lat, lng, metadata, received in rows:
        result.append(
            Point(
                variable,
                value,
                maker.moment(time),
                unit,
                group,
                None if lat is None or lng is None else Location(lat, lng),
                None if metadata is None else decode_json(metadata),
                maker.id_of(sequence),
                maker.moment_of_receipt(received),
            )
        )
    return result


cdef class PointMaker:
    def __cinit__(self, uint32_t device):
        cdef int i
        self.device = device
        self.day = INT64_MIN
        self.group_cell.form = GROUP_TEXT
        for i in range(8):
            self.id_text[i] = HEX[device >> (28 - 4 * i) & 15]

    cdef object moment(self, int64_t time):
        """Return the aware UTC datetime of microseconds within the years 1 to 9999."""
        cdef int64_t day = time // DAY_US, rest
        cdef int seconds
        if time % DAY_US < 0:
            day -= 1
        rest = time - day * DAY_US
        if day != self.day:
            civil_from_days(day, &self.year, &self.month, &self.dom)
            self.day = day
        seconds = <int> (rest // 1000000)
        return datetime_new(
            self.year, self.month, self.dom, seconds // 3600, seconds // 60 % 60, seconds % 60, <int> (rest % 1000000), utc
        )

    cdef object moment_of_receipt(self, int64_t time):
        """Return the same as `moment`, the same object for points that came together."""
        if self.created_at is None or time != self.received:
            self.received = time
            self.created_at = self.moment(time)
        return self.created_at

    cdef object id_of(self, uint64_t sequence):
        """Return the id of a point as text."""
        cdef int digit
        for digit in range(16):
            self.id_text[8 + digit] = HEX[sequence >> (60 - 4 * digit) & 15]
        return self.id_text[:24].decode("ascii")

    cdef object group_of(self, PointBuffer points, int64_t i):
        cdef const GroupCell* cell = &points.group[i]
        cdef uint64_t first = points.sequence[i] - cell.low
        if cell.form == GROUP_TEXT:
            return points.strings.text(cell.low)
        if cell.form == self.group_cell.form:
            if first == self.group_sequence if cell.form == GROUP_AUTO else (
                cell.high == self.group_cell.high and cell.low == self.group_cell.low
            ):
                return self.group
        self.group_cell = cell[0]
        self.group_sequence = first
        self.group = group_text(self.device, points.sequence[i], cell)
        return self.group

    cdef object make(self, str variable, PointBuffer points, int64_t i):
        """Return point i of a buffer with all columns as a Point."""
        cdef uint32_t number
        cdef object metadata = None
        cdef object location = None
        if points.metadata[i]:
            number = points.metadata[i] - 1
            metadata = decode_json(points.strings.entries[number].data[: points.strings.entries[number].size])
        if not isnan(points.location[i].lat):
            location = Location(points.location[i].lat, points.location[i].lng)
        return Point(
            variable,
            points.value_at(i),
            self.moment(points.time[i]),
            points.strings.text(points.unit[i] - 1) if points.unit[i] else None,
            self.group_of(points, i),
            location,
            metadata,
            self.id_of(points.sequence[i]),
            self.moment_of_receipt(<int64_t> points.received[i] * 1000000),
        )
