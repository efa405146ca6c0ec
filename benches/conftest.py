"""What all benchmarks share: the folder of the run, which peers are there, and the tables at the end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benches import peers
from benches.figures import RESULTS, describe, keep_results, report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The full workload takes minutes a subject."""
    for item in items:
        item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that the benchmarks of one file share; gone afterwards, since it may hold gigabytes."""
    path = tmp_path_factory.mktemp("bench")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    shutil.rmtree(tmp_path, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    session = getattr(config, "_benchmarksession", None)
    infos = [benchmark.extra_info for benchmark in session.benchmarks] if session else []
    figures = [figure for info in infos for figure in info.get("figures", ())]
    if not figures:
        return
    settings = {(info["subject"], info["settings"]): None for info in infos if "settings" in info}
    results = keep_results(RESULTS, figures, settings, peers.MISSING)
    tables = {figure["table"] for figure in figures}
    terminalreporter.section(f"figures, kept in {RESULTS}")
    shown = results | {"figures": [figure for figure in results["figures"] if figure["table"] in tables]}
    for line in [*report(shown), *describe(results)]:
        terminalreporter.write_line(line)
