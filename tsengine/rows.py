"""A stored point as the floors below the public border pass it on: one plain tuple."""

from __future__ import annotations

from typing import NamedTuple

from tsengine.types import Value


class Row(NamedTuple):
    """One stored point. `group` is already text; `metadata` is JSON; times are microseconds UTC."""

    sequence: int
    time_us: int
    variable: str
    value: Value
    unit: str | None
    group: str
    lat: float | None
    lng: float | None
    metadata: bytes | None
    received_us: int
