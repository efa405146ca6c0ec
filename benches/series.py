"""Seeded series as devices send them: times, integers and floats for the benchmarks of the codecs."""

import numpy as np
from numpy.typing import NDArray

START_MS = 1_700_000_000_000


def times(count: int, seed: int = 1) -> dict[str, NDArray[np.int64]]:
    """Times of `count` points in milliseconds, but for the one series that says nanoseconds."""
    random = np.random.default_rng(seed)
    index = np.arange(count, dtype=np.int64)
    grid = START_MS + index * 1000
    jittered = np.maximum.accumulate(grid + np.rint(random.normal(0, 15, count)).astype(np.int64))
    gaps = np.where(random.random(count) < 0.001, random.integers(2, 50), 1)
    return {
        "times every 1 s": grid,
        "times jittered 15 ms on a grid": jittered,
        "times drifting 1 s + 3 ms": START_MS + np.cumsum(1000 + np.floor(random.exponential(3, count)).astype(np.int64)),
        "times every 60 s, gaps 0.1 %": START_MS + np.cumsum(gaps) * 60_000,
        "times in ns, jittered in ms": jittered * 1_000_000,
        "times at random, mean 5 s": START_MS + np.cumsum(np.floor(random.exponential(5000, count)).astype(np.int64) + 1),
    }


def integers(count: int, seed: int = 2) -> dict[str, NDArray[np.int64]]:
    """Counters, gauges and booleans."""
    random = np.random.default_rng(seed)
    return {
        "counter of 40 a step": np.cumsum(random.poisson(40, count)).astype(np.int64),
        "gauge 0 to 999": random.integers(0, 1000, count),
        "constant 42": np.full(count, 42, np.int64),
        "boolean, 1 % flips": (np.cumsum(random.random(count) < 0.01) & 1).astype(np.int64),
        "boolean at random": random.integers(0, 2, count),
    }


def _reflected_walk(random: np.random.Generator, count: int, step: float, low: float, high: float) -> NDArray[np.float64]:
    """Walk with normal steps that turns back at both bounds."""
    span = high - low
    folded = np.mod(np.cumsum(random.normal(0, step, count)), 2 * span)
    return np.where(folded > span, 2 * span - folded, folded) + low


def floats(count: int, seed: int = 3) -> dict[str, NDArray[np.float64]]:
    """Decimal gauges, coordinates, counters, float32 readings, and values of full precision."""
    random = np.random.default_rng(seed)

    def daily() -> NDArray[np.float64]:
        return np.round(20 + 5 * np.sin(np.arange(count) * 2 * np.pi / 86400) + random.normal(0, 0.3, count), 2)

    one_decimal = np.round(_reflected_walk(random, count, 0.1, 15, 30), 1)
    two_decimals = np.round(_reflected_walk(random, count, 0.05, 15, 30), 2)
    noisy = daily()
    levels = np.round(_reflected_walk(random, count // 20 + 1, 0.5, 10, 40) * 2) / 2
    sticky = np.repeat(levels, random.poisson(20, len(levels)) + 1)[:count]
    with_gaps = daily()
    with_gaps[random.random(count) < 0.01] = np.nan
    return {
        "gauge of 1 decimal, walk": one_decimal,
        "gauge of 2 decimals, walk": two_decimals,
        "gauge of 2 decimals, sine and noise": noisy,
        "gauge in steps of 0.5, sticky": sticky,
        "gauge of 2 decimals, 1 % NaN": with_gaps,
        "latitude of 6 decimals, walk": np.round(_reflected_walk(random, count, 2e-5, -23.6, -23.4), 6),
        "energy counter of 3 decimals": np.asarray(np.round(np.cumsum(random.gamma(2, 0.01, count)), 3), np.float64),
        "constant 21.5": np.full(count, 21.5),
        "float32 of 2 decimals": np.asarray(daily(), np.float32).astype(np.float64),
        "float32, full noise": np.asarray(random.normal(20, 1, count), np.float32).astype(np.float64),
        "full precision, noise": random.normal(20, 1, count),
        "full precision, walk": np.cumsum(random.normal(0, 1, count)),
    }
