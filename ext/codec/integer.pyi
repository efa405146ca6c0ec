"""Blocks of int64 values (integers, times, codes) to bytes and back. Format: docs/format/block-codecs.md."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

def encode(values: NDArray[np.int64]) -> bytes:
    """Encode one block of 1 to 1,024 values, shape (n,) int64. The same values give the same bytes on every CPU."""

def decode(data: bytes, n: int) -> NDArray[np.int64]:
    """Decode the n values that `encode` wrote, as a new array; raises CorruptionError when the bytes are damaged."""

def values_at(data: bytes, n: int) -> np.ndarray | None: ...
def encode_column(values: NDArray[np.int64]) -> bytes:
    """Encode any number of values as blocks of 1,024, one after another."""

def decode_column(data: bytes, count: int) -> NDArray[np.int64]:
    """Decode the count values that `encode_column` wrote; raises CorruptionError with the offset of the damaged block."""

def describe(data: bytes) -> dict[str, Any]:
    """Tell how a block is encoded, from its header alone."""

def cpu() -> str:
    """Name the CPU target in use: "avx2" or "baseline"."""
