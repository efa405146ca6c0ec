"""Files that were damaged: `check` tells it, or a read raises it, or it makes no difference; nothing wrong is ever read in silence."""

from __future__ import annotations

import pickle
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.crash import child
from tests.crash.book import Violation
from tests.crash.child import Orders
from tests.crash.damage import damage
from tests.crash.driver import Fault, Process, Rounds, rounds, to_found
from tests.crash.faults import Kill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(6 * 3600)]

HAS_NO_CHECKSUMS = ("registers/data.mdb", "catalog/data.mdb", "manifest/data.mdb")
"""LMDB's files: their pages are read before LMDB is let at them, but of a value inside, that `check` tells it has to be enough."""


@pytest.mark.parametrize("is_killed", [False, True])
def test_damage_is_found_or_harmless(scratch: Path, is_killed: bool) -> None:
    work = Rounds(scratch / "data")
    for _ in range(3):
        work.round(Fault(), [work.author().script(120)])
    if is_killed:
        work.write(Kill(work.dice), work.threads())
    whole, copy = scratch / "whole", scratch / "copy"
    shutil.copytree(work.folder, whole)
    work.compare(Fault())  # what was cut off is certain now; the copy is as the writer left it
    verdicts = Counter[str]()
    for number in range(rounds(25, 0.5)):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        what = damage(copy, random.Random(work.seed + number))
        where = f"seed {work.seed}, damage {number}: {what}"
        verdict = examine(work, copy, where, any(name in what for name in HAS_NO_CHECKSUMS), is_killed)
        verdicts[verdict] += 1
    print(f"seed {work.seed}: {dict(verdicts)}")
    assert verdicts["harmless"] and verdicts["raised"]


def examine(work: Rounds, folder: Path, where: str, is_lmdb: bool, is_killed: bool) -> str:
    """Return how the damage was met.

    Raises:
        Violation: it was not.
    """
    process = Process(child.examine, Orders(str(folder), work.book.now_us), str(folder))
    message = process.message()
    if not message:
        raise Violation("EXCEPTION", f"{where}: check ended with {process.end()}")
    problems: list[str] = pickle.loads(message)
    message = process.message()
    code = process.end()
    if code != 0:
        raise Violation("EXCEPTION", f"{where}: the reader ended with {code}; check tells {problems[:2]}")
    survey: child.Survey = pickle.loads(message)
    if not survey.is_ours:
        raise Violation("EXCEPTION", f"{where}: {survey.failure} {survey.errors}; check tells {problems[:2]}")
    if survey.failure:
        return "raised"
    wrong = False
    for who, rows in to_found(survey).items():
        try:
            work.book._match(who, rows, work.book.states[who], where)
        except Violation as violation:
            if is_killed and any(f": {kind} of wal/" in where for kind in ("cut", "page", "removed")):
                return "the end of the log is gone"  # what a kill left has no witness yet: nothing can tell it from a crash
            if not problems or not is_lmdb:
                raise Violation(violation.name, f"{violation}; check tells {problems[:2]}") from None
            wrong = True
    if wrong:
        return "told, and read wrong"
    if survey.errors:
        return "raised"
    return "told" if problems else "harmless"
