"""Salvage: every damaged block is told, every good one is copied, and wrong statistics alone cost no point."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store import reader
from tests.store.damage import with_field
from tests.store.making import read_segment
from tests.store.storing import Stored
from tsengine.core.store.salvage import salvage
from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter
from tsengine.errors import CorruptionError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A segment of two variables with several blocks each."""
    stored = Stored(tmp_path)
    stored.add_device()
    stored.append([{"variable": "ab"[n % 2], "value": n / 10, "time": n * 1_000_000, "unit": "C"} for n in range(5_000)])
    stored.seal()
    stored.store.close()
    (path,) = (tmp_path / "segments").glob("*.seg")
    return path


def test_a_whole_segment_is_copied_byte_for_byte(path: Path) -> None:
    counted: list[int] = []
    writer = SegmentWriter(path.with_suffix(".copy"), Segment(path).month)
    assert salvage(Segment(path), writer, counted.append) == []
    writer.finish()
    assert sum(counted) == 5_000
    assert read_segment(Segment(path.with_suffix(".copy"))) == read_segment(Segment(path))


@pytest.mark.parametrize("field", ["minimum", "maximum", "sum_high", "first", "last"])
def test_wrong_statistics_cost_no_point(path: Path, field: str) -> None:
    before = read_segment(Segment(path))
    path.write_bytes(with_field(path.read_bytes(), field, 1, 123))
    writer = SegmentWriter(path.with_suffix(".copy"), Segment(path).month)
    ((device, variable, _, _, lost, error),) = salvage(Segment(path), writer)
    assert (device, variable, lost) == (7, b"a", 0) and "statistics" in str(error)
    writer.finish()
    Segment(path.with_suffix(".copy")).verify()
    assert read_segment(Segment(path.with_suffix(".copy"))) == before


def test_each_damaged_block_is_told(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    blocks = reader.read_footer(bytes(raw)).blocks
    for number in (0, 2, len(blocks) - 1):
        raw[blocks[number].offset + 3] ^= 1
    path.write_bytes(raw)
    damage = salvage(Segment(path))
    assert [(first, last, lost) for _, _, first, last, lost, _ in damage] == [
        (blocks[number].first_time, blocks[number].last_time, blocks[number].point_count) for number in (0, 2, len(blocks) - 1)
    ]
    assert all(isinstance(error, CorruptionError) for *_, error in damage)
