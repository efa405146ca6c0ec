"""What an open refuses, and what it takes over: lost logs, files that were cut or changed places, another durability than before."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

import tsengine
from tsengine import CorruptionError
from tsengine.care.check import check_folder
from tsengine.care.repair import repair_folder
from tsengine.log import Durability, LocalLog


def test_a_view_reads_segments_that_were_removed_before_it_opened_them(tmp_path: Path) -> None:
    """A read or a merge that began before points expired, in a store that was opened a moment ago."""
    with tsengine.open(tmp_path) as db:
        db.create_device("device").append_many([{"variable": "t", "value": number} for number in range(10)])
        db.seal()
    with tsengine.open(tmp_path) as db:
        (live,) = db.columnar.view.segments
        assert db.columnar.remove([live]) == 1
        assert not live.path.exists() and live.open().point_count == 10


def test_a_store_opened_in_memory_has_what_was_logged_to_files_before(tmp_path: Path) -> None:
    with tsengine.open(tmp_path) as db:
        db.create_device("device", serial="D").append("t", 1)
    with tsengine.open(tmp_path, durability="memory") as db:
        device = db.device("D")
        assert device.count() == 1
        device.append("t", 2)
    with tsengine.open(tmp_path) as db:
        device = db.device("D")
        assert [point.value for point in device.points()] == [2, 1]
        device.append("t", 3)
    with tsengine.open(tmp_path) as db:
        assert db.device("D").count() == 3
        assert db.check().problems == []


@pytest.mark.parametrize("is_folder_gone", [False, True])
@pytest.mark.parametrize("durability", ["sync", "os", "memory"])
def test_a_log_that_vanished_is_damage(tmp_path: Path, durability: Durability, is_folder_gone: bool) -> None:
    """What was acknowledged last was in it; a new log would hide that it is lost."""
    with tsengine.open(tmp_path) as db:
        db.create_device("device", serial="D").append("t", 1)
    if is_folder_gone:
        shutil.rmtree(tmp_path / "wal")
    else:
        for path in (tmp_path / "wal").glob("*.wal"):
            path.unlink()
    for _ in range(2):
        with pytest.raises(CorruptionError, match=r"damaged log in .*wal.*expected the files of the log, found none"):
            tsengine.open(tmp_path, durability=durability)
    assert any("damaged log" in problem for problem in check_folder(tmp_path).problems)
    done = repair_folder(tmp_path)
    assert [action.action for action in done.actions] == ["lost"] and done.check.problems == []
    tsengine.open(tmp_path).close()


@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_closed_log_whose_end_was_cut_is_damage(tmp_path: Path, left: float) -> None:
    """Frames and witness are gone, so the log itself looks as after a crash; the catalog knows how far it reached."""
    with tsengine.open(tmp_path) as db:
        device = db.create_device("device", serial="D")
        for number in range(50):
            device.append("t", number)
    (file,) = (tmp_path / "wal").glob("*.wal")
    os.truncate(file, int(file.stat().st_size * left))
    whole = file.read_bytes()
    for log in (None, None, LocalLog(tmp_path / "wal")):
        with pytest.raises(CorruptionError, match=r"damaged (log|WAL)"):
            tsengine.Engine(tmp_path, log=log)
    assert file.read_bytes() == whole
    assert any("damaged" in problem for problem in check_folder(tmp_path).problems)
    done = repair_folder(tmp_path)
    assert "lost" in [action.action for action in done.actions] and done.check.problems == []
    with tsengine.open(tmp_path) as db:
        assert db.device("D").count() < 50
        db.device("D").append("t", 50)


def test_a_store_that_was_only_in_memory_needs_no_log(tmp_path: Path) -> None:
    with tsengine.open(tmp_path, durability="memory") as db:
        db.create_device("device", serial="D").append("t", 1)
    with tsengine.open(tmp_path) as db:
        assert db.device("D").count() == 1


@pytest.mark.parametrize("name", ["catalog", "registers", "manifest"])
def test_an_environment_that_was_cut_short_is_damage_and_no_signal(tmp_path: Path, name: str) -> None:
    with tsengine.open(tmp_path) as db:
        db.create_device("device").append("t", 1)
        db.create_device("registers", type="mutable").append_many([{"variable": "t", "value": n} for n in range(100)])
    file = tmp_path / name / "data.mdb"
    os.truncate(file, file.stat().st_size // 2 // 4096 * 4096)
    with pytest.raises(CorruptionError, match=rf"{name}/data.mdb .*the file is cut"):
        tsengine.open(tmp_path)


def test_segments_that_changed_places_are_damage(tmp_path: Path) -> None:
    """Each is whole, but the manifest looks for other points in it."""
    with tsengine.open(tmp_path) as db:
        for name in ("first", "second"):
            db.create_device(name, serial=name).append_many([{"variable": "t", "value": number} for number in range(10)])
            db.seal()
    first, second = sorted((tmp_path / "segments").glob("*.seg"))
    first.rename(tmp_path / "third")
    second.rename(first)
    (tmp_path / "third").rename(second)
    with tsengine.open(tmp_path) as db:
        for name in ("first", "second"):
            with pytest.raises(CorruptionError, match="as in the manifest"):
                db.device(name).points()


def test_an_open_that_gets_no_thread_lets_go_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "tsengine-registers":
            raise RuntimeError("can't start new thread")
        start(thread)

    before = threading.enumerate()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            tsengine.open(tmp_path)
    assert not set(threading.enumerate()) - set(before)
    tsengine.open(tmp_path).close()
