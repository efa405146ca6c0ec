"""A program that writes until it is killed: batch after batch into two devices, each acknowledged on stdout after it returned.

Run as `python -m tests.engine.writer FOLDER SEED`. Batch n of a device has points with value n and a count that n decides, so
whoever opens the store afterwards can tell which batches are there and whether each is whole.
"""

from __future__ import annotations

import os
import random
import sys
import threading

import tsengine


def batch_size(number: int) -> int:
    return 1 + number * 7919 % 37


def write(db: tsengine.Engine, device: tsengine.Device, rng: random.Random) -> None:
    counted = {int(point.value) for point in device.points(limit=None, variables="number")}
    number = max(counted, default=0)
    while True:
        number += 1
        points = [{"variable": "number", "value": number} for _ in range(batch_size(number))]
        device.append_many(points)
        os.write(1, f"{device.name} {number}\n".encode())  # one write: lines of two threads never mix
        if device.type == "immutable" and rng.random() < 0.02:
            db.seal()
        if device.type == "immutable" and rng.random() < 0.01:
            db.compact()


def main() -> None:
    folder, seed = sys.argv[1], int(sys.argv[2])
    db = tsengine.open(folder, memory_mb=1)
    for device in db.devices():
        threading.Thread(target=write, args=(db, device, random.Random(seed)), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
