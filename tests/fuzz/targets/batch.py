"""Records of points: decoded to rows, and taken by a memtable, which is read."""

from __future__ import annotations

import random

from tests.store.making import random_points, read_all, record_of
from tsengine.core import batch
from tsengine.core.store.memtable import Memtable

ROWS_MAX = 5_000
"""Columns of one cell make a million rows of a few bytes; so many take seconds to look at."""


def seeds() -> list[bytes]:
    dice = random.Random(1)
    kinds = (range(1), range(3), range(5))
    return [bytes(record_of(7, random_points(dice, count, kinds=tuple(kinds[count % 3])), 1)) for count in (1, 2, 7, 40)]


def run(data: bytes) -> None:
    batch.device_of(data)
    batch.first_sequence_of(data)
    batch.time_bounds_of(data)
    if batch.count_of(data) > ROWS_MAX:
        return
    rows = batch.rows(data)
    batch.period_counts(data, "week")
    memtable = Memtable()
    memtable.apply(data, 1)
    assert memtable.point_count == len(rows)
    for device in memtable.devices():
        assert len(read_all([(memtable, [])], device)) == len(rows)
