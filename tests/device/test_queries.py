"""Points, counts, arrays and tables against a plain Python model, over random layouts: memtable, segments, compacted, mixed, deleted."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tsengine
from tests.device.query_model import (
    DAY_US,
    EPOCH,
    FUNCTIONS,
    HOUR_US,
    NOW_US,
    as_list,
    bounds,
    conditions,
    equal,
    same,
    seen,
    steps,
    stored,
    told,
    wheres,
)
from tests.strategies import QUICK
from tsengine import InputError, ManualClock


@given(steps, st.sampled_from(["immutable", "mutable"]), st.sampled_from([None, "a", ["c", "b"], "unknown"]), bounds, bounds, conditions)
@QUICK
def test_points_counts_and_ends_are_those_of_the_model(
    tmp_path_factory: pytest.TempPathFactory,
    layout: list[Any],
    type: str,
    variables: Any,
    start: int | None,
    end: int | None,
    conditions: Any,
) -> None:
    with stored(tmp_path_factory.mktemp("db"), layout, type) as (device, model):
        expected = model.select(variables, start, end, conditions)
        arguments: dict[str, Any] = {"start": start, "end": end, **conditions}
        assert [seen(point) for point in device.points(variables, limit=None, order="asc", **arguments)] == [
            told(item) for item in expected
        ]
        assert [seen(point) for point in device.points(variables, limit=9, skip=3, **arguments)] == [
            told(item) for item in expected[::-1][3:12]
        ]
        assert [seen(point) for point in device.points(variables, limit=9, skip=3, order="asc", **arguments)] == [
            told(item) for item in expected[3:12]
        ]
        assert device.count(variables, **arguments) == len(expected)
        names = sorted({item["variable"] for item in expected}) if variables is None else as_list(variables)
        newest = {item["variable"]: told(item) for item in expected}
        oldest = {item["variable"]: told(item) for item in expected[::-1]}
        for _ in range(2):  # the second time from memory
            assert [seen(point) for point in device.last(variables, **arguments)] == [newest[name] for name in names if name in newest]
            assert [seen(point) for point in device.first(variables, **arguments)] == [oldest[name] for name in names if name in oldest]
        table = device.scan(variables, **arguments).read_all()
        rows = sorted(zip(*(table.column(name).to_pylist() for name in ("variable", "time", "id")), strict=True))
        assert [(time - EPOCH) // timedelta(microseconds=1) for _, time, _ in rows] == [
            item["time"] for item in sorted(expected, key=lambda item: item["variable"])
        ]


@given(steps, bounds, bounds, wheres)
@QUICK
def test_arrays_and_tables_are_those_of_the_model(
    tmp_path_factory: pytest.TempPathFactory, layout: list[Any], start: int | None, end: int | None, where: Any
) -> None:
    with stored(tmp_path_factory.mktemp("db"), layout) as (device, model):
        expected = model.select("a", start, end, {"where": where})
        times, found = device.read("a", start, end, where=where)
        assert times.tolist() == [item["time"] for item in expected]
        if found.dtype == object:
            assert [same(value) for value in found.tolist()] == [same(item["value"]) for item in expected]
        else:
            assert all(equal(value, item["value"]) for value, item in zip(found.tolist(), expected, strict=True))
        table = device.scan("a", start, end, columns=["time", "value", "value_int", "value_bool", "value_text"], where=where).read_all()
        table = table.take(pa.array(np.argsort(table.column("time").cast(pa.int64()).to_numpy(), kind="stable")))
        kinds = {"value": float, "value_int": int, "value_bool": bool, "value_text": str}
        for name, kind in kinds.items():
            if name != "value":
                exact = [value for value in table.column(name).to_pylist() if value is not None]
                assert sorted(map(same, exact)) == sorted(same(item["value"]) for item in expected if type(item["value"]) is kind)


def test_a_nan_outside_the_bounds_is_no_more_than_any_other_point(tmp_path: Any) -> None:
    points = [{"variable": "a", "value": math.nan, "time": NOW_US}, {"variable": "a", "value": 1.0, "time": NOW_US - 1}]
    with stored(tmp_path, [points]) as (device, _):
        assert device.read("a", end=NOW_US - 1, where={})[0].tolist() == [NOW_US - 1]


@pytest.mark.parametrize("digits", [0, 1, 3, 14, None])
def test_counts_at_and_beside_stored_values(tmp_path: Any, digits: int | None) -> None:
    """Decimals are compared as integers: a bound one unit in the last place off a value has to tell."""
    generator = np.random.default_rng(digits)
    numbers = generator.normal(0, 0.5 if digits == 14 else 3, 5_000)
    numbers = numbers if digits is None else np.round(numbers, digits)
    with stored(tmp_path, []) as (device, _):
        device.append_columns("t", NOW_US - np.arange(5_000) * 1_000_000, numbers)
        device._engine.seal()
        for at in generator.choice(numbers, 60):
            for bound in (float(at), math.nextafter(at, math.inf), math.nextafter(at, -math.inf), at + 0.05):
                tests = {
                    "gt": numbers > bound,
                    "gte": numbers >= bound,
                    "lt": numbers < bound,
                    "lte": numbers <= bound,
                    "eq": numbers == bound,
                }
                for operator, meeting in tests.items():
                    expected = int(meeting.sum())
                    assert device.count("t", where={operator: bound}) == expected
                    assert sum(device.aggregate("t", "count", where={operator: bound}).column("count").to_pylist()) == expected
        assert device.count("t", where={"gt": -math.inf, "lte": math.inf}) == 5_000
        assert device.count("t", where={"gt": math.inf}) == device.count("t", where={"lt": -math.inf}) == 0


def test_a_device_is_an_arrow_stream(tmp_path: Any) -> None:
    with stored(tmp_path, [[{"variable": "a", "value": 1.5, "time": NOW_US}, {"variable": "b", "value": 2**60 + 1, "time": NOW_US}]]) as (
        device,
        _,
    ):
        table = pa.table(device)
        assert table.column("value").to_pylist() == [1.5, float(2**60)]
        assert table.column("value_int").to_pylist() == [None, 2**60 + 1]
        assert pa.table(device.scan("b")).column("value").to_pylist() == [2**60 + 1]


def test_integers_beside_floats_survive_the_way_through_arrow(tmp_path: Any) -> None:
    items = [{"variable": "a", "value": value, "time": NOW_US + i} for i, value in enumerate([1.5, 2**60 + 1, 3, 4.0, True, "x", None])]
    with stored(tmp_path / "one", [items]) as (device, _), stored(tmp_path / "two", []) as (other, _):
        assert other.append_arrow(device) == 7
        assert [same(point.value) for point in other.points(order="asc")] == [same(item["value"]) for item in items]
        with pytest.raises(InputError, match="value_int"):
            other.append_arrow(pa.table({"variable": ["a"], "time": [NOW_US], "value_int": [1.5]}))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda d: d.aggregate("t", "median"), "unknown function 'median'.*avg"),
        (lambda d: d.aggregate("t", []), "functions is empty"),
        (lambda d: d.aggregate("t", "avg", "1 fortnight"), "every must be"),
        (lambda d: d.aggregate("t", "avg", "0m"), "every must be"),
        (lambda d: d.aggregate("t", "avg", 60), "every must be"),
        (lambda d: d.aggregate("t", "avg", "9999999999y"), "longer than all of time"),
        (lambda d: d.aggregate("t", "avg", "1d", tz="Mars/Olympus"), "tz must be the name"),
        (lambda d: d.aggregate("t", "avg", "1d", tz="../etc/passwd"), "tz must be the name"),
        (lambda d: d.aggregate("t", "avg", "1d", tz=5), "tz must be the name"),
        (lambda d: d.aggregate("t", "avg", "1d", fill="next"), "fill must be"),
        (lambda d: d.aggregate("t", "avg", "1d", fill=True), "fill must be"),
        (lambda d: d.points(where={"over": 5}), "unknown comparison 'over'.*gt"),
        (lambda d: d.points(where={"gt": "5"}), "'gt' takes a number"),
        (lambda d: d.points(where={"lt": math.nan}), "'lt' takes a number"),
        (lambda d: d.points(where={"gte": True}), "'gte' takes a number"),
        (lambda d: d.points(where={"in": "abc"}), "'in' takes a list"),
        (lambda d: d.points(where={"eq": None}), "'eq' takes numbers"),
        (lambda d: d.points(where=5), "where must be a dict"),
        (lambda d: d.points(limit="10"), "limit must be a whole number"),
        (lambda d: d.points(skip=-1), "skip must be a whole number"),
        (lambda d: d.points(limit=2.0), "limit must be a whole number"),
        (lambda d: d.points(having="all"), "having must be"),
        (lambda d: d.points(groups=5), "groups must be text or a list"),
        (lambda d: d.points(units=[5]), "units must be text"),
        (lambda d: d.last(by="id"), "by must be"),
        (lambda d: d.downsample("t", method="mean"), "method must be one of lttb, minmax"),
        (lambda d: d.downsample("t", points=1), "points must be a whole number"),
        (lambda d: d.scan(columns=["vale"]), "columns: unknown 'vale'"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Any, call: Any, text: str) -> None:
    with stored(tmp_path, [[{"variable": "t", "value": 1.0, "time": NOW_US}]]) as (device, _), pytest.raises(InputError, match=text):
        call(device)


def test_what_is_not_there_is_empty_and_no_error(tmp_path: Any) -> None:
    with stored(tmp_path, [[{"variable": "t", "value": 1.0, "time": NOW_US}]]) as (device, _):
        for variable, start, end in (("nothing", None, None), ("t", NOW_US + 1, NOW_US), ("t", NOW_US + 1, None), ("Temp!", None, None)):
            assert [len(part) for part in device.read(variable, start, end)] == [0, 0]
            assert device.points(variable, start, end) == []
            assert device.last(variable, start, end) == device.first(variable, start, end) == []
            assert device.count(variable, start, end) == 0
            assert device.aggregate(variable, FUNCTIONS, "1h", start, end).num_rows == 0
            assert device.aggregate(variable, "sum", None, start, end, fill="null").num_rows == 0
            assert device.scan(variable, start, end).read_all().num_rows == 0
            assert [len(part) for part in device.downsample(variable, start, end)] == [0, 0]
        assert device.points(limit=2**70, skip=0)[0].value == 1.0
        assert device.points(limit=1, skip=2**70) == []
        assert device.points(limit=0) == []


@pytest.mark.parametrize("shape", ["decimals", "quarters", "far decimals", "noise", "zeros", "integers"])
def test_comparisons_of_sealed_columns_are_those_of_numpy(tmp_path: Path, shape: str) -> None:
    random = np.random.default_rng(7)
    walk = np.cumsum(random.integers(-8, 9, 5000))
    column = {
        "decimals": walk / 10,
        "quarters": walk * 25 / 100,
        "far decimals": (walk + 2**50) / 1000,
        "noise": random.normal(0, 1, 5000),
        "zeros": np.where(random.random(5000) < 0.5, -0.0, random.normal(0, 1, 5000)),
        "integers": walk,
    }[shape]
    with tsengine.open(tmp_path / "db", clock=ManualClock(NOW_US)) as db:
        device = db.create_device("bench")
        device.append_columns("t", NOW_US - 5000 * 1_000_000 + np.arange(5000) * 1_000_000, column)
        db.seal()
        picked = random.choice(column, 25).tolist()
        bounds = [*picked, *(math.nextafter(float(x), math.inf) for x in picked), 0.0, -0.0, column.min(), column.max(), 1e300, -1e300]
        for bound in map(float, bounds):
            for operator, expected in (("gt", column > bound), ("gte", column >= bound), ("lt", column < bound), ("lte", column <= bound)):
                assert device.count("t", where={operator: bound}) == expected.sum(), (operator, bound)
            found = device.aggregate_arrays("t", "count", where={"gte": bound})
            assert sum(int(part.columns["count"][0][0]) for part in found.values()) == (column >= bound).sum()
        low, high = float(np.min(column)), float(np.max(column))
        for where, expected in (({"gte": low, "lte": high}, len(column)), ({"gt": high, "lt": low}, 0), ({"gte": high, "lte": low}, 0)):
            found = device.aggregate_arrays("t", "count", where=where)
            assert sum(int(part.columns["count"][0].sum()) for part in found.values()) == expected


def test_arrays_of_a_read_stay_what_they_are(tmp_path: Path) -> None:
    times, column = NOW_US - 60_000 * 1_000_000 + np.arange(60_000) * 1_000_000, np.arange(60_000) / 4
    with tsengine.open(tmp_path / "db", clock=ManualClock(NOW_US)) as db:
        device = db.create_device("bench")
        device.append_columns("t", times, column)
        db.seal()
        held = []
        for start in range(0, 30_000, 1000):
            found_times, found = device.read("t", int(times[start]))
            found += 1.0  # it belongs to its reader
            part = found[10_000:20_000]
            held.append((start, found_times[5:], part))
            del found_times, found
            device.read("t")
        for start, found_times, part in held:
            assert (found_times == times[start + 5 :]).all() and (part == column[start + 10_000 : start + 20_000] + 1.0).all()


def test_ends_by_insertion_are_found_wherever_they_lie(tmp_path: Path) -> None:
    with tsengine.open(tmp_path / "db", clock=ManualClock(NOW_US)) as db:
        device = db.create_device("bench")
        device.append_many([{"variable": "a", "value": 1, "time": NOW_US - DAY_US}, {"variable": "b", "value": 2, "time": NOW_US - 5}])
        device.append_many([{"variable": "a", "value": number, "time": NOW_US - number * HOUR_US} for number in range(2, 2000)])
        db.seal()
        device.append_many([{"variable": "a", "value": "late", "time": NOW_US - 3 * HOUR_US, "unit": "C"}] * 2)
        newest, oldest = device.last(by="insert"), device.first(by="insert")
        assert [(point.variable, point.value, point.unit) for point in newest] == [("a", "late", "C"), ("b", 2, None)]
        assert [(point.variable, point.value) for point in oldest] == [("a", 1), ("b", 2)]
        assert newest[0].id == max(point.id for point in device.points("a", limit=None) if point.id is not None)
        (within,) = device.last("a", NOW_US - 10 * HOUR_US, NOW_US - 4 * HOUR_US, by="insert")
        assert within.value == 10
