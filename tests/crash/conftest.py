"""Where stores lie that are made by the hundred: in memory, if the system has a place for that."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder whose syncs cost nothing; what a kill leaves is the same there."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="tsengine-crash-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)
