"""The workload of the store and query benchmarks: one device, ten variables, one month a table. Seeded, the same every time.

Row order is that of a device's payloads: ten points with one group, again and again. Five of the ten variables are read up
to 9 ms late, as sensors are.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

VARIABLES = ["temperature", "humidity", "voltage", "vibration", "energy", "lat", "lng", "door", "mode", "state"]
UNITS = ["C", "%", "V", "mm/s", "Wh", "deg", "deg", "", "", ""]
UNIT_NAMES = ["C", "%", "V", "mm/s", "Wh", "deg"]
NUMERIC = [name for name in VARIABLES if name != "mode"]
"""Numbers, and a boolean: what can be summed."""

MODES = ["off", "standby", "heating", "cooling", "defrost", "alarm"]
FIRST_YEAR = 2023
UNTIL_US = 2**52
"""Later than everything: the end of a question about all of time."""
JITTER_US = 9_000
METADATA_SHARE = 0.01
METADATA = [f'{{"quality":{i % 8},"source":"probe-{i}"}}' for i in range(64)]


def walk(rng: np.random.Generator, count: int, step: float, low: float, high: float, digits: int, start: float) -> np.ndarray:
    """A random walk reflected at its bounds, rounded to some digits."""
    width = high - low
    folded = np.mod(start - low + np.cumsum(rng.normal(0, step, count)), 2 * width)
    return np.round(low + np.where(folded > width, 2 * width - folded, folded), digits)


def month_bounds_us(month: int) -> tuple[int, int]:
    """First microsecond of a month of the workload (0 is the first), and of the next one."""

    def start(number: int) -> int:
        return int(datetime(FIRST_YEAR + number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1_000_000

    return start(month), start(month + 1)


def month_table(month: int, payloads: int = 100_000, seed: int = 20261121) -> pa.Table:
    """Return one month: `payloads` times ten rows, in the schema of `Device.append_arrow`."""
    rng = np.random.default_rng([seed, month])
    start_us, end_us = month_bounds_us(month)
    step_us = (end_us - start_us) // payloads // 1000 * 1000
    base_us = start_us + np.arange(payloads, dtype=np.int64) * step_us
    time = np.repeat(base_us, 10).reshape(payloads, 10)
    for column in range(0, 10, 2):
        time[:, column] += rng.integers(0, JITTER_US // 1000 + 1, payloads) * 1000
    numbers = np.full((payloads, 10), np.nan)
    numbers[:, 0] = walk(rng, payloads, 0.1, -25, -15, 1, -20)
    numbers[:, 1] = walk(rng, payloads, 0.1, 20, 90, 1, 50)
    numbers[:, 2] = walk(rng, payloads, 0.05, 220, 240, 2, 230)
    numbers[:, 3] = rng.normal(4, 1, payloads)
    numbers[:, 4] = month * 4_000_000 + np.cumsum(rng.poisson(40, payloads))
    numbers[:, 5] = walk(rng, payloads, 2e-5, -23.6, -23.4, 6, -23.5)
    numbers[:, 6] = walk(rng, payloads, 2e-5, -46.7, -46.5, 6, -46.6)
    numbers[:, 9] = rng.integers(0, 5, payloads)
    is_number = np.isin(np.arange(10), [7, 8], invert=True)
    door = np.cumsum(rng.random(payloads) < 0.01) % 2 == 1
    mode = np.repeat(rng.integers(0, 6, payloads // 50 + 1), 50)[:payloads]
    metadata = rng.integers(0, len(METADATA), payloads * 10)
    has_metadata = rng.random(payloads * 10) < METADATA_SHARE

    def spread(column: int, values: np.ndarray, fill: object) -> tuple[np.ndarray, np.ndarray]:
        """Values of one variable among the rows of all, and where they are missing."""
        cells = np.full((payloads, 10), fill)
        cells[:, column] = values
        missing = np.ones((payloads, 10), bool)
        missing[:, column] = False
        return cells.reshape(-1), missing.reshape(-1)

    doors, no_door = spread(7, door, False)
    modes, no_mode = spread(8, mode, 0)
    variable = np.tile(np.arange(10, dtype=np.int32), payloads)
    codes = np.array([UNIT_NAMES.index(text) if text else 0 for text in UNITS], np.int32)
    unit = pa.array(np.tile(codes, payloads), mask=np.tile(np.array([not text for text in UNITS]), payloads))
    return pa.table(
        {
            "variable": pa.DictionaryArray.from_arrays(variable, VARIABLES),
            "time": pa.array(time.reshape(-1)).cast(pa.timestamp("us", "UTC")),
            "value": pa.array(numbers.reshape(-1), mask=np.tile(~is_number, payloads)),
            "value_bool": pa.array(doors, mask=no_door),
            "value_text": pa.DictionaryArray.from_arrays(pa.array(modes.astype(np.int32), mask=no_mode), MODES),
            "unit": pa.DictionaryArray.from_arrays(unit, UNIT_NAMES),
            "group": object_ids(rng, base_us, month, payloads),
            "metadata": pa.DictionaryArray.from_arrays(pa.array(metadata.astype(np.int32), mask=~has_metadata), METADATA),
        }
    )


def object_ids(rng: np.random.Generator, base_us: np.ndarray, month: int, payloads: int) -> pa.Array:
    """One 12-byte group a payload, like an ObjectId: seconds, five bytes of the machine, a counter of three bytes."""
    raw = np.zeros((payloads, 12), np.uint8)
    raw[:, :4] = (base_us // 1_000_000).astype(">u4").view(np.uint8).reshape(-1, 4)
    raw[:, 4:9] = np.random.default_rng(5).integers(0, 256, 5)
    counter = (month * payloads + np.arange(payloads)) % (1 << 24)
    raw[:, 9:] = counter.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    rows = np.repeat(raw, 10, axis=0)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(12), payloads * 10, [None, pa.py_buffer(rows.tobytes())])


def tables(months: int = 36, payloads: int = 100_000) -> Iterator[pa.Table]:
    """Yield the workload month by month."""
    for month in range(months):
        yield month_table(month, payloads)
