"""Few descriptors and little memory: what is refused is told, what was acknowledged is there, and nothing ends the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.driver import Fault, Rounds, report, rounds
from tests.crash.faults import Limits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(6 * 3600)]


def test_a_store_lives_with_few_descriptors(scratch: Path) -> None:
    """64 are enough for everything; fewer end in errors of storage, and the next process goes on."""
    work = Rounds(scratch / "data")
    with report("descriptors", work):
        work.round(Limits(descriptors=64), [work.author().script(80)])
        assert not work.book.refused_count, "64 descriptors are enough"
        for _ in range(rounds(6, 0.25)):
            work.round(Limits(descriptors=work.dice.randrange(6, 40)), [work.author().script(30)])  # with few, each may be in doubt
            work.round(Fault(), [work.author().script(5)])


def test_a_store_lives_with_little_memory(scratch: Path) -> None:
    work = Rounds(scratch / "data")
    with report("memory", work):
        for _ in range(rounds(6, 0.25)):
            # The three environments map 768 MiB of addresses, whatever they hold.
            work.round(Limits(memory_mb=work.dice.randrange(700, 900)), [work.author().script(60)])
            work.round(Fault(), [work.author().script(5)])
