"""How a register lies in the register store: its keys, its stored row, and the Row that comes of it.

Format: docs/format/registers.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec.structs import astuple

from tsengine.core.calendar import TIMES
from tsengine.core.places import Places
from tsengine.ids import GROUP_MARK, group_id
from tsengine.rows import Row

HIGHEST = 2**64 - 1
"""The last sequence that there can be."""

_SIGN = 1 << 63
_ROW_KEY = struct.Struct(">IQ")
_ENTRY = struct.Struct(">QQ")
_ARRAY32 = b"\xdd"


# Checked when a row is decoded: what is beyond these was not written so.
_Time = Annotated[int, msgspec.Meta(ge=TIMES[0], le=TIMES[1])]
_Variable = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
_Integer = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class StoredRow(msgspec.Struct, array_like=True, gc=False):
    """The value of a register. Fields at the end that are None are not written.

    Attributes:
        variable: the device's number for its name.
        group: int: the automatic group of a request whose first point is so many sequences before this one; bytes: 24
            hexadecimal characters as 12 bytes; str: any other text. (msgspec has no union of bytes and str.)
        metadata: JSON.
    """

    time_us: _Time
    variable: _Variable
    received_us: _Time
    group: Any
    value: float | _Integer | bool | str | None = None
    unit: str | None = None
    lat: float | None = None
    lng: float | None = None
    metadata: bytes | None = None


PLACES = Places(StoredRow, StoredRow.__struct_fields__)

encode = msgspec.msgpack.Encoder().encode
decode_row = msgspec.msgpack.Decoder(StoredRow).decode
_decode_rows = msgspec.msgpack.Decoder(list[StoredRow]).decode


def device_key(device: int) -> bytes:
    """Return the 4 bytes that every key of a device begins with."""
    return device.to_bytes(4, "big")


def row_key(device: int, sequence: int) -> bytes:
    """Return the key of a register."""
    return _ROW_KEY.pack(device, sequence)


def sequences_of(entries: list[bytes]) -> list[int]:
    """Return the sequences in entries of secondary keys."""
    return [sequence for _, sequence in _ENTRY.iter_unpack(b"".join(entries))]


def entry(time_us: int, sequence: int) -> bytes:
    """Return a register's entry under a secondary key: 16 bytes that sort by (time, sequence), also before 1970."""
    return _ENTRY.pack(time_us + _SIGN, sequence)


def encode_row(row: StoredRow) -> bytes:
    """Return the stored bytes of a row, without the Nones at its end."""
    fields = list(astuple(row))
    while fields[-1] is None:
        fields.pop()
    return encode(fields)


def decode_rows(values: list[bytes]) -> list[StoredRow]:
    """Decode many stored rows in one call, as the elements of one MessagePack array."""
    return _decode_rows(_ARRAY32 + len(values).to_bytes(4, "big") + b"".join(values))


def is_automatic(device: int, group: str) -> int | None:
    """Return the first sequence of the request if the text is an automatic group of this device, else None."""
    if len(group) == 24 and group.startswith(f"{device:08x}"):
        try:
            marked = int.from_bytes(bytes.fromhex(group[8:]), "big")
        except ValueError:
            return None
        if marked & GROUP_MARK and f"{marked:016x}" == group[8:]:
            return marked ^ GROUP_MARK
    return None


def pack_group(device: int, sequence: int, group: str) -> int | bytes | str:
    """Return the stored form of a register's group."""
    first = is_automatic(device, group)
    if first is not None and first <= sequence:
        return sequence - first
    if len(group) == 24:
        try:
            packed = bytes.fromhex(group)
        except ValueError:
            return group
        if packed.hex() == group:
            return packed
    return group


def to_rows(device: int, sequences: Iterable[int], stored: Sequence[StoredRow], names: Mapping[int, str]) -> list[Row]:
    """Return the Rows of decoded registers of one device, in the order given.

    Called for every row that is read: the group's text is made once for rows of one request that follow each other, and a
    Row is made without the detour over the NamedTuple's own constructor.
    """
    rows = []
    make: Any = tuple.__new__
    prefix, last_first, automatic = f"{device:08x}", -1, ""
    for sequence, row in zip(sequences, stored, strict=True):
        time_us, variable, received_us, group, value, unit, lat, lng, metadata = astuple(row)
        if group.__class__ is int:
            if sequence - group != last_first:
                if not 0 <= group <= sequence:
                    raise _no_group(group)
                last_first = sequence - group
                automatic = f"{prefix}{last_first | GROUP_MARK:016x}"
            group = automatic
        elif group.__class__ is bytes:
            group = group.hex()
        elif group.__class__ is not str:
            raise _no_group(group)
        rows.append(make(Row, (sequence, time_us, names[variable], value, unit, group, lat, lng, metadata, received_us)))
    return rows


def to_row(device: int, sequence: int, row: StoredRow, name: str) -> Row:
    """Return the Row of one decoded register."""
    group = row.group
    if group.__class__ is int:
        if not 0 <= group <= sequence:
            raise _no_group(group)
        group = group_id(device, sequence - group)
    elif group.__class__ is bytes:
        group = group.hex()
    elif group.__class__ is not str:
        raise _no_group(group)
    return Row(sequence, row.time_us, name, row.value, row.unit, group, row.lat, row.lng, row.metadata, row.received_us)


def _no_group(group: object) -> msgspec.ValidationError:
    return msgspec.ValidationError(f"Expected a group of text, bytes or an int up to the sequence, got {group!r}")


def edited_row(device: int, row: Row, edits: Iterable[Mapping[str, Any]]) -> Row:
    """Return a Row after edits, one after another."""
    group = pack_group(device, row.sequence, row.group)
    stored = StoredRow(row.time_us, 0, row.received_us, group, row.value, row.unit, row.lat, row.lng, row.metadata)
    for fields in edits:
        stored = edit_row(device, row.sequence, stored, fields)
    return to_row(device, row.sequence, stored, row.variable)


def edit_row(device: int, sequence: int, row: StoredRow, fields: Mapping[str, Any]) -> StoredRow:
    """Return the row with the fields of one edit replaced; None removes a field.

    A time of None is no change, and without a group the register is a request of its own. Fields that a register does not
    have are passed over: the engine has checked the command before it was logged, and a replay must not fail on it.
    """
    changes: dict[str, Any] = {name: fields[name] for name in ("value", "unit") if name in fields}
    if fields.get("time") is not None:
        changes["time_us"] = fields["time"]
    if "group" in fields:
        changes["group"] = 0 if fields["group"] is None else pack_group(device, sequence, fields["group"])
    if "location" in fields:
        location = fields["location"] or (None, None)
        changes["lat"], changes["lng"] = (None if degrees is None else float(degrees) for degrees in location)
    if "metadata" in fields:
        metadata = fields["metadata"]
        changes["metadata"] = metadata.encode() if isinstance(metadata, str) else metadata
    return msgspec.structs.replace(row, **changes)
