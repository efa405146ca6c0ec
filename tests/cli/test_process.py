"""What every command owes to the shell: exit statuses, pipes, signals, colours, completion. All as real processes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Process, opened

MANY = 20_000
"""Points whose output is larger than any pipe's buffer."""


@pytest.fixture
def full_store(store: Path) -> Path:
    """A store whose device SN-1 has many points."""
    with opened(store) as db:
        db.device("SN-1").append_columns("many", [n * 1_000_000 for n in range(MANY)], [n / 8 for n in range(MANY)])
    return store


@pytest.mark.parametrize(
    "args",
    [
        ["export"],
        ["query", "--limit", str(MANY)],
        ["query", "--limit", str(MANY), "--json"],
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_ends_a_command_quietly(full_store: Path, args: list[str], unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "tsengine", args[0], "-d", "SN-1", *args[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment) as running:
        assert running.stdout is not None and running.stderr is not None
        assert running.stdout.read(1)
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(timeout=60) == 1


@pytest.mark.parametrize("args", [["query"], ["query", "--csv"], ["query", "--json"], ["export"], ["query", "--count"]])
def test_output_that_cannot_be_written_is_an_error(store: Path, args: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tsengine", args[0], "-d", "SN-1", *args[1:]], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_into_a_pipe_nothing_is_coloured_or_cut(process: Process, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    for args in (["device", "list"], ["query", "-d", "SN-1"], ["stats"], ["query", "--help"]):
        assert "\x1b" not in process(*args).stdout
    text = process("device", "list").stdout
    assert "freezer-7" in text and len(text.splitlines()) == 3
    assert process("compact").stderr == "", "no progress bar"


def terminal_output(*args: str, **environment: str) -> str:
    """Run a command on a terminal and return all that it wrote there."""
    main, side = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "tsengine", *args],
        stdin=subprocess.DEVNULL,
        stdout=side,
        stderr=side,
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm", **environment},
    ) as running:
        os.close(side)
        text = b""
        try:
            while piece := os.read(main, 65_536):
                text += piece
        except OSError:  # the other side is closed
            pass
        os.close(main)
        assert running.wait(timeout=60) == 0, text
    return text.decode()


def test_a_terminal_gets_colours_unless_it_does_not_want_them(store: Path) -> None:
    assert "\x1b[1m" in terminal_output("device", "list")
    for style in ("\x1b[3", "\x1b[9"):
        assert style not in terminal_output("device", "list", NO_COLOR="1")


@pytest.mark.parametrize(
    "command", [["export", "-d", "SN-1", "out.csv"], ["check"], ["compact"], ["backup", "copy"], ["import", "in.csv", "-d", "SN-1"]]
)
def test_a_terminal_gets_a_progress_bar(full_store: Path, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "in.csv").write_text("variable,time_us,value\n" + "".join(f"v,{n},1\n" for n in range(5_000)))
    text = terminal_output(*(str(tmp_path / arg) if "." in arg or arg == "copy" else arg for arg in command))
    assert "\x1b[?25l" in text and "\x1b[?25h" in text, "the cursor is hidden while a bar is drawn, and comes back"


def test_a_bench_shows_a_progress_bar(tmp_path: Path) -> None:
    assert "ingest-10" in terminal_output("bench", "ingest-10", str(tmp_path / "bench"), "--points", "100")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_export_leaves_no_half_file(full_store: Path, tmp_path: Path, how: signal.Signals) -> None:
    """What takes the place of the half file is a pipe, so that the export is stopped in the middle for sure."""
    target = tmp_path / "out.csv"
    half = tmp_path / "out.csv.part"
    os.mkfifo(half)
    with subprocess.Popen(
        [sys.executable, "-m", "tsengine", "export", "-d", "SN-1", str(target)], stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as running:
        try:
            assert running.stderr is not None
            with half.open("rb", buffering=0) as reader:
                assert reader.read(1)
                running.send_signal(how)
                while reader.read(65_536):
                    pass
            assert running.wait(timeout=60) == 128 + how
            assert running.stderr.read() == ("stopped\n" if how == signal.SIGINT else "")
            assert list(tmp_path.glob("out.csv*")) == []
        finally:
            running.kill()


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["stats", "--data", "FILE"], 1, "there is no store in"),
        (["device", "create", "name", "--data", "FILE"], 1, "cannot make the folder"),
        (["device", "create", "name", "--data", "/proc/nowhere"], 1, "cannot make the folder"),
        (["export", "-d", "SN-1", "/nowhere/out.csv"], 1, "No such file or directory: /nowhere/out.csv"),
        (["query", "-d", "SN-1", "-o", "/nowhere/out.csv"], 1, "No such file or directory: /nowhere/out.csv"),
        (["query", "-d", "SN-1", "--plot", "--png", "/nowhere/a.png"], 1, "No such file or directory: /nowhere/a.png"),
        (["query", "-d", "SN-1", "--start", "soon"], 2, "'soon' is not a time"),
        (["export", "-d", "SN-1", "--end", "soon"], 2, "'soon' is not a time"),
        (["serve", "--port", "70000"], 2, "--port"),
        (["serve", "--tls-cert", "missing.pem", "--tls-key", "missing.pem"], 1, "cannot read the TLS certificate"),
        (["qurey"], 2, "No such command"),
        ([], 2, "Commands:"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    process: Process, store: Path, tmp_path: Path, args: list[str], status: int, message: str
) -> None:
    (tmp_path / "FILE").write_text("x")
    done = process(*(str(tmp_path / "FILE") if arg == "FILE" else arg for arg in args), status=status)
    assert message in done.stderr + done.stdout
    assert "[Errno" not in done.stderr


def test_a_damaged_store_is_one_line_and_a_hint(process: Process, store: Path) -> None:
    process("compact")
    segment = next((store / "segments").glob("*.seg"))
    raw = bytearray(segment.read_bytes())
    raw[100] ^= 0xFF
    segment.write_bytes(raw)
    for args in (["query", "-d", "SN-1"], ["export", "-d", "SN-1"], ["query", "-d", "SN-1", "--plot"]):
        lines = process(*args, status=1).stderr.splitlines()
        assert lines[0].startswith("error: damaged ") and lines[1].startswith("hint: `tsengine check`") and len(lines) == 2


def test_a_port_that_is_taken(process: Process, store: Path) -> None:
    pytest.importorskip("uvicorn")
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        lines = process("serve", "--port", port, status=1).stderr.splitlines()
    assert lines[0].startswith(f"error: cannot listen on 127.0.0.1:{port}: ") and lines[1].startswith("hint: ") and len(lines) == 2


def complete(shell: str, line: str) -> str:
    """Return what a shell is offered for the next word of a line."""
    variables = {"_TSENGINE_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    variables |= {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = subprocess.run([sys.executable, "-m", "tsengine"], capture_output=True, text=True, cwd=ROOT, env={**os.environ, **variables})
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_options_and_devices(store: Path, shell: str) -> None:
    with opened(store) as db:
        other = db.create_device("pump 7")
        # Also while a server has the store open.
        assert "export" in complete(shell, "tsengine exp")
        assert "--variable" in complete(shell, "tsengine query --va")
        for line in ("tsengine query -d ", "tsengine device show ", f"tsengine token list --data {store} "):
            offered = complete(shell, line)
            assert "SN-1" in offered and other.id in offered
        assert other.id not in complete(shell, "tsengine query -d SN")
    assert "SN-1" not in complete(shell, f"tsengine query --data {store / 'nowhere'} -d ")


def test_the_script_of_completion_is_shown(process: Process) -> None:
    assert "--install-completion" in process("--help").stdout and "--show-completion" in process("--help").stdout


def test_rows_in_every_format(process: Process, store: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    points = json.loads(process("query", "-d", "SN-1", "--json").stdout)
    assert [json.loads(line) for line in process("query", "-d", "SN-1", "-f", "jsonl").stdout.splitlines()] == points
    for suffix in ("parquet", "arrow", "csv", "json", "jsonl"):
        file = tmp_path / f"rows.{suffix}"
        assert process("query", "-d", "SN-1", "--output", file).stdout == ""
        assert not list(tmp_path.glob("*.part"))
    table = pq.read_table(tmp_path / "rows.parquet")
    assert table.column("id").to_pylist() == [point["id"] for point in points]
    assert table.column("value_bool").to_pylist() == [None, None, None, None, True, None]
    with pa.ipc.open_file(tmp_path / "rows.arrow") as reader:
        assert reader.read_all().num_rows == 6
    assert json.loads((tmp_path / "rows.json").read_text()) == points
    assert (tmp_path / "rows.csv").read_text() == process("query", "-d", "SN-1", "--csv").stdout
    process("query", "-d", "SN-1", "-v", "temperature", "--every", "1h", "-o", tmp_path / "hours.parquet")
    hours = pq.read_table(tmp_path / "hours.parquet")
    assert hours.column("avg").to_pylist() == [20.5, 22.5] and pa.types.is_timestamp(hours.schema.field("time").type)
    process("query", "-d", "SN-1", "--count", "-o", tmp_path / "count.csv")
    assert (tmp_path / "count.csv").read_text() == "count\n6\n"
    assert "does not tell the format" in process("query", "-d", "SN-1", "-o", tmp_path / "rows.xls", status=1).stderr
