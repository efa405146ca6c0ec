"""Speed and size of the codecs on one core: encode, decode from the second-level cache, CRC-32C."""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benches import series
from tsengine.core.codec import integer, number
from tsengine.core.codec.crc32c import crc32c

POINTS = 65_536

INTEGER_SERIES = series.times(POINTS) | series.integers(POINTS)
NUMBER_SERIES = series.floats(POINTS)


def describe(benchmark: BenchmarkFixture, size: int) -> None:
    benchmark.extra_info["bits_per_value"] = round(8 * size / POINTS, 2)
    if benchmark.stats is not None:  # absent with --benchmark-disable
        benchmark.extra_info["million_values_per_second"] = round(POINTS / benchmark.stats.stats.min / 1e6)


@pytest.mark.parametrize("name", INTEGER_SERIES)
def test_integer_encode(benchmark: BenchmarkFixture, name: str) -> None:
    describe(benchmark, len(benchmark(integer.encode_column, INTEGER_SERIES[name])))


@pytest.mark.parametrize("name", INTEGER_SERIES)
def test_integer_decode(benchmark: BenchmarkFixture, name: str) -> None:
    data = integer.encode_column(INTEGER_SERIES[name])
    np.testing.assert_array_equal(benchmark(integer.decode_column, data, POINTS), INTEGER_SERIES[name])
    describe(benchmark, len(data))


@pytest.mark.parametrize("name", NUMBER_SERIES)
def test_number_encode(benchmark: BenchmarkFixture, name: str) -> None:
    describe(benchmark, len(benchmark(number.encode_column, NUMBER_SERIES[name])))


@pytest.mark.parametrize("name", NUMBER_SERIES)
def test_number_decode(benchmark: BenchmarkFixture, name: str) -> None:
    data = number.encode_column(NUMBER_SERIES[name])
    np.testing.assert_array_equal(benchmark(number.decode_column, data, POINTS), NUMBER_SERIES[name])
    describe(benchmark, len(data))


@pytest.mark.parametrize("size", [64, 1024, 1 << 20])
def test_crc32c(benchmark: BenchmarkFixture, size: int) -> None:
    data = np.random.default_rng(1).bytes(size)
    benchmark(crc32c, data)
    benchmark.extra_info["bytes"] = size
