"""Points chosen for a chart are stored ones, and those that the method means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tsengine
from tests.device.query_model import DAY_US, NOW_US, stored
from tests.strategies import QUICK
from tsengine import ManualClock


@given(st.integers(1, 400), st.integers(2, 60), st.sampled_from(["lttb", "minmax"]), st.integers(0, 2**32), st.booleans())
@QUICK
def test_downsampled_points_are_stored_ones(
    tmp_path_factory: pytest.TempPathFactory, count: int, points: int, method: str, seed: int, seal: bool
) -> None:
    generator = np.random.default_rng(seed)
    times = NOW_US - DAY_US + np.sort(generator.integers(0, 1000, count))
    numbers = np.round(generator.normal(0, 1, count), 2)
    with stored(tmp_path_factory.mktemp("db"), []) as (device, _):
        device.append_columns("t", times, numbers)
        if seal:
            device._engine.seal()
        found_times, found = device.downsample("t", points=points, method=method)  # type: ignore[arg-type]
        assert len(found) <= max(points, 2)
        assert set(zip(found_times.tolist(), found.tolist(), strict=True)) <= set(zip(times.tolist(), numbers.tolist(), strict=True))
        assert (np.diff(found_times) >= 0).all()
        if count <= points:
            assert found.tolist() == numbers.tolist()
        elif method == "minmax":
            assert (found.min(), found.max()) == (numbers.min(), numbers.max())
        elif points > 1:
            assert (found_times[0], found_times[-1], len(found)) == (times[0], times[-1], points)


def test_lttb_is_that_of_its_author() -> None:
    """The plainest reading of Steinarsson's thesis, bucket by bucket."""
    from tsengine.query.downsample import lttb

    generator = np.random.default_rng(5)
    times, y = np.cumsum(generator.integers(1, 50, 500)), generator.normal(0, 1, 500)
    x = (times - times[0]).astype(float)
    edges = [1 + part * 498 // 38 for part in range(39)]
    chosen = [0]
    for low, high, after in zip(edges, edges[1:], [*edges[2:], 500], strict=False):
        mean_x, mean_y = (x[high:after].mean(), y[high:after].mean()) if high < 499 else (x[-1], y[-1])
        a = chosen[-1]
        areas = [abs((x[a] - mean_x) * (y[i] - y[a]) - (x[a] - x[i]) * (mean_y - y[a])) for i in range(low, high)]
        chosen.append(low + areas.index(max(areas)))
    assert lttb(times, y, 40).tolist() == [*chosen, 499]


def test_lttb_of_many_points_looks_at_extremes(tmp_path: Path) -> None:
    from tsengine.query.downsample import CANDIDATES, lttb, minmax

    random = np.random.default_rng(3)
    times = NOW_US - 50_000 * 60_000_000 + np.arange(50_000) * 60_000_000
    column = np.round(np.cumsum(random.normal(0, 1, 50_000)), 2)
    with tsengine.open(tmp_path / "db", clock=ManualClock(NOW_US)) as db:
        device = db.create_device("bench")
        device.append_columns("t", times, column)
        db.seal()
        for points in (3, 100, 1000):
            candidates = np.unique([0, *minmax(times, column, CANDIDATES * points), len(times) - 1])
            chosen = candidates[lttb(times[candidates], column[candidates], points)]
            found_times, found = device.downsample("t", points=points)
            assert found_times.tolist() == times[chosen].tolist() and found.tolist() == column[chosen].tolist()
