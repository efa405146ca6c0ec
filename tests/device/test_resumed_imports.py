"""Imports in batches: stopped by a bad row, killed, gone on with; nothing is lost and nothing stored twice."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tsengine
from tests.device.transferring import FORMATS, exported, imported, make_device
from tsengine import Device, Engine, InputError
from tsengine.transfer import Format, Import
from tsengine.transfer import parts as parts_module


def write_rows(path: Path, count: int, bad: int | None = None) -> None:
    lines = [f"v,{i},{i}" if i != bad else "v,,1" for i in range(count)]
    path.write_text("variable,time_us,value\n" + "\n".join(lines) + "\n")


def test_an_import_stopped_by_a_bad_row_goes_on(db: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "BATCH_POINTS", 10)
    device, path = make_device(db), tmp_path / "rows.csv"
    write_rows(path, 35, bad=24)
    job = Import(db, device, path, format="csv")
    with pytest.raises(InputError, match="line 26: time is required"):
        job.run()
    assert (job.stored, device.count(), job.can_resume) == (20, 20, True)
    with pytest.raises(InputError, match="stopped after 20 rows"):
        Import(db, device, path, format="csv")
    write_rows(path, 35)
    again = Import(db, device, path, format="csv", resume=True)
    assert again.resumed_rows == 20
    assert again.run() == 35
    assert [point.value for point in device.points(limit=None, order="asc")] == [float(i) for i in range(35)]


def test_resuming_a_finished_import_stores_only_what_is_new(db: Engine, tmp_path: Path) -> None:
    device, path = make_device(db), tmp_path / "rows.csv"
    write_rows(path, 3)
    for resume, count in ((False, 3), (True, 3), (False, 6)):
        Import(db, device, path, format="csv", resume=resume).run()
        assert device.count() == count
    write_rows(path, 5)
    job = Import(db, device, path, format="csv", resume=True)
    assert (job.run(), job.resumed_rows, device.count()) == (5, 3, 8)
    assert [file.stat().st_mode & 0o777 for file in (db.path / "imports").iterdir()] == [0o600]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("is_stored", [False, True])
def test_an_import_that_died_within_a_batch_goes_on(
    db: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Format, is_stored: bool
) -> None:
    """The process ends just before, or just after, the third batch reached the log."""
    monkeypatch.setattr(parts_module, "BATCH_POINTS", 10)
    source, device = make_device(db, "source"), make_device(db, "target")
    source.append_columns("v", range(45), range(45))
    path = tmp_path / f"rows.{format}"
    path.write_bytes(exported(source, format))
    writes = 0
    write = Device.write

    class Died(BaseException):
        """Stands for the end of the process."""

    def dying_write(self: Device, record: bytes, *, sync: bool = True) -> int:
        nonlocal writes
        writes += 1
        if writes < 3 or is_stored:
            write(self, record, sync=sync)
        if writes == 3:
            raise Died
        return 0

    monkeypatch.setattr(Device, "write", dying_write)
    with pytest.raises(Died):
        Import(db, device, path, format=format).run()
    monkeypatch.setattr(Device, "write", write)
    job = Import(db, device, path, format=format, resume=True)
    assert job.resumed_rows == (30 if is_stored else 20)
    assert job.run() == 45
    assert [point.value for point in device.points(limit=None, order="asc")] == list(range(45))


def test_resuming_what_was_never_started_starts(db: Engine, tmp_path: Path) -> None:
    device, path = make_device(db), tmp_path / "rows.csv"
    write_rows(path, 3)
    assert Import(db, device, path, format="csv", resume=True).run() == 3
    with pytest.raises(InputError, match="only an import of a file"):
        Import(db, device, io.BytesIO(), format="csv", resume=True)


KILLED = """
import sys, tsengine
from pathlib import Path
from tsengine.transfer import Import, parts
parts.BATCH_POINTS = 200
with tsengine.open(sys.argv[1]) as db:
    job = Import(db, db.device("sn-1"), Path(sys.argv[2]), format="csv", resume=True)
    print("at", job.resumed_rows, flush=True)
    job.run(lambda done, total: print("at", job.stored, flush=True))
    print("all", job.stored, flush=True)
"""


def test_a_killed_import_loses_and_repeats_nothing(tmp_path: Path) -> None:
    path, data = tmp_path / "rows.csv", tmp_path / "data"
    count = 4000
    write_rows(path, count)
    with tsengine.open(data) as db:
        make_device(db, serial="sn-1")
    command = [sys.executable, "-c", KILLED, str(data), str(path)]
    for lines in (2, 5, 4, 9):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(lines):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"all {count}"
    with tsengine.open(data) as db:
        values = [point.value for point in db.device("sn-1").points(limit=None, order="asc")]
    assert values == [float(i) for i in range(count)]


def test_long_texts_end_a_batch_early(db: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "BATCH_TEXT_CHARS", 100)
    device = make_device(db)
    rows = [{"variable": "v", "time_us": i, "value": "x" * 60, "metadata": {"a": 1}} for i in range(10)]
    assert imported(db, device, "\n".join(json.dumps(row) for row in rows), "jsonl").stored == 10
    assert len({point.group for point in device.points(limit=None)}) == 5
