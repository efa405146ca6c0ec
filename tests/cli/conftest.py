"""A store for the commands, and how they are run: in this process by typer's runner, or as `python -m tsengine`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import tsengine
from tsengine import Engine, Point
from tsengine.cli.app import app

ROOT = Path(__file__).resolve().parent.parent.parent

Run = Callable[..., Result]
Process = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands work on unless they are told otherwise."""
    folder = tmp_path / "data"
    monkeypatch.setenv("TSENGINE_DATA", str(folder))
    return folder


@pytest.fixture
def store(data: Path) -> Path:
    """A store with one device SN-1 of six points and one token."""
    with opened(data) as db:
        device = db.create_device("freezer-7", serial="SN-1", tags=[("site", "oslo")])
        db.create_token(device.id, "sensor")
        points = [Point("temperature", 20.0 + i, i * 1_800_000_000, unit="C") for i in range(4)]
        device.append_many([*points, Point("door", True, 1), Point("odd", float("nan"), 2, location=(1, 2), metadata={"a": 1})])
    return data


def opened(data: Path) -> Engine:
    return tsengine.open(data, durability="os")


@pytest.fixture
def run(data: Path) -> Run:
    runner = CliRunner()

    def run(*args: str | Path, input: str | bytes | None = None, status: int = 0) -> Result:
        result = runner.invoke(app, [str(arg) for arg in args], input=input)
        assert result.exit_code == status, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def process(data: Path) -> Process:
    def process(*args: str | Path, input: str | None = None, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tsengine", *map(str, args)]
        done = subprocess.run(command, input=input, capture_output=True, text=True, cwd=ROOT, env=os.environ, timeout=120)
        assert done.returncode == status, done
        assert "Traceback" not in done.stderr
        return done

    return process
