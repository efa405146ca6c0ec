"""tsengine bench, as a process: against a store, against a server, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Process, opened
from tsengine.cli import load
from tsengine.cli.bench import Name

WORKLOADS = [name.value for name in Name]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server and its account token."""
    pytest.importorskip("uvicorn")
    data = tmp_path_factory.mktemp("server") / "data"
    command = [sys.executable, "-m", "tsengine", "serve", "--data", str(data), "--port", "0", "--durability", "os", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as running:
        try:
            assert running.stdout is not None
            text = ""
            for line in running.stdout:
                text += line
                if line == "}\n":
                    break
            started = json.loads(text)
            yield started["url"], started["account_token"]
            running.send_signal(signal.SIGTERM)
            assert running.wait(timeout=30) == 0
        finally:
            running.kill()


def test_the_names_are_those_of_the_workloads() -> None:
    assert list(load.WORKLOADS) == WORKLOADS


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workload_on_a_store(process: Process, tmp_path: Path, workload: str) -> None:
    folder = tmp_path / "bench"
    report = json.loads(process("bench", workload, folder, "--points", "3000", "--durability", "os", "--writers", "2", "--json").stdout)
    assert (report["workload"], report["target"], report["durability"]) == (workload, str(folder), "os")
    assert (report["writers"], report["devices"]) == (2, 16)
    assert report["points"] == sum(each["points"] for each in report["operations"]) >= 3000
    for each in report["operations"]:
        assert each["calls"] > 0 < each["p50_ms"] <= each["p99_ms"] <= each["max_ms"]
    size = report["stored_bytes_per_point"]
    assert size is None if workload == "registers" else 0.5 < size < 20
    assert report["sent_bytes_per_point"] is None
    assert not folder.exists()


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workload_on_a_server(process: Process, server: tuple[str, str], workload: str) -> None:
    url, token = server
    report = json.loads(process("bench", workload, url, "--token", token, "--points", "1000", "--writers", "2", "--json").stdout)
    assert report["target"] == url
    assert report["points"] >= 1000
    assert (report["durability"], report["stored_bytes_per_point"]) == (None, None)
    assert (report["sent_bytes_per_point"] is None) == (workload == "query")
    assert report["operations"][0]["calls"] > 0


def test_a_table_for_people(process: Process, tmp_path: Path) -> None:
    lines = process("bench", "ingest-10", tmp_path / "bench", "--points", "100").stdout.splitlines()
    assert lines[0].startswith(f"ingest-10 on {tmp_path / 'bench'}: 1 writer, 16 devices, durability sync, ")
    assert lines[1].split() == ["operation", "calls", "calls/s", "points/s", "p50", "ms", "p99", "ms", "max", "ms"]
    assert lines[3].split()[:2] == ["append", "10"]
    assert lines[4].endswith(" bytes/point stored")


def test_the_same_seed_makes_the_same_points() -> None:
    def first(seed: int) -> list[dict[str, object]]:
        stream = load.Stream((seed, 0), 0, load.DAY_US)
        return [dict(point) for _ in range(3) for point in stream.points(1_000) or ()]

    assert first(1) == first(1) != first(2)
    assert [point["time"] // 1_000_000 for point in first(1)] == [n // 10 for n in range(3_000)]  # type: ignore[operator]


def test_a_stream_ends_where_its_time_does() -> None:
    stream = load.Stream((1, 0), 0, 2_500_000_000)
    assert stream.points(2_000) is not None
    for _ in range(9):
        assert stream.points(2_000) is not None
    assert stream.points(2_000) is None
    assert stream.times(501) is None
    assert stream.times(500) is not None


def test_quantiles_are_right_to_the_width_of_a_bucket() -> None:
    tally = load.Tally()
    for ns in range(1, 100_001):
        tally.add(ns, 1)
    assert tally.quantile_ns(0.5) == pytest.approx(50_000, rel=0.03)
    assert tally.quantile_ns(0.99) == pytest.approx(99_000, rel=0.03)
    assert tally.max_ns == 100_000 == pytest.approx(tally.quantile_ns(1), rel=0.03)


def test_what_is_kept_can_be_loaded_again(process: Process, tmp_path: Path) -> None:
    folder = tmp_path / "bench"
    assert process("bench", "ingest-10", folder, "--points", "100", "--keep").stdout.endswith(f"kept 16 devices in {folder}\n")
    process("bench", "registers", folder, "--points", "100")
    with opened(folder) as db:
        assert [device.type for device in db.devices()] == ["immutable"] * 16
        assert sum(device.count() for device in db.devices()) == 100
    process("check", "--data", folder)


def test_an_empty_folder_is_left_empty(process: Process, tmp_path: Path) -> None:
    folder = tmp_path / "bench"
    folder.mkdir()
    process("bench", "mixed", folder, "--points", "100")
    assert list(folder.iterdir()) == []


def test_somebody_elses_store_is_refused(process: Process, store: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in store.iterdir())
    lines = process("bench", "ingest-1", store, "--points", "1", status=1).stderr.splitlines()
    assert lines[0] == f"error: {store} is there already, and no bench made it" and lines[1].startswith("hint: ")
    assert sorted(path.name for path in store.iterdir()) == before
    (tmp_path / "file").write_text("x")
    process("bench", "ingest-1", tmp_path / "file", "--points", "1", status=1)


@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_leaves_nothing(tmp_path: Path, how: signal.Signals, status: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tsengine", "bench", "ingest-1", "--seconds", "600"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as running:
        try:
            folder = wait_for_store(tmp_path, running)
            running.send_signal(how)
            assert running.wait(timeout=60) == status
            assert not folder.exists()
            assert running.stderr is not None
            assert running.stderr.read() == ("stopped\n" if how == signal.SIGINT else "")
        finally:
            running.kill()


def wait_for_store(folder: Path, running: subprocess.Popen[str]) -> Path:
    """Return the folder that a bench makes, when it opens a store in it."""
    while running.poll() is None:
        found = [path for path in folder.iterdir() if (path / "wal").is_dir()]
        if found:
            return found[0]
    raise AssertionError(f"the bench ended with {running.returncode}")


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["--token", "wrong"], 1, "401"),
        (["--durability", "os"], 2, "the server has its own"),
        (["--points", "0"], 2, "--points"),
    ],
)
def test_errors_with_a_server(process: Process, server: tuple[str, str], args: list[str], status: int, message: str) -> None:
    assert message in process("bench", "ingest-1", server[0], *args, status=status).stderr


def test_the_server_keeps_its_own_devices(process: Process, server: tuple[str, str]) -> None:
    import urllib.request

    process("bench", "ingest-1", server[0], "--token", server[1], "--points", "20")
    request = urllib.request.Request(f"{server[0]}/device", headers={"account-token": server[1]})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert [device["name"] for device in json.load(answer)["result"]] == ["sample-device"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("http://127.0.0.1:1", "error: cannot reach a server at http://127.0.0.1:1: Connection refused"),
        ("http://", "error: 'http://' is no address of a server"),
        ("ftp://127.0.0.1", "error: 'ftp://127.0.0.1' is no address of a server"),
        ("http://127.0.0.1:99999", "error: "),
    ],
)
def test_an_address_without_a_server(process: Process, target: str, message: str) -> None:
    lines = process("bench", "ingest-1", target, status=1).stderr.splitlines()
    assert lines[0].startswith(message) and all(line.startswith("hint: ") for line in lines[1:]) and len(lines) <= 2
    process("bench", "nothing", status=2)
