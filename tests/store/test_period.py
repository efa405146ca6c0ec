"""Chunks: bounds, ids and the window of retention against datetime, years 1 to 9999."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calendar.test_calendar import model_start, us
from tests.strategies import PERIODS, QUICK, TIME_MAX_US, TIME_MIN_US, any_times
from tsengine.core.calendar import period_of
from tsengine.errors import InputError
from tsengine.store.period import accepted_until, chunk_bounds, chunk_id, kept_from, parse_chunk_id, window_text
from tsengine.types import DeviceInfo, to_datetime

Period = Literal["day", "week", "month", "quarter"]


def info_of(period: Period | None, retention: int | None) -> DeviceInfo:
    return DeviceInfo(1, "0" * 24, "device", "immutable", chunk_period=period, chunk_retention=retention)


def back(moment: dt.datetime, period: str, count: int) -> dt.datetime:
    """Start of the period so many before the one that holds a moment."""
    start = model_start(moment, period)
    if period in ("day", "week"):
        return start - dt.timedelta(days=count * (1 if period == "day" else 7))
    months = start.year * 12 + start.month - 1 - count * (1 if period == "month" else 3)
    return start.replace(year=months // 12, month=months % 12 + 1)


@given(any_times, st.sampled_from(PERIODS))
@QUICK
def test_a_chunk_holds_its_times_and_its_id_leads_back(time_us: int, period: str | None) -> None:
    number = period_of(time_us, period)
    start_us, end_us = chunk_bounds(number, period)
    assert start_us <= time_us <= end_us
    assert start_us >= TIME_MIN_US
    assert end_us <= TIME_MAX_US
    to_datetime(end_us)  # every bound is a datetime, also of the last week of the year 9999
    text = chunk_id(number, period)
    assert text == f"{start_us // 10**6}_{end_us // 10**6}"
    assert parse_chunk_id(text, period) == number
    if end_us < TIME_MAX_US:
        assert chunk_bounds(number + 1, period)[0] == end_us + 1


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "_",
            "1_2",
            "a_b",
            "--1_2",
            "1e9_2",
            "1704067200",
            "1704067200_",
            "_1706745599",
            "1704067200_1706745600",
            "1704067201_1706745599",
        ),
        *("1704067200_1706745599_", " 1704067200_1706745599", "\uff11704067200_1706745599", "+1704067200_1706745599"),
        *("1" * 5000 + "_2", "9" * 12 + "_" + "9" * 12),
    ],
)
def test_what_is_no_chunk_is_refused(period: str | None, text: str) -> None:
    with pytest.raises(InputError, match="is not the id of a chunk"):
        parse_chunk_id(text, period)


@pytest.mark.parametrize("period", ["day", "week", "month", "quarter"])
@given(moment=st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(9990, 1, 1), timezones=st.just(dt.UTC)), retention=st.integers(0, 36))
@QUICK
def test_the_window_of_retention(period: Period, moment: dt.datetime, retention: int) -> None:
    info = info_of(period, retention)
    assert kept_from(info, us(moment)) == us(back(moment, period, retention))
    tomorrow = model_start(moment, "day") + dt.timedelta(days=1)
    assert accepted_until(info, us(moment)) == us(tomorrow + dt.timedelta(days=1)) - 1
    assert window_text(info, us(moment)) == f"Time must be between {back(moment, period, retention):%Y-%m-%d} and {tomorrow:%Y-%m-%d}"


def test_without_retention_everything_is_kept() -> None:
    for info in (info_of("month", None), info_of(None, None), info_of(None, 3)):
        assert (kept_from(info, 0), accepted_until(info, 0)) == (TIME_MIN_US, TIME_MAX_US)
