"""The newest and oldest point of each variable, kept as long as nothing of the device changed.

An entry is good for one view of the store (segments, memtables, tombstones; known by its number, so that none is kept alive),
one next sequence of the device and one bound of retention. A reader takes these three before it looks for the points: what it
keeps is then never older than what they stand for.
"""

from __future__ import annotations

import threading
from copy import copy, deepcopy

import msgspec

from tsengine.types import Point

POINTS_KEPT_MAX = 65_536
"""Points kept, all devices together: about 30 MB."""


class Entry(msgspec.Struct, frozen=True):
    version: tuple[int, int | None]
    kept_from_us: int
    points: dict[str, Point | None]  # None: looked for and not found
    is_complete: bool  # every variable of the device is in it, sorted

    def is_good(self, version: tuple[int, int | None], kept_from_us: int) -> bool:
        return self.version == version and self.kept_from_us == kept_from_us


class Newest:
    """Entries by (device, oldest instead of newest); the entries added first go first."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, bool], Entry] = {}
        self._count = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[int, bool]) -> Entry | None:
        return self._entries.get(key)

    def put(self, key: tuple[int, bool], entry: Entry) -> None:
        with self._lock:
            self._drop(key)
            if len(entry.points) > POINTS_KEPT_MAX:
                return
            while self._count + len(entry.points) > POINTS_KEPT_MAX:
                self._drop(next(iter(self._entries)))
            self._entries[key] = entry
            self._count += len(entry.points)

    def _drop(self, key: tuple[int, bool]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._count -= len(entry.points)


def copied(point: Point) -> Point:
    """Return a point that its receiver may change."""
    twin = copy(point)
    if twin.metadata is not None:
        twin.metadata = deepcopy(twin.metadata)
    return twin
