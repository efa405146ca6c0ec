"""The tree of commands, and the one place where errors become a line and an exit status.

An error's hint is its first note (`add_note`), or the one of its kind in HINTS.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tsengine import __version__
from tsengine.cli import bench, care, demo, device, query, serve, token, transfer
from tsengine.errors import BusyError, CorruptionError, LimitError, NotFoundError, StorageFullError, TsengineError

HINTS: tuple[tuple[type[Exception], str], ...] = (
    (BusyError, "while a server has the store open, use its HTTP API or stop it"),
    (CorruptionError, "`tsengine check` tells all that is damaged, `tsengine check --repair` keeps the rest; a backup may have all of it"),
    (StorageFullError, "free space on the disk; what is stored stays readable"),
    (LimitError, "raise the limit with `tsengine device edit`, or let retention drop old chunks"),
    (NotFoundError, "`tsengine device list` shows the devices, `tsengine token list` the tokens of one"),
    (PermissionError, "run the command as the owner of the folder, or name another one with --data"),
)

STOPPED = 130
"""Exit status after Ctrl-C, as shells have it."""


class Commands(TyperGroup):
    """A group whose expected errors are one line `error: ...` with a hint, and exit status 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # what cannot be written is an error of the command, not of the interpreter's end
            return result
        except BrokenPipeError:
            raise  # the reader of a pipe went away; typer ends quietly with status 1
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)
            raise typer.Exit(STOPPED) from None
        except (TsengineError, OSError) as error:
            drop_output()
            typer.echo(f"error: {text_of(error)}", err=True)
            hints = [*getattr(error, "__notes__", ()), *(hint for kind, hint in HINTS if isinstance(error, kind))]
            if hints:
                typer.echo(f"hint: {hints[0]}", err=True)
            raise typer.Exit(1) from None


def drop_output() -> None:
    """Let go of output that cannot be written, which the interpreter would try again at its end and fail with a status of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def text_of(error: Exception) -> str:
    """Return what an error says; of one of the operating system without its number."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return str(error)


def print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tsengine {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    help="A time-series engine for device data. Every command works on the store in --data (default ./data).",
    epilog="Example: tsengine serve --data ./data",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=print_version)] = False,
) -> None:
    """A time-series engine for device data. Every command works on the store in --data (default ./data)."""


app.command("serve", epilog=serve.EXAMPLE)(serve.serve)
app.add_typer(device.app, name="device")
app.add_typer(token.app, name="token")
app.command("import", epilog=transfer.IMPORT_EXAMPLE)(transfer.import_file)
app.command("export", epilog=transfer.EXPORT_EXAMPLE)(transfer.export_file)
app.command("query", epilog=query.EXAMPLE)(query.query)
app.command("stats", epilog=care.STATS_EXAMPLE)(care.stats)
app.command("check", epilog=care.CHECK_EXAMPLE)(care.check)
app.command("compact", epilog=care.COMPACT_EXAMPLE)(care.compact)
app.command("backup", epilog=care.BACKUP_EXAMPLE)(care.backup)
app.command("bench", epilog=bench.EXAMPLE)(bench.bench)
app.command("demo", epilog=demo.EXAMPLE)(demo.demo)
