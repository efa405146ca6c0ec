"""The archives and the environments that all tests of the package look at."""

from pathlib import Path

import pytest

from tests.packaging import making


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return making.make_sdist(tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return making.make_wheel(sdist, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def library(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and its dependencies."""
    return making.make_environment(wheel, tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="session")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with the server."""
    return making.make_environment(wheel, tmp_path_factory.mktemp("server"), "server")
