"""What callers may give as arrays, names and numbers, turned into what the core takes; InputError names the argument."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tsengine.errors import InputError
from tsengine.query import KIND_BOOLEAN, KIND_INTEGER, KIND_NUMBER, KIND_TEXT


def to_times(time: Any) -> np.ndarray:
    """Return int64 microseconds of an array of times."""
    times = np.asarray(time)
    if times.ndim != 1:
        raise InputError(f"time must have one dimension, not shape {times.shape}")
    if times.dtype.kind == "M":
        if np.isnat(times).any():
            raise InputError(f"time is NaT at index {int(np.isnat(times).argmax())}")
        return np.ascontiguousarray(times.astype("datetime64[us]").view(np.int64))
    if times.dtype.kind in "iu" and times.dtype.itemsize <= 8 and times.dtype != np.uint64:
        return np.ascontiguousarray(times, dtype=np.int64)
    raise InputError(f"time must be int64 microseconds or datetime64, not {times.dtype}")


def to_bits(value: Any) -> tuple[int, np.ndarray, list[str]]:
    """Return (kind, 64-bit cells, texts) of an array of values."""
    values = np.asarray(value)
    if values.ndim != 1:
        raise InputError(f"value must have one dimension, not shape {values.shape}")
    if values.dtype.kind == "f":
        return KIND_NUMBER, np.ascontiguousarray(values, dtype=np.float64).view(np.int64), []
    if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
        raise InputError("value holds integers above the range of int64; give them as float64")
    if values.dtype.kind in "iu":
        return KIND_INTEGER, np.ascontiguousarray(values, dtype=np.int64), []
    if values.dtype.kind == "b":
        return KIND_BOOLEAN, values.astype(np.int64), []
    if values.dtype.kind == "U" or (values.dtype.kind == "O" and all(type(text) is str for text in values)):
        codes: dict[str, int] = {}
        cells = [codes.setdefault(text, len(codes)) for text in values.tolist()]
        return KIND_TEXT, np.array(cells, dtype=np.int64), list(codes)
    raise InputError(f"value must be an array of numbers, booleans or text of one type, not {values.dtype}")


def to_texts(names: str | Iterable[str], argument: str) -> tuple[str, ...]:
    try:
        found = (names,) if isinstance(names, str) else tuple(names)
    except TypeError:
        raise InputError(f"{argument} must be text or a list of it, not {names!r}") from None
    for name in found:
        if not isinstance(name, str):
            raise InputError(f"{argument} must be text, not {name!r}")
    return found


COUNT_MAX = 2**62
"""Above every number of points; a larger count means the same."""


def to_count(number: int, argument: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise InputError(f"{argument} must be a whole number, not {number!r}")
    return min(number, COUNT_MAX)
