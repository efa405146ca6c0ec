"""tsengine serve: the HTTP server."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tsengine.cli.options import DEFAULT_DATA, Data
from tsengine.limits import BODY_BYTES, MEMORY_MB

EXAMPLE = "Example: tsengine serve --data ./data --host 0.0.0.0 --port 8080"


class Durability(StrEnum):
    """What an acknowledged write survives."""

    SYNC = "sync"
    OS = "os"
    MEMORY = "memory"


def serve(
    data: Data = DEFAULT_DATA,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all networks.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8080,
    durability: Annotated[
        Durability, typer.Option(help="What an acknowledged write survives: sync a power cut, os a kill, memory nothing.")
    ] = Durability.SYNC,
    memory_mb: Annotated[int, typer.Option(min=1, help="Memory for points that are not sealed yet, MiB.")] = MEMORY_MB,
    max_body: Annotated[int, typer.Option(min=1, help="Largest request body, bytes.")] = BODY_BYTES,
    access_log: Annotated[str, typer.Option(metavar="FILE", help="Append a JSON line for each request; - for standard error.")] = "",
    tls_cert: Annotated[str, typer.Option(metavar="FILE", help="Certificate with its chain, PEM: serve HTTPS.")] = "",
    tls_key: Annotated[str, typer.Option(metavar="FILE", help="The certificate's key, PEM, without a password.")] = "",
) -> None:
    """Serve the store over HTTP.

    Runs until SIGTERM or Ctrl-C. A new store is made with a sample device in it.
    """
    try:
        from tsengine.server.run import serve as run_server
        from tsengine.server.settings import Settings
    except ImportError as error:
        typer.echo(f"error: the server needs more packages ({error}); install them with: pip install 'tsengine[server]'", err=True)
        raise typer.Exit(1) from None
    settings = Settings(host=host, port=port, max_body=max_body, access_log=access_log, tls_cert=tls_cert, tls_key=tls_key)
    run_server(data, settings, durability=durability.value, memory_mb=memory_mb)
