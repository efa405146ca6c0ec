"""What all benchmarks share: the folder of the run, which peers are there, and the tables at the end."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benches import peers
from benches.figures import report


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
    lines = report(benchmark.extra_info for benchmark in session.benchmarks) if session else []
    if not lines:
        return
    terminalreporter.section("figures")
    terminalreporter.write_line(f"{os.cpu_count()} cores, {processor()}, Linux {platform.release()}, Python {platform.python_version()}")
    for name, reason in peers.MISSING.items():
        terminalreporter.write_line(f"SKIPPED: {name}: {reason}")
    terminalreporter.write_line("")
    for line in lines:
        terminalreporter.write_line(line)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
