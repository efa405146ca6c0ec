from datetime import datetime

PERIODS: dict[str | None, int]
TIMES: tuple[int, int]

def parse_time(text: str) -> int:
    """Return int64 microseconds of ISO 8601 text (UTC without an offset); InputError if it is no time."""

def period_of(time_us: int, period: str | None) -> int:
    """Return the number of the period that holds this time."""

def start_of(number: int, period: str | None) -> int:
    """Return the first microsecond of the period with this number."""

def to_datetime(time_us: int) -> datetime:
    """Return the aware UTC datetime of int64 microseconds, exact; OverflowError outside of the years 1 to 9999."""
