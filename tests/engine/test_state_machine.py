"""The embedding API against a dict: every rule is something a program does, and after each the answers are compared."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

import tsengine
from tests.engine.logs import Kept, MemoryLog, RestlessLog
from tests.model import ModelDevice, ModelPoint, to_us
from tsengine import InputError, LimitError, ManualClock, Point
from tsengine.log import Log

START_US = to_us(datetime(2026, 11, 21, 8, 30, tzinfo=UTC))
DAY_US = 86_400_000_000

values = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.text(max_size=8),
    st.none(),
    st.sampled_from([21.5, 21.6, 0.0, -0.0]),
)
# Some times in the window, some on chunk borders, some far outside.
offsets = st.one_of(
    st.integers(-3 * DAY_US, DAY_US),
    st.integers(-40, 1).map(lambda days: days * DAY_US - START_US % DAY_US),
    st.integers(-800 * DAY_US, 800 * DAY_US),
    st.just(0),
)
points = st.builds(
    lambda variable, value, offset, unit, group, location, metadata: (variable, value, offset, unit, group, location, metadata),
    st.sampled_from(["a", "b", "temperature"]),
    values,
    offsets,
    st.sampled_from([None, None, "C", "kWh"]),
    st.sampled_from([None, None, "g1", "0123456789abcdef01234567"]),
    st.sampled_from([None, None, (42.3, -85.6), (-90.0, 180.0)]),
    st.sampled_from([None, None, {"a": 1}, {"text": "ü", "list": [1, 2]}]),
)
batches = st.lists(points, min_size=1, max_size=30)


class EngineMachine(RuleBasedStateMachine):
    devices = Bundle("devices")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="tsengine-machine-"))
        self.clock = ManualClock(START_US)
        self.model: dict[str, ModelDevice] = {}
        self.batch = 0
        self.kept = Kept()
        self.db = self.open(self.folder / "data", self.kept)

    def open(self, folder: Path, kept: Kept) -> tsengine.Engine:
        return tsengine.Engine(folder, durability="os", memory_mb=1, clock=self.clock, log=self.make_log(kept))

    def make_log(self, kept: Kept) -> Log | None:
        """The log to use, or None for the one in the folder."""
        return None

    def teardown(self) -> None:
        self.db.close()
        shutil.rmtree(self.folder)

    def to_model(self, items: list[tuple]) -> list[ModelPoint]:
        self.batch += 1
        now_us = self.clock.now_us()
        return [
            ModelPoint(0, variable, value, now_us + offset, unit, group, location, metadata, self.batch)
            for variable, value, offset, unit, group, location, metadata in items
        ]

    # --- rules -------------------------------------------------------------------------------------------------------

    @initialize(target=devices)
    def first_device(self) -> str:
        return self.create("immutable", "month", 2, 40)

    @rule(
        target=devices,
        type=st.sampled_from(["immutable", "mutable"]),
        period=st.sampled_from(["day", "week", "month", "quarter", None]),
        retention=st.sampled_from([None, 0, 1, 3]),
        chunk_limit=st.sampled_from([None, 20, 1000]),
    )
    def create(self, type: str, period: str | None, retention: int | None, chunk_limit: int | None) -> str:
        device = self.db.create_device("device", type=type, chunk_period=period, chunk_retention=retention, chunk_limit=chunk_limit)
        self.db.create_token(device.id, "Default")
        is_columnar = type == "immutable"
        self.model[device.id] = ModelDevice(
            type, period if is_columnar else None, retention if is_columnar else None, chunk_limit if is_columnar else None
        )
        return device.id

    @rule(device=devices, items=batches, sync=st.booleans(), as_dicts=st.booleans())
    def append_many(self, device: str, items: list[tuple], sync: bool, as_dicts: bool) -> None:
        if device not in self.model:
            return
        added = self.to_model(items)
        fields = ("variable", "value", "time", "unit", "group", "location", "metadata")
        given = [(p.variable, p.value, p.time_us, p.unit, p.group, p.location, p.metadata) for p in added]
        batch = [dict(zip(fields, item, strict=True)) for item in given] if as_dicts else [Point(*item) for item in given]
        model = self.model[device]
        if model.refuses(added, self.clock.now_us()):
            with pytest.raises((InputError, LimitError)):
                self.db.device(device).append_many(batch, sync=sync)
        else:
            assert self.db.device(device).append_many(batch, sync=sync) == len(added)
            model.append(added)

    @rule(
        device=devices,
        start=offsets,
        numbers=st.lists(st.floats(allow_nan=False), min_size=1, max_size=200),
        step=st.integers(0, DAY_US // 24),
    )
    def append_columns(self, device: str, start: int, numbers: list[float], step: int) -> None:
        if device not in self.model:
            return
        added = self.to_model([("column", number, start + step * i, "C", None, None, None) for i, number in enumerate(numbers)])
        model = self.model[device]
        import numpy as np

        times = np.array([point.time_us for point in added], dtype=np.int64)
        if model.refuses(added, self.clock.now_us()):
            with pytest.raises((InputError, LimitError)):
                self.db.device(device).append_columns("column", times, np.array(numbers), unit="C")
        else:
            self.db.device(device).append_columns("column", times, np.array(numbers), unit="C")
            model.append(added)

    @rule(device=devices, data=st.data())
    def edit(self, device: str, data: st.DataObject) -> None:
        model = self.model.get(device)
        if model is None or model.type != "mutable" or not model.points:
            return
        handle = self.db.device(device)
        stored = handle.points(limit=None, order="asc")
        index = data.draw(st.integers(0, len(stored) - 1))
        point = model.visible(0)[index]
        value = data.draw(values)
        offset = data.draw(st.one_of(st.none(), offsets))
        change: dict = {"id": stored[index].id, "value": value, "unit": data.draw(st.sampled_from([None, "K"]))}
        if offset is not None:
            change["time"] = point.time_us = self.clock.now_us() + offset
        point.value, point.unit = value, change["unit"]
        assert handle.edit([change, {"id": "f" * 24, "value": 1}]) == 1

    @rule(device=devices, variables=st.sampled_from([None, "a", ["a", "b"]]), limit=st.sampled_from([None, 0, 1, 7]))
    def delete(self, device: str, variables: str | list[str] | None, limit: int | None) -> None:
        model = self.model.get(device)
        if model is None or model.type != "mutable":
            return
        found = [point for point in reversed(model.visible(0)) if variables is None or point.variable in variables]
        found = found if limit is None else found[:limit]
        assert self.db.device(device).delete(variables=variables, limit=limit) == len(found)
        gone = {point.order for point in found}
        model.points = [point for point in model.points if point.order not in gone]

    @rule(device=devices, data=st.data())
    def delete_chunk(self, device: str, data: st.DataObject) -> None:
        model = self.model.get(device)
        if model is None or model.type != "immutable":
            return
        chunks = self.db.device(device).chunks()
        if chunks:
            chunk = data.draw(st.sampled_from(chunks))
            self.db.device(device).delete_chunk(chunk.id)
            start, end = to_us(chunk.start), to_us(chunk.end)
            model.points = [point for point in model.points if not start <= point.time_us <= end]

    @rule(device=devices)
    def empty(self, device: str) -> None:
        if device in self.model:
            self.db.device(device).empty()
            self.model[device].points = []

    @rule(
        device=devices,
        type=st.sampled_from(["immutable", "mutable"]),
        period=st.sampled_from(["day", "month", None]),
        retention=st.sampled_from([None, 1]),
        empty=st.booleans(),
    )
    def convert(self, device: str, type: str, period: str | None, retention: int | None, empty: bool) -> None:
        model = self.model.get(device)
        if model is None:
            return
        if empty:
            self.db.device(device).empty()
            model.points = []
        self.db.edit_device(device, active=False)
        if model.visible(self.clock.now_us()):
            with pytest.raises(InputError, match="not empty"):
                self.db.convert_device(device, type=type, chunk_period=period, chunk_retention=retention)
        else:
            tokens = [token.token for token in self.db.tokens(device)]
            converted = self.db.convert_device(device, type=type, chunk_period=period, chunk_retention=retention)
            assert (converted.id, converted.type) == (device, type)
            assert [token.token for token in self.db.tokens(device)] == tokens
            is_columnar = type == "immutable"
            self.model[device] = ModelDevice(type, period if is_columnar else None, retention if is_columnar else None, 1_000_000)
        self.db.edit_device(device, active=True)

    @rule(device=devices)
    def delete_device(self, device: str) -> None:
        if device in self.model and len(self.model) > 1:
            self.db.delete_device(device)
            del self.model[device]
            with pytest.raises(tsengine.NotFoundError):
                self.db.device(device)

    @rule()
    def seal(self) -> None:
        self.db.seal()

    @rule()
    def compact(self) -> None:
        self.db.compact()

    @rule()
    def merge_what_is_due(self) -> None:
        while self.db._compaction.merge_due(self.db._trusted_clock.now_us()):
            pass

    @rule(device=devices, retention=st.integers(0, 3))
    def shorten_retention(self, device: str, retention: int) -> None:
        model = self.model.get(device)
        if model is None or model.period is None or (model.retention is not None and model.retention < retention):
            return
        self.db.edit_device(device, chunk_retention=retention)
        model.retention = retention

    @rule(days=st.integers(0, 4000))
    def clock_jumps_and_comes_back(self, days: int) -> None:
        """Reads follow the wrong clock, but nothing leaves the disk by it. (Back in time, what left it rightly would be missed.)"""
        self.clock.jump(seconds=days * 86_400)
        self.compare(self.db)
        self.db.compact()
        self.compare(self.db)
        self.clock.jump(seconds=-days * 86_400)

    @rule()
    def reopen(self) -> None:
        self.db.close()
        self.db = self.open(self.folder / "data", self.kept)

    @rule()
    def open_a_copy(self) -> None:
        """What a killed process leaves behind: the files as they are now, never closed."""
        self.db.sync()
        copy = self.folder / "copy"
        columnar = self.db.columnar
        with columnar.sealing, columnar.merging, columnar.maintenance:  # a copy taken file by file must not race with renames
            shutil.copytree(self.folder / "data", copy)
            kept = self.kept.copy()
        db = self.open(copy, kept)
        try:
            self.compare(db)
        finally:
            db.close()
            shutil.rmtree(copy)

    @rule(days=st.integers(0, 70))
    def time_passes(self, days: int) -> None:
        self.clock.advance(seconds=days * 86_400 + 700)

    # --- answers -----------------------------------------------------------------------------------------------------

    @invariant()
    def answers_agree(self) -> None:
        self.compare(self.db)

    def compare(self, db: tsengine.Engine) -> None:
        now_us = self.clock.now_us()
        for device_id, model in self.model.items():
            device = db.device(device_id)
            expected = model.visible(now_us)
            stored = device.points(limit=None, order="asc")
            assert [self.as_tuple(point) for point in stored] == [
                (p.variable, p.value, type(p.value), p.time_us, p.unit, p.location, p.metadata) for p in expected
            ]
            self.compare_groups(stored, expected)
            assert device.points(limit=5, skip=2) == stored[::-1][2:7]
            assert device.count() == len(expected)
            newest = {point.variable: point for point in stored}
            assert device.last() == [newest[name] for name in sorted(newest)]
            if model.type == "immutable":
                assert {to_us(chunk.start): chunk.count for chunk in device.chunks() if model.period} == (
                    model.chunks(now_us) if model.period else {}
                )
            numbers = [p for p in expected if isinstance(p.value, (int, float))]
            counted = device.aggregate(None, "count")
            assert sum(counted.column("count").to_pylist()) == len(numbers)
            above = [p for p in numbers if not isinstance(p.value, bool) and p.value > 20]
            assert device.count(where={"gt": 20}) == len(above)
            assert device.scan(columns=["time"], where={"gt": 20}).read_all().num_rows == len(above)
            times, _ = device.read("a")
            assert times.tolist() == [point.time_us for point in expected if point.variable == "a"]

    @staticmethod
    def as_tuple(point: Point) -> tuple:
        return point.variable, point.value, type(point.value), to_us(point.time), point.unit, point.location, point.metadata

    @staticmethod
    def compare_groups(stored: list[Point], expected: list[ModelPoint]) -> None:
        automatic: dict[int, str] = {}
        for point, model in zip(stored, expected, strict=True):
            if model.group is not None:
                assert point.group == model.group
            else:
                assert automatic.setdefault(model.batch, point.group) == point.group
        assert len(set(automatic.values())) == len(automatic)
        assert len({point.id for point in stored}) == len(stored)


class MemoryLogMachine(EngineMachine):
    """The same over a log that is no file."""

    def make_log(self, kept: Kept) -> Log:
        return MemoryLog(kept)


class RestlessLogMachine(EngineMachine):
    """The same over a log that applies late, in other groups, on its own thread, and delivers again what it had delivered."""

    def make_log(self, kept: Kept) -> Log:
        return RestlessLog(kept, seed=len(kept.records) + self.batch)


def machine_settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


EngineMachine.TestCase.settings = machine_settings(150)
MemoryLogMachine.TestCase.settings = machine_settings(40)
RestlessLogMachine.TestCase.settings = machine_settings(80)
TestEngineMachine = EngineMachine.TestCase
TestMemoryLogMachine = MemoryLogMachine.TestCase
TestRestlessLogMachine = RestlessLogMachine.TestCase
