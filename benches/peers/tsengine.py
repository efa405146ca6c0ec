"""tsengine as the subject of the benchmarks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import tsengine
import tsengine.arrow  # a program that writes Arrow has it; its import is no part of an ingest
from benches.tsbs.ours import Tsbs
from benches.workload import NUMERIC

SERIAL = "bench"
WIDTHS = {None: None, 60_000_000: "1m", 3_600_000_000: "1h", 86_400_000_000: "1d"}


class Base:
    settings = f"{tsengine.__version__}, durability=sync, memory_mb=256 (the defaults)"
    type = "immutable"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self) -> None:
        self.db = tsengine.open(self.folder)
        limits = {"chunk_limit": None} if self.type == "immutable" else {}
        self.device = self.db.create_device("bench", type=self.type, serial=SERIAL, **limits)

    def open(self) -> None:
        self.db = tsengine.open(self.folder)
        self.device = self.db.device(SERIAL)

    def close(self) -> None:
        self.db.close()

    def count(self) -> int:
        return self.device.count()


class Store(Base):
    def ingest(self, tables: Iterable[pa.Table]) -> None:
        for table in tables:
            self.device.append_arrow(table)

    def read(self, variable: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        return self.device.read(variable, start_us, end_us - 1)

    def aggregate(self, variable: str, functions: list[str], every_us: int | None, start_us: int, end_us: int) -> list[Any]:
        table = self.device.aggregate(variable, functions, WIDTHS[every_us], start_us, end_us - 1)
        return [table.column(name) for name in functions]

    def totals(self) -> dict[str, float]:
        table = self.device.aggregate(NUMERIC, ["sum"])
        return dict(zip(table.column("variable").to_pylist(), table.column("sum").to_pylist(), strict=True))

    def count_above(self, variable: str, bound: float) -> int:
        return self.device.count(variable, where={"gt": bound})

    def newest(self, limit: int, skip: int) -> list[Any]:
        return [point.time for point in self.device.points(limit=limit, skip=skip)]

    def last(self) -> dict[str, Any]:
        return {point.variable: point.value for point in self.device.last()}

    def drop_month(self, start_us: int, end_us: int) -> None:
        self.device.delete_chunk(f"{start_us // 1_000_000}_{(end_us - 1) // 1_000_000}")

    def ingest_in_calls(self, tables: Iterable[pa.Table], rows: int) -> None:
        """The same in calls of fewer rows than a bulk load takes: through log and memory, durable at the end."""
        for table in tables:
            for low in range(0, table.num_rows, rows):
                self.device.append_arrow(table.slice(low, rows), sync=False)
        self.db.sync()

    def fill_log(self, size_bytes: int, points: int) -> tuple[int, int]:
        """Write until the log has this size and nothing of it is sealed; return its size and the number of points."""
        self.db.close()
        self.db = tsengine.open(self.folder, durability="os", memory_mb=4096)
        self.device = self.db.device(SERIAL)
        written = 0
        value = np.round(np.random.default_rng(1).normal(20, 5, points), 2)
        while self.db.stats()["log_bytes"] < size_bytes:
            time = (1_700_000_000_000 + np.arange(written, written + points) * 1000) * 1000
            self.device.append_columns(f"v{written // points % 10}", time, value)
            written += points
        return self.db.stats()["log_bytes"], written


class Fleet(Base):
    def create(self, devices: list[str] | None = None) -> None:
        self.db = tsengine.open(self.folder)
        for name in devices or ():
            self.db.create_device(name, serial=name, chunk_limit=None)

    def open(self) -> None:
        self.db = tsengine.open(self.folder)
        self.devices: dict[str, tsengine.Device] = {}

    def count(self) -> int:
        return sum(device.count() for device in self.db.devices())

    def ingest(self, tables: Iterable[pa.Table]) -> None:
        for table in tables:
            self.db.append_arrow(table, sync=False)
        self.db.sync()

    def ingest_by_device(self, columns: Iterable[tuple[str, str, np.ndarray, np.ndarray, str]]) -> None:
        """One call a device, as a gateway does that kept the points of each; durable at the end."""
        for device, variable, time, value, unit in columns:
            self.db.device(device).append_columns(variable, time, value, unit=unit, sync=False)
        self.db.sync()

    def device_of(self, name: str) -> tsengine.Device:
        """A program keeps the devices that it reads."""
        try:
            return self.devices[name]
        except KeyError:
            return self.devices.setdefault(name, self.db.device(name))

    def last(self, devices: list[str]) -> list[float]:
        return [self.device_of(name).last()[0].value for name in devices]

    def read(self, device: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        return self.device_of(device).read("temperature", start_us, end_us - 1)


class Log(Base):
    one_writer = False

    def shape(self, points: list[tuple[str, int, float]]) -> Any:
        return [{"variable": variable, "time": time, "value": value} for variable, time, value in points]

    def commit(self, shaped: Any) -> None:
        self.device.append_many(shaped)

    def total(self) -> float:
        return sum(float(self.device.read(name)[1].sum()) for name in self.device.variables())


class ArrayLog(Log):
    """The same points as arrays of one variable."""

    settings = f"{tsengine.__version__}, append_columns instead of append_many"

    def shape(self, points: list[tuple[str, int, float]]) -> Any:
        return points[0][0], np.array([time for _, time, _ in points]), np.array([value for _, _, value in points])

    def commit(self, shaped: Any) -> None:
        self.device.append_columns(*shaped)


class Registers(Base):
    type = "mutable"

    def insert(self, rows: list[dict[str, Any]]) -> list[Any]:
        """Ids are found by reading: the one that a program needs next is that of a point it has read."""
        self.device.append_many(rows)
        return []

    def ids(self) -> list[Any]:
        return [point.id for point in self.device.points(limit=None, order="asc")]

    def update(self, id: Any, value: Any) -> None:
        self.device.edit([{"id": id, "value": value}])

    def get(self, id: Any) -> Any:
        return self.device.get(id).value

    def newest(self, count: int) -> list[Any]:
        return [point.value for point in self.device.points(limit=count)]

    def delete(self, start_us: int, end_us: int) -> int:
        return self.device.delete(start=start_us, end=end_us - 1)


TSBS = {"tsengine": Tsbs}
STORE = {"tsengine": Store}
FLEET = {"tsengine": Fleet}
LOG = {"tsengine": Log, "tsengine, arrays": ArrayLog}
REGISTERS = {"tsengine": Registers}
