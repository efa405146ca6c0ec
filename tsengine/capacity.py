"""What a device may still take: its window of time, its chunks' and its own limits. Checked before anything is logged."""

from __future__ import annotations

import threading

from tsengine.core import batch
from tsengine.core.calendar import period_of, start_of
from tsengine.errors import InputError, LimitError
from tsengine.limits import REGISTERS_PER_DEVICE
from tsengine.store.columnar import ColumnarStore
from tsengine.store.period import accepted_until, chunk_id, kept_from, window_text
from tsengine.store.registers import Registers
from tsengine.types import DeviceInfo


class DeviceState:
    """What the engine keeps in memory of a device that is written to: next sequence, counts, window.

    `lock` orders the writes of one device: checks, sequence and log order agree. About 1.3 kB a device with its description;
    nothing for each of its series. DEVICES_IN_MEMORY bounds how many there are.

    Attributes:
        next_sequence: of the next point.
        counts: immutable devices: number of the period -> points that are stored or on their way, expired ones included.
        total: points or registers that are stored or on their way, without expired ones.
        staged_seq: log sequence of the newest write; reads wait for it.
        is_stale: a write was not stored, or the device changed: take a new state. Checked with the lock held.
    """

    __slots__ = ("_from_us", "_until_us", "_window_end_us", "counts", "info", "is_stale", "lock", "next_sequence", "staged_seq", "total")

    def __init__(self, info: DeviceInfo) -> None:
        self.info = info
        self.lock = threading.RLock()
        self.counts: dict[int, int] = {}
        self.total = 0
        self.next_sequence = 1
        self.staged_seq = 0
        self.is_stale = False
        self._from_us = self._until_us = self._window_end_us = 0

    def load(self, columnar: ColumnarStore, registers: Registers) -> None:
        """Take counts and next sequence from the stores; nothing of the device may be on its way."""
        number = self.info.number
        if self.info.type == "immutable":
            self.counts = columnar.period_counts(number, self.info.chunk_period)
            self.total = sum(self.counts.values())
            self.next_sequence = max(self.next_sequence, columnar.next_sequence(number))
        else:
            self.total = registers.count(number)
            self.next_sequence = max(self.next_sequence, (registers.max_sequence(number) or 0) + 1)
        self._window_end_us = 0

    def reserve(self, record: bytes, now_us: int) -> dict[int, int]:
        """Count a batch in, or refuse it whole; return what was counted for `release`.

        Raises:
            InputError: a time is outside the device's window. LimitError: a chunk or the device would be too full.
        """
        count = batch.count_of(record)
        if self.info.type == "mutable":
            limit = self.info.point_limit or REGISTERS_PER_DEVICE
            if self.total + count > limit:
                raise LimitError(f"The device has reached the limit of {limit} data registers")
            added: dict[int, int] = {}
        else:
            self._check_window(record, now_us)
            added = batch.period_counts(record, self.info.chunk_period)
            self._check_limits(added, count)
            for number, points in added.items():
                self.counts[number] = self.counts.get(number, 0) + points
        self.total += count
        return added

    def release(self, record: bytes, added: dict[int, int]) -> None:
        """Count a batch out again that was not stored."""
        for number, points in added.items():
            self.counts[number] -= points
        self.total -= batch.count_of(record)

    def _check_window(self, record: bytes, now_us: int) -> None:
        if now_us >= self._window_end_us or now_us < self._window_end_us - 86_400_000_000:
            self._move_window(now_us)
        first_us, last_us = batch.time_bounds_of(record)
        if first_us < self._from_us or last_us > self._until_us:
            raise InputError(window_text(self.info, now_us))

    def _move_window(self, now_us: int) -> None:
        """Set the window of today, and count only the chunks that it holds.

        The others' counts stay: the clock may have jumped, and come back.
        """
        self._from_us = kept_from(self.info, now_us)
        self._until_us = accepted_until(self.info, now_us)
        self._window_end_us = start_of(period_of(now_us, "day") + 1, "day")
        first = period_of(self._from_us, self.info.chunk_period)
        self.total = sum(points for number, points in self.counts.items() if number >= first)

    def _check_limits(self, added: dict[int, int], count: int) -> None:
        limit = self.info.chunk_limit
        if limit is not None:
            for number, points in added.items():
                if self.counts.get(number, 0) + points > limit:
                    name = chunk_id(number, self.info.chunk_period)
                    raise LimitError(f"The chunk {name} has reached the limit of {limit} data registers")
        limit = self.info.point_limit
        if limit is not None and self.total + count > limit:
            raise LimitError(f"The device has reached the limit of {limit} data registers")
