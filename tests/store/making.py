"""What the tests of the store share: the model of a row, and the way from points to memtables, segments and back."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tests.strategies import JANUARY_2024_US, TIME_MAX_US, TIME_MIN_US
from tsengine.core import batch
from tsengine.core.ingest.points import from_points
from tsengine.core.ingest.table import Column, Table
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.scan import WANTS, SeriesScan
from tsengine.core.store.seal import seal
from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter
from tsengine.ids import group_id
from tsengine.rows import Row

RECEIVED_US = 1_700_000_000_000_000
KIND_NONE, KIND_NUMBER, KIND_INTEGER, KIND_BOOLEAN, KIND_TEXT = range(5)

Source = tuple[Memtable | Segment, list[tuple[int, int]]]


def exact(row: Row) -> tuple[Any, ...]:
    """A row that compares by bits: NaN equals itself, 0.0 is not -0.0, 1 is not 1.0 nor True."""
    return tuple((type(part).__name__, struct.pack("<d", part)) if isinstance(part, float) else (type(part).__name__, part) for part in row)


def expected_rows(device: int, points: Sequence[dict[str, Any]], first_sequence: int, received_us: int = RECEIVED_US) -> list[Row]:
    """The rows that these points are, by the plainest reading of the documentation."""
    rows = []
    for number, point in enumerate(points):
        location = point.get("location")
        metadata = point.get("metadata")
        rows.append(
            Row(
                first_sequence + number,
                point["time"],
                point["variable"].lower(),
                point["value"],
                point.get("unit"),
                point.get("group") or group_id(device, first_sequence),
                None if location is None else float(location[0]),
                None if location is None else float(location[1]),
                None if metadata is None else msgspec.json.encode(metadata),
                received_us,
            )
        )
    return rows


def record_of(device: int, points: Sequence[dict[str, Any]], first_sequence: int, received_us: int = RECEIVED_US) -> bytes:
    record = from_points(list(points), received_us)
    batch.stamp(record, device, first_sequence)
    return record


def same_kind(points: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points with floats for ints if there is a float: a column of a table has numbers of one type."""
    made = list(points)
    if any(type(point["value"]) is float for point in made):
        made = [{**point, "value": float(point["value"])} if type(point["value"]) is int else point for point in made]
    return made


def table_of(points: Sequence[dict[str, Any]], devices: Sequence[int] = (), *, skipped: int = 0, received_us: int = RECEIVED_US) -> Table:
    """The columns of these points; `devices` names the device of each, `skipped` cells of noise lie in front of every column."""

    def column(cells: list[Any], dtype: type, *, texts: list[Any] | None = None, unset: Any = None) -> Column:
        is_set = np.array([cell is not None for cell in cells])
        filled = np.array([77 if unset is None else unset] * skipped + [0 if cell is None else cell for cell in cells], dtype)
        data = np.packbits(filled, bitorder="little") if dtype is bool else filled
        bits = np.packbits(np.concatenate([np.ones(skipped, bool), is_set]), bitorder="little")
        return Column(data, None if is_set.all() else bits, skipped, texts)

    def coded(cells: list[Any]) -> Column:
        texts: list[Any] = ["!never used!"]
        for cell in cells:
            if cell is not None and cell not in texts:
                texts.append(cell)
        return column([None if cell is None else texts.index(cell) for cell in cells], np.int32, texts=texts)

    def packed(cells: list[str]) -> Column:
        return Column(bytes(12 * skipped) + b"".join(bytes.fromhex(cell) for cell in cells), None, skipped)

    values = [point["value"] for point in points]
    groups = [point.get("group") or None for point in points]
    places = [point.get("location") or (np.nan, np.nan) for point in points]
    is_float = any(type(value) is float for value in values)
    number = [value if type(value) in (int, float) else None for value in values]
    table = Table(
        received_us,
        column([point["time"] for point in points], np.int64),
        coded([point["variable"] for point in points]),
        count=len(points),
        number=column(number, np.float64 if is_float else np.int64),
        number_kind=KIND_NUMBER if is_float else KIND_INTEGER,
        boolean=column([value if type(value) is bool else None for value in values], bool),
        text=coded([value if type(value) is str else None for value in values]),
        unit=coded([point.get("unit") for point in points]),
        group=packed(groups) if all(group and re.fullmatch("[0-9a-f]{24}", group) for group in groups) else coded(groups),
        metadata=coded([point.get("metadata") for point in points]),
        lat=column([float(place[0]) for place in places], np.float64),
        lng=column([float(place[1]) for place in places], np.float64),
        device=coded([str(device) for device in devices]) if devices else None,
    )
    table.assign([None if text is None else int(text) for text in table.devices()] if devices else [7])
    return table


def ordered(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.time_us, row.sequence))


class Fed:
    """Feeds batches of one device to memtables and remembers their rows."""

    def __init__(self, device: int = 7) -> None:
        self.device = device
        self.next_sequence = 1
        self.log_seq = 0

    def feed(self, memtable: Memtable, points: Sequence[dict[str, Any]]) -> list[Row]:
        rows = expected_rows(self.device, points, self.next_sequence)
        self.log_seq += 1
        memtable.apply(record_of(self.device, points, self.next_sequence), self.log_seq)
        self.next_sequence += len(points) + 3  # gaps are allowed
        return rows


def seal_to(folder: Path, memtable: Memtable, periods: dict[int, str | None], first_id: int = 1) -> list[Segment]:
    """Freeze and seal a memtable; return its segments, one a month."""
    memtable.freeze()
    begun: list[SegmentWriter] = []

    def make_writer(month: int) -> SegmentWriter:
        begun.append(SegmentWriter(folder / f"{first_id + len(begun):04d}.seg", month))
        return begun[-1]

    seal(memtable, periods, make_writer)
    for writer in begun:
        writer.finish()
    segments = [Segment(writer.path, first_id + number, memtable.last_log_seq) for number, writer in enumerate(begun)]
    return sorted(segments, key=lambda segment: segment.month)


def series_of(sources: Iterable[Source], device: int) -> list[tuple[bytes, int]]:
    return sorted({key for source, _ in sources for key in source.device_series(device)})


def scan_of(
    sources: list[Source],
    device: int,
    name: bytes,
    kind: int,
    start: int = TIME_MIN_US,
    end: int = TIME_MAX_US,
    *,
    want: str = "all",
    reverse: bool = False,
) -> SeriesScan:
    return SeriesScan(sources, device, name, kind, start, end, WANTS[want], reverse)


def read_all(sources: list[Source], device: int, start: int = TIME_MIN_US, end: int = TIME_MAX_US) -> list[Row]:
    """Every row of a device within the bounds, by (time, sequence)."""
    rows: list[Row] = []
    for name, kind in series_of(sources, device):
        rows += scan_of(sources, device, name, kind, start, end).collect().rows(device, name.decode())
    return ordered(rows)


def read_segment(segment: Segment) -> list[Row]:
    """Every row of a segment, device by device."""
    return [row for device in segment.devices() for row in read_all([(segment, [])], device)]


def random_points(
    generator: random.Random,
    count: int,
    *,
    kinds: Sequence[int] = (KIND_NUMBER,),
    variables: Sequence[str] = ("t",),
    start_us: int = JANUARY_2024_US,
    span_us: int = 10 * 86_400_000_000,
    late: float = 0.1,
    rich: bool = True,
) -> list[dict[str, Any]]:
    """Many points over a span: mostly ascending, some late, some at equal times; with units, groups, locations and metadata if rich."""
    points: list[dict[str, Any]] = []
    time_us = start_us
    for number in range(count):
        time_us = start_us + span_us * number // count
        if generator.random() < late:
            time_us = start_us + generator.randrange(span_us)
        elif generator.random() < 0.05 and points:
            time_us = points[-1]["time"]
        point: dict[str, Any] = {
            "variable": generator.choice(variables),
            "time": time_us,
            "value": random_value(generator, generator.choice(kinds)),
        }
        if rich:
            if generator.random() < 0.5:
                point["unit"] = generator.choice(("°C", "F", ""))
            if generator.random() < 0.3:
                point["group"] = generator.choice(("trip", f"{generator.getrandbits(96):024x}", "ABC"))
            if generator.random() < 0.2:
                point["location"] = (round(generator.uniform(-90, 90), 6), generator.uniform(-180, 180))
            if generator.random() < 0.1:
                point["metadata"] = {"n": generator.randrange(5)}
        points.append(point)
    return points


def random_value(generator: random.Random, kind: int) -> Any:
    if kind == KIND_NUMBER:
        return generator.choice((round(generator.gauss(20, 5), 1), generator.random(), -0.0, 1e300))
    if kind == KIND_INTEGER:
        return generator.choice((generator.randrange(100), generator.randrange(-(2**63), 2**63)))
    if kind == KIND_BOOLEAN:
        return generator.random() < 0.5
    if kind == KIND_TEXT:
        return generator.choice(("on", "off", "", f"text {generator.random()}"))
    return None
