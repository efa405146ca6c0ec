"""What commands print or write: tables, JSON, progress, files. Only functions import rich."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import typer

from tsengine.types import DeviceInfo, Point, Token, to_datetime

PIPE_WIDTH = 100_000
"""Characters of a line of a table that does not go to a terminal: more than any row has."""


def json_bytes(value: Any) -> bytes:
    """Return a value as indented JSON; NaN and infinities become null, as JSON has none."""
    # The hook meets numbers of subclasses of int, like sequences of the log.
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=int), indent=2)


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    typer.echo(json_bytes(value).decode())


def print_result(value: Any, text: str, as_json: bool) -> None:
    """Print what a command did: a value for programs, or a text for people."""
    if as_json:
        print_json(value)
    else:
        typer.echo(text)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as a table with a header; None is an empty cell."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell_text(cell)) for cell in row))
    # Into a pipe nothing is cut or folded: whoever reads it wants whole cells.
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


def print_pairs(pairs: dict[str, Any]) -> None:
    """Print names and values, one pair a line."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        typer.echo(f"{name:<{width}}  {cell_text(value)}".rstrip())


def cell_text(value: Any) -> str:
    """Return a value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error, if that is a terminal; yields a function to call with (done, all), 0 = unknown."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


@contextmanager
def opened_for_write(file: Path) -> Iterator[BinaryIO]:
    """Open standard output for -, else a file beside the target that takes its name at the end: half a file is never seen."""
    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    temporary = file.with_name(f"{file.name}.part")
    try:
        with temporary.open("wb") as target:
            yield target
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def time_text(time: datetime | int | None) -> str | None:
    """Return a time as ISO 8601 in UTC, without a fraction of zero."""
    if time is None:
        return None
    time = to_datetime(time) if isinstance(time, int) else time
    return time.isoformat().replace("+00:00", "Z")


def counted(count: int, noun: str) -> str:
    """Return like "1 point" or "2,000 points"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size_text(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def point_object(point: Point) -> dict[str, Any]:
    """Return a point as what JSON can hold."""
    return {
        "id": point.id,
        "variable": point.variable,
        "time": time_text(point.time),
        "value": point.value,
        "unit": point.unit,
        "group": point.group,
        "location": None if point.location is None else {"lat": point.location.lat, "lng": point.location.lng},
        "metadata": point.metadata,
    }


def device_object(info: DeviceInfo) -> dict[str, Any]:
    """Return a device as what JSON can hold."""
    found = msgspec.to_builtins(info)
    for name in ("created", "updated"):
        found[f"{name}_at"] = time_text(found.pop(f"{name}_us"))
    return found


def token_object(token: Token) -> dict[str, Any]:
    """Return a token as what JSON can hold."""
    return {
        "token": token.token,
        "name": token.name,
        "permission": token.permission,
        "serial": token.serial,
        "expires_at": time_text(token.expire_us),
        "created_at": time_text(token.created_us),
    }
