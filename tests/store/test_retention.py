"""Retention: what is expired is dropped, and only while the wall clock and the monotonic clock agree."""

from __future__ import annotations

import pytest

from tests.store.making import record_of
from tests.store.storing import Stored
from tests.store.test_columnar import month_points
from tests.strategies import JANUARY_2024_US
from tsengine.clock import ManualClock
from tsengine.core.calendar import period_of, start_of
from tsengine.limits import CLOCK_TRUST_S
from tsengine.store.period import kept_from
from tsengine.store.retention import DRIFT_US_MAX, TrustedClock, drop_expired, is_dead

MONTH = period_of(JANUARY_2024_US, "month")
AGREEMENT_S = CLOCK_TRUST_S
DRIFT_S = DRIFT_US_MAX / 1_000_000


def is_trusted(trusted: TrustedClock) -> bool:
    return trusted.now_us() is not None


def test_a_clock_is_trusted_after_it_ran_for_a_while() -> None:
    clock = ManualClock(JANUARY_2024_US)
    trusted = TrustedClock(clock)
    assert not is_trusted(trusted)
    clock.advance(seconds=AGREEMENT_S - 1)
    assert not is_trusted(trusted)
    clock.advance(seconds=1)
    assert is_trusted(trusted)
    clock.advance(seconds=10 * AGREEMENT_S)
    assert is_trusted(trusted)


@pytest.mark.parametrize("seconds", [DRIFT_S + 1, -DRIFT_S - 1, 10 * 365 * 86_400, -10 * 365 * 86_400])
def test_a_jump_takes_the_trust_away_for_a_while(seconds: float) -> None:
    clock = ManualClock(JANUARY_2024_US)
    trusted = TrustedClock(clock)
    clock.advance(seconds=AGREEMENT_S)
    assert is_trusted(trusted)
    clock.jump(seconds=seconds)
    assert not is_trusted(trusted)
    clock.advance(seconds=AGREEMENT_S - 1)
    assert not is_trusted(trusted)
    clock.jump(seconds=-seconds)  # mended: that is a jump, too
    assert not is_trusted(trusted)
    clock.advance(seconds=AGREEMENT_S - 1)
    assert not is_trusted(trusted)
    clock.advance(seconds=1)
    assert is_trusted(trusted)


@pytest.mark.parametrize("seconds", [DRIFT_S, -DRIFT_S, 0.1])
def test_a_small_correction_keeps_the_trust(seconds: float) -> None:
    clock = ManualClock(JANUARY_2024_US)
    trusted = TrustedClock(clock)
    clock.advance(seconds=AGREEMENT_S)
    clock.jump(seconds=seconds)
    assert is_trusted(trusted)


def test_small_jumps_that_add_up_are_noticed() -> None:
    clock = ManualClock(JANUARY_2024_US)
    trusted = TrustedClock(clock)
    clock.advance(seconds=AGREEMENT_S)
    assert is_trusted(trusted)
    for _ in range(2):
        clock.jump(seconds=DRIFT_S * 0.6)
        clock.advance(seconds=1)
    assert not is_trusted(trusted)


def test_expired_segments_are_unlinked_at_the_start_of_the_period(stored: Stored) -> None:
    stored.add_device(7, "month", 2)
    for number in range(6):
        stored.append(month_points(MONTH + number))
    stored.seal()
    assert len(stored.files) == 6
    for number in range(6):
        kept = start_of(MONTH + number + 2, "month")
        assert drop_expired(stored.store, stored.infos.get, kept - 1) == 0
        if number:
            assert drop_expired(stored.store, stored.infos.get, kept) == 1
        stored.rows[7] = [row for row in stored.rows[7] if row.time_us >= start_of(MONTH + number, "month")]
        stored.check()
        assert stored.files == stored.live
    stored.reopen()
    assert len(stored.files) == 1


def test_a_segment_stays_while_one_of_its_devices_needs_it(stored: Stored) -> None:
    stored.add_device(1, "month", 1)
    stored.add_device(2, "month", 3)
    stored.add_device(3, "month", 0)
    for device in (1, 2, 3):
        stored.append(month_points(MONTH), device)
    stored.seal()
    (live,) = stored.store.view.segments
    assert not is_dead(live, stored.infos.get, start_of(MONTH + 3, "month"))
    assert drop_expired(stored.store, stored.infos.get, start_of(MONTH + 3, "month")) == 0
    stored.check()
    assert drop_expired(stored.store, stored.infos.get, start_of(MONTH + 4, "month")) == 1
    assert stored.files == []


def test_segments_of_deleted_devices_are_dropped_and_those_kept_for_ever_are_not(stored: Stored) -> None:
    stored.add_device(1, "month", None)
    stored.append(month_points(MONTH), 1)
    stored.seal()
    far = start_of(MONTH + 1000, "month")
    assert drop_expired(stored.store, stored.infos.get, far) == 0
    stored.store.apply(100, record_of(2, month_points(MONTH), 1))
    stored.add_device(2, "month", None)
    stored.seal()
    assert len(stored.files) == 2
    del stored.infos[2]
    assert drop_expired(stored.store, stored.infos.get, far) == 1
    assert kept_from(stored.infos[1], far) < start_of(MONTH, "month")
    assert stored.files == stored.live


def test_a_segment_that_a_drop_removed_meanwhile_is_no_error(stored: Stored) -> None:
    stored.add_device(7, "month", 1)
    stored.append(month_points(MONTH))
    stored.seal()
    dead = list(stored.store.view.segments)
    stored.drop(*(start_of(MONTH, "month"), start_of(MONTH + 1, "month")))
    stored.store.remove(dead)
    assert stored.files == []
    stored.check()
