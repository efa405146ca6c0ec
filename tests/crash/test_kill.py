"""Writers killed at random moments, in recovery, at each file call and at each system call: nothing acknowledged is lost, nothing half.

The short form takes some of the calls; `make test-crash ROUNDS=1000` takes all of them, and so many kills.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.driver import ROUNDS, Fault, Rounds, lives, new_seed, report, rounds, run_tool
from tests.crash.faults import WAYS, Kill, KillInRecovery, NthCall, Strace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(6 * 3600)]

SCRIPT_STEPS = 60
SHORT_POINTS = 8
"""Calls of each way that the short form takes."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.mark.parametrize("durability", ["sync", "os"])
def test_a_killed_writer_loses_nothing_acknowledged(folder: Path, durability: str) -> None:
    for life, length in lives(rounds(12) if durability == "sync" else rounds(4, 0.2)):
        work = Rounds(folder / str(life), durability=durability)
        with report(f"killed, {durability}", work):
            for _ in range(length):
                work.round(Kill(work.dice))
                if work.dice.random() < 0.4:
                    for _ in range(work.dice.randrange(1, 4)):
                        work.write(KillInRecovery(work.dice), work.threads())
                    work.compare(Fault())
        assert work.book.doubt_count > work.number // 4, "hardly anything was cut off in the middle"


@pytest.mark.parametrize("way", WAYS)
def test_a_file_call_fails_or_is_the_last(scratch: Path, way: str) -> None:
    """Whatever returned is there; whatever did not is there whole or not at all; the store opens, and works."""
    seed = new_seed()
    first = Rounds(scratch / "all", seed=seed)
    counted = NthCall(way, 1 << 40, **{**WAYS[way], "deadly": False})
    script = first.author().script(SCRIPT_STEPS)
    first.round(counted, [script])
    stride = 1 if ROUNDS else max(1, counted.matched // SHORT_POINTS)
    reached = Counter[bool]()
    nth = 1 + seed % stride
    while not reached[False]:
        work = Rounds(scratch / str(nth), seed=seed)
        fault = NthCall(way, nth, **WAYS[way])
        work.round(fault, [script])
        work.round(Fault(), [work.author().script(5)])  # it takes writes again, from where the fault left its clock
        reached[fault.is_reached] += 1
        nth += stride
        for path in scratch.iterdir():
            shutil.rmtree(path)
    print(f"{way}: seed {seed}, {reached[True]} points of {counted.matched}")
    assert reached[True] >= min(counted.matched, SHORT_POINTS) - 2


CALLS = ("pwrite64", "fdatasync", "fsync", "openat", "ftruncate", "rename", "unlink", "msync", "writev", "pwritev")


@pytest.mark.parametrize("error", ["", "EIO", "ENOSPC"])
def test_a_system_call_fails_or_is_the_last(scratch: Path, error: str) -> None:
    """LMDB's own calls are among them."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt-get install strace")
    if "Operation not permitted" in run_tool("strace", "-o", scratch / "log", "true").stderr:
        pytest.skip("strace may not trace here")
    seed = new_seed()
    print("seed", seed)
    reached = 0
    for call in CALLS if ROUNDS else ("pwrite64", "fdatasync"):
        nth = 1 + seed % 20
        while True:
            work = Rounds(scratch / f"{call}-{nth}", seed=seed)
            fault = Strace(call, nth, str(scratch / "log"), error=error)
            work.round(fault, [work.author().script(SCRIPT_STEPS)])
            work.round(Fault(), [work.author().script(5)])
            shutil.rmtree(work.folder)
            if not fault.is_reached:
                break
            reached += 1
            nth += 3 if ROUNDS else 60
    print(f"{error or 'killed'}: {reached} points")
    assert reached >= 4
