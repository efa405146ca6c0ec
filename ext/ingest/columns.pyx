"""Validated points, and whole columns, to batches.

`from_points` takes what append_many and the wire decoders give: tsengine.Point, dicts, or the wire's Structs (one object
a point, read once). `from_columns` takes arrays and copies them whole. Both raise InputError before anything is stored;
the text names the index, the field and the limit.
"""

from libc.math cimport NAN
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from "<endian.h>" nogil:
    uint64_t be64toh(uint64_t value)
    uint32_t be32toh(uint32_t value)

from tsengine.core.batch cimport (
    COLUMN_GROUP,
    COLUMN_KIND,
    COLUMN_LOCATION,
    COLUMN_METADATA,
    COLUMN_TIME,
    COLUMN_UNIT,
    COLUMN_VALUE,
    COLUMN_VARIABLE,
    BatchBuilder,
    BatchHeader,
    BatchView,
    GroupCell,
    LocationCell,
    batch_layout,
)
from tsengine.core.calendar cimport TIME_MAX, TIME_MIN
from tsengine.core.codec.strings cimport StringTable
from tsengine.core.ingest.fields cimport (
    invalid,
    put_group,
    put_location,
    put_metadata,
    put_unit,
    put_value,
    put_variable,
    serie_text,
    time_of,
    wire_time_of,
)
from tsengine.core.limits cimport BATCH_POINTS, GROUP_HEX, KIND_COUNT, KIND_NONE, KIND_TEXT

from tsengine.errors import InputError, LimitError

# Builders keep their memory from batch to batch. A list, not one builder: reading an attribute may run foreign code that
# appends to a store itself.
cdef list spare_builders = []
cdef enum:
    SPARE_BUILDERS = 4
    SPARE_POINTS = 4096         # a larger builder's memory goes back to the system


cdef BatchBuilder take_builder():
    return <BatchBuilder> spare_builders.pop() if spare_builders else BatchBuilder()


cdef void give_back(BatchBuilder builder):
    if len(spare_builders) < SPARE_BUILDERS and builder.capacity <= SPARE_POINTS:
        builder.clear()
        spare_builders.append(builder)


cdef int put_point(
    BatchBuilder builder,
    uint32_t i,
    object variable,
    object value,
    int64_t time_us,
    object unit,
    object group,
    object location,
    object metadata,
    bint wire,
) except -1:
    put_variable(builder, variable, i)
    put_value(builder, value, i, wire)
    builder.time[i] = time_us
    builder.unit[i] = put_unit(builder, unit, i)
    put_group(builder, group, i)
    put_location(&builder.location[i], location, i)
    builder.metadata[i] = put_metadata(builder, metadata, i)
    return 0


cdef int put_wire(BatchBuilder builder, uint32_t i, object point, int64_t now_us) except -1:
    cdef object group = point.group
    return put_point(
        builder, i, point.variable, point.value, wire_time_of(point.time, now_us, i), point.unit,
        group if group is not None else serie_text(point.serie), point.location, point.metadata, True,
    )


cdef int put_dict(BatchBuilder builder, uint32_t i, dict point, int64_t now_us) except -1:
    return put_point(
        builder, i, point.get("variable"), point.get("value"), time_of(point.get("time"), now_us, i), point.get("unit"),
        point.get("group"), point.get("location"), point.get("metadata"), False,
    )


cdef int put_object(BatchBuilder builder, uint32_t i, object point, int64_t now_us) except -1:
    return put_point(
        builder, i, point.variable, point.value, time_of(point.time, now_us, i), point.unit,
        point.group, point.location, point.metadata, False,
    )


def from_points(points: list, now_us: int, wire: bool = False) -> bytes:
    """Return the record of these points (at least one), in their order; device and sequence are stamped later.

    Args:
        points: tsengine.Point, or dicts with the same keys; with `wire`, objects with the fields of a TagoIO data item.
        now_us: time of points that carry none, and the batch's time of receipt, microseconds.
        wire: the rules of the HTTP contract: numbers become float64, times are cut to milliseconds, a number is Unix
            milliseconds. Otherwise those of the Python API: int stays int64, an int time is microseconds.

    Raises:
        InputError: a field is missing, of the wrong type or outside its limit; the text names index and field.
        LimitError: more points than one batch may hold.
    """
    cdef BatchBuilder builder = take_builder()
    cdef uint32_t i = 0
    cdef int64_t now = now_us
    cdef object point
    cdef bytes record
    builder.reserve(<uint32_t> min(<Py_ssize_t> len(points), <Py_ssize_t> BATCH_POINTS + 1))
    try:
        for point in points:
            if i == builder.capacity:       # foreign code (a property, a time zone) made the list longer meanwhile
                builder.reserve(i + 1)
            if wire:
                put_wire(builder, i, point, now)
            elif type(point) is dict:
                put_dict(builder, i, <dict> point, now)
            else:
                try:
                    put_object(builder, i, point, now)
                except AttributeError:
                    raise invalid(i, f"a point must be a tsengine.Point or a dict, not {type(point).__name__}") from None
            i += 1
        if i == 0:
            raise LimitError("a batch holds at least one point, not none")
        builder.count = i
        record = builder.finish(now)
    finally:
        give_back(builder)
    return record


def from_columns(
    const int64_t[::1] time,
    const uint32_t[::1] variable,
    list names,
    const uint8_t[::1] kind,
    const int64_t[::1] value,
    list texts,
    int64_t received_us,
    const uint32_t[::1] unit=None,
    list units=None,
    groups=None,
    const double[::1] lat=None,
    const double[::1] lng=None,
    const uint32_t[::1] metadata=None,
    list metadatas=None,
    const uint8_t[::1] group_bytes=None,
) -> bytes:
    """Return the record of whole columns; a column of one cell holds for every point.

    Args:
        time: shape (n,) int64 microseconds.
        variable: indices into names, shape (n,) or (1,); names are text, validated and lowercased here.
        kind: KIND_* of each value, shape (n,) or (1,).
        value: bits of the values, shape (n,); for text an index into texts.
        unit, metadata: indices + 1 into units and metadatas (0 = none), shape (n,) or (1,); metadatas are JSON bytes.
        groups: (indices + 1 with 0 = automatic, list of texts), or None for automatic groups.
        lat, lng: degrees, shape (n,), NaN = no location.
        group_bytes: instead of groups, 12 bytes a point that stand for 24 hexadecimal characters, shape (12 * n,).

    Raises:
        InputError: a name, unit, text, time, location or index is outside its limits.
    """
    cdef uint32_t n = <uint32_t> min(<Py_ssize_t> time.shape[0], <Py_ssize_t> BATCH_POINTS + 1)
    cdef BatchBuilder check = take_builder()
    cdef StringTable strings = check.strings
    cdef BatchHeader header
    cdef BatchView view
    cdef uint32_t i
    cdef bytes record
    cdef list name_numbers = [], text_numbers = [], unit_numbers = [0], metadata_numbers = [0], group_cells = []
    if n == 0 or n > BATCH_POINTS:
        raise LimitError(f"a batch holds 1 to {BATCH_POINTS} points, not {time.shape[0]}; send it in parts")
    try:
        memset(&header, 0, sizeof(header))
        check.reserve(1)
        for item in names:
            put_variable(check, item, 0)
            name_numbers.append(check.variable[0])
        for item in texts:
            put_value(check, item, 0, False)
            text_numbers.append(check.value[0])
        for item in units or ():
            unit_numbers.append(put_unit(check, item, 0))
        for item in metadatas or ():
            metadata_numbers.append(put_metadata(check, item, 0))
        if groups is not None:
            group_cells.append((0, 0, 0))
            for item in groups[1]:
                put_group(check, item, 0)
                group_cells.append((check.group[0].high, check.group[0].low, check.group[0].form))
        header.count = n
        header.received_us = received_us
        header.time_min = header.time_max = time[0]
        for i in range(1, n):
            header.time_min = min(header.time_min, time[i])
            header.time_max = max(header.time_max, time[i])
        if header.time_min < TIME_MIN or header.time_max > TIME_MAX:
            raise InputError("time: every time must lie in the years 1 to 9999, as int64 microseconds (no NaT)")
        header.present = 1 << COLUMN_TIME | 1 << COLUMN_VARIABLE | 1 << COLUMN_KIND | 1 << COLUMN_VALUE
        if variable.shape[0] == 1:
            header.constant |= 1 << COLUMN_VARIABLE
        if kind.shape[0] == 1:
            header.constant |= 1 << COLUMN_KIND
        if unit is not None:
            header.present |= 1 << COLUMN_UNIT
            header.constant |= (unit.shape[0] == 1) << COLUMN_UNIT
        if metadata is not None:
            header.present |= 1 << COLUMN_METADATA
            header.constant |= (metadata.shape[0] == 1) << COLUMN_METADATA
        if groups is not None or group_bytes is not None:
            header.present |= 1 << COLUMN_GROUP
        if lat is not None:
            header.present |= 1 << COLUMN_LOCATION
        record = batch_layout(&header, strings, &view)
        memcpy(<void*> view.time, &time[0], 8 * <size_t> n)
        remap(variable, name_numbers, n, <uint32_t*> view.variable, "variable")
        fill_values(kind, value, text_numbers, n, <uint8_t*> view.kind, <int64_t*> view.value)
        if unit is not None:
            remap(unit, unit_numbers, n, <uint32_t*> view.unit, "unit")
        if metadata is not None:
            remap(metadata, metadata_numbers, n, <uint32_t*> view.metadata, "metadata")
        if groups is not None:
            fill_groups(groups[0], group_cells, n, <GroupCell*> view.group)
        elif group_bytes is not None:
            if group_bytes.shape[0] != 12 * <Py_ssize_t> n:
                raise InputError(f"group: {group_bytes.shape[0]} bytes do not fit {n} points of 12")
            with nogil:
                unpack_groups(&group_bytes[0], n, <GroupCell*> view.group)
        if lat is not None:
            fill_locations(lat, lng, n, <LocationCell*> view.location)
    finally:
        give_back(check)
    return record


cdef int fill_values(
    const uint8_t[::1] kind, const int64_t[::1] value, list text_numbers, uint32_t n, uint8_t* kinds, int64_t* values
) except -1:
    """Write kinds and values; a text's index becomes its number in the batch's string table."""
    cdef int64_t step = 0 if kind.shape[0] == 1 else 1
    cdef const int64_t[::1] table
    cdef uint32_t i
    if kind.shape[0] != n and step:
        raise InputError(f"kind: shape ({kind.shape[0]},) does not fit time's ({n},)")
    if value.shape[0] != n:
        raise InputError(f"value: shape ({value.shape[0]},) does not fit time's ({n},)")
    import numpy
    table = numpy.array(text_numbers, dtype=numpy.int64)
    for i in range(n):
        kinds[i * step] = kind[i * step]
        values[i] = value[i]
        if kind[i * step] >= KIND_COUNT:
            raise InputError(f"Invalid data at index {i}: {kind[i * step]} is not the kind of a value", index=i)
        if kind[i * step] == KIND_TEXT:
            if not 0 <= value[i] < table.shape[0]:
                raise InputError(f"value: index {value[i]} is outside its dictionary of {table.shape[0]}", index=i)
            values[i] = table[value[i]]
    return 0


cdef int remap(const uint32_t[::1] indices, list numbers, uint32_t n, uint32_t* target, str field) except -1:
    """Write numbers[index] for each index: the caller's dictionary to the batch's string table."""
    cdef uint32_t cells = 1 if indices.shape[0] == 1 else n
    cdef uint32_t[::1] table
    cdef uint32_t i
    if indices.shape[0] != cells:
        raise InputError(f"{field}: shape ({indices.shape[0]},) does not fit time's ({n},)")
    import numpy
    table = numpy.array(numbers, dtype=numpy.uint32)
    for i in range(cells):
        if indices[i] >= table.shape[0]:
            raise InputError(f"{field}: index {indices[i]} is outside its dictionary of {table.shape[0]}")
        target[i] = table[indices[i]]
    return 0


cdef int fill_groups(const uint32_t[::1] indices, list cells, uint32_t n, GroupCell* target) except -1:
    cdef uint64_t[::1] high
    cdef uint32_t[::1] low, form
    cdef uint32_t i
    import numpy
    if indices.shape[0] != n:
        raise InputError(f"group: shape ({indices.shape[0]},) does not fit time's ({n},)")
    high = numpy.array([cell[0] for cell in cells], dtype=numpy.uint64)
    low = numpy.array([cell[1] for cell in cells], dtype=numpy.uint32)
    form = numpy.array([cell[2] for cell in cells], dtype=numpy.uint32)
    for i in range(n):
        if indices[i] >= high.shape[0]:
            raise InputError(f"group: index {indices[i]} is outside its dictionary of {high.shape[0]}")
        target[i].high = high[indices[i]]
        target[i].low = low[indices[i]]
        target[i].form = form[indices[i]]
    return 0


cdef void unpack_groups(const uint8_t* data, uint32_t n, GroupCell* target) noexcept nogil:
    """Read each 12 bytes big-endian, so that a counter at their end counts up in `low`."""
    cdef uint64_t high
    cdef uint32_t i, low
    for i in range(n):
        memcpy(&high, data + 12 * <size_t> i, 8)
        memcpy(&low, data + 12 * <size_t> i + 8, 4)
        target[i].high = be64toh(high)
        target[i].low = be32toh(low)
        target[i].form = GROUP_HEX


def merge_values(uint8_t[::1] kind, int64_t[::1] value, const int64_t[::1] cells, const uint8_t[::1] valid, uint8_t code) -> int:
    """Take the cells of one column of values where they are valid; return the first row that has a value already, or -1.

    Args:
        kind, value: shape (n,), changed in place; KIND_NONE where no column had a value yet.
        cells, valid: 64-bit cells of the column, and 1 where one counts; shape (n,).
        code: KIND_* of the column.
    """
    cdef Py_ssize_t n = kind.shape[0], i, clash = -1
    if value.shape[0] != n or cells.shape[0] != n or valid.shape[0] != n:
        raise InputError("value: the columns differ in length")
    with nogil:
        for i in range(n):
            if valid[i]:
                if kind[i] != KIND_NONE:
                    clash = i
                    break
                kind[i] = code
                value[i] = cells[i]
    return clash


cdef int fill_locations(const double[::1] lat, const double[::1] lng, uint32_t n, LocationCell* target) except -1:
    cdef uint32_t i
    if lat.shape[0] != n or lng is None or lng.shape[0] != n:
        raise InputError(f"lat, lng: both must have shape ({n},)")
    for i in range(n):
        if lat[i] != lat[i] or lng[i] != lng[i]:
            target[i].lat = NAN
            target[i].lng = NAN
        elif -90 <= lat[i] <= 90 and -180 <= lng[i] <= 180:
            target[i].lat = lat[i]
            target[i].lng = lng[i]
        else:
            raise InputError(f"Invalid data at index {i}: location lat must be between -90 and 90, lng between -180 and 180", index=i)
    return 0
