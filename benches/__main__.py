"""`python -m benches`: what to do with measured figures.

    show [FILE]       print the tables of a results file
    charts [FILE]     draw its charts beside it, into charts/
    publish FILE      make it the committed results (docs/benchmarks.json), draw docs/charts, and write the tables below
    tables            write the tables of docs/benchmarks.json into docs/benchmarks.md and README.md

The tables stand between `<!-- figures: KEY -->` and `<!-- end of figures -->`; KEY is that of a table ("queries"), "goals",
"summary" or "subjects".
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from benches import charts
from benches.figures import RESULTS, Results, describe, read_results, report, write_results
from benches.goals import goals_table, summary_table

DOCS = Path(__file__).resolve().parents[1] / "docs"
COMMITTED = DOCS / "benchmarks.json"
PAGES = (DOCS / "benchmarks.md", DOCS.parent / "README.md")
CHARTS = ("one device", "queries", "fleet", "durable commits", "registers", "tsbs cpu", "tsbs iot")
"""Tables whose charts are committed."""
PLACE = re.compile(r"(<!-- figures: ([^>]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def lines_of(results: Results, key: str) -> list[str]:
    """Return what belongs between the markers of a key."""
    if key == "goals":
        return goals_table(results)
    if key == "summary":
        return summary_table(results)
    if key == "subjects":
        return describe(results)
    chart = DOCS / "charts" / f"{key.replace(' ', '-')}.png"
    picture = [f"![Each peer as a multiple of tsengine](charts/{chart.name})"] if chart.exists() else []
    return [*report(results, key), *picture] or ["Not measured in the latest run."]


def with_tables(page: str, results: Results) -> str:
    """Return a page with its tables made anew."""
    return PLACE.sub(lambda found: "\n".join([found[1], *lines_of(results, found[2])]).rstrip() + f"\n\n{found[3]}", page)


def write_pages() -> None:
    results = read_results(COMMITTED)
    for page in PAGES:
        page.write_text(with_tables(page.read_text(), results))


def publish(results: Results) -> None:
    write_results(COMMITTED, results)
    for path in (DOCS / "charts").glob("*.png"):
        path.unlink()
    charts.draw(results, DOCS / "charts", CHARTS)
    write_pages()


def main() -> None:
    command, file = sys.argv[1] if len(sys.argv) > 1 else "", Path(sys.argv[2]) if len(sys.argv) > 2 else RESULTS
    if command in {"show", "charts", "publish"} and not file.exists():
        raise SystemExit(f"there is no {file}: run a benchmark first (make bench-quick)")
    if command == "show":
        results = read_results(file)
        print("\n".join([*report(results), *describe(results)]))
    elif command == "charts":
        for path in charts.draw(read_results(file), file.parent / "charts"):
            print(path)
    elif command == "publish":
        publish(read_results(file))
    elif command == "tables":
        write_pages()
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
