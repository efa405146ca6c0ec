"""The queries of TSBS in SQL that DuckDB, ClickHouse and SQLite share; where the best way differs, the peer has its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from benches.tsbs import DAY_US, HOUR_US, MINUTE_US, rows_of
from benches.tsbs.cpu import FIELDS, HIGH
from benches.tsbs.iot import FLEETS, MODELS

TEN = f"time - time % {10 * MINUTE_US}"
LAST = {"cpu": FIELDS, "readings": ["latitude", "longitude"], "diagnostics": ["fuel_state", "current_load"]}


class SqlTsbs(ABC):
    """Tables `cpu`, `readings`, `diagnostics` of (id, time in microseconds, fields); `tags` of (id, time, numbers)."""

    argmax = "arg_max"
    is_broken = "CAST(avg(status) > 0.5 AS INT)"

    @abstractmethod
    def make_table(self, name: str, fields: list[str]) -> None: ...

    @abstractmethod
    def insert(self, name: str, rows: pa.Table) -> None: ...

    @abstractmethod
    def columns(self, sql: str) -> list[Any]:
        """Return the columns of an answer."""

    def make_tables(self, shape: Any) -> None:
        for name, fields in shape.tables.items():
            self.make_table(name, fields)
        if "fleet" in shape.tags[0]:
            tags: dict[str, list[float]] = {
                "fleet": [FLEETS.index(tag["fleet"]) for tag in shape.tags],
                "model": [MODELS.index(tag["model"]) for tag in shape.tags],
                "load_capacity": [tag["load_capacity"] for tag in shape.tags],
                "nominal": [tag["nominal_fuel_consumption"] for tag in shape.tags],
            }
            self.make_table("tags", list(tags))
            cells = {name: np.array(column, np.float64) for name, column in tags.items()}
            self.insert("tags", rows_of(np.arange(shape.count), np.zeros(shape.count, np.int64), cells))

    def ingest(self, parts: Iterable[tuple[str, pa.Table]]) -> None:
        for name, rows in parts:
            self.insert(name, rows)

    def max_by(self, fields: list[str], hosts: list[int], every_us: int, start_us: int, end_us: int) -> list[Any]:
        greatest = ", ".join(f"max({name})" for name in fields)
        return self.columns(
            f"SELECT time - time % {every_us} AS bucket, {greatest} FROM cpu WHERE id IN ({numbers(hosts)}) "
            f"AND time >= {start_us} AND time < {end_us} GROUP BY bucket ORDER BY bucket"
        )

    def mean_by_host(self, fields: list[str], start_us: int, end_us: int) -> list[Any]:
        means = ", ".join(f"avg({name})" for name in fields)
        return self.columns(
            f"SELECT id, time - time % {HOUR_US} AS hour, {means} FROM cpu WHERE time >= {start_us} AND time < {end_us} "
            "GROUP BY id, hour ORDER BY id, hour"
        )

    def high(self, hosts: list[int] | None, start_us: int, end_us: int) -> list[Any]:
        chosen = "" if hosts is None else f"id IN ({numbers(hosts)}) AND"
        return self.columns(
            f"SELECT * FROM cpu WHERE {chosen} usage_user > {HIGH} AND time >= {start_us} AND time < {end_us} ORDER BY id, time"
        )

    def last_rows(self) -> list[Any]:
        return self.columns(f"SELECT id, max(cpu.time), {self.lasts('cpu')} FROM cpu GROUP BY id ORDER BY id")

    def lasts(self, table: str) -> str:
        return ", ".join(f"{self.argmax}({name}, {table}.time)" for name in LAST[table])

    def newest_minutes(self, limit: int, end_us: int) -> list[Any]:
        return self.columns(
            f"SELECT time - time % {MINUTE_US} AS minute, max(usage_user) FROM cpu WHERE time < {end_us} "
            f"GROUP BY minute ORDER BY minute DESC LIMIT {limit}"
        )

    def newest(self, table: str, fleet: str) -> str:
        """Return a query of the newest row of each truck of a fleet: id, capacity and the fields of LAST."""
        names = ", ".join(f"{self.argmax}({name}, {table}.time) AS {name}" for name in LAST[table])
        return (
            f"SELECT {table}.id AS id, max(load_capacity) AS capacity, {names} FROM {table} JOIN tags ON tags.id = {table}.id "
            f"WHERE fleet = {FLEETS.index(fleet)} GROUP BY {table}.id"
        )

    def last_location(self, fleet: str) -> list[Any]:
        return self.columns(f"SELECT id, latitude, longitude FROM ({self.newest('readings', fleet)}) AS n ORDER BY id")

    def low_fuel(self, fleet: str, bound: float) -> list[Any]:
        return self.columns(f"SELECT id, fuel_state FROM ({self.newest('diagnostics', fleet)}) AS n WHERE fuel_state < {bound} ORDER BY id")

    def high_load(self, fleet: str, bound: float) -> list[Any]:
        newest = self.newest("diagnostics", fleet)
        return self.columns(f"SELECT id, current_load FROM ({newest}) AS n WHERE current_load / capacity > {bound} ORDER BY id")

    def of_fleet(self, fleet: str) -> str:
        return f"id IN (SELECT id FROM tags WHERE fleet = {FLEETS.index(fleet)})"

    def stationary(self, fleet: str, bound: float, start_us: int, end_us: int) -> list[Any]:
        return self.columns(
            f"SELECT id, avg(velocity) FROM readings WHERE {self.of_fleet(fleet)} AND time >= {start_us} AND time < {end_us} "
            f"GROUP BY id HAVING avg(velocity) < {bound} ORDER BY id"
        )

    def long_driving(self, fleet: str, bound: float, more_than: int, start_us: int, end_us: int) -> list[Any]:
        return self.columns(
            f"SELECT id, count(*) AS n FROM (SELECT id, {TEN} AS ten FROM readings WHERE {self.of_fleet(fleet)} AND time >= {start_us} "
            f"AND time < {end_us} GROUP BY id, ten HAVING avg(velocity) > {bound}) AS d "
            f"GROUP BY id HAVING count(*) > {more_than} ORDER BY id"
        )

    def fuel_by_fleet(self, bound: float) -> list[Any]:
        return self.columns(
            "SELECT fleet, avg(fuel_consumption), avg(nominal) FROM readings JOIN tags ON tags.id = readings.id "
            f"WHERE velocity > {bound} GROUP BY fleet ORDER BY fleet"
        )

    def average_load(self) -> list[Any]:
        return self.columns(
            "SELECT fleet, model, avg(mean / load_capacity) FROM (SELECT id AS truck, avg(current_load) AS mean FROM diagnostics "
            "GROUP BY id) AS d JOIN tags ON tags.id = truck GROUP BY fleet, model ORDER BY fleet, model"
        )

    def daily_activity(self) -> list[Any]:
        return self.columns(
            f"SELECT fleet, model, ten - ten % {DAY_US} AS day, count(*) / 144.0 FROM (SELECT id AS truck, {TEN} AS ten FROM diagnostics "
            "GROUP BY id, ten HAVING avg(status) < 1) AS d JOIN tags ON tags.id = truck "
            "GROUP BY fleet, model, day ORDER BY fleet, model, day"
        )

    def breakdowns(self) -> list[Any]:
        tens = f"SELECT id AS truck, {TEN} AS ten, {self.is_broken} AS broken FROM diagnostics GROUP BY id, ten"
        before = "lag(broken, 1, 0) OVER (PARTITION BY truck ORDER BY ten)"
        return self.columns(
            f"SELECT model, sum(CASE WHEN broken = 1 AND before = 0 THEN 1 ELSE 0 END) FROM (SELECT truck, broken, {before} AS before "
            f"FROM ({tens}) AS t) AS b JOIN tags ON tags.id = truck GROUP BY model ORDER BY model"
        )


def numbers(values: list[int]) -> str:
    return ", ".join(map(str, values))
