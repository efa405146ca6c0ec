"""One server process with a folder of its own for each test module, and devices in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.server_process import Made, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server") / "data")
    yield running
    assert running.stop() == 0


@pytest.fixture
def device(server: Server) -> Made:
    return server.make("mutable")


@pytest.fixture(params=["mutable", "immutable"])
def any_device(server: Server, request: pytest.FixtureRequest) -> Made:
    return server.make(request.param)
