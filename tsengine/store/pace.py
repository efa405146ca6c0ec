"""How fast work in the background may go, and the way to end it: it asks for its bytes, and waits for them here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tsengine.clock import ManualClock, SystemClock
from tsengine.errors import ClosedError


class Pace:
    """Args:
    bytes_per_second: on the average of any stretch of work; None = no limit.
    clock: its monotonic hand is read.
    """

    def __init__(self, bytes_per_second: float | None, clock: SystemClock | ManualClock) -> None:
        self.bytes_per_second = bytes_per_second
        self._clock = clock
        self._condition = threading.Condition()
        self._paid_us = clock.monotonic_us()  # when everything asked for so far is paid for
        self._lifted = 0
        self._is_stopped = False

    def spend(self, size_bytes: int) -> None:
        """Return when the work may go on after so many bytes.

        Raises:
            ClosedError: `stop` was called, also while it waited.
        """
        with self._condition:
            if self.bytes_per_second is not None:
                self._condition.wait_for(
                    lambda: self._is_stopped or self._lifted, timeout=min(self.delay_s(size_bytes), threading.TIMEOUT_MAX)
                )
            if self._is_stopped:
                raise ClosedError("the store is being closed; the merge was abandoned and will be done again")

    def delay_s(self, size_bytes: int) -> float:
        """Count bytes in, and return how long they are ahead of the pace, seconds."""
        assert self.bytes_per_second is not None
        now_us = self._clock.monotonic_us()
        # Time that was not used is gone: a pause must not be followed by a burst.
        self._paid_us = max(self._paid_us, now_us) + round(size_bytes / self.bytes_per_second * 1_000_000)
        return (self._paid_us - now_us) / 1_000_000

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Let everybody go on without waiting, also who waits now."""
        with self._condition:
            self._lifted += 1
            self._condition.notify_all()
        try:
            yield
        finally:
            with self._condition:
                self._lifted -= 1
                self._paid_us = self._clock.monotonic_us()

    def stop(self) -> None:
        """Have everybody who waits, or comes later, told to end."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify_all()
