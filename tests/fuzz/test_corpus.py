"""Every committed input, and some thousand changed ones, end well: the short form of `make fuzz`, in whatever build is in the tree."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.loop import Coverage, corpus, fuzz, run_one, target, target_names
from tsengine.ingest import tagotip

RUNS = 1_000


@pytest.mark.parametrize("name", target_names())
def test_the_corpus_ends_well(name: str) -> None:
    inputs = corpus(name)
    assert inputs, "a target has a committed corpus: python -m tests.fuzz.seed"
    for data in inputs:
        run_one(target(name).run, data)


@pytest.mark.parametrize("name", target_names())
def test_seeds_are_valid_and_a_repair_leaves_them_so(name: str) -> None:
    module = target(name)
    for data in module.seeds():
        module.run(data)
        if hasattr(module, "repair"):
            assert module.repair(data) == data


@pytest.mark.parametrize("name", target_names())
def test_changed_inputs_end_well(name: str) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)
    runs, _, _ = fuzz(name, 60, seed, runs_max=RUNS)
    assert runs == RUNS


def test_an_error_that_is_not_ours_fails_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytes) -> None:
        raise KeyError(data)

    monkeypatch.setattr(target("batch"), "run", fail)
    with pytest.raises(KeyError):
        fuzz("batch", 1, 1, runs_max=1)


def test_coverage_counts_what_is_taken(tmp_path: Path) -> None:
    """The table and its C, with a program of two branches in the place of the core."""
    library = tmp_path / "coverage.so"
    source = Path(__file__).parent / "coverage.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    program = """
import ctypes
library = ctypes.CDLL(None)
from tests.fuzz.loop import Coverage
coverage = Coverage()
coverage.begin()
assert not coverage.is_new()
for _ in range(2):
    library.__sanitizer_cov_trace_pc()
assert coverage.is_new() and coverage.count > 0
coverage.begin()
assert not coverage.is_new()
"""
    preloaded = os.environ.get("LD_PRELOAD", "")  # a sanitizer wants to be the first
    environment = {**os.environ, "LD_PRELOAD": f"{preloaded} {library}", "PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_coverage_sees_lines_of_modules() -> None:
    def way(text: str) -> bool:
        run_one(lambda data: tagotip.read_names(text) and None, b"", coverage)
        return coverage.is_new()

    coverage = Coverage([tagotip])
    assert way("a")
    assert not way("b")
    assert way("a,b,c")
    assert way("A")  # refused
    assert not way("-") and sys.gettrace() is None
