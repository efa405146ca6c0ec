"""Point buffers: what results are made from, as rows, pages of rows and arrays."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.store.making import KIND_BOOLEAN, KIND_INTEGER, KIND_NONE, KIND_NUMBER, KIND_TEXT, Fed, exact, ordered, random_points, scan_of
from tsengine.core.store.memtable import Memtable
from tsengine.core.store.points import PointBuffer
from tsengine.rows import Row

DTYPES = {KIND_NONE: object, KIND_NUMBER: np.float64, KIND_INTEGER: np.int64, KIND_BOOLEAN: np.bool_, KIND_TEXT: object}


def collected(kind: int, count: int = 500) -> tuple[PointBuffer, list[Row]]:
    memtable, fed = Memtable(), Fed()
    rows = ordered(fed.feed(memtable, random_points(random.Random(kind), count, kinds=(kind,))))
    return scan_of([(memtable, [])], fed.device, b"t", kind).collect(), rows


@pytest.mark.parametrize("kind", DTYPES)
def test_values_are_new_arrays_of_their_kind(kind: int) -> None:
    buffer, rows = collected(kind)
    assert (len(buffer), buffer.count, buffer.kind) == (500, 500, kind)
    values = buffer.values()
    assert values.dtype == DTYPES[kind]
    assert values.tolist() == [row.value for row in rows]
    times = buffer.times()
    assert times.dtype == np.int64
    assert times.tolist() == [row.time_us for row in rows]
    assert buffer.sequences().dtype == np.uint64
    assert buffer.sequences().tolist() == [row.sequence for row in rows]
    times[:] = 0
    assert buffer.times().tolist() == [row.time_us for row in rows]


@pytest.mark.parametrize("kind", DTYPES)
def test_pages_of_rows_from_both_ends(kind: int) -> None:
    buffer, rows = collected(kind, 50)
    expected = [exact(row) for row in rows]
    for first in (0, 1, 49, 50, 51):
        for count in (None, 0, 1, 7, 100):
            end = None if count is None else first + count
            assert [exact(row) for row in buffer.rows(7, "t", False, first, count)] == expected[first:end]
            assert [exact(row) for row in buffer.rows(7, "t", True, first, count)] == expected[::-1][first:end]


def test_text_codes_lead_to_the_texts() -> None:
    buffer, rows = collected(KIND_TEXT)
    codes, texts = buffer.text_codes()
    assert [texts[code].decode() for code in codes] == [row.value for row in rows]


def test_an_empty_buffer_gives_empty_arrays() -> None:
    buffer = PointBuffer(KIND_NUMBER, 127)
    assert [len(part) for part in (buffer, buffer.times(), buffer.values(), buffer.sequences(), buffer.rows(7, "t"))] == [0] * 5
    assert [len(part) for part in buffer.hex_texts(7, False)] == [1, 0]
