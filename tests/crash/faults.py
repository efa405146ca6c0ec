"""What can happen to a writer, each a small class: kills, calls that fail, limits. Disks that fail or end are in disks.py."""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import subprocess
from typing import Any

from tests.crash.book import Violation
from tests.crash.child import Orders
from tests.crash.driver import Fault, Process


def expect_killed(code: int) -> None:
    if code not in (0, -signal.SIGKILL):
        raise Violation("EXCEPTION", f"the writer ended with {code}")


class Kill(Fault):
    """SIGKILL, after a number of lines; whatever the other threads do then is cut off in the middle."""

    name = "kill"

    def __init__(self, dice: random.Random) -> None:
        self.left = dice.choice((dice.randrange(1, 20), dice.randrange(20, 1500)))

    def told(self, line: str, process: Process) -> None:
        self.left -= 1
        if self.left == 0:
            process.kill()

    def ended(self, code: int) -> None:
        expect_killed(code)


class KillInRecovery(Fault):
    """SIGKILL at one of the first file calls of an open."""

    name = "kill in recovery"

    def __init__(self, dice: random.Random) -> None:
        self.nth = dice.randrange(1, 40)
        self.torn = dice.random() < 0.5

    def orders(self, orders: Orders) -> None:
        orders.faults = {"calls": ("open", "pwrite", "ftruncate", "fdatasync", "fsync", "rename", "unlink"), "nth": self.nth}
        orders.faults |= {"deadly": True, "torn": self.torn}

    def ended(self, code: int) -> None:
        expect_killed(code)


class NthCall(Fault):
    """The n-th file call of the compiled core fails, is short, or is the last.

    Attributes:
        is_reached: whether there were so many.
        matched: how many there were, if the writer came to its end.
    """

    is_lenient = True

    def __init__(self, name: str, nth: int, **options: Any) -> None:
        self.name = f"{name} {nth}"
        self.options = {"nth": nth, **options}
        self.is_reached = False
        self.matched = 0

    def orders(self, orders: Orders) -> None:
        orders.faults = self.options

    def told(self, line: str, process: Process) -> None:
        if line.startswith("m "):
            self.matched = int(line[2:])
            self.is_reached = self.matched >= self.options["nth"]

    def ended(self, code: int) -> None:
        if self.options.get("deadly") and code == -signal.SIGKILL:
            self.is_reached = True
        elif code != 0:
            raise Violation("EXCEPTION", f"the writer ended with {code}")


# Reads of a file that is there fail rarely, and then every n-th is enough; the others change the disk.
CHANGES = ("open", "close", "pwrite", "ftruncate", "fdatasync", "fsync", "rename", "unlink")
WAYS: dict[str, dict[str, Any]] = {
    "EIO": {"calls": CHANGES, "error": errno.EIO},
    "EIO for good": {"calls": CHANGES, "error": errno.EIO, "forever": True},
    "ENOSPC": {"calls": CHANGES, "error": errno.ENOSPC, "torn": True},
    "ENOSPC for good": {"calls": CHANGES, "error": errno.ENOSPC, "torn": True, "forever": True},
    "EIO of a read": {"calls": ("pread",), "error": errno.EIO},
    "short": {"calls": ("pread", "pwrite"), "error": 0},
    "short for good": {"calls": ("pread", "pwrite"), "error": 0, "forever": True},
    "killed": {"calls": CHANGES, "deadly": True},
    "killed in a write": {"calls": ("pwrite",), "deadly": True, "torn": True},
}


class Strace(Fault):
    """The n-th system call of a kind is the last, or fails: LMDB's own calls, too, which the faulty file calls do not see.

    Attributes:
        is_reached: whether there were so many.
    """

    def __init__(self, call: str, nth: int, log: str, *, error: str = "") -> None:
        self.name = f"{error or 'killed at'} {call} {nth}"
        self.call, self.nth, self.log, self.error = call, nth, log, error
        self.is_lenient = bool(error)
        self.is_reached = False

    def orders(self, orders: Orders) -> None:
        orders.waits = True

    def started(self, process: Process) -> None:
        action = f"error={self.error}" if self.error else "signal=KILL"
        command = ["strace", "-f", "-o", self.log, "-e", f"trace={self.call}", "-e", f"inject={self.call}:{action}:when={self.nth}"]
        self.tracer = subprocess.Popen([*command, "-p", str(process.pid)], stderr=subprocess.PIPE, text=True)
        assert self.tracer.stderr is not None
        line = self.tracer.stderr.readline()
        if "attached" not in line:
            raise RuntimeError(f"strace: {line}")
        process.connection.send_bytes(b"go")

    def ended(self, code: int) -> None:
        assert self.tracer.stderr is not None
        self.tracer.stderr.close()
        self.tracer.wait()
        with open(self.log) as log:
            text = log.read()
        self.is_reached = "(INJECTED)" in text or re.search(r"killed by SIGKILL", text) is not None
        if self.error and code != 0:
            raise Violation("EXCEPTION", f"the writer ended with {code}")
        expect_killed(code)
        os.unlink(self.log)


class Limits(Fault):
    """Few descriptors, or little memory."""

    def __init__(self, *, descriptors: int = 0, memory_mb: int = 0) -> None:
        self.name = f"{descriptors} descriptors" if descriptors else f"{memory_mb} MB"
        self.descriptors, self.memory_mb = descriptors, memory_mb
        self.is_lenient = True

    def orders(self, orders: Orders) -> None:
        orders.descriptors, orders.memory_mb = self.descriptors, self.memory_mb
