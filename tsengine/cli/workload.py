"""What devices send, made up: seeded, the same every time. The load of `tsengine bench` and of the benchmarks in benches/.

A device sends payloads of ten points, one of each variable. Half of the variables are read up to 9 ms late, as sensors are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

VARIABLES = ["temperature", "humidity", "voltage", "vibration", "energy", "lat", "lng", "door", "mode", "state"]
UNITS = ["C", "%", "V", "mm/s", "Wh", "deg", "deg", None, None, None]
MODES = ["off", "standby", "heating", "cooling", "defrost", "alarm"]
DOOR, MODE = VARIABLES.index("door"), VARIABLES.index("mode")

JITTER_US = 9_000
ENERGY_STEP = 40
"""Mean of what the counter `energy` counts between two payloads."""


class Payloads(NamedTuple):
    """Payloads in the order of time.

    Attributes:
        times_us: int64, shape (n, 10). numbers: float64, shape (n, 10), NaN where the variable is no number.
        doors: bool, shape (n,). modes: numbers of MODES, shape (n,).
    """

    times_us: np.ndarray
    numbers: np.ndarray
    doors: np.ndarray
    modes: np.ndarray


def make_payloads(rng: np.random.Generator, base_us: np.ndarray, energy: float = 0) -> Payloads:
    """Return a payload for each of these times (int64 microseconds); `energy` is where the counter begins."""
    count = len(base_us)
    times_us = np.repeat(base_us, len(VARIABLES)).reshape(count, len(VARIABLES))
    for column in range(0, len(VARIABLES), 2):
        times_us[:, column] += rng.integers(0, JITTER_US // 1000 + 1, count) * 1000
    numbers = np.full((count, len(VARIABLES)), np.nan)
    numbers[:, 0] = walk(rng, count, 0.1, -25, -15, 1, -20)
    numbers[:, 1] = walk(rng, count, 0.1, 20, 90, 1, 50)
    numbers[:, 2] = walk(rng, count, 0.05, 220, 240, 2, 230)
    numbers[:, 3] = rng.normal(4, 1, count)
    numbers[:, 4] = energy + np.cumsum(rng.poisson(ENERGY_STEP, count))
    numbers[:, 5] = walk(rng, count, 2e-5, -23.6, -23.4, 6, -23.5)
    numbers[:, 6] = walk(rng, count, 2e-5, -46.7, -46.5, 6, -46.6)
    numbers[:, 9] = rng.integers(0, 5, count)
    doors = np.cumsum(rng.random(count) < 0.01) % 2 == 1
    modes = np.repeat(rng.integers(0, len(MODES), count // 50 + 1), 50)[:count]
    return Payloads(times_us, numbers, doors, modes)


def arrow_columns(made: Payloads) -> dict[str, pa.Array]:
    """Return the points as columns of `Device.append_arrow`, payload by payload."""
    import pyarrow as pa

    count = len(made.doors)
    names = list(dict.fromkeys(unit for unit in UNITS if unit))

    def spread(column: int, values: np.ndarray, fill: object) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of one variable among the rows of all, and where they are missing."""
        cells = np.full((count, len(VARIABLES)), fill)
        cells[:, column] = values
        missing = np.ones((count, len(VARIABLES)), bool)
        missing[:, column] = False
        return cells.reshape(-1), missing.reshape(-1)

    doors, no_door = spread(DOOR, made.doors, False)
    modes, no_mode = spread(MODE, made.modes, 0)
    codes = np.array([names.index(unit) if unit else 0 for unit in UNITS], np.int32)
    units = pa.array(np.tile(codes, count), mask=np.tile(np.array([unit is None for unit in UNITS]), count))
    return {
        "variable": pa.DictionaryArray.from_arrays(np.tile(np.arange(len(VARIABLES), dtype=np.int32), count), VARIABLES),
        "time": pa.array(made.times_us.reshape(-1)).cast(pa.timestamp("us", "UTC")),
        "value": pa.array(made.numbers.reshape(-1), mask=np.tile(np.isin(np.arange(len(VARIABLES)), [DOOR, MODE]), count)),
        "value_bool": pa.array(doors, mask=no_door),
        "value_text": pa.DictionaryArray.from_arrays(pa.array(modes.astype(np.int32), mask=no_mode), MODES),
        "unit": pa.DictionaryArray.from_arrays(units, names),
    }


def walk(rng: np.random.Generator, count: int, step: float, low: float, high: float, digits: int, start: float) -> np.ndarray:
    """Return a random walk reflected at its bounds, rounded to some digits."""
    width = high - low
    folded = np.mod(start - low + np.cumsum(rng.normal(0, step, count)), 2 * width)
    return np.round(low + np.where(folded > width, 2 * width - folded, folded), digits)
