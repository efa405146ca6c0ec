"""`make soak MINUTES=10`: a mixed load whose memory, descriptors and disk must stay flat; a plot is written to build/soak.png.

Run as `python -m tests.soak MINUTES [FOLDER]`. One process writes (in order and late, single points and batches, bulk loads, registers
inserted, edited and deleted), reads, seals, compacts, backs up, and moves its clock so that retention drops what is old: a day of data a
minute or faster, so that after the first third as much leaves as comes. What is acknowledged is counted, and compared in the end.
Exit status 1 if something failed or a line was not flat.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tsengine
from tests.soak.flat import grows
from tsengine import ManualClock

DAY_US = 86_400_000_000
START_US = 1_795_262_400_000_000
DEVICES = 20
RETENTION_DAYS = 3
REGISTERS = 2_000
SAMPLES = 240
LOG_MB = 200.0
"""The log is three files of 64 MiB, some of them spare, whatever is written."""
SETTLED = 1 / 3
"""Part of the run after which everything has its size."""


class Sample(NamedTuple):
    seconds: float
    rss_mb: float
    descriptors: float
    disk_mb: float  # without the log
    log_mb: float


class Soak:
    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self.clock = ManualClock(START_US)
        self.db = tsengine.open(folder / "data", clock=self.clock, clock_trust_s=0, memory_mb=16)
        self.columns = [
            self.db.create_device(f"device {number}", chunk_period="day", chunk_retention=RETENTION_DAYS, point_limit=None)
            for number in range(DEVICES)
        ]
        self.registers = self.db.create_device("registers", type="mutable")
        self.counts: dict[str, int] = {}
        self.register_values: dict[str, int] = {}
        self.failure: BaseException | None = None
        self.is_over = threading.Event()
        self.samples: list[Sample] = []

    def note(self, what: str, count: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + count

    def work(self, make: str) -> None:
        """The life of a thread; the first failure ends all."""
        dice = random.Random(make)
        try:
            while not self.is_over.is_set():
                getattr(self, make)(dice)
        except BaseException as error:
            self.failure = self.failure or error
            self.is_over.set()

    def ingest(self, dice: random.Random) -> None:
        device = dice.choice(self.columns)
        now_us = self.clock.now_us()
        late_us = dice.randrange(DAY_US) if dice.random() < 0.2 else 0
        if dice.random() < 0.01:
            count = 20_000
            times = now_us - late_us - np.arange(count, dtype=np.int64)[::-1] * 1_000
            device.append_columns("bulk", times, np.round(np.sin(np.arange(count) / 50), 2))
        else:
            count = dice.choice((1, 10, 100))
            device.append_many(
                [{"variable": f"v{i % 4}", "value": dice.random(), "time": now_us - late_us + i, "unit": "C"} for i in range(count)]
            )
        self.note("points", count)

    def query(self, dice: random.Random) -> None:
        device = dice.choice(self.columns)
        now_us = self.clock.now_us()
        device.last()
        device.points(limit=50)
        device.aggregate("v1", "avg", "1h", start=now_us - DAY_US)
        device.read("v2")
        self.note("queries", 4)

    def edit(self, dice: random.Random) -> None:
        values = [{"variable": "r", "value": dice.randrange(10**6), "time": self.clock.now_us()} for _ in range(10)]
        self.registers.append_many(values)
        added = self.registers.points(limit=10)
        for point in added:
            self.register_values[point.id] = int(point.value)  # type: ignore[arg-type]
        chosen = dice.sample(sorted(self.register_values), 5)
        self.registers.edit([{"id": id, "value": 7} for id in chosen])
        self.register_values.update(dict.fromkeys(chosen, 7))
        if len(self.register_values) > REGISTERS:
            gone = dice.sample(sorted(self.register_values), 20)
            self.registers.delete(ids=gone)
            for id in gone:
                del self.register_values[id]
        self.note("edits", 15)

    def care(self, dice: random.Random) -> None:
        """Time passes: RETENTION_DAYS + 1 of them in the first third. And the store is cared for."""
        step_s = max(0.2, self.seconds / 60)
        self.is_over.wait(step_s)
        self.clock.advance(seconds=86_400 * (RETENTION_DAYS + 1) / SETTLED / (self.seconds / step_s))
        self.db._maintain()
        chance = dice.random()
        if chance < 0.3:
            self.db.compact()
            self.note("compactions")
        elif chance < 0.5:
            backup = self.folder / "backup"
            shutil.rmtree(backup, ignore_errors=True)
            self.db.backup(backup)
            self.note("backups")
        elif chance < 0.6:
            problems = self.db.check().problems
            if problems:
                raise AssertionError(problems)
            self.note("checks")

    def sample(self, began_s: float) -> None:
        rss_pages = int(Path("/proc/self/statm").read_text().split()[1])
        log, rest = 0, 0
        for path in (self.folder / "data").rglob("*"):
            bytes_held = path.stat().st_blocks * 512
            if path.parent.name == "wal":
                log += bytes_held
            else:
                rest += bytes_held
        self.samples.append(
            Sample(
                time.monotonic() - began_s,
                rss_pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
                len(os.listdir("/proc/self/fd")),
                rest / 2**20,
                log / 2**20,
            )
        )

    def run(self) -> None:
        began_s = time.monotonic()
        threads = [threading.Thread(target=self.work, args=(make,)) for make in ("ingest", "ingest", "query", "edit", "care")]
        for thread in threads:
            thread.start()
        while time.monotonic() - began_s < self.seconds and not self.is_over.wait(self.seconds / SAMPLES):
            try:
                self.sample(began_s)
            except FileNotFoundError:  # a file went while it was looked at
                continue
        self.is_over.set()
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure
        found = {point.id: point.value for point in self.registers.points(limit=None)}
        assert found == self.register_values, "registers differ from what was acknowledged"
        problems = self.db.check().problems
        assert not problems, problems
        self.db.close()


def plot(samples: list[Sample], path: Path) -> bool:
    """Draw the lines; return False if there is no matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 7))
    for place, (field, label) in enumerate(
        (("rss_mb", "memory, MiB"), ("descriptors", "descriptors"), ("disk_mb", "disk, MiB"), ("log_mb", "log, MiB")), 1
    ):
        axes = figure.add_subplot(4, 1, place)
        axes.plot([sample.seconds / 60 for sample in samples], [getattr(sample, field) for sample in samples])
        axes.axvline(samples[-1].seconds * SETTLED / 60, color="gray", linestyle=":")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes")
    figure.savefig(path)
    return True


def main(arguments: list[str]) -> int:
    minutes = float(arguments[0]) if arguments else 10.0
    folder = Path(tempfile.mkdtemp(prefix="tsengine-soak-", dir=arguments[1] if len(arguments) > 1 else None))
    soak = Soak(folder, minutes * 60)
    try:
        soak.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    Path("build").mkdir(exist_ok=True)
    lines = ["\t".join(Sample._fields), *("\t".join(f"{value:.1f}" for value in sample) for sample in soak.samples)]
    Path("build", "soak.tsv").write_text("\n".join(lines) + "\n")
    drawn = "build/soak.png" if plot(soak.samples, Path("build", "soak.png")) else "no plot: matplotlib is not installed"
    print(f"{minutes:g} minutes: {soak.counts}; build/soak.tsv, {drawn}")
    settled = soak.samples[int(len(soak.samples) * SETTLED) :]
    failed = False
    for field, slack in (("rss_mb", 24.0), ("descriptors", 4.0), ("disk_mb", 16.0), ("log_mb", LOG_MB)):
        values = [getattr(sample, field) for sample in settled]
        growth = grows(values, slack)
        failed |= growth > 0
        print(f"{field}: {min(values):.0f} to {max(values):.0f}, {'GROWS by ' + format(growth, '.0f') if growth > 0 else 'flat'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
