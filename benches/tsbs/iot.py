"""TSBS "iot": trucks that report readings and diagnostics every ten seconds, some rows missing, some late, and its kinds of queries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from benches.tsbs import DAY_US, HOUR_US, MINUTE_US, START_US, STEP_US, TABLE_ROWS, Asked, rows_of
from benches.workload import walk

READINGS = ["latitude", "longitude", "elevation", "velocity", "heading", "grade", "fuel_consumption"]
DIAGNOSTICS = ["fuel_state", "current_load", "status"]
FLEETS, MODELS = ["East", "West", "North", "South"], ["F-150", "G-2000", "H-2"]
CAPACITIES = {"F-150": (2_000.0, 200.0, 15.0), "G-2000": (5_000.0, 300.0, 19.0), "H-2": (1_500.0, 150.0, 12.0)}
"""Load, fuel and nominal fuel consumption of a model."""

TEN_MINUTES_US = 10 * MINUTE_US
MISSING_SHARE, LATE_SHARE, LATE_STEPS = 0.02, 0.05, 180
FLEET = "South"


class Iot:
    """Trucks by days: `values[field]` is (trucks, steps), NaN where the row never came."""

    tables = {"readings": READINGS, "diagnostics": DIAGNOSTICS}

    def __init__(self, trucks: int, days: int, seed: int = 20261121) -> None:
        random = np.random.default_rng(seed)
        self.count, self.steps, self.days = trucks, days * 8_640, days
        self.end_us = START_US + self.steps * STEP_US
        self.times = START_US + np.arange(self.steps, dtype=np.int64) * STEP_US
        self.values = {name: np.empty((trucks, self.steps)) for name in READINGS + DIAGNOSTICS}
        self.tags: list[dict[str, Any]] = []
        for truck in range(trucks):
            model = MODELS[random.integers(0, 3)]
            load, fuel, nominal = CAPACITIES[model]
            tags = {"name": f"truck_{truck}", "fleet": FLEETS[truck % 4], "driver": f"driver-{random.integers(0, 50)}", "model": model}
            capacities = {"load_capacity": load, "fuel_capacity": fuel, "nominal_fuel_consumption": nominal}
            self.tags.append(tags | {"device_version": f"v{random.integers(1, 3)}.0"} | capacities)
            for name, values in one_truck(random, self.steps, load).items():
                self.values[name][truck] = values
        self.arrival = {}
        for name, fields in self.tables.items():
            late = np.where(random.random((trucks, self.steps)) < LATE_SHARE, random.integers(0, LATE_STEPS, (trucks, self.steps)), 0)
            self.arrival[name] = np.arange(self.steps) + late
            missing = random.random((trucks, self.steps)) < MISSING_SHARE
            for field in fields:
                self.values[field][missing] = np.nan

    def name(self, truck: int) -> str:
        return self.tags[truck]["name"]

    def parts(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield the rows in the order in which they arrive, late ones among later ones."""
        arrived = {}
        for name, fields in self.tables.items():
            truck, step = np.nonzero(~np.isnan(self.values[fields[0]]))
            order = np.argsort(self.arrival[name][truck, step], kind="stable")
            arrived[name] = (truck[order], step[order])
        for low in range(0, self.count * self.steps, TABLE_ROWS):
            for name, (truck, step) in arrived.items():
                rows = slice(low, low + TABLE_ROWS)
                if len(truck[rows]):
                    fields = {field: self.values[field][truck[rows], step[rows]] for field in self.tables[name]}
                    yield name, rows_of(truck[rows], self.times[step[rows]], fields)

    def questions(self) -> list[Asked]:
        end = self.end_us
        return [
            Asked("last-loc", "last_location", (FLEET,)),
            Asked("low-fuel", "low_fuel", (FLEET, 0.1)),
            Asked("high-load", "high_load", (FLEET, 0.9)),
            Asked("stationary-trucks", "stationary", (FLEET, 1.0, end - TEN_MINUTES_US, end)),
            Asked("long-driving-sessions", "long_driving", (FLEET, 1.0, 22, end - 4 * HOUR_US, end)),
            Asked("avg-vs-projected-fuel-consumption", "fuel_by_fleet", (1.0,)),
            Asked("avg-load", "average_load", ()),
            Asked("daily-activity", "daily_activity", ()),
            Asked("breakdown-frequency", "breakdowns", ()),
        ]

    def answer(self, asked: Asked) -> list[Any]:
        return getattr(self, asked.method)(*asked.args)

    def trucks_of(self, fleet: str) -> list[int]:
        return [truck for truck, tags in enumerate(self.tags) if tags["fleet"] == fleet]

    def last_of(self, field: str, truck: int) -> float:
        values = self.values[field][truck]
        return values[~np.isnan(values)][-1]

    def buckets_of(self, values: np.ndarray, start_us: int, end_us: int) -> np.ndarray:
        """Return the means of each ten minutes of one truck; NaN for those without a row."""
        low, high = np.searchsorted(self.times, [start_us, end_us])
        parts = values[low:high].reshape(-1, TEN_MINUTES_US // STEP_US)
        present = ~np.isnan(parts)
        with np.errstate(invalid="ignore"):
            return np.where(present, parts, 0).sum(axis=1) / present.sum(axis=1)

    def last_location(self, fleet: str) -> list[Any]:
        """Truck, latitude and longitude of each truck of a fleet."""
        trucks = self.trucks_of(fleet)
        return [trucks, *([self.last_of(field, truck) for truck in trucks] for field in ("latitude", "longitude"))]

    def low_fuel(self, fleet: str, bound: float) -> list[Any]:
        """Trucks of a fleet whose newest fuel state is below a bound, and that state."""
        found = [(truck, self.last_of("fuel_state", truck)) for truck in self.trucks_of(fleet)]
        return columns_of([pair for pair in found if pair[1] < bound], 2)

    def high_load(self, fleet: str, bound: float) -> list[Any]:
        """Trucks of a fleet whose newest load is above a share of their capacity, and that load."""
        found = [(truck, self.last_of("current_load", truck)) for truck in self.trucks_of(fleet)]
        return columns_of([(truck, load) for truck, load in found if load / self.tags[truck]["load_capacity"] > bound], 2)

    def stationary(self, fleet: str, bound: float, start_us: int, end_us: int) -> list[Any]:
        """Trucks of a fleet that were slower than a bound on average, and that average."""
        low, high = np.searchsorted(self.times, [start_us, end_us])
        found = [(truck, float(np.nanmean(self.values["velocity"][truck, low:high]))) for truck in self.trucks_of(fleet)]
        return columns_of([pair for pair in found if pair[1] < bound], 2)

    def long_driving(self, fleet: str, bound: float, more_than: int, start_us: int, end_us: int) -> list[Any]:
        """Trucks of a fleet that were faster than a bound in more than so many tens of minutes, and how many."""
        found = {truck: self.buckets_of(self.values["velocity"][truck], start_us, end_us) > bound for truck in self.trucks_of(fleet)}
        return columns_of([(truck, fast.sum()) for truck, fast in found.items() if fast.sum() > more_than], 2)

    def fuel_by_fleet(self, bound: float) -> list[Any]:
        """Fleet, mean consumption and mean nominal consumption of the rows of trucks faster than a bound."""
        rows = []
        for fleet in FLEETS:
            moving = [(truck, self.values["velocity"][truck] > bound) for truck in self.trucks_of(fleet)]
            used = np.concatenate([self.values["fuel_consumption"][truck][is_fast] for truck, is_fast in moving])
            nominal = sum(self.tags[truck]["nominal_fuel_consumption"] * is_fast.sum() for truck, is_fast in moving) / len(used)
            rows.append((FLEETS.index(fleet), used.mean(), nominal))
        return columns_of(rows, 3)

    def average_load(self) -> list[Any]:
        """Fleet, model, mean of the trucks' mean loads as shares of their capacity."""
        loads = {truck: np.nanmean(values) / self.tags[truck]["load_capacity"] for truck, values in enumerate(self.values["current_load"])}
        return self.by_fleet_and_model(loads, lambda found: sum(found) / len(found))

    def daily_activity(self) -> list[Any]:
        """Fleet, model, day: tens of minutes whose mean status was below 1, summed over the trucks, as a share of a day."""
        columns: list[list[Any]] = [[], [], [], []]
        for day in range(self.days):
            start_us = START_US + day * DAY_US
            means = [self.buckets_of(values, start_us, start_us + DAY_US) for values in self.values["status"]]
            active = {truck: int((mean < 1).sum()) for truck, mean in enumerate(means)}
            fleets, models, shares = self.by_fleet_and_model(active, lambda found: sum(found) / 144)
            for column, cells in zip(columns, (fleets, models, [start_us] * len(fleets), shares), strict=True):
                column.extend(cells)
        order = np.lexsort((columns[2], columns[1], columns[0]))
        return [np.array(column)[order] for column in columns]

    def breakdowns(self) -> list[Any]:
        """Model and how often a truck broke down: ten minutes of a mean status above 0.5 after ten that were not."""
        found = dict.fromkeys(range(len(MODELS)), 0)
        for truck, values in enumerate(self.values["status"]):
            means = self.buckets_of(values, START_US, self.end_us)
            is_broken = means[~np.isnan(means)] > 0.5
            found[MODELS.index(self.tags[truck]["model"])] += int((is_broken & ~np.append(False, is_broken[:-1])).sum())
        present = sorted({MODELS.index(tags["model"]) for tags in self.tags})
        return [present, [found[model] for model in present]]

    def by_fleet_and_model(self, of_truck: dict[int, Any], combine: Any) -> list[Any]:
        groups: dict[tuple[int, int], list[Any]] = {}
        for truck, value in of_truck.items():
            tags = self.tags[truck]
            groups.setdefault((FLEETS.index(tags["fleet"]), MODELS.index(tags["model"])), []).append(value)
        return columns_of([(*key, combine(groups[key])) for key in sorted(groups)], 3)


def columns_of(rows: list[tuple[Any, ...]], width: int) -> list[Any]:
    return [np.array([row[place] for row in rows], np.float64) for place in range(width)]


def one_truck(random: np.random.Generator, steps: int, load_capacity: float) -> dict[str, np.ndarray]:
    """Return the fields of one truck: drives and stands by turns of ten minutes, breaks down now and then, fuels up when empty."""
    turns = steps // 60
    is_driving = np.repeat(random.random(turns) < random.choice([0.5, 0.9, 0.99]), 60)
    is_broken = np.repeat(random.random(turns) < 0.05, 60)
    velocity = np.where(is_driving, walk(random, steps, 2, 5, 100, 0, 50), 0)
    return {
        "latitude": walk(random, steps, 1e-4, -60, 60, 5, random.uniform(-50, 50)),
        "longitude": walk(random, steps, 1e-4, -170, 170, 5, random.uniform(-160, 160)),
        "elevation": walk(random, steps, 1, 0, 2_000, 0, random.uniform(0, 500)),
        "velocity": velocity,
        "heading": walk(random, steps, 3, 0, 360, 0, 180),
        "grade": walk(random, steps, 1, 0, 100, 0, 10),
        "fuel_consumption": walk(random, steps, 0.5, 0, 50, 1, 20),
        "fuel_state": np.round((random.uniform(0, 1) - np.cumsum(velocity) * 2e-6) % 1, 2),
        "current_load": np.repeat(np.round(random.uniform(0, load_capacity, turns // 6), 0), 360),
        "status": np.where(is_broken, random.integers(1, 6, steps), 0).astype(np.float64),
    }
