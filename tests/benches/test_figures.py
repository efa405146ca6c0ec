"""Figures: the results file, its tables, and that the committed pages are what the command makes of the committed results."""

from __future__ import annotations

from pathlib import Path

import pytest

from benches.__main__ import COMMITTED, DOCS, PAGES, PLACE, with_tables
from benches.charts import ratios
from benches.figures import Figure, figure_of, keep_results, key_of, markdown_table, name_of, ratio, read_results, short
from benches.goals import goals_table, row_of, summary_table


def figures(ours: float, peer: float, unit: str = "ms", goal: float | None = None) -> list[Figure]:
    return [
        figure_of("Queries, 1 M points", "sum", "tsengine", ours, unit, goal),
        figure_of("Queries, 1 M points", "sum", "PeerDB", peer, unit),
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_hold_the_tables_of_the_committed_results(page: Path) -> None:
    text = page.read_text()
    assert PLACE.search(text)
    assert text == with_tables(text, read_results(COMMITTED)), "run `make bench-tables`"


def test_every_chart_that_a_page_shows_is_there() -> None:
    text = (DOCS / "benchmarks.md").read_text()
    shown = {part.split(")")[0] for part in text.split("](charts/")[1:]}
    assert shown == {path.name for path in (DOCS / "charts").glob("*.png")}


def test_a_run_replaces_its_own_figures_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.json"
    keep_results(path, figures(1, 2), [("tsengine", "defaults")], {"otherdb": "is not installed", "peerdb": "is not installed"})
    other = figure_of("Fleet, 10 devices", "ingest", "tsengine", 5, "points/s")
    keep_results(path, [other, figures(3, 4)[1]], [("PeerDB", "1.0"), ("tsengine", "defaults")])
    results = read_results(path)
    assert [each["value"] for each in results["figures"]] == [1, 4, 5]
    assert results["subjects"] == {"tsengine": ["defaults"], "PeerDB": ["1.0"]}
    assert results["skipped"] == {"otherdb": "is not installed"}
    assert results["machine"] and results["taken"]


def test_a_table_has_ours_first_with_goal_and_ratios() -> None:
    lines = markdown_table(figures(2, 5, goal=3)[::-1])
    assert lines[0] == "| | unit | goal | tsengine | PeerDB |"
    assert lines[2] == "| sum | ms | ≤ 3 reached | 2 | 5 (÷2.5) |"
    assert markdown_table(figures(2e6, 8e6, "points/s", 3e6))[2] == "| sum | points/s | ≥ 3 M **missed** | 2 M | 8 M (×4) |"


def test_ratios_and_numbers_read_well() -> None:
    assert ratio(2, 1, "ms") == "÷2" and ratio(1, 2, "ms") == "×2"
    assert ratio(1, 2, "points/s") == "÷2" and ratio(3e6, 1, "points/s") == "×3,000,000"
    assert short(21_400_000, "points/s") == "21.4 M" and short(0.00412, "ms") == "0.00412"
    assert ratios(figures(1, 4)) == {"PeerDB": [("sum", 0.25)]}


def test_tables_are_named_without_their_size() -> None:
    assert name_of("HTTP, 64 connections: memory of the server") == "http: memory of the server"
    assert key_of("HTTP, 64 connections: memory of the server") == key_of("HTTP, 64 connections") == "http"


def test_goals_name_what_fell_short_and_what_was_not_measured() -> None:
    table, row = "Queries, 36 M points", "avg per hour of a year"
    found = [figure_of(table, row, "tsengine", 3, "ms", 2), figure_of(table, row, "PeerDB", 6, "ms")]
    lines = goals_table({"figures": found})
    assert "| avg per hour over a year | ≤ 2 | 3 ms | **missed** | PeerDB 6 (÷2) |" in lines
    assert sum("not measured" in line for line in lines) == len(lines) - 3
    assert [each["subject"] for each in row_of({"figures": found[::-1]}, "queries", row)] == ["tsengine", "PeerDB"]
    assert summary_table({"figures": found})[2:] == ["| average per hour of a year (1.2 M points) | 3 ms | PeerDB 6 | 2 times worse |"]


def test_every_goal_is_measured_in_the_committed_results() -> None:
    assert not [line for line in goals_table(read_results(COMMITTED)) if "not measured" in line]
