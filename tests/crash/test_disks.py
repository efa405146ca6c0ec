"""Disks that lose their power, and disks that become full and have space again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash.disks import FullDisk, PoweredRounds, mounted
from tests.crash.driver import Rounds, lives, report, rounds
from tests.crash.story import CARE, Step

pytestmark = [pytest.mark.slow, pytest.mark.timeout(6 * 3600)]


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_the_cut_takes_what_was_not_synced(tmp_path: Path, kind: str) -> None:
    """The tool itself: without this the next test would prove nothing."""
    with mounted(tmp_path, kind) as disk:
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


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_power_cut_loses_nothing_acknowledged(tmp_path: Path, kind: str) -> None:
    for life, length in lives(rounds(8, 0.3) if kind == "ext4" else rounds(5, 0.1)):
        (folder := tmp_path / str(life)).mkdir()
        with mounted(folder, kind) as disk:
            work = PoweredRounds(disk)
            with report(f"power cuts, {kind}", work):
                for _ in range(length):
                    work.cut()


@pytest.mark.parametrize("kind", ["tmpfs", "small ext4"])
def test_a_full_disk_and_space_returning(tmp_path: Path, kind: str) -> None:
    """Writes are refused, nothing is lost, deletes work, and it goes on without a restart; also closed and opened while it is full."""
    with mounted(tmp_path, kind) as disk:
        for number in range(rounds(2, 0.02)):
            work = Rounds(disk.mounted / f"data-{number}")
            with report(f"full disk, {kind}", work):
                author = work.author()
                fill, free = Step("fill", CARE), Step("free", CARE)
                steps = [*author.script(40), fill, *author.script(40), free, *author.script(20), fill, *author.script(20)]
                fault = FullDisk(disk)
                work.round(fault, [steps])
                assert fault.refused_count, "the disk was not full"
                fault = FullDisk(disk, is_full=True)
                work.round(fault, [[*author.script(20), free, *author.script(20)]])
            for path in disk.mounted.glob("data-*"):
                remove(path)


def remove(path: Path) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
    else:
        path.unlink()
