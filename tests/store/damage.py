"""Damage to segments, with and without the checksums made good again, so that the checks behind them are reached."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from tests.store import reader
from tsengine.core.codec.crc32c import crc32c

FIELDS = {
    "series_device": ("I", "series"), "series_name": ("I", "series"), "series_first_block": ("I", "series"), "series_kind": ("B", "series"),
    **dict.fromkeys(reader.Block._fields[:8], ("q", "blocks")),
    **{field: (letter, "blocks") for field, letter in zip(reader.Block._fields[8:], "QIIIHH", strict=True)},
    **{f"dictionary_{field}": (letter, "dictionaries") for field, letter in zip(reader.Dictionary._fields, "QIII", strict=True)},
}  # fmt: skip
"""Array of the footer -> (struct letter, what it has one entry for)."""


def with_footer_crc(data: bytes) -> bytes:
    """Make the footer's checksum fit its bytes, wherever the trailer says that they are."""
    offset = struct.unpack_from("<Q", data, len(data) - 32)[0]
    if offset > len(data) - 16:
        return data
    return data[:-16] + struct.pack("<I", crc32c(data[offset:-16])) + data[-12:]


def with_field(data: bytes, field: str, number: int, value: int) -> bytes:
    """Change one cell of the footer and its checksum."""
    footer = reader.read_footer(data)
    letter = FIELDS[field][0]
    size = struct.calcsize(letter)
    at = footer.fields[field] + number * size
    return with_footer_crc(data[:at] + (value & (1 << 8 * size) - 1).to_bytes(size, "little") + data[at + size :])


def with_block(data: bytes, number: int, change: Callable[[bytes], bytes]) -> bytes:
    """Change the bytes of a block, keeping their length, and both checksums."""
    entry = reader.read_footer(data).blocks[number]
    changed = change(data[entry.offset : entry.offset + entry.length])
    data = data[: entry.offset] + changed + data[entry.offset + entry.length :]
    return with_field(data, "crc", number, crc32c(changed))


def with_dictionary(data: bytes, number: int, change: Callable[[bytes], bytes]) -> bytes:
    """Change the bytes of a dictionary, keeping their length, and both checksums."""
    entry = reader.read_footer(data).dictionaries[number]
    changed = change(data[entry.offset : entry.offset + entry.length])
    data = data[: entry.offset] + changed + data[entry.offset + entry.length :]
    return with_field(data, "dictionary_crc", number, crc32c(changed))


def written(path: Path, data: bytes) -> Path:
    """Write the bytes as a new file: the old one may still be mapped."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path
