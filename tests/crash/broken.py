"""Ways to break a store on purpose, for the test of the crash suite itself: each is a fault that others were found to have.

They replace a method in the process of the writer and of the reader, never anything in the product.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import tsengine
from tsengine.device import Device
from tsengine.log import LocalLog
from tsengine.store.manifest import Manifest


def without_sync() -> None:
    """What is acknowledged is in the kernel only."""
    make = LocalLog.__init__

    def init(self: LocalLog, folder: Any, **options: Any) -> None:
        make(self, folder, **{**options, "durability": "os"})

    LocalLog.__init__ = init  # type: ignore[method-assign]


def torn_batches() -> None:
    """A batch is two records."""
    whole = Device.append_many

    def halves(self: Device, points: Any, *, sync: bool = True) -> int:
        points = list(points)
        return sum(whole(self, part, sync=sync) for part in (points[: len(points) // 2], points[len(points) // 2 :]))

    Device.append_many = halves  # type: ignore[method-assign]


def ignored_error() -> None:
    """A write that failed is taken for one that did not."""
    wait = LocalLog.wait

    def careless(self: LocalLog, ticket: int) -> None:
        try:
            wait(self, ticket)
        except tsengine.StorageError:
            pass

    LocalLog.wait = careless  # type: ignore[method-assign]


def dropped_tail() -> None:
    """Recovery gives up the last record."""
    start = LocalLog.start

    def forgetful(self: LocalLog, applied: int, apply: Callable[[int, list[bytes]], None], *, newest: int = 0, reach: int = 0) -> None:
        held: list[tuple[int, bytes]] = []

        def late(first_seq: int, records: list[bytes]) -> None:
            held.extend(enumerate(records, first_seq))
            while len(held) > 1:
                seq, record = held.pop(0)
                apply(seq, [record])

        start(self, applied, lambda seq, records: late(seq, records) if not is_started else apply(seq, records), newest=newest, reach=reach)
        is_started.append(True)

    is_started: list[bool] = []
    LocalLog.start = forgetful  # type: ignore[method-assign]


def forgotten_delete() -> None:
    """Tombstones are only in memory."""
    commit = Manifest.commit

    def partial(self: Manifest, **changes: Any) -> None:
        commit(self, **{**changes, "tombstones_add": ()})

    Manifest.commit = partial  # type: ignore[method-assign]


def wrong_order() -> None:
    """Points come as they were written, not by time."""
    points = Device.points

    def unsorted(self: Device, **options: Any) -> Any:
        return sorted(points(self, **options), key=lambda point: point.id)

    Device.points = unsorted  # type: ignore[method-assign,assignment]


def untold_error() -> None:
    """An error that nobody promised."""

    def fail(self: tsengine.Engine) -> None:
        raise KeyError("segment")

    tsengine.Engine.seal = fail  # type: ignore[method-assign]


def endless_wait() -> None:
    """A seal that waits for what never comes."""

    def hang(self: tsengine.Engine) -> None:
        threading.Event().wait()

    tsengine.Engine.seal = hang  # type: ignore[method-assign]


WAYS: dict[str, Callable[[], None]] = {
    way.__name__: way
    for way in (
        without_sync, torn_batches, ignored_error, dropped_tail, forgotten_delete, wrong_order, untold_error, endless_wait,
    )
}  # fmt: skip
