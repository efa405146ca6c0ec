"""Number blocks: every bit pattern comes back, decimals are found, damage is an error, and a second reader agrees."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tsengine.core.codec.doors import number
from tsengine.errors import CorruptionError, InputError

from . import damage, reader
from .strategies import FLOATS, ODD, recipes


def block(values: object) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


def check(values: NDArray[np.float64]) -> bytes:
    """Encode, decode, compare the bits; returns the bytes."""
    data = number.encode(values)
    assert len(data) <= 9 * len(values) + 65
    np.testing.assert_array_equal(number.decode(data, len(values)).view(np.uint64), values.view(np.uint64))
    return data


@settings(max_examples=max(250, settings.default.max_examples))
@given(recipes(FLOATS))
def test_every_block_comes_back(blocks: list[tuple[str, int, int]]) -> None:
    for shape, n, seed in blocks:
        check(FLOATS[shape](np.random.default_rng(seed), n))


@settings(max_examples=max(200, settings.default.max_examples))
@given(st.lists(st.one_of(st.floats(), st.decimals(allow_nan=False, allow_infinity=False, places=2)), min_size=1, max_size=40))
def test_every_short_list_comes_back(values: list[float]) -> None:
    array = block([float(value) for value in values])
    data = check(array)
    assert reader.numbers(reader.Cursor(data), len(values)) == array.view(np.uint64).tolist()


@settings(max_examples=max(200, settings.default.max_examples))
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40))
def test_every_bit_pattern_comes_back(patterns: list[int]) -> None:
    check(np.array(patterns, np.uint64).view(np.float64))


@pytest.mark.parametrize("shape", sorted(FLOATS))
def test_every_length_comes_back(shape: str) -> None:
    for n in range(1, 1025):
        check(FLOATS[shape](np.random.default_rng(n), n))


@pytest.mark.parametrize("shape", sorted(FLOATS))
@pytest.mark.parametrize("n", [1, 2, 3, 17, 255, 256, 300, 991, 1024])
def test_second_reader_agrees(shape: str, n: int) -> None:
    for seed in range(3):
        values = FLOATS[shape](np.random.default_rng(seed), n)
        cursor = reader.Cursor(number.encode(values))
        assert reader.numbers(cursor, n) == values.view(np.uint64).tolist()
        assert cursor.at == len(cursor.data)


@pytest.mark.parametrize("exponent", range(16))
def test_decimals_of_15_digits_need_no_exception(exponent: int) -> None:
    random = np.random.default_rng(exponent)
    for digits in range(1, 16):
        integers = random.integers(-(10**digits) + 1, 10**digits, 1024)
        integers[0] = 10**digits - 1
        description = number.describe(check(block(integers / 10.0**exponent)))
        assert description["transform"] == "decimal"
        assert description["exceptions"] == 0
        assert description["exponent"] <= exponent


def test_parsed_text_is_decimal() -> None:
    random = np.random.default_rng(8)
    values = block([float(f"{random.integers(-(10**6), 10**6)}.{random.integers(0, 10**8):08d}") for _ in range(1024)])
    assert number.describe(check(values)) | {"integers": None} == {
        "transform": "decimal", "exponent": 8, "exceptions": 0, "integers": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "transform"),
    [
        (np.random.default_rng(1).normal(20, 1, 1024), "bits"),
        (np.random.default_rng(1).normal(20, 1, 1024).astype(np.float32), "single"),
        (np.round(np.random.default_rng(1).normal(20, 1, 1024), 2), "decimal"),
        (np.round(np.random.default_rng(1).normal(20, 1, 1024), 2).astype(np.float32), "decimal_single"),
        (np.random.default_rng(1).choice(np.random.default_rng(2).normal(0, 1, 20), 1024), "dictionary"),
        (np.random.default_rng(1).random(1024) * np.random.default_rng(2).choice([1e-7, 1e9], 1024), "split"),
    ],
)
def test_every_transform_is_chosen(values: NDArray[np.floating], transform: str) -> None:
    assert number.describe(check(block(values)))["transform"] == transform


def test_gaps_of_nan_cost_little() -> None:
    random = np.random.default_rng(9)
    values = np.round(20 + random.normal(0, 0.3, 1024), 2)
    plain = len(number.encode(values))
    values[random.random(1024) < 0.01] = np.nan
    assert len(check(values)) < plain + 40
    values[random.random(1024) < 0.4] = np.nan
    assert len(check(values)) < plain + 160


def test_regular_blocks_take_a_few_bytes() -> None:
    assert len(check(np.full(1024, 21.5))) <= 4
    assert len(check(block(np.arange(1024) * 0.5))) <= 4
    assert len(check(np.full(1024, np.nan))) <= 12
    assert len(check(np.full(1024, -0.0))) <= 12


@pytest.mark.parametrize("period", range(2, 40))
def test_periods_do_not_hide_from_the_sample(period: int) -> None:
    values = block(np.arange(1024) // 7)
    values[::period] += 0.25
    description = number.describe(check(values))
    assert (description["transform"], description["exponent"], description["exceptions"]) == ("decimal", 2, 0)


@pytest.mark.parametrize("value", ODD.tolist())
@pytest.mark.parametrize("place", [0, 7, 8, 63])
def test_odd_value_among_decimals(value: float, place: int) -> None:
    values = np.round(np.random.default_rng(3).normal(0, 5, 64), 1)
    values[place] = value
    check(values)


def test_hint_never_changes_the_bytes() -> None:
    for shape in sorted(FLOATS):
        values = FLOATS[shape](np.random.default_rng(4), 300)
        assert len({number.encode(values, hint) for hint in range(-1, 17)}) == 1


def test_bytes_of_the_format_stay() -> None:
    """The examples of docs/format/block-codecs.md."""
    assert number.encode(block([21.5, 21.5])).hex() == "0a00ae03"
    assert number.encode(block([0.1, 0.2, 0.3])).hex() == "0a010202"
    assert number.encode(block([np.inf])).hex() == "0100808080f80f"
    assert number.encode(block([np.pi])).hex() == "0530010940182d4454fb21"
    assert number.encode(block([np.pi, np.pi])).hex() == "0000b0b4a1c4eafe90898001"
    assert number.encode(block([0.5, np.nan, 0.75, 0.25])).hex() == "92011819320225010080808080808080f8ff01"
    assert number.encode(np.array([0.1, 0.3], np.float32).astype(np.float64)).hex() == "0b010204"


def test_column_is_blocks_one_after_another() -> None:
    values = np.round(np.random.default_rng(5).normal(0, 5, 5000), 1)
    data = number.encode_column(values)
    assert data == b"".join(number.encode(values[i : i + 1024]) for i in range(0, 5000, 1024))
    np.testing.assert_array_equal(number.decode_column(data, 5000), values)
    with pytest.raises(CorruptionError) as error:
        number.decode_column(data[:-1], 5000)
    assert error.value.offset == len(number.encode_column(values[:4096]))


RANDOM = np.random.default_rng(6)
SMALL = {
    "bits": np.pi + np.arange(9) ** 2 * 1e-12,
    "single": RANDOM.normal(0, 1, 9).astype(np.float32).astype(np.float64),
    "decimal": block([20.1, 20.2, 20.4, 20.3, 20.1, 19.9]),
    "decimal_single": block([20.1, 20.2, 20.4, 20.3, 20.1, 19.9]).astype(np.float32).astype(np.float64),
    "patched": block([20.1, np.nan, 20.4, 20.3, -0.0, 19.9, 1e300, 20.1, 20.1]),
    "dictionary": RANDOM.choice(RANDOM.normal(0, 1, 3), 40),
    "split": RANDOM.random(24) * RANDOM.choice([1e-7, 1e9], 24),
}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_flipped_bits_and_cuts(name: str) -> None:
    values = SMALL[name]
    data = check(values)
    assert number.describe(data)["transform"] == name.replace("patched", "decimal")
    damage.try_flips(number.decode, data, len(values))
    damage.try_cuts(number.decode, data, len(values))
    for n in (1, 2, 3, 255, 256, 1023, 1024):
        damage.decodes(number.decode, data, n)


def test_random_bytes_decode_or_are_damaged() -> None:
    damage.try_random(number.decode, list(range(256)), seed=10)


@settings(max_examples=max(300, settings.default.max_examples))
@given(st.binary(min_size=1, max_size=200), st.integers(1, 1024))
def test_any_bytes_decode_or_are_damaged(data: bytes, n: int) -> None:
    damage.decodes(number.decode, data, n)


@settings(max_examples=max(300, settings.default.max_examples))
@given(st.binary(max_size=60))
def test_description_of_any_bytes(data: bytes) -> None:
    with contextlib.suppress(CorruptionError):
        assert isinstance(number.describe(data), dict)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\x06\x00\x00", b"\x07\x00\x00", b"\x80\x00\x00", b"\x08\x00\x00", b"\x8a\x00\x00\x00", b"\x8a\x05\x00\x00",
     b"\x04\x00\x00\x00", b"\x04\x05" + bytes(30), b"\x04\x01\x04\x01\x0a\x00\x00\x00\x00\x00", b"\x04\x02\x0a\x00\x00\x00\x04",
     b"\x05\x2f\x01\x00\x00" + bytes(99), b"\x05\x40\x01\x00\x00" + bytes(99), b"\x05\x30\x00" + bytes(99), b"\x05\x30\x09" + bytes(99)],
)  # fmt: skip
def test_inconsistent_bytes_are_damaged(data: bytes) -> None:
    with pytest.raises(CorruptionError):
        number.decode(data, 4)


@pytest.mark.parametrize("values", [np.zeros(0), np.zeros(1025), np.zeros(4, np.int64), np.zeros((2, 2)), [1.0, 2.0]])
def test_wrong_input_is_refused(values: object) -> None:
    with pytest.raises(InputError):
        number.encode(values)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, -1, 1025])
def test_wrong_length_is_refused(n: int) -> None:
    with pytest.raises(InputError):
        number.decode(b"\x00\x00", n)


def test_reader_orders_floats() -> None:
    """The helper of the second reader, against struct."""
    for value in (0.0, -0.0, 1.5, -1.5, float("inf"), float("-inf")):
        pattern = struct.unpack("<Q", struct.pack("<d", value))[0]
        place = pattern if pattern < 2**63 else (pattern ^ (2**63 - 1)) - 2**64
        assert reader.ordered(place, 64) == pattern


@pytest.mark.parametrize(
    "values",
    [
        (np.round(np.random.default_rng(1).normal(70, 3, 1024), 1) - 32) * 5 / 9,  # degrees Fahrenheit as Celsius
        np.random.default_rng(2).integers(2000, 2100, 1024) * 5 / 4095,  # volts of a converter of 12 bits
        np.random.default_rng(3).choice(np.random.default_rng(4).normal(20, 3, 200), 1024),
    ],
)
def test_converted_readings_are_a_dictionary(values: NDArray[np.float64]) -> None:
    data = check(values)
    assert number.describe(data)["transform"] == "dictionary"
    assert len(data) < 2.4 * 1024


@pytest.mark.parametrize("width", [1, 17, 18, 19, 20, 21])
@pytest.mark.parametrize("origin", [0, 2**49, 2**50 - 2**40, 2**50, -(2**50), -(2**50) - 1])
def test_decimals_about_the_bounds_of_32_bits_come_back(width: int, origin: int) -> None:
    random = np.random.default_rng(width)
    for n in (2, 100, 300, 1000, 1024):
        for scale in (1, 25, 2**20 - 1, 2**20, 2**20 + 1):
            steps = random.integers(-(2 ** (width - 1)), 2 ** (width - 1), n)
            one_way = np.full(n, 2 ** (width - 1)) - (np.arange(n) % 2)
            for shape in (steps, np.cumsum(steps), np.cumsum(one_way), -np.cumsum(one_way)):
                integers = origin + shape * scale
                if np.abs(integers).max() < 2**51:
                    for exponent in (0, 1, 6):
                        check(integers / 10.0**exponent)
