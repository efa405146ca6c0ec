"""What blocks are skipped for changes no answer: filters by dictionaries and groups, extremes by statistics, over many sealed blocks."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.device.test_queries import HOUR_US, NOW_US, seen, stored, told
from tests.strategies import QUICK
from tsengine.query.downsample import minmax

MODES = ["off", "standby", "heating", "alarm"]
HEX = [f"{1_700_000_000 + i // 3:08x}{i % 5:08x}{i:08x}" for i in range(4000)]
CONDITIONS: list[dict[str, Any]] = [
    {"where": {"eq": "alarm"}},
    {"where": {"ne": "off"}},
    {"where": {"in": ["alarm", "heating", "text 1700 is long enough to be left out of dictionaries"]}},
    {"where": {"eq": "not there"}},
    {"where": {"in": []}},
    {"values": ["alarm", "7"]},
    {"values": "text 3 is long enough to be left out of dictionaries"},
    {"units": "V"},
    {"units": ["A", "not there"]},
    {"units": "not there"},
    {"units": "V", "where": {"eq": "alarm"}},
    {"units": ["V", "A"], "where": {"gt": 40}},
    {"units": "V", "having": "location"},
    {"groups": HEX[100]},
    {"groups": HEX[5:3000:7]},
    {"groups": ["a text", HEX[2000]]},
    {"groups": [HEX[0].upper(), "0" * 24, "f" * 24, ""]},
    {"groups": HEX[1500:1503], "units": "A"},
    {"groups": HEX[10:2000], "where": {"ne": "alarm"}},
]


def rows(seed: int) -> list[dict[str, Any]]:
    """Rows of which blocks have one unit, several or none; texts of few kinds or all different; groups of all forms."""
    rng = random.Random(seed)
    found = []
    for i in range(3600):
        late = rng.random() < 0.002
        time = NOW_US - 20 * HOUR_US + i * 1_000_000 - (HOUR_US if late else 0)
        group = "a text" if 2500 < i < 2600 and i % 2 else HEX[i]
        row: dict[str, Any] = {"variable": "mode", "time": time, "value": MODES[i // 90 % 4 if i < 2400 else 0], "group": group}
        if i % 40 == 0 and i > 1200:
            row["location"] = (1.0, 2.0)
        found.append(row)
        level = {"variable": "level", "time": time, "value": float(i % 50), "group": group}
        if i < 1300 or (i % 3 == 0 and i < 2600):
            level["unit"] = row["unit"] = "V" if i < 1100 or rng.random() < 0.5 else "A"
        found.append(level)
        if i < 2200:
            found.append(
                {"variable": "note", "time": time, "value": f"text {i} is long enough to be left out of dictionaries", "unit": "A"}
            )
    return found


@pytest.mark.parametrize("layout", ["sealed", "compacted", "mixed"])
def test_filters_of_texts_units_and_groups(tmp_path: Any, layout: str) -> None:
    batch = rows(20261121)
    steps: list[Any] = {
        "sealed": [batch, "seal"],
        "compacted": [batch[:3000], "seal", batch[3000:5000], "seal", batch[5000:], "seal", "compact"],
        "mixed": [batch[:4000], "seal", batch[4000:7000], "seal", batch[7000:]],
    }[layout]
    start, end = NOW_US - 20 * HOUR_US + 700_000_000, NOW_US - 20 * HOUR_US + 2_900_000_000
    with stored(tmp_path, steps) as (device, model):
        for conditions in CONDITIONS:
            for low, high in ((None, None), (start, end)):
                expected = model.select(None, low, high, conditions)
                assert device.count(None, low, high, **conditions) == len(expected), conditions
                found = device.points(None, low, high, limit=None, order="asc", **conditions)
                assert sorted(map(seen, found)) == sorted(map(told, expected)), conditions
                newest = device.points(None, low, high, limit=5, **conditions)
                assert [point.time for point in newest] == [point.time for point in found[::-1][:5]], conditions
                for variable in ("mode", "level"):
                    of_one = model.select(variable, low, high, conditions)
                    times, read = device.read(variable, low, high, **conditions)
                    assert times.tolist() == [item["time"] for item in of_one], conditions
                    assert read.tolist() == [item["value"] for item in of_one], conditions


def test_a_group_that_the_store_gave_is_found(tmp_path: Any) -> None:
    """Automatic groups follow from sequences, so no column has them."""
    batch = [{"variable": "a", "time": NOW_US - HOUR_US + i, "value": 1.0} for i in range(1500)]
    with stored(tmp_path, [batch, batch[:10], "seal"]) as (device, _):
        points = device.points("a", limit=None)
        groups = {point.group for point in points}
        assert len(groups) == 2
        for group in groups:
            assert group is not None
            assert device.count(groups=group) == sum(point.group == group for point in points)
            assert len(device.points(groups=[group, HEX[0]], limit=None)) == sum(point.group == group for point in points)


@given(
    st.sampled_from([1, 9, 1024, 1500, 4000, 9000, 12_345]),
    st.sampled_from([2, 3, 4, 7, 16, 40, 500, 6000]),
    st.integers(0, 2**32),
    st.sampled_from(["floats", "steps", "odd", "integers", "booleans", "both"]),
    st.sampled_from(["seal", "mixed", "late", "compact", "memory"]),
    st.booleans(),
)
@QUICK
def test_extremes_are_those_of_all_points(
    tmp_path_factory: pytest.TempPathFactory, count: int, points: int, seed: int, kind: str, layout: str, is_cut: bool
) -> None:
    generator = np.random.default_rng(seed)
    times = NOW_US - 30 * HOUR_US + np.cumsum(generator.integers(0, generator.integers(1, 2000), count) ** 2)
    column: np.ndarray = {
        "floats": np.round(np.cumsum(generator.normal(0, 1, count)), 2),
        "steps": generator.integers(-1, 2, count) * generator.choice([0.0, -0.0, 1.5], count),
        "odd": np.where(generator.random(count) < 0.0005, generator.choice([math.nan, math.inf]), generator.normal(0, 1, count)),
        "integers": generator.integers(-(2**62), 2**62, count) >> generator.integers(0, 62),
        "booleans": generator.random(count) < 0.3,
        "both": generator.normal(0, 1, count),
    }[kind]
    with stored(tmp_path_factory.mktemp("db"), []) as (device, _):
        cuts = [0, count // 3, count * 3 // 5, count]
        if layout == "late":
            device.append_columns("t", times[::2], column[::2])
            device._engine.seal()
            device.append_columns("t", times[1::2], column[1::2])
            device._engine.seal()
        elif layout == "mixed" or layout == "compact":
            for low, high in pairwise(cuts):
                if layout == "compact" or low:
                    device._engine.seal()
                device.append_columns("t", times[low:high], column[low:high])
            if layout == "compact":
                device._engine.seal()
                device._engine.compact()
        else:
            device.append_columns("t", times, column)
        if kind == "both":
            device.append_columns("t", times[:1], np.arange(1))
        if layout == "seal":
            device._engine.seal()
        start, end = (int(times[count // 7]), int(times[count - 1 - count // 9])) if is_cut else (None, None)
        expected_times, expected = device.read("t", start, end)
        if expected.dtype.kind == "f":
            is_number = ~np.isnan(expected)
            expected_times, expected = expected_times[is_number], expected[is_number]
        if len(expected) > points:
            chosen = minmax(expected_times, expected, points)
            expected_times, expected = expected_times[chosen], expected[chosen]
        found_times, found = device.downsample("t", start, end, points, "minmax")
        assert found_times.tolist() == expected_times.tolist()
        assert (found.dtype, found.tobytes()) == (expected.dtype, expected.tobytes())
