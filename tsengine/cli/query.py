"""tsengine query: points, last and first values, counts and aggregates of a device."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from tsengine.cli.options import DEFAULT_DATA, Data, DeviceOption, End, Json, Start, Variables, open_store
from tsengine.cli.show import point_object, print_json, print_table, time_text
from tsengine.device import Device

EXAMPLE = "Example: tsengine query --device SN-7 --variable temperature --every 1h --function avg,max"


class Order(StrEnum):
    """Orders of points by time."""

    DESC = "desc"
    ASC = "asc"


def query(
    device: DeviceOption,
    data: Data = DEFAULT_DATA,
    variable: Variables = None,
    start: Start = None,
    end: End = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many points.")] = 100,
    skip: Annotated[int, typer.Option(min=0, help="Leave out the first so many points.")] = 0,
    order: Annotated[Order, typer.Option(help="desc = newest first.")] = Order.DESC,
    last: Annotated[bool, typer.Option("--last", help="The newest point of each variable.")] = False,
    first: Annotated[bool, typer.Option("--first", help="The oldest point of each variable.")] = False,
    count: Annotated[bool, typer.Option("--count", help="Only how many points there are.")] = False,
    every: Annotated[
        str | None, typer.Option(metavar="WIDTH", help="Aggregate over buckets of this width: 30s, 5m, 1h, 1d, 1w, 1mo, 1q, 1y.")
    ] = None,
    function: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Aggregates, with commas: avg, sum, min, max, count, first, last.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    json: Json = False,
) -> None:
    """Print points, last values or aggregates.

    Without options: the newest points of the device as a table.
    """
    is_aggregate = every is not None or function is not None
    if last + first + count + is_aggregate > 1:
        raise typer.BadParameter("give only one of --last, --first, --count and --every/--function")
    if as_csv and json:
        raise typer.BadParameter("give only one of --csv and --json")
    if is_aggregate and (variable is None or len(variable) != 1):
        raise typer.BadParameter("aggregates need exactly one --variable")
    names = variable or None
    with open_store(data) as db:
        source = db.device(device)
        if count:
            number = source.count(names, start, end)
            print_json({"count": number}) if json else typer.echo(f"count\n{number}" if as_csv else number)
            return
        if is_aggregate:
            assert variable is not None
            rows = aggregates(source, variable[0], function or "avg", every, start, end)
        elif last or first:
            found = (source.last if last else source.first)(names, start=start, end=end)
            rows = [point_object(point) for point in found]
        else:
            rows = [point_object(point) for point in source.points(names, start, end, limit, skip, order.value)]
    if json:
        print_json(rows)
    else:
        print_rows(rows, as_csv)


def aggregates(device: Device, variable: str, function: str, every: str | None, start: str | None, end: str | None) -> list[dict[str, Any]]:
    """Return one dict a bucket."""
    functions = [name.strip() for name in function.split(",") if name.strip()]
    table = device.aggregate(variable, functions, every, start, end)
    return [{**row, "time": time_text(row["time"])} for row in table.to_pylist()]


def print_rows(rows: list[dict[str, Any]], as_csv: bool) -> None:
    """Print rows as a table, or as CSV with every column."""
    from tsengine.transfer.cells import number_text

    def cell(value: Any) -> Any:
        if isinstance(value, dict):
            import msgspec

            return msgspec.json.encode(value).decode()
        if isinstance(value, bool):
            return "true" if value else "false"
        return number_text(value) if isinstance(value, float) else value

    # A table is for people: columns that nobody filled, and ids, stay out of it.
    names = list(rows[0]) if rows else ["variable", "time", "value"]
    if not as_csv:
        names = [name for name in names if name != "id" and any(row[name] is not None for row in rows)] or names
    cells = [[cell(row[name]) for name in names] for row in rows]
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows(cells)
    else:
        print_table(names, cells)
