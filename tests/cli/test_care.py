"""tsengine stats, check, compact, backup, serve; starting, help, exit statuses."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.cli.conftest import ROOT, Process, Run, opened
from tsengine.cli.app import app

COMMANDS = ["serve", "device", "token", "import", "export", "query", "stats", "check", "compact", "backup"]


def test_stats(run: Run, store: Path) -> None:
    stats = json.loads(run("stats", "--json").stdout)
    assert (stats["devices"], stats["unsealed_points"]) == (1, 6)
    text = run("stats").stdout
    assert re.search(r"^unsealed_points +6$", text, re.MULTILINE)
    assert re.search(r"^compaction_bytes_per_second_max +64.0 MiB$", text, re.MULTILINE)


def test_a_sound_store_passes_the_check(run: Run, store: Path) -> None:
    run("compact")
    report = json.loads(run("check", "--json").stdout)
    assert (report["problems"], report["points"]) == ([], 6)
    assert run("check").stdout.startswith("the store is sound; ")


def test_a_damaged_store_fails_the_check(run: Run, store: Path) -> None:
    run("compact")
    segment = next((store / "segments").glob("*.seg"))
    raw = bytearray(segment.read_bytes())
    raw[100] ^= 0xFF
    segment.write_bytes(raw)
    report = json.loads(run("check", "--json", status=1).stdout)
    assert len(report["problems"]) == 1 and "damaged" in report["problems"][0]
    assert run("check", status=1).stdout.startswith("problem: damaged")


def test_a_repair_says_what_it_did(run: Run, store: Path) -> None:
    run("compact")
    segment = next((store / "segments").glob("*.seg"))
    raw = bytearray(segment.read_bytes())
    raw[100] ^= 0xFF
    segment.write_bytes(raw)
    assert "--repair" in run("check", status=1).stderr
    lines = run("check", "--repair").stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["kept", "lost", "repaired"] and lines[-1].startswith("the store is sound; ")
    assert json.loads(run("check", "--repair", "--json").stdout)["actions"] == []
    assert next((store / "damaged").glob("*/segments/*.seg")).read_bytes() == raw


def test_a_store_that_does_not_open_is_checked_and_repaired(run: Run, store: Path) -> None:
    log = next((store / "wal").glob("*.wal"))
    raw = bytearray(log.read_bytes())
    raw[64 + 20] ^= 0xFF
    log.write_bytes(raw)
    assert "damaged log" in run("stats", status=1).stderr
    assert "damaged log" in run("check", status=1).stdout
    done = json.loads(run("check", "--repair", "--json").stdout)
    assert [action["action"] for action in done["actions"]] == ["kept", "repaired"] and done["check"]["problems"] == []
    assert run("query", "-d", "SN-1", "--count").stdout == "6\n"


def test_compact(run: Run, store: Path) -> None:
    compacted = json.loads(run("compact", "--json").stdout)
    assert compacted["after"]["sealed_points"] == 6
    assert compacted["compaction"]["running"] is None
    assert run("compact").stdout.startswith("segments: 1 -> 1")


def test_compact_drops_expired_points_if_the_clock_is_vouched_for(run: Run, store: Path) -> None:
    with opened(store) as db:
        device = db.create_device("short", chunk_period="day", chunk_retention=None)
        device.append("t", 1.0, time="2020-01-01T00:00:00Z")
        db.edit_device(device.id, chunk_retention=1)
    assert json.loads(run("compact", "--json").stdout)["after"]["sealed_points"] == 7
    assert json.loads(run("compact", "--json", "--trust-clock").stdout)["after"]["sealed_points"] == 6


def test_a_backup_is_a_store(run: Run, store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    run("backup", copy)
    assert run("query", "-d", "SN-1", "--count", "--data", copy).stdout == "6\n"
    assert run("backup", copy, status=1).stderr.startswith(f"error: the folder {copy} is not empty")


@pytest.mark.parametrize("command", [["stats"], ["check"], ["compact"], ["device", "list"], ["query", "-d", "x"], ["backup", "copy"]])
def test_a_folder_without_a_store_stays_as_it_is(run: Run, data: Path, command: list[str]) -> None:
    lines = run(*command, status=1).stderr.splitlines()
    assert lines[0] == f"error: there is no store in {data}" and "--data" in lines[1]
    assert not data.exists()


def test_a_store_that_is_open_elsewhere(process: Process, store: Path) -> None:
    with opened(store):
        lines = process("stats", status=1).stderr.splitlines()
    assert "is open in process" in lines[0] and lines[0].startswith("error: ") and lines[1].startswith("hint: ")


def test_help_and_version(process: Process) -> None:
    text = process("--help").stdout
    assert all(re.search(rf"^  {command} ", text, re.MULTILINE) for command in COMMANDS)
    assert process("--version").stdout.startswith("tsengine ")
    process("nonsense", status=2)
    process("query", status=2)


def test_every_help_has_an_example(run: Run) -> None:
    for path, command in leaves(typer.main.get_command(app)):
        assert f"Example: tsengine {' '.join(path)} " in " ".join(run(*path, "--help").stdout.split()), path
        assert command.help


def test_help_starts_without_heavy_packages() -> None:
    code = "import sys; from tsengine.cli.app import app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert not {"rich", "pyarrow", "uvicorn", "falcon", "tsengine.server.run", "tsengine.transfer"} & set(loaded)


def test_a_server_starts_answers_and_stops(data: Path) -> None:
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "tsengine", "serve", "--data", str(data), "--port", "0", "--durability", "os"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            assert server.stdout is not None
            url = next(line.split()[-1] for line in server.stdout if line.startswith("tsengine listens on "))
            with urllib.request.urlopen(f"{url}/health", timeout=30) as answer:
                assert answer.status == 200
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=30) == 0
        finally:
            server.kill()


def test_a_missing_extra_is_said(process: Process, data: Path, tmp_path: Path) -> None:
    """The server's packages are hidden from the command, as if only the engine were installed."""
    code = "import sys; sys.modules['uvicorn'] = None; sys.argv = ['tsengine', 'serve']; from tsengine.cli.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and done.stderr.startswith("error: the server needs more packages") and "Traceback" not in done.stderr


# --- documentation ---------------------------------------------------------------------------------------------------


def leaves(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Return (words, command) of every command that does something."""
    children = getattr(command, "commands", None)
    if children is None:
        return [(path, command)]
    return [leaf for name, child in children.items() for leaf in leaves(child, (*path, name))]


def test_every_command_and_option_is_documented() -> None:
    sections = dict(re.findall(r"^##+ `tsengine ([a-z ]+)`\n(.*?)(?=^##|\Z)", (ROOT / "docs/cli.md").read_text(), re.MULTILINE | re.DOTALL))
    commands = {" ".join(path): command for path, command in leaves(typer.main.get_command(app))}
    assert sections.keys() == commands.keys()
    for name, command in commands.items():
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts) if option[:1] == "-"}
        documented = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", re.sub(r"```.*?```", "", sections[name], flags=re.DOTALL)))
        common = {"--data", "--json", "--help", "-h"}
        assert known - documented <= common, (name, known - documented)
        assert documented - known <= common, (name, documented - known)
