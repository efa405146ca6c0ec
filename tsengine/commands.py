"""Commands of the log: every change that is not a batch of points.

A command carries everything its effect depends on (times, numbers, ids), so that applying the log again, here or on
another machine, gives the same store. On disk a command is one record: the byte RECORD_COMMAND, then MessagePack of the
Struct as a tagged array; the format page is docs/format/command.md. Tags and field order are part of the format: add fields
at the end with defaults, never reorder.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from tsengine.errors import CorruptionError, InputError, StorageError
from tsengine.types import DeviceInfo, Parameter, Token

RECORD_POINTS = 1
RECORD_COMMAND = 2


class Command(msgspec.Struct, array_like=True, frozen=True, tag_field="command"):
    """What every command has in common: nothing but its tag."""


class PutDevice(Command, tag="put_device", frozen=True):
    """Create a device, or replace what the catalog knows of it (same number)."""

    device: DeviceInfo


class DeleteDevice(Command, tag="delete_device", frozen=True):
    """Forget a device: its points or registers, tokens and parameters."""

    device: int


class ConvertDevice(Command, tag="convert_device", frozen=True):
    """Put a new device, under a number of its own, in the place of an empty one: id, serial, tokens and parameters are the new one's.

    The new number keeps records of the old kind, which a log may deliver again, away from the store of the new kind.
    """

    old: int
    device: DeviceInfo


class PutToken(Command, tag="put_token", frozen=True):
    token: Token


class DeleteToken(Command, tag="delete_token", frozen=True):
    token: str


class PutParameters(Command, tag="put_parameters", frozen=True):
    """Insert parameters, or replace those with the same id."""

    device: int
    parameters: tuple[Parameter, ...]


class DeleteParameter(Command, tag="delete_parameter", frozen=True):
    device: int
    id: str


class DropPoints(Command, tag="drop_points", frozen=True):
    """Hide, and later remove, the points of an immutable device with start_us <= time <= end_us logged before this command."""

    device: int
    start_us: int
    end_us: int


class EditRegisters(Command, tag="edit_registers", frozen=True):
    """Replace fields of registers: (sequence, {field: new value}) pairs.

    Fields: time (microseconds), value, unit, group, location ([lat, lng]), metadata (JSON text); None removes the field
    (never time). A sequence that does not exist is skipped.
    """

    device: int
    edits: tuple[tuple[int, dict[str, Any]], ...]


class DeleteRegisters(Command, tag="delete_registers", frozen=True):
    """Remove registers by sequence; those that do not exist are skipped."""

    device: int
    sequences: tuple[int, ...]


class EmptyRegisters(Command, tag="empty_registers", frozen=True):
    """Remove every register of a mutable device."""

    device: int


AnyCommand = (
    PutDevice
    | DeleteDevice
    | ConvertDevice
    | PutToken
    | DeleteToken
    | PutParameters
    | DeleteParameter
    | DropPoints
    | EditRegisters
    | DeleteRegisters
    | EmptyRegisters
)

_TAGS = {command.__struct_config__.tag for command in get_args(AnyCommand)}
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyCommand)


def encode(command: Command) -> bytes:
    """Return the log record of a command.

    Raises:
        InputError: a field holds what its type does not allow. It is read back here: a log with a record that cannot be read
            could not be opened again.
    """
    try:
        record = _encoder.encode(command)
        _decoder.decode(record)
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError, RecursionError) as error:
        problem = str(error).replace("`$[1].", "`").replace("`$[1]", "`field 1")
        raise InputError(f"a value cannot be stored: {problem}") from None
    return bytes((RECORD_COMMAND,)) + record


def decode(record: bytes) -> AnyCommand:
    """Return the command of a log record (first byte RECORD_COMMAND).

    Raises:
        StorageError: a newer version wrote it. CorruptionError: it is no command.
    """
    try:
        return _decoder.decode(memoryview(record)[1:])
    except (msgspec.DecodeError, RecursionError) as error:
        raise _refusal(record, error) from error


def _refusal(record: bytes, error: Exception) -> CorruptionError | StorageError:
    try:
        match msgspec.msgpack.decode(memoryview(record)[1:]):
            case [str(tag), *_] if tag not in _TAGS:
                return StorageError(f"the log holds a change of a newer tsengine ({tag!r}); open the store with that version")
    except (msgspec.DecodeError, RecursionError):
        pass
    return CorruptionError("command in the log", expected="one that this version knows", found=str(error))
