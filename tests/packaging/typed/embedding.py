"""Programs as users write them, for two type checkers beside the installed package; a `type: ignore` stands where they must object."""

import asyncio
from typing import Literal, assert_type

import numpy as np

import tsengine
from tsengine import Chunk, Device, DeviceInfo, Engine, Point, Token, aio
from tsengine.errors import CorruptionError, InputError, LimitError, TsengineError


def write(folder: str) -> None:
    with tsengine.open(folder, durability="os", memory_mb=64) as db:
        assert_type(db, Engine)
        dev = db.create_device("freezer-7", type="immutable", chunk_period="month", tags=[("site", "Lisbon")])
        assert_type(dev, Device)
        dev.append("temperature", 21.5, unit="C")
        dev.append("state", "open", time="2026-11-21T08:30:00Z")
        assert_type(dev.append_many([Point("door", True), {"variable": "door", "value": False}]), int)
        assert_type(dev.append_columns("t", np.arange(3), np.ones(3)), int)
        assert_type(dev.ingest(b"[]"), int)
        db.sync()


def read(db: Engine) -> None:
    dev = db.device("F7")
    assert_type(dev.count(), int)
    assert_type(dev.last("temperature"), list[Point])
    assert_type(dev.points(limit=10, order="asc"), list[Point])
    assert_type(dev.variables(), list[str])
    times, values = dev.read("temperature", where={">": 20})
    assert_type(times, np.ndarray)
    assert_type(values, np.ndarray)
    assert_type(dev.info, DeviceInfo)
    assert_type(dev.chunks(), list[Chunk])
    assert_type(db.create_token(dev.id, "gateway"), Token)
    for point in dev.points():
        assert_type(point.variable, str)
        assert_type(point.unit, str | None)


def fail(error: TsengineError) -> str:
    if isinstance(error, CorruptionError):
        assert_type(error.offset, int)
        return error.file
    if isinstance(error, InputError):
        assert_type(error.index, int | None)
    wide: ValueError = LimitError("full")
    return str(wide)


async def serve(folder: str) -> None:
    async with await aio.open(folder) as db:
        assert_type(db, aio.AsyncEngine)
        dev = await db.device("F7")
        assert_type(dev, aio.AsyncDevice)
        assert_type(await dev.append_many([Point("door", True)]), int)


def refused(db: Engine, dev: Device) -> None:
    tsengine.open("data", durability="never")  # type: ignore[arg-type]
    tsengine.open("data", 64)  # type: ignore[call-arg, arg-type]
    db.create_device("freezer-7", type="volatile")  # type: ignore[arg-type]
    db.device(7)  # type: ignore[arg-type]
    dev.append("temperature", 21.5, units="C")  # type: ignore[call-arg]
    dev.points(order="newest")  # type: ignore[arg-type]
    dev.read()  # type: ignore[call-arg]
    dev.last(by="id")  # type: ignore[arg-type]
    dev.red("temperature")  # type: ignore[attr-defined]
    count: str = dev.count()  # type: ignore[assignment]
    order: Literal["asc"] = count  # type: ignore[assignment]
    asyncio.run(serve(order))
