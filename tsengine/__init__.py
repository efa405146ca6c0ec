"""An embeddable time-series engine for device data.

Example:
    >>> import tsengine, tempfile
    >>> with tsengine.open(tempfile.mkdtemp()) as db:
    ...     dev = db.create_device("freezer-7")
    ...     dev.append("temperature", 21.5, unit="C")
    ...     dev.count()
    1
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType

from tsengine.clock import ManualClock, SystemClock
from tsengine.device import Device
from tsengine.engine.engine import Engine
from tsengine.errors import (
    BusyError,
    ClosedError,
    CorruptionError,
    InputError,
    LimitError,
    NotFoundError,
    StorageError,
    StorageFullError,
    TsengineError,
)
from tsengine.limits import CLOCK_TRUST_S, COMPACTION_MB_PER_S, MEMORY_MB
from tsengine.log import Durability
from tsengine.types import Chunk, DeviceInfo, Location, Parameter, Point, Tag, Token

__version__ = "0.1.0"

__all__ = [
    "BusyError",
    "Chunk",
    "ClosedError",
    "CorruptionError",
    "Device",
    "DeviceInfo",
    "Engine",
    "InputError",
    "LimitError",
    "Location",
    "NotFoundError",
    "Parameter",
    "Point",
    "StorageError",
    "StorageFullError",
    "Tag",
    "Token",
    "TsengineError",
    "open",
]


def open(
    path: str | os.PathLike[str],
    *,
    durability: Durability = "sync",
    memory_mb: int = MEMORY_MB,
    compaction_mb_per_s: float | None = COMPACTION_MB_PER_S,
    clock_trust_s: float = CLOCK_TRUST_S,
    clock: SystemClock | ManualClock | None = None,
) -> Engine:
    """Open a store, made if it is missing; close it, or use it as a context manager. See `Engine` for arguments and errors.

    Durability: what was acknowledged before the last process ended is there on return.
    """
    return Engine(
        path,
        durability=durability,
        memory_mb=memory_mb,
        compaction_mb_per_s=compaction_mb_per_s,
        clock_trust_s=clock_trust_s,
        clock=clock,
    )


def __getattr__(name: str) -> ModuleType:
    """Import `tsengine.aio` when it is first used: asyncio costs more than opening a store."""
    if name == "aio":
        return import_module("tsengine.aio")
    raise AttributeError(f"module 'tsengine' has no attribute {name!r}")
