"""The fuzzing loop: take an input that is known, change it, run it, and keep it if it took a way through the core that none took before.

With the fuzzed build (setup.py, TSENGINE_FUZZED=1) and coverage.c preloaded, ways are pairs of branches of the compiled core; of the
modules that a target names, they are pairs of lines, too. Without either nothing is kept, and it is mutation alone. Atheris was left
out: it sees Python's branches only, and libFuzzer's coverage of C needs clang, which not every machine has; gcc's trace-pc and a table
need 40 lines. sys.settrace sees lines in every Python; sys.monitoring would be a second way for those from 3.12 on, to save a third of
the time of targets that need no more than a millisecond.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import os
import pkgutil
import random
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import numpy as np

from tests.fuzz import targets
from tsengine.errors import TsengineError

CORPUS = Path(__file__).parent / "corpus"
TABLE_BYTES = 65_536
INPUT_BYTES_MAX = 16_384
HANG_S = 60
"""How long 64 inputs may take, seconds."""
INTERESTING = (0, 1, 2, 7, 8, 15, 16, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)

# Counts of a branch that say the same: 1, 2, 3, 4-7, 8-15, 16-31, 32-127, 128 and more.
BUCKETS = np.array([0, 1, 2] + [4] + [8] * 4 + [16] * 8 + [32] * 16 + [64] * 96 + [128] * 128, dtype=np.uint8)


def target_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(targets.__path__))


def target(name: str) -> ModuleType:
    return importlib.import_module(f"tests.fuzz.targets.{name}")


def corpus(name: str) -> list[bytes]:
    """The committed inputs of a target: seeds, and what once failed."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


class Coverage:
    """Which branches were taken, if the core was built so that they count themselves, and which lines of some modules.

    Args:
        modules: those of the calling thread's Python that count.
    """

    def __init__(self, modules: Iterable[ModuleType] = ()) -> None:
        self.files = {str(module.__file__): number << 12 for number, module in enumerate(modules, 1)}
        self.table: np.ndarray | None = None
        try:
            cells = (ctypes.c_uint8 * TABLE_BYTES).in_dll(ctypes.CDLL(None), "fuzz_table")
            self.table = np.frombuffer(cells, dtype=np.uint8)
        except ValueError:
            if self.files:
                self.table = np.zeros(TABLE_BYTES, dtype=np.uint8)
        self.seen = np.zeros(TABLE_BYTES, dtype=np.uint8)
        self._cells = None if self.table is None else self.table.data
        self._before = 0

    def begin(self) -> None:
        if self.table is not None:
            self.table.fill(0)
        if self.files:
            self._before = 0
            sys.settrace(self._on_call)

    def end(self) -> None:
        if self.files:
            sys.settrace(None)

    def _on_call(self, frame: FrameType, event: str, _: object) -> Callable[[FrameType, str, object], Any] | None:
        return self._on_line if frame.f_code.co_filename in self.files else None

    def _on_line(self, frame: FrameType, event: str, _: object) -> Callable[[FrameType, str, object], Any]:
        if event == "line":
            here = (self.files[frame.f_code.co_filename] + frame.f_lineno) * 0x9E3779B1 >> 8 & TABLE_BYTES - 1
            cells, cell = self._cells, here ^ self._before
            assert cells is not None
            if cells[cell] < 255:
                cells[cell] += 1
            self._before = here >> 1
        return self._on_line

    def is_new(self) -> bool:
        """Whether the run since `begin` took a way, or took it as often, as none before."""
        if self.table is None:
            return False
        buckets = BUCKETS[self.table]
        if not (buckets & ~self.seen).any():
            return False
        self.seen |= buckets
        return True

    @property
    def count(self) -> int:
        return 0 if self.table is None else int(np.count_nonzero(self.seen))


def mutated(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """An input after a few changes."""
    changed = bytearray(data)
    for _ in range(1 << dice.randrange(5)):
        size = len(changed)
        place = dice.randrange(size) if size else 0
        match dice.randrange(8) if size else 5:
            case 0:
                changed[place] ^= 1 << dice.randrange(8)
            case 1:
                changed[place] = dice.randrange(256)
            case 2:
                width = dice.choice((1, 2, 4, 8))
                value = dice.choice(INTERESTING) & (1 << 8 * width) - 1
                changed[place : place + width] = value.to_bytes(width, dice.choice(("little", "big")))
            case 3:
                width = dice.choice((1, 2, 4, 8))
                value = int.from_bytes(changed[place : place + width], "little") + dice.randrange(-35, 36)
                changed[place : place + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
            case 4:
                del changed[place : place + dice.randrange(1, 1 + min(64, size))]
            case 5:
                changed[place:place] = dice.randbytes(dice.randrange(1, 17))
            case 6:
                start = dice.randrange(size)
                changed[place:place] = changed[start : start + dice.randrange(1, 65)]
            case 7:
                other = dice.choice(others)
                start = dice.randrange(len(other)) if other else 0
                changed[place : place + dice.randrange(64)] = other[start : start + dice.randrange(64)]
    return bytes(changed[:INPUT_BYTES_MAX])


def run_one(run: Callable[[bytes], None], data: bytes, coverage: Coverage | None = None) -> None:
    """Run an input; raise what is no error of ours."""
    if coverage is not None:
        coverage.begin()
    try:
        run(data)
    except TsengineError:
        pass
    finally:
        if coverage is not None:
            coverage.end()


def fuzz(name: str, seconds: float, seed: int, last_input: Path | None = None, runs_max: int | None = None) -> tuple[int, int, int]:
    """Fuzz a target; return how many inputs were run, how many kept, and how many ways are known.

    Args:
        last_input: where each input is written before it is run, so that it is there if the process ends.
    """
    module = target(name)
    repair = getattr(module, "repair", None)
    dice = random.Random(seed)
    coverage = Coverage(getattr(module, "MODULES", ()))
    known: list[bytes] = []
    for data in [*corpus(name), *module.seeds()]:
        run_one(module.run, data, coverage)
        coverage.is_new()
        known.append(data)
    began_s, runs = time.monotonic(), 0
    fd = os.open(last_input, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600) if last_input is not None else -1
    while runs != runs_max and (runs & 63 or time.monotonic() - began_s < seconds):
        if runs & 63 == 0:
            faulthandler.dump_traceback_later(HANG_S, exit=True, file=sys.__stderr__)
        # The newest are the most promising; the oldest are never left out.
        place = dice.randrange(len(known)) if dice.random() < 0.5 else max(0, len(known) - 1 - int(dice.expovariate(0.1)))
        data = mutated(known[place], known, dice)
        if repair is not None and dice.random() < 0.8:
            data = repair(data)
        if fd >= 0:
            os.pwrite(fd, len(data).to_bytes(4, "little") + data, 0)
        run_one(module.run, data, coverage)
        if coverage.is_new():
            known.append(data)
        runs += 1
    faulthandler.cancel_dump_traceback_later()
    if fd >= 0:
        os.close(fd)
    return runs, len(known), coverage.count
