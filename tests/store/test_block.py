"""Blocks: every length and every shape of values, alone in a segment, come back bit for bit and cost what they should."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.store import reader
from tests.store.damage import with_block, written
from tests.store.making import Fed, exact, ordered, read_segment, seal_to
from tests.strategies import FLOAT_BITS, JANUARY_2024_US, float_of_bits
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.segment import Segment
from tsengine.errors import CorruptionError
from tsengine.rows import Row

LENGTHS = (1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 511, 512, 1000, 1023, 1024)

SHAPES: dict[str, Callable[[random.Random, int], Any]] = {
    "constant": lambda _, n: 21.5,
    "counter": lambda _, n: n,
    "decimals": lambda generator, n: round(generator.gauss(20, 5), 2),
    "full precision": lambda generator, n: generator.random(),
    "odd floats": lambda generator, n: float_of_bits(generator.choice(FLOAT_BITS)),
    "any bits": lambda generator, n: float_of_bits(generator.getrandbits(64)),
    "one outlier": lambda _, n: float_of_bits(0x7FF0000000000001) if n == 7 else n / 10,
    "wide integers": lambda generator, n: generator.randrange(-(2**63), 2**63),
    "edges of integers": lambda generator, n: generator.choice((-(2**63), 2**63 - 1)),
    "booleans": lambda generator, n: generator.random() < 0.5,
    "few texts": lambda generator, n: generator.choice(("on", "off", "")),
    "unique texts": lambda generator, n: f"{generator.random()} é",
    "long texts": lambda generator, n: "x" * generator.randrange(3000),
    "nothing": lambda _, n: None,
}


def one_block(folder: Path, points: list[dict[str, Any]]) -> tuple[Segment, list[Row], reader.Block]:
    folder.mkdir(exist_ok=True)
    memtable, fed = Memtable(), Fed()
    rows = fed.feed(memtable, points)
    (segment,) = seal_to(folder, memtable, {fed.device: None})
    (block,) = reader.read_footer(Path(segment.path).read_bytes()).blocks
    return segment, rows, block


@pytest.mark.parametrize("shape", SHAPES)
def test_every_length_comes_back(tmp_path: Path, shape: str) -> None:
    generator = random.Random(shape)
    for count in LENGTHS:
        points = [{"variable": "t", "value": SHAPES[shape](generator, n), "time": JANUARY_2024_US + n * 1_000_000} for n in range(count)]
        segment, rows, block = one_block(tmp_path / str(count), points)
        assert block.point_count == count
        assert [exact(row) for row in read_segment(segment)] == [exact(row) for row in ordered(rows)]


def test_a_regular_constant_block_is_a_few_bytes(tmp_path: Path) -> None:
    points = [
        {"variable": "t", "value": 21.5, "time": JANUARY_2024_US + n * 60_000_000, "unit": "C", "location": (1.5, 2.5)} for n in range(1024)
    ]
    assert one_block(tmp_path, points)[2].length < 100


def test_texts_that_occur_once_lie_in_the_block_and_others_in_the_dictionary(tmp_path: Path) -> None:
    unique = [{"variable": "t", "value": f"{n:04d} is a text of its own", "time": JANUARY_2024_US + n} for n in range(1024)]
    repeated = [{"variable": "t", "value": f"{n % 9} is a text of several", "time": JANUARY_2024_US + n} for n in range(1024)]
    for points, form in ((unique, 2), (repeated, 0)):
        segment, _, block = one_block(tmp_path / str(form), points)
        data = Path(segment.path).read_bytes()
        assert reader.split_block(data[block.offset : block.offset + block.length])["value"][0] == form
        assert (block.dictionary == reader.NO_DICTIONARY) == (form == 2)


WORDS = ("valve", "pressure", "exceeds", "limit", "acknowledged", "by", "operator", "motor", "restart", "timeout", "bus", "ok")


def log_text(generator: random.Random, length: int) -> str:
    lines = ""
    while len(lines) < length:
        lines += f"{generator.random():.6f} {generator.choice(WORDS)} {generator.choice(WORDS)} {generator.getrandbits(32):08x} ü\n"
    return lines[:length]


def test_long_texts_are_compressed(tmp_path: Path) -> None:
    generator = random.Random(5)
    points = [
        {"variable": "t", "value": log_text(generator, generator.randrange(500, 3000)), "time": JANUARY_2024_US + n} for n in range(300)
    ]
    segment, rows, block = one_block(tmp_path, points)
    data = Path(segment.path).read_bytes()
    stream = reader.split_block(data[block.offset : block.offset + block.length])["value"]
    assert stream[0] == 2
    assert len(stream) < 0.5 * sum(len(point["value"].encode()) for point in points)
    assert [exact(row) for row in read_segment(segment)] == [exact(row) for row in ordered(rows)]


def test_unique_metadata_is_compressed_where_only_some_points_have_it(tmp_path: Path) -> None:
    generator = random.Random(6)
    points: list[dict[str, Any]] = [{"variable": "t", "value": n, "time": JANUARY_2024_US + n} for n in range(1024)]
    for point in points[::7]:
        point["metadata"] = {"request": f"{generator.getrandbits(64):016x}", "battery": generator.randrange(100), "gateway": "gw-1"}
    segment, rows, block = one_block(tmp_path, points)
    data = Path(segment.path).read_bytes()
    assert reader.split_block(data[block.offset : block.offset + block.length])["metadata"][0] == 2
    assert [exact(row) for row in read_segment(segment)] == [exact(row) for row in ordered(rows)]


def test_text_that_does_not_shrink_stays_as_it_is(tmp_path: Path) -> None:
    generator = random.Random(7)
    points = [
        {"variable": "t", "value": "".join(map(chr, generator.choices(range(0x20, 0x7F), k=100))), "time": JANUARY_2024_US + n}
        for n in range(100)
    ]
    segment, rows, block = one_block(tmp_path, points)
    data = Path(segment.path).read_bytes()
    assert reader.split_block(data[block.offset : block.offset + block.length])["value"][0] == 1
    assert [exact(row) for row in read_segment(segment)] == [exact(row) for row in ordered(rows)]


def test_damage_to_compressed_text_is_noticed(tmp_path: Path) -> None:
    """Whatever a frame says of itself, with checksums made good again: rows or CorruptionError."""
    generator = random.Random(8)
    points = [{"variable": "t", "value": log_text(generator, 400), "time": JANUARY_2024_US + n} for n in range(20)]
    segment, _, block = one_block(tmp_path, points)
    data = Path(segment.path).read_bytes()
    raw = data[block.offset : block.offset + block.length]
    assert reader.split_block(raw)["value"][0] == 2
    frame = raw.index(b"\x28\xb5\x2f\xfd")
    damaged = 0
    for at in [*range(frame - 12, frame + 40), *generator.sample(range(frame, len(raw)), 100)]:
        changed = raw[:at] + bytes([raw[at] ^ 1 << generator.randrange(8)]) + raw[at + 1 :]
        path = written(tmp_path / "damaged.seg", with_block(data, 0, lambda _, changed=changed: changed))
        try:
            read_segment(Segment(path))
        except CorruptionError:
            damaged += 1
    assert damaged > 50  # a changed letter is no damage that the block itself could notice


def test_absent_columns_have_no_stream(tmp_path: Path) -> None:
    segment, _, block = one_block(tmp_path, [{"variable": "t", "value": None, "time": JANUARY_2024_US}])
    data = Path(segment.path).read_bytes()
    streams = reader.split_block(data[block.offset : block.offset + block.length])
    assert [name for name, stream in streams.items() if stream] == ["time", "sequence", "received", "group"]
