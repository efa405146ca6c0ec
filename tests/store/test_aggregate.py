"""Aggregates: buckets over any mixture of sources are those of a plain Python model with exact sums."""

from __future__ import annotations

import math
import random
import struct
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.making import KIND_BOOLEAN, KIND_INTEGER, KIND_NUMBER, Fed, Source, ordered, random_points, scan_of, seal_to, series_of
from tests.strategies import JANUARY_2024_US, QUICK, floats, integers
from tsengine.core.calendar import period_of, start_of
from tsengine.core.store.aggregate import Buckets
from tsengine.core.store.memtable import Memtable
from tsengine.errors import LimitError
from tsengine.rows import Row

DAY_US = 86_400_000_000
SMALLEST = Fraction(2) ** -1074
"""Distance of floats around zero."""

FUNCTIONS = ("count", "sum", "avg", "min", "max", "first", "last", "stddev")


def exact_sum(values: Sequence[float]) -> float | Fraction:
    """The sum without any rounding, or what infinities make of it."""
    infinities = {value for value in values if math.isinf(value)}
    if infinities:
        return infinities.pop() if len(infinities) == 1 else math.nan
    return sum(map(Fraction, values), Fraction(0))


def model(rows: Sequence[Row], edges: Sequence[int], function: str) -> tuple[list[int], list[Any]]:
    starts, results = [], []
    times = [row.time_us for row in rows]
    for low, high in pairwise(edges):
        inside = [row.value for row in rows[bisect_left(times, low) : bisect_left(times, high)]]
        values: list[Any] = [value for value in inside if not (isinstance(value, float) and math.isnan(value))]
        if not values:
            continue
        starts.append(low)
        total = exact_sum(values) if function in ("sum", "avg") else 0
        results.append(
            {
                "count": len(values),
                "sum": total,
                "avg": total / len(values),
                "min": min(values),
                "max": max(values),
                "first": values[0],
                "last": values[-1],
                "stddev": stddev(values),
                "scale": sum(abs(value) for value in values if math.isfinite(value)),
            }[function]
        )
    return starts, results


def stddev(values: Sequence[float]) -> float:
    """Of a sample, in fractions."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return math.nan
    mean = sum(map(Fraction, values), Fraction(0)) / len(values)
    variance = sum(((Fraction(value) - mean) ** 2 for value in values), Fraction(0)) / (len(values) - 1)
    return math.sqrt(variance) if variance < Fraction(2) ** 1023 else math.inf


def is_close(found: float, expected: float | Fraction, scale: float) -> bool:
    if isinstance(expected, float) and not math.isfinite(expected):
        return math.isnan(found) if math.isnan(expected) else found == expected
    # One rounding of the result, and of the second order of the sum's terms: far less than a naive sum's error.
    return (
        abs(Fraction(found) - Fraction(expected))
        <= Fraction(abs(float(expected)) * 2**-52) + Fraction(scale) * Fraction(2) ** -90 + SMALLEST
    )


def result(found: Buckets, function: str) -> tuple[np.ndarray, np.ndarray]:
    """Starts and results of the buckets that hold a value."""
    filled = found.filled()
    numbers = np.arange(len(found.starts())) if filled is None else filled
    return found.starts()[numbers], found.values(function)[numbers]


def aggregated(sources: list[Source], device: int, name: bytes, edges: list[int], fixed_width: int = 0) -> Buckets:
    buckets = (
        Buckets(FUNCTIONS, edges[0], fixed_width, len(edges) - 1) if fixed_width else Buckets(FUNCTIONS, edges=np.array(edges, np.int64))
    )
    kinds = [kind for variable, kind in series_of(sources, device) if variable == name]
    for kind in kinds:
        buckets.add(scan_of(sources, device, name, kind, edges[0], edges[-1] - 1, want="value"), len(kinds) > 1)
    return buckets


def check(sources: list[Source], device: int, rows: list[Row], edges: list[int], fixed_width: int = 0) -> None:
    """Compare every function of the series "t" against the model."""
    rows = ordered(row for row in rows if row.variable == "t")
    found = aggregated(sources, device, b"t", edges, fixed_width)
    scales = model(rows, edges, "scale")[1]
    for function in FUNCTIONS:
        starts, results = model(rows, edges, function)
        times, values = result(found, function)
        assert times.tolist() == starts
        for value, expected, scale in zip(values.tolist(), results, scales, strict=True):
            if function in ("sum", "avg"):
                assert is_close(value, expected, scale), (function, value, expected)
            elif function == "stddev":
                if scale < 1e150:  # squares of more overflow
                    assert (math.isnan(value) and math.isnan(expected)) or value == pytest.approx(expected, rel=1e-9, abs=scale * 1e-12)
            else:
                assert value == float(expected) if isinstance(value, float) else value == expected, function


def in_memory_and_sealed(folder: Path, memtable: Memtable, hidden: list[tuple[int, int]] | None = None) -> list[list[Source]]:
    """The same points as one memtable and as segments."""
    return [[(memtable, hidden or [])], [(segment, hidden or []) for segment in seal_to(folder, memtable, {7: None})]]


def hours(start_us: int, count: int, width_us: int) -> list[int]:
    return [start_us + n * width_us for n in range(count + 1)]


@pytest.mark.parametrize("kind", [KIND_NUMBER, KIND_INTEGER, KIND_BOOLEAN])
@pytest.mark.parametrize("layout", ["memtable", "segments", "overlapping", "mixed"])
@pytest.mark.parametrize("width_us", [600_000_000, 3_600_000_000, DAY_US, 40 * DAY_US])
def test_buckets_of_equal_width(tmp_path: Path, kind: int, layout: str, width_us: int) -> None:
    generator = random.Random(f"{kind} {layout}")
    fed, rows = Fed(), []
    sources: list[Source] = []
    for number in range(4):
        memtable = Memtable()
        start = JANUARY_2024_US + (0 if layout == "overlapping" else number * 2 * DAY_US)
        points = random_points(
            generator, 2500, kinds=(kind,), start_us=start, span_us=2 * DAY_US, late=0.1 if layout == "overlapping" else 0, rich=False
        )
        if kind == KIND_NUMBER:
            points = [{**point, "value": 1.5 if point["value"] == 1e300 else point["value"]} for point in points]
        rows += fed.feed(memtable, points)
        if layout == "memtable" or (layout == "mixed" and number % 2):
            sources.append((memtable, []))
        else:
            sources += [(segment, []) for segment in seal_to(tmp_path, memtable, {7: "day"}, 1 + 10 * number)]
    count = 8 * DAY_US // width_us + 1
    check(sources, fed.device, rows, hours(JANUARY_2024_US, count, width_us), width_us)
    check(sources, fed.device, rows, hours(JANUARY_2024_US + 12_345, count // 2 + 1, width_us), width_us)


@pytest.mark.parametrize("period", ["day", "week", "month", "quarter"])
def test_buckets_of_the_calendar(tmp_path: Path, period: str) -> None:
    fed, memtable, active = Fed(), Memtable(), Memtable()
    rows = fed.feed(memtable, random_points(random.Random(1), 8000, kinds=(KIND_INTEGER,), span_us=100 * DAY_US, rich=False))
    rows += fed.feed(active, random_points(random.Random(2), 2000, kinds=(KIND_INTEGER,), span_us=100 * DAY_US, rich=False))
    sources: list[Source] = [(segment, []) for segment in seal_to(tmp_path, memtable, {7: "week"})] + [(active, [])]
    first = period_of(JANUARY_2024_US, period)
    check(
        sources,
        fed.device,
        rows,
        [start_of(first + n, period) for n in range(period_of(JANUARY_2024_US + 100 * DAY_US, period) - first + 2)],
    )


@given(st.lists(st.tuples(floats, st.integers(0, 50)), min_size=1, max_size=60), st.integers(1, 60))
@QUICK
def test_aggregates_of_any_floats_are_exact(tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[float, int]], width: int) -> None:
    # Sums beyond the largest float are left to their own test: the order of the terms decides what they overflow to.
    cells = [(value if not math.isfinite(value) or abs(value) < 1e300 else math.copysign(1e300, value), time) for value, time in cells]
    fed, memtable = Fed(), Memtable()
    rows = fed.feed(memtable, [{"variable": "t", "value": value, "time": JANUARY_2024_US + time} for value, time in cells])
    edges = hours(JANUARY_2024_US, 50 // width + 1, width)
    check([(memtable, [])], fed.device, rows, edges, width)
    check([(segment, []) for segment in seal_to(tmp_path_factory.mktemp("a"), memtable, {7: None})], fed.device, rows, edges)


@given(st.lists(st.tuples(integers, st.integers(0, 50)), min_size=1, max_size=60), st.integers(1, 60))
@QUICK
def test_aggregates_of_any_integers_are_exact(tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[int, int]], width: int) -> None:
    fed, memtable = Fed(), Memtable()
    rows = fed.feed(memtable, [{"variable": "t", "value": value, "time": JANUARY_2024_US + time} for value, time in cells])
    edges = hours(JANUARY_2024_US, 50 // width + 1, width)
    for some in in_memory_and_sealed(tmp_path_factory.mktemp("a"), memtable):
        check(some, fed.device, rows, edges, width)
        sums = model(ordered(rows), edges, "sum")[1]
        values = result(aggregated(some, fed.device, b"t", edges), "sum")[1]
        fits = all(-(2**63) <= total < 2**63 for total in sums)
        assert values.dtype == (np.int64 if fits else np.float64)
        assert values.tolist() == (sums if fits else [float(total) for total in sums])


def test_integer_sums_beyond_int64(tmp_path: Path) -> None:
    fed, memtable = Fed(), Memtable()
    fed.feed(memtable, [{"variable": "t", "value": 2**63 - 1, "time": JANUARY_2024_US + n} for n in range(3000)])
    for sources in in_memory_and_sealed(tmp_path, memtable):
        found = aggregated(sources, 7, b"t", [JANUARY_2024_US, JANUARY_2024_US + 3000])
        assert result(found, "sum")[1].tolist() == [float(3000 * (2**63 - 1))]
        assert result(found, "max")[1].tolist() == [2**63 - 1]
        assert result(found, "avg")[1].tolist() == [2.0**63]


def test_sums_that_cancel_are_exact(tmp_path: Path) -> None:
    """1e16 + 1 - 1e16 a thousand times: a naive sum says 0."""
    fed, memtable = Fed(), Memtable()
    fed.feed(memtable, [{"variable": "t", "value": (1e16, 1.0, -1e16)[n % 3], "time": JANUARY_2024_US + n} for n in range(3072)])
    for sources in in_memory_and_sealed(tmp_path, memtable):
        assert result(aggregated(sources, 7, b"t", [JANUARY_2024_US, JANUARY_2024_US + 3072]), "sum")[1].tolist() == [1024.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_is_left_out_and_infinity_stays(tmp_path: Path, value: float) -> None:
    fed, memtable = Fed(), Memtable()
    rows = fed.feed(
        memtable,
        [{"variable": "t", "value": value if n in (0, 5, 1500, 2999) else n / 4, "time": JANUARY_2024_US + n} for n in range(3000)],
    )
    edges = [JANUARY_2024_US + n for n in (0, 1, 100, 2000, 2999, 3000)]
    for sources in in_memory_and_sealed(tmp_path, memtable):
        check(sources, 7, rows, edges)


def test_nothing_but_nan_is_no_bucket(tmp_path: Path) -> None:
    fed, memtable = Fed(), Memtable()
    payload = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000123))[0]
    fed.feed(memtable, [{"variable": "t", "value": payload, "time": JANUARY_2024_US + n} for n in range(2000)])
    for sources in in_memory_and_sealed(tmp_path, memtable):
        found = aggregated(sources, 7, b"t", [JANUARY_2024_US, JANUARY_2024_US + 2000])
        assert all(len(part) == 0 for function in FUNCTIONS for part in result(found, function))


def test_kinds_that_mix_are_added_as_floats(tmp_path: Path) -> None:
    fed, memtable = Fed(), Memtable()
    points = [{"variable": "t", "value": (n / 4, n, n % 2 == 0)[n % 3], "time": JANUARY_2024_US + n} for n in range(4000)]
    rows = fed.feed(memtable, points)
    for sources in in_memory_and_sealed(tmp_path, memtable):
        check(sources, 7, rows, hours(JANUARY_2024_US, 4, 1000), 1000)
        assert result(aggregated(sources, 7, b"t", [JANUARY_2024_US, JANUARY_2024_US + 4000]), "min")[1].dtype == np.float64


def test_hidden_points_do_not_count(tmp_path: Path) -> None:
    fed, memtable = Fed(), Memtable()
    rows = fed.feed(memtable, [{"variable": "t", "value": n, "time": JANUARY_2024_US + n} for n in range(5000)])
    hidden = [(JANUARY_2024_US + 1000, JANUARY_2024_US + 2500)]
    rows = [row for row in rows if not hidden[0][0] <= row.time_us <= hidden[0][1]]
    for sources in in_memory_and_sealed(tmp_path, memtable, hidden):
        check(sources, 7, rows, hours(JANUARY_2024_US, 5, 1000), 1000)


def test_too_many_buckets_are_refused() -> None:
    with pytest.raises(LimitError, match="use a larger `every` or a shorter range"):
        Buckets(FUNCTIONS, 0, 1, 4_194_305)


def test_buckets_to_which_nothing_was_added() -> None:
    from tsengine.core.store.cells import FUNCTIONS

    buckets = Buckets(FUNCTIONS, 0, 10, 3)
    assert [len(buckets.values(function)) for function in FUNCTIONS] == [3] * 8
    assert buckets.filled().tolist() == []  # type: ignore[union-attr]
