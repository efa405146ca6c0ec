"""The embedding API of one device: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import tsengine
from tsengine import InputError, Location, ManualClock, NotFoundError, Point

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOON_US = 1_795_262_400_000_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[tsengine.Engine]:
    with tsengine.open(tmp_path, clock=ManualClock(NOON_US)) as db:
        yield db


@pytest.fixture(params=["immutable", "mutable"])
def device(request: pytest.FixtureRequest, db: tsengine.Engine) -> tsengine.Device:
    return db.create_device("device", type=request.param)


def test_a_point_comes_back_as_it_was_given(device: tsengine.Device) -> None:
    device.append(
        "Temperature", 21.5, unit="°C", time="2026-11-21T08:30:00+02:00", group="g", location=(42.3, -85.6), metadata={"a": [1, "ü"]}
    )
    (point,) = device.points()
    assert (point.variable, point.value, point.unit, point.group) == ("temperature", 21.5, "°C", "g")
    assert point.time == datetime(2026, 11, 21, 6, 30, tzinfo=UTC)
    assert point.location == Location(42.3, -85.6)
    assert point.metadata == {"a": [1, "ü"]}
    assert point.created_at == NOON
    assert len(point.id or "") == 24


@pytest.mark.parametrize(
    "time",
    [
        NOON,
        NOON.astimezone(timezone(timedelta(hours=-5))),
        datetime(2026, 11, 21, 12),
        NOON_US,
        np.int64(NOON_US),
        np.datetime64("2026-11-21T12:00:00"),
        "2026-11-21T12:00:00Z",
        "2026-11-21 12:00:00",
        None,
    ],
)
def test_every_form_of_time(device: tsengine.Device, time: object) -> None:
    device.append("t", 1.0, time=time)
    assert device.points()[0].time == NOON
    assert device.count(start=time, end=time) == 1


@pytest.mark.parametrize("value", [0.1, -0.0, float("inf"), 7, -(2**63), 2**63 - 1, True, False, "", "text", None, "21.5"])
def test_values_keep_their_type(device: tsengine.Device, value: object) -> None:
    device.append("t", value)
    stored = device.points()[0].value
    assert type(stored) is type(value)
    assert repr(stored) == repr(value)


def test_points_of_one_call_share_a_group_and_others_do_not(device: tsengine.Device) -> None:
    device.append_many([{"variable": "a", "value": 1}, {"variable": "b", "value": 2}])
    device.append("a", 3)
    newest, *others = device.points()
    assert len({point.group for point in others}) == 1
    assert newest.group != others[0].group
    assert device.count(groups=others[0].group) == 2


def test_pages_neither_repeat_nor_lose_points_at_equal_times(device: tsengine.Device) -> None:
    device.append_many([{"variable": f"v{i % 3}", "value": i} for i in range(50)])
    pages = [device.points(limit=7, skip=skip) for skip in range(0, 56, 7)]
    assert [point.value for page in pages for point in page] == list(range(49, -1, -1))
    assert [point.value for point in device.points(limit=3, order="asc")] == [0, 1, 2]


def test_conditions_of_a_read(device: tsengine.Device) -> None:
    device.append_many(
        [
            {"variable": "a", "value": 2, "group": "g1", "time": NOON_US},
            {"variable": "a", "value": "2", "time": NOON_US + 1},
            {"variable": "b", "value": True, "location": (1.0, 2.0), "time": NOON_US + 2},
            {"variable": "c", "time": NOON_US + 3},
        ]
    )
    assert device.count(values="2") == 2
    assert device.count(values="true") == 1
    assert device.count(variables=["A", "c"]) == 3
    assert [point.variable for point in device.points(having="location")] == ["b"]
    assert device.count(having="value") == 3
    assert device.count(start=NOON_US + 1, end=NOON_US + 2) == 2
    assert device.points(start=NOON_US + 5, end=NOON_US) == []
    assert device.points(variables="unknown") == []
    assert [point.variable for point in device.last()] == ["a", "b", "c"]
    assert [point.value for point in device.first(["b", "a"])] == [True, 2]


def test_arrays_come_back_as_they_were_given(device: tsengine.Device) -> None:
    times = NOON_US + np.arange(3_000, dtype=np.int64) * 1_000
    values = np.round(np.sin(np.arange(3_000)), 3)
    assert device.append_columns("sine", times, values, unit="V") == 3_000
    assert device.append_columns("count", times.view("datetime64[us]"), np.arange(3_000)) == 3_000
    device.append_columns("flag", times[:4], np.array([True, False, True, True]))
    device.append_columns("state", times[:3], np.array(["on", "off", "on"]))
    stored_times, stored = device.read("sine", start=times[10], end=times[20])
    assert stored_times.tolist() == times[10:21].tolist()
    assert stored.tolist() == values[10:21].tolist()
    assert device.read("count")[1].dtype == np.int64
    assert device.read("flag")[1].tolist() == [True, False, True, True]
    assert device.read("state")[1].tolist() == ["on", "off", "on"]
    assert [len(array) for array in device.read("nothing")] == [0, 0]


def test_times_of_pandas_may_have_a_zone(device: tsengine.Device) -> None:
    index = pd.date_range("2026-11-01", periods=3, freq="h", tz="Asia/Tokyo", unit="s")
    for i, times in enumerate([index, index.to_series(), index.tz_convert(None), index.as_unit("ns")]):
        device.append_columns(f"t{i}", times, [1, 2, 3])
        assert device.read(f"t{i}")[0].tolist() == [1_793_458_800_000_000 + hour * 3_600_000_000 for hour in range(3)]
    with pytest.raises(InputError, match="NaT at index 1"):
        device.append_columns("t", pd.Series([index[0], pd.NaT]), [1, 2])


def test_a_variable_may_change_its_kind(device: tsengine.Device) -> None:
    device.append_many([{"variable": "t", "value": value, "time": NOON_US + i} for i, value in enumerate([1, 2.5, 3])])
    assert device.read("t")[1].tolist() == [1.0, 2.5, 3.0]
    device.append("t", "broken", time=NOON_US + 9)
    assert device.read("t")[1].tolist() == [1, 2.5, 3, "broken"]
    assert device.aggregate("t", ["sum", "count", "last"]).to_pylist()[0] | {"time": None} == {
        "time": None, "sum": 6.5, "count": 3, "last": 3.0
    }  # fmt: skip


def test_arrow_goes_in_and_comes_out_equal(device: tsengine.Device) -> None:
    table = pa.table(
        {
            "variable": pa.array(["a", "a", "b", "c", "d"]).dictionary_encode(),
            "time": pa.array([NOON_US + i for i in range(5)], pa.timestamp("us", "UTC")),
            "value": pa.array([1.5, float("nan"), None, None, None]),
            "value_bool": pa.array([None, None, True, None, None]),
            "value_text": pa.array([None, None, None, "text", None]),
            "unit": pa.array(["C", None, None, "K", None]),
            "group": pa.array(["0123456789abcdef01234567", "g", "g", "g", "h"]),
            "lat": pa.array([1.0, None, None, -90.0, None]),
            "lng": pa.array([2.0, None, None, 180.0, None]),
            "metadata": pa.array(['{"a":1}', None, None, None, '{"b":2}']),
        }
    )
    assert device.append_arrow(table) == 5
    stored = device.scan(columns=table.column_names).read_all()
    for name in table.column_names:
        assert repr(stored.column(name).to_pylist()) == repr(table.column(name).to_pylist()), name
    assert device.scan(["b"], columns=["time", "id"]).read_all().num_rows == 1


def test_arrow_of_many_devices(db: tsengine.Engine) -> None:
    one, two = db.create_device("one"), db.create_device("two", type="mutable", serial="S2")
    table = pa.table({"device": [one.id, "S2", one.id], "variable": ["a", "a", "b"], "time": [NOON_US] * 3, "value": [1.0, 2.0, 3.0]})
    assert db.append_arrow(table) == 3
    assert (one.count(), two.count()) == (2, 1)
    with pytest.raises(NotFoundError):
        db.append_arrow(table.set_column(0, "device", pa.array([one.id, "S3", "S3"])))
    assert (one.count(), two.count()) == (2, 1)


def test_aggregates_by_calendar_and_width(device: tsengine.Device) -> None:
    times = np.datetime64("2026-01-01") + np.arange(325).astype("timedelta64[D]")
    device.append_columns("t", times, np.arange(325))
    months = device.aggregate("t", ["count", "first", "last", "sum"], every="1mo").to_pylist()
    assert [month["count"] for month in months] == [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 21]
    assert months[1] == {"time": datetime(2026, 2, 1, tzinfo=UTC), "count": 28, "first": 31, "last": 58, "sum": sum(range(31, 59))}
    weeks = device.aggregate("t", "avg", every="1w")
    assert weeks.column("time").to_pylist()[1] == datetime(2026, 1, 5, tzinfo=UTC)
    assert device.aggregate("t", ["min", "max"]).to_pylist()[0]["max"] == 324
    assert device.aggregate("nothing", "avg", every="1h").num_rows == 0


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda device: device.append("a b", 1), "variable"),
        (lambda device: device.append("t", object()), "value"),
        (lambda device: device.append("t", 1, time="yesterday"), "time"),
        (lambda device: device.append("t", 1, location=(91, 0)), "lat"),
        (lambda device: device.append_many([{"variable": "t"}, 7]), "index 1"),
        (lambda device: device.append_columns("t", [1.5], [1.0]), "time"),
        (lambda device: device.append_columns("t", np.array(["NaT"], "datetime64[us]"), [1.0]), "NaT"),
        (lambda device: device.append_columns("t", [1, 2], [1.0]), "shape"),
        (lambda device: device.append_columns("t", [[1]], [[1.0]]), "dimension"),
        (lambda device: device.append_columns("t", [1], [object()]), "value"),
        (lambda device: device.append_arrow(pa.table({"time": [1]})), "variable"),
        (lambda device: device.append_arrow(pa.table({"variable": ["t"], "time": ["x"]})), "time"),
        (lambda device: device.append_arrow("no table"), "Arrow"),
        (lambda device: device.ingest(b"{"), "Malformed request syntax"),
        (lambda device: device.ingest(b'[{"variable":"t"},{"value":1}]'), "index 1: variable is required"),
        (lambda device: device.ingest(b'{"variable":"t","value":{}}'), "index 0"),
        (lambda device: device.points(limit=-1), "limit"),
        (lambda device: device.points(order="up"), "order"),
        (lambda device: device.points(start="whenever"), "time"),
        (lambda device: device.aggregate("t", "median"), "median"),
        (lambda device: device.aggregate("t", "avg", every="1x"), "every"),
        (lambda device: device.scan(columns=["wrong"]), "wrong"),
    ],
)
def test_bad_input_names_what_is_wrong_and_stores_nothing(device: tsengine.Device, call, text: str) -> None:
    with pytest.raises(InputError, match=text):
        call(device)
    assert device.count() == 0


def test_bodies_as_devices_send_them(device: tsengine.Device) -> None:
    assert device.ingest(b'{"variable":"T","value":1,"time":1795262400000,"serie":7}') == 1
    assert device.ingest(b'[{"variable":"t","value":"x","location":{"type":"Point","coordinates":[-85.6,42.3]},"origin":1}]') == 1
    assert device.ingest(b"[]") == 0
    import msgspec

    assert device.ingest(msgspec.msgpack.encode([{"variable": "t", "value": True, "metadata": {"a": 1}}]), "application/msgpack") == 1
    stored = device.points(order="asc")
    assert [(point.value, type(point.value)) for point in stored] == [(1.0, float), ("x", str), (True, bool)]
    assert stored[0].group == "7"
    assert stored[1].location == Location(42.3, -85.6)
    assert stored[2].metadata == {"a": 1}
    table = pa.table({"variable": ["t"], "time": [NOON_US], "value": [5.0]})
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    assert device.ingest(stream.getvalue().to_pybytes(), "application/vnd.apache.arrow.stream") == 1


def test_registers_are_got_edited_and_deleted_one_by_one(db: tsengine.Engine) -> None:
    device = db.create_device("device", type="mutable")
    device.append_many([{"variable": "t", "value": i, "unit": "C", "metadata": {"n": i}} for i in range(5)])
    first, *_, last = device.points(order="asc")
    assert device.get(last.id) == last
    assert device.edit([{"id": last.id, "value": "new", "metadata": None}, {"id": "0" * 24, "value": 1}]) == 1
    changed = device.get(last.id)
    assert (changed.value, changed.unit, changed.metadata) == ("new", "C", None)
    with pytest.raises(InputError, match="index 1"):
        device.edit([{"id": first.id, "value": 1}, {"id": last.id, "unit": "x" * 26}])
    assert device.get(first.id) == first
    assert device.delete(ids=first.id) == 1
    with pytest.raises(NotFoundError):
        device.get(first.id)
    assert device.delete(variables="t", limit=2) == 2
    assert device.delete() == 2
    assert device.count() == 0


def test_immutable_devices_refuse_what_registers_offer(db: tsengine.Engine) -> None:
    device = db.create_device("device")
    device.append("t", 1.0)
    (point,) = device.points()
    for call in (
        lambda: device.edit([{"id": point.id, "value": 2.0}]),
        lambda: device.delete(),
        lambda: device.get(point.id or ""),
        lambda: device.points(ids=point.id),
    ):
        with pytest.raises(InputError):
            call()
    with pytest.raises(InputError):
        db.create_device("other", type="mutable").chunks()
    with pytest.raises(NotFoundError):
        device.delete_chunk("1790812800_1793491199")
    with pytest.raises(InputError):
        device.delete_chunk("1_2")


def test_the_awaitable_twin(tmp_path: Path) -> None:
    async def main() -> None:
        async with await tsengine.aio.open(tmp_path) as db:
            device = await db.create_device("device", serial="S")
            await asyncio.gather(*(device.append_many([Point("t", float(i))] * 10) for i in range(200)))
            assert await device.count() == 2_000
            assert (await device.last())[0].variable == "t"
            with pytest.raises(InputError):
                await device.append("not a name", 1.0)
            assert (await (await db.device("S")).ingest(b'{"variable":"t","value":1}')) == 1
            assert (await db.stats())["unsealed_points"] == 2_001

    asyncio.run(main())
    with tsengine.open(tmp_path) as engine:
        assert engine.device("S").count() == 2_001
