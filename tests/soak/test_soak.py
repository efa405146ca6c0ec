"""The soak for some seconds, and what it calls flat."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.soak.__main__ import Soak, plot
from tests.soak.flat import grows


@pytest.mark.slow
def test_a_soak_of_some_seconds(tmp_path: Path) -> None:
    soak = Soak(tmp_path, 6)
    soak.run()
    assert soak.counts["points"] > 1_000 and soak.counts["queries"] and soak.counts["edits"]
    assert len(soak.samples) > 20
    kept = soak.clock.now_us()
    assert kept > soak.samples[0].seconds
    if plot(soak.samples, tmp_path / "plot.png"):
        assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_line_that_grows_is_told() -> None:
    dice = random.Random(1)
    noise = [100 + dice.random() * 20 for _ in range(200)]
    assert grows(noise, 10) == 0
    assert grows([value + (50 if dice.random() < 0.1 else 0) for value in noise], 10) == 0
    leak = [value + i * 0.5 for i, value in enumerate(noise)]
    assert grows(leak, 10) == pytest.approx(75, abs=15)
    assert grows([30.0] * 50, 4) == 0 and grows([30.0 + i // 10 for i in range(100)], 4) > 0
