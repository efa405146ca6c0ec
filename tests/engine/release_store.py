"""Write tests/data/vX.Y.Z.tar.gz, a small store as the version of pyproject.toml writes it: `python -m tests.engine.release_store`.

Made once for each release and never again: a reader has to read what that release wrote. Inside are the store, as a kill would leave
it, and expected.json with everything that is in it.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import tsengine
from tsengine import ManualClock

DATA = Path(__file__).parents[1] / "data"
NOW_US = 1_795_262_400_000_000  # 2026-11-21, noon
DAY_US = 86_400_000_000


def fill(db: tsengine.Engine) -> None:
    """Something of every kind that a file may hold."""
    columns = db.create_device("columns", serial="columns", chunk_period="month", tags=[("site", "north")], description="segments")
    days = db.create_device("days", serial="days", chunk_period="day", chunk_retention=31)
    registers = db.create_device("registers", serial="registers", type="mutable")
    db.create_device("gone", serial="gone").append("t", 1)
    db.create_token(columns.id, "Default")
    db.put_parameters(columns.id, [tsengine.Parameter("", "interval", "60", False)])
    for part in range(6):  # four of them are merged
        start_us = NOW_US - 20 * DAY_US + part * DAY_US // 8
        times = start_us + np.arange(40) * 60_000_000
        columns.append_columns("temperature", times, np.round(20 + np.sin(np.arange(40) / 5), 1), unit="°C")
        columns.append_columns("count", times, np.arange(40, dtype=np.int64) ** 3)
        columns.append_columns("noise", times, np.random.default_rng(part).random(40))
        columns.append_many(
            [
                {"variable": "state", "value": ["on", "off", "fault"][i % 3], "time": start_us + i, "group": f"trip {i % 2}"}
                for i in range(30)
            ]
        )
        days.append_many([{"variable": "day", "value": i, "time": NOW_US - (part % 3) * DAY_US - i * 1_000_000} for i in range(10)])
        db.seal()
        if part == 3:
            db.compact()
    odd: list[Any] = [0.0, -0.0, float("inf"), float("-inf"), 5e-324, 2**63 - 1, -(2**63), True, False, None, "", "Grüße 😀"]
    columns.append_many([{"variable": "odd", "value": value, "time": -i * 10**12} for i, value in enumerate(odd)])
    letters = np.random.default_rng(7)
    columns.append_many(
        [{"variable": "text", "value": f"{letters.integers(10**9):x} was told at {i}: " + "all is well; " * 20} for i in range(60)]
    )
    columns.append("place", 1, location=(-27.5969, -48.5495), metadata={"a": [1, {"b": None}]}, group="0123456789abcdef01234567")
    db.seal()
    days.delete_chunk(days.chunks()[1].id)  # a tombstone: its segments hold points of others
    registers.append_many(
        [{"variable": f"r{i % 3}", "value": i, "time": NOW_US - i * 1_000, "metadata": {"n": i} if i % 4 == 0 else None} for i in range(50)]
    )
    ids = [point.id for point in registers.points(limit=10)]
    registers.edit([{"id": id, "value": "edited", "unit": "kWh", "location": [1.5, 2.5]} for id in ids[:3]])
    registers.delete(ids=ids[5:8])
    db.delete_device("gone")
    db.registers.flush()
    db._trim()
    columns.append_many([{"variable": "tail", "value": i, "time": NOW_US + i} for i in range(20)])  # only in the log
    registers.append("tail", "only in the log")
    registers.edit([{"id": ids[0], "value": "edited again"}])


def contents(db: tsengine.Engine) -> dict[str, Any]:
    """Everything that a reader sees, as JSON can hold it."""
    found: dict[str, Any] = {}
    for serial in ("columns", "days", "registers"):
        device = db.device(serial)
        info = device.info
        points = [
            [p.id, p.variable, repr(p.value), p.time.isoformat(), p.unit, p.group, p.location, p.metadata]
            for p in device.points(limit=None, order="asc")
        ]
        found[serial] = {
            "info": [info.id, info.name, info.type, info.chunk_period, info.chunk_retention, info.description],
            "tags": [[tag.key, tag.value] for tag in info.tags],
            "points": points,
        }
        if device.type == "immutable":
            found[serial]["chunks"] = [[chunk.id, chunk.count] for chunk in device.chunks()]
            found[serial]["sums"] = [
                [row["variable"], row["count"], repr(row["sum"])]
                for row in device.aggregate(None, ["count", "sum"]).to_pylist()
                if row["variable"] not in ("odd",)
            ]
    found["tokens"] = [[token.name, token.token] for token in db.tokens("columns")]
    found["parameters"] = [[p.key, p.value, p.sent] for p in db.parameters("columns")]
    return json.loads(json.dumps(found))


def main() -> None:
    version = tomllib.loads((DATA.parents[1] / "pyproject.toml").read_text())["project"]["version"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, f"v{version}")
        root.mkdir()
        clock = ManualClock(NOW_US)
        with tsengine.open(root / "open", clock=clock, clock_trust_s=0) as db:
            fill(db)
            with db.columnar.sealing, db.columnar.merging, db.columnar.maintenance:
                shutil.copytree(root / "open", root / "store")
            expected = contents(db)
        shutil.rmtree(root / "open")
        for name in ("reserve", "lock"):
            (root / "store" / name).unlink(missing_ok=True)
        for wal in (root / "store" / "wal").glob("*.spare"):
            wal.unlink()
        (root / "expected.json").write_text(json.dumps({"now_us": NOW_US, "contents": expected}, indent=1, ensure_ascii=False))
        with tarfile.open(DATA / f"v{version}.tar.gz", "w:gz") as archive:
            archive.add(root, root.name)
    print(f"v{version}.tar.gz, {datetime.now(UTC):%Y-%m-%d}")


if __name__ == "__main__":
    main()
