"""The parts of a file that are stored as one batch each, with the numbers of their rows."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from tsengine.core.ingest.fields import to_time_us
from tsengine.errors import InputError
from tsengine.limits import BULK_POINTS
from tsengine.store.period import accepted_until, kept_from, window_text
from tsengine.transfer.cells import BadRow, Format, as_point
from tsengine.transfer.rows import csv_rows, json_rows
from tsengine.transfer.tables import append_table, open_batches, point_columns
from tsengine.types import Point

if TYPE_CHECKING:
    import pyarrow as pa

    from tsengine.device import Device
    from tsengine.engine.engine import Engine

BATCH_POINTS = 50_000
"""Points of one batch of an import: one sync each, and some 20 MB of memory."""

TABLE_POINTS = BULK_POINTS
"""Rows of a table that are offered as one bulk load; where that cannot be, they are stored in batches."""

BATCH_TEXT_CHARS = 32 * 1024 * 1024
"""Texts and metadata of one batch, characters: long ones end a batch before BATCH_POINTS, and so do bytes of a table TABLE_POINTS."""


class Part:
    """Rows of the file that are stored as one batch: as points with their line numbers.

    Attributes:
        rows: rows of the file it stands for, bad ones included.
        bad: rows that could not be read.
    """

    def __init__(self, numbers: list[int], points: list[Point], bad: list[BadRow], rows: int) -> None:
        self.numbers, self.points, self.bad, self.rows = numbers, points, bad, rows

    @property
    def count(self) -> int:
        return len(self.points)

    def record(self, device: Device) -> bytes:
        """Return the batch, checked but not stored. Raises InputError."""
        return device.record_of_points(self.points)

    def first(self) -> tuple[str, int]:
        """Return (variable, time) of the first point; the part was checked before."""
        return self.points[0].variable, to_time_us(self.points[0].time)

    def as_rows(self) -> Part:
        return self

    def batches(self) -> Iterator[Part]:
        """Yield the part in pieces of at most BATCH_POINTS."""
        yield self

    def without_bad(self, db: Engine, device: Device) -> tuple[Part, list[BadRow]]:
        """Return the part without the rows that the device does not take, and those rows."""
        now_us = db.clock.now_us()
        from_us, until_us = kept_from(device.info, now_us), accepted_until(device.info, now_us)
        numbers, points, bad = [], [], list(self.bad)
        for number, point in zip(self.numbers, self.points, strict=True):
            try:
                device.record_of_points([point])
                if not from_us <= to_time_us(point.time) <= until_us:
                    raise InputError(window_text(device.info, now_us))
            except InputError as error:
                bad.append(BadRow(number, str(error).removeprefix("Invalid data at index 0: ")))
                continue
            numbers.append(number)
            points.append(point)
        return Part(numbers, points, [], self.rows), sorted(bad)


class TablePart(Part):
    """Rows of an Arrow table with the columns of `Device.append_arrow`, the first of them row `first_row` of the file."""

    def __init__(self, table: pa.Table, first_row: int) -> None:
        super().__init__([], [], [], table.num_rows)
        self.table, self.first_row = table, first_row

    @property
    def count(self) -> int:
        return self.table.num_rows

    def record(self, device: Device) -> bytes:
        return device.record_of_arrow(self.table)

    def first(self) -> tuple[str, int]:
        return self.table.column("variable")[0].as_py() or "", self.table.column("time")[0].value or 0  # a bad row may have none

    def batches(self) -> Iterator[Part]:
        for low in range(0, self.count, BATCH_POINTS):
            yield TablePart(self.table.slice(low, BATCH_POINTS), self.first_row + low)

    def as_rows(self) -> Part:
        numbers, points, bad = [], [], []
        for number, row in enumerate(point_columns(self.table), self.first_row):
            found = as_point(number, row)
            if isinstance(found, BadRow):
                bad.append(found)
            else:
                numbers.append(number)
                points.append(found)
        return Part(numbers, points, bad, self.rows)


def open_parts(
    file: BinaryIO, format: Format, variable: str | None, skip_rows: int, default_time_us: int | None = None
) -> tuple[Iterator[Part], Callable[[], tuple[int, int]]]:
    """Return the parts of a file behind its first rows, and a function that tells (done, all) of what was read.

    Args:
        default_time_us: of rows of a CSV file that have none; None = they are bad.

    Raises:
        InputError: the file is not of this format, or lacks a column.
    """
    if format in ("parquet", "arrow"):
        batches, total = open_batches(file, format)
        done = [0]
        return table_parts(batches, variable, skip_rows, done), lambda: (done[0], total)
    size = os.fstat(file.fileno()).st_size if is_file(file) else 0
    rows = csv_rows(file, variable, default_time_us) if format == "csv" else json_rows(file, variable)
    return row_parts(rows, skip_rows), lambda: (file.tell() if size else 0, size)


def is_file(file: BinaryIO) -> bool:
    return isinstance(file, io.BufferedReader) and file.seekable()


def row_parts(rows: Iterator[tuple[int, Point | BadRow]], skip_rows: int) -> Iterator[Part]:
    """Gather rows into parts, behind the first ones."""
    rows = islice(rows, skip_rows, None)
    while True:
        part = Part([], [], [], 0)
        text_chars = 0
        for number, found in islice(rows, BATCH_POINTS):
            part.rows += 1
            if isinstance(found, BadRow):
                part.bad.append(found)
                continue
            part.numbers.append(number)
            part.points.append(found)
            if type(found.value) is str:
                text_chars += len(found.value)
            if found.metadata is not None:
                text_chars += memoryview(found.metadata).nbytes  # type: ignore[arg-type]  # it is msgspec.Raw here
            if text_chars > BATCH_TEXT_CHARS:
                break
        if not part.rows:
            return
        yield part


def table_parts(batches: Iterator[pa.RecordBatch], variable: str | None, skip_rows: int, done: list[int]) -> Iterator[Part]:
    """Make parts of record batches, behind the first rows; done[0] becomes the number of rows read."""
    for gathered in tables_of(batches, done):
        first = min(max(skip_rows - done[0], 0), gathered.num_rows)
        done[0] += first
        table = append_table(gathered.slice(first), variable)
        for low in range(0, table.num_rows, TABLE_POINTS):
            part = TablePart(table.slice(low, TABLE_POINTS), done[0] + 1)
            done[0] += part.count
            yield part


def tables_of(batches: Iterator[pa.RecordBatch], done: list[int]) -> Iterator[pa.Table]:
    """Gather record batches into tables of TABLE_POINTS rows or more, unless they are large before.

    Raises:
        InputError: the file is damaged behind what was yielded.
    """
    import pyarrow as pa

    is_end = False
    while not is_end:
        gathered: list[pa.RecordBatch] = []
        damage: Exception | None = None
        try:
            while sum(batch.num_rows for batch in gathered) < TABLE_POINTS and sum(batch.nbytes for batch in gathered) < BATCH_TEXT_CHARS:
                gathered.append(next(batches))
        except StopIteration:
            is_end = True
        except (pa.ArrowException, OSError) as error:
            damage = error
        if gathered:
            yield pa.Table.from_batches(gathered)
        if damage is not None:
            raise InputError(f"the file is damaged after row {done[0]}: {damage}")
