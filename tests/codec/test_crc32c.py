"""CRC-32C: the vectors of RFC 3720, every length against a bitwise twin, chaining."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsengine.core.codec.crc32c import crc32c

LONG, SHORT = 3 * 4096, 3 * 256
"""Inputs from which the three-stream loops run."""

WIDE = 512
"""Inputs from which products of 512 bits are folded: 256 bytes a round, then 64, then what is left."""


def bitwise(data: bytes, seed: int = 0) -> int:
    register = seed ^ 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
    ],
)
def test_known_vectors_have_their_checksums(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


def test_every_length_around_the_loops() -> None:
    data = np.random.default_rng(1).bytes(LONG + SHORT + 20)
    for size in [*range(40), *range(SHORT - 9, SHORT + 9), *range(LONG - 2, LONG + 3), LONG + SHORT - 1, LONG + SHORT + 11]:
        assert crc32c(data[:size]) == bitwise(data[:size]), size


def test_data_may_start_anywhere() -> None:
    data = np.random.default_rng(2).bytes(1000)
    for start in range(9):
        assert crc32c(memoryview(data)[start:]) == bitwise(data[start:])


def test_every_length_around_the_folds() -> None:
    data = np.random.default_rng(3).bytes(3 * WIDE)
    for size in [*range(WIDE - 3, WIDE + 80), *range(WIDE + 253, WIDE + 260), *range(2 * WIDE - 70, 2 * WIDE + 3), 3 * WIDE]:
        assert crc32c(data[:size], 7) == bitwise(data[:size], 7), size


@given(st.binary(max_size=3000), st.integers(0, 3000), st.integers(0, 2**32 - 1))
def test_a_checksum_may_be_taken_in_parts(data: bytes, cut: int, seed: int) -> None:
    assert crc32c(data[cut:], crc32c(data[:cut], seed)) == crc32c(data, seed)
    assert crc32c(data[:200], seed) == bitwise(data[:200], seed)


def test_any_buffer_is_taken() -> None:
    assert crc32c(bytearray(b"123456789")) == crc32c(memoryview(b"123456789")) == 0xE3069283
