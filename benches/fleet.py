"""The fleet of the benchmarks: many devices with one point each minute, in the order in which they arrive. Seeded.

A device sends its temperature (one decimal, a walk) once a minute, always at its own second, up to 9 ms late.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from benches.workload import JITTER_US, walk

POINTS = 3_600
"""Points of a device: sixty hours."""

TABLE_ROWS = 1_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01
VARIABLE, UNIT = "temperature", "C"


def names(devices: int) -> list[str]:
    return [f"freezer-{number:05}" for number in range(devices)]


def tables(devices: int, seed: int = 20261121) -> Iterator[pa.Table]:
    """Yield the points of all devices minute by minute, about a million rows a table."""
    rng = np.random.default_rng(seed)
    phase_us = rng.permutation(devices) * (60_000_000 // devices)
    value = np.empty((POINTS, devices))
    for number in range(devices):
        value[:, number] = walk(rng, POINTS, 0.1, -25, -15, 1, -20)
    order = np.argsort(phase_us)
    minutes = max(TABLE_ROWS // devices, 1)
    for first in range(0, POINTS, minutes):
        count = min(minutes, POINTS - first)
        late_us = rng.integers(0, JITTER_US // 1000 + 1, (count, devices)) * 1000
        minute_us = START_US + np.arange(first, first + count)[:, None] * 60_000_000
        time = (minute_us + phase_us // 1000 * 1000 + late_us)[:, order]
        yield pa.table(
            {
                "device": pa.DictionaryArray.from_arrays(np.tile(order.astype(np.int32), count), names(devices)),
                "variable": pa.DictionaryArray.from_arrays(np.zeros(count * devices, np.int32), [VARIABLE]),
                "time": pa.array(time.reshape(-1)).cast(pa.timestamp("us", "UTC")),
                "value": pa.array(value[first : first + count, order].reshape(-1)),
                "unit": pa.DictionaryArray.from_arrays(np.zeros(count * devices, np.int32), [UNIT]),
            }
        )
