"""Validated points to batches: what append_many and the wire decoders give, tsengine.Point, dicts, or the wire's Structs.

One object a point, read once. Errors are raised before anything is stored; the text names the index, the field and the limit.
"""

from libc.stdint cimport int64_t, uint32_t

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from tsengine.core.batch cimport BatchBuilder
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
from tsengine.core.limits cimport BATCH_POINTS
from tsengine.core.places cimport Places, field

from tsengine.errors import LimitError

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


cdef enum:
    NAMES_KNOWN = 16


cdef struct KnownNames:
    # Names of variables by the object: a program has few, and gives the same ones again and again, in turn. Each is held.
    int count
    int place                       # of the name that should come next
    PyObject *name[NAMES_KNOWN]
    uint32_t number[NAMES_KNOWN]


cdef int put_name(BatchBuilder builder, object name, uint32_t i, KnownNames *known) except -1:
    # To look at its letters, and to find them in the table, was a third of the time of a point of a dict.
    cdef int place = known.place
    if place >= known.count or known.name[place] != <PyObject *> name:
        place = 0
        while place < known.count and known.name[place] != <PyObject *> name:
            place += 1
        if place == known.count:
            put_variable(builder, name, i)
            if place < NAMES_KNOWN:
                Py_INCREF(name)
                known.name[place] = <PyObject *> name
                known.number[place] = builder.variable[i]
                known.count += 1
            return 0
    builder.variable[i] = known.number[place]
    known.place = place + 1 if place + 1 < known.count else 0
    return 0


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
    KnownNames *known,
) except -1:
    if wire:                        # names are new objects there
        put_variable(builder, variable, i)
    else:
        put_name(builder, variable, i, known)
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
        group if group is not None else serie_text(point.serie), point.location, point.metadata, True, NULL,
    )


cdef tuple WIRE_FIELDS = ("variable", "value", "time", "unit", "group", "serie", "location", "metadata")
cdef Places known_places = Places(object, WIRE_FIELDS)      # of the last type of data items: a server sees few


cdef Places places_of(object kind):
    global known_places
    known_places = known_places.of(kind)
    return known_places


cdef int put_placed(BatchBuilder builder, uint32_t i, object point, Places places, int64_t now_us) except -1:
    # As put_wire, for a point of the type that the places are of.
    cdef Py_ssize_t *offset = places.offset
    cdef object group = field(point, offset[4])
    return put_point(
        builder, i, field(point, offset[0]), field(point, offset[1]), wire_time_of(field(point, offset[2]), now_us, i),
        field(point, offset[3]), group if group is not None else serie_text(field(point, offset[5])), field(point, offset[6]),
        field(point, offset[7]), True, NULL,
    )


cdef str VARIABLE = "variable", VALUE = "value", TIME = "time", UNIT = "unit", GROUP = "group", LOCATION = "location", METADATA = "metadata"


cdef inline object known_key(object key):
    """Return our own object for a key that is a field: most are the same object already, all others are looked at letter by letter."""
    if key is VARIABLE or key is VALUE or key is TIME or key is UNIT or key is GROUP or key is LOCATION or key is METADATA:
        return key
    for name in (VARIABLE, VALUE, TIME, UNIT, GROUP, LOCATION, METADATA):
        if type(key) is str and <str> key == <str> name:
            return name
    return None


cdef int put_dict(BatchBuilder builder, uint32_t i, dict point, int64_t now_us, KnownNames *known) except -1:
    # One walk over the few keys that are there is faster than a look-up for each that could be.
    cdef object variable = None, value = None, time = None, unit = None, group = None, location = None, metadata = None
    cdef object name
    for key, item in point.items():
        name = known_key(key)
        if name is VARIABLE:
            variable = item
        elif name is VALUE:
            value = item
        elif name is TIME:
            time = item
        elif name is UNIT:
            unit = item
        elif name is GROUP:
            group = item
        elif name is LOCATION:
            location = item
        elif name is METADATA:
            metadata = item
    return put_point(builder, i, variable, value, time_of(time, now_us, i), unit, group, location, metadata, False, known)


cdef int put_object(BatchBuilder builder, uint32_t i, object point, int64_t now_us, KnownNames *known) except -1:
    return put_point(
        builder, i, point.variable, point.value, time_of(point.time, now_us, i), point.unit,
        point.group, point.location, point.metadata, False, known,
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
    cdef KnownNames known
    cdef int place
    cdef uint32_t i = 0
    cdef int64_t now = now_us
    cdef object point
    cdef bytes record
    cdef Places places = places_of(type(points[0])) if wire and points else known_places
    known.count = known.place = 0
    builder.reserve(<uint32_t> min(<Py_ssize_t> len(points), <Py_ssize_t> BATCH_POINTS + 1))
    try:
        for point in points:
            if i == builder.capacity:       # foreign code (a property, a time zone) made the list longer meanwhile
                builder.reserve(i + 1)
            if wire and type(point) is places.kind:
                put_placed(builder, i, point, places, now)
            elif wire:
                put_wire(builder, i, point, now)
            elif type(point) is dict:
                put_dict(builder, i, <dict> point, now, &known)
            else:
                try:
                    put_object(builder, i, point, now, &known)
                except AttributeError:
                    raise invalid(i, f"a point must be a tsengine.Point or a dict, not {type(point).__name__}") from None
            i += 1
        if i == 0:
            raise LimitError("a batch holds at least one point, not none")
        builder.count = i
        record = builder.finish(now)
    finally:
        for place in range(known.count):
            Py_DECREF(<object> known.name[place])
        give_back(builder)
    return record
