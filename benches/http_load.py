"""The HTTP server under load: requests a second, latency, CPU and memory of a real server process, beside the goals.

The server runs pinned to one core with durability `sync`; wrk drives it from another one over 64 keep-alive connections, with the tokens
of 64 devices in turn. Every answer is checked once before it is timed, and the number of stored points afterwards. `--soak MINUTES` opens
idle connections instead, posts over some more, and prints what memory does meanwhile.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import tsengine
from benches.figures import RESULTS, Figure, figure_of, keep_results, show
from benches.peers import OURS

CONNECTIONS = 64
TABLE = f"HTTP, {CONNECTIONS} connections"
SECONDS, WARM_SECONDS = 4, 1
ARROW = "application/vnd.apache.arrow.stream"
TIMEOUT_S = 30
FILES_LEFT = 200
"""Descriptors that the soak leaves to everything but its connections."""

DEVICES = 64

SCRIPT = """
local heads, count, bodies = {}, #tokens, {}
init = function(args)
    local text = size > 0 and io.open(file, "rb"):read("*a") or ""
    for i = 1, #text, size > 0 and size or 1 do bodies[#bodies + 1] = text:sub(i, i + size - 1) end
    if #bodies == 0 then bodies[1] = "" end
    wrk.headers["content-length"] = size > 0 and tostring(size) or nil
    for i, token in ipairs(tokens) do
        wrk.headers["token"] = token
        heads[i] = wrk.format()
    end
end
request = function()
    turn = turn + 1
    return heads[turn % count + 1] .. bodies[math.floor(turn / count) % #bodies + 1]
end
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("answers %d us %d refused %d broken %d p50 %d p99 %d\\n", summary.requests, summary.duration,
        errors.status, errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""
"""Which request wrk sends next, and what it prints at the end. The devices take turns, and every round has a later body."""

BODIES_POINTS, BODIES_MAX = 400_000, 2_000
"""Points, and bodies, that a row has for each device before its times begin again."""
STEP_MS = 100


class Row(NamedTuple):
    """One kind of request.

    Attributes:
        bodies: all of one length, in the order of their times; none for a GET.
        points: stored by a POST, or rows of the answer to a GET.
        goal: requests/s for single points and GETs, else points/s.
        p99_ms: largest 99th percentile of latency.
    """

    name: str
    method: str
    path: str
    content_type: str
    bodies: list[bytes]
    points: int
    goal: float | None = None
    p99_ms: float | None = None

    @property
    def is_counted_in_points(self) -> bool:
        return self.method == "POST" and self.points > 1


def items(first: int, count: int) -> list[dict[str, Any]]:
    """Return points as a device sends them, in the order of time."""
    return [{"variable": "temperature", "value": value_of(n), "unit": "C", "time": time_text(n)} for n in range(first, first + count)]


def value_of(n: int) -> float:
    return 20.25 + n % 100 / 2


def time_ms(n: int) -> int:
    return START_MS + n * STEP_MS


def time_text(n: int) -> str:
    seconds, ms = divmod(time_ms(n), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ms:03}Z"


START_MS = (int(time.time()) - 8 * 86_400) * 1000


def plain(first: int, count: int) -> bytes:
    return msgspec.json.encode(items(first, count))


def messagepack(first: int, count: int) -> bytes:
    return msgspec.msgpack.encode([{**item, "time": time_ms(first + n)} for n, item in enumerate(items(first, count))])


def columnar(first: int, count: int) -> bytes:
    """Return points of one variable as arrays."""
    numbers = range(first, first + count)
    body = {"variable": "temperature", "unit": "C", "time": [time_ms(n) for n in numbers], "value": [value_of(n) for n in numbers]}
    return msgspec.json.encode(body)


def arrow(first: int, count: int) -> bytes:
    import pyarrow as pa

    numbers = range(first, first + count)
    table = pa.table(
        {
            "variable": pa.array(["temperature"] * count).dictionary_encode(),
            "time": pa.array([time_ms(n) for n in numbers], pa.timestamp("ms")),
            "value": pa.array([value_of(n) for n in numbers], pa.float64()),
            "unit": pa.array(["C"] * count).dictionary_encode(),
        }
    )
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


KINDS: list[tuple[str, str, Callable[[int, int], bytes], list[tuple[int, float | None]]]] = [
    ("JSON", "application/json", plain, [(10, 250_000), (1_000, 2.5e6)]),
    ("columnar JSON", "application/vnd.tsengine.columns+json", columnar, [(1_000, 8e6), (10_000, 8e6)]),
    ("MessagePack", "application/msgpack", messagepack, [(1_000, None), (10_000, None)]),
    ("Arrow", ARROW, arrow, [(1_000, 15e6), (10_000, 15e6)]),
]
"""Kinds of bodies: name, content type, encoder of points, and (points, goal) of each row."""


def rows() -> Iterator[Row]:
    """Yield everything that is timed, in the order in which it is."""
    one = msgspec.json.encode([{"variable": "temperature", "value": 20.5, "unit": "C"}])
    yield Row("POST 1 point, JSON", "POST", "/data", "application/json", [one], 1, 35_000, 6.0)
    first = 0
    for name, content_type, encode, sizes in KINDS:
        for count, goal in sizes:
            bodies = [encode(first + n * count, count) for n in range(min(BODIES_MAX, BODIES_POINTS // count))]
            first += len(bodies) * count
            yield Row(f"POST {count:,} points, {name}", "POST", "/data", content_type, bodies, count, goal)
    yield Row("GET last value", "GET", "/data?variables=temperature&query=last_value", "", [], 1, 25_000)
    yield Row("GET newest 100", "GET", "/data?variables=temperature&qty=100", "", [], 100, 8_000)
    yield Row("GET /health (all of the way but the store)", "GET", "/health", "", [], 0)


class Made(NamedTuple):
    """A device and its token."""

    id: str
    token: str


def make_devices(folder: Path) -> list[Made]:
    """Create a store with devices that have no limit of points, which over HTTP all have."""
    with tsengine.open(folder) as engine:
        devices = [
            engine.create_device(
                f"device {n}", type="immutable", chunk_period="month", chunk_retention=2, chunk_limit=None, point_limit=None
            )
            for n in range(DEVICES)
        ]
        return [Made(device.id, engine.create_token(device.id, "Default").token) for device in devices]


class Server:
    """A server process on a core of its own."""

    def __init__(self, folder: Path, core: int, *options: str) -> None:
        command = [sys.executable, "-m", "tsengine", "serve", "--data", str(folder), "--port", "0", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core}), cwd=Path(__file__).parents[1]
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("account token: "):
                self.account = line.split()[2]
            if line.startswith("tsengine listens on "):
                self.url = line.split()[-1]
                break
        else:
            raise SystemExit("the server did not start")
        self.host, self.port = re.sub("^http://", "", self.url).rsplit(":", 1)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, int(self.port), timeout=TIMEOUT_S)

    def call(self, method: str, path: str, token: str, body: bytes = b"", content_type: str = "application/json") -> tuple[int, Any]:
        connection = self.connect()
        headers = {"token": token, "content-type": content_type} if body else {"token": token}
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer

    def amount(self, devices: list[Made]) -> int:
        """Return how many points the devices hold."""
        count = 0
        for device in devices:
            status, answer = self.call("GET", f"/device/{device.id}/data_amount", self.account)
            assert status == 200, answer
            count += int(answer["result"])
        return count

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(TIMEOUT_S) == 0, "the server did not stop well"


class Measured(NamedTuple):
    answers: int
    seconds: float
    p50_ms: float
    p99_ms: float


def script_of(row: Row, devices: list[Made], folder: Path, first: float = 0) -> Path:
    """Write the requests as a script of wrk; `first` of the bodies is where it begins, as a part of 1."""
    file, script = folder / "bodies", folder / "request.lua"
    file.write_bytes(b"".join(row.bodies))
    size = len(row.bodies[0]) if row.bodies else 0
    assert all(len(body) == size for body in row.bodies)
    tokens = ", ".join(f'"{device.token}"' for device in devices)
    lines = [f'wrk.method = "{row.method}"', f'file, size = "{file}", {size}', f"tokens = {{{tokens}}}"]
    lines.append(f"turn = {round(first * len(row.bodies)) * len(devices)}")
    if row.bodies:
        lines.append(f'wrk.headers["content-type"] = "{row.content_type}"')
    script.write_text("\n".join(lines) + SCRIPT)
    return script


def load(url: str, script: Path, core: int, seconds: int, connections: int = CONNECTIONS) -> Measured:
    """Run wrk; every answer must be a success."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", "--timeout", "30s", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"answers (\d+) us (\d+) refused (\d+) broken (\d+) p50 (\d+) p99 (\d+)", out)
    assert found is not None, out
    answers, us, refused, broken, p50_us, p99_us = map(int, found.groups())
    assert answers and not refused and not broken, out
    return Measured(answers, us / 1e6, p50_us / 1e3, p99_us / 1e3)


def problem_of(server: Server, row: Row, token: str) -> str | None:
    """Return what is wrong with the answer to one such request, or None."""
    status, answer = server.call(row.method, row.path, token, row.bodies[0] if row.bodies else b"", row.content_type)
    if status != 200:
        return f"{status} {answer['message']}"
    if row.method == "POST":
        return None if answer["result"] == f"{row.points} Data Added" else f"the answer is {answer['result']}"
    if row.points and len(answer["result"]) != row.points:
        return f"{len(answer['result'])} rows instead of {row.points}"
    return None


def measure(server: Server, row: Row, devices: list[Made], core: int, seconds: int, folder: Path) -> list[Figure]:
    """Return what was found out about one kind of request."""
    problem = problem_of(server, row, devices[0].token)
    if problem is not None:
        print(f"SKIPPED: {row.name}: {problem[:80]}")
        return []
    url = server.url + row.path
    load(url, script_of(row, devices, folder), core, WARM_SECONDS)
    script = script_of(row, devices, folder, first=0.25)  # its times come after those of the warm-up
    before, cpu = server.amount(devices), server.cpu_seconds()
    found = load(url, script, core, seconds)
    cpu = server.cpu_seconds() - cpu
    if row.method == "POST":
        stored = server.amount(devices) - before
        least = found.answers * row.points  # requests on their way when wrk ended are stored, too
        assert least <= stored <= least + 2 * CONNECTIONS * row.points, f"{stored} points stored by {found.answers} answers of {row.points}"
    rate = found.answers / found.seconds
    speed, unit = (rate * row.points, "points/s") if row.is_counted_in_points else (rate, "requests/s")
    return [
        figure_of(TABLE, row.name, OURS, speed, unit, row.goal),
        figure_of(f"{TABLE}: 99th percentile of latency", row.name, OURS, found.p99_ms, "ms", row.p99_ms),
        figure_of(f"{TABLE}: CPU of the server a request", row.name, OURS, cpu / found.answers * 1e6, "µs"),
        figure_of(f"{TABLE}: memory of the server", row.name, OURS, server.resident_bytes() / 2**20, "MB"),
    ]


def bench(seconds: int, only: str) -> None:
    """Measure every row, keep and print the tables."""
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        devices = make_devices(folder / "data")
        server = Server(folder / "data", core=0)
        try:
            assert server.call("POST", "/data", devices[0].token, plain(-1_000, 1_000))[0] == 200
            for row in rows():
                if re.search(only, row.name):
                    chosen = devices if row.method == "POST" else devices[:1]
                    figures += measure(server, row, chosen, (os.cpu_count() or 1) - 1, seconds, folder)
                    print(f"measured: {row.name}", flush=True)
        finally:
            server.stop()
    settings = f"{tsengine.__version__}, server on one core, durability sync; wrk on another, {seconds:g} s a row"
    show(keep_results(RESULTS, figures, [(OURS, settings)]), figures)


def ask(connection: socket.socket, head: bytes) -> None:
    """Send a GET of /health and read its answer, which may come in pieces."""
    connection.sendall(head)
    answer = b""
    while not answer.endswith(b'"ok"}'):
        piece = connection.recv(4096)
        assert piece, "an open connection was closed"
        answer += piece
    assert answer.startswith(b"HTTP/1.1 200"), answer


def soak(minutes: float, idle: int) -> None:
    """Hold idle connections open, post over some more, and print the server's memory."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    idle = min(idle, limit - FILES_LEFT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        devices = make_devices(folder / "data")
        server = Server(folder / "data", 0, "--max-connections", str(idle + FILES_LEFT), "--memory-mb", "32")
        row = next(rows())
        script = script_of(row, devices, folder)
        load(server.url + row.path, script, 1, WARM_SECONDS)
        before = server.resident_bytes()
        head = f"GET /health HTTP/1.1\r\nhost: {server.host}\r\n\r\n".encode()
        open_ones = []
        for _ in range(idle):
            connection = socket.create_connection((server.host, int(server.port)))
            ask(connection, head)
            open_ones.append(connection)
        after = server.resident_bytes()
        print(f"{idle} connections: {(after - before) / max(idle, 1):,.0f} bytes each, RSS {before >> 20} -> {after >> 20} MiB", flush=True)
        until, stored = time.monotonic() + minutes * 60, 0
        while time.monotonic() < until:
            stored += load(server.url + row.path, script, 1, min(30, 1 + int(until - time.monotonic()))).answers
            for connection in open_ones:
                ask(connection, head)
            print(f"{stored:,} requests, RSS {server.resident_bytes() >> 20} MiB", flush=True)
        for connection in open_ones:
            connection.close()
        assert server.amount(devices) >= stored
        print(f"RSS at the start {after >> 20} MiB, at the end {server.resident_bytes() >> 20} MiB")
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="time of each row")
    parser.add_argument("--only", default="", help="a regular expression: rows with such a name")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="hold connections open instead")
    parser.add_argument("--idle", type=int, default=10_000, help="how many, as far as the limit of open files allows")
    options = parser.parse_args()
    if shutil.which("wrk") is None or shutil.which("taskset") is None or (os.cpu_count() or 1) < 2:
        print("bench-http SKIPPED: it needs wrk, taskset and two cores (apt-get install wrk util-linux)")
        return
    if options.soak is None:
        bench(options.seconds, options.only)
    else:
        soak(options.soak, options.idle)


if __name__ == "__main__":
    main()
