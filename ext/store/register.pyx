"""Registers of a device as Points, made straight from their decoded rows.

A page of a hundred took a third longer with a Row of each in between.
"""

from libc.stdint cimport UINT64_MAX, int64_t, uint32_t, uint64_t

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from tsengine.core.places cimport Places, field
from tsengine.core.store.page cimport PointMaker

import msgspec

from tsengine.types import Location, Point

cdef object decode_json = msgspec.json.Decoder(dict).decode
cdef uint64_t GROUP_MARK = <uint64_t> 1 << 63


def points_of_registers(uint32_t device, list keys not None, list rows not None, Places places not None, object names) -> list:
    cdef RegisterMaker maker = RegisterMaker(device)
    cdef Py_ssize_t i
    cdef list result = []
    if len(keys) != len(rows):
        raise ValueError(f"{len(keys)} keys for {len(rows)} rows")
    maker.names = names
    maker.first = UINT64_MAX
    try:
        for i in range(len(rows)):
            result.append(maker.point(sequence_of(<bytes?> keys[i]), rows[i], places))
    except OverflowError as error:
        raise msgspec.ValidationError(f"Expected a number of 64 bits: {error}") from error
    return result


cdef uint64_t sequence_of(bytes key) except? 0:
    cdef Py_ssize_t i, size = PyBytes_GET_SIZE(key)
    cdef const unsigned char *data = <const unsigned char *> PyBytes_AS_STRING(key)
    cdef uint64_t sequence = 0
    if size < 8:
        raise ValueError(f"a key of {size} bytes")
    for i in range(size - 8, size):
        sequence = sequence << 8 | data[i]
    return sequence


cdef class RegisterMaker(PointMaker):
    cdef object point(self, uint64_t sequence, object row, Places places):
        """Return the Point of a row, which must be of the type that the places are of."""
        cdef Py_ssize_t *offset = places.offset
        cdef int64_t time, received
        if type(row) is not places.kind:
            raise TypeError(f"a row of {type(row)}")
        time = field(row, offset[FIELD_TIME])
        received = field(row, offset[FIELD_RECEIVED])
        lat, lng = field(row, offset[FIELD_LAT]), field(row, offset[FIELD_LNG])
        metadata = field(row, offset[FIELD_METADATA])
        return Point(
            self.names[field(row, offset[FIELD_VARIABLE])],
            field(row, offset[FIELD_VALUE]),
            self.moment(time),
            field(row, offset[FIELD_UNIT]),
            self.text_of(sequence, field(row, offset[FIELD_GROUP])),
            None if lat is None or lng is None else Location(lat, lng),
            None if metadata is None else decode_json(metadata),
            self.id_of(sequence),
            self.moment_of_receipt(received),
        )

    cdef object text_of(self, uint64_t sequence, object group):
        cdef uint64_t before
        if type(group) is bytes:
            return group.hex()
        if type(group) is str:
            return group
        if type(group) is not int:
            raise msgspec.ValidationError(f"Expected a group of int, bytes or str, got {type(group).__name__}")
        before = group
        if before > sequence:
            raise msgspec.ValidationError(f"Expected a group that began before, got {before} for sequence {sequence}")
        if sequence - before != self.first:
            self.first = sequence - before
            self.automatic = self.id_of(self.first | GROUP_MARK)
        return self.automatic
