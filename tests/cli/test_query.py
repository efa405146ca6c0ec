"""tsengine query."""

from __future__ import annotations

import csv
import io
import json
import struct
import zlib
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_points_as_a_table_csv_and_json(run: Run, store: Path) -> None:
    table = run("query", "--device", "SN-1").stdout.splitlines()
    assert table[0].split() == ["variable", "time", "value", "unit", "group", "location", "metadata"]
    assert len(table) == 8
    rows = list(csv.DictReader(io.StringIO(run("query", "-d", "SN-1", "--csv").stdout)))
    assert [row["value"] for row in rows] == ["23.0", "22.0", "21.0", "NaN", "true", "20.0"]
    points = json.loads(run("query", "-d", "SN-1", "--json").stdout)
    assert [point["value"] for point in points] == [23.0, 22.0, 21.0, None, True, 20.0]
    assert points[3] | {"id": "", "group": ""} == {
        "id": "",
        "variable": "odd",
        "time": "1970-01-01T00:00:00.000002Z",
        "value": None,
        "unit": None,
        "group": "",
        "location": {"lat": 1.0, "lng": 2.0},
        "metadata": {"a": 1},
    }


@pytest.mark.parametrize(
    ("args", "values"),
    [
        (["--variable", "temperature", "--order", "asc", "--limit", "2"], [20, 21]),
        (["-v", "door", "-v", "temperature", "--skip", "3"], [True, 20]),
        (["--start", "1970-01-01T00:30:00Z", "--end", "1970-01-01T01:00:00Z"], [22, 21]),
        (["--last", "-v", "temperature", "-v", "door"], [23, True]),
        (["--first", "-v", "temperature"], [20]),
        (["--last", "--end", "1970-01-01T00:00:00Z"], [20]),
        (["-v", "nothing"], []),
        (["--where", "gt=20.5", "--where", "lte=22"], [22, 21]),
        (["--where", "in=20,true"], [True, 20]),
        (["--unit", "C", "--limit", "1"], [23]),
        (["--group", "nothing"], []),
    ],
)
def test_options_say_which_points_are_printed(run: Run, store: Path, args: list[str], values: list[object]) -> None:
    assert [point["value"] for point in json.loads(run("query", "-d", "SN-1", "--json", *args).stdout)] == values


def test_count_prints_how_many_points_there_are(run: Run, store: Path) -> None:
    assert run("query", "-d", "SN-1", "--count").stdout == "6\n"
    assert json.loads(run("query", "-d", "SN-1", "--count", "--json", "-v", "door").stdout) == {"count": 1}
    assert run("query", "-d", "SN-1", "--count", "--csv").stdout == "count\n6\n"


def test_aggregates(run: Run, store: Path) -> None:
    args = ["query", "-d", "SN-1", "-v", "temperature", "--every", "1h", "--function", "avg, max,count"]
    assert json.loads(run(*args, "--json").stdout) == [
        {"time": "1970-01-01T00:00:00Z", "avg": 20.5, "max": 21.0, "count": 2},
        {"time": "1970-01-01T01:00:00Z", "avg": 22.5, "max": 23.0, "count": 2},
    ]
    assert run(*args).stdout.splitlines()[0].split() == ["time", "avg", "max", "count"]
    assert json.loads(run("query", "-d", "SN-1", "-v", "temperature", "--function", "sum", "--json").stdout)[0]["sum"] == 86.0
    assert json.loads(run("query", "-d", "SN-1", "-v", "temperature", "--every", "1d", "--json").stdout)[0]["avg"] == 21.5


@pytest.mark.parametrize(
    "args",
    [
        ["--last", "--count"],
        ["--plot", "--csv"],
        ["--plot", "--last"],
        ["--where", "20"],
        ["--csv", "--json"],
        ["--csv", "--format", "jsonl"],
        ["--format", "xml"],
        ["--format", "table", "--output", "rows.csv"],
        ["--plot", "--output", "rows.csv"],
        ["--start", "soon"],
        ["--order", "up"],
        ["--limit", "-1"],
    ],
)
def test_wrong_usage_ends_with_status_2(run: Run, store: Path, args: list[str]) -> None:
    run("query", "-d", "SN-1", *args, status=2)


@pytest.mark.parametrize("args", [["-v", "temperature", "--every", "1x"], ["-v", "temperature", "--function", "median"]])
def test_values_that_make_no_sense(run: Run, store: Path, args: list[str]) -> None:
    assert run("query", "-d", "SN-1", *args, status=1).stderr.startswith("error: ")


def test_aggregates_of_several_variables_with_gaps_filled(run: Run, store: Path) -> None:
    args = ["query", "-d", "SN-1", "--every", "15m", "--function", "max", "--fill", "linear", "--json", "-v", "temperature", "-v", "door"]
    rows = json.loads(run(*args).stdout)
    assert [(row["variable"], row["max"]) for row in rows][:4] == [("temperature", value) for value in (20, 20.5, 21, 21.5)]
    assert rows[-1] == {"variable": "door", "time": "1970-01-01T00:00:00Z", "max": 1}
    day = run("query", "-d", "SN-1", "-v", "temperature", "--every", "1d", "--tz", "Asia/Tokyo", "--json").stdout
    assert json.loads(day)[0]["time"] == "1970-01-01T00:00:00+09:00"


def test_a_chart_in_the_terminal(run: Run, store: Path) -> None:
    lines = run("query", "-d", "SN-1", "-v", "temperature", "--plot").stdout.splitlines()
    assert lines[0].startswith("23 ")
    assert lines[15].startswith("20 ")
    assert ord(lines[15][3]) & 0x40, "the first point is at the bottom on the left"
    assert ord(lines[0][-1]) & 0x09, "the last one at the top on the right"
    assert lines[16].split() == ["1970-01-01T00:00:00Z", "1970-01-01T01:30:00Z"]
    assert lines[17].split() == ["temperature"]
    assert "max" in run("query", "-d", "SN-1", "-v", "temperature", "--every", "1h", "--function", "max", "--plot").stdout


def test_a_chart_as_png(run: Run, store: Path, tmp_path: Path) -> None:
    run("query", "-d", "SN-1", "--png", tmp_path / "chart.png")
    content = (tmp_path / "chart.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    size = struct.unpack(">I", content[33:37])[0]
    assert content[37:41] == b"IDAT"
    assert zlib.crc32(content[37 : 41 + size]) == struct.unpack(">I", content[41 + size : 45 + size])[0]
    rows = zlib.decompress(content[41 : 41 + size])
    assert len(rows) == height * (3 * width + 1)
    pixels = {rows[at : at + 3] for y in range(height) for at in range(y * (3 * width + 1) + 1, (y + 1) * (3 * width + 1), 3)}
    assert {(31, 119, 180), (255, 127, 14)} <= {tuple(pixel) for pixel in pixels}, "a colour for each variable with numbers"


def test_nothing_to_draw(run: Run, store: Path) -> None:
    assert "no numbers" in run("query", "-d", "SN-1", "-v", "odd", "--plot", status=1).stderr
