"""The tree of commands, and the one place where errors become a line and an exit status."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tsengine import __version__
from tsengine.cli import care, device, query, serve, token, transfer
from tsengine.errors import BusyError, LimitError, NotFoundError, StorageFullError, TsengineError

HINTS: tuple[tuple[type[TsengineError], str], ...] = (
    (BusyError, "while a server has the store open, use its HTTP API or stop it"),
    (StorageFullError, "free space on the disk; what is stored stays readable"),
    (LimitError, "raise the limit with `tsengine device edit`, or let retention drop old chunks"),
    (NotFoundError, "`tsengine device list` shows the devices, `tsengine token list` the tokens of one"),
)


class Commands(TyperGroup):
    """A group whose expected errors are one line `error: ...` with a hint, and exit status 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of a pipe went away; typer ends quietly
        except (TsengineError, OSError) as error:
            fail(error)


def fail(error: Exception) -> None:
    """Print an error and leave with status 1."""
    typer.echo(f"error: {error}", err=True)
    hint = getattr(error, "hint", None) or next((hint for kind, hint in HINTS if isinstance(error, kind)), None)
    if hint:
        typer.echo(f"hint: {hint}", err=True)
    raise typer.Exit(1)


def print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tsengine {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    help="A time-series engine for device data. Every command works on the store in --data (default ./data).",
    epilog="Example: tsengine serve --data ./data",
    no_args_is_help=True,
    add_completion=False,
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
