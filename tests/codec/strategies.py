"""Blocks that try to break the codecs: recipes of (shape, length, seed), so that one example of hypothesis is many blocks."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

BLOCK_POINTS = 1024
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Random = np.random.Generator


def _outliers(random: Random, base: Ints) -> Ints:
    share = random.choice([0.002, 0.02, 0.2])
    return np.where(random.random(len(base)) < share, random.integers(INT64_MIN, INT64_MAX, len(base)), base)


def _wide(random: Random, n: int) -> Ints:
    width = int(random.integers(1, 64))
    low = int(random.integers(INT64_MIN, INT64_MAX - 2**width + 1))
    return low + random.integers(0, 2**width, n)


def _walk(random: Random, n: int) -> Ints:
    with np.errstate(over="ignore"):
        return np.cumsum(random.integers(-(2 ** random.integers(0, 62)), 2 ** random.integers(0, 62), n))


def _line(random: Random, n: int) -> Ints:
    step = int(random.integers(-(2**40), 2**40))
    jitter = int(random.integers(1, 2**20))
    return np.arange(n, dtype=np.int64) * step + random.integers(-jitter, jitter, n)


def _grid(random: Random, n: int) -> Ints:
    ticks = np.floor(random.random() + np.arange(n) * random.uniform(-100, 100)).astype(np.int64)
    with np.errstate(over="ignore"):
        return _scaled(random, 1) + ticks * int(random.choice([1, 1000, 2**32]))


def _curve(random: Random, n: int) -> Ints:
    index = np.arange(n, dtype=np.int64)
    return index * index * int(random.integers(-1000, 1000)) + index * int(random.integers(-(10**9), 10**9)) + random.integers(0, 3, n)


def _runs(random: Random, n: int) -> Ints:
    lengths = random.geometric(random.choice([0.02, 0.1, 0.5]), n)
    return np.repeat(_wide(random, n), lengths)[:n]


def _scaled(random: Random, n: int) -> Ints:
    divisor = int(random.integers(1, 2 ** random.integers(1, 50)))
    with np.errstate(over="ignore"):
        return random.integers(-(2 ** random.integers(1, 62)), 2 ** random.integers(1, 62), n) * divisor + int(random.integers(0, 10**15))


INTEGERS: dict[str, Callable[[Random, int], Ints]] = {
    "wide": _wide,
    "walk": _walk,
    "line": _line,
    "grid": _grid,
    "curve": _curve,
    "runs": _runs,
    "scaled": _scaled,
    "constant": lambda random, n: np.full(n, random.integers(INT64_MIN, INT64_MAX)),
    "edges": lambda random, n: random.choice(np.array([INT64_MIN, INT64_MAX, 0, -1, 1]), n),
    "few": lambda random, n: random.choice(_wide(random, 3), n),
    "line with outliers": lambda random, n: _outliers(random, _line(random, n)),
    "constant with outliers": lambda random, n: _outliers(random, np.full(n, 7)),
    "walk with outliers": lambda random, n: _outliers(random, np.cumsum(random.integers(0, 50, n))),
}

ODD = np.array(
    [
        0,
        1 << 63,
        0x7FF << 52,
        0xFFF << 52,
        0x7FF8 << 48,
        0x7FF0000000000001,
        0xFFF8DEADBEEF0001,
        1,
        (1 << 63) | 1,
        (1 << 52) - 1,
        (1 << 52),
    ],
    dtype=np.uint64,
).view(np.float64)
"""Zeros, infinities, quiet and signalling NaNs with payloads, subnormals, the smallest normal number."""


def to_single(values: Floats) -> Floats:
    """Round to float32 and back."""
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32).astype(np.float64)


def _decimals(random: Random, n: int) -> Floats:
    digits = int(random.integers(0, 16))
    return random.integers(-(10**digits), 10**digits + 1, n) / 10.0 ** int(random.integers(0, 16))


def _sprinkled(random: Random, values: Floats) -> Floats:
    share = random.choice([0.005, 0.1, 0.6])
    return np.where(random.random(len(values)) < share, random.choice(ODD, len(values)), values)


FLOATS: dict[str, Callable[[Random, int], Floats]] = {
    "bits": lambda random, n: random.integers(INT64_MIN, INT64_MAX, n).view(np.float64),
    "decimals": _decimals,
    "decimal walk": lambda random, n: np.asarray(np.round(np.cumsum(random.normal(0, 0.1, n)), int(random.integers(0, 8))), np.float64),
    "decimals and odd values": lambda random, n: _sprinkled(random, _decimals(random, n)),
    "decimal float32": lambda random, n: to_single(np.round(random.normal(20, 5, n), int(random.integers(0, 6)))),
    "float32": lambda random, n: to_single(random.normal(0, 10.0 ** int(random.integers(-40, 38)), n)),
    "noise": lambda random, n: random.normal(20, 1, n),
    "walk": lambda random, n: np.cumsum(random.normal(0, 1, n)),
    "two magnitudes": lambda random, n: random.choice([1e-7, 1e9], n) * random.random(n),
    "noise and odd values": lambda random, n: _sprinkled(random, random.normal(0, 1, n)),
    "few": lambda random, n: random.choice(random.normal(0, 1, 12), n),
    "odd values": lambda random, n: random.choice(ODD, n),
    "sticky": lambda random, n: np.repeat(np.round(random.normal(0, 5, n), 1), random.integers(1, 40, n))[:n],
    "large": lambda random, n: np.floor(random.random(n) * 2.0 ** int(random.integers(0, 70))),
}

lengths = st.one_of(st.integers(1, BLOCK_POINTS), st.sampled_from([1, 2, 3, 255, 256, 257, 992, 993, 1008, 1023, 1024]))


def recipes(shapes: dict[str, Callable[[Random, int], NDArray[Any]]]) -> st.SearchStrategy[list[tuple[str, int, int]]]:
    """Lists of 40 (shape, length, seed)."""
    recipe = st.tuples(st.sampled_from(sorted(shapes)), lengths, st.integers(0, 2**32 - 1))
    return st.lists(recipe, min_size=40, max_size=40)
