"""Disks whose power can be cut, and disks that are full. Both need root, and say so when they are skipped.

The power cut is the shutdown call of ext4 and xfs, without a flush of their journals, on a loop-mounted image: everything that was
not synced is gone after the next mount.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.crash.book import Book, Violation
from tests.crash.child import Orders, Survey
from tests.crash.driver import Fault, Process, Rounds, run_tool

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, which is XFS_IOC_GOINGDOWN
WITHOUT_LOG_FLUSH = 2

MEBIBYTE = 1 << 20
MAKE = {
    "ext4": (64 * MEBIBYTE, ("mkfs.ext4", "-q"), "loop,noauto_da_alloc", "e2fsprogs"),
    "xfs": (320 * MEBIBYTE, ("mkfs.xfs", "-q"), "loop", "xfsprogs"),
    "small ext4": (48 * MEBIBYTE, ("mkfs.ext4", "-q", "-m", "0"), "loop", "e2fsprogs"),
}
"""Kind -> bytes of the image (a sparse file), how it is made, how it is mounted, the package that has the command."""


class Disk:
    """A file system of its own, mounted as long as it is used."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind = kind
        self.image, self.mounted = folder / "image", folder / "disk"
        self.mounted.mkdir()
        if kind != "tmpfs":
            size_bytes, command, _, package = MAKE[kind]
            if shutil.which(command[0]) is None:
                pytest.skip(f"{command[0]} is not installed: apt-get install {package}")
            with self.image.open("wb") as file:
                file.truncate(size_bytes)
            ended = run_tool(*command, self.image)
            if ended.returncode:
                pytest.skip(f"{kind} cannot be made here: {ended.stderr.strip()}")
        self.mount()

    def mount(self) -> None:
        options = ("-o", MAKE[self.kind][2], self.image) if self.kind != "tmpfs" else ("-t", "tmpfs", "-o", "size=40m", "tmpfs")
        ended = run_tool("mount", *options, self.mounted)
        if ended.returncode:
            pytest.skip(f"{self.kind} cannot be mounted here: {ended.stderr.strip()}")

    def cut_power(self) -> None:
        fd = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", WITHOUT_LOG_FLUSH))
        finally:
            os.close(fd)

    def unmount(self) -> None:
        ended = run_tool("umount", self.mounted)
        if ended.returncode:
            run_tool("umount", "-l", self.mounted)
            raise RuntimeError(f"{self.mounted}: {ended.stderr.strip()}")


@contextmanager
def mounted(folder: Path, kind: str) -> Iterator[Disk]:
    """A disk for a test, which is skipped where there can be none."""
    if os.geteuid() != 0:
        pytest.skip(f"only root can mount {kind}, cut its power or fill it")
    disk = Disk(folder, kind)
    try:
        yield disk
    finally:
        disk.unmount()


class PowerCut(Fault):
    """The disk stops in the middle of the work, and forgets what was not synced."""

    is_lenient = True  # every call fails from then on, until the process is killed

    def __init__(self, disk: Disk, book: Book, lines: int) -> None:
        self.name = f"power cut of {disk.kind}"
        self.disk, self.book = disk, book
        self.left = lines
        self.is_cut = False

    def told(self, line: str, process: Process) -> None:
        self.left -= 1
        if self.left <= 0 and not self.is_cut:
            self.cut(process)
        elif line.startswith("u ") and not self.is_cut:
            raise Violation("EXCEPTION", f"an error before the cut: {line}")

    def cut(self, process: Process) -> None:
        # What is acknowledged from here on may have been so by a sync that the cut overtook (seen on xfs): it counts as in doubt.
        self.is_cut = self.book.is_cut = True
        self.disk.cut_power()
        process.kill()

    def ended(self, code: int) -> None:
        if not self.is_cut:  # it had come to its end
            self.disk.cut_power()
            self.is_cut = True
        self.disk.unmount()
        self.disk.mount()


class PoweredRounds(Rounds):
    """Rounds on a disk of its own. The lines that the writer had sent before the cut are read before it."""

    def __init__(self, disk: Disk, **options: object) -> None:
        super().__init__(disk.mounted / "data", **options)  # type: ignore[arg-type]
        self.disk = disk

    def cut(self) -> None:
        self.round(PowerCut(self.disk, self.book, self.dice.choice((self.dice.randrange(1, 30), self.dice.randrange(30, 900)))))


class FullDisk(Fault):
    """The disk becomes full in the middle of a script, and has space again later; without a restart all goes on."""

    is_lenient = True

    def __init__(self, disk: Disk, *, is_full: bool = False) -> None:
        self.name = f"full {disk.kind}"
        self.is_full = is_full
        self.refused_count = 0

    def orders(self, orders: Orders) -> None:
        self.kinds = [step.kind for step in orders.steps[0]]

    def excuses(self, backup: Survey) -> bool:
        return self.is_full and backup.failure.startswith("StorageFullError")  # a copy has no reserve of space

    def told(self, line: str, process: Process) -> None:
        kind, *rest = line.split(" ")
        if kind == "d" and self.kinds[int(rest[1])] in ("fill", "free"):
            self.is_full = self.kinds[int(rest[1])] == "fill"
        elif kind in "ruc":
            self.refused_count += 1
            if not self.is_full and kind != "u":
                raise Violation("EXCEPTION", f"space had returned: {line}")
            if kind != "r" and "in the log" not in line:
                raise Violation("EXCEPTION", f"a full disk asks for a reopen: {line}")
