"""A thread that does one kind of background work whenever it is woken, and now and then on its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tsengine.errors import TsengineError
from tsengine.notices import logger

RETRY_S = 1.0
"""Pause after work failed (a full disk, for example) before it is tried again, seconds."""


class Worker:
    """Args:
    name: of the thread.
    work: called once for each wake-up (several may fall together); must not block for ever.
    interval_s: also called this often without a wake-up.
    """

    def __init__(self, name: str, work: Callable[[], object], *, interval_s: float) -> None:
        self._work = work
        self._interval_s = interval_s
        self._condition = threading.Condition()
        self._is_woken = False
        self._is_stopped = False
        self.error: TsengineError | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have the work done soon."""
        with self._condition:
            self._is_woken = True
            self._condition.notify()

    def stop(self) -> None:
        """Let the running work end, and return when the thread has."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._await():
            try:
                self._work()
                self.error = None
            except TsengineError as error:
                if self.error is None:
                    logger(__name__).error("%s: %s", self._thread.name, error)
                self.error = error
            except Exception as error:  # a fault of ours: say so with its traceback, and go on
                if self.error is None:
                    logger(__name__).exception("%s failed", self._thread.name)
                self.error = TsengineError(f"{self._thread.name} failed: {error!r}; please report this")

    def _await(self) -> bool:
        """Sleep until there is work; return False when the thread is to end."""
        with self._condition:
            if self.error is not None:
                self._condition.wait_for(lambda: self._is_stopped, timeout=RETRY_S)
            else:
                self._condition.wait_for(lambda: self._is_stopped or self._is_woken, timeout=self._interval_s)
            self._is_woken = False
            return not self._is_stopped
