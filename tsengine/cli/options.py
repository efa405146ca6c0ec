"""Options that commands share, and how they open the store."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

import tsengine
from tsengine.core.calendar import parse_time
from tsengine.errors import InputError, NotFoundError
from tsengine.limits import CLOCK_TRUST_S

DEFAULT_DATA = Path("./data")


def to_time(text: str | None) -> str | None:
    """Return the text of a time if it is one."""
    if text is not None:
        try:
            parse_time(text)
        except InputError as error:
            raise typer.BadParameter(str(error)) from None
    return text


def complete_device(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return serials (or ids) of devices with their names, for the shell. Nothing is opened: a server may be running."""
    from tsengine.store.catalog import peek_devices

    found = []
    with suppress(Exception):  # a shell has nowhere to show an error
        for info in peek_devices((ctx.params.get("data") or DEFAULT_DATA) / "catalog"):
            found += [(name, info.name) for name in (info.serial or info.id, info.id) if name.startswith(incomplete)][:1]
    return found


Data = Annotated[Path, typer.Option("--data", envvar="TSENGINE_DATA", metavar="DIR", help="Folder of the store.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DeviceOption = Annotated[
    str, typer.Option("--device", "-d", metavar="ID_OR_SERIAL", help="Id or serial of the device.", autocompletion=complete_device)
]
DeviceArgument = Annotated[
    str, typer.Argument(metavar="DEVICE", help="Id or serial of the device.", show_default=False, autocompletion=complete_device)
]
Variables = Annotated[
    list[str] | None, typer.Option("--variable", "-v", metavar="NAME", help="Only this variable; may be given several times.")
]
Start = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="First time, inclusive, ISO 8601 like 2026-11-21T08:30:00Z.", callback=to_time)
]
End = Annotated[str | None, typer.Option("--end", metavar="TIME", help="Last time, inclusive.", callback=to_time)]


def open_store(data: Path, *, create: bool = False, trust_clock: bool = False) -> tsengine.Engine:
    """Open the store in a folder; a folder without one is an error unless it may be created.

    Args:
        trust_clock: expired points may be dropped at once.
    """
    if not create:
        find_store(data)
    return tsengine.open(data, clock_trust_s=0 if trust_clock else CLOCK_TRUST_S)


def find_store(data: Path) -> None:
    """Raise unless there is a store in a folder."""
    if not any((data / name).is_dir() for name in ("catalog", "wal")):
        error = NotFoundError(f"there is no store in {data}")
        error.add_note("name its folder with --data; `tsengine serve` and `tsengine device create` make a new one")
        raise error


def is_new_folder(folder: Path) -> bool:
    """Whether a folder is not there or empty, so that whoever makes a store in it may remove it again."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def parse_count(text: str, option: str) -> int | None:
    """Return a whole number, or None for the word none."""
    if text.lower() == "none":
        return None
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise typer.BadParameter(f"{option} must be a whole number or none, not {text!r}")
    return number


def parse_tags(texts: list[str] | None) -> list[tuple[str, str]]:
    """Return (key, value) pairs of texts like `key=value`."""
    pairs = [text.partition("=") for text in texts or ()]
    for key, equals, _ in pairs:
        if not equals or not key:
            raise typer.BadParameter(f"--tag must be key=value, not {key!r}")
    return [(key, value) for key, _, value in pairs]
