"""The pace of work in the background: how long it waits, and what lets it go on. Nothing here waits for time to pass."""

from __future__ import annotations

import threading

import pytest

from tsengine.clock import ManualClock
from tsengine.errors import ClosedError
from tsengine.store.pace import Pace


def test_bytes_are_paid_for_at_the_pace() -> None:
    clock = ManualClock(0)
    pace = Pace(1000, clock)
    assert pace.delay_s(500) == 0.5
    assert pace.delay_s(500) == 1.0
    clock.advance(seconds=1)
    assert pace.delay_s(250) == 0.25
    clock.advance(seconds=3600)
    assert pace.delay_s(1000) == 1.0  # a pause is not followed by a burst
    clock.jump(seconds=-1_000_000)
    assert pace.delay_s(1000) == 2.0  # the wall clock plays no part


def test_without_a_limit_nothing_waits() -> None:
    pace = Pace(None, ManualClock(0))
    pace.spend(1 << 60)
    pace.stop()
    with pytest.raises(ClosedError):
        pace.spend(0)


class Spender(threading.Thread):
    """Asks for more bytes than a century gives."""

    def __init__(self, pace: Pace) -> None:
        super().__init__(daemon=True)
        self.pace = pace
        self.error: ClosedError | None = None
        self.start()

    def run(self) -> None:
        try:
            self.pace.spend(1 << 40)
        except ClosedError as error:
            self.error = error


def test_stop_ends_who_waits() -> None:
    pace = Pace(1, ManualClock(0))
    spender = Spender(pace)
    pace.stop()
    spender.join(30)
    assert not spender.is_alive()
    assert spender.error is not None


def test_a_lifted_pace_lets_go_who_waits_and_counts_from_now_on() -> None:
    clock = ManualClock(0)
    pace = Pace(1, clock)
    spender = Spender(pace)
    with pace.lifted():
        spender.join(30)
        assert not spender.is_alive()
        assert spender.error is None
        pace.spend(1 << 40)
    assert pace.delay_s(2) == 2.0
