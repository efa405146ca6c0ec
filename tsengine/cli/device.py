"""tsengine device: create, list, show, edit, delete."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from tsengine.cli.options import DEFAULT_DATA, Data, DeviceArgument, Json, open_store, parse_count, parse_tags
from tsengine.cli.show import counted, device_object, print_json, print_pairs, print_result, print_table
from tsengine.device import Device
from tsengine.limits import POINTS_PER_CHUNK, POINTS_PER_DEVICE

app = typer.Typer(help="Create, list, show, edit and delete devices.", no_args_is_help=True, rich_markup_mode=None)


class Type(StrEnum):
    """Kinds of device."""

    IMMUTABLE = "immutable"
    MUTABLE = "mutable"


class ChunkPeriod(StrEnum):
    """Lengths of a chunk."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    NONE = "none"


Serial = Annotated[str | None, typer.Option(metavar="TEXT", help="A second name, unique in the store; '' removes it.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="A label; may be given several times.")]
Description = Annotated[str | None, typer.Option(metavar="TEXT", help="Free text.")]
Active = Annotated[bool | None, typer.Option("--active/--inactive", help="Whether it may send data.", show_default=False)]
Visible = Annotated[bool | None, typer.Option("--visible/--hidden", help="Whether lists of others show it.", show_default=False)]
Extra = Annotated[str | None, typer.Option(metavar="JSON", help="A JSON object that is kept for you and never read.")]


@app.command(epilog="Example: tsengine device create freezer-7 --serial SN-7 --chunk-retention 36 --tag site=oslo")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="3 to 100 characters; need not be unique.", show_default=False)],
    data: Data = DEFAULT_DATA,
    type: Annotated[Type, typer.Option(help="immutable: append-only, in chunks. mutable: up to 50,000 registers.")] = Type.IMMUTABLE,
    chunk_period: Annotated[ChunkPeriod, typer.Option(help="Length of a chunk (immutable).")] = ChunkPeriod.MONTH,
    chunk_retention: Annotated[
        str, typer.Option(metavar="COUNT", help="Periods kept before the current one; none = for ever (immutable).")
    ] = "none",
    chunk_limit: Annotated[str, typer.Option(metavar="COUNT", help="Most points of a chunk, or none (immutable).")] = str(POINTS_PER_CHUNK),
    point_limit: Annotated[str, typer.Option(metavar="COUNT", help="Most points of the device, or none (immutable).")] = str(
        POINTS_PER_DEVICE
    ),
    serial: Serial = None,
    tag: Tags = None,
    description: Description = None,
    active: Active = None,
    visible: Visible = None,
    extra: Extra = None,
    json: Json = False,
) -> None:
    """Create a device, and the store if it is missing."""
    options: dict[str, Any] = {
        "type": type.value,
        "chunk_period": None if chunk_period is ChunkPeriod.NONE else chunk_period.value,
        "chunk_retention": parse_count(chunk_retention, "--chunk-retention"),
        "chunk_limit": parse_count(chunk_limit, "--chunk-limit"),
        "point_limit": parse_count(point_limit, "--point-limit"),
        "serial": serial or None,
        "tags": parse_tags(tag),
        "description": description,
        "active": active is not False,
        "visible": visible is not False,
        "extra": parse_extra(extra),
    }
    with open_store(data, create=True) as db:
        device = db.create_device(name, **options)
    print_result(device_object(device.info), f"created device {device.id} ({device.name})", json)


@app.command("list", epilog="Example: tsengine device list --name 'freezer*' --tag site=oslo")
def list_devices(
    data: Data = DEFAULT_DATA,
    name: Annotated[str | None, typer.Option(metavar="PATTERN", help="Only names like this; * is any run of characters.")] = None,
    type: Annotated[Type | None, typer.Option(help="Only devices of this type.")] = None,
    serial: Annotated[str | None, typer.Option(metavar="TEXT", help="Only the device with this serial.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="Only devices with this label.")] = None,
    order: Annotated[str, typer.Option(metavar="FIELD", help="Order by this field; a leading - turns it round.")] = "name",
    limit: Annotated[int | None, typer.Option(min=0, metavar="COUNT", help="At most so many.")] = None,
    skip: Annotated[int, typer.Option(min=0, metavar="COUNT", help="Leave out the first so many.")] = 0,
    json: Json = False,
) -> None:
    """List devices."""
    with open_store(data) as db:
        found = db.devices(
            name=name,
            type=None if type is None else type.value,
            serial=serial,
            tags=parse_tags(tag) or None,
            order=order,
            limit=limit,
            skip=skip,
        )
        infos = [device.info for device in found]
    if json:
        print_json([device_object(info) for info in infos])
    else:
        rows = [(info.id, info.name, info.type, info.serial, tags_text(device_object(info)), info.active) for info in infos]
        print_table(("id", "name", "type", "serial", "tags", "active"), rows)


@app.command(epilog="Example: tsengine device show SN-7")
def show(device: DeviceArgument, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Show a device, its variables and its chunks."""
    with open_store(data) as db:
        found = db.device(device)
        shown = device_object(found.info) | contents(found)
    if json:
        print_json(shown)
        return
    chunks = shown.pop("chunks")
    shown |= {"tags": tags_text(shown), "variables": ", ".join(shown["variables"]), "extra": shown["extra"] or None}
    print_pairs(shown)
    if chunks:
        print_table(("chunk", "start", "end", "points"), [(chunk["id"], chunk["start"], chunk["end"], chunk["count"]) for chunk in chunks])


@app.command(epilog="Example: tsengine device edit SN-7 --name freezer-8 --chunk-retention none")
def edit(
    device: DeviceArgument,
    data: Data = DEFAULT_DATA,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="3 to 100 characters.")] = None,
    chunk_retention: Annotated[
        str | None, typer.Option(metavar="COUNT", help="Periods kept before the current one; none = for ever.")
    ] = None,
    chunk_limit: Annotated[str | None, typer.Option(metavar="COUNT", help="Most points of a chunk, or none.")] = None,
    point_limit: Annotated[str | None, typer.Option(metavar="COUNT", help="Most points of the device, or none.")] = None,
    serial: Serial = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="A label; those given replace all; '' removes all.")
    ] = None,
    description: Description = None,
    active: Active = None,
    visible: Visible = None,
    extra: Extra = None,
    json: Json = False,
) -> None:
    """Change a device; what is not given stays."""
    changes: dict[str, Any] = {"name": name, "description": description, "active": active, "visible": visible, "extra": parse_extra(extra)}
    changes = {field: value for field, value in changes.items() if value is not None}
    for field, text in (("chunk_retention", chunk_retention), ("chunk_limit", chunk_limit), ("point_limit", point_limit)):
        if text is not None:
            changes[field] = parse_count(text, f"--{field.replace('_', '-')}")
    if serial is not None:
        changes["serial"] = serial or None
    if tag:
        changes["tags"] = parse_tags([text for text in tag if text])
    if not changes:
        raise typer.BadParameter("give at least one option to change")
    with open_store(data) as db:
        changed = db.edit_device(db.device(device).id, **changes)
    print_result(device_object(changed.info), f"changed {', '.join(sorted(changes))} of device {changed.id} ({changed.name})", json)


@app.command(epilog="Example: tsengine device delete SN-7 --yes")
def delete(
    device: DeviceArgument,
    data: Data = DEFAULT_DATA,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete a device with all its points, tokens and parameters."""
    with open_store(data) as db:
        found = db.device(device)
        points = found.count()
        if not yes:
            typer.confirm(f"delete device {found.id} ({found.name}) and its {counted(points, 'point')}?", abort=True, err=True)
        db.delete_device(found.id)
    print_result({"deleted": found.id, "points": points}, f"deleted device {found.id} ({found.name})", json)


def contents(device: Device) -> dict[str, Any]:
    """Return what a device holds."""
    chunks = device.chunks() if device.type == "immutable" else []
    return {"points": device.count(), "variables": device.variables(), "chunks": msgspec.to_builtins(chunks)}


def tags_text(shown: dict[str, Any]) -> str:
    return ", ".join(f"{tag['key']}={tag['value']}" for tag in shown["tags"])


def parse_extra(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise typer.BadParameter(f"--extra must be a JSON object: {error}") from None
