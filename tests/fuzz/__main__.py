"""`make fuzz SECONDS=600`: each target for so long, in a process of its own; exit status 1 if one failed.

Run as `python -m tests.fuzz SECONDS [TARGET ...]`. What ended a process is kept as build/fuzz/TARGET-SEED; copy it into
tests/fuzz/corpus/TARGET/ with the mend, and every test run tries it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from tests.fuzz.loop import fuzz, target_names

FOUND = Path("build", "fuzz")


def run_target(name: str, seconds: float) -> bool:
    """Fuzz a target in another process; return whether it came to its end."""
    seed = int(os.environ.get("SEED", random.SystemRandom().getrandbits(32)))
    FOUND.mkdir(parents=True, exist_ok=True)
    last_input = FOUND / f"{name}-{seed}"
    print(f"{name}: seed {seed}, {seconds:g} s", flush=True)
    ended = subprocess.run([sys.executable, "-m", "tests.fuzz", "--child", name, str(seconds), str(seed), str(last_input)], check=False)
    data = last_input.read_bytes() if last_input.exists() else bytes(4)
    last_input.unlink(missing_ok=True)
    if ended.returncode:
        last_input.write_bytes(data[4 : 4 + int.from_bytes(data[:4], "little")])
        print(f"{name}: FAILED with {ended.returncode}, the input is {last_input}", flush=True)
    return ended.returncode == 0


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--child"]:
        _, name, seconds, seed, last_input = arguments
        runs, kept, ways = fuzz(name, float(seconds), int(seed), Path(last_input))
        print(f"{name}: {runs:,} inputs, {runs / float(seconds):,.0f} a second, {kept} kept, {ways or 'unknown'} ways", flush=True)
        return 0
    seconds, *names = arguments or ["60"]
    results = [run_target(name, float(seconds)) for name in names or target_names()]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
