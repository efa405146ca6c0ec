"""Blocks of integers and floats as they lie in segments: what decodes is written again and reads the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsengine.core.codec import integer, number

VALUES_MAX = 1024


def seeds() -> list[bytes]:
    rng = np.random.default_rng(3)
    index = np.arange(300)
    integers = [index, index * 1000 + rng.integers(0, 15, 300), rng.integers(-9, 9, 300), np.repeat([5, 2**62, 5], 100), index * index]
    floats = [
        np.round(rng.normal(20, 1, 300), 1),
        rng.normal(0, 1, 300),
        np.float64(np.float32(rng.normal(0, 1, 300))),
        rng.choice([0.5, np.nan, -0.0, 1e300], 300),
        np.where(index % 50, np.round(index / 7, 2), np.pi),
    ]
    blocks = [b"\0" + head(values) + integer.encode(values.astype(np.int64)) for values in integers]
    return blocks + [b"\1" + head(values) + number.encode(values) for values in floats]


def head(values: Any) -> bytes:
    return (len(values) - 1).to_bytes(2, "little")


def run(data: bytes) -> None:
    kind, count, block = data[:1], int.from_bytes(data[1:3], "little") % VALUES_MAX + 1, data[3:]
    codec = number if kind == b"\1" else integer
    values = codec.decode(block, count)
    assert len(values) == count
    again = codec.decode(codec.encode(values), count)  # type: ignore[arg-type]
    assert values.tobytes() == again.tobytes()
    if codec is integer:
        some = integer.values_at(block, count)
        assert some is None or (some == values).all()
