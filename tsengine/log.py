"""The log as the engine sees it, and the one that keeps it in files.

Everything that changes a store is a record of the log. `Log` is narrow on purpose: nothing above it knows of files, so
a replicated log can take the place of `LocalLog`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import msgspec

from tsengine.clock import ManualClock, SystemClock
from tsengine.core.log.wal import Wal
from tsengine.notices import logger

Durability = Literal["sync", "os", "memory"]

Apply = Callable[[int, list[bytes]], None]
"""Called with the sequence of the first record and the records of one group, in order, by one thread at a time.

If it raises StorageFullError it is called with the same group again when a writer comes next, before any other; it skips what
it had applied. Any other error fails the log until it is reopened.
"""

Listener = Callable[[int, BaseException | None], None]
"""Called once after each group with the newest applied sequence, and the error if the group failed, on the committing thread."""


class Recovered(msgspec.Struct, frozen=True):
    """What `start` found: records delivered, bytes of an unfinished write cut away, and how long it took, microseconds."""

    records: int = 0
    torn_bytes: int = 0
    duration_us: int = 0


class Log(Protocol):
    """An ordered list of records, each with a sequence (1, 2, 3 ...), that are durable before they are applied.

    Groups may be of any size, on any thread, and begin again at a smaller sequence after a restart; a record that was
    acknowledged is never left out. Fairness: a writer waits for the running group and its own, no more.
    """

    recovered: Recovered
    """What `start` found."""

    def start(self, applied: int, apply: Apply, *, newest: int = 0, reach: int = 0) -> None:
        """Deliver every record after `applied` to `apply`, then accept appends. Called once.

        Args:
            applied: the smallest sequence that some store has applied; each store skips what it has.
            newest: the largest such sequence. New records come after it even if the log lost its tail in a power cut
                (possible with durability "os" only).
            reach: sequence that the log is known to have held durably; a log that ends before has lost what was acknowledged.

        Raises:
            CorruptionError: an acknowledged record is damaged or missing; nothing was changed on disk.
        """
        ...

    def append(self, record: bytes) -> int:
        """Stage a record and return its sequence. It is durable and applied when `wait` returned for that sequence.

        Pass the returned object itself to `wait` and `is_done`: when a full disk refuses a group, its sequences are given
        to later records, and only the object knows which of both it means.

        Waits as `admit` does when the queue of staged records is full.

        Raises:
            LimitError: the record is above BATCH_BYTES. BusyError, StorageFullError: as `admit`; it is not stored.
            StorageError: the log failed before; reopen the store. ClosedError: it is closed.
        """
        ...

    @property
    def has_room(self) -> bool:
        """Whether `append` would not have to wait."""
        ...

    def admit(self) -> None:
        """Return when the queue of staged records has room.

        Raises:
            BusyError: it had none in the stated time (LocalLog: 10 s). StorageFullError: a store has no room for what is logged.
            StorageError, ClosedError: as `append`.
        """
        ...

    def wait(self, ticket: int) -> None:
        """Return when the record that `append` returned this for is durable (as the durability says) and applied.

        Raises:
            StorageFullError: its group did not fit on the disk; it is not stored, and the log goes on. Or it is logged, and a
                store has no room to apply it: in doubt, the text says so; it is applied when there is room, or at the next open.
            StorageError: the log failed; what was not waited for successfully is in doubt until the store is reopened.
        """
        ...

    def is_done(self, ticket: int) -> bool:
        """Tell whether `wait` would return at once; raises what `wait` would raise. Never blocks."""
        ...

    def nudge(self) -> None:
        """Have everything staged committed soon by a background thread, though nobody waits."""
        ...

    def add_listener(self, listener: Listener) -> None: ...

    def remove_listener(self, listener: Listener) -> None: ...

    def read(self, from_seq: int) -> Iterator[tuple[int, bytes]]:
        """Return the durable records from `from_seq` on, as they are now: (sequence, record).

        Raises:
            NotFoundError: they were trimmed. CorruptionError: damaged. (Both when iterated.)
        """
        ...

    def trim(self, seq: int) -> None:
        """Say that records up to `seq` are not needed any more; their space is freed when it can be."""
        ...

    def close(self) -> None:
        """Commit what is staged and stop. Later calls raise ClosedError."""
        ...

    @property
    def last_seq(self) -> int:
        """The last sequence promised; wait for it to have everything so far durable."""
        ...

    @property
    def durable_seq(self) -> int: ...

    @property
    def applied_seq(self) -> int: ...

    @property
    def size_bytes(self) -> int:
        """Bytes that the log holds on disk."""
        ...

    @property
    def staged_bytes(self) -> int:
        """Bytes of records that no group has taken yet."""
        ...

    @property
    def group_count(self) -> int:
        """Groups taken since the log was started; on average one holds so many records as sequences were promised for each."""
        ...


class LocalLog(Wal):
    """A log in a folder of WAL files.

    Args:
        folder: made if absent; one process at a time (the store's lock file sees to that).
        durability: "sync": acknowledged records survive a power cut. "os": they survive a kill of the process.
            "memory": nothing is written, `read` gives nothing, and close loses the log.
        clock: measures the recovery.
        file_bytes: a file is left when the next frame would pass this.
        queue_bytes, queue_wait_ms: bound of what is staged and not being written yet (one record may pass it), and how long
            a writer waits for room in it before BusyError.

    Durability: `wait` returns after one fdatasync for everything that was staged.
    Cost: an append is one copy and one checksum of the record; a commit one pwrite and one fdatasync for its whole group.

    Example:
        >>> log = LocalLog("wal", durability="memory")
        >>> log.start(0, lambda first_seq, records: print(first_seq, records))
        >>> log.wait(log.append(b"hello"))
        1 [b'hello']
        >>> log.close()
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        durability: Durability = "sync",
        clock: SystemClock | ManualClock | None = None,
        file_bytes: int = 64 * 1024 * 1024,
        queue_bytes: int = 16 * 1024 * 1024,
        queue_wait_ms: int = 10_000,
    ) -> None:
        super().__init__(folder, durability=durability, file_bytes=file_bytes, queue_bytes=queue_bytes, queue_wait_ms=queue_wait_ms)
        self._clock = clock or SystemClock()
        self.recovered = Recovered()

    def start(self, applied: int, apply: Apply, *, newest: int = 0, reach: int = 0) -> None:
        began_us = self._clock.monotonic_us()
        super().start(applied, apply, newest=newest, reach=reach)
        self.recovered = Recovered(self.replayed_count, self.torn_bytes, self._clock.monotonic_us() - began_us)
        if self.torn_bytes:
            logger(__name__).warning("%s: cut off %d bytes of a write that was never acknowledged", self.folder, self.torn_bytes)
