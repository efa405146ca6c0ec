"""tsengine demo, as a process, and the fleet that it simulates."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import tsengine
from tests.cli.conftest import ROOT, Process, opened
from tsengine.cli.simulated import KINDS, fleet

pytest.importorskip("uvicorn")

WEEK_S = 7 * 86_400


@contextmanager
def demo(tmp_path: Path, *args: str) -> Iterator[tuple[list[str], subprocess.Popen[str]]]:
    """Run a demo; yields the lines that it prints up to the last."""
    command = [sys.executable, "-m", "tsengine", "demo", "--port", "0", *args]
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment) as running:
        try:
            assert running.stdout is not None
            lines = []
            for line in running.stdout:
                lines.append(line.rstrip("\n"))
                if line in ("Ctrl-C ends the demo.\n", "}\n"):
                    break
            yield lines, running
        finally:
            running.kill()


def end(running: subprocess.Popen[str]) -> str:
    """Press Ctrl-C; return what the demo said at its end."""
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=60) == 0
    assert running.stderr is not None
    return running.stderr.read()


def ask(url: str, token: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"token": token}), timeout=30) as answer:
        return json.load(answer)["result"]


def test_a_demo_has_history_sends_and_leaves_nothing(tmp_path: Path) -> None:
    with demo(tmp_path, "--days", "0.5", "--devices", "6", "--rate", "50") as (lines, running):
        url, token = re.search(r"(http://\S+)/data -H 'token: (\S+)' -d query=last_item", "\n".join(lines)).groups()  # type: ignore[union-attr]
        assert "6 devices send 50 payloads a second" in lines[0]
        assert "which is removed at the end" in lines[1]
        assert sum(line.startswith(("freezer-", "weather-", "tracker-", "pump-", "panel-")) for line in lines) == 6
        before = ask(f"{url}/data?query=count", token)
        assert before >= 720 * 4, "half a day, a payload a minute"
        # The second answer waits for the first point that was sent, on the stream of events.
        stream = f"{url}/events?channel=device_data.{ask(f'{url}/info', token)['id']}&token={token}"
        with urllib.request.urlopen(stream, timeout=30) as events:
            sent = next(json.loads(line[6:]) for line in events if line.startswith(b"data: "))
        assert {point["variable"] for point in sent["payload"]} == {"temperature", "door", "compressor", "energy"}
        assert ask(f"{url}/data?query=count", token) > before
        assert re.fullmatch(rf"ended; {tmp_path}/tsengine-demo-\w+ is removed\n", end(running))
    assert list(tmp_path.iterdir()) == []


def test_a_demo_keeps_a_folder_that_is_named(tmp_path: Path, process: Process) -> None:
    folder = tmp_path / "kept"
    with demo(tmp_path, "--data", str(folder), "--days", "0.1", "--json") as (lines, running):
        started = json.loads("\n".join(lines))
        panel = started["devices"][4]
        assert (panel["type"], set(panel["registers"])) == ("mutable", {"setpoint", "mode", "occupied", "visitors"})
        assert started["data"] == str(folder) and started["account_token"].startswith("p-")
        assert end(running) == f"ended; {folder} has the data\n"
    with opened(folder) as db:
        assert [device.serial for device in (each.info for each in db.devices(order="serial"))] == [f"DEMO-{n}" for n in range(1, 6)]
        assert db.device("DEMO-3").count("position") >= 144
        assert db.device("DEMO-5").count() == 4
    process("check", "--data", folder)
    lines = process("demo", "--data", folder, status=1).stderr.splitlines()
    assert lines[0] == f"error: {folder} is there already" and "tsengine serve" in lines[1]


def test_every_kind_of_device_is_simulated_the_same_every_time() -> None:
    def week(count: int) -> list[list[dict[str, Any]]]:
        return [[point for second in range(0, WEEK_S, 60) for point in device.payload(second * 1_000_000)] for device in fleet(count)]

    first = week(len(KINDS))
    assert first == week(len(KINDS))
    values: dict[str, set[Any]] = {point["variable"]: set() for points in first for point in points}
    for points in first:
        for point in points:
            values[point["variable"]].add(point["value"])
    assert values["state"] == {"off", "running", "fault"}
    assert values["door"] == values["compressor"] == {True, False}
    assert -20 < min(values["temperature"]) < -18 and 20 < max(values["temperature"]) < 40
    assert min(values["battery"]) >= 3 and max(values["battery"]) == 100
    places = [point["location"] for point in first[2] if "location" in point]
    assert max(abs(place["lat"] - 38.72) for place in places) < 0.5 and len({place["lat"] for place in places}) > 1_000
    for counter in ("energy", "rain", "volume"):
        counts = [point["value"] for points in first for point in points if point["variable"] == counter]
        assert counts == sorted(counts) and counts[-1] > 0


def test_what_is_simulated_can_be_stored(tmp_path: Path) -> None:
    with tsengine.open(tmp_path / "data", durability="memory") as db:
        for device in fleet(len(KINDS)):
            made = db.create_device(device.name, type=device.type)
            assert made.append_many(device.payload(1_000_000)) == made.count() >= 3
