"""SIGKILL at random moments: what was acknowledged is there exactly once, what was not is there whole or not at all."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import tsengine
from tests.engine.writer import batch_size

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("TSENGINE_KILL_ROUNDS", "50"))
REGISTERS_ENOUGH = 20_000


def run_and_kill(folder: Path, rng: random.Random) -> list[tuple[str, int]]:
    """Let the writer acknowledge some batches, kill it, and return (device, batch) of every acknowledgement."""
    command = [sys.executable, "-m", "tests.engine.writer", str(folder), str(rng.getrandbits(30))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(rng.randrange(1, 150))]
        os.kill(writer.pid, signal.SIGKILL)
        lines += writer.stdout.readlines()
    acknowledged = [line.split() for line in lines if line.endswith("\n")]
    return [(name, int(number)) for name, number in acknowledged]


def stored_batches(device: tsengine.Device) -> Counter[int]:
    return Counter(int(point.value) for point in device.points(variables="number", limit=None))


def test_killed_writer_loses_no_acknowledged_batch_and_leaves_none_half(tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)
    rng = random.Random(seed)
    folder = tmp_path / "data"
    with tsengine.open(folder, memory_mb=1) as db:
        db.create_device("columnar", type="immutable", chunk_period="day")
        db.create_device("registers", type="mutable")
    acknowledged: dict[str, set[int]] = {"columnar": set(), "registers": set()}
    totals: Counter[str] = Counter()
    for round_number in range(ROUNDS):
        for name, number in run_and_kill(folder, rng):
            assert number not in acknowledged[name], f"round {round_number}: {name} took batch {number} twice"
            acknowledged[name].add(number)
            totals[name] += 1
        with tsengine.open(folder, memory_mb=1) as db:
            assert db.check().problems == []
            for device in db.devices():
                stored = stored_batches(device)
                lost = acknowledged[device.name] - stored.keys()
                assert not lost, f"round {round_number}: {device.name} lost {sorted(lost)}"
                half = {number: count for number, count in stored.items() if count != batch_size(number)}
                assert not half, f"round {round_number}: {device.name} holds part of, or twice, {half}"
                if device.type == "mutable" and device.count() > REGISTERS_ENOUGH:
                    device.empty()
                    acknowledged[device.name].clear()
    assert totals.keys() == acknowledged.keys()
