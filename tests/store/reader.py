"""A second reader of segments, in plain Python, written from docs/format/segment.md alone; nothing of the engine is imported.

Encoded values are read by tests/codec/reader.py, which was written from docs/format/block-codecs.md alone.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.codec import reader as codec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Decoder = Callable[[codec.Cursor, int], list[Any]]


def integers(cursor: codec.Cursor, n: int) -> list[int]:
    return codec.integers(cursor, n)


def numbers(cursor: codec.Cursor, n: int) -> list[float]:
    return [codec.to_double(bits) for bits in codec.numbers(cursor, n)]


def whole(decode: Decoder, raw: bytes, n: int) -> list[Any]:
    """Values of a stream that is one encoded block and nothing else."""
    values, rest = taken(decode, raw, n)
    require(rest == b"", "bytes behind a stream")
    return values


def taken(decode: Decoder, raw: bytes, n: int) -> tuple[list[Any], bytes]:
    """Values of the encoded block at the start of these bytes, and the bytes behind it."""
    cursor = codec.Cursor(raw)
    values = decode(cursor, n)
    return values, raw[cursor.at :]


STREAMS = ("time", "value", "sequence", "received", "unit", "group", "location", "metadata")
NONE, NUMBER, INTEGER, BOOLEAN, TEXT = range(5)
NO_DICTIONARY = 0xFFFFFFFF


class Damaged(Exception):
    pass


class Point(NamedTuple):
    device: int
    variable: str
    kind: int
    time_us: int
    value: Any
    sequence: int
    received_s: int
    unit: str | None
    group: str
    location: tuple[float, float] | None
    metadata: bytes | None


def crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


TABLE = crc_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Block(NamedTuple):
    """A directory entry, its fields in the order of the footer's arrays."""

    first_time: int
    last_time: int
    minimum: int
    maximum: int
    sum_high: int
    sum_low: int
    first: int
    last: int
    offset: int
    length: int
    dictionary: int
    crc: int
    point_count: int
    flags: int


class Dictionary(NamedTuple):
    offset: int
    length: int
    entries: int
    crc: int


class Series(NamedTuple):
    device: int
    name: bytes
    kind: int
    blocks: range


class Footer(NamedTuple):
    offset: int
    length: int
    month: int
    point_count: int
    series: list[Series]
    blocks: list[Block]
    dictionaries: list[Dictionary]
    fields: dict[str, int]  # name of each array -> its position in the file


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Damaged(what)


class Arrays:
    """Takes one array after another off the footer; each is padded to 8 bytes."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at
        self.fields: dict[str, int] = {}

    def take(self, name: str, letter: str, count: int) -> tuple[Any, ...]:
        size = struct.calcsize(f"<{letter}") * count
        self.fields[name] = self.at
        values = struct.unpack_from(f"<{count}{letter}", self.data, self.at)
        self.at += (size + 7) // 8 * 8
        return values


def read_footer(data: bytes) -> Footer:
    require(len(data) >= 48, "too short")
    magic, version, zero = struct.unpack_from("<8sII", data, 0)
    require((magic, version, zero) == (b"TSEGMENT", 1, 0), "header")
    offset, length, crc, version, magic = struct.unpack_from("<QQII8s", data, len(data) - 32)
    require((version, magic) == (1, b"TSEGFOOT"), "trailer")
    require(offset >= 16 and offset % 8 == 0 and offset + length == len(data) - 32, "footer bounds")
    require(crc32c(data[offset : offset + length + 16]) == crc, "footer checksum")
    require(length >= 32, "footer length")
    series_count, block_count, dictionary_count, name_bytes, month, point_count = struct.unpack_from("<IIIIqQ", data, offset)
    arrays = Arrays(data, offset + 32)
    device = arrays.take("series_device", "I", series_count)
    name = arrays.take("series_name", "I", series_count + 1)
    first_block = arrays.take("series_first_block", "I", series_count + 1)
    kind = arrays.take("series_kind", "B", series_count)
    names = bytes(arrays.take("names", "B", name_bytes))
    longs = [arrays.take(field, "q", block_count) for field in Block._fields[:8]]
    rest = [arrays.take(field, letter, block_count) for field, letter in zip(Block._fields[8:], "QIIIHH", strict=True)]
    dictionary = [
        arrays.take(f"dictionary_{field}", letter, dictionary_count) for field, letter in zip(Dictionary._fields, "QIII", strict=True)
    ]
    require(arrays.at == offset + length, "footer counts")
    return Footer(
        offset,
        length,
        month,
        point_count,
        [Series(device[i], names[name[i] : name[i + 1]], kind[i], range(first_block[i], first_block[i + 1])) for i in range(series_count)],
        [Block(*fields) for fields in zip(*longs, *rest, strict=True)],
        [Dictionary(*fields) for fields in zip(*dictionary, strict=True)],
        arrays.fields,
    )


def read_dictionary(data: bytes, entry: Dictionary) -> list[bytes]:
    raw = data[entry.offset : entry.offset + entry.length]
    require(crc32c(raw) == entry.crc, "dictionary checksum")
    lengths = struct.unpack_from(f"<{entry.entries}H", raw)
    strings, at = [], 2 * entry.entries
    for length in lengths:
        strings.append(raw[at : at + length])
        at += length
    require(at == len(raw), "dictionary length")
    return strings


def split_block(raw: bytes) -> dict[str, bytes]:
    """The streams of a block by name; absent ones are empty."""
    present = [name for bit, name in enumerate(STREAMS) if raw[0] >> bit & 1]
    at, lengths = 1, []
    for _ in present[:-1]:
        value = shift = 0
        while True:
            byte = raw[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        lengths.append(value)
    lengths.append(len(raw) - at - sum(lengths))
    streams = dict.fromkeys(STREAMS, b"")
    for name, length in zip(present, lengths, strict=True):
        streams[name] = raw[at : at + length]
        at += length
    return streams


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.footer = read_footer(data)

    def points(self) -> list[Point]:
        return [
            point for series in self.footer.series for number in series.blocks for point in self.block(series, self.footer.blocks[number])
        ]

    def block(self, series: Series, entry: Block) -> list[Point]:
        raw = self.data[entry.offset : entry.offset + entry.length]
        require(crc32c(raw) == entry.crc, "block checksum")
        strings = [] if entry.dictionary == NO_DICTIONARY else read_dictionary(self.data, self.footer.dictionaries[entry.dictionary])
        streams, n = split_block(raw), entry.point_count
        values: list[Any]
        if series.kind == NONE:
            values = [None] * n
        elif series.kind == NUMBER:
            values = list(whole(numbers, streams["value"], n))
        elif series.kind == TEXT:
            values = [None if text is None else text.decode() for text in self.texts(streams["value"], n, strings)]
        else:
            values = [int(value) if series.kind == INTEGER else bool(value) for value in whole(integers, streams["value"], n)]
        times = [int(time) for time in whole(integers, streams["time"], n)]
        sequences = [int(sequence) for sequence in whole(integers, streams["sequence"], n)]
        received = [int(second) for second in whole(integers, streams["received"], n)]
        units = self.texts(streams["unit"], n, strings)
        groups = self.groups(streams["group"], n, strings, series.device, sequences)
        locations = self.locations(streams["location"], n)
        metadata = self.texts(streams["metadata"], n, strings)
        require((times[0], times[-1]) == (entry.first_time, entry.last_time), "block times")
        return [
            Point(
                series.device, series.name.decode(), series.kind, times[i], values[i], sequences[i], received[i],
                None if (unit := units[i]) is None else unit.decode(), groups[i], locations[i], metadata[i],
            )
            for i in range(n)
        ]  # fmt: skip

    def texts(self, raw: bytes, n: int, strings: list[bytes]) -> list[bytes | None]:
        if not raw:
            return [None] * n
        cells, rest = taken(integers, raw[1:], n)
        if raw[0] == 0:
            return [strings[int(cell) - 1] if cell else None for cell in cells]
        require(raw[0] in (1, 2), "form of strings")
        if raw[0] == 2:
            size = sum(int(cell) - 1 for cell in cells if cell)
            require(all(cell <= 10241 for cell in cells), "long compressed string")
            frame = zstd.ZstdDecompressor()
            rest = frame.decompress(rest, max_length=size + 1)
            require(frame.eof and not frame.unused_data, "one Zstandard frame")
        found: list[bytes | None] = []
        for cell in cells:
            found.append(rest[: int(cell) - 1] if cell else None)
            rest = rest[int(cell) - 1 :] if cell else rest
        require(not rest, "bytes behind the strings")
        return found

    def groups(self, raw: bytes, n: int, strings: list[bytes], device: int, sequences: list[int]) -> list[str]:
        form, rest = raw[0], raw[1:]
        forms, highs = [0 if form == 0 else 1] * n, [0] * n
        if form == 2:
            forms, rest = taken(integers, rest, n)
        if form != 0:
            highs, rest = taken(integers, rest, n)
        lows, rest = taken(integers, rest, n)
        require(not rest, "bytes behind the groups")
        groups = []
        for kind, high, low, sequence in zip(forms, highs, lows, sequences, strict=True):
            if kind == 2:
                groups.append(strings[int(low)].decode())
            elif kind == 1:
                groups.append(f"{int(high) & (2**64 - 1):016x}{int(low):08x}")
            else:
                groups.append(f"{device:08x}{sequence - int(low) | 1 << 63:016x}")
        return groups

    def locations(self, raw: bytes, n: int) -> list[tuple[float, float] | None]:
        if not raw:
            return [None] * n
        form, rest = raw[0], raw[1:]
        present = [1] * n
        if form == 1:
            present, rest = taken(integers, rest, n)
        lats, rest = taken(numbers, rest, n)
        lngs, rest = taken(numbers, rest, n)
        require(not rest, "bytes behind the locations")
        return [(float(lats[i]), float(lngs[i])) if present[i] else None for i in range(n)]
