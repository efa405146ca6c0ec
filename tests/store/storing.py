"""A ColumnarStore with the log that a test feeds it, the devices it knows, and the model of what it should hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tests.store.making import expected_rows, ordered, read_all, record_of
from tests.strategies import TIME_MAX_US, TIME_MIN_US
from tsengine.clock import ManualClock
from tsengine.rows import Row
from tsengine.store.columnar import ColumnarStore
from tsengine.store.compaction import WASTE_INTERVAL_US, Compaction, Progress
from tsengine.types import DeviceInfo

Entry = tuple[Any, ...]


class Stored:
    """Every change goes to the log first; `reopen` delivers all of it again, as a crash would."""

    def __init__(self, folder: Path, *, memory_bytes: int = 1 << 30) -> None:
        self.folder = folder
        self.memory_bytes = memory_bytes
        self.log: list[Entry] = []
        self.infos: dict[int, DeviceInfo] = {}
        self.rows: dict[int, list[Row]] = {}
        self.next_sequence: dict[int, int] = {}
        self.frozen_count = 0
        self.clock = ManualClock(0)  # of the compaction's pace
        self.store = self._open()

    def _open(self) -> ColumnarStore:
        def on_frozen() -> None:
            self.frozen_count += 1

        store = ColumnarStore(
            self.folder, device_of=self.infos.get, memory_bytes=self.memory_bytes, on_frozen=on_frozen, on_dropped=lambda: store.let_go()
        )
        self.compaction = Compaction(store, self.infos.get, clock=self.clock)
        return store

    def add_device(
        self, number: int = 7, period: Literal["day", "week", "month", "quarter"] | None = "month", retention: int | None = None
    ) -> None:
        self.infos[number] = DeviceInfo(
            number, f"{number:024x}", f"device {number}", "immutable", chunk_period=period, chunk_retention=retention
        )
        self.rows[number] = []
        self.next_sequence.setdefault(number, 1)

    def append(self, points: Sequence[dict[str, Any]], device: int = 7) -> None:
        first = self.next_sequence[device]
        self.rows[device] += expected_rows(device, points, first)
        self.next_sequence[device] = first + len(points)
        self._log(("apply", record_of(device, points, first)))

    def drop(self, start_us: int, end_us: int, device: int = 7) -> None:
        self.rows[device] = [row for row in self.rows[device] if not start_us <= row.time_us <= end_us]
        self._log(("drop", device, start_us, end_us))

    def forget(self, device: int) -> None:
        del self.infos[device]
        del self.rows[device]
        self._log(("forget", device))

    def _log(self, entry: Entry) -> None:
        self.log.append(entry)
        self._deliver(len(self.log), entry)

    def _deliver(self, seq: int, entry: Entry) -> None:
        match entry:
            case ("apply", record):
                self.store.apply(seq, record)
            case ("drop", device, start_us, end_us):
                self.store.drop_points(seq, device, start_us, end_us)
            case ("forget", device):
                self.store.forget_device(seq, device)

    def seal(self) -> None:
        self.store.freeze()
        while self.store.seal():
            pass

    def merge_due(self, now_us: int | None) -> bool:
        """Do the next merge as the background does, which looks for waste every time."""
        self.clock.advance(seconds=WASTE_INTERVAL_US / 1_000_000)
        return self.compaction.merge_due(now_us)

    def merge_all(self, now_us: int | None, progress: Progress | None = None) -> None:
        self.compaction.merge_all(now_us, progress)

    def reopen(self) -> None:
        """Close without sealing, open, and deliver the log again: all that the store still needs, or more."""
        needed = self.store.sealed_until(len(self.log))
        self.store.close()
        self.store = self._open()
        assert needed <= len(self.log)
        for seq, entry in enumerate(self.log, 1):
            if seq > needed or seq % 2:  # what is delivered once more than needed must change nothing
                self._deliver(seq, entry)

    def read(self, device: int = 7, start_us: int = TIME_MIN_US, end_us: int = TIME_MAX_US) -> list[Row]:
        return read_all(self.store.sources(device, start_us, end_us), device, start_us, end_us)

    def check(self) -> None:
        """What is readable is what the model holds, with counts, for every device."""
        for device, rows in self.rows.items():
            assert self.read(device) == ordered(rows), f"device {device}"
            assert self.store.next_sequence(device) == self.next_sequence[device]

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "segments").iterdir())

    @property
    def live(self) -> list[str]:
        return sorted(segment.path.name for segment in self.store.view.segments)
