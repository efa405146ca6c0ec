"""What must be in a store after its writer (tests/engine/writer.py) was cut off: all that was acknowledged, nothing half."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import tsengine
from tests.engine.writer import DAYS, batch_size, day_of


class Expected:
    """The batches of one device: which must be there, which may be, and with what edit."""

    def __init__(self) -> None:
        self.certain: set[int] = set()
        self.possible: set[int] = set()
        self.doomed: set[int] = set()  # of a delete that was not acknowledged: all or none of them is left
        self.units: dict[int, set[str | None]] = {}
        self.done_count = 0

    def note(self, step: str, number: int, argument: int, is_done: bool) -> None:
        self.done_count += is_done
        match step:
            case "put":
                self.possible.add(number)
                self.units[number] = {None}
                if is_done:
                    self.certain.add(number)
            case "edit":
                self.units[number] = {str(argument)} if is_done else self.units[number] | {str(argument)}
            case "drop" | "delete":
                hit = {n for n in self.possible if day_of(n) == number} if step == "drop" else {number}
                self.certain -= hit
                self.doomed = set() if is_done else hit
                if is_done:
                    self.possible -= hit

    def compare(self, device: tsengine.Device, where: str) -> None:
        """Fail if the device holds anything else; what it holds is certain from then on."""
        points = device.points(variables="number", limit=None)
        found = Counter(int(point.value) for point in points)  # type: ignore[arg-type]
        where = f"{where}: {device.name}"
        assert self.certain <= found.keys(), f"{where} lost {sorted(self.certain - found.keys())}"
        assert found.keys() <= self.possible, f"{where} has {sorted(found.keys() - self.possible)} again"
        half = {number: count for number, count in found.items() if count != batch_size(number)}
        assert not half, f"{where} holds part of, or twice, {half}"
        left = self.doomed & found.keys()
        assert not left or left == self.doomed, f"{where}: a delete is half done: {left} of {self.doomed}"
        units: dict[int, set[str | None]] = {}
        for point in points:
            units.setdefault(int(point.value), set()).add(point.unit)  # type: ignore[arg-type]
        for number, own in units.items():
            assert len(own) == 1 and own <= self.units[number], f"{where}: batch {number} has {own}, not {self.units[number]}"
        self.certain, self.possible, self.doomed, self.units = set(found), set(found), set(), units


class Rounds:
    """A store that is written to and cut off again and again.

    Args:
        folder: of the store; made here, with an immutable and a mutable device.
        durability: of the writer.
    """

    def __init__(self, folder: Path, durability: str = "sync") -> None:
        self.seed = random.SystemRandom().getrandbits(32)
        print("seed", self.seed)
        self.dice = random.Random(self.seed)
        self.folder = folder
        self.durability = durability
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.base_us = int((midnight - timedelta(days=DAYS + 1)).timestamp()) * 1_000_000
        self.expected = {"columns": Expected(), "registers": Expected()}
        with tsengine.open(folder, memory_mb=1) as db:
            db.create_device("columns", type="immutable", chunk_period="day")
            db.create_device("registers", type="mutable")

    def run(self, cut: Callable[[subprocess.Popen[str]], object]) -> None:
        """Let the writer take some steps, then cut it off and note what it had told."""
        arguments = [str(self.folder), str(self.dice.getrandbits(30)), self.durability, str(self.base_us)]
        with subprocess.Popen([sys.executable, "-m", "tests.engine.writer", *arguments], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(self.dice.randrange(2, 500))]
            cut(writer)
            lines += writer.stdout.readlines()
        self.note(lines)

    def note(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line.endswith("\n"):
                device, step, number, argument, state = line.split()
                self.expected[device].note(step, int(number), int(argument), state == "done")

    def check(self, where: str) -> None:
        with tsengine.open(self.folder, memory_mb=1) as db:
            assert db.check().problems == [], where
            for device in db.devices():
                self.expected[device.name].compare(device, f"seed {self.seed}, {where}")
