"""tsengine token: create, authorize, list, delete."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from tsengine.cli.options import DEFAULT_DATA, Data, DeviceArgument, Json, complete_device, open_store, to_time
from tsengine.cli.show import print_json, print_result, print_table, token_object
from tsengine.core.calendar import parse_time
from tsengine.types import Token, to_datetime

app = typer.Typer(help="Create, list and delete tokens: of devices, and for gateways.", no_args_is_help=True, rich_markup_mode=None)


Expire = Annotated[
    str | None, typer.Option(metavar="TIME", help="When it ends, ISO 8601; never if not given.", callback=to_time, show_default=False)
]


class Permission(StrEnum):
    """What a token allows."""

    FULL = "full"
    READ = "read"
    WRITE = "write"


@app.command(epilog="Example: tsengine token create SN-7 --name sensor --permission write")
def create(
    device: DeviceArgument,
    data: Data = DEFAULT_DATA,
    name: Annotated[str, typer.Option(metavar="TEXT", help="3 to 100 characters.")] = "Default",
    permission: Annotated[Permission, typer.Option(help="What it allows; write cannot read.")] = Permission.FULL,
    expire: Expire = None,
    serial: Annotated[str | None, typer.Option(metavar="TEXT", help="Serial number of who holds it.")] = None,
    json: Json = False,
) -> None:
    """Make a token for a device and print it."""
    with open_store(data) as db:
        print_token(db.create_token(db.device(device).id, name, permission=permission.value, expire=end_of(expire), serial=serial), json)


@app.command(epilog="Example: tsengine token authorize --name gateway-1")
def authorize(
    data: Data = DEFAULT_DATA,
    name: Annotated[str, typer.Option(metavar="TEXT", help="3 to 100 characters.")] = "Default",
    permission: Annotated[Permission, typer.Option(help="What it allows; write cannot read.")] = Permission.WRITE,
    expire: Expire = None,
    json: Json = False,
) -> None:
    """Make an authorization token, which is good for every device, and print it."""
    with open_store(data) as db:
        print_token(db.create_authorization(name, permission=permission.value, expire=end_of(expire)), json)


def end_of(expire: str | None) -> datetime | None:
    return None if expire is None else to_datetime(parse_time(expire))


def print_token(token: Token, as_json: bool) -> None:
    print_result(token_object(token), token.token, as_json)


@app.command("list", epilog="Example: tsengine token list SN-7")
def list_tokens(
    device: Annotated[
        str | None,
        typer.Argument(
            metavar="DEVICE",
            help="Id or serial of the device; if not given, authorization tokens.",
            show_default=False,
            autocompletion=complete_device,
        ),
    ] = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """List the tokens of a device, or the authorization tokens."""
    with open_store(data) as db:
        found = [token_object(token) for token in (db.authorizations() if device is None else db.tokens(db.device(device).id))]
    if json:
        print_json(found)
    else:
        columns = ("token", "name", "permission", "serial", "expires_at", "created_at")
        print_table(columns, [[token[column] for column in columns] for token in found])


@app.command(epilog="Example: tsengine token delete 3f0c7f0e-8f5e-4c70-a6d5-1d8a3c1f9f55")
def delete(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token itself.", show_default=False)],
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Revoke a token at once."""
    with open_store(data) as db:
        db.delete_token(token)
    print_result({"deleted": token}, "deleted the token", json)
