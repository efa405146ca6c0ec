"""The queries as plain Python over a list, and random layouts of stored points to ask both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

import tsengine
from tsengine import ManualClock, Point

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW_US = (datetime(2026, 11, 21, 8, 30, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
FUNCTIONS = ["count", "sum", "avg", "min", "max", "first", "last", "stddev"]

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
