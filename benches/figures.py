"""Figures: what a benchmark found out, beside which goal; the file that keeps them, and the Markdown tables they make.

A results file is JSON: `machine` and `taken` (day) of its latest run, `subjects` {name: [settings]}, `skipped` {peer: reason}, and
`figures`, each with `table` (title), `row`, `subject`, `value`, `unit` and `goal` (what tsengine has to reach, or null). A run adds its
figures to the file and replaces those of the same table, row and subject, so that a long measurement can be taken in parts.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from benches.peers import OURS

Figure = dict[str, Any]
Results = dict[str, Any]

RESULTS = Path(os.environ.get("TSENGINE_BENCH_RESULTS", "build/bench/results.json"))
"""Where a run keeps its figures."""

UNITS = {
    "values/s": "more",
    "points/s": "more",
    "rows/s": "more",
    "commits/s": "more",
    "requests/s": "more",
    "messages/s": "more",
    "syncs/s": "more",
    "devices/s": "more",
    "bits/value": "less",
    "ns/point": "less",
    "bytes/point": "less",
    "bytes/value": "less",
    "bytes": "less",
    "bytes/connection": "less",
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
    benchmark.extra_info.setdefault("figures", []).append(figure_of(table, row, subject, value, unit, goal))


def figure_of(table: str, row: str, subject: str, value: float, unit: str, goal: float | None = None) -> Figure:
    assert unit in UNITS
    return {"table": table, "row": row, "subject": subject, "value": value, "unit": unit, "goal": goal}


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
    """Return how a peer's figure stands to ours: ×2 is twice as good as tsengine, ÷2 half as good."""
    better = value / ours if UNITS[unit] == "more" else ours / value
    sign, times = ("×", better) if better >= 1 else ("÷", 1 / better)
    return f"{sign}{times:,.0f}" if times >= 9.95 else f"{sign}{times:.2g}"


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


def name_of(table: str) -> str:
    """Return the title of a table without its size, in small letters: "HTTP, 64 connections: latency" is "http: latency"."""
    name, _, part = table.partition(":")
    return (name.split(",")[0] + (f":{part}" if part else "")).lower()


def key_of(table: str) -> str:
    """Return what a table's name has in common with those that belong to it: "http"."""
    return name_of(table).split(":")[0]


def report(results: Results, key: str | None = None) -> list[str]:
    """Return the lines of all tables, or of those with a key, and what was measured how."""
    figures = [figure for figure in results["figures"] if key is None or key_of(figure["table"]) == key]
    lines: list[str] = []
    for table in dict.fromkeys(figure["table"] for figure in figures):
        lines += [f"### {table}", "", *markdown_table([figure for figure in figures if figure["table"] == table]), ""]
    if any(figure["subject"] != OURS for figure in figures):
        lines += ["×2 = twice as good as tsengine, ÷2 = half as good.", ""]
    return lines


def describe(results: Results) -> list[str]:
    """Return the lines that say on what machine, with which settings, and who could not take part."""
    lines = [f"{results['machine']}, {results['taken']}", ""]
    lines += [f"- {subject}: {'; elsewhere: '.join(texts)}" for subject, texts in results["subjects"].items()]
    return lines + [f"- SKIPPED {name}: {reason}" for name, reason in results["skipped"].items()]


def show(results: Results, figures: Iterable[Figure]) -> None:
    """Print the tables of the figures of this run."""
    tables = {figure["table"] for figure in figures}
    print("\n".join([*report(results | {"figures": [each for each in results["figures"] if each["table"] in tables]}), *describe(results)]))


def read_results(path: Path) -> Results:
    """Return what a results file holds, or an empty one."""
    if path.exists():
        return json.loads(path.read_text())
    return {"machine": "", "taken": "", "subjects": {}, "skipped": {}, "figures": []}


def keep_results(
    path: Path, figures: Iterable[Figure], settings: Iterable[tuple[str, str]] = (), skipped: dict[str, str] | None = None
) -> Results:
    """Add a run's figures, its subjects' settings and who was skipped to a results file, and return all it now holds."""
    results = read_results(path)
    kept = {(figure["table"], figure["row"], figure["subject"]): figure for figure in results["figures"]}
    kept |= {(figure["table"], figure["row"], figure["subject"]): figure for figure in figures}
    subjects: dict[str, list[str]] = results["subjects"]
    for subject, text in settings:
        known = subjects.setdefault(subject, [])
        if text not in known:
            known.append(text)
    left_out = {name: reason for name, reason in (results["skipped"] | (skipped or {})).items() if not is_measured(name, subjects)}
    results |= {"machine": machine(), "taken": f"{datetime.now(UTC):%Y-%m-%d}", "skipped": left_out, "figures": list(kept.values())}
    write_results(path, results)
    return results


def is_measured(module: str, subjects: Iterable[str]) -> bool:
    return any(subject.split(",")[0].lower() == module for subject in subjects)


def write_results(path: Path, results: Results) -> None:
    """Write a results file, a figure a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({name: part for name, part in results.items() if name != "figures"}, indent=1, ensure_ascii=False)
    lines = ",\n  ".join(json.dumps(figure, ensure_ascii=False) for figure in results["figures"])
    path.write_text(f'{head[:-2]},\n "figures": [\n  {lines}\n ]\n}}\n')


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores, {processor}, Linux {platform.release()}, Python {platform.python_version()}"
