"""What a device may still take: its window of time, its chunks' and its own limits. Checked before anything is logged."""

from __future__ import annotations

import threading

from tsengine.core import batch
from tsengine.core.calendar import period_of, start_of
from tsengine.core.ingest.table import Table
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
        is_loading: a bulk load has counted in what it is still writing; keep the state.
        is_stale: a write was not stored, or the device changed: take a new state. Checked with the lock held.
    """

    __slots__ = (
        "_from_us",
        "_until_us",
        "_window_end_us",
        "counts",
        "info",
        "is_loading",
        "is_stale",
        "lock",
        "next_sequence",
        "staged_seq",
        "total",
    )

    def __init__(self, info: DeviceInfo) -> None:
        self.info = info
        self.lock = threading.RLock()
        self.counts: dict[int, int] = {}
        self.total = 0
        self.next_sequence = 1
        self.staged_seq = 0
        self.is_loading = False
        self.is_stale = False
        self._from_us = self._until_us = self._window_end_us = 0

    def __enter__(self) -> DeviceState:
        return self  # `Writes.locked_state` has taken the lock

    def __exit__(self, *exc: object) -> None:
        self.lock.release()

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
        if self.info.type == "mutable":
            return self._count_in(batch.count_of(record), {})
        self._check_window(batch.time_bounds_of(record), now_us)
        return self._count_in(batch.count_of(record), batch.period_counts(record, self.info.chunk_period))

    def reserve_part(self, table: Table, part: int, now_us: int) -> tuple[int, str | None]:
        """Count a part of a table in that is to be loaded into segments, or refuse it whole; raises as `reserve`.

        Returns:
            the sequence of its first point, and the chunk period.
        """
        period = self.info.chunk_period
        self._check_window(table.time_bounds(part), now_us)
        self._count_in(table.part_size(part), table.period_counts(part, period))
        first = self.next_sequence
        self.next_sequence += table.part_size(part)
        return first, period

    def _count_in(self, count: int, added: dict[int, int]) -> dict[int, int]:
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

    def _check_window(self, bounds: tuple[int, int], now_us: int) -> None:
        if now_us >= self._window_end_us or now_us < self._window_end_us - 86_400_000_000:
            self._move_window(now_us)
        if bounds[0] < self._from_us or bounds[1] > self._until_us:
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
        if self.info.type == "mutable":
            limit = limit or REGISTERS_PER_DEVICE
        if limit is not None and self.total + count > limit:
            raise LimitError(f"The device has reached the limit of {limit} data registers")
