"""The queries of TSBS through tsengine's own API: a device for each host or truck, a variable for each field, tags kept by the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import tsengine
from benches.tsbs import DAY_US, MINUTE_US
from benches.tsbs.cpu import FIELDS, HIGH
from benches.tsbs.iot import FLEETS, MODELS, columns_of


class Tsbs:
    settings = f"{tsengine.__version__}, durability=sync, memory_mb=256 (the defaults)"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, shape: Any) -> None:
        self.db = tsengine.open(self.folder)
        self.shape = shape
        for number in range(shape.count):
            self.db.create_device(shape.name(number), serial=shape.name(number), chunk_limit=None, point_limit=None)

    def open(self, shape: Any) -> None:
        self.db = tsengine.open(self.folder)
        self.shape = shape
        self.devices = [self.db.device(shape.name(number)) for number in range(shape.count)]

    def close(self) -> None:
        self.db.close()

    def ingest(self, parts: Iterable[tuple[str, pa.Table]]) -> None:
        """A column a field becomes a row a field."""
        names = [self.shape.name(number) for number in range(self.shape.count)]
        for _, rows in parts:
            fields = rows.column_names[2:]
            code = np.repeat(np.arange(len(fields), dtype=np.int32), rows.num_rows)
            table = {
                "device": pa.DictionaryArray.from_arrays(np.tile(rows.column("id").to_numpy(), len(fields)), names),
                "variable": pa.DictionaryArray.from_arrays(code, fields),
                "time": pa.array(np.tile(rows.column("time").to_numpy(), len(fields))).cast(pa.timestamp("us", "UTC")),
                "value": np.concatenate([rows.column(name).to_numpy() for name in fields]),
            }
            self.db.append_arrow(pa.table(table), sync=False)
        self.db.sync()

    def max_by(self, fields: list[str], hosts: list[int], every_us: int, start_us: int, end_us: int) -> list[Any]:
        every = f"{every_us // MINUTE_US}m"
        found = [self.devices[host].aggregate_arrays(fields, "max", every, start_us, end_us - 1) for host in hosts]
        starts = np.unique(np.concatenate([each[fields[0]].starts for each in found]))
        columns = []
        for name in fields:
            greatest = np.full(len(starts), -np.inf)
            for each in found:
                places = np.searchsorted(starts, each[name].starts)
                greatest[places] = np.maximum(greatest[places], each[name].columns["max"][0])
            columns.append(greatest)
        return [starts, *columns]

    def mean_by_host(self, fields: list[str], start_us: int, end_us: int) -> list[Any]:
        found = [device.aggregate_arrays(fields, "avg", "1h", start_us, end_us - 1) for device in self.devices]
        hours = [each[fields[0]].starts for each in found]
        means = (np.concatenate([each[name].columns["avg"][0] for each in found]) for name in fields)
        return [np.repeat(np.arange(len(found)), [len(each) for each in hours]), np.concatenate(hours), *means]

    def high(self, hosts: list[int] | None, start_us: int, end_us: int) -> list[Any]:
        rows = []
        for host in range(self.shape.count) if hosts is None else hosts:
            device = self.devices[host]
            times, values = device.read("usage_user", start_us, end_us - 1, where={"gt": HIGH})
            columns = [np.full(len(times), host), times, values]
            for name in FIELDS[1:] if len(times) else ():
                all_times, all_values = device.read(name, start_us, end_us - 1)
                columns.append(all_values[np.searchsorted(all_times, times)])
            if len(times):
                rows.append(columns)
        return [np.concatenate(column) for column in zip(*rows, strict=True)] or columns_of([], 2 + len(FIELDS))

    def last_rows(self) -> list[Any]:
        rows = []
        for host, device in enumerate(self.devices):
            points = device.last(FIELDS)
            rows.append((host, points[0].time.timestamp() * 1e6, *(point.value for point in points)))
        return columns_of(rows, 2 + len(FIELDS))

    def newest_minutes(self, limit: int, end_us: int) -> list[Any]:
        """From as many minutes ago as are asked for; further back if some of them are empty."""
        minutes = limit
        while True:
            start_us = (end_us // MINUTE_US - minutes + 1) * MINUTE_US
            starts, values = self.max_by(FIELDS[:1], list(range(len(self.devices))), MINUTE_US, start_us, end_us)
            if len(starts) >= limit or minutes > 1 << 20:
                return [starts[::-1][:limit], values[::-1][:limit]]
            minutes *= 4

    def trucks_of(self, fleet: str) -> list[int]:
        return [truck for truck, tags in enumerate(self.shape.tags) if tags["fleet"] == fleet]

    def last_location(self, fleet: str) -> list[Any]:
        rows = [(truck, *(p.value for p in self.devices[truck].last(["latitude", "longitude"]))) for truck in self.trucks_of(fleet)]
        return columns_of(rows, 3)

    def low_fuel(self, fleet: str, bound: float) -> list[Any]:
        return self.newest("fuel_state", fleet, lambda truck, value: value < bound)

    def high_load(self, fleet: str, bound: float) -> list[Any]:
        return self.newest("current_load", fleet, lambda truck, value: value / self.shape.tags[truck]["load_capacity"] > bound)

    def newest(self, variable: str, fleet: str, is_wanted: Callable[[int, float], bool]) -> list[Any]:
        """Truck and newest value of those that are wanted."""
        found = [(truck, self.devices[truck].last([variable])[0].value) for truck in self.trucks_of(fleet)]
        return columns_of([pair for pair in found if is_wanted(*pair)], 2)

    def stationary(self, fleet: str, bound: float, start_us: int, end_us: int) -> list[Any]:
        rows = []
        for truck in self.trucks_of(fleet):
            found = self.devices[truck].aggregate_arrays("velocity", "avg", None, start_us, end_us - 1)
            mean = found["velocity"].columns["avg"][0][0] if found else np.nan
            if mean < bound:
                rows.append((truck, mean))
        return columns_of(rows, 2)

    def long_driving(self, fleet: str, bound: float, more_than: int, start_us: int, end_us: int) -> list[Any]:
        counts = [(truck, int((self.tens("velocity", truck, start_us, end_us - 1)[1] > bound).sum())) for truck in self.trucks_of(fleet)]
        return columns_of([pair for pair in counts if pair[1] > more_than], 2)

    def tens(self, variable: str, truck: int, start_us: int | None = None, end_us: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return starts and means of each ten minutes of a truck."""
        found = self.devices[truck].aggregate_arrays(variable, "avg", "10m", start_us, end_us)[variable]
        return found.starts, found.columns["avg"][0]

    def fuel_by_fleet(self, bound: float) -> list[Any]:
        rows = []
        for number, fleet in enumerate(FLEETS):
            used, nominal, count = 0.0, 0.0, 0
            for truck in self.trucks_of(fleet):
                moving, _ = self.devices[truck].read("velocity", where={"gt": bound})
                times, consumption = self.devices[truck].read("fuel_consumption")
                used += consumption[np.searchsorted(times, moving)].sum()
                nominal += self.shape.tags[truck]["nominal_fuel_consumption"] * len(moving)
                count += len(moving)
            rows.append((number, used / count, nominal / count))
        return columns_of(rows, 3)

    def average_load(self) -> list[Any]:
        groups: dict[tuple[int, int], list[float]] = {}
        for truck, tags in enumerate(self.shape.tags):
            mean = self.devices[truck].aggregate_arrays("current_load", "avg")["current_load"].columns["avg"][0][0]
            groups.setdefault(self.group_of(truck), []).append(mean / tags["load_capacity"])
        return columns_of([(*key, sum(groups[key]) / len(groups[key])) for key in sorted(groups)], 3)

    def group_of(self, truck: int) -> tuple[int, int]:
        tags = self.shape.tags[truck]
        return FLEETS.index(tags["fleet"]), MODELS.index(tags["model"])

    def daily_activity(self) -> list[Any]:
        counts: dict[tuple[int, int, int], int] = {}
        for truck in range(self.shape.count):
            starts, means = self.tens("status", truck)
            days, active = np.unique(starts[means < 1] // DAY_US * DAY_US, return_counts=True)
            for day, count in zip(days.tolist(), active.tolist(), strict=True):
                key = (*self.group_of(truck), day)
                counts[key] = counts.get(key, 0) + count
        return columns_of([(*key, counts[key] / 144) for key in sorted(counts)], 4)

    def breakdowns(self) -> list[Any]:
        found: dict[int, int] = {}
        for truck in range(self.shape.count):
            is_broken = self.tens("status", truck)[1] > 0.5
            model = self.group_of(truck)[1]
            found[model] = found.get(model, 0) + int((is_broken & ~np.append(False, is_broken[:-1])).sum())
        return columns_of(sorted(found.items()), 2)
