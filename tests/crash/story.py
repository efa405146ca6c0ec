"""The workload of the crash suite: what a writer does, step by step, and what each step makes of a device.

A step is plain data, so the process that runs it (child.py) and the one that knows what must come of it (book.py) need to share
nothing but its number. A device is a dict: value of a point -> its time, variable and unit, in the order of insertion. Each batch
has a number of its own, and the value of its i-th point is number * BATCH_MAX + i, so whoever finds a point knows its batch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from tests.model import period_start, to_datetime, to_us

BATCH_MAX = 4096
BULK_POINTS = 256
"""What the writers take for a bulk load, instead of BULK_POINTS of tsengine.limits."""

DAY_US = 86_400_000_000
DAYS = 6
RETENTION_DAYS = 3
REGISTER_BATCHES = 30

COLUMNS, EXPIRING, REGISTERS, GUESTS, CARE = "columns", "expiring", "registers", "guests", "care"
DEVICES = (COLUMNS, EXPIRING, REGISTERS)
THREADS = (*DEVICES, GUESTS, CARE)
"""Who does steps of its own, one after another. Guests are devices that come and go; care is work on the whole store."""


class Row(NamedTuple):
    time_us: int
    variable: str
    unit: str | None = None


State = dict[int, Row]


class Step(NamedTuple):
    """One call of a writer.

    Attributes:
        who: device, or GUESTS, or CARE.
        number: of the batch, the guest, or the backup; of a drop the day since 1970.
        time_us: of the first point; of an expiry the new time of the clock.
    """

    kind: str
    who: str
    number: int = 0
    time_us: int = 0
    count: int = 0


def rows_of(step: Step) -> State:
    """The points of a batch; some batches have one time only."""
    apart_us = 0 if step.number % 5 == 0 else 1_000
    is_bulk = step.kind == "bulk"
    return {step.number * BATCH_MAX + i: Row(step.time_us + i * apart_us, "v0" if is_bulk else f"v{i % 2}") for i in range(step.count)}


def after(state: State, step: Step) -> State:
    """What a step makes of a device; the state given is not changed."""
    match step.kind:
        case "put" | "lazy" | "bulk":
            return {**state, **rows_of(step)}
        case "drop":
            return {value: row for value, row in state.items() if row.time_us // DAY_US != step.number}
        case "expire":
            kept_us = to_us(period_start(to_datetime(step.time_us), "day", RETENTION_DAYS))
            return {value: row for value, row in state.items() if row.time_us >= kept_us}
        case "edit":
            unit = str(step.count)
            return {value: row._replace(unit=unit) if value // BATCH_MAX == step.number else row for value, row in state.items()}
        case "delete":
            return {value: row for value, row in state.items() if value // BATCH_MAX != step.number}
        case "create":
            return {**state, step.number: Row(0, "guest")}
        case "describe":
            return {**state, step.number: Row(0, "guest", str(step.count))} if step.number in state else state
        case "remove":
            return {value: row for value, row in state.items() if value != step.number}
    return state


class Author:
    """Makes up steps.

    Args:
        number: batches and guests get numbers above it.
        now_us: the time of the clock.
        states: what the devices hold.
    """

    def __init__(self, dice: random.Random, number: int, now_us: int, states: dict[str, State]) -> None:
        self.dice = dice
        self.number = number
        self.now_us = now_us
        self.batches = {
            who: list(dict.fromkeys(value if who == GUESTS else value // BATCH_MAX for value in state)) for who, state in states.items()
        }

    def next_number(self) -> int:
        self.number += 1
        return self.number

    def steps(self, who: str) -> Iterator[Step]:
        make = {COLUMNS: self.columns, EXPIRING: self.expiring, REGISTERS: self.registers, GUESTS: self.guests, CARE: self.care}[who]
        while True:
            yield make()

    def columns(self) -> Step:
        """Points of some days, late ones among them; bulk loads; dropped chunks."""
        first_day = self.now_us // DAY_US // DAYS * DAYS - DAYS
        day = first_day + self.dice.randrange(DAYS)
        if self.dice.random() < 0.05:
            return Step("drop", COLUMNS, day)
        number, time_us = self.next_number(), day * DAY_US + self.dice.randrange(DAY_US // 2)
        if self.dice.random() < 0.05:
            return Step("bulk", COLUMNS, number, time_us, BULK_POINTS + self.dice.randrange(BULK_POINTS))
        return Step("lazy" if number % 7 == 3 else "put", COLUMNS, number, time_us, self.dice.randrange(1, 40))

    def expiring(self) -> Step:
        """Points of the days that are kept, and a clock that moves on."""
        if self.dice.random() < 0.04:
            self.now_us += DAY_US
            return Step("expire", EXPIRING, time_us=self.now_us)
        time_us = self.now_us - self.dice.randrange(RETENTION_DAYS * DAY_US)
        return Step("put", EXPIRING, self.next_number(), time_us, self.dice.randrange(1, 30))

    def registers(self) -> Step:
        known = self.batches[REGISTERS]
        chance = self.dice.random()
        if known and (len(known) > REGISTER_BATCHES or chance < 0.2):
            return Step("delete", REGISTERS, known.pop(self.dice.randrange(len(known))))
        if known and chance < 0.5:
            return Step("edit", REGISTERS, self.dice.choice(known), count=self.dice.randrange(1, 1000))
        number = self.next_number()
        known.append(number)
        return Step("put", REGISTERS, number, self.now_us - self.dice.randrange(DAY_US), self.dice.randrange(1, 20))

    def guests(self) -> Step:
        known = self.batches[GUESTS]
        chance = self.dice.random()
        if known and (len(known) > 5 or chance < 0.3):
            return Step("remove", GUESTS, known.pop(self.dice.randrange(len(known))))
        if known and chance < 0.4:
            return Step("point", GUESTS, self.dice.choice(known), self.now_us)
        if known and chance < 0.6:
            return Step("describe", GUESTS, self.dice.choice(known), count=self.dice.randrange(1, 1000))
        number = self.next_number()
        known.append(number)
        return Step("create", GUESTS, number)

    def care(self) -> Step:
        kind = self.dice.choices(("seal", "compact", "trim", "backup"), (4, 2, 2, 1))[0]
        return Step(kind, CARE, self.next_number())

    def script(self, length: int) -> list[Step]:
        """Steps of all, one after another; every kind comes soon, and some care between all others."""
        sources = {who: self.steps(who) for who in THREADS}
        wanted = {"put", "lazy", "bulk", "drop", "expire", "edit", "delete", "create", "describe", "point", "remove"}
        wanted |= {"seal", "compact", "trim", "backup"}
        script: list[Step] = []
        while len(script) < length:
            who, now_us = self.dice.choices(THREADS, (6, 4, 4, 2, 3))[0], self.now_us
            step = next(sources[who])
            if step.kind in wanted:
                wanted.remove(step.kind)
            elif len(wanted) >= length - len(script):
                self.now_us = now_us
                continue  # no room but for kinds that did not come yet
            script.append(step)
        return script
