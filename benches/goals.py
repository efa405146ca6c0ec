"""The table of goals of the design, and the few rows that the README shows: which figures belong to which line."""

from __future__ import annotations

from typing import NamedTuple

from benches.figures import UNITS, Figure, Results, name_of, ratio, short
from benches.peers import OURS


class Goal(NamedTuple):
    """One line of the design's table: what is done, and the rows (name of the table, row) that measure it; figures have the goals."""

    operation: str
    rows: list[tuple[str, str]]


DURABLE = "durable at the end"
GOALS = [
    Goal("bulk ingest from Arrow or numpy", [("one device", f"bulk ingest from Arrow, {DURABLE}")]),
    Goal("bytes on disk a point, everything included", [("one device", "bytes a point, whole folder")]),
    Goal("10-point durable commits, one writer", [("durable commits", "10 points, one writer")]),
    Goal(
        "the same, 64 tasks of asyncio / 64 threads",
        [("durable commits", f"10 points, 64 {who}") for who in ("tasks of asyncio", "threads")],
    ),
    Goal("1,000-point durable commits (5,000 are 5 M points/s)", [("durable commits", "1,000 points, one writer")]),
    Goal("last value of 10 variables", [("queries", "last value of 10 variables")]),
    Goal("raw range of one variable, 1 day / 30 days", [("queries", "raw, 1 day"), ("queries", "raw, 30 days")]),
    Goal("avg per hour over a year", [("queries", "avg per hour of a year")]),
    Goal("min, max, avg, count per day over three years", [("queries", "min, max, avg, count per day of all months")]),
    Goal("count, avg per minute over a month", [("queries", "count, avg per minute of a month")]),
    Goal(
        "sum of 3.6 M / count where value > x / sums of 9 variables",
        [("queries", "sum of one variable"), ("queries", "count where value > x"), ("queries", "sums of nine variables")],
    ),
    Goal(
        "newest 100 over all variables / skip 1,000",
        [("queries", "newest 100 of all variables"), ("queries", "newest 100 after skipping 1,000")],
    ),
    Goal("fresh process: import, open, last value", [("reads", "fresh process: and import, open, last value")]),
    Goal("drop the oldest month", [("one device", "drop the oldest month")]),
    Goal(
        "10,000 devices: ingest / bytes a point / last x10 / range",
        [
            ("fleet", f"tables of 1 M rows in order of time, {DURABLE}"),
            ("fleet", "bytes a point, whole folder"),
            ("fleet", "last value of ten devices"),
            ("fleet", "one day of one device"),
        ],
    ),
    Goal(
        "mutable: durable insert / update of one, get by id, newest 100",
        [("registers", row) for row in ("durable insert of one", "durable update of one", "get by id", "newest 100 of all variables")],
    ),
    Goal(
        "HTTP POST of 1 point, 64 connections, one core / its p99",
        [("http", "POST 1 point, JSON"), ("http: 99th percentile of latency", "POST 1 point, JSON")],
    ),
    Goal("the same, 10 / 1,000 points a request", [("http", "POST 10 points, JSON"), ("http", "POST 1,000 points, JSON")]),
    Goal("MQTT QoS 1, a PUBACK means durable", [("mqtt", "QoS 1 to the last PUBACK")]),
    Goal(
        "memory while ingesting / compacting (budget of 256 MB and 100)",
        [("one device", "memory while ingesting, whole process"), ("one device", "memory while compacting, whole process")],
    ),
]

SUMMARY = [
    ("bulk ingest from Arrow, 36 M points", "one device", f"bulk ingest from Arrow, {DURABLE}"),
    ("bytes on disk a point", "one device", "bytes a point, whole folder"),
    ("durable commits of 10 points, one writer", "durable commits", "10 points, one writer"),
    ("the same, 64 tasks of asyncio", "durable commits", "10 points, 64 tasks of asyncio"),
    ("last value of 10 variables", "queries", "last value of 10 variables"),
    ("one day of one variable", "queries", "raw, 1 day"),
    ("average per hour of a year (1.2 M points)", "queries", "avg per hour of a year"),
    ("min, max, avg, count per day of three years (3.6 M)", "queries", "min, max, avg, count per day of all months"),
    ("newest 100 points of all variables", "queries", "newest 100 of all variables"),
    ("mutable device: durable update of one", "registers", "durable update of one"),
    ("mutable device: get by id", "registers", "get by id"),
    ("TSBS cpu, double-groupby-all", "tsbs cpu", "double-groupby-all"),
    ("TSBS cpu, lastpoint", "tsbs cpu", "lastpoint"),
    ("TSBS iot, breakdown-frequency", "tsbs iot", "breakdown-frequency"),
]
"""Rows of the README: label, name of the table, row. Of every kind some, also where a peer is better."""


def row_of(results: Results, table: str, row: str) -> list[Figure]:
    """Return the figures of a row, ours first, then the peers from best to worst."""
    found = [figure for figure in results["figures"] if (name_of(figure["table"]), figure["row"]) == (table, row)]
    return sorted(found, key=lambda each: (each["subject"] != OURS, -each["value"] if UNITS[each["unit"]] == "more" else each["value"]))


def text_of(figure: Figure) -> str:
    return f"{short(figure['value'], figure['unit'])} {figure['unit']}"


def against(figures: list[Figure]) -> str:
    """Return the best peer and how it stands to us."""
    ours, *peers = figures
    peers = [figure for figure in peers if not figure["subject"].startswith(OURS)]
    if not peers:
        return ""
    return f"{peers[0]['subject']} {short(peers[0]['value'], ours['unit'])} ({ratio(peers[0]['value'], ours['value'], ours['unit'])})"


def goals_table(results: Results) -> list[str]:
    """Return the design's table: goal, what was measured, whether that reaches it, and the best peer of the same run."""
    lines = ["| operation | goal | measured | | best peer of the same run |", "| --- | --- | --- | --- | --- |"]
    for operation, wanted in GOALS:
        parts = [figures for figures in (row_of(results, table, row) for table, row in wanted) if figures and figures[0]["subject"] == OURS]
        if len(parts) < len(wanted):
            lines.append(f"| {operation} | | not measured | | |")
            continue
        sign = ["≥" if UNITS[figures[0]["unit"]] == "more" else "≤" for figures in parts]
        goals = " / ".join(f"{mark} {short(figures[0]['goal'], figures[0]['unit'])}" for mark, figures in zip(sign, parts, strict=True))
        measured = " / ".join(text_of(figures[0]) for figures in parts)
        verdicts = " / ".join("reached" if is_reached(figures[0]) else "**missed**" for figures in parts)
        lines.append(f"| {operation} | {goals} | {measured} | {verdicts} | {' / '.join(against(figures) or '-' for figures in parts)} |")
    return lines


def is_reached(figure: Figure) -> bool:
    return figure["value"] >= figure["goal"] if UNITS[figure["unit"]] == "more" else figure["value"] <= figure["goal"]


def summary_table(results: Results) -> list[str]:
    """Return the README's table; rows that were not measured are left out."""
    lines = ["| | tsengine | best peer | how the peer stands to tsengine |", "| --- | ---: | ---: | --- |"]
    for label, table, row in SUMMARY:
        figures = row_of(results, table, row)
        peers = [figure for figure in figures if not figure["subject"].startswith(OURS)]
        if not peers or figures[0]["subject"] != OURS:
            continue
        ours, best = figures[0], peers[0]
        times = ratio(best["value"], ours["value"], ours["unit"])
        words = f"{times[1:]} times as good" if times[0] == "×" else f"{times[1:]} times worse"
        lines.append(f"| {label} | {text_of(ours)} | {best['subject']} {short(best['value'], best['unit'])} | {words} |")
    return lines
