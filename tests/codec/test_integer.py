"""Integer blocks: every int64 comes back, small blocks stay small, damage is an error, and a second reader agrees."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tsengine.core.codec.doors import integer, integers_at
from tsengine.errors import CorruptionError, InputError

from . import damage, reader
from .strategies import INT64_MAX, INT64_MIN, INTEGERS, recipes

START_US = 1_700_000_000_000_000


def block(values: object) -> NDArray[np.int64]:
    return np.asarray(values, dtype=np.int64)


def check(values: NDArray[np.int64]) -> bytes:
    """Encode, decode by both readers, compare; returns the bytes."""
    data = integer.encode(values)
    assert len(data) <= 9 * len(values) + 64
    np.testing.assert_array_equal(integer.decode(data, len(values)), values)
    one_by_one = integers_at(data, len(values))
    if one_by_one is not None:
        np.testing.assert_array_equal(one_by_one, values)
    return data


@settings(max_examples=max(250, settings.default.max_examples))
@given(recipes(INTEGERS))
def test_every_block_comes_back(blocks: list[tuple[str, int, int]]) -> None:
    for shape, n, seed in blocks:
        check(INTEGERS[shape](np.random.default_rng(seed), n))


@settings(max_examples=max(200, settings.default.max_examples))
@given(st.lists(st.integers(INT64_MIN, INT64_MAX), min_size=1, max_size=40))
def test_every_short_list_comes_back(values: list[int]) -> None:
    data = check(block(values))
    assert reader.integers(reader.Cursor(data), len(values)) == values


@pytest.mark.parametrize("shape", sorted(INTEGERS))
def test_every_length_comes_back(shape: str) -> None:
    for n in range(1, 1025):
        check(INTEGERS[shape](np.random.default_rng(n), n))


@pytest.mark.parametrize("width", range(65))
def test_every_width_comes_back_and_takes_its_bits(width: int) -> None:
    random = np.random.default_rng(width)
    for n in (1, 2, 100, 255, 256, 300, 1000, 1024):
        values = random.integers(0, 2**width, n, dtype=np.uint64) if width < 64 else random.integers(0, 2**64 - 1, n, dtype=np.uint64)
        assert len(check(values.view(np.int64))) <= n * width / 8 * 9 / 8 + 40


@pytest.mark.parametrize("shape", sorted(INTEGERS))
@pytest.mark.parametrize("n", [1, 2, 3, 17, 255, 256, 300, 991, 1024])
def test_second_reader_agrees(shape: str, n: int) -> None:
    for seed in range(3):
        values = INTEGERS[shape](np.random.default_rng(seed), n)
        cursor = reader.Cursor(integer.encode(values))
        assert reader.integers(cursor, n) == values.tolist()
        assert cursor.at == len(cursor.data)


@pytest.mark.parametrize(
    ("values", "transform", "size"),
    [
        (np.full(1024, 42), "base", 2),
        (np.full(1024, INT64_MIN), "base", 11),
        (START_US + np.arange(1024) * 1_000_000, "delta", 12),
        (START_US + np.arange(1024) * 60_000_000, "delta", 13),
        (np.arange(1024) * 7, "delta", 3),
        (np.array([5, 9]), "delta", 3),
        (np.arange(1024) ** 2 * 3, "turn", 5),
        (np.repeat(np.array([3, 900, 3, 14]), 256), "runs", 20),
    ],
)
def test_regular_blocks_take_a_few_bytes(values: NDArray[np.int64], transform: str, size: int) -> None:
    data = check(block(values))
    assert integer.describe(data)["transform"] == transform
    assert len(data) <= size


def test_single_outlier_is_patched() -> None:
    values = START_US + np.arange(1024) * 1_000_000
    values[500:] += 17_000_000
    data = check(values)
    assert integer.describe(data) == {"transform": "delta", "width": 0, "divisor": 1_000_000, "exceptions": 1, "exception_width": 6}
    assert len(data) <= 20


def test_jittered_grid_is_a_line() -> None:
    values = START_US + np.arange(1024) * 1_000_000 + np.random.default_rng(1).integers(-8000, 8000, 1024)
    description = integer.describe(check(values))
    assert (description["transform"], description["width"]) == ("line", 14)


@pytest.mark.parametrize("step", [26.784, 1000 / 60, 0.3, -7.9, 1_000_000_000 / 60, 1 / 3])
def test_grid_that_is_cut_to_whole_units_takes_a_few_bytes(step: float) -> None:
    """Times of 60 Hz in microseconds, seconds of an ObjectId."""
    for start in (0.0, 0.5, 0.999):
        ticks = np.floor(start + np.arange(1024) * step).astype(np.int64)
        for values in (START_US + ticks, ticks * 2**20 - 5):
            data = check(values)
            assert integer.describe(data)["transform"] == "grid"
            assert len(data) <= 40
            assert reader.integers(reader.Cursor(data), 1024) == values.tolist()


def test_irregular_steps_are_no_grid() -> None:
    values = np.cumsum(np.random.default_rng(1).integers(26, 28, 1024))
    assert integer.describe(check(values))["transform"] != "grid"


def test_bytes_of_the_format_stay() -> None:
    """The examples of docs/format/block-codecs.md."""
    assert integer.encode(block([42, 42, 42])).hex() == "0054"
    assert integer.encode(block([1000, 1010, 1020])).hex() == "01d00f14"
    assert integer.encode(block([7, 3, 5, 4, 6])).hex() == "0806038432"
    assert integer.encode(np.arange(600) * 100 // 6).hex() == "0500206e3286aa7a650c55"


def test_column_is_blocks_one_after_another() -> None:
    values = np.random.default_rng(5).integers(0, 1000, 5000)
    data = integer.encode_column(values)
    assert data == b"".join(integer.encode(values[i : i + 1024]) for i in range(0, 5000, 1024))
    np.testing.assert_array_equal(integer.decode_column(data, 5000), values)
    with pytest.raises(CorruptionError) as error:
        integer.decode_column(data[:-1], 5000)
    assert error.value.offset == len(integer.encode_column(values[:4096]))
    assert len(integer.decode_column(b"", 0)) == 0


def test_bytes_behind_a_block_do_not_matter() -> None:
    values = np.random.default_rng(6).integers(0, 1000, 1024)
    np.testing.assert_array_equal(integer.decode(integer.encode(values) + b"\xff" * 9, 1024), values)


SMALL = {
    "base": block([7, 3, 5, 4, 6, 3, 3, 7]),
    "delta": np.cumsum(np.array([1000, 3, 1, 2, 0, 3, 2, 1, 1, 3, 0, 2])),
    "turn": np.cumsum(np.cumsum(np.array([50, 900, 1, 0, 1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1]))),
    "line": np.arange(40) * 1000 + np.random.default_rng(2).integers(0, 16, 40),
    "runs": np.repeat(block([3, 9, 2, 70]), 20),
    "patched": np.where(np.arange(60) == 33, 10**12, 5),
    "bitmap": np.where(np.random.default_rng(3).random(64) < 0.2, 10**9 + np.arange(64), np.arange(64) % 4),
    "grid": START_US + np.arange(600) * 100 // 6,
    "scaled": np.random.default_rng(4).integers(0, 9, 20) * 12345,
    "wide": np.random.default_rng(5).integers(INT64_MIN, INT64_MAX, 5),
    "lanes": np.random.default_rng(6).integers(0, 2, 256),
}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_flipped_bits_and_cuts(name: str) -> None:
    values = SMALL[name]
    data = check(values)
    damage.try_flips(integer.decode, data, len(values))
    damage.try_cuts(integer.decode, data, len(values))
    for n in (1, 2, 3, 255, 256, 1023, 1024):
        damage.decodes(integer.decode, data, n)


def test_random_bytes_decode_or_are_damaged() -> None:
    damage.try_random(integer.decode, list(range(256)), seed=7)


@settings(max_examples=max(300, settings.default.max_examples))
@given(st.binary(min_size=1, max_size=200), st.integers(1, 1024))
def test_any_bytes_decode_or_are_damaged(data: bytes, n: int) -> None:
    damage.decodes(integer.decode, data, n)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",  # no origin
        b"\x06\x00",  # no such form
        b"\x05\x00\x00" + bytes(7),  # a grid that is cut off, packed, or patched
        b"\x0d\x00\x00" + bytes(99),
        b"\x25\x00\x00" + bytes(99),
        b"\x40\x00",  # no such flags
        b"\x80\x00",
        b"\x08\x00\x00",  # width 0 and 65
        b"\x08\x00\x41" + bytes(999),
        b"\x00" + b"\xff" * 10,  # more than 64 bits
        b"\x20\x00\x00\x01",  # no patches, and more than values
        b"\x20\x00\x05\x01" + bytes(99),
        b"\x04\x00",  # no runs, runs that end early or late, runs in runs
        b"\x04\x02\x00\x00\x00\x00",
        b"\x04\x05\x00\x00",
        b"\x04\x01\x00\x00\x00\x0a",
        b"\x04\x01\x04\x01",
    ],
)
def test_inconsistent_bytes_are_damaged(data: bytes) -> None:
    with pytest.raises(CorruptionError):
        integer.decode(data, 4)


def test_deep_nesting_is_damaged() -> None:
    with pytest.raises(CorruptionError):
        integer.decode(b"\x04\x01" * 100_000, 1)
    with pytest.raises(CorruptionError):
        integer.describe(b"\x04\x01" * 100_000)


@pytest.mark.parametrize("values", [np.zeros(0, np.int64), np.zeros(1025, np.int64), np.zeros(4), np.zeros((2, 2), np.int64), [1, 2]])
def test_wrong_input_is_refused(values: object) -> None:
    with pytest.raises(InputError):
        integer.encode(values)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, -1, 1025])
def test_wrong_length_is_refused(n: int) -> None:
    with pytest.raises(InputError):
        integer.decode(b"\x00\x00", n)


def test_strided_values_are_encoded_as_others() -> None:
    values = np.arange(2048)[::2]
    np.testing.assert_array_equal(integer.decode(integer.encode(values), 1024), values)


@pytest.mark.parametrize("width", range(65))
@pytest.mark.parametrize("n", [1, 100, 255, 256, 300, 1024])
def test_values_of_every_width_can_be_read_one_by_one(width: int, n: int) -> None:
    random = np.random.default_rng(width)
    residuals = random.integers(0, 2**width, n, dtype=np.uint64) if width < 64 else random.integers(0, 2**64 - 1, n, dtype=np.uint64)
    for values in (residuals, np.arange(n, dtype=np.uint64) * np.uint64(1_000_003) + residuals % np.uint64(2**40)):
        data = integer.encode(values.view(np.int64))
        found = integers_at(data, n)
        if integer.describe(data)["transform"] in ("base", "line") and not integer.describe(data).get("exceptions"):
            assert found is not None
            np.testing.assert_array_equal(found, values.view(np.int64))
        else:
            assert found is None


@pytest.mark.parametrize("slope", [0, 1, 40_000, 2**20 - 1, 2**20, 2**20 + 1, -40_000])
@pytest.mark.parametrize("scale", [1, 1000, 2**32 - 1, 2**32, 2**40])
def test_lines_about_the_bounds_of_32_bits_come_back(slope: int, scale: int) -> None:
    random = np.random.default_rng(abs(slope))
    for n in (300, 1024):
        for jitter in (2**9, 2**31, 2**32):
            check(START_US + (np.arange(n) * slope + random.integers(0, jitter, n)) * scale)
