"""Kill a writing process, at random moments and at each call, and look for every acknowledged record, once, in order."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tsengine.log import LocalLog

pytestmark = pytest.mark.slow

SEED = 20261121
FILE_BYTES = 128 << 10

WRITER = """
import os, sys, threading
from tsengine.core.os.faulty import Faults
from tsengine.log import LocalLog

folder, applied, threads, durability, name, nth, torn = sys.argv[1:]
log = LocalLog(folder, durability=durability, file_bytes=128 << 10)
faults = Faults(name or "close", nth=int(nth), torn=bool(int(torn)), deadly=True)
faults.__enter__()
log.start(int(applied), lambda first_seq, records: None)

def write(number):
    i = 0
    while True:
        record = b"%d:%d:%d " % (os.getpid(), number, i) * (1 + (i * 7 + number) % 90)
        seq = log.append(record)
        log.wait(seq)
        os.write(1, b"%d %s\\n" % (seq, record.split(b" ")[0]))
        if number == 0 and i % 40 == 39:
            log.trim(seq - 200)
        i += 1

workers = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(int(threads))]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
"""


def start_writer(folder: Path, applied: int, *, threads: int, durability: str = "sync", name: str = "", nth: int = 0, torn: bool = False):
    arguments = [str(folder), str(applied), str(threads), durability, name, str(nth), str(int(torn))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, env=environment)


def parse(output: bytes) -> dict[int, bytes]:
    """The acknowledgements; a line that the kill cut off does not count."""
    acknowledged = {}
    for line in output.split(b"\n")[:-1]:
        seq, key = line.split(b" ")
        assert int(seq) not in acknowledged, "acknowledged twice"
        acknowledged[int(seq)] = key
    return acknowledged


def check(folder: Path, acknowledged: dict[int, bytes]) -> int:
    """Look through what recovery finds behind the last trim; returns the last sequence."""
    newest = max(acknowledged, default=0)
    applied = max(0, newest - 150)
    found: dict[int, bytes] = {}

    def apply(first_seq: int, records: list[bytes]) -> None:
        for seq, record in enumerate(records, first_seq):
            assert seq == applied + len(found) + 1
            found[seq] = record.split(b" ")[0]
            assert record == (found[seq] + b" ") * (len(record) // (len(found[seq]) + 1))

    log = LocalLog(folder, file_bytes=FILE_BYTES)
    log.start(applied, apply)
    last_seq = int(log.last_seq)
    log.close()
    missing = [seq for seq, key in acknowledged.items() if seq > applied and found.get(seq) != key]
    assert not missing, f"acknowledged, but not found: {missing}"
    assert len(set(found.values())) == len(found), "a record is there twice"
    return last_seq


@pytest.mark.parametrize("durability", ["sync", "os"])
def test_a_kill_at_a_random_moment(tmp_path, durability):
    print(f"seed {SEED}")
    dice = random.Random(SEED)
    acknowledged: dict[int, bytes] = {}
    last_seq = 0
    for _ in range(20 if durability == "sync" else 5):
        writer = start_writer(tmp_path, last_seq, threads=dice.choice([1, 4, 16]), durability=durability)
        assert writer.stdout is not None
        output = os.read(writer.stdout.fileno(), 1)
        wanted = dice.randrange(1, 60_000)
        while len(output) < wanted:
            output += os.read(writer.stdout.fileno(), dice.randrange(1, 4096))
        os.kill(writer.pid, signal.SIGKILL)
        output += writer.stdout.read()
        writer.stdout.close()
        writer.wait()
        fresh = parse(output)
        assert min(fresh) > last_seq and not fresh.keys() & acknowledged.keys()
        acknowledged |= fresh
        last_seq = check(tmp_path, acknowledged)
    assert len(acknowledged) > 500


@pytest.mark.parametrize(
    ("name", "torn", "numbers"),
    [
        ("pwrite", False, (1, 2, 3, 4, 25, 60)),
        ("pwrite", True, (1, 2, 3, 4, 25, 61)),
        ("fdatasync", False, (1, 2, 3, 40)),
        ("fsync", False, (1, 2, 3, 4, 5)),
        ("rename", False, (1, 2, 3, 4, 5)),
        ("open", False, (1, 2, 3, 4, 5, 6)),
    ],
)
def test_a_kill_at_the_nth_call(tmp_path, name, torn, numbers):
    acknowledged: dict[int, bytes] = {}
    last_seq = 0
    for nth in numbers:
        writer = start_writer(tmp_path, last_seq, threads=3, name=name, nth=nth, torn=torn)
        assert writer.stdout is not None
        try:
            output, _ = writer.communicate(timeout=60)
        finally:
            writer.kill()
        assert writer.returncode == -signal.SIGKILL
        acknowledged |= parse(output)
        last_seq = check(tmp_path, acknowledged)
