"""Figures: what a benchmark found out, beside which goal, and the Markdown tables they make.

A figure travels in `extra_info` of pytest-benchmark, so `--benchmark-json=FILE` keeps it; `python -m benches.figures FILE` prints the
tables again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

OURS = "tsengine"

UNITS = {
    "values/s": "more",
    "points/s": "more",
    "rows/s": "more",
    "commits/s": "more",
    "syncs/s": "more",
    "devices/s": "more",
    "bits/value": "less",
    "ns/point": "less",
    "bytes/point": "less",
    "bytes": "less",
    "MB": "less",
    "ms": "less",
    "µs": "less",
    "s": "less",
    "s/100 MB": "less",
}
"""Units of figures, and whether more or less of them is better."""


def add_figure(benchmark: BenchmarkFixture, table: str, row: str, subject: str, value: float, unit: str, goal: float | None = None) -> None:
    """Add a figure to a benchmark.

    Args:
        row, table: where it is shown; a row has one figure a subject.
        goal: what tsengine has to reach, in the same unit.
    """
    assert unit in UNITS
    figure = {"table": table, "row": row, "subject": subject, "value": value, "unit": unit, "goal": goal}
    benchmark.extra_info.setdefault("figures", []).append(figure)


def describe_subject(benchmark: BenchmarkFixture, subject: str, settings: str) -> None:
    """Say with which version and settings a subject was measured."""
    benchmark.extra_info["subject"] = subject
    benchmark.extra_info["settings"] = settings


def short(value: float, unit: str) -> str:
    """Return a figure for people: three digits that count."""
    for limit, name in ((1e6, " M"), (1e4, " k")):
        if UNITS[unit] == "more" and value >= limit:
            return f"{short_number(value / (1e6 if name == ' M' else 1e3))}{name}"
    return short_number(value)


def short_number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.5f}"


def ratio(value: float, ours: float, unit: str) -> str:
    """Return how a peer's figure stands to ours: ×2 is twice as good as tsengine."""
    better = value / ours if UNITS[unit] == "more" else ours / value
    return f"×{better:.2g}" if better < 100 else f"×{better:.0f}"


def cell(figure: dict[str, Any], ours: dict[str, Any] | None) -> str:
    """Return what one subject's cell says: the figure, and for a peer how it stands to ours."""
    text = short(figure["value"], figure["unit"])
    if ours is None or figure is ours or not ours["value"] or not figure["value"]:
        return text
    return f"{text} ({ratio(figure['value'], ours['value'], figure['unit'])})"


def verdict(figure: dict[str, Any] | None, goal: float | None) -> str:
    """Return the goal and whether our figure reaches it."""
    if goal is None or figure is None:
        return "" if goal is None else f"{short_number(goal)}"
    unit = figure["unit"]
    reached = figure["value"] >= goal if UNITS[unit] == "more" else figure["value"] <= goal
    return f"{'≥' if UNITS[unit] == 'more' else '≤'} {short(goal, unit)} {'reached' if reached else '**missed**'}"


def markdown_table(figures: list[dict[str, Any]]) -> list[str]:
    """Return the lines of one table: a row an operation, a column a subject, ours first."""
    subjects = list(dict.fromkeys(figure["subject"] for figure in figures))
    subjects.sort(key=lambda name: name != OURS)
    lines = ["| | unit | goal | " + " | ".join(subjects) + " |", "| --- | --- | --- |" + " ---: |" * len(subjects)]
    for row in dict.fromkeys(figure["row"] for figure in figures):
        cells = {figure["subject"]: figure for figure in figures if figure["row"] == row}
        first = next(iter(cells.values()))
        ours = cells.get(OURS)
        texts = [cell(cells[name], ours) if name in cells else "" for name in subjects]
        goal: float | None = next((figure["goal"] for figure in cells.values() if figure["goal"] is not None), None)
        lines.append(f"| {row} | {first['unit']} | {verdict(ours, goal)} | " + " | ".join(texts) + " |")
    return lines


def report(infos: Iterable[dict[str, Any]]) -> list[str]:
    """Return the lines of all tables of some benchmarks' extra_info, and what was measured how."""
    infos = list(infos)
    figures = [figure for info in infos for figure in info.get("figures", ())]
    lines: list[str] = []
    for table in dict.fromkeys(figure["table"] for figure in figures):
        lines += [f"### {table}", "", *markdown_table([figure for figure in figures if figure["table"] == table]), ""]
    settings = {info["subject"]: info["settings"] for info in infos if "settings" in info}
    if any(figure["subject"] != OURS for figure in figures):
        lines += ["×2 = twice as good as tsengine.", ""]
    return lines + [f"- {subject}: {text}" for subject, text in settings.items()]


def main() -> None:
    """Print the tables of files that --benchmark-json wrote."""
    benchmarks = [benchmark for path in sys.argv[1:] for benchmark in json.loads(Path(path).read_text())["benchmarks"]]
    print("\n".join(report(benchmark["extra_info"] for benchmark in benchmarks)))


if __name__ == "__main__":
    main()
