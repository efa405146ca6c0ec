"""Which segments hold nothing but expired or deleted points, and whether the clock may be trusted to drop them.

Reads hide expired points by the wall clock at once. Bytes are dropped only while the clock is trusted: the wall clock and
the monotonic clock have to have run side by side for a while, so that a jump of the wall clock (a bad time server, a
wrong set-up) hides points until it is mended but never destroys them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tsengine.store.columnar import ColumnarStore, LiveSegment
from tsengine.store.period import kept_from
from tsengine.types import DeviceInfo

AGREEMENT_US = 10 * 60 * 1_000_000
"""How long both clocks must have agreed before anything expired is dropped: ten minutes."""

DRIFT_US_MAX = 5 * 1_000_000
"""Difference between the clocks' progress that still counts as agreement: five seconds covers a slewed correction."""


class Clock(Protocol):
    def now_us(self) -> int: ...
    def monotonic_us(self) -> int: ...


class TrustedClock:
    """A clock and how long its two hands have run side by side."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_us = clock.monotonic_us()
        self._offset_us = clock.now_us() - self._since_us

    def is_trusted(self) -> bool:
        """Whether the clocks have agreed for AGREEMENT_US; call it now and then, a jump is noticed at the next call."""
        monotonic_us = self._clock.monotonic_us()
        offset_us = self._clock.now_us() - monotonic_us
        if abs(offset_us - self._offset_us) > DRIFT_US_MAX:
            self._offset_us = offset_us
            self._since_us = monotonic_us
        return monotonic_us - self._since_us >= AGREEMENT_US


def is_dead(live: LiveSegment, device_of: Callable[[int], DeviceInfo | None], now_us: int) -> bool:
    """Whether every device in a segment was deleted or keeps nothing as old as the segment's newest point."""
    entry = live.entry
    devices = live.open().devices() if entry.first_device != entry.last_device else [entry.first_device]
    return all(info is None or info.type != "immutable" or kept_from(info, now_us) > entry.last_us for info in map(device_of, devices))


def drop_expired(store: ColumnarStore, device_of: Callable[[int], DeviceInfo | None], now_us: int) -> int:
    """Remove every segment that holds nothing that is kept; return how many. Durability: committed on return."""
    with store.maintenance:
        dead = []
        for live in store.view.segments:
            with store.sparing_damaged([live]):
                if live.damage is None and is_dead(live, device_of, now_us):
                    dead.append(live)
        if dead:
            store.remove(dead)
        return len(dead)
