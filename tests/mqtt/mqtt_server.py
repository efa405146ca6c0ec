"""A real server process that takes MQTT, and a listener inside the test's process whose state can be looked at."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

import tsengine
from tests.mqtt.raw_client import RawClient
from tests.server.server_process import Made, Server
from tsengine.aio import AsyncEngine
from tsengine.mqtt.listener import Listener
from tsengine.server.service import Service
from tsengine.server.settings import Settings

TIMEOUT_S = 60


class MqttServer(Server):
    """A server process with `mqtt` (port) and `mqtts`."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **{"mqtt_port": 0, **options})

    def start(self) -> None:
        super().start()
        found = [line.split()[-1].rpartition(":") for line in self.lines if line.startswith("tsengine takes MQTT on ")]
        self.mqtt, self.mqtts = (
            next((int(port) for url, _, port in found if url.startswith(f"{scheme}:")), 0) for scheme in ("mqtt", "mqtts")
        )

    def client(self) -> RawClient:
        return RawClient("127.0.0.1", self.mqtt)

    def rows(self, device: Made, **query: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.read(device, {"qty": 10_000, "ordination": "ascending", **query})
        return rows


class Inside:
    """A listener in a thread of this process."""

    def __init__(self, engine: tsengine.Engine, listener: Listener, port: int) -> None:
        self.engine = engine
        self.listener = listener
        self.port = port

    def client(self) -> RawClient:
        return RawClient("127.0.0.1", self.port)

    def wait_until_empty(self) -> None:
        """Return when no connection is left; the listener says so by itself."""
        gone = asyncio.run_coroutine_threadsafe(self._empty(), self.listener.loop)
        gone.result(TIMEOUT_S)

    async def _empty(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while self.listener.connection_count:
                await asyncio.sleep(0.001)


@contextmanager
def listening(folder: Path, **settings: Any) -> Iterator[Inside]:
    """Run a listener over a store in memory until the end of the block; then nothing of it may be left."""
    ready = threading.Event()
    made: list[Inside] = []
    ended: list[asyncio.Event] = []
    left: list[int] = []

    async def run() -> None:
        engine = tsengine.open(folder, durability="memory")
        shared = AsyncEngine(engine)
        listener = Listener(Service(shared, "an account token of a test", Settings(mqtt_port=0, **settings)))
        await listener.start()
        (url,) = listener.urls
        made.append(Inside(engine, listener, int(url.rpartition(":")[2])))
        ended.append(asyncio.Event())
        ready.set()
        await ended[0].wait()
        await listener.stop()
        left.append(listener.connection_count)
        await shared.close()

    thread = threading.Thread(target=lambda: uvloop.run(run()))
    thread.start()
    assert ready.wait(TIMEOUT_S)
    try:
        yield made[0]
    finally:
        made[0].listener.loop.call_soon_threadsafe(ended[0].set)
        thread.join(TIMEOUT_S)
    assert left == [0]
