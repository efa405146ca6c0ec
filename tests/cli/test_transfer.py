"""tsengine import and export."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Process, Run, opened
from tsengine.transfer import parts

ROWS = "variable,time,value\nv,2026-01-01,1\nv,yesterday,2\nv,2026-01-03,3\n"


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "arrow"])
def test_a_file_goes_out_and_in(run: Run, store: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"points.{suffix}"
    assert run("export", "--device", "SN-1", file).stdout == f"wrote 6 points to {file}\n"
    run("device", "create", "copy", "--serial", "SN-2")
    assert "stored 6 points" in run("import", file, "--device", "SN-2").stdout
    again = tmp_path / "again.csv"
    run("export", "-d", "SN-2", again)
    assert again.read_bytes() == run("export", "-d", "SN-1").stdout_bytes
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_an_export_takes_conditions(run: Run, store: Path, tmp_path: Path) -> None:
    args = ["-v", "temperature", "-v", "door", "--start", "1970-01-01T00:00:00.000001Z", "--end", "1970-01-01T01:00:00Z"]
    text = run("export", "-d", "SN-1", *args, "--format", "jsonl").stdout
    assert [json.loads(line)["value"] for line in text.splitlines()] == [21.0, 22.0, True] or [
        json.loads(line)["value"] for line in text.splitlines()
    ] == [True, 21.0, 22.0]
    file = tmp_path / "points"
    assert json.loads(run("export", "-d", "SN-1", "--format", "parquet", file, "--json").stdout) == {"points": 6, "file": str(file)}


def test_an_import_reads_standard_input(run: Run, store: Path) -> None:
    run("device", "create", "copy", "--serial", "SN-2")
    out = run("export", "-d", "SN-1").stdout_bytes
    result = run("import", "-", "--format", "csv", "-d", "SN-2", "--json", input=out)
    assert json.loads(result.stdout) == {"stored": 6, "skipped": 0, "resumed_rows": 0}


def test_a_pipe_of_the_shell(run: Run, store: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with subprocess.Popen(["cp", "/dev/stdin", str(pipe)], stdin=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None
        writer.stdin.write("variable,time_us\nv,1\n")
        writer.stdin.close()
        assert "stored 1 point in" in run("import", pipe, "-d", "SN-1").stdout
    run("import", tmp_path, "-d", "SN-1", "-f", "csv", status=1)


def test_bad_rows_stop_or_are_left_out(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(ROWS)
    result = run("import", file, "-d", "SN-1", status=1)
    assert result.stderr.startswith("error: line 3: time 'yesterday' is not ISO 8601")
    assert "nothing was stored" in result.stderr and "--skip-bad-rows" in result.stderr
    result = run("import", file, "-d", "SN-1", "--skip-bad-rows")
    assert result.stdout.endswith("left out 1 bad row\n") and "skipped line 3: " in result.stderr


def test_a_stopped_import_is_resumed(run: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BATCH_POINTS", 1)
    file = tmp_path / "rows.csv"
    file.write_text(ROWS)
    assert "--resume goes on after them" in run("import", file, "-d", "SN-1", status=1).stderr
    assert "stopped after 1 rows" in run("import", file, "-d", "SN-1", status=1).stderr
    file.write_text(ROWS.replace("yesterday", "2026-01-02"))
    assert json.loads(run("import", file, "-d", "SN-1", "--resume", "--json").stdout) == {"stored": 3, "skipped": 0, "resumed_rows": 1}
    assert run("query", "-d", "SN-1", "-v", "v", "--count").stdout == "3\n"


def test_a_name_for_the_variable(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("time_ms,value\n1,2\n")
    run("import", file, "-d", "SN-1", "--variable", "outside")
    assert json.loads(run("query", "-d", "SN-1", "-v", "outside", "--json").stdout)[0]["value"] == 2.0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["import", "missing.csv", "-d", "SN-1"], "there is no file missing.csv"),
        (["import", "-", "-d", "SN-1"], "does not tell the format"),
        (["export", "-d", "SN-1", "points.xml"], "does not tell the format"),
        (["export", "-d", "SN-1", "/nowhere/points.csv"], "No such file"),
        (["export", "-d", "SN-9"], "no device"),
    ],
)
def test_errors_are_one_line(run: Run, store: Path, args: list[str], message: str) -> None:
    line = run(*args, status=1).stderr.splitlines()[0]
    assert line.startswith("error: ") and message in line


def test_a_pipe_between_two_processes(process: Process, store: Path, data: Path) -> None:
    text = process("export", "-d", "SN-1").stdout
    process("device", "create", "copy", "--serial", "SN-2")
    assert "stored 6 points" in process("import", "-", "-f", "csv", "-d", "SN-2", input=text).stdout
    with opened(data) as db:
        assert db.device("SN-2").count() == 6


def test_an_import_is_stopped_by_ctrl_c(store: Path) -> None:
    command = [sys.executable, "-m", "tsengine", "import", "-", "-f", "csv", "-d", "SN-1", "--skip-bad-rows"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as importer:
        try:
            assert importer.stdin is not None and importer.stderr is not None
            # The first batch is full and has a bad row, of which the process tells; then it waits for more.
            importer.stdin.write("variable,time_us\nv,\n" + "v,1\n" * parts.BATCH_POINTS)
            importer.stdin.flush()
            assert importer.stderr.readline().startswith("skipped line 2: ")
            importer.send_signal(signal.SIGINT)
            assert importer.stderr.readline() == "stopped\n"
            assert importer.stderr.readline() == "hint: 49,999 points stored\n"
            assert importer.wait(timeout=60) == 130
        finally:
            importer.kill()
