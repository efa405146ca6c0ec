"""A writer killed, and a disk without power, at random moments: what was acknowledged is there exactly once, nothing is half.

`make test-crash ROUNDS=200` runs many rounds. The power cut is the shutdown call of ext4 on a loop-mounted image, without a
flush of its log: everything that was not synced is gone.
"""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.crash import Rounds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

ROUNDS = int(os.environ.get("TSENGINE_CRASH_ROUNDS", "10"))

EXT4_IOC_SHUTDOWN = 0x8004587D
WITHOUT_LOG_FLUSH = 2


@pytest.mark.parametrize("durability", ["sync", "os"])
def test_a_killed_writer_loses_nothing_acknowledged(tmp_path: Path, durability: str) -> None:
    rounds = Rounds(tmp_path / "data", durability)
    for number in range(ROUNDS if durability == "sync" else max(3, ROUNDS // 4)):
        rounds.run(lambda writer: writer.kill())
        rounds.check(f"round {number}")
    assert min(expected.done_count for expected in rounds.expected.values()) > ROUNDS


class Disk:
    """An ext4 image whose power can be cut."""

    def __init__(self, folder: Path) -> None:
        self.image, self.mounted = folder / "image", folder / "disk"
        self.mounted.mkdir()
        with self.image.open("wb") as file:
            file.truncate(256 << 20)
        subprocess.run(["mkfs.ext4", "-q", self.image], check=True)
        self.mount()

    def mount(self) -> None:
        ended = subprocess.run(["mount", "-o", "loop,noauto_da_alloc", self.image, self.mounted], capture_output=True, check=False)
        if ended.returncode:
            pytest.skip(f"an ext4 image cannot be mounted here: {ended.stderr.decode().strip()}")

    def cut_power(self) -> None:
        fd = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_LOG_FLUSH))
        finally:
            os.close(fd)

    def unmount(self) -> None:
        gc.collect()  # segments of a closed store stay mapped as long as something refers to them
        subprocess.run(["umount", self.mounted], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount an image and cut its power")
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed: apt-get install e2fsprogs")
    disk = Disk(tmp_path)
    yield disk
    disk.unmount()


def test_the_cut_takes_what_was_not_synced(disk: Disk) -> None:
    """The tool itself: without this the test below would prove nothing."""
    for name, is_synced in (("synced", True), ("unsynced", False)):
        with (disk.mounted / name).open("wb") as file:
            file.write(b"x" * 5000)
            file.flush()
            if is_synced:
                os.fsync(file.fileno())
                file.write(b"y" * 5000)
    disk.cut_power()
    disk.unmount()
    disk.mount()
    assert (disk.mounted / "synced").read_bytes() == b"x" * 5000
    unsynced = disk.mounted / "unsynced"
    assert not unsynced.exists() or unsynced.stat().st_size == 0


def test_a_power_cut_loses_nothing_acknowledged(disk: Disk) -> None:
    rounds = Rounds(disk.mounted / "data")

    def cut(writer: subprocess.Popen[str]) -> None:
        disk.cut_power()
        writer.kill()

    for number in range(ROUNDS):
        rounds.run(cut)
        disk.unmount()
        disk.mount()
        rounds.check(f"round {number}")
    assert min(expected.done_count for expected in rounds.expected.values()) > ROUNDS
