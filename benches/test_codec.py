"""Speed and size on one core: each codec from the second-level cache, CRC-32C, and whole blocks of the workload's series."""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import tsengine
from benches import series
from benches.workload import VARIABLES, month_bounds_us, month_table
from tsengine.core.codec import integer, number
from tsengine.core.codec.crc32c import crc32c
from tsengine.core.store.points import PointBuffer
from tsengine.core.store.scan import WANTS, SeriesScan
from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter

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


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Segment:
    """A month of the workload, a million points, as bulk load seals it."""
    folder = tmp_path_factory.mktemp("workload")
    with tsengine.open(folder) as db:
        db.create_device("bench", chunk_limit=None).append_arrow(month_table(0))
    (path,) = (folder / "segments").iterdir()
    return Segment(path)


def series_scan(segment: Segment, variable: str) -> SeriesScan:
    """Every column of every point of a series."""
    (device,) = segment.devices()
    (kind,) = (kind for name, kind in segment.device_series(device) if name == variable.encode())
    start_us, end_us = month_bounds_us(0)
    return SeriesScan([(segment, [])], device, variable.encode(), kind, start_us, end_us, WANTS["all"])


def encode_blocks(variable: str, points: PointBuffer) -> SegmentWriter:
    writer = SegmentWriter(None, 0)
    writer.add_points(1, variable.encode(), points)
    return writer


def decode_blocks(segment: Segment, variable: str) -> int:
    scan, count = series_scan(segment, variable), 0
    while run := scan.next_run():
        count += len(run)
    return count


def describe_blocks(benchmark: BenchmarkFixture, points: int) -> None:
    if benchmark.stats is not None:
        benchmark.extra_info["nanoseconds_per_point"] = round(benchmark.stats.stats.min / points * 1e9, 2)


@pytest.mark.parametrize("variable", VARIABLES)
def test_block_encode(benchmark: BenchmarkFixture, workload: Segment, variable: str) -> None:
    points = series_scan(workload, variable).collect()
    writer = benchmark(encode_blocks, variable, points)
    assert writer.point_count == len(points) == 100_000
    benchmark.extra_info["bytes_per_point"] = round(writer.size_bytes / len(points), 3)
    describe_blocks(benchmark, len(points))


@pytest.mark.parametrize("variable", VARIABLES)
def test_block_decode(benchmark: BenchmarkFixture, workload: Segment, variable: str) -> None:
    assert benchmark(decode_blocks, workload, variable) == 100_000
    describe_blocks(benchmark, 100_000)
