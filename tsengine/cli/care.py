"""tsengine stats, check, compact, backup: the care of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tsengine.cli.options import DEFAULT_DATA, Data, Json, find_store, open_store
from tsengine.cli.show import counted, print_json, print_pairs, print_result, progress_bar, size_text

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


def check(
    data: Data = DEFAULT_DATA,
    repair: Annotated[bool, typer.Option("--repair", help="Keep what is whole, move the rest aside, say what is lost.")] = False,
    json: Json = False,
) -> None:
    """Verify the whole store; change nothing unless told to repair.

    Exit status 1 if there are problems, or still are after the repair.
    """
    from tsengine.care.check import check_folder
    from tsengine.care.repair import repair_folder

    find_store(data)
    with progress_bar("checking") as progress:
        done = repair_folder(data, progress) if repair else None
        report = check_folder(data, progress) if done is None else done.check
    if json:
        print_json(report if done is None else done)
    else:
        for action in done.actions if done is not None else ():
            typer.echo(f"{action.action}: {action.text}")
        for problem in report.problems:
            typer.echo(f"problem: {problem}")
        for note in report.notes:
            typer.echo(f"note: {note}")
        state = "the store is sound" if report.is_sound else f"{counted(len(report.problems), 'problem')} found"
        read = (
            counted(report.segments, "segment"),
            counted(report.points, "point"),
            counted(report.registers, "register"),
            counted(report.records, "record"),
        )
        typer.echo(f"{state}; read {', '.join(read)} of the log")
        if not report.is_sound and done is None:
            typer.echo("hint: `tsengine check --repair` keeps what is whole; a backup may have all of it", err=True)
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
    found = {"before": {field: before[field] for field in fields}, "after": {field: after[field] for field in fields}}
    sizes = f"{size_text(before['segment_bytes'])} -> {size_text(after['segment_bytes'])}"
    text = f"segments: {before['segments']} -> {after['segments']}, size: {sizes}"
    print_result({**found, "compaction": after["compaction"]}, text, json)


def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new or empty folder for the copy.", show_default=False)],
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Copy the store to another folder.

    The copy is consistent; use it by naming it with --data.
    """
    with open_store(data) as db, progress_bar("copying") as progress:
        db.backup(target, progress)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print_result({"target": str(target), "size_bytes": size}, f"copied the store to {target} ({size_text(size)})", json)
