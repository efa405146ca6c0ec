"""A short run of an installed tsengine, with nothing beside it; `python smoke.py server` when the extra is installed, too."""

import json
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import tsengine

COMMAND = Path(sys.executable).with_name("tsengine")
DAY_US = 86_400_000_000
START_US = 20_000 * DAY_US


def use_as_library(folder: Path) -> None:
    """Write, read, aggregate, reopen: every compiled floor has to be there for this."""
    with tsengine.open(folder) as db:
        dev = db.create_device("freezer-7", serial="F7")
        dev.append("temperature", 21.5, time=START_US, unit="C")
        dev.append_many([{"variable": "door", "value": True, "time": START_US}, {"variable": "state", "value": "open", "time": START_US}])
        dev.append_columns(
            "temperature", [START_US + step * 1_000_000 for step in range(1, 3_000)], [step / 10 for step in range(1, 3_000)]
        )
        db.compact()
        times, values = dev.read("temperature")
        assert len(times) == len(values) == 3_000, len(times)
        assert dev.aggregate("temperature", "count", every="1h").num_rows == 1
    with tsengine.open(folder) as db:
        dev = db.device("F7")
        assert dev.count() == 3_002
        (newest,) = dev.last("temperature")
        assert newest.value == 299.9
    print("library: ok", tsengine.__version__)


def use_server(folder: Path) -> None:
    """Start `tsengine serve`, send a point with the token it made, read it back, stop it."""
    version = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, check=True).stdout
    assert version == f"tsengine {tsengine.__version__}\n", version
    with subprocess.Popen([COMMAND, "serve", "--port", "0", "--data", folder], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = ""
            for line in server.stdout:
                said += line
                if line.startswith("tsengine listens on "):
                    break
            url, token = said.split()[-1], re.search(r"'token: (\S+)'", said)
            assert token is not None, said
            head = {"token": token[1], "content-type": "application/json"}
            assert ask(url + "/data", head, b'[{"variable": "smoke", "value": 1.5}]') == "1 Data Added"
            assert [point["value"] for point in ask(url + "/data?variable=smoke", head)] == [1.5]
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, server.returncode
    print("server: ok")


def ask(url: str, head: dict[str, str], body: bytes | None = None) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, body, head), timeout=60) as answer:
        return json.load(answer)["result"]


def refuse_commands() -> None:
    """Without the extra the command says what to install, in one line."""
    ended = subprocess.run([COMMAND, "stats"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "pip install 'tsengine[server]'" in ended.stderr, ended.stderr
    print("command without its extra: ok")


if __name__ == "__main__":
    assert Path(tsengine.__file__).is_relative_to(sys.prefix), f"{tsengine.__file__} is not the installed one"
    with tempfile.TemporaryDirectory() as folder:
        use_as_library(Path(folder, "library"))
        if sys.argv[1:] == ["server"]:
            use_server(Path(folder, "server"))
        else:
            refuse_commands()
