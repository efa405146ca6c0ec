"""Dates as the API writes and reads them: ISO text, relative spans such as `3 hours`, and Unix times.

All instants are int64 microseconds UTC inside and whole milliseconds on the wire.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta, tzinfo

from tsengine.types import EPOCH, to_datetime

MILLISECOND_US = 1_000
DAY_US = 86_400_000_000

_ABSOLUTE = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?) ?(Z|z|[+ -]\d\d(?::?\d\d)?)?)?")
_RELATIVE = re.compile(r"(\d{1,9}) ?([A-Za-z]+)")

_SPANS_US = {
    "millisecond": MILLISECOND_US,
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": DAY_US,
    "week": 7 * DAY_US,
}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}

# The short forms are case-sensitive: m is a minute and M a month, s a second and S a millisecond.
_SHORT = {
    "S": "millisecond",
    "SS": "millisecond",
    "ms": "millisecond",
    "s": "second",
    "ss": "second",
    "sec": "second",
    "m": "minute",
    "mm": "minute",
    "min": "minute",
    "h": "hour",
    "hh": "hour",
    "d": "day",
    "dd": "day",
    "w": "week",
    "ww": "week",
    "M": "month",
    "MM": "month",
    "y": "year",
    "yy": "year",
}


def iso_ms(time: datetime) -> str:
    """Return an aware UTC datetime as `YYYY-MM-DDTHH:MM:SS.mmmZ`; what is finer than a millisecond is cut."""
    return time.isoformat(timespec="milliseconds")[:23] + "Z"


def iso_ms_of(time_us: int | None) -> str | None:
    return None if time_us is None else iso_ms(to_datetime(time_us))


def to_us(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


def parse_instant(text: str, now_us: int, *, zone: tzinfo = UTC, direction: int = -1, at_end: bool = False) -> int | None:
    """Return the microseconds of a date, or None when the text is none.

    Args:
        text: ISO 8601, `YYYY-MM-DD HH:MM:SS`, a date alone, a Unix time of 10 (seconds) or 13 (milliseconds) digits, or a
            span (`1 day`, `15m`) counted from now.
        zone: what a date without an offset means.
        direction: -1: a span lies before now; 1: after it.
        at_end: the text is the inclusive end of a range: a date alone means the end of that day, and a whole millisecond
            the end of that millisecond, so that a point shown with exactly this time is inside.
    """
    text = text.strip()
    try:
        if found := _ABSOLUTE.fullmatch(text):
            return _absolute(found, zone, at_end)
        if text.isdecimal() and text.isascii() and len(text) in (10, 13):
            time_us = int(text) * (1_000_000 if len(text) == 10 else MILLISECOND_US)
            return _end_of_millisecond(time_us) if at_end else time_us
        return shift(text, now_us, direction)
    except (ValueError, OverflowError):
        return None


def shift(span: str, now_us: int, direction: int) -> int | None:
    """Return now plus or minus a span such as `3 hours`; months, quarters and years follow the calendar.

    None when the text is no span; OverflowError when the result leaves the calendar.
    """
    found = _RELATIVE.fullmatch(span.strip())
    if found is None:
        return None
    count, word = int(found[1]) * direction, found[2]
    unit = _SHORT.get(word) or word.lower().removesuffix("s")
    if unit in _SPANS_US:
        moved_us = now_us + count * _SPANS_US[unit]
        to_datetime(moved_us)  # raises OverflowError outside the calendar
        return moved_us
    if unit in _MONTHS:
        return to_us(add_months(to_datetime(now_us), count * _MONTHS[unit]))
    return None


def add_months(time: datetime, count: int) -> datetime:
    """Return the same day of another month, or that month's last day where it is shorter."""
    years, month = divmod(time.month - 1 + count, 12)
    year = time.year + years
    if not MINYEAR <= year <= MAXYEAR:
        raise OverflowError("outside the calendar")
    return time.replace(year=year, month=month + 1, day=min(time.day, monthrange(year, month + 1)[1]))


def _absolute(found: re.Match[str], zone: tzinfo, at_end: bool) -> int:
    date, clock, offset = found.groups()
    if clock is None:
        day = datetime.fromisoformat(date).replace(tzinfo=zone)
        if at_end:
            return to_us(day.replace(hour=23, minute=59, second=59, microsecond=999_999))
        return to_us(day)
    if offset is None:
        time = datetime.fromisoformat(f"{date}T{clock}").replace(tzinfo=zone)
    else:
        # A plus sign that was not percent-encoded arrives as a space.
        time = datetime.fromisoformat(f"{date}T{clock}{offset.replace(' ', '+').upper()}")
    time_us = to_us(time)
    return _end_of_millisecond(time_us) if at_end else time_us


def _end_of_millisecond(time_us: int) -> int:
    return time_us // MILLISECOND_US * MILLISECOND_US + MILLISECOND_US - 1
