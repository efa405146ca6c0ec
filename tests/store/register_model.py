"""The register store as a dict of rows for each device, and what hypothesis makes changes and filters of."""

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from tsengine.commands import Command, DeleteDevice, DeleteRegisters, EditRegisters, EmptyRegisters
from tsengine.core import batch
from tsengine.ids import group_id
from tsengine.rows import Row, matcher
from tsengine.types import Filter, Location, Point

T0 = 1_700_000_000_000_000


class Model:
    """The store as a dict of rows for each device."""

    def __init__(self) -> None:
        self.devices: dict[int, dict[int, Row]] = {}
        self.highest: dict[int, int] = {}

    def apply(self, change: bytes | Command) -> None:
        if isinstance(change, bytes):
            device, rows = batch.device_of(change), batch.rows(change)
            self.devices.setdefault(device, {}).update((row.sequence, row) for row in rows)
            self.highest[device] = max(self.highest.get(device, 0), rows[-1].sequence)
        elif isinstance(change, EditRegisters):
            held = self.devices.get(change.device, {})
            for sequence, fields in change.edits:
                if sequence in held:
                    held[sequence] = self.edited(change.device, held[sequence], fields)
        elif isinstance(change, DeleteRegisters):
            for sequence in change.sequences:
                self.devices.get(change.device, {}).pop(sequence, None)
        elif isinstance(change, EmptyRegisters):
            self.devices.pop(change.device, None)
        elif isinstance(change, DeleteDevice):
            self.devices.pop(change.device, None)
            self.highest.pop(change.device, None)

    def edited(self, device: int, row: Row, fields: dict[str, Any]) -> Row:
        changes: dict[str, Any] = {name: fields[name] for name in ("value", "unit") if name in fields}
        if fields.get("time") is not None:
            changes["time_us"] = fields["time"]
        if "group" in fields:
            changes["group"] = fields["group"] or group_id(device, row.sequence)
        if "location" in fields:
            changes["lat"], changes["lng"] = fields["location"] or (None, None)
        if "metadata" in fields:
            changes["metadata"] = fields["metadata"] and fields["metadata"].encode()
        return row._replace(**changes)

    def query(self, device: int, filter: Filter, order: str, by: str = "time") -> list[Row]:
        rows = filter_rows(self.devices.get(device, {}).values(), filter)
        return sorted(rows, key=lambda row: (by == "time" and row.time_us, row.sequence), reverse=order == "desc")


def filter_rows(rows: Iterable[Row], filter: Filter) -> list[Row]:
    is_wanted = matcher(filter)
    return [row for row in rows if is_wanted(row)]


VARIABLES = ("a", "b", "long" * 25, "é" * 100)
DEVICES = (1, 2, 2**32 - 1)
times = st.one_of(st.integers(T0, T0 + 5), st.integers(-5, 5), st.integers(-(2**55), 2**57))
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "2", "x" * 300]),
)
units = st.one_of(st.none(), st.sampled_from(["C", "km/h"]))
groups = st.one_of(
    st.none(), st.sampled_from(["g", "0123456789abcdef01234567", "0123456789ABCDEF01234567", "00000001" + "8" + "0" * 14 + "1", "z" * 24])
)
locations = st.one_of(st.none(), st.tuples(st.floats(-90, 90), st.floats(-180, 180)))
points = st.builds(
    Point,
    variable=st.sampled_from(VARIABLES),
    value=values,
    time=times,
    unit=units,
    group=groups,
    location=locations.map(lambda pair: pair and Location(*pair)),
    metadata=st.one_of(st.none(), st.just({"k": "é"})),
)
sequences = st.integers(0, 60)
edits = st.fixed_dictionaries(
    {},
    optional={
        "time": st.one_of(st.none(), times),
        "value": values,
        "unit": units,
        "group": groups,
        "location": locations.map(lambda pair: pair and list(pair)),
        "metadata": st.sampled_from([None, '{"m":1}']),
    },
)
bounds = st.one_of(st.none(), times, st.just(-(2**63)), st.just(2**63 - 1))
filters = st.builds(
    Filter,
    variables=st.one_of(st.none(), st.lists(st.sampled_from((*VARIABLES, "none", "")), max_size=3).map(tuple)),
    groups=st.one_of(st.none(), st.lists(st.sampled_from(["g", group_id(1, 1), "0123456789abcdef01234567"]), max_size=2).map(tuple)),
    values=st.one_of(st.none(), st.lists(st.sampled_from(["2", "true", "", "0"]), max_size=2).map(tuple)),
    ids=st.one_of(st.none(), st.none(), st.lists(sequences, max_size=4).map(tuple)),
    start_us=bounds,
    end_us=bounds,
    having=st.sampled_from([None, None, "value", "location"]),
)
