"""Blocks: every length and every shape of values, alone in a segment, come back bit for bit and cost what they should."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.store import reader
from tests.store.making import Fed, exact, ordered, read_segment, seal_to
from tests.strategies import FLOAT_BITS, JANUARY_2024_US, float_of_bits
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.segment import Segment
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
    for points, form in ((unique, 1), (repeated, 0)):
        segment, _, block = one_block(tmp_path / str(form), points)
        data = Path(segment.path).read_bytes()
        assert reader.split_block(data[block.offset : block.offset + block.length])["value"][0] == form
        assert (block.dictionary == reader.NO_DICTIONARY) == (form == 1)


def test_absent_columns_have_no_stream(tmp_path: Path) -> None:
    segment, _, block = one_block(tmp_path, [{"variable": "t", "value": None, "time": JANUARY_2024_US}])
    data = Path(segment.path).read_bytes()
    streams = reader.split_block(data[block.offset : block.offset + block.length])
    assert [name for name, stream in streams.items() if stream] == ["time", "sequence", "received", "group"]
