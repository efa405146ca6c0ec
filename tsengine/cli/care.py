"""tsengine stats, check, compact, backup: the care of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsengine.cli.options import DEFAULT_DATA, Data, Json, open_store
from tsengine.cli.show import counted, print_json, print_pairs, progress_bar, size_text

STATS_EXAMPLE = "Example: tsengine stats --json"
CHECK_EXAMPLE = "Example: tsengine check --data /var/lib/tsengine"
COMPACT_EXAMPLE = "Example: tsengine compact --data /var/lib/tsengine"
BACKUP_EXAMPLE = "Example: tsengine backup /mnt/backup/2026-11-21"


def stats(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Print counts and sizes of the store."""
    with open_store(data) as db:
        found = db.stats()
    if json:
        print_json(found)
        return
    errors = found.pop("background_errors", [])
    print_pairs({name: size_text(value) if name.endswith("_bytes") else value for name, value in found.items()})
    for error in errors:
        typer.echo(f"error in the background: {error}", err=True)


def check(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Verify the whole store; change nothing.

    Exit status 1 if there are problems.
    """
    with open_store(data) as db, progress_bar("checking"):
        report = db.check()
    if json:
        print_json(report)
    else:
        for problem in report.problems:
            typer.echo(f"problem: {problem}")
        state = "the store is sound" if report.is_sound else f"{counted(len(report.problems), 'problem')} found"
        read = (counted(report.segments, "segment"), counted(report.points, "point"), counted(report.records, "record"))
        typer.echo(f"{state}; read {', '.join(read)} of the log")
    if not report.is_sound:
        raise typer.Exit(1)


def compact(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Merge files and give back space.

    Expired and deleted points leave the disk.
    """
    with open_store(data) as db:
        before = db.stats()
        with progress_bar("compacting") as progress:
            db.compact(progress)
        after = db.stats()
    fields = ("segments", "segment_bytes", "sealed_points")
    if json:
        print_json({"before": {field: before[field] for field in fields}, "after": {field: after[field] for field in fields}})
    else:
        sizes = f"{size_text(before['segment_bytes'])} -> {size_text(after['segment_bytes'])}"
        typer.echo(f"segments: {before['segments']} -> {after['segments']}, size: {sizes}")


def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new or empty folder for the copy.", show_default=False)],
    data: Data = DEFAULT_DATA,
) -> None:
    """Copy the store to another folder.

    The copy is consistent; use it by naming it with --data.
    """
    with open_store(data) as db, progress_bar("copying"):
        db.backup(target)
    typer.echo(f"copied the store to {target}")
