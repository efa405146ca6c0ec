"""What both block codecs must survive: damaged bytes decode to something or raise CorruptionError, and nothing else happens."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsengine.errors import CorruptionError

Decode = Callable[[bytes, int], NDArray[Any]]


def decodes(decode: Decode, data: bytes, n: int) -> bool:
    """Whether the bytes decode; anything but CorruptionError fails the test that calls this."""
    try:
        assert len(decode(data, n)) == n
    except CorruptionError as error:
        assert error.what
        return False
    return True


def try_flips(decode: Decode, data: bytes, n: int) -> None:
    """Flip every single bit."""
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        decodes(decode, bytes(damaged), n)


def try_cuts(decode: Decode, data: bytes, n: int) -> None:
    """Cut at every length: no encoding is the beginning of another one of as many values."""
    for length in range(len(data)):
        assert not decodes(decode, data[:length], n), f"{length} of {len(data)} bytes decode"


def try_random(decode: Decode, first_bytes: list[int], seed: int) -> None:
    """Random bytes behind every possible first byte."""
    random = np.random.default_rng(seed)
    for first in first_bytes:
        for _ in range(40):
            tail = random.integers(0, 256 if random.random() < 0.5 else 12, int(random.integers(0, 400)), dtype=np.uint8)
            decodes(decode, bytes([first]) + tail.tobytes(), int(random.integers(1, 1025)))
