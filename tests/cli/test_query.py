"""tsengine query."""

from __future__ import annotations

import csv
import io
import json
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
    ],
)
def test_which_points(run: Run, store: Path, args: list[str], values: list[object]) -> None:
    assert [point["value"] for point in json.loads(run("query", "-d", "SN-1", "--json", *args).stdout)] == values


def test_counts(run: Run, store: Path) -> None:
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
        ["--every", "1h"],
        ["--every", "1h", "-v", "a", "-v", "b"],
        ["--csv", "--json"],
        ["--order", "up"],
        ["--limit", "-1"],
    ],
)
def test_wrong_usage(run: Run, store: Path, args: list[str]) -> None:
    run("query", "-d", "SN-1", *args, status=2)


@pytest.mark.parametrize(
    "args", [["--start", "soon"], ["-v", "temperature", "--every", "1x"], ["-v", "temperature", "--function", "median"]]
)
def test_values_that_make_no_sense(run: Run, store: Path, args: list[str]) -> None:
    assert run("query", "-d", "SN-1", *args, status=1).stderr.startswith("error: ")
