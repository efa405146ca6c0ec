"""The format pages are enough to read a store: a second reader, written from them, sees what the engine sees."""

from __future__ import annotations

import json
import shutil
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import tsengine
from tests.engine import release_store
from tests.engine.reader import Store
from tests.engine.release_store import DATA, DAY_US, NOW_US, fill
from tsengine import ManualClock

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ARCHIVES = sorted(DATA.glob("v*.tar.gz"))


def contents(store: Store) -> dict[str, Any]:
    """Return what `release_store.contents` does, as far as it is no sum of the engine."""
    found: dict[str, Any] = {}
    numbers = {info["serial"]: number for number, info in store.devices.items() if info.get("serial")}
    for serial, number in numbers.items():
        info = store.devices[number]
        found[serial] = {
            "info": [
                info.get(name) for name in ("id", "name", "type", "chunk_period", "chunk_retention", "description")
            ],
            "tags": [[tag["key"], tag["value"]] for tag in info.get("tags", ())],
            "points": [
                [
                    f"{number:08x}{p.sequence:016x}", p.variable, repr(p.value), (EPOCH + timedelta(microseconds=p.time_us)).isoformat(),
                    p.unit, p.group, p.location, None if p.metadata is None else json.loads(p.metadata),
                ]
                for p in store.points(number)
            ],
        }  # fmt: skip
    found["tokens"] = sorted([token["name"], token["token"]] for token in store.tokens if token["device"] == numbers["columns"])
    found["parameters"] = [[p["key"], p["value"], p.get("sent", False)] for p in store.parameters[numbers["columns"]]]
    return json.loads(json.dumps(found))


def without_sums(expected: dict[str, Any]) -> dict[str, Any]:
    """Return what the engine sees in the shape of `contents`; tokens have no order."""
    expected = {**expected, "tokens": sorted(expected["tokens"])}
    return {
        key: {name: value for name, value in part.items() if name not in ("chunks", "sums")} if isinstance(part, dict) else part
        for key, part in expected.items()
    }


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name)
def test_a_store_of_a_release_is_read_from_the_pages(tmp_path: Path, archive: Path) -> None:
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    expected = json.loads((root / "expected.json").read_text())["contents"]
    assert contents(Store(root / "store")) == without_sums(expected)


def test_what_only_the_log_has_is_read_from_the_pages(tmp_path: Path) -> None:
    """Every command of the log, as a kill would leave it: the environments have applied none of them."""
    with tsengine.open(tmp_path / "open", clock=ManualClock(NOW_US), clock_trust_s=0) as db:
        fill(db)
        columns, registers = db.device("columns"), db.device("registers")
        db.registers.flush()
        with db.columnar.sealing, db.columnar.merging, db.columnar.maintenance:
            for name in ("catalog", "manifest", "registers"):
                shutil.copytree(tmp_path / "open" / name, tmp_path / "store" / name)
            shutil.copytree(tmp_path / "open" / "segments", tmp_path / "store" / "segments")
        db.edit_device(columns.id, description="later")
        db.create_token(columns.id, "second")
        db.delete_token(db.create_token(columns.id, "third").token)
        second = db.put_parameters(columns.id, [tsengine.Parameter("", "limit", "1"), tsengine.Parameter("", "gone", "2", True)])
        db.delete_parameter(columns.id, second[1].id)
        ids = [point.id or "" for point in registers.points(limit=10)]
        registers.edit([{"id": ids[0], "group": None, "location": None}, {"id": ids[1], "group": "mine", "metadata": {"a": 1}}])
        registers.edit([{"id": ids[2], "unit": None, "time": NOW_US - 5, "location": [1, 2], "value": None}])
        registers.delete(ids=ids[3:5])
        columns.append_many([{"variable": "v", "value": i, "time": NOW_US - i * DAY_US, "group": "g"} for i in range(40)])
        columns.delete_chunk(columns.chunks()[0].id)
        columns.append("v", "after", metadata={"b": [1]})
        other = db.create_device("other", serial="other", active=False)
        db.convert_device(other.id, type="mutable")
        db.edit_device(other.id, active=True)
        db.device("other").append("w", 2**60, unit="x")
        db.create_device("emptied", serial="emptied", type="mutable").append("w", 1)
        db.device("emptied").empty()
        db.delete_device(db.create_device("deleted", serial="deleted").id)
        shutil.copytree(tmp_path / "open" / "wal", tmp_path / "store" / "wal")
        expected = without_sums(release_store.contents(db))
        points = [(point.id, point.value) for point in db.device("other").points()]
    store = Store(tmp_path / "store")
    found = contents(store)
    assert {key: found[key] for key in expected} == expected
    assert [(point[0], point[2]) for point in found["other"]["points"]] == [(id, repr(value)) for id, value in points]
    assert found["emptied"]["points"] == [] and "deleted" not in found
