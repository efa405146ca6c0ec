"""Which segments hold nothing but expired or deleted points, and whether the clock may be trusted to drop them.

Reads hide expired points by the wall clock at once. Bytes are dropped only while the clock is trusted: the wall clock and
the monotonic clock have to have run side by side for a while, so that a jump of the wall clock (a bad time server, a
wrong set-up) hides points until it is mended but never destroys them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tsengine.limits import CLOCK_TRUST_S
from tsengine.store.columnar import ColumnarStore
from tsengine.store.period import kept_from
from tsengine.store.view import LiveSegment
from tsengine.types import DeviceInfo

DRIFT_US_MAX = 5 * 1_000_000
"""Difference between the clocks' progress that still counts as agreement: five seconds covers a slewed correction."""


class Clock(Protocol):
    def now_us(self) -> int: ...
    def monotonic_us(self) -> int: ...


class TrustedClock:
    """A clock and how long its two hands have run side by side.

    Args:
        trust_s: how long they must have done so, seconds.
    """

    def __init__(self, clock: Clock, trust_s: float = CLOCK_TRUST_S) -> None:
        self._clock = clock
        self._trust_us = round(trust_s * 1_000_000)
        monotonic_us = clock.monotonic_us()
        # (wall clock minus monotonic clock, since when they run so): one object, so that threads see both change together.
        self._agreed = (clock.now_us() - monotonic_us, monotonic_us)

    def now_us(self) -> int | None:
        """Return the wall clock's time if the clocks have agreed for long enough, else None.

        Call it now and then: a jump is noticed at the next call.
        """
        monotonic_us = self._clock.monotonic_us()
        now_us = self._clock.now_us()
        offset_us, since_us = self._agreed
        if abs(now_us - monotonic_us - offset_us) > DRIFT_US_MAX:
            since_us = monotonic_us
            self._agreed = (now_us - monotonic_us, since_us)
        return now_us if monotonic_us - since_us >= self._trust_us else None


def is_dead(live: LiveSegment, device_of: Callable[[int], DeviceInfo | None], now_us: int) -> bool:
    """Whether every device in a segment was deleted or keeps nothing as old as the segment's newest point."""
    entry = live.entry
    devices = live.open().devices() if entry.first_device != entry.last_device else [entry.first_device]
    return all(info is None or info.type != "immutable" or kept_from(info, now_us) > entry.last_us for info in map(device_of, devices))


def drop_expired(store: ColumnarStore, device_of: Callable[[int], DeviceInfo | None], now_us: int) -> int:
    """Remove every segment that holds nothing that is kept; return how many. Durability: committed on return.

    It waits for no merge; one that has such a segment among its own is thrown away.
    """
    dead = []
    for live in store.view.segments:
        with store.sparing_damaged([live]):
            if live.damage is None and is_dead(live, device_of, now_us):
                dead.append(live)
    return store.remove(dead)
