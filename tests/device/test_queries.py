"""Every query function against a plain Python model, over random layouts: memtable, overlapping segments, compacted, mixed, deleted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tsengine
from tests.strategies import QUICK
from tsengine import InputError, ManualClock, Point

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW_US = (datetime(2026, 11, 21, 8, 30, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US

numbers = st.one_of(
    st.integers(-300, 300).map(lambda n: n / 10), st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 0.1, 1e17, math.pi])
)
integers = st.one_of(st.integers(-20, 20), st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1]))
values = st.one_of(numbers, integers, st.booleans(), st.sampled_from(["on", "off", "", "2", "true"]), st.none())
items = st.fixed_dictionaries(
    {
        "variable": st.sampled_from(["a", "b", "c"]),
        "value": values,
        "time": st.one_of(
            st.integers(0, 30).map(lambda n: NOW_US - n * HOUR_US), st.integers(-80 * DAY_US, DAY_US).map(lambda n: NOW_US + n)
        ),
    },
    optional={
        "unit": st.sampled_from(["C", "F"]),
        "group": st.sampled_from(["g", "0123456789abcdef01234567"]),
        "location": st.just((1.0, 2.0)),
    },
)
runs = st.builds(
    lambda count, start, step, value, kind: [
        {"variable": "a", "value": kind(value + i % 7), "time": NOW_US - start * HOUR_US + i * step} for i in range(count)
    ],
    st.sampled_from([3, 700, 1500]),
    st.integers(1, 900),
    st.sampled_from([0, 1, 40_000_000]),
    st.integers(0, 50),
    st.sampled_from([float, int, bool]),
)
steps = st.lists(
    st.one_of(
        st.lists(items, min_size=1, max_size=15),
        runs,
        st.sampled_from(["seal", "compact", "reopen", "delete"]),
    ),
    min_size=1,
    max_size=7,
)
bounds = st.one_of(
    st.none(), st.integers(-80, 2).map(lambda days: NOW_US + days * DAY_US), st.integers(0, 30).map(lambda n: NOW_US - n * HOUR_US)
)
wheres = st.one_of(
    st.none(),
    st.dictionaries(
        st.sampled_from(["gt", "gte", "lt", "lte"]), st.one_of(st.integers(-5, 30), numbers.filter(lambda x: x == x), integers), max_size=2
    ),
    st.fixed_dictionaries({"eq": values.filter(lambda x: x is not None)}),
    st.fixed_dictionaries({"ne": values.filter(lambda x: x is not None)}),
    st.fixed_dictionaries({"in": st.lists(values.filter(lambda x: x is not None), max_size=4)}),
)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "where": wheres,
        "groups": st.sampled_from(["g", ["0123456789abcdef01234567", "x"]]),
        "units": st.sampled_from(["C", ["F", "K"]]),
        "values": st.sampled_from(["2", ["true", "NaN"], ["on", "0.1", "-0"], "Infinity"]),
        "having": st.sampled_from(["value", "location", None]),
    },
)


def text_of(value: Any) -> str:
    """JavaScript's text of the values that this file makes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return str(int(value)) if value == int(value) else repr(value)
    return str(value)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def equal(value: Any, wanted: Any) -> bool:
    if is_number(value) and is_number(wanted):
        return value == wanted or (value != value and wanted != wanted)
    return type(value) is type(wanted) and value == wanted


def meets(value: Any, operator: str, operand: Any) -> bool:
    if value is None:
        return False
    match operator:
        case "eq":
            return equal(value, operand)
        case "ne":
            return not (equal(value, operand) and value == value)
        case "in":
            return any(equal(value, wanted) for wanted in operand)
    if not is_number(value):
        return False
    return {"gt": value > operand, "gte": value >= operand, "lt": value < operand, "lte": value <= operand}[operator]


def as_list(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


class Model:
    """The points of a device as a list, in order of insertion."""

    def __init__(self) -> None:
        self.points: list[tuple[int, int, dict[str, Any]]] = []  # (time, order, item)

    def append(self, batch: list[dict[str, Any]]) -> None:
        for item in batch:
            self.points.append((item["time"], len(self.points), item))

    def select(self, variables: Any, start: int | None, end: int | None, conditions: dict[str, Any]) -> list[dict[str, Any]]:
        def is_wanted(time: int, item: dict[str, Any]) -> bool:
            value, where = item["value"], conditions.get("where")
            return (
                (variables is None or item["variable"] in as_list(variables))
                and (start is None or time >= start)
                and (end is None or time <= end)
                and ("groups" not in conditions or item.get("group") in as_list(conditions["groups"]))
                and ("units" not in conditions or item.get("unit") in as_list(conditions["units"]))
                and ("values" not in conditions or (value is not None and text_of(value) in as_list(conditions["values"])))
                and (conditions.get("having") != "value" or value is not None)
                and (conditions.get("having") != "location" or "location" in item)
                and (where is None or (value is not None and all(meets(value, *test) for test in where.items())))
            )

        return [item for time, _, item in sorted(self.points, key=lambda point: point[:2]) if is_wanted(time, item)]


@contextmanager
def stored(folder: Any, layout: list[Any], type: str = "immutable") -> Iterator[tuple[tsengine.Device, Model]]:
    """A device laid out by some steps, and its model."""
    clock, model = ManualClock(NOW_US), Model()
    db = tsengine.open(folder, durability="os", clock=clock)
    device = db.create_device("device", type=type, chunk_limit=None)
    try:
        for step in layout:
            if isinstance(step, list):
                device.append_many([dict(item) for item in step])
                model.append(step)
            elif step == "seal":
                db.seal()
            elif step == "compact":
                db.compact()
            elif step == "reopen":
                db.close()
                db = tsengine.open(folder, durability="os", clock=clock)
                device = db.device(device.id)
            elif step == "delete" and type == "immutable" and device.chunks():
                chunk = device.chunks()[0]
                device.delete_chunk(chunk.id)
                low, high = ((moment - EPOCH) // timedelta(microseconds=1) for moment in (chunk.start, chunk.end))
                model.points = [point for point in model.points if not low <= point[0] <= high]
        yield device, model
    finally:
        db.close()


def same(value: Any) -> Any:
    """A value that compares with its type, and NaN with itself."""
    return type(value).__name__, repr(value)


def seen(point: Point) -> tuple[Any, ...]:
    return (point.time - EPOCH) // timedelta(microseconds=1), point.variable, same(point.value), point.unit


def told(item: dict[str, Any]) -> tuple[Any, ...]:
    return item["time"], item["variable"], same(item["value"]), item.get("unit")


@given(steps, st.sampled_from(["immutable", "mutable"]), st.sampled_from([None, "a", ["c", "b"], "unknown"]), bounds, bounds, conditions)
@QUICK
def test_points_counts_and_ends(
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
def test_arrays_and_tables(
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


FUNCTIONS = ["count", "sum", "avg", "min", "max", "first", "last", "stddev"]
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
def test_aggregates(
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
