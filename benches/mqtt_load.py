"""MQTT under load: messages a second from ten clients, and memory of idle connections, of a real server beside Mosquitto.

One lean process drives all clients over bare sockets, the same for both subjects. Every message is one JSON point. QoS 1 counts PUBACKs,
at most WINDOW of a client outstanding; for tsengine each says that the point is checked and on disk (durability `sync`), for Mosquitto
that it is in memory. QoS 0 ends when a last message with QoS 1 behind all others is acknowledged: everything was taken by then. For
tsengine the points in the store are counted afterwards. Rounds of the subjects alternate, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benches.figures import RESULTS, Figure, figure_of, keep_results, show
from benches.peers import OURS

CLIENTS = 10
TABLE = f"MQTT, {CLIENTS} clients"
SETTINGS = {
    OURS: "MQTT: durability sync, every message on disk at its PUBACK",
    "Mosquitto": "2.x, persistence off: from memory, nothing stored",
}
MESSAGES, ROUNDS = 20_000, 5
"""Messages of each client in one round."""
WINDOW = 1_000
"""Publishes with QoS 1 of one client that are not acknowledged, at most."""
IDLE = 10_000
SPARE_FILES = 200
TOPIC = "factory/line-1/press"
PAYLOAD = b'{"variable":"temperature","value":21.5,"unit":"C"}'
IDS = 50_000
GOALS = {1: 40_000, 0: 60_000}
TIMEOUT_S = 120
ROOT = Path(__file__).resolve().parent.parent


def field(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data


def packet(first: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while size > 127:
        length += bytes((size & 127 | 128,))
        size >>= 7
    return bytes((first,)) + length + bytes((size,)) + body


def connect_packet(client_id: str, token: str, keep_alive_s: int = 0) -> bytes:
    fields = field(client_id.encode()) + field(b"Token") + field(token.encode())
    return packet(0x10, field(b"MQTT") + b"\x04\xc2" + keep_alive_s.to_bytes(2) + fields)


def connected(port: int, client_id: str, token: str) -> socket.socket:
    """Return a socket whose CONNECT was accepted."""
    client = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(connect_packet(client_id, token))
    answer = client.recv(4, socket.MSG_WAITALL)
    assert answer == b"\x20\x02\x00\x00", answer
    return client


class Client:
    """A publisher that keeps its window full."""

    def __init__(self, client: socket.socket, qos: int, count: int, window: int) -> None:
        self.socket = client
        client.setblocking(False)
        self.count, self.window = count, window if qos else count
        self.sent = self.acknowledged = 0
        self._bytes = 0  # of PUBACKs
        self._part = memoryview(b"")
        message = field(TOPIC.encode())
        self._size = len(packet(0x30 | qos << 1, message + (b"\0\0" if qos else b"") + PAYLOAD))
        ids = range(1, IDS + 1) if qos else range(1)
        repeat = 1 if qos else IDS
        self._lap = memoryview(
            b"".join(packet(0x30 | qos << 1, message + (number.to_bytes(2) if qos else b"") + PAYLOAD) for number in ids) * repeat
        )
        self._fence = b"" if qos else packet(0x32, message + (1).to_bytes(2) + PAYLOAD)
        self.expected = count if qos else 1

    def send(self) -> None:
        """Send what the window and the socket allow."""
        while True:
            if not self._part:
                room = min(self.window - (self.sent - self.acknowledged), self.count - self.sent, IDS - self.sent % IDS)
                if room <= 0 or (room < self.window // 4 and self.sent + room < self.count and self.sent % IDS + room < IDS):
                    if self.sent == self.count and self._fence:
                        self._part, self._fence = memoryview(self._fence), b""
                        continue
                    return
                at = self.sent % IDS * self._size
                self._part = self._lap[at : at + room * self._size]
                self.sent += room
            try:
                self._part = self._part[self.socket.send(self._part) :]
            except BlockingIOError:
                return

    def receive(self) -> None:
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("the server closed the connection")
        self._bytes += len(data)
        self.acknowledged = self._bytes // 4

    @property
    def wants_to_send(self) -> bool:
        return (
            bool(self._part)
            or (self.sent < self.count and self.sent - self.acknowledged <= self.window // 2)
            or (bool(self._fence) and self.sent == self.count)
        )

    @property
    def is_done(self) -> bool:
        return self.acknowledged >= self.expected and not self._part and not self._fence


def drive(port: int, tokens: list[str], qos: int, count: int, window: int) -> dict[str, float]:
    """Publish from one client a token, and return seconds until all is acknowledged, and the number of PUBACKs."""
    clients = [Client(connected(port, f"bench-{number}", token), qos, count, window) for number, token in enumerate(tokens)]
    selector = selectors.EpollSelector()
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
    began_s = time.perf_counter()
    cpu_s = time.process_time()
    open_clients = len(clients)
    while open_clients:
        for key, events in selector.select(TIMEOUT_S):
            ready: Client = key.data
            if events & selectors.EVENT_READ:
                ready.receive()
            ready.send()
            if ready.is_done:
                selector.unregister(ready.socket)
                open_clients -= 1
                continue
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if ready.wants_to_send else 0)
            if wanted != key.events:
                selector.modify(ready.socket, wanted, ready)
    seconds = time.perf_counter() - began_s
    for client in clients:
        client.socket.close()
    return {"seconds": seconds, "acknowledged": sum(client.acknowledged for client in clients), "cpu_s": time.process_time() - cpu_s}


def idle(port: int, tokens: list[str], count: int, pid: int) -> dict[str, float]:
    """Open connections that do nothing, and return what each takes of the server's memory."""
    wanted = count + SPARE_FILES
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    count = min(count, hard - SPARE_FILES)
    before = rss_bytes(pid)
    clients = [connected(port, f"idle-{number}", tokens[number % len(tokens)]) for number in range(count)]
    after = rss_bytes(pid)
    for client in clients:
        client.close()
    return {"connections": count, "bytes": (after - before) / count, "rss_mb": after / 1e6}


def rss_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Subject:
    """A running server: where it takes MQTT, and the passwords of its devices."""

    name: str
    process: subprocess.Popen[str]
    port: int
    tokens: list[str]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(TIMEOUT_S)


class Tsengine(Subject):
    name = "tsengine"
    stored = 0

    def __init__(self, folder: Path) -> None:
        import tsengine

        with tsengine.open(folder) as db:
            devices = [db.create_device(f"device {number}") for number in range(CLIENTS)]
            self.tokens = [db.create_token(device.id, "bench").token for device in devices]
        self._folder = folder
        self._ids = [device.id for device in devices]
        command = [sys.executable, "-m", "tsengine", "serve", "--data", str(folder), "--port", "0", "--mqtt", "0"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("tsengine takes MQTT on "):
                self.port = int(line.rsplit(":", 1)[1])
            if line.startswith("tsengine listens on "):
                return
        raise RuntimeError("the server did not start")

    def stop(self) -> None:
        super().stop()
        import tsengine

        with tsengine.open(self._folder) as db:
            self.stored = sum(db.device(id).count() for id in self._ids)


class Mosquitto(Subject):
    name = "Mosquitto"

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.tokens = ["any"] * CLIENTS
        folder.mkdir()
        settings = folder / "mosquitto.conf"
        settings.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type error\nuser root\n")
        self.process = subprocess.Popen(["mosquitto", "-c", str(settings)], text=True)
        for _ in range(TIMEOUT_S * 10):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("Mosquitto did not start")


def run(what: str, arguments: str) -> dict[str, float]:
    """Do one part of this program in a process of its own."""
    command = [sys.executable, "-m", "benches.mqtt_load", what, arguments]
    out = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, float] = json.loads(out.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    parser.add_argument("--idle", help=argparse.SUPPRESS)
    parser.add_argument("--messages", type=int, default=MESSAGES, help="of each client in one round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--connections", type=int, default=IDLE, help="idle connections")
    parser.add_argument("--folder", help="where the store is made; a temporary folder if not given")
    options = parser.parse_args()
    if options.drive:
        print(json.dumps(drive(*json.loads(options.drive))))
        return
    if options.idle:
        print(json.dumps(idle(*json.loads(options.idle))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(Path(folder), options)


def measure(folder: Path, options: Any) -> None:
    kinds: list[type[Tsengine | Mosquitto]] = [Tsengine]
    if shutil.which("mosquitto"):
        kinds.append(Mosquitto)
    else:
        print("SKIPPED: Mosquitto is not installed: apt-get install mosquitto")
    figures = [figure for qos in (1, 0) for figure in publish(folder / f"qos{qos}", kinds, qos, options)]
    for kind in kinds:
        subject = kind(folder / f"idle-{kind.name}")
        try:
            arguments = json.dumps([subject.port, subject.tokens, options.connections, subject.process.pid])
            found = run("--idle", arguments)
        finally:
            subject.stop()
        row = f"{found['connections']:,.0f} idle connections, memory of the server each"
        figures.append(figure_of(TABLE, row, kind.name, found["bytes"], "bytes/connection"))
    show(keep_results(RESULTS, figures, SETTINGS.items()), figures)


def publish(folder: Path, kinds: list[type[Tsengine | Mosquitto]], qos: int, options: Any) -> list[Figure]:
    """Return messages a second of each subject, new ones, in turn."""
    folder.mkdir()
    subjects = [kind(folder / kind.name) for kind in kinds]
    total = CLIENTS * options.messages
    rates: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    cpus: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    try:
        for _ in range(options.rounds):
            for subject in subjects:
                before_s = cpu_s(subject.process.pid)
                found = run("--drive", json.dumps([subject.port, subject.tokens, qos, options.messages, WINDOW]))
                assert found["acknowledged"] == (total if qos else CLIENTS), found
                rates[subject.name].append(total / found["seconds"])
                cpus[subject.name].append((cpu_s(subject.process.pid) - before_s) / total * 1e6)
    finally:
        for subject in subjects:
            subject.stop()
    figures = []
    for subject in subjects:
        row, goal = f"QoS {qos} to the last PUBACK" if qos else "QoS 0 to full drain", GOALS[qos] if subject.name == OURS else None
        figures.append(figure_of(TABLE, row, subject.name, statistics.median(rates[subject.name]), "messages/s", goal))
        figures.append(
            figure_of(TABLE, f"QoS {qos}, CPU of the server a message", subject.name, statistics.median(cpus[subject.name]), "µs")
        )
    published = options.rounds * (total + (0 if qos else CLIENTS))  # the last message of each client has QoS 1
    stored = next(subject.stored for subject in subjects if isinstance(subject, Tsengine))
    assert stored == published, f"{stored} points in the store, {published} were published"
    print(f"QoS {qos}: {stored:,} points in the store, every message once")
    return figures


if __name__ == "__main__":
    main()
