"""Aggregates against a plain Python model and numpy: buckets, zones, gaps, sums that cancel."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tsengine
from tests.device.query_model import DAY_US, EPOCH, FUNCTIONS, HOUR_US, NOW_US, bounds, steps, stored, wheres
from tests.strategies import QUICK
from tsengine import ManualClock


def results(items: list[dict[str, Any]], function: str) -> Any:
    """A function over the numbers of some items, exact where it can be."""
    inside = [item["value"] for item in items]
    finite = all(math.isfinite(value) for value in inside)
    match function:
        case "count":
            return len(inside)
        case "min":
            return min(inside)
        case "max":
            return max(inside)
        case "first":
            return inside[0]
        case "last":
            return inside[-1]
    total = sum(map(Fraction, inside)) if finite else sum(float(value) for value in inside)
    if function == "sum":
        return total
    if function == "avg":
        return total / len(inside)
    if len(inside) < 2 or not finite:
        return None
    return math.sqrt(sum((Fraction(value) - total / len(inside)) ** 2 for value in inside) / (len(inside) - 1))


def is_near(found: Any, expected: Any, scale: float) -> bool:
    if expected is None or (isinstance(expected, float) and math.isnan(expected)):
        return found is None or math.isnan(found)
    if isinstance(expected, float) and math.isinf(expected):
        return bool(found == expected)
    return abs(Fraction(found) - Fraction(expected)) <= Fraction(scale) * Fraction(2) ** -48


ZONES = ["UTC", "Europe/Lisbon", "America/Sao_Paulo", "Asia/Kathmandu"]


def bucket_start(time_us: int, every: str, tz: str) -> datetime:
    """The start of a bucket by the calendar, by the plainest reading of the documentation."""
    if every == "1h":
        return EPOCH + timedelta(microseconds=time_us // HOUR_US * HOUR_US)
    local = (EPOCH + timedelta(microseconds=time_us)).astimezone(ZoneInfo(tz))
    day = datetime(local.year, local.month, local.day)
    match every:
        case "1w":
            day -= timedelta(days=day.weekday())
        case "1mo":
            day = day.replace(day=1)
        case "1q":
            day = day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1)
        case "1y":
            day = day.replace(day=1, month=1)
    return day.replace(tzinfo=ZoneInfo(tz)).astimezone(UTC)


@given(
    steps,
    bounds,
    bounds,
    wheres,
    st.sampled_from(["1h", "1d", "1w", "1mo", "1q", "1y", None]),
    st.sampled_from(ZONES),
    st.lists(st.sampled_from(FUNCTIONS), min_size=1, unique=True),
)
@QUICK
def test_aggregates_are_those_of_the_model(
    tmp_path_factory: pytest.TempPathFactory,
    layout: list[Any],
    start: int | None,
    end: int | None,
    where: Any,
    every: str | None,
    tz: str,
    functions: list[str],
) -> None:
    with stored(tmp_path_factory.mktemp("db"), layout) as (device, model):
        table = device.aggregate(["a", "b"], functions, every, start, end, tz=tz, where=where).to_pylist()
        at = 0
        values = [item["value"] for name in ("a", "b") for item in model.select(name, start, end, {"where": where})]
        all_kinds = {type(value) for value in values if isinstance(value, (int, float))}
        for name in ("a", "b"):
            selected = model.select(name, start, end, {"where": where})
            inside = [item for item in selected if isinstance(item["value"], (int, float)) and item["value"] == item["value"]]
            buckets: dict[datetime, list[dict[str, Any]]] = {}
            for item in inside:
                buckets.setdefault(bucket_start(item["time"], every, tz) if every else EPOCH, []).append(item)
            for moment, items in buckets.items():
                row = table[at]
                at += 1
                assert row["variable"] == name
                assert every is None or row["time"] == moment
                scale = max(1.0, sum(abs(float(item["value"])) for item in items if math.isfinite(item["value"])))
                for function in functions:
                    expected, found = results(items, function), row[function]
                    if function in ("min", "max", "first", "last"):
                        assert float(found) == float(expected)
                        assert isinstance(found, float) or found == expected
                        assert float in all_kinds or type(found) is not float  # integers stay exact where there is nothing else
                    elif function == "count":
                        assert found == expected
                    elif scale < 1e15 or function != "stddev":
                        assert is_near(found, expected, scale), (function, found, expected)
        assert at == len(table)


def test_gaps_are_filled_as_asked(tmp_path: Any) -> None:
    with stored(tmp_path, []) as (device, _):
        at = [NOW_US // HOUR_US * HOUR_US + n * HOUR_US for n in range(8)]
        device.append_columns("t", np.array([at[1], at[1] + 1, at[4], at[5]]), np.array([1.0, 3.0, 8.0, 9.0]))

        def filled(fill: Any, function: str = "avg", start: int | None = None, end: int | None = None) -> list[Any]:
            return device.aggregate("t", function, "1h", start, end, fill=fill).column(function).to_pylist()

        assert filled(None) == [2.0, 8.0, 9.0]
        assert filled("null") == [2.0, None, None, 8.0, 9.0]
        assert filled("previous") == [2.0, 2.0, 2.0, 8.0, 9.0]
        assert filled("linear") == [2.0, 4.0, 6.0, 8.0, 9.0]
        assert filled(0) == [2.0, 0.0, 0.0, 8.0, 9.0]
        assert filled(0.5, "sum") == [4.0, 0.5, 0.5, 8.0, 9.0]
        assert filled("null", "count") == [2, 0, 0, 1, 1]
        assert filled("null", "stddev") == [pytest.approx(math.sqrt(2)), None, None, None, None]
        assert filled("null", start=at[0], end=at[6]) == [None, 2.0, None, None, 8.0, 9.0, None]
        assert filled("previous", start=at[0], end=at[6]) == [None, 2.0, 2.0, 2.0, 8.0, 9.0, 9.0]
        assert filled("linear", start=at[0], end=at[6]) == [None, 2.0, 4.0, 6.0, 8.0, 9.0, None]
        assert device.aggregate("t", "avg", "1h", at[0], at[6], fill="null").column("time").to_pylist()[0] == EPOCH + timedelta(
            microseconds=at[0]
        )
        device.append_columns("n", np.array([at[1], at[3]]), np.array([2**60 + 1, 5]))
        assert device.aggregate("n", "max", "1h", fill="previous").column("max").to_pylist() == [2**60 + 1, 2**60 + 1, 5]
        assert device.aggregate("n", "max", "1h", fill=7).column("max").to_pylist() == [2**60 + 1, 7, 5]
        assert device.aggregate("nothing", "avg", "1h", fill="null").num_rows == 0


@pytest.mark.parametrize("tz", ZONES)
def test_days_of_a_zone_have_23_or_25_hours_where_clocks_change(tmp_path: Any, tz: str) -> None:
    with stored(tmp_path, []) as (device, _):
        times = np.arange(datetime(2018, 1, 1), datetime(2019, 1, 1), timedelta(hours=1)).astype("datetime64[us]")
        device.append_columns("t", times, np.ones(len(times)))
        counts = device.aggregate("t", "count", "1d", start=datetime(2018, 1, 5), end=datetime(2018, 12, 25), tz=tz)
        local = [
            moment.astimezone(ZoneInfo(tz)).date()
            for moment in (time.replace(tzinfo=UTC) for time in times.tolist())
            if datetime(2018, 1, 5, tzinfo=UTC) <= moment <= datetime(2018, 12, 25, tzinfo=UTC)
        ]
        expected = [local.count(day) for day in dict.fromkeys(local)]
        assert counts.column("count").to_pylist() == expected
        changes = {"UTC": {24}, "Asia/Kathmandu": {24}}.get(tz, {23, 24, 25})
        assert set(expected[1:-1]) == changes
        assert str(counts.schema.field("time").type) == f"timestamp[us, tz={tz}]"


@pytest.mark.parametrize("scale", [1.0, 1e300, 1e-300])
@pytest.mark.parametrize("every", ["1h", "1d"])
def test_sums_of_cut_blocks_that_cancel(tmp_path: Any, scale: float, every: str) -> None:
    """A block cut in two has one half told by its statistics: not where the other half is huge beside it."""
    numbers = (
        scale * np.concatenate([[1e18, -1e18] * 350, np.linspace(1, 2, 324)])
        if scale < 1e299
        else np.array([1e300, -1e300] * 350 + [1.25] * 324)
    )
    step = 5_000_000 if every == "1h" else 120_000_000
    start = NOW_US // DAY_US * DAY_US - 700 * step
    with stored(tmp_path, []) as (device, model):
        model.append([{"variable": "t", "value": float(n), "time": start + i * step} for i, n in enumerate(numbers)])
        device.append_columns("t", start + np.arange(1_024) * step, numbers)
        device._engine.seal()
        table = device.aggregate("t", ["sum", "min", "max"], every).to_pylist()
        buckets: dict[datetime, list[dict[str, Any]]] = {}
        for item in model.select("t", None, None, {}):
            buckets.setdefault(bucket_start(item["time"], every, "UTC"), []).append(item)
        assert [row["time"] for row in table] == list(buckets)
        for row, items in zip(table, buckets.values(), strict=True):
            inside = [item["value"] for item in items]
            assert row["sum"] == math.fsum(inside)
            assert (row["min"], row["max"]) == (min(inside), max(inside))


def test_buckets_that_cut_blocks_of_decimals_are_those_of_numpy(tmp_path: Path) -> None:
    random = np.random.default_rng(11)
    times = NOW_US // HOUR_US * HOUR_US - 40 * DAY_US + np.arange(60_000) * 50_000_000 + random.integers(0, 9, 60_000) * 1000
    column = np.cumsum(random.integers(-8, 9, 60_000)) / 10
    with tsengine.open(tmp_path / "db", clock=ManualClock(NOW_US)) as db:
        device = db.create_device("bench", chunk_limit=None, point_limit=None)
        device.append_columns("t", times, column)
        db.seal()
        for every, width in (("1d", DAY_US), ("1h", HOUR_US), ("7h", 7 * HOUR_US), ("1m", 60_000_000)):
            part = device.aggregate_arrays("t", ["min", "max", "sum", "count", "first", "last"], every)["t"]
            edges = np.flatnonzero(np.diff(times // width, prepend=-1))
            assert part.starts.tolist() == (times[edges] // width * width).tolist()
            assert part.columns["min"][0].tolist() == np.minimum.reduceat(column, edges).tolist()
            assert part.columns["max"][0].tolist() == np.maximum.reduceat(column, edges).tolist()
            assert part.columns["count"][0].tolist() == np.diff(np.append(edges, len(times))).tolist()
            assert part.columns["sum"][0].tolist() == [math.fsum(values) for values in np.split(column, edges[1:])]
            assert part.columns["first"][0].tolist() == column[edges].tolist()
            assert part.columns["last"][0].tolist() == column[np.append(edges[1:], len(times)) - 1].tolist()
            alone = device.aggregate_arrays("t", ["min", "max", "avg", "count"], every)["t"]
            assert alone.columns["min"][0].tolist() == part.columns["min"][0].tolist()
            assert alone.columns["max"][0].tolist() == part.columns["max"][0].tolist()
            assert (alone.columns["avg"][0] * alone.columns["count"][0]).tolist() == pytest.approx(part.columns["sum"][0].tolist())
