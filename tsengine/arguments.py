"""What callers may give as arrays, names and numbers, turned into what the core takes; InputError names the argument."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tsengine.core.ingest.table import Column, Table
from tsengine.errors import InputError
from tsengine.limits import LOAD_ROWS
from tsengine.query.reader import KIND_INTEGER, KIND_NUMBER
from tsengine.types import check_text

COARSE_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms")
"""Units of numpy's times whose 64 bits reach farther than microseconds do."""


def unmasked(cells: Any, argument: str) -> np.ndarray:
    """Return an array; numpy would give what lies behind a mask as if it were meant."""
    masked = sys.modules.get("numpy.ma")  # importing it takes 7 ms; without it there are no masked arrays
    if masked is not None and isinstance(cells, masked.MaskedArray) and masked.is_masked(cells):
        raise InputError(f"{argument} has masked cells; leave them out, or fill them")
    return np.asarray(cells)


def to_times(time: Any) -> np.ndarray:
    """Return int64 microseconds of an array of times."""
    has_zone = str(getattr(time, "dtype", "")).startswith("datetime64[") and not isinstance(time, np.ndarray)
    # pandas would make objects of times with a zone
    times = np.asarray(time, dtype="datetime64[us]") if has_zone else unmasked(time, "time")
    if times.ndim != 1:
        raise InputError(f"time must have one dimension, not shape {times.shape}")
    if times.dtype.kind == "M":
        if np.isnat(times).any():
            raise InputError(f"time is NaT at index {int(np.isnat(times).argmax())}")
        if np.datetime_data(times.dtype)[0] in COARSE_UNITS:  # larger than microseconds can tell, and they would wrap
            years = times.astype("datetime64[Y]").view(np.int64) + 1970
            if ((years < 1) | (years > 9999)).any():
                raise InputError(f"time at index {int(((years < 1) | (years > 9999)).argmax())} is outside the years 1 to 9999")
        return np.ascontiguousarray(times.astype("datetime64[us]").view(np.int64))
    if times.dtype.kind in "iu" and times.dtype.itemsize <= 8 and times.dtype != np.uint64:
        return np.ascontiguousarray(times, dtype=np.int64)
    raise InputError(f"time must be int64 microseconds or datetime64, not {times.dtype}")


def column_tables(variable: str, time: Any, value: Any, unit: str | None, group: str | None, now_us: int) -> Iterator[Table]:
    """Yield the points of one variable's arrays, LOAD_ROWS at a time; nothing for empty ones.

    Raises:
        InputError: an argument is of the wrong type or shape, or holds what a point may not.
    """
    times, values = to_times(time), to_values(value)
    if values.shape != times.shape:
        raise InputError(f"value: shape {values.shape} does not fit time's {times.shape}")
    name, of_value = constant("variable", variable), value_columns(values)
    of_unit = None if unit is None else constant("unit", unit)
    of_group = None if group is None else constant("group", group)
    for low in range(0, len(times), LOAD_ROWS):
        count = min(LOAD_ROWS, len(times) - low)
        yield Table(now_us, Column(times, None, low), name, count=count, unit=of_unit, group=of_group, **of_value(low))


def constant(field: str, text: str) -> Column:
    """Return a column that has the same text in every row."""
    if not isinstance(text, str):
        raise InputError(f"{field} must be text, not {type(text).__name__}")
    return Column(np.zeros(1, np.int32), texts=[text], is_constant=True)


def to_values(value: Any) -> np.ndarray:
    """Return values as a contiguous array of float64, int64, bool, or text."""
    values = unmasked(value, "value")
    if values.ndim != 1:
        raise InputError(f"value must have one dimension, not shape {values.shape}")
    if values.dtype.kind == "f":
        return np.ascontiguousarray(values, dtype=np.float64)
    if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
        raise InputError("value holds integers above the range of int64; give them as float64")
    if values.dtype.kind in "iu":
        return np.ascontiguousarray(values, dtype=np.int64)
    if values.dtype.kind in "bU" or (values.dtype.kind == "O" and all(type(text) is str for text in values)):
        return values
    raise InputError(f"value must be an array of numbers, booleans or text of one type, not {values.dtype}")


def value_columns(values: np.ndarray) -> Callable[[int], dict[str, Any]]:
    """Return a function from a first row to the arguments of Table that hold these values."""
    if values.dtype.kind in "fi":
        kind = KIND_NUMBER if values.dtype.kind == "f" else KIND_INTEGER
        return lambda low: {"number": Column(values, None, low), "number_kind": kind}
    if values.dtype.kind == "b":
        bits = np.packbits(values, bitorder="little")
        return lambda low: {"boolean": Column(bits, None, low)}
    codes: dict[str, int] = {}
    cells = np.array([codes.setdefault(text, len(codes)) for text in values.tolist()], dtype=np.int32)
    texts = list(codes)
    return lambda low: {"text": Column(cells, None, low, texts)}


def to_texts(names: str | Iterable[str], argument: str) -> tuple[str, ...]:
    try:
        found = (names,) if isinstance(names, str) else tuple(names)
    except TypeError:
        raise InputError(f"{argument} must be text or a list of it, not {names!r}") from None
    for name in found:
        check_text(name, argument)
    return found


def listed(items: Iterable[Any], argument: str) -> list[Any]:
    try:
        return list(items)
    except TypeError:
        if hasattr(type(items), "__iter__"):
            raise  # it is the caller's own
        raise InputError(f"{argument} must be a list, not {items!r}") from None


COUNT_MAX = 2**62
"""Above every number of points; a larger count means the same."""


def to_count(number: int, argument: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise InputError(f"{argument} must be a whole number, not {number!r}")
    return min(number, COUNT_MAX)
