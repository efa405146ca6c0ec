"""tsengine demo: a server with a simulated fleet that sends data, and how to look at it.

Life: a folder -> devices with some days of history -> the server in this thread and the fleet in another, which sends over HTTP as
devices do -> Ctrl-C -> the folder goes away, unless it was named.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

import tsengine
from tsengine.cli.options import is_new_folder
from tsengine.cli.serve import server_module
from tsengine.cli.show import print_json, print_table, progress_bar
from tsengine.errors import InputError, TsengineError

if TYPE_CHECKING:
    from tsengine.cli.simulated import Device
    from tsengine.cli.targets import ServerSession
    from tsengine.server.run import Started

EXAMPLE = "Example: tsengine demo --devices 10 --rate 20"

HISTORY_STEP_S = 60
BATCH_PAYLOADS = 2_000
STOP_S = 2
"""How long the fleet waits for the end of the demo when the server has gone, before it calls that an error."""


class Sender(msgspec.Struct):
    """A device of the store that a simulated one speaks for.

    Attributes:
        registers: ids of the registers of a mutable device, by variable.
    """

    id: str
    name: str
    type: str
    serial: str
    variable: str
    token: str
    registers: dict[str, str] = {}


def demo(
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="A new or empty folder for the store; if not given, one that goes away at the end."),
    ] = None,
    devices: Annotated[int, typer.Option(min=1, max=1_000, metavar="COUNT", help="Devices: of five kinds, in turn.")] = 5,
    rate: Annotated[float, typer.Option(min=0.01, max=10_000, metavar="COUNT", help="Payloads a second, all devices together.")] = 5.0,
    days: Annotated[float, typer.Option(min=0, max=365, metavar="COUNT", help="Days of history that are made first.")] = 7.0,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, metavar="PORT", help="Port to listen on; 0 takes a free one.")] = 8080,
    json: Annotated[bool, typer.Option("--json", help="Print address, tokens and devices as JSON for programs.")] = False,
) -> None:
    """Serve a simulated fleet that sends data, to look at and play with.

    Freezers, weather stations, trackers and pumps are immutable devices, panels mutable ones. Runs until Ctrl-C.
    """
    from tsengine.cli.simulated import fleet

    run = server_module()
    from tsengine.server.settings import Settings

    if data is not None and not is_new_folder(data):
        error = InputError(f"{data} is there already")
        error.add_note("name a new or empty folder; `tsengine serve --data` serves what an earlier demo left")
        raise error
    simulated = fleet(devices)
    is_over = threading.Event()
    feed: threading.Thread | None = None

    def started(how: Started) -> None:
        nonlocal feed
        print_json({**msgspec.to_builtins(how), "data": str(folder), "devices": senders}) if json else greet(
            how, folder, senders, rate, data
        )
        feed = threading.Thread(target=send, args=(how.url, simulated, senders, rate, is_over), name="demo", daemon=True)
        feed.start()

    folder = data if data is not None else Path(tempfile.mkdtemp(prefix="tsengine-demo-"))
    try:
        with progress_bar(f"making {days:g} days of history") as progress:
            senders = fill(folder, simulated, days, progress)
        run.serve(folder, Settings(host=host, port=port), on_start=started)
    finally:
        is_over.set()
        if feed is not None:
            feed.join()
        if data is None:
            shutil.rmtree(folder, ignore_errors=True)
        typer.echo(f"ended; {folder} {'is removed' if data is None else 'has the data'}", err=True)


def fill(folder: Path, simulated: list[Device], days: float, progress: Callable[[int, int], None]) -> list[Sender]:
    """Make the devices in a new store, with their history up to now."""
    senders = []
    with tsengine.open(folder, durability="os") as db:
        now_us = time.time_ns() // 1000
        for number, one in enumerate(simulated):
            progress(number, len(simulated))
            options: dict[str, Any] = {"chunk_period": "month", "chunk_retention": 12} if one.type == "immutable" else {}
            device = db.create_device(one.name, type=one.type, serial=one.serial, tags=[("made-by", "tsengine demo")], **options)
            start_us = now_us - int(days * 86_400e6) if one.type == "immutable" else now_us
            times = (
                range(start_us + number * 1_000_003, now_us, HISTORY_STEP_S * 1_000_000) if start_us < now_us else range(now_us, now_us + 1)
            )
            for first in range(0, len(times), BATCH_PAYLOADS):
                batch = times[first : first + BATCH_PAYLOADS]
                device.append_many([{**point, "group": f"{at_us:024x}"} for at_us in batch for point in one.payload(at_us)])
            registers = {point.variable: point.id or "" for point in device.points()} if one.type == "mutable" else {}
            token = db.create_token(device.id, "demo").token
            senders.append(Sender(device.id, one.name, one.type, one.serial, one.variable, token, registers))
    return senders


def send(url: str, simulated: list[Device], senders: list[Sender], rate: float, is_over: threading.Event) -> None:
    """Send payloads, a device after the other, until it is over."""
    from tsengine.cli.targets import ServerSession

    try:
        session = ServerSession(url)
        due_s, number = time.monotonic(), 0
        while not is_over.wait(max(due_s - time.monotonic(), 0)):
            # Whoever was held up goes on at the same pace, and does not catch up.
            due_s = max(due_s, time.monotonic() - 1) + 1 / rate
            send_payload(session, simulated[number % len(senders)], senders[number % len(senders)])
            number += 1
    except TsengineError as error:
        if not is_over.wait(STOP_S):
            typer.echo(f"the fleet sends no more: {error}", err=True)


def send_payload(session: ServerSession, one: Device, sender: Sender) -> None:
    """Send a device's next payload: points of an immutable device, edits of the registers of a mutable one."""
    now_us = time.time_ns() // 1000
    points = [{**point, "time": point["time"] // 1000} for point in one.payload(now_us)]
    if sender.type == "mutable":
        edits = [{"id": sender.registers[point["variable"]], "value": point["value"], "time": point["time"]} for point in points]
        session.call("PUT", "/data", sender.token, msgspec.json.encode(edits))
    else:
        session.call("POST", "/data", sender.token, msgspec.json.encode(points))


def greet(started: Started, folder: Path, senders: list[Sender], rate: float, data: Path | None) -> None:
    """Print where everything is, and lines to paste."""
    url, first = started.url, senders[0]
    account = started.account_token or f"${started.token_source}"
    typer.echo(f"tsengine demo on {url}: {len(senders)} devices send {rate:g} payloads a second")
    typer.echo(f"data in {folder}" + ("" if data is not None else ", which is removed at the end (--data DIR keeps it)"))
    typer.echo(f"account token: {account}\n")
    print_table(("device", "type", "serial", "id", "token"), [(each.name, each.type, each.serial, each.id, each.token) for each in senders])
    asked = f"curl -G {url}/data -H 'token: {first.token}'"
    hourly = f"-d query=aggregate -d interval=hour -d function=avg -d variables={first.variable} --data-urlencode 'start_date=1 day'"
    lines = [
        ("every route, in a browser", f"{url}/docs"),
        (f"last values of {first.name}", f"{asked} -d query=last_item"),
        ("its averages by hour", f"{asked} {hourly}"),
        ("points as they come in", f"curl -N '{url}/events?channel=device_data.{first.id}&token={first.token}'"),
        ("all devices", f'curl {url}/device -H "account-token: {account}"'),
        ("load the server", f'tsengine bench ingest-10 {url} --token "{account}" --seconds 5'),
    ]
    if data is not None:
        lines.append(
            ("a chart, when the demo has ended", f"tsengine query --data {data} -d {first.serial} -v {first.variable} --every 1h --plot")
        )
    for text, line in lines:
        typer.echo(f"\n# {text}\n{line}")
    typer.echo("\nCtrl-C ends the demo.")
