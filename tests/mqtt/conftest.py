"""One server process that takes MQTT for each test module, and devices in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mqtt.mqtt_server import MqttServer
from tests.server.server_process import Made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MqttServer]:
    running = MqttServer(tmp_path_factory.mktemp("server") / "data")
    yield running
    assert running.stop() == 0


@pytest.fixture
def device(server: MqttServer) -> Made:
    return server.make("immutable")
