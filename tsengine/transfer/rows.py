"""Rows of text files: CSV with a header, and JSON lines. A row that cannot be read is a BadRow, never the end of the file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from tsengine.errors import InputError
from tsengine.transfer.cells import NUMBER, TIME_COLUMNS, BadRow, as_point, check_columns, to_number, typed_value
from tsengine.types import Point, Value

LINE_CHARS_MAX = 1024 * 1024
"""Longest line that is read: far more than the largest point, and a file without line ends does not fill the memory."""


def csv_value(cell: str | None) -> Value:
    """Return the value of a cell without a type: a JSON number, true, false, or text; None = the cell is empty."""
    if cell is None or not cell:
        return None
    if NUMBER.fullmatch(cell):
        return to_number(cell)
    return cell == "true" if cell in ("true", "false") else cell


def csv_rows(file: BinaryIO, variable: str | None, default_time_us: int | None = None) -> Iterator[tuple[int, Point | BadRow]]:
    """Yield (line, point or why not) of the rows of a CSV file with a header; rows without a time get the default one."""
    # Lone surrogates stand for bytes that are not UTF-8: the row is refused, not the file.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        reader = csv.reader(iter(lambda: text.readline(LINE_CHARS_MAX), ""), strict=True)
        try:
            names = [name.strip().lower() for name in next(reader, [])]
        except csv.Error as error:
            raise InputError(f"line 1 is no header of a CSV file: {error}") from None
        check_columns(names, variable, needs_time=default_time_us is None)
        has_type = "type" in names
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, BadRow(number, f"not CSV: {error}")
                continue
            if not cells:
                continue
            if len(cells) != len(names):
                yield number, BadRow(number, f"{len(cells)} cells, but the header has {len(names)}")
                continue
            row: dict[str, Any] = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
            if variable is not None:
                row["variable"] = variable
            if default_time_us is not None and row.keys().isdisjoint(TIME_COLUMNS):
                row["time"] = default_time_us
            try:
                type = row.get("type")
                row["value"] = csv_value(row.get("value")) if type is None else typed_value(row.get("value"), type)
                if has_type and row.get("unit", "").startswith('"'):
                    row["unit"] = msgspec.json.decode(row["unit"], type=str)
            except (InputError, msgspec.DecodeError) as error:
                yield number, BadRow(number, str(error))
                continue
            yield number, as_point(number, row)
    finally:
        if not file.closed:
            text.detach()  # the file belongs to the caller


class JsonRow(msgspec.Struct, omit_defaults=True):
    """A line of a JSON lines file; other keys are ignored."""

    variable: str | None = None
    time: str | None = None
    time_us: int | None = None
    time_ms: int | None = None
    value: float | int | bool | str | None = None
    type: str | None = None
    unit: str | None = None
    group: str | None = None
    lat: float | None = None
    lng: float | None = None
    location: dict[str, Any] | None = None
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # Raw | None would take nothing but null


_decode_row = msgspec.json.Decoder(JsonRow).decode
_row_fields = JsonRow.__struct_fields__


def json_rows(file: BinaryIO, variable: str | None) -> Iterator[tuple[int, Point | BadRow]]:
    """Yield (line, point or why not) of the rows of a JSON lines file."""
    number = 0
    while line := file.readline(LINE_CHARS_MAX):
        number += 1
        if line.isspace():
            continue
        try:
            decoded = _decode_row(line)
            row = {name: getattr(decoded, name) for name in _row_fields}
            value, type = decoded.value, decoded.type
            if decoded.metadata is msgspec.UNSET or bytes(decoded.metadata) == b"null":
                row["metadata"] = None
            if type is not None:
                row["value"] = typed_value(value, type)
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                row["value"] = to_number(value)
            if variable is not None:
                row["variable"] = variable
        except (InputError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
            yield number, BadRow(number, str(error))
            continue
        yield number, as_point(number, row)
