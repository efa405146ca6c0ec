"""Charts of a results file: for each table with peers, how each stands to tsengine, row by row, on a scale of ratios."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benches.figures import UNITS, Figure, Results, key_of
from benches.peers import OURS

INK = "#7d8590"
"""Readable on white and on a dark page; the background is transparent."""
MARKS = "osD^v<>PXhd8"


def draw(results: Results, folder: Path, keys: Iterable[str] | None = None) -> list[Path]:
    """Write a PNG for each table in which peers stand beside tsengine, or for those with some keys; return the files."""
    tables = dict.fromkeys(figure["table"] for figure in results["figures"] if is_peer(figure))
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for table in tables:
        if keys is None or key_of(table) in keys:
            path = folder / f"{key_of(table).replace(' ', '-')}.png"
            draw_table(table, [figure for figure in results["figures"] if figure["table"] == table], path)
            drawn.append(path)
    return drawn


def is_peer(figure: Figure) -> bool:
    return not figure["subject"].startswith(OURS)


def ratios(figures: list[Figure]) -> dict[str, list[tuple[str, float]]]:
    """Return for each peer its rows and how many times as good as tsengine it is there."""
    ours = {figure["row"]: figure["value"] for figure in figures if figure["subject"] == OURS}
    found: dict[str, list[tuple[str, float]]] = {}
    for figure in figures:
        own = ours.get(figure["row"])
        if is_peer(figure) and own and figure["value"]:
            better = figure["value"] / own if UNITS[figure["unit"]] == "more" else own / figure["value"]
            found.setdefault(figure["subject"], []).append((figure["row"], better))
    return found


def draw_table(table: str, figures: list[Figure], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter

    found = ratios(figures)
    drawn = {row for points in found.values() for row, _ in points}
    rows = [row for row in dict.fromkeys(figure["row"] for figure in figures) if row in drawn]
    colors = plt.get_cmap("tab20").colors
    with plt.rc_context({"text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "font.size": 9}):
        figure, axes = plt.subplots(figsize=(8.5, 1.3 + 0.28 * len(rows)))
        for number, (subject, points) in enumerate(found.items()):
            x, y = [value for _, value in points], [rows.index(row) for row, _ in points]
            color, mark = colors[number * 2 % 20 + (number >= 10)], MARKS[number % len(MARKS)]
            axes.scatter(x, y, s=34, color=color, marker=mark, label=subject, alpha=0.9, linewidths=0, zorder=3)
        axes.axvline(1, color="#d1242f", linewidth=1.5, zorder=2)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{value:g}" if value >= 1 else f"÷{1 / value:,.0f}"))
        axes.set_yticks(range(len(rows)), rows)
        axes.invert_yaxis()
        axes.grid(color=INK, alpha=0.25, linewidth=0.6)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(table, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel("worse than tsengine  ←  the red line is tsengine  →  better")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        figure.savefig(path, dpi=110, bbox_inches="tight", transparent=True)
        plt.close(figure)
