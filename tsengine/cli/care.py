"""tsengine stats, check, compact, backup: the care of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    print_pairs({name: size_text(value) if is_size(name, value) else value for name, value in flat(found).items()})
    for error in errors:
        typer.echo(f"error in the background: {error}", err=True)


def flat(found: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the entries of dicts in a dict under joined names."""
    pairs: dict[str, Any] = {}
    for name, value in found.items():
        pairs |= flat(value, f"{prefix}{name}_") if isinstance(value, dict) else {prefix + name: value}
    return pairs


def is_size(name: str, value: Any) -> bool:
    return "bytes" in name and isinstance(value, int | float)


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


def compact(
    data: Data = DEFAULT_DATA,
    json: Json = False,
    trust_clock: Annotated[bool, typer.Option("--trust-clock", help="Drop expired points: the wall clock is right.")] = False,
) -> None:
    """Merge files and give back space.

    Deleted points leave the disk; expired ones too if you vouch for the clock.
    """
    with open_store(data, trust_clock=trust_clock) as db:
        before = db.stats()
        with progress_bar("compacting") as progress:
            db.compact(progress)
        after = db.stats()
    fields = ("segments", "segment_bytes", "sealed_points")
    if json:
        found = {"before": {field: before[field] for field in fields}, "after": {field: after[field] for field in fields}}
        print_json({**found, "compaction": after["compaction"]})
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
