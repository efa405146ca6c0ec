"""Calendar: ISO 8601 against datetime, and numbers and starts of periods against date arithmetic, years 1 to 9999."""

from __future__ import annotations

import contextlib
import datetime as dt

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import QUICK, TIME_MAX_US, TIME_MIN_US
from tsengine.core.calendar import PERIODS, TIMES, parse_time, period_of, start_of
from tsengine.errors import InputError
from tsengine.types import to_datetime

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def us(moment: dt.datetime) -> int:
    return (moment - EPOCH) // dt.timedelta(microseconds=1)


def model_start(moment: dt.datetime, period: str) -> dt.datetime:
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return day
    if period == "week":
        return day - dt.timedelta(days=day.weekday())
    return day.replace(day=1, month=day.month if period == "month" else (day.month - 1) // 3 * 3 + 1)


def model_number(moment: dt.datetime, period: str) -> int:
    if period == "day":
        return (moment.date() - dt.date(1970, 1, 1)).days
    if period == "week":
        return (moment.date() - dt.date(1969, 12, 29)).days // 7
    months = (moment.year - 1970) * 12 + moment.month - 1
    return months if period == "month" else months // 3


@pytest.mark.parametrize("period", ["day", "week", "month", "quarter"])
@given(time_us=st.integers(TIME_MIN_US, TIME_MAX_US))
@example(time_us=TIME_MIN_US)
@example(time_us=TIME_MAX_US)
@example(time_us=-1)
@example(time_us=0)
@QUICK
def test_periods_are_those_of_the_calendar(period: str, time_us: int) -> None:
    moment = to_datetime(time_us)
    number = period_of(time_us, period)
    assert number == model_number(moment, period)
    assert start_of(number, period) == us(model_start(moment, period))
    assert start_of(number, period) <= time_us < start_of(number + 1, period)
    assert period_of(start_of(number, period) - 1, period) == number - 1
    assert period_of(start_of(number + 1, period), period) == number + 1


@pytest.mark.parametrize("period", ["day", "week", "month", "quarter"])
def test_leap_days_and_centuries(period: str) -> None:
    for year in (1, 4, 100, 400, 1600, 1700, 1900, 1999, 2000, 2023, 2024, 2100, 2400, 9999):
        for month in range(1, 13):
            first = dt.datetime(year, month, 1, tzinfo=dt.UTC)
            for moment in (first, first + dt.timedelta(days=27, hours=23, minutes=59, seconds=59, microseconds=999_999)):
                assert period_of(us(moment), period) == model_number(moment, period)


def test_without_periods_all_time_is_one_chunk() -> None:
    assert {period_of(time, None) for time in (*TIMES, 0, 1)} == {0}
    assert start_of(0, None) < TIME_MIN_US
    assert start_of(1, None) > TIME_MAX_US
    assert set(PERIODS) == {None, "day", "week", "month", "quarter"}


@given(st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC)), st.integers(-23, 23), st.integers(0, 59))
@QUICK
def test_isoformat_is_read_exactly(moment: dt.datetime, hours: int, minutes: int) -> None:
    zone = dt.timezone(dt.timedelta(hours=hours, minutes=minutes if hours >= 0 else -minutes))
    for text in (
        moment.isoformat(),
        str(moment),
        moment.isoformat().replace("+00:00", "Z"),
        moment.replace(tzinfo=None).isoformat(),
        moment.astimezone(zone).isoformat(),
        moment.astimezone(zone).isoformat(" "),
    ):
        assert parse_time(text) == us(moment), text


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00", 0),
        ("1970-01-01T00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01 00:00:00 +00:00", 0),
        ("1970-01-01T01:00:00+01", 0),
        ("1970-01-01T01:00:00+0100", 0),
        ("1970-01-01T00:00:00,5", 500_000),
        ("1970-01-01T00:00:00.1234567890123", 123_456),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("0001-01-01", TIME_MIN_US),
        ("9999-12-31T23:59:59.999999", TIME_MAX_US),
        ("2000-02-29", 951_782_400_000_000),
    ],
)
def test_other_spellings_of_a_time_are_read(text: str, time_us: int) -> None:
    assert parse_time(text) == time_us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024",
        "2024-01",
        "2024-1-1",
        "2024-13-01",
        "2024-00-01",
        "2023-02-29",
        "1900-02-29",
        "2024-04-31",
        "2024-01-32",
        "2024-01-00",
        "0000-01-01",
        "2024-01-01T",
        "2024-01-01T1",
        "2024-01-01T24:00",
        "2024-01-01T00:60",
        "2024-01-01T00:00:60",
        "2024-01-01T00:00:00.",
        "2024-01-01T00:00:00+1",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+00:60",
        "2024-01-01T00:00:00ZZ",
        "2024-01-01X00:00:00",
        "2024-01-01T00:00:00 UTC",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "２０２４-01-01",
        " 2024-01-01",
        "2024-01-01 ",
        "-024-01-01",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a time"):
        parse_time(text)


@given(st.text(max_size=40))
@QUICK
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert TIME_MIN_US <= parse_time(text) <= TIME_MAX_US
