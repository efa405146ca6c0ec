"""The clock that the engine reads, so that tests can move it. All times are int64 microseconds since 1970, UTC."""

import time


class SystemClock:
    """The machine's wall clock and its monotonic twin."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000


class ManualClock:
    """A clock that stands still until it is moved. For tests.

    Example:
        >>> clock = ManualClock(1_000_000)
        >>> clock.advance(seconds=2)
        >>> clock.now_us()
        3000000
    """

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us
        self._monotonic_us = 0

    def now_us(self) -> int:
        return self._now_us

    def monotonic_us(self) -> int:
        return self._monotonic_us

    def advance(self, *, seconds: float) -> None:
        """Move both clocks, as time passing does."""
        self._now_us += round(seconds * 1_000_000)
        self._monotonic_us += round(seconds * 1_000_000)

    def jump(self, *, seconds: float) -> None:
        """Move the wall clock alone, as an administrator or a bad time server does."""
        self._now_us += round(seconds * 1_000_000)
