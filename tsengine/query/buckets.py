"""Buckets of time: what `every`, `tz` and `fill` of an aggregate mean.

Widths up to hours are counted from 1970 in UTC. Days, weeks (from Monday), months, quarters and years are those of the calendar
in a time zone, so a day has 23 or 25 hours where clocks are changed.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tsengine.core.calendar import period_of, start_of
from tsengine.core.store.aggregate import Buckets
from tsengine.core.store.cells import FUNCTIONS
from tsengine.errors import InputError, LimitError
from tsengine.store.period import TIME_MAX_US, TIME_MIN_US
from tsengine.types import EPOCH, to_datetime

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

Fill = float | int | str | None
FILLS = ("null", "previous", "linear")

BUCKETS_MAX = 4_194_304
"""Most buckets of one aggregate, as in ext/store/cells.pyx."""

DAY_US = 86_400_000_000

_EVERY = r"([0-9]{1,18})(us|ms|s|m|h|d|w|mo|q|y)"
_WIDTHS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": DAY_US, "w": 7 * DAY_US}
_MONTHS = {"mo": 1, "q": 3, "y": 12}
_MONDAY_US = 4 * DAY_US  # 1970-01-05: weeks start on Monday


class Step(msgspec.Struct, frozen=True):
    """A width: so many of a unit."""

    number: int
    unit: str


def check_functions(functions: tuple[str, ...]) -> None:
    """Raises:
    InputError: a function is unknown, or there is none.
    """
    for function in functions:
        if function not in FUNCTIONS:
            raise InputError(f"unknown function {function!r}; these are known: {', '.join(FUNCTIONS)}")
    if not functions:
        raise InputError(f"functions is empty; these are known: {', '.join(FUNCTIONS)}")


def parse_every(every: str) -> Step:
    """Return the count and unit of a width, like (5, "m") of "5m".

    Raises:
        InputError: it is not like "5m", "1h", "1d", "1mo", "1q" or "1y", or longer than all of time.
    """
    match = re.fullmatch(_EVERY, every) if isinstance(every, str) else None
    if match is None or int(match[1]) == 0:
        raise InputError(f"every must be a number and one of us ms s m h d w mo q y, like '5m' or '1mo', not {every!r}")
    number, unit = int(match[1]), match[2]
    width_us = number * (_WIDTHS_US[unit] if unit in _WIDTHS_US else _MONTHS[unit] * _WIDTHS_US["d"] * 31)
    if width_us > TIME_MAX_US - TIME_MIN_US:
        raise InputError(f"every is longer than all of time: {every!r}")
    return Step(number, unit)


def parse_zone(tz: str) -> ZoneInfo | None:
    """Return a time zone, None for UTC.

    Raises:
        InputError: there is no such zone.
    """
    if tz == "UTC":
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise InputError(f"tz must be the name of a time zone, like 'UTC' or 'Europe/Lisbon', not {tz!r}") from None


def check_fill(fill: Fill) -> None:
    """Raises:
    InputError: it is nothing that a gap can be filled with.
    """
    if fill is None or (isinstance(fill, str) and fill in FILLS):
        return
    if isinstance(fill, (str, bool)) or not isinstance(fill, (int, float)):
        raise InputError(f"fill must be None, a number or one of {', '.join(FILLS)}, not {fill!r}")


def make_buckets(
    functions: tuple[str, ...], step: Step | None, zone: ZoneInfo | None, first_us: int, last_us: int, start_us: int | None
) -> Buckets:
    """Return buckets that hold the times first_us..last_us; without a step one bucket from the start.

    Raises:
        LimitError: too many buckets.
    """
    if step is None:
        origin = first_us if start_us is None else start_us
        return Buckets(functions, origin, last_us - origin + 1, 1)
    if step.unit in _MONTHS or (zone is not None and step.unit in ("d", "w")):
        return Buckets(functions, edges=np.array(calendar_edges(step, zone, first_us, last_us), dtype=np.int64))
    width = step.number * _WIDTHS_US[step.unit]
    align = _MONDAY_US if step.unit == "w" else 0
    origin = (first_us - align) // width * width + align
    return Buckets(functions, origin, width, (last_us - origin) // width + 1)


def calendar_edges(step: Step, zone: ZoneInfo | None, first_us: int, last_us: int) -> list[int]:
    """Return the starts of the periods that hold first_us..last_us, and the end of the last."""
    if step.unit in _MONTHS:
        months = step.number * _MONTHS[step.unit]
        number = period_of(local_us(first_us, zone), "month") // months * months

        def edge(at: int) -> int:
            return zoned_us(start_of(number + at * months, "month"), zone)

        length_us = months * 28 * DAY_US
    else:
        days = step.number * (7 if step.unit == "w" else 1)
        align = _MONDAY_US if step.unit == "w" else 0
        origin = (local_us(first_us, zone) - align) // (days * DAY_US) * days * DAY_US + align

        def edge(at: int) -> int:
            return zoned_us(origin + at * days * DAY_US, zone)

        length_us = days * DAY_US
    if (last_us - first_us) // length_us > BUCKETS_MAX:
        raise LimitError(f"more than {BUCKETS_MAX} buckets; use a larger `every` or a shorter range")
    edges: list[int] = []
    for at in count():
        edges.append(edge(at))
        if edges[-1] > last_us:
            break
    return edges


def local_us(time_us: int, zone: ZoneInfo | None) -> int:
    """Return what the clocks of a zone show at a time, as microseconds since 1970 on these clocks."""
    if zone is None:
        return time_us
    shown = to_datetime(min(max(time_us, TIME_MIN_US + DAY_US), TIME_MAX_US - DAY_US)).astimezone(zone)
    return (shown.replace(tzinfo=EPOCH.tzinfo) - EPOCH) // timedelta(microseconds=1)


def zoned_us(shown_us: int, zone: ZoneInfo | None) -> int:
    """Return when the clocks of a zone show a time; the change of the clocks if they skip it, the first time if they do twice."""
    if zone is None or not TIME_MIN_US + DAY_US <= shown_us <= TIME_MAX_US - DAY_US:
        return max(shown_us, TIME_MIN_US)
    shown = to_datetime(shown_us).replace(tzinfo=zone)
    return (shown - EPOCH) // timedelta(microseconds=1)


class Gaps(msgspec.Struct, frozen=True):
    """Buckets of a result some of which are empty: the starts of all, and the places of those that are not."""

    starts: np.ndarray
    filled: np.ndarray


def fill_gaps(values: np.ndarray, gaps: Gaps, function: str, fill: Fill) -> tuple[np.ndarray, np.ndarray]:
    """Return (values of all buckets, which of them are null)."""
    size = len(gaps.starts)
    is_null = np.ones(size, bool)
    is_null[gaps.filled] = False
    result = np.zeros(size, values.dtype)
    result[gaps.filled] = values
    if function == "count":
        return result, np.zeros(size, bool)
    if fill == "previous":
        newest = np.maximum.accumulate(np.where(is_null, -1, np.arange(size)))
        return np.where(newest >= 0, result[np.maximum(newest, 0)], result), newest < 0
    if fill == "linear" and len(gaps.filled):
        low, high = gaps.filled[0], gaps.filled[-1]
        is_gap = is_null.copy()
        is_gap[:low] = is_gap[high + 1 :] = False  # nothing to draw a line to
        if is_gap.any():
            result = result.astype(np.float64)
            result[is_gap] = np.interp(gaps.starts[is_gap] - gaps.starts[0], gaps.starts[gaps.filled] - gaps.starts[0], values)
        return result, is_null & ~is_gap
    if isinstance(fill, (int, float)):
        if not math.isfinite(fill) or fill != int(fill) or abs(fill) >= 2**63:
            result = result.astype(np.float64)
        result[is_null] = fill
        return result, np.zeros(size, bool)
    return result, is_null
