"""A program that writes until it is killed, and tells of each step before it and after it returned.

Run as `python -m tests.engine.writer FOLDER SEED DURABILITY BASE_US`. One line a step on stdout: device, step, number, argument,
`try` or `done`. Batch n of a device has points with value n and a count that n decides, so whoever opens the store afterwards
can tell which batches are there and whether each is whole (tests/engine/crash.py does).
"""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import tsengine

DAYS = 12
BATCHES_PER_DAY = 20
REGISTER_BATCHES = 60
DAY_US = 86_400_000_000


def batch_size(number: int) -> int:
    return 1 + number * 7919 % 37


def day_of(number: int) -> int:
    """The chunk that a batch goes to."""
    return number // BATCHES_PER_DAY % DAYS


def step(device: tsengine.Device, name: str, number: int, argument: int, work: Callable[[], object]) -> None:
    line = f"{device.name} {name} {number} {argument}"
    os.write(1, f"{line} try\n".encode())  # one write: lines of two threads never mix
    work()
    os.write(1, f"{line} done\n".encode())


def write_columns(db: tsengine.Engine, device: tsengine.Device, dice: random.Random, base_us: int) -> None:
    """Batch after batch, day after day; the days ahead, which hold the oldest batches, are dropped in time."""
    number = max((int(point.value) for point in device.points(limit=None)), default=0)
    while True:
        number += 1
        day = day_of(number)
        if number % BATCHES_PER_DAY == 0:
            doomed = (day + 2) % DAYS
            for chunk in device.chunks():
                if chunk.start == datetime.fromtimestamp((base_us + doomed * DAY_US) / 1e6, UTC):
                    step(device, "drop", doomed, 0, lambda id=chunk.id: device.delete_chunk(id))
        time_us = base_us + day * DAY_US + dice.randrange(DAY_US // 2)
        points = [{"variable": "number", "value": number, "time": time_us + i} for i in range(batch_size(number))]
        step(device, "put", number, 0, lambda points=points: device.append_many(points))
        if dice.random() < 0.02:
            db.seal()
        if dice.random() < 0.01:
            db.compact()


def write_registers(device: tsengine.Device, dice: random.Random) -> None:
    """Insert, edit and delete batches of registers."""
    ids: dict[int, list[str]] = {}
    for point in device.points(limit=None):
        ids.setdefault(int(point.value), []).append(point.id)
    number = max(ids, default=0)
    while True:
        number += 1
        points = [{"variable": "number", "value": number} for _ in range(batch_size(number))]
        step(device, "put", number, 0, lambda points=points: device.append_many(points))
        ids[number] = [point.id for point in device.points(limit=len(points))]
        chosen = dice.choice(list(ids))
        change = dice.randrange(1, 1_000_000)
        edits = [{"id": id, "unit": str(change)} for id in ids[chosen]]
        step(device, "edit", chosen, change, lambda edits=edits: device.edit(edits))
        if len(ids) > REGISTER_BATCHES:
            chosen = dice.choice(list(ids))
            gone = ids.pop(chosen)
            step(device, "delete", chosen, 0, lambda gone=gone: device.delete(ids=gone))


def until_cut_off(work: Callable[..., None], *arguments: object) -> None:
    """Do the work until the disk is gone; any other error is for stderr."""
    try:
        work(*arguments)
    except tsengine.StorageError:
        pass


def main() -> None:
    logging.disable()
    folder, seed, durability, base_us = sys.argv[1:]
    db = tsengine.open(folder, durability=durability, memory_mb=1)  # type: ignore[arg-type]
    for device in db.devices():
        dice = random.Random(int(seed) + device.number)
        work = (write_registers, device, dice) if device.type == "mutable" else (write_columns, db, device, dice, int(base_us))
        threading.Thread(target=until_cut_off, args=work, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
