"""Hostile segments: whatever the bytes, reading ends with the right points or CorruptionError that names file and offset.

Damage that makes its checksums good again may also give other points: then no reader can tell. It must still end well.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.store import reader
from tests.store.damage import FIELDS, with_block, with_dictionary, with_field, with_footer_crc, written
from tests.store.making import Fed, exact, ordered, read_segment, scan_of, seal_to, series_of
from tests.strategies import JANUARY_2024_US
from tsengine.core.store.aggregate import Buckets
from tsengine.core.store.cells import FUNCTIONS
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.segment import Segment
from tsengine.errors import CorruptionError

DEVICE = 7
INTERESTING = (
    0,
    1,
    2,
    7,
    8,
    15,
    16,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 2,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 8,
    2**64 - 1,
)


def points() -> list[dict[str, Any]]:
    """A few points of every kind and every form of every stream."""
    made: list[dict[str, Any]] = []
    for n in range(12):
        time = JANUARY_2024_US + n * 1_000_003
        made += [
            {"variable": "n", "value": n / 10, "time": time, "unit": "C", "location": (n / 7, n / 3)},
            {"variable": "i", "value": n * n, "time": time, "group": f"{n:024x}", "unit": "C" if n % 2 else None},
            {"variable": "b", "value": n % 3 == 0, "time": time, "group": "trip", "location": (1.0, 2.0) if n % 2 else None},
            {"variable": "s", "value": f"text {n % 3}", "time": time, "metadata": {"a": n % 2}},
            {"variable": "p", "value": f"{n} " + "long" * 24, "time": time},
            {"variable": "o", "value": None, "time": time, "group": ("trip", f"{n:024x}", None)[n % 3]},
        ]
    return made


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Any]]:
    memtable, fed = Memtable(), Fed(DEVICE)
    rows = fed.feed(memtable, points())
    (segment,) = seal_to(tmp_path_factory.mktemp("hostile"), memtable, {DEVICE: "day"})
    return Path(segment.path).read_bytes(), [exact(row) for row in ordered(rows)]


def read_everything(path: Path) -> list[Any]:
    """Open, verify and read in every way; return the rows."""
    segment = Segment(path, 1, 1)
    rows = []
    segment.time_bounds()
    for device in segment.devices():
        segment.device_blocks(device)
        for name, kind in series_of([(segment, [])], device):
            name.decode()
            scan_of([(segment, [])], device, name, kind).count()
            scan_of([(segment, [(JANUARY_2024_US, JANUARY_2024_US + 5_000_000)])], device, name, kind).count()
            found = scan_of([(segment, [])], device, name, kind, reverse=True)
            while (run := found.next_run()) is not None:
                run.hex_texts(device, False)
                run.string_codes("unit")
            if kind in (1, 2, 3):
                low, high = segment.time_bounds()
                width = max((high - low) // 3, 1_000)
                if (high - low) // width < 10:
                    buckets = Buckets(FUNCTIONS, low, width, (high - low) // width + 1)
                    buckets.add(scan_of([(segment, [])], device, name, kind, want="value"))
    rows = [exact(row) for row in read_segment(segment)]
    segment.verify()
    return rows


def outcome(path: Path, data: bytes) -> list[Any] | None:
    """The rows, or None if the damage was noticed as it should be."""
    try:
        return read_everything(written(path, data))
    except CorruptionError as error:
        assert error.file == str(path)
        assert 0 <= error.offset <= len(data)
        assert re.search(rf"damaged .* in {re.escape(str(path))} at byte \d+: .*tsengine check", str(error))
        return None


def flipped(at: int, flip: int) -> Callable[[bytes], bytes]:
    return lambda raw: raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]


def is_padding(data: bytes, at: int) -> bool:
    footer = reader.read_footer(data)
    used = [range(block.offset, block.offset + block.length) for block in footer.blocks]
    used += [range(entry.offset, entry.offset + entry.length) for entry in footer.dictionaries]
    return 16 <= at < footer.offset and not any(at in part for part in used)


def test_the_small_segment_is_whole(tmp_path: Path, sealed: tuple[bytes, list[Any]]) -> None:
    data, rows = sealed
    assert outcome(tmp_path / "whole.seg", data) == rows
    streams = [reader.split_block(data[block.offset : block.offset + block.length]) for block in reader.read_footer(data).blocks]
    assert {stream["group"][0] for stream in streams} == {0, 1, 2}
    assert {stream["location"][:1] for stream in streams} == {b"", b"\0", b"\1"}
    assert {stream["value"][:1] for stream in streams} >= {b"", b"\0", b"\1"}


def test_every_flipped_byte_is_noticed(tmp_path: Path, sealed: tuple[bytes, list[Any]]) -> None:
    data, rows = sealed
    path = tmp_path / "flipped.seg"
    for at in range(len(data)):
        found = outcome(path, data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        assert found is None or (found == rows and is_padding(data, at)), f"byte {at}"


def test_every_cut_length_is_noticed(tmp_path: Path, sealed: tuple[bytes, list[Any]]) -> None:
    data, _ = sealed
    path = tmp_path / "cut.seg"
    for length in range(len(data)):
        assert outcome(path, data[:length]) is None, f"length {length}"
        if length % 8 == 0:
            assert outcome(path, data[-length:] if length else b"") is None, f"the last {length} bytes"


def test_bytes_behind_the_end_are_noticed(tmp_path: Path, sealed: tuple[bytes, list[Any]]) -> None:
    data, _ = sealed
    for tail in (b"\0", bytes(8), data, data[-32:]):
        assert outcome(tmp_path / "longer.seg", data + tail) is None


def test_random_damage_is_noticed(tmp_path: Path, sealed: tuple[bytes, list[Any]]) -> None:
    data, rows = sealed
    generator = random.Random(20)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(generator.randrange(1, 30)):
            damaged[generator.randrange(len(data))] = generator.randrange(256)
        if generator.random() < 0.3:
            start = generator.randrange(len(data))
            damaged[start : start + generator.randrange(1, 64)] = generator.randbytes(generator.randrange(1, 64))
        found = outcome(tmp_path / "random.seg", bytes(damaged))
        assert found is None or found == rows


def test_every_byte_of_the_footer_with_a_good_checksum(tmp_path: Path, sealed: tuple[bytes, list[Any]]) -> None:
    data, _ = sealed
    path = tmp_path / "footer.seg"
    footer = reader.read_footer(data)
    for at in range(footer.offset, footer.offset + footer.length):
        for flip in (0x01, 0x80, 0xFF):
            outcome(path, with_footer_crc(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]))


@pytest.mark.parametrize("field", FIELDS)
def test_odd_numbers_in_the_footer(tmp_path: Path, sealed: tuple[bytes, list[Any]], field: str) -> None:
    data, _ = sealed
    footer = reader.read_footer(data)
    for number in range(min(len(getattr(footer, FIELDS[field][1])), 3)):
        for value in (*INTERESTING, footer.offset, footer.offset - 1, len(data)):
            outcome(tmp_path / "odd.seg", with_field(data, field, number, value))


def test_bounds_that_must_be_refused(tmp_path: Path, sealed: tuple[bytes, list[Any]]) -> None:
    data, _ = sealed
    footer = reader.read_footer(data)
    block = footer.blocks[0]
    for field, value in (
        ("series_name", 1),
        ("series_first_block", 1),
        ("series_kind", 5),
        ("series_device", DEVICE + 1),  # no longer in order
        ("offset", footer.offset - block.length + 1),
        ("offset", 15),
        ("offset", 2**64 - 1),
        ("length", footer.offset - block.offset + 1),
        ("length", 0),
        ("length", block.length - 1),
        ("length", block.length + 1),
        ("point_count", 0),
        ("point_count", 1025),
        ("point_count", block.point_count - 1),
        ("point_count", block.point_count + 1),
        ("flags", 2),
        ("dictionary", len(footer.dictionaries)),
        ("first_time", block.last_time + 1),
        ("first_time", block.first_time - 1),
        ("last_time", block.last_time + 1),
        ("last_time", 2**62),
        ("dictionary_entries", 2**31),
        ("dictionary_entries", footer.dictionaries[0].entries + 1),
        ("dictionary_length", footer.dictionaries[0].length - 1),
        ("dictionary_offset", 2**63),
    ):
        assert outcome(tmp_path / "bounds.seg", with_field(data, field, 0, value)) is None, (field, value)


def test_counts_of_the_footer_that_do_not_fit(tmp_path: Path, sealed: tuple[bytes, list[Any]]) -> None:
    data, _ = sealed
    offset = reader.read_footer(data).offset
    for at in (0, 4, 8, 12, 24):  # series, blocks, dictionaries, bytes of names, points
        for value in INTERESTING:
            width = 8 if at == 24 else 4
            cell = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
            changed = data[: offset + at] + cell + data[offset + at + width :]
            assert changed == data or outcome(tmp_path / "counts.seg", with_footer_crc(changed)) is None, (at, value)


def test_trailers_that_point_elsewhere(tmp_path: Path, sealed: tuple[bytes, list[Any]]) -> None:
    """A footer behind the end of the file, with a length that makes the sum right, was a crash."""
    data, _ = sealed
    end = len(data) - 32
    for offset in (0, 8, 16, 24, end - 8, end, end + 8, end + 16, end + 24, end + 32, end + 40, 2**63, 2**64 - 8):
        for length in (0, 8, 32, 2**63, (end - offset) % 2**64, (end - offset - 8) % 2**64):
            changed = data[:end] + struct.pack("<QQ", offset, length) + data[end + 16 :]
            found = outcome(tmp_path / "trailer.seg", with_footer_crc(changed))
            assert found is None or changed == data


@pytest.mark.parametrize("number", range(6))
def test_damaged_streams_with_good_checksums(tmp_path: Path, sealed: tuple[bytes, list[Any]], number: int) -> None:
    data, _ = sealed
    path = tmp_path / "stream.seg"
    length = reader.read_footer(data).blocks[number].length
    for at in range(length):
        for flip in (0x01, 0x10, 0x80, 0xFF):
            outcome(path, with_block(data, number, flipped(at, flip)))


def test_random_streams_with_good_checksums(tmp_path: Path, sealed: tuple[bytes, list[Any]]) -> None:
    data, _ = sealed
    generator = random.Random(21)
    for _ in range(300):
        number = generator.randrange(6)

        def change(raw: bytes) -> bytes:
            start = generator.randrange(len(raw))
            size = min(generator.randrange(1, 40), len(raw) - start)
            return raw[:start] + generator.randbytes(size) + raw[start + size :]

        outcome(tmp_path / "stream.seg", with_block(data, number, change))


def test_damaged_dictionaries_with_good_checksums(tmp_path: Path, sealed: tuple[bytes, list[Any]]) -> None:
    data, rows = sealed
    path = tmp_path / "dictionary.seg"
    entry = reader.read_footer(data).dictionaries[0]
    for at in range(entry.length):
        for flip in (0x01, 0x80, 0xFF):
            found = outcome(path, with_dictionary(data, 0, flipped(at, flip)))
            assert at >= 2 * entry.entries or found is None, f"length {at // 2}"
            assert found is None or flip == 0x01, "no letter of the dictionary has a twin in UTF-8 at that distance"
            assert found != rows


def test_streams_of_another_block(tmp_path: Path, sealed: tuple[bytes, list[Any]]) -> None:
    """A block in the place of another: its own checksum is good, but times and kind are not those of the directory."""
    data, _ = sealed
    footer = reader.read_footer(data)
    for number, block in enumerate(footer.blocks):
        for other in footer.blocks:
            changed = data
            for field in ("offset", "length", "crc", "dictionary"):
                changed = with_field(changed, field, number, getattr(other, field))
            outcome(tmp_path / "swapped.seg", changed)
        assert outcome(tmp_path / "swapped.seg", with_field(data, "crc", number, block.crc ^ 1)) is None


@pytest.mark.parametrize("field", ["minimum", "maximum", "sum_high", "sum_low", "first", "last", "flags"])
def test_statistics_that_lie_are_found_by_verify(tmp_path: Path, sealed: tuple[bytes, list[Any]], field: str) -> None:
    data, _ = sealed
    found = 0
    for number, block in enumerate(reader.read_footer(data).blocks):
        segment = Segment(written(tmp_path / "a.seg", with_field(data, field, number, getattr(block, field) ^ 1)))
        with pytest.raises(CorruptionError) as caught:
            segment.verify()
        assert caught.value.offset == block.offset
        found += 1
    assert found
