"""tsengine serve: the HTTP server."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from types import ModuleType
from typing import Annotated

import typer

from tsengine.cli.options import DEFAULT_DATA, Data, Json
from tsengine.cli.show import print_json
from tsengine.limits import MEMORY_MB
from tsengine.server.settings import Settings

DEFAULTS = Settings()
EXAMPLE = "Example: tsengine serve --data ./data --host 0.0.0.0 --port 8080"


class Durability(StrEnum):
    """What an acknowledged write survives."""

    SYNC = "sync"
    OS = "os"
    MEMORY = "memory"


def serve(
    data: Data = DEFAULT_DATA,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on; 0.0.0.0 for all networks.")] = DEFAULTS.host,
    port: Annotated[int, typer.Option(min=0, max=65_535, metavar="PORT", help="Port to listen on; 0 takes a free one.")] = DEFAULTS.port,
    durability: Annotated[
        Durability, typer.Option(help="What an acknowledged write survives: sync a power cut, os a kill, memory nothing.")
    ] = Durability.SYNC,
    memory_mb: Annotated[int, typer.Option(min=1, metavar="MIB", help="Memory for points that are not sealed yet, MiB.")] = MEMORY_MB,
    max_body: Annotated[int, typer.Option(min=1, metavar="BYTES", help="Largest request body, bytes.")] = DEFAULTS.max_body,
    max_head: Annotated[
        int, typer.Option(min=1024, metavar="BYTES", help="Largest line and headers of a request, bytes.")
    ] = DEFAULTS.max_head,
    max_connections: Annotated[
        int, typer.Option(min=1, metavar="COUNT", help="Open connections at a time; others get 503.")
    ] = DEFAULTS.max_connections,
    header_timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Longest time for the head of a request to arrive, s.")
    ] = DEFAULTS.header_timeout,
    body_timeout: Annotated[
        float,
        typer.Option(min=0.1, metavar="SECONDS", help="Longest wait for a body's next piece to arrive, or for an answer to be read, s."),
    ] = DEFAULTS.body_timeout,
    idle_timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long a connection may be silent between requests, s.")
    ] = DEFAULTS.idle_timeout,
    max_file: Annotated[
        int, typer.Option(min=1, metavar="BYTES", help="Largest file that is uploaded or imported, bytes.")
    ] = DEFAULTS.max_file,
    max_files: Annotated[int, typer.Option(min=1, metavar="BYTES", help="All files together, bytes.")] = DEFAULTS.max_files,
    access_log: Annotated[str, typer.Option(metavar="FILE", help="Append a JSON line for each request; - for standard error.")] = "",
    tls_cert: Annotated[str, typer.Option(metavar="FILE", help="Certificate with its chain, PEM: serve HTTPS.")] = "",
    tls_key: Annotated[str, typer.Option(metavar="FILE", help="The certificate's key, PEM, without a password.")] = "",
    parser: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=MODULE:FUNCTION", help="A payload parser, by id or tag; may be given several times."),
    ] = None,
    parser_timeout: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="How long a payload parser may run, seconds.")
    ] = DEFAULTS.parser_timeout,
    parser_workers: Annotated[
        int, typer.Option(min=1, metavar="COUNT", help="Processes that run payload parsers.")
    ] = DEFAULTS.parser_workers,
    rate_limit: Annotated[
        list[str] | None,
        typer.Option(metavar="LIMIT", help="free, starter, scale, or 'POST /data=250' a minute; may be given several times."),
    ] = None,
    max_listeners: Annotated[
        int, typer.Option(min=0, metavar="COUNT", help="Streams of /events that may be open at the same time.")
    ] = DEFAULTS.max_listeners,
    mqtt: Annotated[
        int | None, typer.Option(min=0, max=65_535, metavar="PORT", help="Port for MQTT, usually 1883; 0 takes a free one.")
    ] = None,
    mqtts: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, metavar="PORT", help="Port for MQTT over TLS, usually 8883; needs --tls-cert and --tls-key."),
    ] = None,
    mqtt_connections: Annotated[int, typer.Option(min=1, metavar="COUNT", help="Most MQTT clients at a time.")] = DEFAULTS.mqtt_connections,
    mqtt_max_packet: Annotated[int, typer.Option(min=128, metavar="BYTES", help="Largest MQTT packet, bytes.")] = DEFAULTS.mqtt_max_packet,
    json: Json = False,
) -> None:
    """Serve the store over HTTP, and over MQTT if asked to.

    Runs until SIGTERM or Ctrl-C. A new store is made with a sample device in it.
    """
    run = server_module()
    from tsengine.server.parsers import parse_parsers
    from tsengine.server.rates import parse_limits

    settings = Settings(
        host=host,
        port=port,
        max_body=max_body,
        max_head=max_head,
        max_connections=max_connections,
        header_timeout=header_timeout,
        body_timeout=body_timeout,
        idle_timeout=idle_timeout,
        max_file=max_file,
        max_files=max_files,
        access_log=access_log,
        tls_cert=tls_cert,
        tls_key=tls_key,
        parsers=parse_parsers(parser or []),
        parser_timeout=parser_timeout,
        parser_workers=parser_workers,
        rate_limits=parse_limits(rate_limit or []),
        max_listeners=max_listeners,
        mqtt_port=mqtt,
        mqtts_port=mqtts,
        mqtt_connections=mqtt_connections,
        mqtt_max_packet=mqtt_max_packet,
    )
    on_start = print_json if json else run.print_started
    run.serve(data, settings, durability=durability.value, memory_mb=memory_mb, on_start=on_start)


def server_module() -> ModuleType:
    """Return tsengine.server.run, or say what is missing and leave."""
    try:
        return import_module("tsengine.server.run")
    except ImportError as error:
        typer.echo(f"error: the server needs more packages ({error}); install them with: pip install 'tsengine[server]'", err=True)
        raise typer.Exit(1) from None
