"""The engine as a dict: the oracle of the state machine test. Plain Python, nothing shared with the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REGISTERS_MAX = 50_000


def to_datetime(time_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=time_us)


def to_us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def period_start(moment: datetime, period: str, back: int = 0) -> datetime:
    """First instant of the period that holds a moment, or of one so many periods before."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return day - timedelta(days=back)
    if period == "week":
        return day - timedelta(days=day.weekday(), weeks=back)
    months = day.year * 12 + day.month - 1
    if period == "quarter":
        months = months // 3 * 3 - 3 * back
    else:
        months -= back
    return day.replace(year=months // 12, month=months % 12 + 1, day=1)


@dataclass
class ModelPoint:
    order: int  # of insertion
    variable: str
    value: Any
    time_us: int
    unit: str | None = None
    group: str | None = None  # None = the automatic one of its batch
    location: tuple[float, float] | None = None
    metadata: dict[str, Any] | None = None
    batch: int = 0

    def key(self) -> tuple[int, int]:
        return self.time_us, self.order


@dataclass
class ModelDevice:
    type: str
    period: str | None = None
    retention: int | None = None
    chunk_limit: int | None = None
    points: list[ModelPoint] = field(default_factory=list)
    inserted: int = 0

    def window(self, now_us: int) -> tuple[int | None, int | None]:
        """First and last time that an append may carry; None = open."""
        if self.type == "mutable" or self.period is None or self.retention is None:
            return None, None
        now = to_datetime(now_us)
        end = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)
        return to_us(period_start(now, self.period, self.retention)), to_us(end) - 1

    def chunk_of(self, time_us: int) -> int:
        return 0 if self.period is None else to_us(period_start(to_datetime(time_us), self.period))

    def refuses(self, points: list[ModelPoint], now_us: int) -> bool:
        start, end = self.window(now_us)
        if start is not None and any(not start <= point.time_us <= end for point in points):
            return True
        if self.type == "mutable":
            return len(self.points) + len(points) > REGISTERS_MAX
        if self.chunk_limit is None:
            return False
        counts: dict[int, int] = {}
        for point in self.visible(now_us) + points:
            counts[self.chunk_of(point.time_us)] = counts.get(self.chunk_of(point.time_us), 0) + 1
        touched = {self.chunk_of(point.time_us) for point in points}
        return any(counts[chunk] > self.chunk_limit for chunk in touched)

    def append(self, points: list[ModelPoint]) -> None:
        for point in points:
            self.inserted += 1
            point.order = self.inserted
        self.points += points

    def visible(self, now_us: int) -> list[ModelPoint]:
        """Every point that retention keeps, by (time, insertion)."""
        start, _ = self.window(now_us)
        kept = [point for point in self.points if start is None or point.time_us >= start]
        return sorted(kept, key=ModelPoint.key)

    def chunks(self, now_us: int) -> dict[int, int]:
        """Start of each chunk that holds points -> how many."""
        counts: dict[int, int] = {}
        for point in self.visible(now_us):
            counts[self.chunk_of(point.time_us)] = counts.get(self.chunk_of(point.time_us), 0) + 1
        return counts
