"""The block codecs as Python sees them. Format: docs/format/block-codecs.md."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

class Codec:
    """Blocks of int64 (`integer`) or of float64 values (`number`) to bytes and back; every bit pattern comes back."""

    name: str

    def encode(self, values: NDArray[Any], exponent_hint: int = -1) -> bytes:
        """Encode one block of 1 to 1,024 values, shape (n,). The same values give the same bytes on every CPU, whatever the hint."""

    def decode(self, data: bytes, n: int) -> NDArray[Any]:
        """Decode the n values that `encode` wrote, as a new array; raises CorruptionError when the bytes are damaged."""

    def encode_column(self, values: NDArray[Any]) -> bytes:
        """Encode any number of values as blocks of 1,024, one after another."""

    def decode_column(self, data: bytes, count: int) -> NDArray[Any]:
        """Decode the count values that `encode_column` wrote; raises CorruptionError with the offset of the damaged block."""

    def describe(self, data: bytes) -> dict[str, Any]:
        """Tell how a block is encoded, from its header alone."""

integer: Codec
number: Codec

def integers_at(data: bytes, n: int) -> NDArray[np.int64] | None:
    """Return the n values of an integer block read one by one, or None where that cannot be done."""
