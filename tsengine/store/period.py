"""Chunks: the calendar periods of an immutable device, their ids, and the window that retention leaves open (UTC)."""

from __future__ import annotations

from datetime import UTC

from tsengine.core.calendar import TIMES, period_of, start_of
from tsengine.errors import InputError
from tsengine.types import DeviceInfo, to_datetime

TIME_MIN_US, TIME_MAX_US = TIMES

ID_CHARS_MAX = 25
"""Longest id of a chunk, characters: the one of all time."""


def chunk_bounds(number: int, period: str | None) -> tuple[int, int]:
    """Return the first and the last microsecond of a chunk; a device without periods has one chunk for all time."""
    if period is None:
        return TIME_MIN_US, TIME_MAX_US
    # The last week of the year 9999 ends in a year that no datetime has.
    return start_of(number, period), min(start_of(number + 1, period) - 1, TIME_MAX_US)


def chunk_id(number: int, period: str | None) -> str:
    """Return `<from>_<to>` in Unix seconds, both inside the chunk."""
    start_us, end_us = chunk_bounds(number, period)
    return f"{start_us // 1_000_000}_{end_us // 1_000_000}"


def parse_chunk_id(text: str, period: str | None) -> int:
    """Return the number of the chunk with this id.

    Raises:
        InputError: the text is not the id of a chunk of this period.
    """
    start, _, end = text.partition("_")
    if len(text) <= ID_CHARS_MAX and start.removeprefix("-").isdecimal() and end.removeprefix("-").isdecimal():
        start_us = int(start) * 1_000_000
        if TIME_MIN_US <= start_us <= TIME_MAX_US:
            number = period_of(start_us, period)
            if chunk_id(number, period) == text:
                return number
    raise InputError(f"{text!r} is not the id of a chunk by {period or 'none'}; chunks() lists them")


def kept_from(info: DeviceInfo, now_us: int) -> int:
    """Return the first microsecond that retention keeps: the start of the period `chunk_retention` before the current one."""
    if info.chunk_retention is None or info.chunk_period is None:
        return TIME_MIN_US
    return start_of(period_of(now_us, info.chunk_period) - info.chunk_retention, info.chunk_period)


def accepted_until(info: DeviceInfo, now_us: int) -> int:
    """Return the last microsecond that an append may carry: the end of tomorrow, or of time for a device kept for ever."""
    if info.chunk_retention is None or info.chunk_period is None:
        return TIME_MAX_US
    return start_of(period_of(now_us, "day") + 2, "day") - 1


def window_text(info: DeviceInfo, now_us: int) -> str:
    """Return what an append outside the window is told."""
    start = to_datetime(kept_from(info, now_us)).astimezone(UTC)
    end = to_datetime(accepted_until(info, now_us)).astimezone(UTC)
    return f"Time must be between {start:%Y-%m-%d} and {end:%Y-%m-%d}"
