"""Everything at once, and a close in the middle of it: nobody waits for ever, and whoever comes late is told that the store is closed."""

from __future__ import annotations

import faulthandler
import random
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import tsengine
from tsengine import ClosedError, ManualClock

NOON_US = 1_795_262_400_000_000
DAY_US = 86_400_000_000
DEADLOCK_S = 120

pytestmark = pytest.mark.slow


class Crowd:
    """Threads that do one thing each until the store is closed under them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.clock = ManualClock(NOON_US)
        self.db = tsengine.open(folder / "data", clock=self.clock, clock_trust_s=0, memory_mb=1)
        self.columns = [self.db.create_device(f"device {n}", chunk_period="day", chunk_retention=3) for n in range(3)]
        self.registers = self.db.create_device("registers", type="mutable")
        self.done = Counter[str]()
        self.acknowledged = Counter[str]()
        self.faults: list[BaseException] = []

    def append(self, dice: random.Random) -> None:
        device = dice.choice(self.columns)
        now_us = self.clock.now_us()
        count = device.append_many([{"variable": "t", "value": i, "time": now_us - dice.randrange(DAY_US)} for i in range(50)])
        self.acknowledged[device.id] += count

    def stage(self, dice: random.Random) -> None:
        dice.choice(self.columns).append("lazy", 1.0, time=self.clock.now_us(), sync=False)

    def load(self, dice: random.Random) -> None:
        times = self.clock.now_us() - np.arange(260_000, dtype=np.int64)
        dice.choice(self.columns).append_columns("bulk", times, np.arange(260_000) / 10)

    def read(self, dice: random.Random) -> None:
        device = dice.choice(self.columns)
        points = device.points(limit=2_000, order="asc")
        assert all(earlier.time <= later.time for earlier, later in pairwise(points))
        device.last()
        device.aggregate("t", ["count", "sum"], "1h")

    def scan(self, dice: random.Random) -> None:
        for part in dice.choice(self.columns).scan(columns=["time", "value"]):
            assert part.num_rows
            break

    def edit(self, dice: random.Random) -> None:
        self.registers.append_many([{"variable": "r", "value": i, "time": NOON_US} for i in range(10)])
        ids = [point.id for point in self.registers.points(limit=20)]
        self.registers.edit([{"id": id, "unit": "kWh"} for id in ids])
        self.registers.delete(ids=ids[:8])

    def seal(self, dice: random.Random) -> None:
        self.db.seal()

    def compact(self, dice: random.Random) -> None:
        self.db.compact()

    def expire(self, dice: random.Random) -> None:
        self.clock.advance(seconds=600)
        self.db._maintain()

    def drop(self, dice: random.Random) -> None:
        device = dice.choice(self.columns)
        chunks = device.chunks()
        if len(chunks) > 2:
            device.delete_chunk(chunks[-1].id)

    def backup(self, dice: random.Random) -> None:
        target = self.folder / "backup"
        shutil.rmtree(target, ignore_errors=True)
        self.db.backup(target)

    def check(self, dice: random.Random) -> None:
        assert self.db.check().problems == []

    def live(self, name: str) -> None:
        work: Callable[[random.Random], None] = getattr(self, name)
        dice = random.Random(f"{self.seed} {name} {threading.get_ident()}")
        while True:
            try:
                work(dice)
                self.done[name] += 1
            except ClosedError:
                return
            except tsengine.NotFoundError:  # another thread dropped the chunk
                continue
            except tsengine.InputError as error:  # another thread moved the clock
                if "Time must be" not in str(error):
                    self.faults.append(error)
                    return
            except BaseException as error:
                self.faults.append(error)
                return


NAMES = ("append", "append", "stage", "load", "read", "read", "scan", "edit", "seal", "compact", "expire", "drop", "backup", "check")


@pytest.mark.parametrize("seconds", [0.0, 0.5, 2.0])
def test_everything_at_once_and_a_close_in_the_middle(tmp_path: Path, seconds: float) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)
    faulthandler.dump_traceback_later(DEADLOCK_S, exit=True, file=sys.__stderr__)  # a deadlock is told, not waited for
    try:
        crowd = Crowd(tmp_path, seed)
        threads = [threading.Thread(target=crowd.live, args=(name,), name=name) for name in NAMES]
        for thread in threads:
            thread.start()
        threads[0].join(seconds)  # it does not end before the close
        crowd.db.close()
        for thread in threads:
            thread.join()
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert crowd.faults == []
    with pytest.raises(ClosedError):
        crowd.columns[0].append("t", 1.0)
    with pytest.raises(ClosedError):
        crowd.columns[0].points()
    with tsengine.open(tmp_path / "data", clock=crowd.clock) as db:
        assert db.check().problems == []
    print(crowd.done)
