"""tsengine import and export: points in and out of files."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tsengine.cli.options import DEFAULT_DATA, Data, DeviceOption, End, Json, Start, Variables, open_store
from tsengine.cli.show import counted, opened_for_write, print_result, progress_bar
from tsengine.errors import InputError, TsengineError

if TYPE_CHECKING:
    from tsengine.transfer import Import

IMPORT_EXAMPLE = "Example: tsengine import history.csv --device SN-7 --skip-bad-rows"
EXPORT_EXAMPLE = "Example: tsengine export --device SN-7 --variable temperature --start 2026-01-01 out.parquet"

BAD_ROWS_PRINTED = 20
"""Bad rows that are printed one by one; the others are only counted."""


class FileFormat(StrEnum):
    """Formats of files."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    ARROW = "arrow"


FormatOption = Annotated[FileFormat | None, typer.Option("--format", "-f", help="Format of the file; by its suffix if not given.")]


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to read; - is standard input.", show_default=False)],
    device: DeviceOption,
    data: Data = DEFAULT_DATA,
    format: FormatOption = None,
    variable: Annotated[
        str | None, typer.Option("--variable", "-v", metavar="NAME", help="Name of the variable, for files without such a column.")
    ] = None,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Leave bad rows out and count them instead of stopping.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on behind the rows of this file that are stored already.")] = False,
    json: Json = False,
) -> None:
    """Store the points of a file in a device.

    CSV, JSON lines, Parquet or Arrow, in batches that are stored whole or not at all.
    """
    from tsengine.transfer import BadRow, Import, format_of

    if str(file) != "-" and (file.is_dir() or not file.exists()):
        raise InputError(f"there is no file {file}")
    form = format_of(str(file), format)
    printed = 0

    def on_bad_row(row: BadRow) -> None:
        nonlocal printed
        printed += 1
        if printed <= BAD_ROWS_PRINTED:
            typer.echo(f"skipped {job.word} {row.number}: {row.problem}", err=True)

    with open_store(data) as db, progress_bar(f"importing {file.name}") as progress:
        target = db.device(device)
        # A pipe, as of the shell's <(...), is read like standard input: nothing of it can be read twice.
        source = sys.stdin.buffer if str(file) == "-" else file if file.is_file() else file.open("rb")
        job = Import(db, target, source, format=form, variable=variable, skip_bad_rows=skip_bad_rows, resume=resume, on_bad_row=on_bad_row)
        try:
            job.run(progress)
        except (TsengineError, KeyboardInterrupt) as error:
            stopped(job, error)
    found = {"stored": job.stored, "skipped": job.skipped, "resumed_rows": job.resumed_rows}
    skipped = f", left out {counted(job.skipped, 'bad row')}" if job.skipped else ""
    print_result(found, f"stored {counted(job.stored, 'point')} in device {target.id}{skipped}", json)


def stopped(job: Import, error: BaseException) -> None:
    """Say how far an import came and how it can go on, and leave."""
    is_interrupt = isinstance(error, KeyboardInterrupt)
    typer.echo("stopped" if is_interrupt else f"error: {error}", err=True)
    hints = [f"{counted(job.stored, 'point')} stored" if job.stored else "nothing was stored"]
    if job.can_resume:
        hints.append("--resume goes on after them")
    if isinstance(error, InputError) and str(error).startswith(job.word):
        hints.append("--skip-bad-rows leaves bad rows out")
    typer.echo(f"hint: {'; '.join(hints)}", err=True)
    raise typer.Exit(130 if is_interrupt else 1)


def export_file(
    device: DeviceOption,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write, replaced if it is there; - is standard output.")] = Path("-"),
    data: Data = DEFAULT_DATA,
    format: FormatOption = None,
    variable: Variables = None,
    start: Start = None,
    end: End = None,
    json: Json = False,
) -> None:
    """Write the points of a device to a file.

    `tsengine import` gets every bit back from it. On standard output it is CSV if no format is named.
    """
    from tsengine.transfer import export_points, format_of

    is_stream = str(file) == "-"
    form = format_of(str(file), "csv" if is_stream and format is None else format)
    with open_store(data) as db, progress_bar("exporting") as progress:
        source = db.device(device)
        with opened_for_write(file) as target:
            count = export_points(source, target, form, variables=variable or None, start=start, end=end, progress=progress)
    if not is_stream:
        print_result({"points": count, "file": str(file)}, f"wrote {counted(count, 'point')} to {file}", json)
