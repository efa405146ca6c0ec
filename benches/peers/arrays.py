"""The questions of the workload for subjects that only read ranges: the rest is numpy, as a program on top of them would do it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pyarrow as pa

from benches.workload import NUMERIC, UNTIL_US


def group_integers(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the 12-byte groups as two integers, 4 and 8 bytes, big-endian: two counters, which compress far better."""
    column = table.column("group").combine_chunks()
    data = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * 12 : (column.offset + len(column)) * 12].reshape(-1, 12)
    head, tail = np.ascontiguousarray(data[:, :4]), np.ascontiguousarray(data[:, 4:])
    return head.view(">u4").ravel().astype(np.uint32), tail.view(">u8").ravel().astype(np.uint64)


class ByArrays(ABC):
    """Answers by reading times and values; numbers and booleans."""

    @abstractmethod
    def read(self, variable: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]: ...

    def aggregate(self, variable: str, functions: list[str], every_us: int | None, start_us: int, end_us: int) -> list[Any]:
        times, values = self.read(variable, start_us, end_us)
        edges = np.flatnonzero(np.diff(times // every_us, prepend=-1)) if every_us else np.array([0])
        counts = np.diff(np.append(edges, len(times)))
        made = {
            "avg": lambda: np.add.reduceat(values, edges) / counts,
            "sum": lambda: np.add.reduceat(values, edges),
            "count": lambda: counts,
            "min": lambda: np.minimum.reduceat(values, edges),
            "max": lambda: np.maximum.reduceat(values, edges),
        }
        return [made[name]() for name in functions]

    def totals(self) -> dict[str, float]:
        return {name: float(self.read(name, 0, UNTIL_US)[1].sum()) for name in NUMERIC}

    def count_above(self, variable: str, bound: float) -> int:
        return int((self.read(variable, 0, UNTIL_US)[1] > bound).sum())
