"""Segments: what a second reader, written from the format page, finds in files that the engine wrote; and their directory."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store import reader
from tests.store.making import (
    KIND_BOOLEAN,
    KIND_INTEGER,
    KIND_NONE,
    KIND_NUMBER,
    KIND_TEXT,
    RECEIVED_US,
    Fed,
    exact,
    ordered,
    random_points,
    read_segment,
    record_of,
    seal_to,
)
from tests.strategies import JANUARY_2024_US, PERIODS, QUICK, batches, border_times
from tsengine.core.codec import crc32c as engine_crc
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter
from tsengine.errors import CorruptionError, StorageError
from tsengine.rows import Row

ALL_KINDS = (KIND_NONE, KIND_NUMBER, KIND_INTEGER, KIND_BOOLEAN, KIND_TEXT)


def second_reader(path: str) -> reader.Reader:
    return reader.Reader(Path(path).read_bytes())


def as_row(point: reader.Point) -> Row:
    lat, lng = point.location or (None, None)
    return Row(
        point.sequence,
        point.time_us,
        point.variable,
        point.value,
        point.unit,
        point.group,
        lat,
        lng,
        point.metadata,
        point.received_s * 1_000_000,
    )


def bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def number_of(cell: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", cell))[0])


def check_statistics(series: reader.Series, block: reader.Block, points: list[reader.Point]) -> None:
    values = [point.value for point in points]
    assert (block.first_time, block.last_time, block.point_count) == (points[0].time_us, points[-1].time_us, len(points))
    if series.kind in (KIND_NONE, KIND_TEXT):
        assert block[2:8] == (0,) * 6
        assert block.flags == 0
        return
    if series.kind in (KIND_INTEGER, KIND_BOOLEAN):
        assert (block.minimum, block.maximum, block.first, block.last) == (min(values), max(values), values[0], values[-1])
        assert (block.sum_high << 64) + (block.sum_low & 2**64 - 1) == sum(values)
        assert block.flags == 0
        return
    real = [value for value in values if not math.isnan(value)]
    finite = [value for value in values if math.isfinite(value)]
    assert number_of(block.minimum) == min(real, default=math.inf)
    assert number_of(block.maximum) == max(real, default=-math.inf)
    assert (block.first, block.last) == (bits(values[0]), bits(values[-1]))
    try:
        total = math.fsum(finite)
    except OverflowError:
        assert block.flags == 1
        return
    if len(finite) < len(values):
        assert block.flags == 1
    if math.isfinite(number_of(block.sum_high)):
        largest = max(map(abs, finite), default=0.0)
        assert number_of(block.sum_high) + number_of(block.sum_low) == pytest.approx(
            total, rel=1e-15, abs=largest * len(finite) ** 2 * 2**-104
        )
    else:
        assert block.flags == 1


def check(segment: Segment, rows: list[Row]) -> None:
    second = second_reader(segment.path)
    assert [exact(as_row(point)) for point in ordered_points(second.points())] == [exact(row) for row in ordered(rows)]
    assert second.footer.month == segment.month
    assert second.footer.point_count == segment.point_count == len(rows)
    assert [len(second.footer.series), len(second.footer.blocks)] == [segment.series_count, segment.block_count]
    keys = [(series.device, series.name, series.kind) for series in second.footer.series]
    assert keys == sorted(set(keys))
    for series in second.footer.series:
        for block_number in series.blocks:
            block = second.footer.blocks[block_number]
            check_statistics(series, block, second.block(series, block))
    segment.verify()


def ordered_points(points: list[reader.Point]) -> list[reader.Point]:
    return sorted(points, key=lambda point: (point.time_us, point.sequence))


def in_month(rows: list[Row], segment: Segment) -> list[Row]:
    return [row for row in rows if np.datetime64(row.time_us, "us").astype("datetime64[M]").astype(int) == segment.month]


@given(batches(border_times("day")), st.sampled_from(PERIODS))
@QUICK
def test_a_second_reader_finds_the_points(
    tmp_path_factory: pytest.TempPathFactory, several: list[list[dict[str, Any]]], period: str | None
) -> None:
    memtable, fed = Memtable(), Fed()
    rows = [row for points in several for row in fed.feed(memtable, points)]
    for segment in seal_to(tmp_path_factory.mktemp("segment"), memtable, {fed.device: period}):
        check(segment, in_month(rows, segment))
        assert [exact(row) for row in read_segment(segment)] == [exact(row) for row in ordered(in_month(rows, segment))]


def test_a_second_reader_finds_many_points_of_every_kind(tmp_path: Path) -> None:
    memtable, fed = Memtable(), Fed()
    points = random_points(random.Random(8), 6000, kinds=ALL_KINDS, variables=("a", "b"))
    # Long texts that occur once lie in their block; others in a dictionary; and enough of them to need several dictionaries.
    points += [
        {"variable": "long", "value": f"{n:04d}" + "x" * 300, "time": JANUARY_2024_US + n, "metadata": {"n": n, "text": "y" * 50}}
        for n in range(3000)
    ]
    points += [{"variable": "short", "value": f"{n // 1024} {n % 400} " * 30, "time": JANUARY_2024_US + n} for n in range(3000)]
    rows = fed.feed(memtable, points)
    (segment,) = seal_to(tmp_path, memtable, {fed.device: None})
    check(segment, rows)
    assert len(second_reader(segment.path).footer.dictionaries) > 1


@pytest.mark.parametrize("group", ["auto", "hex", "text", "mixed"])
@pytest.mark.parametrize("located", ["all", "some", "none"])
def test_every_form_of_groups_and_locations(tmp_path: Path, group: str, located: str) -> None:
    generator = random.Random(3)
    memtable, fed = Memtable(), Fed()
    points: list[dict[str, Any]] = []
    for n in range(1500):
        point: dict[str, Any] = {"variable": "t", "time": JANUARY_2024_US + n, "value": n / 10}
        choice = generator.choice(("auto", "hex", "text")) if group == "mixed" else group
        if choice != "auto":
            point["group"] = f"{generator.getrandbits(96):024x}" if choice == "hex" else f"trip {n // 100}"
        if located == "all" or (located == "some" and n % 3):
            point["location"] = (generator.uniform(-90, 90), round(generator.uniform(-180, 180), 5))
        points.append(point)
    rows = [row for start in range(0, 1500, 10) for row in fed.feed(memtable, points[start : start + 10])]
    (segment,) = seal_to(tmp_path, memtable, {fed.device: "month"})
    check(segment, rows)
    assert [exact(row) for row in read_segment(segment)] == [exact(row) for row in rows]


def test_the_directory_tells_devices_series_and_blocks(tmp_path: Path) -> None:
    memtable = Memtable()
    for log_seq, device in enumerate((5, 2**32 - 1, 0, 9), 1):
        points = [
            {"variable": name, "value": value, "time": JANUARY_2024_US + log_seq}
            for name, value in (("b", 1.0), ("a", 1), ("aa", "x"), ("a", True))
        ]
        memtable.apply(record_of(device, points, 1, RECEIVED_US), log_seq)
    (segment,) = seal_to(tmp_path, memtable, dict.fromkeys((5, 2**32 - 1, 0, 9)))
    assert segment.devices() == [0, 5, 9, 2**32 - 1]
    for device in segment.devices():
        assert segment.device_series(device) == [(b"a", KIND_INTEGER), (b"a", KIND_BOOLEAN), (b"aa", KIND_TEXT), (b"b", KIND_NUMBER)]
        assert [count for _, _, count in segment.device_blocks(device)] == [1, 1, 1, 1]
    assert (segment.device_series(6), segment.device_blocks(6)) == ([], [])
    assert segment.time_bounds() == (JANUARY_2024_US + 1, JANUARY_2024_US + 4)
    assert (segment.id, segment.last_log_seq) == (1, 4)
    assert segment.size_bytes == Path(segment.path).stat().st_size


def test_the_same_points_give_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        memtable, fed = Memtable(), Fed()
        fed.feed(memtable, random_points(random.Random(6), 4000, kinds=ALL_KINDS, variables=("a", "b")))
        (tmp_path / name).mkdir()
        (segment,) = seal_to(tmp_path / name, memtable, {fed.device: "week"})
        contents.append(Path(segment.path).read_bytes())
    assert contents[0] == contents[1]


def test_an_unlinked_segment_stays_readable(tmp_path: Path) -> None:
    memtable, fed = Memtable(), Fed()
    rows = fed.feed(memtable, random_points(random.Random(6), 4000))
    (segment,) = seal_to(tmp_path, memtable, {fed.device: None})
    Path(segment.path).unlink()
    assert [exact(row) for row in read_segment(segment)] == [exact(row) for row in ordered(rows)]


def test_a_segment_without_series(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "empty.seg", 5)
    writer.finish()
    segment = Segment(tmp_path / "empty.seg")
    assert (segment.month, segment.point_count, segment.devices()) == (5, 0, [])
    segment.verify()
    assert second_reader(segment.path).points() == []


def test_an_aborted_segment_leaves_no_file(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "x.seg.tmp", 5)
    writer.abort()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError):
        SegmentWriter(tmp_path / "missing" / "x.seg", 5)
    (tmp_path / "there").touch()
    with pytest.raises(StorageError):
        SegmentWriter(tmp_path / "there", 5)


def test_files_that_are_no_segments(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"missing\.seg"):
        Segment(tmp_path / "missing.seg")
    for content in (b"", b"TSEGMENT", bytes(48), bytes(4096), b"TSEGMENT" + bytes(100)):
        path = tmp_path / "other.seg"
        path.write_bytes(content)
        with pytest.raises(CorruptionError, match=r"other\.seg"):
            Segment(path)


def test_the_second_readers_checksum_is_crc32c() -> None:
    assert reader.crc32c(b"123456789") == 0xE3069283
    data = random.Random(1).randbytes(1000)
    assert reader.crc32c(data) == engine_crc.crc32c(data)
