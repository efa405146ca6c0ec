"""A store for tests that do not ask for another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tsengine
from tsengine import Engine


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Engine]:
    with tsengine.open(tmp_path / "data", durability="os") as engine:
        yield engine
