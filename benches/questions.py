"""What is asked of a store that holds the workload, and the answers by numpy alone.

A question names a method of the role STORE and its arguments; `Truth` has the same methods. Every subject answers each question once
and is compared with the truth before any answer is timed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from benches.workload import NUMERIC, UNTIL_US, VARIABLES, month_bounds_us

MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
ALL = (0, UNTIL_US)
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
NEWEST_OF_EACH = 2_000
"""Times of a variable that the truth keeps for pages over all variables."""


class Question(NamedTuple):
    """One question; `goal_ms` is what tsengine has to reach at 36 months."""

    name: str
    goal_ms: float
    method: str
    args: tuple[Any, ...]


def questions(months: int) -> list[Question]:
    middle = month_bounds_us(months // 2)
    year_month = max(months - 24, 0)
    year = (month_bounds_us(year_month)[0], month_bounds_us(year_month + min(12, months))[0])
    gauge = "temperature"
    return [
        Question("avg per hour of a year", 2, "aggregate", (gauge, ["avg"], HOUR_US, *year)),
        Question("min, max, avg, count per day of all months", 1, "aggregate", (gauge, ["min", "max", "avg", "count"], DAY_US, *ALL)),
        Question("count, avg per minute of a month", 0.4, "aggregate", (gauge, ["count", "avg"], MINUTE_US, *middle)),
        Question("sum of one variable", 0.1, "aggregate", (gauge, ["sum"], None, *ALL)),
        Question("sums of nine variables", 0.5, "totals", ()),
        Question("count where value > x", 1.5, "count_above", (gauge, -19.05)),
        Question("raw, 1 day", 0.03, "read", (gauge, middle[0], middle[0] + DAY_US)),
        Question("raw, 30 days", 0.15, "read", (gauge, middle[0], middle[0] + 30 * DAY_US)),
        Question("last value of 10 variables", 0.01, "last", ()),
        Question("newest 100 of all variables", 0.1, "newest", (100, 0)),
        Question("newest 100 after skipping 1,000", 0.3, "newest", (100, 1_000)),
    ]


class Truth:
    """The workload as numpy arrays, answering as a subject does."""

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        times: dict[str, list[np.ndarray]] = {name: [] for name in VARIABLES}
        values: dict[str, list[np.ndarray]] = {name: [] for name in VARIABLES}
        for table in tables:
            code = table.column("variable").combine_chunks().indices.to_numpy()
            time = table.column("time").cast(pa.int64()).to_numpy()
            columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in ("value", "value_bool", "value_text")}
            for number, name in enumerate(VARIABLES):
                rows = np.flatnonzero(code == number)
                times[name].append(time[rows])
                values[name].append(columns[{"door": "value_bool", "mode": "value_text"}.get(name, "value")][rows])
        self.times = {name: np.concatenate(parts) for name, parts in times.items()}
        self.values = {name: np.concatenate(parts) for name, parts in values.items()}
        assert all((np.diff(time) > 0).all() for time in self.times.values())

    def read(self, variable: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.searchsorted(self.times[variable], [start_us, end_us])
        return self.times[variable][low:high].copy(), self.values[variable][low:high].copy()

    def aggregate(self, variable: str, functions: list[str], every_us: int | None, start_us: int, end_us: int) -> list[Any]:
        times, values = self.read(variable, start_us, end_us)
        _, first = np.unique(times // (every_us or UNTIL_US), return_index=True)
        buckets = np.split(values, first[1:])
        made = {"avg": np.mean, "sum": math.fsum, "count": len, "min": np.min, "max": np.max}
        return [np.array([made[name](bucket) for bucket in buckets]) for name in functions]

    def totals(self) -> dict[str, float]:
        return {name: math.fsum(self.values[name]) for name in NUMERIC}

    def count_above(self, variable: str, bound: float) -> int:
        return int((self.values[variable] > bound).sum())

    def newest(self, limit: int, skip: int) -> list[int]:
        newest = np.sort(np.concatenate([time[-NEWEST_OF_EACH:] for time in self.times.values()]))[::-1]
        return newest[skip : skip + limit].tolist()

    def last(self) -> dict[str, Any]:
        return {name: self.values[name][-1] for name in VARIABLES}


def check(found: Any, expected: Any) -> None:
    """Compare an answer with the truth: times, raw values, counts and texts exactly, means and sums to 9 digits."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == value or math.isclose(found[name], value, rel_tol=1e-9), (name, found[name], value)
    elif isinstance(expected, tuple):
        for found_column, column in zip(found, expected, strict=True):
            np.testing.assert_array_equal(found_column, column)
    elif isinstance(expected, list) and isinstance(expected[0], int):
        assert [time if isinstance(time, int) else (time - EPOCH) // MICROSECOND for time in found] == expected
    elif isinstance(expected, list):
        for found_column, column in zip(found, expected, strict=True):
            np.testing.assert_allclose(np.asarray(found_column, np.float64), column, rtol=1e-9)
    else:
        assert found == expected, (found, expected)
