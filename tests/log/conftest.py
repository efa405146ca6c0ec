"""What the tests of the log share: a log that remembers what it applied, and images of its folder as a crash leaves them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tsengine.log import LocalLog


class Applied:
    """Collects what a log applies, and checks that it comes in order, each record once."""

    def __init__(self, applied: int = 0) -> None:
        self.seq = applied
        self.records: dict[int, bytes] = {}
        self.group_count = 0

    def __call__(self, first_seq: int, records: list[bytes]) -> None:
        assert first_seq == self.seq + 1, f"group {first_seq} after {self.seq}"
        for seq, record in enumerate(records, first_seq):
            self.records[seq] = record
        self.seq += len(records)
        self.group_count += 1


Open = Callable[..., tuple[LocalLog, Applied]]


@pytest.fixture
def open_log() -> Iterator[Open]:
    """Open a log over a folder; those that a test leaves open are closed behind it."""
    logs: list[LocalLog] = []

    def open_it(folder: Path, applied: int = 0, *, newest: int = 0, reach: int = 0, **options: object) -> tuple[LocalLog, Applied]:
        log, state = LocalLog(folder, **options), Applied(applied)  # type: ignore[arg-type]
        logs.append(log)
        log.start(applied, state, newest=newest, reach=reach)
        return log, state

    yield open_it
    for log in logs:
        try:
            log.close()
        except OSError:
            pass  # a log that a test made fail on purpose


@pytest.fixture
def crash(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy the folder of a log that is still open: what a kill of the process would leave."""
    count = 0

    def copy(folder: Path) -> Path:
        nonlocal count
        count += 1
        return Path(shutil.copytree(folder, tmp_path / f"crashed-{count}"))

    return copy
