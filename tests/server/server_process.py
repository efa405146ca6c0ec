"""A real server process for tests, and a small client that shows exactly what came back."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

ROOT = Path(__file__).resolve().parents[2]
START = """
import json, sys
from tsengine.server.run import serve
from tsengine.server.settings import Settings
options = json.loads(sys.argv[1])
serve(options.pop("data"), Settings(**{k: options.pop(k) for k in Settings.__struct_fields__ if k in options}), **options)
"""
TIMEOUT_S = 60


class Reply(NamedTuple):
    """What came back: status, headers in lower case, and the decoded JSON."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def result(self) -> Any:
        assert self.status in (200, 201) and self.body["status"] is True, self
        return self.body["result"]

    @property
    def refusal(self) -> tuple[int, str]:
        assert self.body["status"] is False and "result" not in self.body, self
        return self.status, self.body["message"]


class Made(NamedTuple):
    """A device that a test made."""

    id: str
    token: str


class Server:
    """A server process: `url`, `account` (its token), `lines` (what it printed before it was ready). `before` is run in it first."""

    def __init__(
        self, folder: Path, *, environment: dict[str, str] | None = None, stderr: IO[str] | None = None, before: str = "", **options: Any
    ) -> None:
        self.folder = folder
        self._before = before
        self._stderr = stderr
        self._environment = {**os.environ, **(environment or {})}
        self._options = options
        self.start()

    def start(self) -> None:
        options = {"data": str(self.folder), "port": 0, "durability": "os", **self._options}
        self.process = subprocess.Popen(
            [sys.executable, "-c", self._before + START, json.dumps(options)],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("tsengine listens on "):
                self.url = line.split()[-1]
                break
        else:
            raise AssertionError(f"the server ended with {self.process.wait(TIMEOUT_S)} before it listened")
        shown = next(line for line in self.lines if line.startswith("account token: ")).split()[2]
        self.account = self._environment["TSENGINE_ACCOUNT_TOKEN"] if shown == "from" else shown

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(how)
        status = self.process.wait(TIMEOUT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def connect(self) -> http.client.HTTPConnection:
        place = urlsplit(self.url)
        assert place.hostname is not None
        return http.client.HTTPConnection(place.hostname, place.port, timeout=TIMEOUT_S)

    def call(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: Any = None,
        *,
        query: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Send one request; a body that is not bytes goes as JSON, a query is a dict or pairs, or text as it is."""
        sent = dict(headers or {})
        if token is not None:
            sent["token"] = token
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("content-type", "application/json")
        if query:
            path += "?" + (query if isinstance(query, str) else urlencode(query, doseq=True))
        connection = self.connect()
        try:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            raw = response.read()
            if raw:
                assert response.headers["content-type"].startswith("application/json")
            found = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, found, json.loads(raw) if raw else None)
        finally:
            connection.close()

    def make(self, kind: str = "mutable", **fields: Any) -> Made:
        """Create a device and return its id and token."""
        if kind == "immutable":
            fields = {"chunk_period": "month", "chunk_retention": 12, **fields}
        result = self.call("POST", "/device", self.account, {"name": f"a {kind} device", "type": kind, **fields}).result
        return Made(result["device_id"], result["token"])

    def send(self, device: Made, *points: dict[str, Any]) -> None:
        assert self.call("POST", "/data", device.token, list(points)).result == f"{len(points)} Data Added"

    def read(self, device: Made, query: Any = None) -> Any:
        return self.call("GET", "/data", device.token, query=query).result


def restart_under_load(server: Server, send: Callable[[int], None], workers: int, busy: threading.Barrier, how: signal.Signals) -> None:
    """Stop a server while workers send, all of which have come to `busy`; start it again when the last of them gave up."""
    threads = [threading.Thread(target=send, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    busy.wait()
    assert server.stop(how) == (0 if how == signal.SIGTERM else -9)
    for thread in threads:
        thread.join()
    server.start()


def minutes_ago(minutes: float) -> str:
    """Return a time before now as the API writes it."""
    return iso(datetime.now(UTC) - timedelta(minutes=minutes))


def iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")[:23] + "Z"
