"""The kernels of every CPU target write the same bytes, read the same values and compute the same checksum."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tsengine.core.codec.crc32c import crc32c
from tsengine.core.codec.dispatch import cpu
from tsengine.core.codec.doors import integer, number

from .strategies import FLOATS, INTEGERS

ROOT = Path(__file__).parents[2]


def digest() -> str:
    """Hash of encoded and decoded blocks of every shape and of many lengths."""
    result = hashlib.sha256()
    for n in [*range(1, 40), *range(200, 1025, 25), 1023, 1024]:
        for shape in sorted(INTEGERS):
            data = integer.encode(INTEGERS[shape](np.random.default_rng(n), n))
            result.update(data)
            result.update(integer.decode(data, n).tobytes())
            result.update(crc32c(data).to_bytes(4, "little"))
        for shape in sorted(FLOATS):
            data = number.encode(FLOATS[shape](np.random.default_rng(n), n))
            result.update(data)
            result.update(number.decode(data, n).tobytes())
    return result.hexdigest()


def run(target: str) -> list[str]:
    environment = os.environ | {"TSENGINE_CPU": target, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    program = "from tests.codec.test_dispatch import digest, cpu; print(cpu(), digest())"
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True).stdout.split()


def test_baseline_is_equal() -> None:
    name, baseline = run("baseline")
    assert name == "baseline"
    assert baseline == digest()


@pytest.mark.skipif(cpu() == "baseline", reason="this CPU has one target only")
def test_best_target_is_chosen() -> None:
    assert run("")[0] == cpu() == "avx2"
