"""Every CPU target writes the same segments and finds the same aggregates, bit for bit."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.store.making import KIND_BOOLEAN, KIND_INTEGER, KIND_NUMBER, Fed, scan_of, seal_to
from tests.strategies import FLOAT_BITS, JANUARY_2024_US, float_of_bits
from tsengine.core.codec.dispatch import cpu
from tsengine.core.store.aggregate import Buckets
from tsengine.core.store.cells import FUNCTIONS
from tsengine.core.store.memtable import Memtable

ROOT = Path(__file__).parents[2]
SECOND_US = 1_000_000
COUNT = 5_000

SERIES: dict[str, Callable[[random.Random, int], Any]] = {
    "one decimal": lambda generator, n: round(generator.gauss(20, 5), 1),
    "counter": lambda generator, n: n * 3,
    "coordinate": lambda generator, n: round(-23.5 + generator.gauss(0, 0.1), 6),
    "full precision": lambda generator, n: generator.gauss(0, 1),
    "all magnitudes": lambda generator, n: generator.choice((1e300, -1e300, 1.0, 1e-300, 3e-320)) * generator.random(),
    "single precision": lambda generator, n: float_of_bits(generator.getrandbits(64) & ~0x1FFFFFFF) if n % 7 else 0.1,
    "any bits": lambda generator, n: float_of_bits(generator.getrandbits(64)),
    "odd floats": lambda generator, n: float_of_bits(generator.choice(FLOAT_BITS)),
    "decimals and infinities": lambda generator, n: generator.choice((float("inf"), -0.0)) if n % 100 == 0 else n / 100,
    "decimals with gaps": lambda generator, n: float("nan") if generator.random() < 0.01 else round(generator.gauss(0, 1), 2),
    "few values": lambda generator, n: generator.choice((1 / 3, 2 / 3, -0.0, 0.0)),
    "zeros of both signs": lambda generator, n: generator.choice((0.0, -0.0)),
    "integers": lambda generator, n: generator.randrange(1000),
    "wide integers": lambda generator, n: generator.randrange(-(2**63), 2**63),
    "booleans": lambda generator, n: generator.random() < 0.5,
}


def digest() -> str:
    """Hash of a segment of every series, and of aggregates that take some blocks whole, decode others and cut all of them."""
    result = hashlib.sha256()
    generator = random.Random("cpu")
    memtable, fed = Memtable(), Fed()
    for name, value in SERIES.items():
        fed.feed(
            memtable,
            [
                {"variable": name.replace(" ", "_"), "value": value(generator, n), "time": JANUARY_2024_US + n * SECOND_US}
                for n in range(COUNT)
            ],
        )
    with tempfile.TemporaryDirectory() as folder:
        (segment,) = seal_to(Path(folder), memtable, {fed.device: None})
        result.update(Path(segment.path).read_bytes())
        for name, kind in segment.device_series(fed.device):
            for width in (7, 100, 1024, 2500, COUNT):
                buckets = Buckets(FUNCTIONS, JANUARY_2024_US, width * SECOND_US, -(-COUNT // width))
                for known in (KIND_NUMBER, KIND_INTEGER, KIND_BOOLEAN):
                    buckets.add(scan_of([(segment, [])], fed.device, name, known), True)
                filled = buckets.filled()
                for function in FUNCTIONS:
                    column = buckets.values(function) if filled is None else buckets.values(function)[filled]
                    result.update(f"{name.decode()} {kind} {width} {function} {column.dtype}".encode() + column.tobytes())
    return result.hexdigest()


def run(target: str) -> list[str]:
    environment = os.environ | {"TSENGINE_CPU": target, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    program = "from tests.store.test_cpu import cpu, digest; print(cpu(), digest())"
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(cpu() == "baseline", reason="this CPU has one target only")
def test_segments_and_aggregates_do_not_depend_on_the_cpu() -> None:
    baseline, avx2 = run("baseline"), run("")
    assert (baseline[0], avx2[0]) == ("baseline", "avx2")
    assert baseline[1] == avx2[1] == digest()
