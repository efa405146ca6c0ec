"""Dates of queries and of expiry: absolute, relative, with zones, at the end of a range."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tsengine.server.dates import parse_instant, to_us
from tsengine.types import to_datetime

NOW = datetime(2024, 3, 31, 12, 30, 15, 250_000, tzinfo=UTC)


def at(text: str, **options: object) -> str | None:
    time_us = parse_instant(text, to_us(NOW), **options)  # type: ignore[arg-type]
    return None if time_us is None else to_datetime(time_us).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
        ("2024-01-02T03:04:05.678Z", "2024-01-02T03:04:05.678000Z"),
        ("2024-01-02T03:04:05.678901234Z", "2024-01-02T03:04:05.678901Z"),
        ("2024-01-02T03:04:05+02:00", "2024-01-02T01:04:05Z"),
        ("2024-01-02 03:04:05 02:00", "2024-01-02T01:04:05Z"),
        ("2024-01-02 03:04:05+00:00", "2024-01-02T03:04:05Z"),
        ("2024-01-02 03:04:05-0330", "2024-01-02T06:34:05Z"),
        ("2024-01-02 03:04:05", "2024-01-02T03:04:05Z"),
        ("2024-01-02 03:04", "2024-01-02T03:04:00Z"),
        ("2024-01-02", "2024-01-02T00:00:00Z"),
        ("1704164645", "2024-01-02T03:04:05Z"),
        ("1704164645678", "2024-01-02T03:04:05.678000Z"),
        ("1 day", "2024-03-30T12:30:15.250000Z"),
        ("2 Hours", "2024-03-31T10:30:15.250000Z"),
        ("15m", "2024-03-31T12:15:15.250000Z"),
        ("15 min", "2024-03-31T12:15:15.250000Z"),
        ("1M", "2024-02-29T12:30:15.250000Z"),
        ("1 month", "2024-02-29T12:30:15.250000Z"),
        ("1 quarter", "2023-12-31T12:30:15.250000Z"),
        ("13 months", "2023-02-28T12:30:15.250000Z"),
        ("1 y", "2023-03-31T12:30:15.250000Z"),
        ("3 weeks", "2024-03-10T12:30:15.250000Z"),
        ("250 S", "2024-03-31T12:30:15Z"),
        ("15 s", "2024-03-31T12:30:00.250000Z"),
    ],
)
def test_a_date_is_read(text: str, expected: str) -> None:
    assert at(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "2024-13-01",
        "2024-02-30",
        "2024-01-02T25:00:00Z",
        "1 lightyear",
        "day",
        "-1 day",
        "12",
        "9999 years",
        "1.5 days",
        "",
        "20240102",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert at(text) is None


def test_a_date_alone_ends_at_the_end_of_its_day() -> None:
    assert at("2024-01-02", at_end=True) == "2024-01-02T23:59:59.999999Z"


def test_an_end_takes_in_its_whole_millisecond() -> None:
    assert at("2024-01-02T03:04:05.678Z", at_end=True) == "2024-01-02T03:04:05.678999Z"


def test_a_zone_is_for_dates_without_an_offset() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert at("2024-07-01 12:00:00", zone=berlin) == "2024-07-01T10:00:00Z"
    assert at("2024-07-01", zone=berlin) == "2024-06-30T22:00:00Z"
    assert at("2024-07-01T12:00:00Z", zone=berlin) == "2024-07-01T12:00:00Z"


def test_an_expiry_counts_forward() -> None:
    assert at("3 hours", direction=1) == "2024-03-31T15:30:15.250000Z"
    assert at("1 month", direction=1) == "2024-04-30T12:30:15.250000Z"
