"""What a query found, as a table for people, CSV, JSON, JSON lines, Parquet or Arrow; on standard output or in a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import typer

from tsengine.cli.show import json_bytes, opened_for_write, point_object, print_table, time_text
from tsengine.types import Point

if TYPE_CHECKING:
    import pyarrow as pa


class RowFormat(StrEnum):
    """Formats of rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"
    ARROW = "arrow"


class Rows:
    """Rows of a query, all in memory.

    Args:
        objects: one dict a row, all with the same keys.
        table: makes the same rows an Arrow table, with the types of the store.
    """

    def __init__(self, objects: list[dict[str, Any]], table: Callable[[], pa.Table]) -> None:
        self.objects = objects
        self.table = table


def rows_of_points(points: Sequence[Point]) -> Rows:
    """Return points as rows; in an Arrow table in the columns of an export, and `id`."""

    def table() -> pa.Table:
        import pyarrow as pa

        from tsengine.transfer.exporting import batch_of_points, exact_schema

        return pa.Table.from_batches([batch_of_points(list(points), exact_schema(with_id=True))])

    return Rows([point_object(point) for point in points], table)


def rows_of_table(table: pa.Table) -> Rows:
    """Return the rows of an Arrow table, like that of an aggregate."""
    rows = table.to_pylist()
    return Rows([{**row, "time": time_text(row["time"])} for row in rows], lambda: table)


def rows_of_count(count: int) -> Rows:
    """Return a count as one row."""

    def table() -> pa.Table:
        import pyarrow as pa

        return pa.table({"count": [count]})

    return Rows([{"count": count}], table)


def format_of_rows(output: Path | None, format: RowFormat | None) -> RowFormat:
    """Return the format that is named, or the one of the file's suffix, or a table."""
    if format is None and output is not None:
        from tsengine.transfer.cells import format_of

        return RowFormat.JSON if output.suffix.lower() == ".json" else RowFormat(format_of(str(output)))
    if output is not None and format is RowFormat.TABLE:
        raise typer.BadParameter("a table goes to the terminal; name another format for a file", param_hint="--format")
    return format or RowFormat.TABLE


def write_rows(rows: Rows, format: RowFormat, output: Path | None) -> None:
    """Write rows to a file, or to standard output."""
    if format is RowFormat.TABLE:
        print_rows(rows.objects)
        return
    with opened_for_write(output or Path("-")) as file:
        WRITERS[format](rows, file)


def print_rows(objects: list[dict[str, Any]]) -> None:
    """Print rows as a table: columns that nobody filled, and ids, stay out of it."""
    names = list(objects[0]) if objects else ["variable", "time", "value"]
    names = [name for name in names if name != "id" and any(row[name] is not None for row in objects)] or names
    print_table(names, [[cell_of(row[name]) for name in names] for row in objects])


def cell_of(value: Any) -> Any:
    """Return a value as a cell of text: numbers exactly, objects as JSON."""
    from tsengine.transfer.cells import number_text

    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, float) else value


def write_csv(rows: Rows, file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        writer = csv.writer(text)
        writer.writerow(list(rows.objects[0]) if rows.objects else ["variable", "time", "value"])
        writer.writerows([cell_of(value) for value in row.values()] for row in rows.objects)
        text.flush()
    finally:
        text.detach()


def write_json(rows: Rows, file: BinaryIO) -> None:
    file.write(json_bytes(rows.objects) + b"\n")


def write_jsonl(rows: Rows, file: BinaryIO) -> None:
    file.write(msgspec.json.Encoder().encode_lines(rows.objects))


def write_parquet(rows: Rows, file: BinaryIO) -> None:
    import pyarrow.parquet as pq

    pq.write_table(rows.table(), file, compression="zstd")


def write_arrow(rows: Rows, file: BinaryIO) -> None:
    import pyarrow as pa

    table = rows.table()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


WRITERS: dict[RowFormat, Callable[[Rows, BinaryIO], None]] = {
    RowFormat.CSV: write_csv,
    RowFormat.JSON: write_json,
    RowFormat.JSONL: write_jsonl,
    RowFormat.PARQUET: write_parquet,
    RowFormat.ARROW: write_arrow,
}
