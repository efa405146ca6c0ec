"""Runs one job of a benchmark in a process of its own, so that its memory is its own and its death can be a kill.

The parent reads the child's memory from /proc while it works: RssAnon is what the process itself holds; mapped input files and
the page cache are not in it. It also covers threads and native libraries, which a profiler inside Python would not see.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLE_S = 0.004
"""Time between two readings of a child's memory, seconds: a peak shorter than this may be missed."""

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Answer:
    """What a job returned, and the most anonymous memory its process held, bytes."""

    values: dict[str, Any]
    peak_bytes: int


_seconds = [0.0]


def children_seconds() -> float:
    """A timer for pytest-benchmark: the seconds that jobs have measured so far, so that the start of a process does not count."""
    return _seconds[0]


def run(job: str, *args: Any, kill: bool = False) -> Answer:
    """Call `benches.jobs.JOB(*args)` in a new process and return what it returned.

    Args:
        job: a function of benches.jobs that takes and returns what JSON can hold. Its "seconds" go into `children_seconds`.
        kill: SIGKILL the process as soon as the job has returned, with everything still open.
    """
    command = [sys.executable, "-m", "benches.child", job, json.dumps([str(arg) if isinstance(arg, Path) else arg for arg in args])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None and process.stdin is not None
        peak_bytes = 0
        while not select.select([process.stdout], [], [], SAMPLE_S)[0]:
            peak_bytes = max(peak_bytes, anonymous_bytes(process.pid))
        line = process.stdout.readline()
        if kill and line:
            os.kill(process.pid, signal.SIGKILL)
        process.stdin.close()  # the job may end
    if not line or (process.returncode and not kill):
        raise RuntimeError(f"{job}{args} died with status {process.returncode}")
    answer = Answer(json.loads(line), peak_bytes)
    _seconds[0] += answer.values.get("seconds", 0.0)
    return answer


def anonymous_bytes(pid: int) -> int:
    """Return RssAnon of a process now, or 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")), 0)


def main() -> None:
    """Run the job that the command line names; its answer is one line, then the parent says when to end."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what a peer prints is no answer
    job = getattr(importlib.import_module("benches.jobs"), sys.argv[1])
    answer = job(*json.loads(sys.argv[2]))
    os.write(answers, (json.dumps(answer) + "\n").encode())
    sys.stdin.read()


if __name__ == "__main__":
    main()
