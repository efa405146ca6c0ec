"""/device/:id/statistics: how many points a device holds of each hour, day or month, as totals of the month so far.

The points themselves are counted, by their time, so that nothing has to be kept for this; reads are not counted.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any, Literal

import falcon.asgi

from tsengine.device import Device
from tsengine.server.dates import add_months, iso_ms_of, to_us
from tsengine.server.envelope import Refusal, wrong_query
from tsengine.server.routes.described import StatisticsRow
from tsengine.server.routes.queries import Arguments, date_of, zone_of
from tsengine.server.routing import Call, Query, Route
from tsengine.server.service import Service, answer
from tsengine.types import to_datetime

PERIODICITIES = ("hour", "day", "month")

ROWS_MAX = 1_000
"""Most rows of one answer: each costs a count."""


class Statistics:
    """/device/:id/statistics, newest first."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        arguments = Arguments(req.query_string)
        periodicity = arguments.one("periodicity") or "day"
        if periodicity not in PERIODICITIES:
            raise wrong_query("periodicity", f"periodicity must be one of {', '.join(PERIODICITIES)}")
        now_us, zone = self._service.now_us(), zone_of(arguments)
        end_us = date_of(arguments, "end_date", now_us, zone)
        end_us = now_us if end_us is None else min(end_us, now_us)
        start_us = date_of(arguments, "start_date", now_us, zone)
        if start_us is None:
            start_us = month_start_us(end_us)
        starts = period_starts(start_us, end_us, periodicity, zone)
        answer(resp, await self._service.run(rows_of, device.device, starts, end_us))


def rows_of(device: Device, starts_us: list[int], end_us: int) -> list[dict[str, Any]]:
    """Return a row for each period, newest first; the last one ends at a time that is given."""
    rows = []
    for start_us, following_us in pairwise([*starts_us, end_us + 1]):
        last_us = following_us - 1
        count = device.count(None, month_start_us(last_us), last_us)
        rows.append({"time": iso_ms_of(start_us), "device_input": count, "device_output": 0})
    return rows[::-1]


def period_starts(start_us: int, end_us: int, periodicity: str, zone: tzinfo) -> list[int]:
    """Return the starts of the periods from the one that holds a time to the one that holds another, ascending.

    Raises:
        Refusal: 400; there are too many.
    """
    found: list[int] = []
    try:
        local = to_datetime(start_us).astimezone(zone)
        local = local.replace(minute=0, second=0, microsecond=0)
        if periodicity != "hour":
            local = local.replace(hour=0)
        if periodicity == "month":
            local = local.replace(day=1)
        while (at_us := to_us(local)) <= end_us:
            found.append(at_us)
            if len(found) > ROWS_MAX:
                raise Refusal(400, f"At most {ROWS_MAX} rows are counted in one request; ask for fewer, or for longer periods")
            local = following(local, periodicity)
    except OverflowError:  # the range reaches the end of the calendar
        pass
    return found


def following(local: datetime, periodicity: str) -> datetime:
    """Return the start of the next period; hours are counted in UTC, where a clock change cannot stop them."""
    match periodicity:
        case "hour":
            return (local.astimezone(UTC) + timedelta(hours=1)).astimezone(local.tzinfo)
        case "day":
            return local + timedelta(days=1)
        case _:
            return add_months(local, 1)


def month_start_us(time_us: int) -> int:
    """Return the first microsecond of a time's month, UTC."""
    return to_us(to_datetime(time_us).replace(day=1, hour=0, minute=0, second=0, microsecond=0))


ROUTES = (
    Route(
        "/device/{device_id}/statistics",
        Statistics,
        "Devices",
        get=Call(
            summary="Count the points of the month so far, by hour, day or month",
            need="account",
            query=(
                Query("periodicity", Literal[PERIODICITIES], "day when absent"),
                Query("start_date", str, "Not before this: a date, or a span before now; the start of the month when absent"),
                Query("end_date", str, "Not after this, likewise; now when absent"),
                Query("timezone", str, "IANA zone of the periods; UTC when absent"),
            ),
            answer=list[StatisticsRow],
        ),
    ),
)
