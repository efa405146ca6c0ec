"""Speed and size on one core: each codec from the second-level cache, CRC-32C, and whole blocks of the workload's series."""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import tsengine
from benches import series
from benches.figures import add_figure
from benches.peers import OURS
from benches.workload import VARIABLES, month_bounds_us, month_table
from tsengine.core.codec.crc32c import crc32c
from tsengine.core.codec.doors import integer, number
from tsengine.core.store.points import PointBuffer
from tsengine.core.store.scan import WANTS, SeriesScan
from tsengine.core.store.segment import Segment
from tsengine.core.store.segment_writer import SegmentWriter

POINTS = 65_536

INTEGER_SERIES = series.times(POINTS) | series.integers(POINTS)
NUMBER_SERIES = series.floats(POINTS)


ENCODE_GOAL, DECODE_GOAL = 70e6, 1.3e9
PROTOTYPE_BITS = {
    "times every 1 s": 0.25,
    "times jittered 15 ms on a grid": 7.25,
    "gauge of 1 decimal, walk": 3.33,
    "gauge of 2 decimals, walk": 5.44,
    "latitude of 6 decimals, walk": 7.4,
    "counter of 40 a step": 7.3,
}
"""What the prototype of the design needed for such series, bits a value."""


def describe(benchmark: BenchmarkFixture, way: str, name: str, size: int) -> None:
    """Note the speed of one series, best round, and once its size."""
    if way == "encode":
        bits = round(8 * size / POINTS, 3)
        add_figure(benchmark, "Codecs: size", name, OURS, bits, "bits/value", PROTOTYPE_BITS.get(name))
    if benchmark.stats is not None:  # absent with --benchmark-disable
        speed = POINTS / benchmark.stats.stats.min
        goal = ENCODE_GOAL if way == "encode" else DECODE_GOAL
        add_figure(benchmark, f"Codecs: {way}, one core", name, OURS, speed, "values/s", goal)


@pytest.mark.parametrize("name", INTEGER_SERIES)
def test_integer_encode(benchmark: BenchmarkFixture, name: str) -> None:
    describe(benchmark, "encode", name, len(benchmark(integer.encode_column, INTEGER_SERIES[name])))


@pytest.mark.parametrize("name", INTEGER_SERIES)
def test_integer_decode(benchmark: BenchmarkFixture, name: str) -> None:
    data = integer.encode_column(INTEGER_SERIES[name])
    np.testing.assert_array_equal(benchmark(integer.decode_column, data, POINTS), INTEGER_SERIES[name])
    describe(benchmark, "decode", name, len(data))


@pytest.mark.parametrize("name", NUMBER_SERIES)
def test_number_encode(benchmark: BenchmarkFixture, name: str) -> None:
    describe(benchmark, "encode", name, len(benchmark(number.encode_column, NUMBER_SERIES[name])))


@pytest.mark.parametrize("name", NUMBER_SERIES)
def test_number_decode(benchmark: BenchmarkFixture, name: str) -> None:
    data = number.encode_column(NUMBER_SERIES[name])
    np.testing.assert_array_equal(benchmark(number.decode_column, data, POINTS), NUMBER_SERIES[name])
    describe(benchmark, "decode", name, len(data))


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


def describe_blocks(benchmark: BenchmarkFixture, way: str, variable: str, points: int) -> None:
    if benchmark.stats is not None:
        nanoseconds = benchmark.stats.stats.min / points * 1e9
        add_figure(benchmark, f"Blocks of the workload: {way}, one core", variable, OURS, nanoseconds, "ns/point")


@pytest.mark.parametrize("variable", VARIABLES)
def test_block_encode(benchmark: BenchmarkFixture, workload: Segment, variable: str) -> None:
    points = series_scan(workload, variable).collect()
    writer = benchmark(encode_blocks, variable, points)
    assert writer.point_count == len(points) == 100_000
    add_figure(benchmark, "Blocks of the workload: size", variable, OURS, writer.size_bytes / len(points), "bytes/point")
    describe_blocks(benchmark, "encode", variable, len(points))


@pytest.mark.parametrize("variable", VARIABLES)
def test_block_decode(benchmark: BenchmarkFixture, workload: Segment, variable: str) -> None:
    assert benchmark(decode_blocks, workload, variable) == 100_000
    describe_blocks(benchmark, "decode", variable, 100_000)
