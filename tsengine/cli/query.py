"""tsengine query: points, last and first values, counts, aggregates and charts of a device."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tsengine.cli.options import DEFAULT_DATA, Data, DeviceOption, End, Start, Variables, open_store
from tsengine.cli.rows import RowFormat, Rows, format_of_rows, rows_of_count, rows_of_points, rows_of_table, write_rows
from tsengine.cli.show import print_result
from tsengine.device import Device

EXAMPLE = "Example: tsengine query --device SN-7 --variable temperature --every 1h --function avg,max"

CHART_POINTS = 2_000
"""Points of a chart for each variable: about as many as it has dots across."""


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
    limit: Annotated[int, typer.Option(min=0, metavar="COUNT", help="At most so many points.")] = 100,
    skip: Annotated[int, typer.Option(min=0, metavar="COUNT", help="Leave out the first so many points.")] = 0,
    order: Annotated[Order, typer.Option(help="desc = newest first.")] = Order.DESC,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="TEST", help="Only points whose value meets it: gt=20, lte=30, eq=on, ne=0, in=1,2,3 (repeatable)."),
    ] = None,
    unit: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="Only points with this unit (repeatable).")] = None,
    group: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="Only points of this group (repeatable).")] = None,
    last: Annotated[bool, typer.Option("--last", help="The newest point of each variable.")] = False,
    first: Annotated[bool, typer.Option("--first", help="The oldest point of each variable.")] = False,
    count: Annotated[bool, typer.Option("--count", help="Only how many points there are.")] = False,
    every: Annotated[
        str | None, typer.Option(metavar="WIDTH", help="Aggregate over buckets of this width: 30s, 5m, 1h, 1d, 1w, 1mo, 1q, 1y.")
    ] = None,
    function: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Aggregates, with commas: avg, sum, min, max, count, first, last, stddev.")
    ] = None,
    tz: Annotated[str, typer.Option(metavar="ZONE", help="Time zone of days and longer buckets, like Europe/Lisbon.")] = "UTC",
    fill: Annotated[
        str | None, typer.Option(metavar="HOW", help="Fill buckets without a number: null, previous, linear, or a number.")
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the variables (or their aggregates) as a chart in the terminal.")] = False,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the chart into a PNG file.")] = None,
    format: Annotated[
        RowFormat | None, typer.Option("--format", "-f", help="How rows are written: a table, or by the suffix of --output.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the rows to this file instead.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="The same as --format csv.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Print points, last values or aggregates, or draw a chart.

    Without options: the newest points of the device as a table.
    """
    is_aggregate = every is not None or function is not None
    is_chart = plot or png is not None
    if last + first + count + is_aggregate > 1:
        raise typer.BadParameter("give only one of --last, --first, --count and --every/--function")
    if as_csv + json + is_chart + (format is not None) > 1:
        raise typer.BadParameter("give only one of --format, --csv, --json and --plot/--png")
    if is_chart and output is not None:
        raise typer.BadParameter("--output is for rows; --png names the file of a chart")
    form = format_of_rows(output, RowFormat.CSV if as_csv else RowFormat.JSON if json else format)
    if is_chart and (last or first or count):
        raise typer.BadParameter("--plot and --png draw points or aggregates, not --last, --first or --count")
    conditions: dict[str, Any] = {"where": parse_tests(where or []), "units": unit or None, "groups": group or None}
    names = variable or None
    with open_store(data) as db:
        source = db.device(device)
        if count:
            rows = rows_of_count(source.count(names, start, end, **conditions))
        elif is_aggregate:
            rows = aggregates(source, names, function or "avg", every, start, end, tz, parse_fill(fill), conditions)
        elif is_chart:
            draw(points_of(source, names, start, end, conditions), plot, png)
            return
        elif last or first:
            found = (source.last if last else source.first)(names, start=start, end=end, **conditions)
            rows = rows_of_points(found)
        else:
            rows = rows_of_points(source.points(names, start, end, limit, skip, order.value, **conditions))
    if is_chart:
        draw(columns_of(rows), plot, png)
    elif count and output is None and form in (RowFormat.TABLE, RowFormat.JSON):  # one number needs neither a header nor a list
        print_result(rows.objects[0], str(rows.objects[0]["count"]), form is RowFormat.JSON)
    else:
        write_rows(rows, form, output)


def parse_tests(tests: list[str]) -> dict[str, Any] | None:
    """Return `where` of texts like gt=20."""
    found: dict[str, Any] = {}
    for test in tests:
        operator, equals, operand = test.partition("=")
        if not equals:
            raise typer.BadParameter(f"{test!r} is no test of a value; write gt=20, eq=on or in=1,2,3", param_hint="--where")
        found[operator] = [parse_value(part) for part in operand.split(",")] if operator == "in" else parse_value(operand)
    return found or None


def parse_value(text: str) -> float | int | bool | str:
    """Return a number or boolean if the text is one, else the text."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse_fill(fill: str | None) -> Any:
    return None if fill is None else parse_value(fill)


def aggregates(
    device: Device,
    variables: list[str] | None,
    function: str,
    every: str | None,
    start: str | None,
    end: str | None,
    tz: str,
    fill: Any,
    conditions: dict[str, Any],
) -> Rows:
    """Return one row a bucket."""
    functions = [name.strip() for name in function.split(",") if name.strip()]
    asked = variables[0] if variables is not None and len(variables) == 1 else variables
    return rows_of_table(device.aggregate(asked, functions, every, start, end, tz=tz, fill=fill, **conditions))


Lines = dict[str, tuple[Any, Any]]


def points_of(device: Device, variables: list[str] | None, start: str | None, end: str | None, conditions: dict[str, Any]) -> Lines:
    """Return the lines of a chart of stored points, as many as can be told apart."""
    names = device.variables() if variables is None else variables
    return {name: device.downsample(name, start, end, CHART_POINTS, **conditions) for name in names}


def columns_of(rows: Rows) -> Lines:
    """Return a line for each variable and function of aggregated rows."""
    from tsengine.core.ingest.fields import to_time_us

    lines: dict[str, tuple[list[int], list[float]]] = {}
    for row in rows.objects:
        for name, value in row.items():
            if name not in ("variable", "time") and value is not None:
                times, values = lines.setdefault(" ".join(part for part in (row.get("variable"), name) if part), ([], []))
                times.append(to_time_us(row["time"]))
                values.append(value)
    return dict(lines)


def draw(lines: Lines, plot: bool, png: Path | None) -> None:
    """Draw a chart of what has finite numbers."""
    import shutil

    import numpy as np

    from tsengine.cli.plot import Line, png_chart, terminal_chart

    made = []
    for name, (times, values) in lines.items():
        numbers = np.asarray(values, np.float64)
        is_finite = np.isfinite(numbers)
        if is_finite.any():
            made.append(Line(name, np.asarray(times, np.int64)[is_finite], numbers[is_finite]))
    if not made:
        typer.echo("nothing to draw: no numbers", err=True)
        raise typer.Exit(1)
    if plot:
        typer.echo(terminal_chart(made, shutil.get_terminal_size((100, 24)).columns))
    if png is not None:
        png.write_bytes(png_chart(made))
