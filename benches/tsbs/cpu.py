"""TSBS "cpu": hosts that report ten usages in percent every ten seconds, and the thirteen kinds of its "cpu-only" queries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from benches.tsbs import HOUR_US, MINUTE_US, START_US, STEP_US, TABLE_ROWS, Asked, rows_of
from benches.workload import walk

USAGES = ("user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
FIELDS = [f"usage_{name}" for name in USAGES]
TAGS = ("region", "datacenter", "rack", "os", "arch", "team", "service", "service_version", "service_environment")
HIGH = 90.0


class Cpu:
    """Hosts by days: `values` is (fields, hosts, steps), whole percents as floats, as TSBS writes them."""

    tables = {"cpu": FIELDS}

    def __init__(self, hosts: int, days: int, seed: int = 20261121) -> None:
        random = np.random.default_rng(seed)
        self.count, self.steps = hosts, days * 8_640
        self.end_us = START_US + self.steps * STEP_US
        self.times = START_US + np.arange(self.steps, dtype=np.int64) * STEP_US
        self.values = np.empty((len(FIELDS), hosts, self.steps))
        for field in range(len(FIELDS)):
            for host in range(hosts):
                self.values[field, host] = np.floor(walk(random, self.steps, 1, 0, 100, 9, random.uniform(0, 100)))
        self.tags = [{name: f"{name}-{random.integers(0, 20)}" for name in TAGS} | {"hostname": f"host_{host}"} for host in range(hosts)]

    def name(self, host: int) -> str:
        return self.tags[host]["hostname"]

    def parts(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield the rows in order of time, all hosts at each."""
        step = max(TABLE_ROWS // self.count, 1)
        for low in range(0, self.steps, step):
            times = self.times[low : low + step]
            fields = {name: self.values[number, :, low : low + step].T.reshape(-1) for number, name in enumerate(FIELDS)}
            yield "cpu", rows_of(np.tile(np.arange(self.count), len(times)), np.repeat(times, self.count), fields)

    def questions(self) -> list[Asked]:
        start = START_US + 5 * HOUR_US + 7 * STEP_US
        one, eight = [self.count // 2], list(range(0, self.count, max(self.count // 8, 1)))[:8]
        hour, twelve, eight_hours = (start, start + HOUR_US), (start, start + 12 * HOUR_US), (start, start + 8 * HOUR_US)
        busiest = int((self.values[0][:, self.part(*twelve)] > HIGH).sum(axis=1).argmax())
        return [
            Asked("single-groupby-1-1-1", "max_by", (FIELDS[:1], one, MINUTE_US, *hour)),
            Asked("single-groupby-1-1-12", "max_by", (FIELDS[:1], one, MINUTE_US, *twelve)),
            Asked("single-groupby-1-8-1", "max_by", (FIELDS[:1], eight, MINUTE_US, *hour)),
            Asked("single-groupby-5-1-1", "max_by", (FIELDS[:5], one, MINUTE_US, *hour)),
            Asked("single-groupby-5-8-1", "max_by", (FIELDS[:5], eight, MINUTE_US, *hour)),
            Asked("cpu-max-all-1", "max_by", (FIELDS, one, HOUR_US, *eight_hours)),
            Asked("cpu-max-all-8", "max_by", (FIELDS, eight, HOUR_US, *eight_hours)),
            Asked("double-groupby-1", "mean_by_host", (FIELDS[:1], *twelve)),
            Asked("double-groupby-5", "mean_by_host", (FIELDS[:5], *twelve)),
            Asked("double-groupby-all", "mean_by_host", (FIELDS, *twelve)),
            Asked("high-cpu-1", "high", ([busiest], *twelve)),
            Asked("high-cpu-all", "high", (None, *twelve)),
            Asked("lastpoint", "last_rows", ()),
            Asked("groupby-orderby-limit", "newest_minutes", (5, self.end_us - 3 * HOUR_US - 4 * STEP_US)),
        ]

    def answer(self, asked: Asked) -> list[Any]:
        return getattr(self, asked.method)(*asked.args)

    def part(self, start_us: int, end_us: int) -> slice:
        return slice(*np.searchsorted(self.times, [start_us, end_us]))

    def max_by(self, fields: list[str], hosts: list[int], every_us: int, start_us: int, end_us: int) -> list[Any]:
        """The greatest of some fields in each bucket, over some hosts."""
        part = self.part(start_us, end_us)
        buckets, first = np.unique(self.times[part] // every_us, return_index=True)
        greatest = [np.maximum.reduceat(self.values[FIELDS.index(name)][hosts, part].max(axis=0), first) for name in fields]
        return [buckets * every_us, *greatest]

    def mean_by_host(self, fields: list[str], start_us: int, end_us: int) -> list[Any]:
        """The mean of some fields of each host in each hour."""
        part = self.part(start_us, end_us)
        hours, first, counts = np.unique(self.times[part] // HOUR_US, return_index=True, return_counts=True)
        means = [np.add.reduceat(self.values[FIELDS.index(name)][:, part], first, axis=1) / counts for name in fields]
        return [np.repeat(np.arange(self.count), len(hours)), np.tile(hours * HOUR_US, self.count), *(mean.reshape(-1) for mean in means)]

    def high(self, hosts: list[int] | None, start_us: int, end_us: int) -> list[Any]:
        """The rows of all or some hosts whose usage_user is above 90."""
        part, chosen = self.part(start_us, end_us), np.arange(self.count) if hosts is None else np.array(hosts)
        host, step = np.nonzero(self.values[0][chosen, part] > HIGH)
        return [chosen[host], self.times[part][step], *(values[chosen[host], part.start + step] for values in self.values)]

    def last_rows(self) -> list[Any]:
        """The newest row of each host."""
        return [np.arange(self.count), np.full(self.count, self.times[-1]), *(values[:, -1] for values in self.values)]

    def newest_minutes(self, limit: int, end_us: int) -> list[Any]:
        """The greatest usage_user of all hosts in each of the last minutes before a moment, newest first."""
        minutes, values = self.max_by(FIELDS[:1], list(range(self.count)), MINUTE_US, START_US, end_us)
        return [minutes[::-1][:limit], values[::-1][:limit]]
