"""Writes and reads that an event loop starts without awaiting: the server's fast lane."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tsengine.aio
from tsengine import Device, Point
from tsengine.aio import AsyncEngine
from tsengine.errors import ClosedError, InputError
from tsengine.limits import BULK_POINTS

BODY = b'[{"variable":"a","value":1}]'


def with_engine(folder: Path, work: Callable[[AsyncEngine], Awaitable[None]]) -> None:
    async def run() -> None:
        async with await tsengine.aio.open(folder, durability="os") as db:
            await work(db)

    asyncio.run(run())


def test_a_write_is_staged_at_once_and_tells_when_it_is_readable(tmp_path: Path) -> None:
    async def work(db: AsyncEngine) -> None:
        device = (await db.create_device("device")).device
        loop = asyncio.get_running_loop()
        told: list[tuple[object, int]] = []
        assert not db.write_soon(device.number, device.record_of_body(BODY, "application/json"), told.append)  # type: ignore[arg-type]
        await db.write(device.number, device.record_of_body(BODY, "application/json"))  # loads what the device may hold
        everything = loop.create_future()

        def done(error: Exception | None) -> None:
            told.append((error, len(device.points(limit=None))))
            if len(told) == 5:
                everything.set_result(None)

        for _ in range(5):
            assert db.write_soon(device.number, device.record_of_body(BODY, "application/json"), done)
        assert told == []
        await everything
        assert told == [(None, 6)] * 5  # one group

    with_engine(tmp_path, work)


def test_a_write_that_does_not_fit_raises_and_tells_nobody(tmp_path: Path) -> None:
    async def work(db: AsyncEngine) -> None:
        device = (await db.create_device("device", type="immutable", chunk_period="day", chunk_retention=1)).device
        await db.write(device.number, device.record_of_body(BODY, "application/json"))
        old = device.record_of_body(b'[{"variable":"a","time":"1999-01-01"}]', "application/json")
        with pytest.raises(InputError):
            db.write_soon(device.number, old, pytest.fail)
        await db.write(device.number, device.record_of_body(BODY, "application/json"))
        assert len(device.points()) == 2

    with_engine(tmp_path, work)


def test_a_close_waits_for_writes_and_short_reads(tmp_path: Path) -> None:
    told: list[Any] = []

    async def work(db: AsyncEngine) -> None:
        device = (await db.create_device("device")).device
        await db.write(device.number, device.record_of_body(BODY, "application/json"))
        assert db.write_soon(device.number, device.record_of_body(BODY, "application/json"), told.append)
        db.read_soon(lambda: len(device.points()), told.append)

    with_engine(tmp_path, work)
    assert sorted(told, key=str) == [2, None]


def test_short_reads_are_answered_in_turn_on_the_loop(tmp_path: Path) -> None:
    async def work(db: AsyncEngine) -> None:
        found: list[Any] = []
        threads: set[int] = set()
        everything = asyncio.get_running_loop().create_future()

        def read(number: int) -> int:
            threads.add(threading.get_ident())
            return 100 // (number - 50)

        def done(result: object) -> None:
            assert threading.get_ident() == home
            found.append(result)
            if len(found) == 100:
                everything.set_result(None)

        home = threading.get_ident()
        for number in range(100):
            db.read_soon(lambda number=number: read(number), done)  # type: ignore[misc]
        await everything
        assert isinstance(found.pop(50), ZeroDivisionError)
        assert found == [100 // (number - 50) for number in range(100) if number != 50]
        assert len(threads) == 1 and home not in threads

    with_engine(tmp_path, work)


def test_a_device_that_a_thread_holds_keeps_only_its_own_writers_waiting(tmp_path: Path) -> None:
    """A bulk load holds the lock of its devices; the event loop goes on."""

    async def work(db: AsyncEngine) -> None:
        held_device, other = [(await db.create_device(name)).device for name in ("held", "other")]

        def write(device: Device, value: int) -> Awaitable[None]:
            return db.write(device.number, device.record_of_points([Point("a", value)]))

        await write(held_device, 0)
        await write(other, 0)
        is_held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with db.engine.locked_state(held_device.number):
                is_held.set()
                release.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        is_held.wait()
        waiting = [asyncio.ensure_future(write(held_device, value)) for value in (1, 2, 3)]
        for value in range(1, 200):
            await write(other, value)
        assert await db.run(other.count) == 200
        assert not release.is_set() and not any(task.done() for task in waiting)
        waiting[1].cancel()
        db.engine.forget_state(held_device.number)  # as after a failed write: it must not wait, nor break who holds the lock
        release.set()
        await waiting[0]
        await waiting[2]
        holder.join()
        assert [point.value for point in held_device.points(order="asc")] == [0, 1, 3]

    with_engine(tmp_path, work)


def test_writes_beside_bulk_loads_of_the_same_device_lose_nothing(tmp_path: Path) -> None:
    async def work(db: AsyncEngine) -> None:
        device = (await db.create_device("device")).device
        times = 1_700_000_000_000_000 + np.arange(BULK_POINTS)
        loads = [asyncio.ensure_future(db.run(device.append_columns, "load", times, times)) for _ in range(3)]
        written = 0
        while not all(load.done() for load in loads):
            await asyncio.gather(*(db.write(device.number, device.record_of_points([Point("a", 1)])) for _ in range(10)))
            written += 10
        await asyncio.gather(*loads)
        assert device.count("a") == written
        assert device.count("load") == 3 * BULK_POINTS
        assert len({point.id for point in device.points("a", limit=None)}) == written

    with_engine(tmp_path, work)


def test_writers_that_go_on_while_the_store_closes_are_told(tmp_path: Path) -> None:
    """They once waited for ever."""

    async def run() -> None:
        db = await tsengine.aio.open(tmp_path / "data", durability="os")
        device = await db.create_device("device")
        written = 0

        async def write() -> None:
            nonlocal written
            while True:
                await device.append("a", 1)
                written += 1

        writers = [asyncio.ensure_future(write()) for _ in range(50)]
        while written < 500:
            await asyncio.sleep(0)
        await db.close()
        async with asyncio.timeout(30):
            ended = await asyncio.gather(*writers, return_exceptions=True)
        assert {type(error) for error in ended} == {ClosedError}
        with tsengine.open(tmp_path / "data") as again:
            assert again.devices()[0].count() == written

    asyncio.run(run())
