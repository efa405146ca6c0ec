"""One data sync for each group, counted by strace from outside: points, registers, and writers that share groups."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys, threading
import tsengine

folder, workload = sys.argv[1:]
db = tsengine.open(folder)
groups = 0
device = db.create_device("device", type="mutable" if workload.startswith("register") else "immutable")
others = [db.create_device(f"device {number}") for number in range(8)] if workload == "threads" else []
for known in (device, *others):
    known.append("t", 0.0)          # loads its state, and writes the log ahead
if workload == "register edits":
    device.append_many([{"variable": "t", "value": number} for number in range(20)])
    ids = [point.id for point in device.points(limit=20)]
db._flusher.stop()                  # LMDB syncs on its own, in the background
db._maintenance.stop()

def count(applied_seq, error):
    global groups
    groups += 1

db.log.add_listener(count)
os.write(2, b"BEGIN\\n")
if workload == "threads":
    def write(known):
        for number in range(50):
            known.append_many([{"variable": "t", "value": number}] * 10)
    workers = [threading.Thread(target=write, args=(known,)) for known in others]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
else:
    for number in range(100):
        if workload == "register edits":
            device.edit([{"id": ids[number % 20], "value": number}])
        else:
            device.append_many([{"variable": "t", "value": number}] * 10)
os.write(2, b"END\\n")
print(groups)
os._exit(0)
"""


@pytest.mark.parametrize("workload", ["points", "registers", "register edits", "threads"])
def test_each_group_is_one_data_sync(tmp_path: Path, workload: str) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt-get install strace")
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-o", trace, "-e", "trace=fsync,fdatasync,msync,sync_file_range,write,pwrite64", sys.executable, "-c"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run([*command, PROGRAM, tmp_path / "data", workload], env=environment, capture_output=True, text=True, check=False)
    if "Operation not permitted" in ended.stderr:
        pytest.skip("strace may not trace here")
    assert ended.returncode == 0, ended.stderr
    groups = int(ended.stdout)
    lines = trace.read_text().splitlines()
    begin, end = (next(i for i, line in enumerate(lines) if re.search(rf'write\(2.*"{mark}', line)) for mark in ("BEGIN", "END"))
    timed = [line for line in lines[begin:end] if "resumed>" not in line]
    syncs = [line for line in timed if re.search(r"\b(fsync|fdatasync|msync|sync_file_range)\(", line) and "/registers/" not in line]
    log_syncs = [line for line in syncs if "fdatasync(" in line and ".wal>" in line]
    assert len(log_syncs) == len(syncs) == groups, "\n".join(syncs[:5])
    if workload == "threads":
        assert 50 <= groups < 8 * 50  # they share
    else:
        assert groups == 100
    # One write for a group, but for the zeros that are written ahead once a megabyte.
    writes = [line for line in timed if re.search(r"pwrite64\(\d+<.*\.wal>", line) and ", 65536, " not in line]
    assert len(writes) == groups
