"""Start, stop and start again: secrets and data stay, and a stop in the middle of posts loses nothing that was acknowledged."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import tsengine
from tests.server.server_process import ROOT, START, TIMEOUT_S, Server, restart_under_load


@pytest.mark.skipif(shutil.which("curl") is None, reason="the line is for curl, which is not installed")
def test_the_first_start_prints_a_line_that_works(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    assert len(server.account) >= 32
    (line,) = [line for line in server.lines if line.startswith("try: ")]
    command = line.removeprefix("try: ")
    answer = subprocess.run([*shlex.split(command), "--silent"], capture_output=True, check=True, text=True).stdout
    assert json.loads(answer) == {"status": True, "result": "1 Data Added"}
    (row,) = server.call("GET", "/device", server.account).result
    assert row["name"] == "sample-device"
    shown = server.call("GET", f"/device/{row['id']}", server.account).result
    assert (shown["type"], shown["chunk_period"]) == ("immutable", "month")
    token = re.search(r"token: ([\w-]+)'", command)
    assert token is not None and server.call("GET", "/data", token[1]).result[0]["variable"] == "temperature"
    assert server.stop() == 0


def test_the_account_token_is_kept_and_private(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    first = server.account
    assert server.stop() == 0
    file = tmp_path / "data" / "account-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.read_text().strip() == first
    server.start()
    assert server.account == first
    assert not [line for line in server.lines if line.startswith("try: ")]
    assert len(server.call("GET", "/device", first).result) == 1
    assert server.stop(signal.SIGINT) == 0


def test_the_account_token_may_come_from_the_environment(tmp_path: Path) -> None:
    secret = "p-" + "5" * 32
    server = Server(tmp_path / "data", environment={"TSENGINE_ACCOUNT_TOKEN": secret})
    assert not any(secret in line for line in server.lines)
    assert server.call("GET", "/device", secret).status == 200
    assert not (tmp_path / "data" / "account-token").exists()
    assert server.stop() == 0


def test_a_short_account_token_is_refused(tmp_path: Path) -> None:
    options = json.dumps({"data": str(tmp_path / "data"), "port": 0})
    run = subprocess.run(["env", "TSENGINE_ACCOUNT_TOKEN=short", *start(options)], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0 and "TSENGINE_ACCOUNT_TOKEN must have at least 16" in run.stderr


def start(options: str) -> list[str]:
    return [sys.executable, "-c", START, options]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_keeps_devices_tokens_parameters_and_data(tmp_path: Path, how: signal.Signals) -> None:
    server = Server(tmp_path / "data")
    made = [
        server.make(kind, serie_number=f"S-{kind}", configuration_params=[{"key": "k", "value": "v"}]) for kind in ("mutable", "immutable")
    ]
    for device in made:
        server.send(device, *({"variable": f"v{n % 3}", "value": n, "metadata": {"n": n}} for n in range(100)))
    edited = server.read(made[0], {"qty": 1})[0]["id"]
    assert server.call("PUT", "/data", made[0].token, {"id": edited, "value": "edited"}).status == 200
    extra = server.call("POST", "/device/token", server.account, {"device": made[0].id, "name": "extra", "expire_time": "1 day"}).result[
        "token"
    ]
    gone = server.call("POST", "/device/token", server.account, {"device": made[0].id, "name": "gone"}).result["token"]
    assert server.call("DELETE", f"/device/token/{gone}", server.account).status == 200

    def everything() -> list[Any]:
        found: list[Any] = []
        for device in made:
            shown = server.call("GET", f"/device/{device.id}", server.account).result
            assert shown.pop("last_input") is not None
            found += [shown, server.read(device, {"qty": 1000, "details": True}), server.call("GET", "/device/params", device.token).result]
        return found

    before = everything()
    assert server.stop(how) == (0 if how == signal.SIGTERM else -9)
    server.start()
    assert everything() == before
    assert server.call("GET", "/data", extra).status == 200
    assert server.call("GET", "/data", gone).status == 401
    assert server.stop() == 0


@pytest.mark.parametrize("durability", ["sync", "os"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_stop_in_the_middle_of_posts_loses_nothing_acknowledged(tmp_path: Path, how: signal.Signals, durability: str) -> None:
    server = Server(tmp_path / "data", durability=durability)
    device = server.make("immutable")
    acknowledged: list[list[int]] = [[] for _ in range(8)]
    busy = threading.Barrier(9, timeout=60)

    def send(worker: int) -> None:
        connection = server.connect()
        for n in range(1_000_000):
            try:
                connection.request("POST", "/data", json.dumps([{"variable": f"w{worker}", "value": n}] * 3), {"token": device.token})
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                return
            if response.status != 200:
                return
            acknowledged[worker].append(n)
            if n == 30:
                busy.wait()

    restart_under_load(server, send, 8, busy, how)
    for worker, sent in enumerate(acknowledged):
        rows = server.read(device, {"variables": f"w{worker}", "qty": 10_000, "ordination": "ascending"})
        stored = [row["value"] for row in rows]
        attempted = len(sent) + 1  # the last request may have been stored without an answer, but then whole
        assert stored in ([n for n in range(count) for _ in range(3)] for count in (len(sent), attempted))
    assert server.stop() == 0


def test_two_servers_cannot_share_a_folder(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    run = subprocess.run(start(json.dumps({"data": str(tmp_path / "data"), "port": 0})), cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0 and "BusyError" in run.stderr
    assert server.call("GET", "/health").status == 200
    assert server.stop() == 0


def test_the_body_limit_is_an_option(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", max_body=200_000)
    device = server.make()
    reply = server.call("POST", "/data", device.token, b"[" + b" " * 200_000 + b"]")
    assert reply.status == 413 and "200000" in reply.body["message"]
    assert server.call("POST", "/data", device.token, b"[" + b" " * 199_998 + b"]").result == "0 Data Added"
    assert server.stop() == 0


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "tsengine", "serve", "--data", tmp_path / "data", "--port", str(port)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: " in ended.stderr and "address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr
    tsengine.open(tmp_path / "data").close()
