"""What speaks Arrow reads a device: DuckDB, Polars and pandas, where they are installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tsengine
from tsengine import InputError, ManualClock
from tsengine.arrow import dataset
from tsengine.arrow_out import SCHEMA

NOON_US = 1_795_262_400_000_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[tsengine.Engine]:
    with tsengine.open(tmp_path, clock=ManualClock(NOON_US)) as db:
        for name, factor in (("one", 1.0), ("two", 10.0)):
            device = db.create_device(name)
            times = NOON_US - np.arange(5_000)[::-1] * 1_000_000
            device.append_columns("t", times, factor * np.arange(5_000) / 4, unit="C")
            device.append_columns("state", times[:100], np.arange(100) % 3)
            device.append_columns("mode", times[:10], np.array(["on", "off"] * 5))
        db.seal()
        db.devices(name="two")[0].append("state", 2**60 + 1, time=NOON_US)
        yield db


def test_duckdb_queries_a_device(db: tsengine.Engine) -> None:
    duckdb = pytest.importorskip("duckdb")
    points = db.devices(name="one")[0].scan(columns=["variable", "time", "value"])
    found = duckdb.sql("select variable, count(*), avg(value) from points group by variable order by variable").fetchall()
    assert found == [("mode", 10, None), ("state", 100, 0.99), ("t", 5_000, 4_999 / 8)]
    assert points is not None


def test_polars_takes_a_device_and_results(db: tsengine.Engine) -> None:
    polars = pytest.importorskip("polars")
    device = db.devices(name="one")[0]
    frame = polars.DataFrame(device.scan("t"))
    assert (frame.height, frame["value"].sum(), frame["unit"].unique().to_list()) == (5_000, 4_999 * 5_000 / 8, ["C"])
    assert polars.DataFrame(device).height == 5_110
    assert polars.DataFrame(device.aggregate("t", "count", "1h"))["count"].sum() == 5_000


def test_pandas_takes_a_device(db: tsengine.Engine) -> None:
    pandas = pytest.importorskip("pandas")
    device = db.devices(name="one")[0]
    frame = device.scan("t", columns=["time", "value"]).read_pandas()
    assert (len(frame), frame["value"].sum()) == (5_000, 4_999 * 5_000 / 8)
    assert frame["time"].iloc[-1] == pandas.Timestamp(NOON_US, unit="us", tz="UTC")
    assert len(pandas.DataFrame.from_arrow(device)) == 5_110


def test_a_fleet_as_one_stream(db: tsengine.Engine) -> None:
    table = dataset(db, ["t", "state"], columns=["variable", "time", "value", "value_int"]).read_all().unify_dictionaries()
    assert table.num_rows == 10_201
    by_device = table.group_by(["device", "variable"]).aggregate([("value", "sum"), ("value_int", "max")]).to_pylist()
    names = {device.id: device.name for device in db.devices()}
    found = {(names[row["device"]], row["variable"]): (row["value_sum"], row["value_int_max"]) for row in by_device}
    assert found[("one", "t")] == (4_999 * 5_000 / 8, None)
    assert found[("two", "t")] == (10 * 4_999 * 5_000 / 8, None)
    assert found[("two", "state")][1] == 2**60 + 1, "integers come as they are"
    two = db.devices(name="two")
    assert dataset(db, "t", columns=["value"], devices=two, where={"gt": 12_000}).read_all().num_rows == 199
    assert dataset(db).schema.names == ["device", *SCHEMA.names]
    with pytest.raises(InputError, match="columns: unknown"):
        dataset(db, columns=["what"])


def test_a_fleet_in_duckdb(db: tsengine.Engine) -> None:
    duckdb = pytest.importorskip("duckdb")
    fleet = dataset(db, columns=["variable", "value"])
    assert duckdb.sql("select count(distinct device), count(*) from fleet").fetchall() == [(2, 10_221)]
    assert fleet is not None
