"""The shapes "cpu" and "iot" of the Time Series Benchmark Suite (TSBS), seeded and our own, its query types and numpy's answers to them.

A shape (`cpu.Cpu`, `iot.Iot`) makes the rows of its tables in the order in which they arrive, knows its questions, and answers them
from its own arrays. Ten seconds lie between the rows of a host or truck, as there. Windows of time are fixed, not drawn for each query.

A subject of the role TSBS has `create(shape)`, `ingest(parts)` with parts (name of a table, Arrow table), `open(shape)`, `close()` and a
method for each kind of question: `max_by`, `mean_by_host`, `high`, `last_rows`, `newest_minutes` of cpu; `last_location`, `low_fuel`,
`high_load`, `stationary`, `long_driving`, `fuel_by_fleet`, `average_load`, `daily_activity`, `breakdowns` of iot. They return columns,
in order of their first ones. Hosts, trucks, fleets and models are numbers, as if looked up in a table of tags before.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

STEP_US, MINUTE_US, HOUR_US, DAY_US = 10_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01
TABLE_ROWS = 100_000


class Asked(NamedTuple):
    """A query type of TSBS: its name there, our method, the arguments."""

    name: str
    method: str
    args: tuple[Any, ...]


def shape_of(name: str, count: int, days: int) -> Any:
    """Return the shape "cpu" with so many hosts, or "iot" with so many trucks."""
    from benches.tsbs import cpu, iot

    return {"cpu": cpu.Cpu, "iot": iot.Iot}[name](count, days)


def rows_of(ids: np.ndarray, times_us: np.ndarray, fields: dict[str, np.ndarray]) -> pa.Table:
    """Return a table of rows: the number of the host or truck, time in microseconds, a column a field."""
    return pa.table({"id": ids.astype(np.int32), "time": times_us, **fields})


def save(shape: Any, folder: Path) -> int:
    """Write the rows of a shape to Arrow files in the order in which they arrive, and return how many values they hold."""
    folder.mkdir()
    values = 0
    for number, (name, table) in enumerate(shape.parts()):
        values += table.num_rows * (table.num_columns - 2)
        with pa.ipc.new_file(folder / f"{number:05}-{name}.arrow", table.schema) as writer:
            writer.write_table(table)
    return values


def load(folder: str | Path) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows again, mapped from their files."""
    for path in sorted(Path(folder).iterdir()):
        yield path.stem.split("-")[1], pa.ipc.open_file(pa.memory_map(str(path))).read_all()
