"""How often a minute each route may be asked, by all together and by each device: fixed windows of one minute.

Counts live in memory and begin anew with each minute of the engine's clock, so they never hold more than the devices that
were heard in it. A refused request does not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tsengine.errors import InputError
from tsengine.server.envelope import Refusal
from tsengine.types import DeviceInfo

WINDOW_US = 60_000_000

POST_DATA, GET_DATA, GET_AGGREGATE = "POST /data", "GET /data", "GET /data aggregate"
PUT_DATA, DELETE_DATA = "PUT /data", "DELETE /data"
DEVICE = "device"
"""The name of the limit that each device has for POST /data and for GET /data, unless its own `rpm` says otherwise."""

PLANS = ("free", "starter", "scale")

_TABLE: tuple[tuple[tuple[int, int, int], tuple[str, ...]], ...] = (
    ((250, 5_000, 15_000), (POST_DATA, GET_DATA)),
    ((60, 250, 1_000), (PUT_DATA, DELETE_DATA)),
    ((5, 10, 100), (GET_AGGREGATE,)),
    ((10, 250, 5_000), ("POST /device", "DELETE /device/:id")),
    ((50, 100, 500), ("GET /device",)),
    ((100, 1_000, 5_000), ("GET /device/:id", "GET /device/token/:id", "GET /device/:id/data_amount")),
    ((100, 1_000, 5_000), ("GET /device/:id/params", "POST /device/:id/params", "DELETE /device/:id/params/:id")),
    ((100, 1_000, 5_000), ("GET /device/params", "PUT /device/params/:id")),
    ((100, 1_000, 15_000), ("GET /device/:id/chunk",)),
    ((50, 250, 2_000), ("PUT /device/:id", "POST /device/token", "DELETE /device/token/:id", "POST /device/:id/convert")),
    ((50, 250, 2_000), ("POST /device/:id/empty", "POST /device/:id/chunk/backup", "DELETE /device/:id/chunk/:id")),
    ((60, 5_000, 10_000), ("GET /info",)),
    ((60, 100, 200), ("GET /files", "POST /files", "PUT /files", "DELETE /files")),
)

PRESETS = {plan: {route: row[place] for row, routes in _TABLE for route in routes} for place, plan in enumerate(PLANS)}
"""TagoIO's own limits, by plan: requests a minute of each route."""

NAMES = frozenset({DEVICE, *PRESETS["free"]})
DEVICE_ROUTES = frozenset({"GET /info", "GET /device/params", "PUT /device/params/:id"})
"""Routes with a limit that a device's token opens; those on data count for themselves."""

ALIASES = {"/bucket/:id/data_amount": "/device/:id/data_amount", "/device/:id/chunk/copy": "/device/:id/chunk/backup"}


def parse_limits(texts: list[str]) -> dict[str, int]:
    """Return the limits that texts name: `starter`, or `POST /data=250`; later ones win.

    Raises:
        InputError: a text is neither.
    """
    limits: dict[str, int] = {}
    for text in texts:
        name, separator, number = (part.strip() for part in text.rpartition("="))
        if not separator and text in PRESETS:
            limits |= PRESETS[text]
        elif number.isascii() and number.isdecimal():
            limits[name] = int(number)
        else:
            raise InputError(f"a rate limit is one of {', '.join(PLANS)}, or a route and a number such as 'POST /data=250', not {text!r}")
    check_limits(limits)
    return limits


def check_limits(limits: dict[str, int]) -> None:
    """Raise InputError for a limit of an unknown route, or one below 1."""
    for name, limit in limits.items():
        if name not in NAMES:
            raise InputError(f"there is no rate limit for {name!r}; there are: {', '.join(sorted(NAMES))}")
        if limit < 1:
            raise InputError(f"the rate limit of {name} must be at least 1, not {limit}")


@lru_cache(maxsize=1024)
def route_of(method: str, template: str) -> str:
    """Return the name that a route of Falcon has in a table of limits."""
    path = re.sub(r"\{[^}]*\}", ":id", template)
    return f"{method} {'/files' if path.startswith('/file') else ALIASES.get(path, path)}"


class Rates:
    """Counts the requests of the running minute.

    Args:
        limits: requests a minute by name (NAMES).
        now_us: the clock; windows begin with its minutes.

    Attributes:
        counts_data: data sent to any device are counted; otherwise only those of devices with an `rpm`.
        counts_reads: the same of reads of data.
    """

    def __init__(self, limits: dict[str, int], now_us: Callable[[], int]) -> None:
        check_limits(limits)
        self.counts_data = POST_DATA in limits or DEVICE in limits
        self.counts_reads = GET_DATA in limits or DEVICE in limits
        self._limits = limits
        self._now_us = now_us
        self._window = 0
        self._counts: dict[Any, int] = {}

    def counts(self, info: DeviceInfo) -> bool:
        """Whether data sent to this device are counted."""
        return self.counts_data or bool(info.extra.get("rpm"))

    def is_limited(self, route: str) -> bool:
        return route in self._limits

    def admit(self, route: str, info: DeviceInfo | None = None) -> None:
        """Count a request of a known caller.

        Args:
            info: the device, for a request on data.

        Raises:
            Refusal: 429 with the seconds that are left of the minute; the request is not counted.
        """
        wanted: list[tuple[Any, int]] = []
        if info is not None:
            rpm = info.extra.get("rpm") or self._limits.get(DEVICE)
            if rpm and route in (POST_DATA, GET_DATA):
                wanted.append(((route, info.number), rpm))
        limit = self._limits.get(route)
        if limit is not None:
            wanted.append((route, limit))
        if not wanted:
            return
        now_us = self._now_us()
        window, into_us = divmod(now_us, WINDOW_US)
        if window != self._window:
            self._window = window
            self._counts.clear()
        counts = self._counts
        for key, most in wanted:
            if counts.get(key, 0) >= most:
                raise too_many(-(-(WINDOW_US - into_us) // 1_000_000))
        for key, _ in wanted:
            counts[key] = counts.get(key, 0) + 1


def too_many(wait_s: int) -> Refusal:
    return Refusal(429, f"Too many requests (Retry-After: {wait_s})", retry_after_s=wait_s)
