"""Rounds of the crash suite: a writer is let loose on a store, something happens to it, and a reader tells what is left.

Everything random comes from one seed, which is in the text of each violation; TSENGINE_CRASH_SEED=N repeats it, as far as
threads and the system let it.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.crash import child
from tests.crash.book import Book, Violation
from tests.crash.child import Orders, Survey
from tests.crash.story import THREADS, Author, Row, Step

ROUNDS = int(os.environ.get("TSENGINE_CRASH_ROUNDS", "0"))
"""Of `make test-crash`; 0 = the short form."""

LIFE_ROUNDS = 40
"""What happens to one store before the next one begins."""

HANG_S = 60.0
"""No line for so long is a hang: no step of the workload takes a second, and a loaded machine has time to spare."""

NOON_US = 1_795_262_400_000_000  # 2026-11-21, noon

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.crash.child"])


def rounds(short: int, share: float = 1.0) -> int:
    """How many rounds to run: as told by ROUNDS, or a few."""
    return max(short, round(ROUNDS * share))


def lives(total: int) -> Iterator[tuple[int, int]]:
    """Give each store so many rounds; yield its number and how many. A round compares all that was ever written to it."""
    for number in range(0, total, LIFE_ROUNDS):
        yield number // LIFE_ROUNDS, min(LIFE_ROUNDS, total - number)


def new_seed() -> int:
    return int(os.environ.get("TSENGINE_CRASH_SEED", random.SystemRandom().getrandbits(32)))


class Process:
    """A child and the lines that it tells."""

    def __init__(self, work: Callable[..., None], *arguments: Any, hang_s: float = HANG_S) -> None:
        self.connection, theirs = _context.Pipe()
        self.hang_s = hang_s
        self._rest = b""
        self.process = _context.Process(target=work, args=(*arguments, theirs), daemon=True)
        self.process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def read(self, timeout_s: float) -> list[str] | None:
        """Return lines that came meanwhile; None at the end."""
        fd = self.connection.fileno()
        if not select.select([fd], [], [], timeout_s)[0]:
            return []
        try:
            data = os.read(fd, 1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode() for line in lines]

    def lines(self) -> Iterator[str]:
        """Every line until the end.

        Raises:
            Violation: HANG.
        """
        while (found := self.read(self.hang_s)) is not None:
            if not found and not select.select([self.connection.fileno()], [], [], 0)[0]:
                self.hang()
            yield from found

    def message(self) -> bytes:
        """The one message of a reader."""
        if not self.connection.poll(self.hang_s):
            self.hang()
        try:
            return self.connection.recv_bytes()
        except (EOFError, ConnectionResetError):
            return b""

    def hang(self) -> None:
        """Have the process say where it is (faulthandler, on stderr), and end it."""
        os.kill(self.pid, signal.SIGABRT)
        self.end()
        raise Violation("HANG", f"nothing happened for {self.hang_s:g} s; see stderr for where")

    def kill(self) -> None:
        self.process.kill()

    def abandon(self) -> None:
        """End it if it has not ended: nobody wants to know any more."""
        if not self.connection.closed:
            self.process.kill()
            self.end()

    def end(self) -> int:
        """Wait for the process; return its exit code."""
        self.process.join(self.hang_s)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise Violation("HANG", "the process does not end")
        self.connection.close()
        code = self.process.exitcode
        self.process.close()
        return code


class Fault:
    """What happens to a writer. The base does nothing: it ends by itself."""

    name = "nothing"
    is_lenient = False

    def orders(self, orders: Orders) -> None:
        """Change what the writer is told before it starts."""

    def started(self, process: Process) -> None:
        """The process is there."""

    def told(self, line: str, process: Process) -> None:
        """A line came; kill, cut or fill now, or later."""

    def excuses(self, backup: Survey) -> bool:
        """Whether a whole backup may fail to open now."""
        return False

    def ended(self, code: int) -> None:
        """The process is gone; raise Violation if it should not be."""
        if code != 0:
            raise Violation("EXCEPTION", f"the writer ended with {code}")


class Rounds:
    """A store to which things happen, again and again.

    Args:
        folder: of the store.
        broken: how the store is broken (broken.py), for the test of the suite.
    """

    def __init__(
        self, folder: Path, *, seed: int | None = None, broken: str = "", durability: str = "sync", hang_s: float = HANG_S
    ) -> None:
        self.seed = new_seed() if seed is None else seed
        self.dice = random.Random(self.seed)
        self.folder = folder
        self.broken = broken
        self.durability = durability
        self.hang_s = hang_s
        self.book = Book(NOON_US)
        self.number = 0
        self.recovered_us_max = 0
        self.torn_count = 0

    def where(self, fault: Fault) -> str:
        return f"seed {self.seed}, round {self.number}, {fault.name}"

    def author(self) -> Author:
        return Author(self.dice, self.book.number, self.book.now_us, {who: states[0] for who, states in self.book.states.items()})

    def threads(self, length: int = 1500) -> list[list[Step]]:
        """Steps for a thread each of all who do something."""
        author = self.author()
        sources = {who: author.steps(who) for who in THREADS}
        # Care takes longer than other steps, so few of it are as many.
        return [[next(source) for _ in range(length if who != "care" else length // 5)] for who, source in sources.items()]

    def round(self, fault: Fault, steps: list[list[Step]] | None = None) -> None:
        """Write under a fault, then compare.

        Raises:
            Violation: something is wrong.
        """
        self.write(fault, self.threads() if steps is None else steps)
        self.compare(fault)

    def write(self, fault: Fault, steps: list[list[Step]]) -> None:
        """Let a writer do steps, under a fault, until it ends."""
        self.number += 1
        orders = Orders(
            str(self.folder), self.book.now_us, steps, durability=self.durability, is_lenient=fault.is_lenient, broken=self.broken
        )
        fault.orders(orders)
        process = Process(child.write, orders, hang_s=self.hang_s)
        try:
            fault.started(process)
            for line in process.lines():
                self.note(line, steps, fault)
                fault.told(line, process)
            fault.ended(process.end())
        except Violation as violation:
            raise Violation(violation.name, f"{self.where(fault)}: {violation}") from None
        finally:
            process.abandon()
            self.book.ended()

    def note(self, line: str, steps: list[list[Step]], fault: Fault) -> None:
        kind, _, rest = line.partition(" ")
        if kind == "x":
            raise Violation("EXCEPTION", rest)
        if kind in "tdru":
            thread, number, *_ = rest.split(" ")
            step = steps[int(thread)][int(number)]
            {"t": self.book.tried, "d": self.book.done, "r": self.book.refused, "u": self.book.doubt}[kind](step)

    def compare(self, fault: Fault) -> None:
        """Open the store in a new process and compare what it holds; and the newest backup."""
        where = self.where(fault)
        folders = [str(self.folder)]
        backup = child.backup_folder(str(self.folder), self.book.backup_number)
        has_backup = self.book.backup is not None and backup.is_dir() and any(backup.iterdir())
        if self.book.backup is not None and self.book.is_backup_done and not has_backup:
            raise Violation("LOST", f"{where}: the backup {backup}")
        if has_backup:
            folders.append(str(backup))
        surveys = self.survey(folders, where)
        first = surveys[0]
        self.recovered_us_max = max(self.recovered_us_max, first.recovered_us)
        self.torn_count += first.torn_bytes > 0
        self.expect_sound(first, where)
        self.book.compare(to_found(first), where)
        if has_backup:
            second = surveys[1]
            if fault.excuses(second):
                return
            if self.book.is_backup_done:
                self.expect_sound(second, f"{where}, backup")
            if not second.failure:
                self.book.compare_backup(to_found(second), where)
            elif not second.is_ours or "no whole store" not in second.failure:
                raise Violation("EXCEPTION", f"{where}, unfinished backup: {second.failure}")

    def survey(self, folders: list[str], where: str = "", **options: Any) -> list[Survey]:
        """Read stores in a new process."""
        orders = Orders(str(self.folder), self.book.now_us, broken=self.broken, **options)
        process = Process(child.survey, orders, folders, hang_s=self.hang_s)
        message = process.message()
        code = process.end()
        if code != 0:
            raise Violation("EXCEPTION", f"{where}: the reader ended with {code}")
        surveys: list[Survey] = pickle.loads(message)
        return surveys

    def expect_sound(self, survey: Survey, where: str) -> None:
        if survey.failure or survey.errors or survey.problems:
            raise Violation("EXCEPTION", f"{where}: {survey.failure} {survey.errors} {survey.problems[:3]}")


def to_found(survey: Survey) -> dict[str, list[tuple[int, Row]]]:
    return {who: [(value, Row(*row)) for value, row in rows] for who, rows in survey.found.items()}


@contextmanager
def report(name: str, rounds: Rounds) -> Iterator[None]:
    """Print what was done, for whoever runs the suite by hand."""
    began_s = time.monotonic()
    yield
    book = rounds.book
    print(
        f"\n{name}: seed {rounds.seed}, {rounds.number} rounds in {time.monotonic() - began_s:.0f} s, {book.done_count} steps acknowledged,"
        f" {book.doubt_count} cut off, {rounds.torn_count} torn tails, slowest recovery {rounds.recovered_us_max / 1000:.0f} ms",
        file=sys.stderr,
    )


def run_tool(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
