"""Arrow IPC streams from outside: how large they would become, read from their metadata before anything is inflated.

pyarrow allocates what a compressed buffer claims to hold. The claims stand in front of the buffers, and where these lie the metadata
tells, which are flatbuffers (docs of the format: Schema.fbs, Message.fbs). Only what leads there is read here; pyarrow checks the rest.
"""

from __future__ import annotations

import struct

import pyarrow as pa

from tsengine.errors import InputError

DICTIONARY_BATCH, RECORD_BATCH = 2, 3
"""Headers of messages that have buffers."""


def inflated_bytes(body: bytes) -> int:
    """Return how many bytes the compressed buffers of a stream claim to hold together; 0 if none is compressed.

    Raises:
        InputError, pyarrow.ArrowException: it is no such stream.
    """
    total = 0
    for message in pa.ipc.MessageReader.open_stream(body):
        try:
            total += _claimed(message.metadata.to_pybytes(), message.body)
        except (struct.error, IndexError):
            raise InputError("Malformed Arrow stream: the metadata of a message is damaged") from None
    return total


def _claimed(metadata: bytes, body: pa.Buffer | None) -> int:
    message = _Table(metadata, _offset(metadata, 0))
    kind_at = message.field(1)
    kind = metadata[kind_at] if kind_at else 0
    if kind not in (DICTIONARY_BATCH, RECORD_BATCH) or body is None:
        return 0
    batch = message.table(2)
    if batch is not None and kind == DICTIONARY_BATCH:
        batch = batch.table(1)
    if batch is None or batch.table(3) is None:
        return 0
    vector = batch.field(2)
    if not vector:
        return 0
    first = _offset(metadata, vector)
    (count,) = struct.unpack_from("<I", metadata, first)
    view, total = memoryview(body), 0
    for place, size in struct.iter_unpack("<qq", metadata[first + 4 : first + 4 + 16 * count]):
        if size >= 8 and 0 <= place <= len(view) - 8:
            (claimed,) = struct.unpack_from("<q", view, place)
            total += size if claimed < 0 else claimed
    return total


class _Table:
    """A table of a flatbuffer."""

    def __init__(self, data: bytes, at: int) -> None:
        (back,) = struct.unpack_from("<i", data, at)
        self._data, self._at, self._fields = data, at, at - back
        if self._fields < 0:
            raise IndexError(self._fields)
        (self._size,) = struct.unpack_from("<H", data, self._fields)

    def field(self, number: int) -> int:
        """Return where a field lies, 0 if it is absent."""
        place = 4 + 2 * number
        if place + 2 > self._size:
            return 0
        (offset,) = struct.unpack_from("<H", self._data, self._fields + place)
        return self._at + int(offset) if offset else 0

    def table(self, number: int) -> _Table | None:
        at = self.field(number)
        return _Table(self._data, _offset(self._data, at)) if at else None


def _offset(data: bytes, at: int) -> int:
    (offset,) = struct.unpack_from("<I", data, at)
    return at + int(offset)
