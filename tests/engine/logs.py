"""Logs that are not files: what a replicated log may do to an engine. A test keeps their records across reopens."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

from tsengine.errors import ClosedError, NotFoundError
from tsengine.log import Apply, Listener, Recovered


class Kept:
    """The durable part: what another machine would hold."""

    def __init__(self) -> None:
        self.records: dict[int, bytes] = {}
        self.last_seq = 0

    def copy(self) -> Kept:
        copy = Kept()
        copy.records, copy.last_seq = dict(self.records), self.last_seq
        return copy


class MemoryLog:
    """The simplest log there can be: an append is durable and applied at once, each record a group of its own."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.recovered = Recovered()
        self.applied_seq = 0
        self.is_open = False
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []

    def start(self, applied: int, apply: Apply, *, newest: int = 0, reach: int = 0) -> None:
        self._apply = apply
        self.kept.last_seq = self.applied_seq = max(applied, newest, self.kept.last_seq)
        missing = [seq for seq in sorted(self.kept.records) if seq > self.redelivered_after(applied)]
        for seq in missing:
            apply(seq, [self.kept.records[seq]])
        self.recovered = Recovered(len(missing))
        self.is_open = True

    def redelivered_after(self, applied: int) -> int:
        return applied

    def append(self, record: bytes) -> int:
        with self._lock:
            if not self.is_open:
                raise ClosedError("closed")
            self.kept.last_seq = seq = self.kept.last_seq + 1
            self.kept.records[seq] = record
            self.deliver()
            return seq

    def deliver(self) -> None:
        self._apply(self.kept.last_seq, [self.kept.records[self.kept.last_seq]])
        self.applied_seq = self.kept.last_seq
        for listener in self._listeners:
            listener(self.applied_seq, None)

    @property
    def has_room(self) -> bool:
        return True

    staged_bytes = 0

    @property
    def group_count(self) -> int:
        return len(self.kept.records)

    def admit(self) -> None:
        pass

    def wait(self, ticket: int) -> None:
        assert self.is_done(ticket)

    def is_done(self, ticket: int) -> bool:
        return ticket <= self.applied_seq

    def nudge(self) -> None:
        pass

    def add_listener(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    def read(self, from_seq: int) -> Iterator[tuple[int, bytes]]:
        with self._lock:
            found = [(seq, self.kept.records[seq]) for seq in sorted(self.kept.records) if seq >= from_seq]
            if from_seq <= self.kept.last_seq and (not found or found[0][0] > from_seq):
                raise NotFoundError(f"{from_seq} was trimmed")
        return iter(found)

    def trim(self, seq: int) -> None:
        with self._lock:
            for old in [old for old in self.kept.records if old <= seq]:
                del self.kept.records[old]

    def close(self) -> None:
        self.is_open = False

    @property
    def last_seq(self) -> int:
        return self.kept.last_seq

    @property
    def durable_seq(self) -> int:
        return self.kept.last_seq

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.kept.records.values()))


class RestlessLog(MemoryLog):
    """Delivers late, from a thread of its own, in groups of any size, and again and again what was delivered before.

    Args:
        seed: of its moods.
    """

    def __init__(self, kept: Kept, seed: int) -> None:
        super().__init__(kept)
        self._dice = random.Random(seed)
        self._changed = threading.Condition(self._lock)
        self._wanted_seq = 0
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def redelivered_after(self, applied: int) -> int:
        return max(0, applied - self._dice.randrange(12))

    def start(self, applied: int, apply: Apply, *, newest: int = 0, reach: int = 0) -> None:
        super().start(applied, apply, newest=newest)
        self._thread = threading.Thread(target=self._deliver_some, daemon=True)
        self._thread.start()

    def deliver(self) -> None:
        """Nothing is delivered before somebody asks."""

    def _deliver_some(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted_seq > self.applied_seq or not self.is_open)
                if self._wanted_seq <= self.applied_seq:
                    return
                known = [seq for seq in self.kept.records if seq <= self.applied_seq]
                first = max(min(known, default=self.applied_seq + 1), self.applied_seq + 1 - self._dice.randrange(8))
                last = self._dice.randint(self.applied_seq + 1, self.kept.last_seq)
                group = [self.kept.records[seq] for seq in range(first, last + 1)]
            try:
                self._apply(first, group)
            except BaseException as error:
                self._failure = error
            with self._changed:
                self.applied_seq = last
                self._changed.notify_all()
            for listener in self._listeners:
                listener(last, None)

    def wait(self, ticket: int) -> None:
        with self._changed:
            self._wanted_seq = max(self._wanted_seq, int(ticket))
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.applied_seq >= ticket)
        if self._failure is not None:
            raise self._failure

    def nudge(self) -> None:
        with self._changed:
            self._wanted_seq = max(self._wanted_seq, self.kept.last_seq - self._dice.randrange(3))
            self._changed.notify_all()

    def trim(self, seq: int) -> None:
        super().trim(min(seq, self.applied_seq) - self._dice.randrange(8))

    def close(self) -> None:
        if self.is_open:
            self.wait(self.kept.last_seq)
        with self._changed:
            self.is_open = False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
