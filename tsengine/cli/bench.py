"""tsengine bench: a named workload against a store or a server, and what came of it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tsengine import __version__
from tsengine.cli.serve import Durability
from tsengine.cli.show import counted, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from tsengine.cli.load import Operation, Run
    from tsengine.cli.targets import Target

EXAMPLE = "Example: tsengine bench ingest-10 --seconds 5"

SECONDS = 10.0


class Name(StrEnum):
    """Names of workloads, those of tsengine.cli.load.WORKLOADS."""

    INGEST_1 = "ingest-1"
    INGEST_10 = "ingest-10"
    INGEST_1000 = "ingest-1000"
    BULK = "bulk"
    QUERY = "query"
    REGISTERS = "registers"
    MIXED = "mixed"


class Report(msgspec.Struct):
    """What `--json` prints.

    Attributes:
        durability: None: the server's own.
        points: written and read in the timed run.
        stored_bytes_per_point: of sealed segments, everything that the run stored; None where they cannot be asked.
        sent_bytes_per_point: of bodies over HTTP; None for a store, and where nothing was sent.
    """

    workload: str
    target: str
    version: str
    durability: str | None
    writers: int
    devices: int
    seed: int
    seconds: float
    points: int
    points_per_second: float
    stored_bytes_per_point: float | None
    sent_bytes_per_point: float | None
    operations: list[Operation]


def bench(
    workload: Annotated[Name, typer.Argument(metavar="WORKLOAD", help="What is done, see above.", show_default=False)],
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="A new or empty folder, or the address of a server; if not given, a folder here that goes away.",
            show_default=False,
        ),
    ] = None,
    token: Annotated[
        str, typer.Option(envvar="TSENGINE_ACCOUNT_TOKEN", metavar="TOKEN", help="The server's account token.", show_default=False)
    ] = "",
    seconds: Annotated[
        float | None, typer.Option(min=0.01, metavar="SECONDS", help="How long it runs.  [default: 10, or as --points takes]")
    ] = None,
    points: Annotated[int | None, typer.Option(min=1, metavar="COUNT", help="End after about so many points, written and read.")] = None,
    writers: Annotated[int, typer.Option(min=1, max=256, metavar="COUNT", help="Threads, each with devices of its own.")] = 1,
    durability: Annotated[
        Durability | None, typer.Option(help="Of a folder's writes: sync survives a power cut, os a kill, memory nothing.  [default: sync]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Other seeds make other points.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the devices and their points where they are.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Run a workload against a store or a server and print its speed.

    It makes devices of its own and removes them afterwards, and loads no store that somebody else made.

    \b
    ingest-1     one point a call
    ingest-10    a payload of ten points a call
    ingest-1000  1,000 points a call
    bulk         262,150 points a call, as Arrow columns
    query        last values, newest 100, a range of 1,440, averages by hour
    registers    edit and get one of 1,000 registers of a mutable device
    mixed        nine payloads of ten points, then a read
    """
    from tsengine.cli.load import Run

    if seconds is None and points is None:
        seconds = SECONDS
    with opened_target(target, token, durability, keep) as opened:
        with progress_bar("preparing") as progress:
            run = Run(opened, workload.value, writers, seed, seconds, points)
            run.fill(progress)
        with progress_bar(workload.value) as progress:
            run.run(progress)
        report = report_of(run, workload.value, opened, seed)
    if json:
        print_json(report)
    else:
        print_report(report)
        if keep:
            typer.echo(f"kept {counted(report.devices, 'device')} in {opened.text}")


def opened_target(target: str | None, token: str, durability: Durability | None, keep: bool) -> AbstractContextManager[Target]:
    """Return the store or server that is named, or a store in a new folder."""
    from tsengine.cli.targets import opened_server, opened_store

    if target is not None and "://" in target:
        if durability is not None:
            raise typer.BadParameter("the server has its own: `tsengine serve --durability`", param_hint="--durability")
        return opened_server(target, token, keep)
    return opened_store(None if target is None else Path(target), (durability or Durability.SYNC).value, keep)


def report_of(run: Run, name: str, target: Target, seed: int) -> Report:
    operations = run.operations()
    points = sum(operation.points for operation in operations)
    return Report(
        workload=name,
        target=target.text,
        version=__version__,
        durability=target.durability,
        writers=len(run.writers),
        devices=run.devices,
        seed=seed,
        seconds=run.seconds,
        points=points,
        points_per_second=points / run.seconds,
        stored_bytes_per_point=target.stored_bytes_per_point(),
        sent_bytes_per_point=run.sent_bytes_per_point(),
        operations=operations,
    )


def print_report(report: Report) -> None:
    durability = f", durability {report.durability}" if report.durability else ""
    typer.echo(
        f"{report.workload} on {report.target}: {counted(report.writers, 'writer')}, {counted(report.devices, 'device')}{durability}, "
        f"{report.seconds:.1f} s"
    )
    rows = [
        (
            each.operation,
            f"{each.calls:,}",
            f"{each.calls_per_second:,.0f}",
            f"{each.points_per_second:,.0f}",
            *(f"{ms:.3f}" for ms in (each.p50_ms, each.p99_ms, each.max_ms)),
        )
        for each in report.operations
    ]
    print_table(("operation", "calls", "calls/s", "points/s", "p50 ms", "p99 ms", "max ms"), rows)
    for text, size in (("stored", report.stored_bytes_per_point), ("sent", report.sent_bytes_per_point)):
        if size is not None:
            typer.echo(f"{size:.2f} bytes/point {text}")
