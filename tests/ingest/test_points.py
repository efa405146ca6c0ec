"""Points to batches: every rule of the wire and of the Python API, and what its refusal says."""

from __future__ import annotations

import datetime as dt
import math
import re
import sys
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import QUICK, TIME_MAX_US, TIME_MIN_US
from tsengine.core import batch
from tsengine.core.ingest.fields import to_time_us
from tsengine.core.ingest.points import from_points
from tsengine.errors import InputError, LimitError
from tsengine.ingest.bodies import decode
from tsengine.rows import Row
from tsengine.types import Location, Point

NOW_US = 1_700_000_000_123_456
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def one(**fields: Any) -> Row:
    return batch.rows(from_points([{"variable": "t", **fields}], NOW_US))[0]


def one_wire(body: str) -> Row:
    return batch.rows(from_points(decode(body.encode()), NOW_US, True))[0]


def wire(**fields: Any) -> SimpleNamespace:
    names = ("variable", "value", "unit", "group", "serie", "time", "location", "metadata")
    return SimpleNamespace(**{**dict.fromkeys(names), "variable": "t", **fields})


# --- refusals ----------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"variable": None}, "variable is required"),
    ({"variable": ""}, "variable is required"),
    ({"variable": 5}, "variable must be text"),
    ({"variable": "v" * 101}, "variable must have at most 100 characters"),
    ({"variable": "İ" * 60}, "variable must have at most 100 characters in lower case"),  # each becomes two characters
    *[({"variable": f"a{letter}b"}, "must not contain any of") for letter in "*?!<>.-=$ \t\n\x00\x7f"],
    ({"variable": "\ud800"}, "variable must be text that UTF-8 can carry"),
    ({"value": []}, "value must be a number, a boolean, text or None, not list"),
    ({"value": {}}, "value must be a number, a boolean, text or None, not dict"),
    ({"value": b"bytes"}, "value must be a number, a boolean, text or None, not bytes"),
    ({"value": 1j}, "value must be a number, a boolean, text or None, not complex"),
    ({"value": np.array([1.0, 2.0])}, "value must be a number, a boolean, text or None, not ndarray"),
    ({"value": np.datetime64("2024-01-01")}, "value must be a number"),
    ({"value": 2**63}, "outside the range of int64"),
    ({"value": -(2**63) - 1}, "outside the range of int64"),
    ({"value": np.uint64(2**63)}, "outside the range of int64"),
    ({"value": "x" * 6145}, "value must have at most 6144 bytes of text"),
    ({"value": "é" * 3073}, "value must have at most 6144 bytes of text"),
    ({"value": "\udfff"}, "value must be text that UTF-8 can carry"),
    ({"unit": 5}, "unit must be text"),
    ({"unit": "u" * 26}, "unit must have at most 25 characters"),
    ({"group": 5}, "group must be text"),
    ({"group": "g" * 101}, "group must have at most 100 characters"),
    ({"location": 5}, "location must be {lat, lng} or a GeoJSON Point"),
    ({"location": (1.0,)}, "location must be {lat, lng} or a GeoJSON Point"),
    ({"location": (1.0, 2.0, 3.0)}, "location must be {lat, lng} or a GeoJSON Point"),
    ({"location": (True, 2.0)}, "location must be {lat, lng} or a GeoJSON Point"),
    ({"location": {"lat": "1", "lng": 2}}, "location must be {lat, lng} or a GeoJSON Point"),
    ({"location": {"lat": 1}}, "location must be {lat, lng} or a GeoJSON Point"),
    ({"location": {}}, "location must be {lat, lng} or a GeoJSON Point"),
    ({"location": {"coordinates": [1]}}, "location must be {lat, lng} or a GeoJSON Point"),
    ({"location": {"coordinates": [1, 2, "high"]}}, "location must be {lat, lng} or a GeoJSON Point"),
    ({"location": {"type": "Polygon", "coordinates": [1, 2]}}, "location must be a Point"),
    ({"location": (90.001, 0)}, "location lat must be between -90 and 90"),
    ({"location": (-91, 0)}, "location lat must be between -90 and 90"),
    ({"location": (math.nan, 0)}, "location lat must be between -90 and 90"),
    ({"location": (0, 180.001)}, "location lng must be between -180 and 180"),
    ({"location": (0, math.inf)}, "location lng must be between -180 and 180"),
    ({"location": (10**400, 0)}, "location lat is too large"),
    ({"metadata": []}, "metadata must be a JSON object"),
    ({"metadata": "{}"}, "metadata must be a JSON object"),
    ({"metadata": {"a": object()}}, "metadata must be a JSON object"),
    ({"metadata": {"a": "x" * 10_240}}, "metadata must have at most 10240 bytes"),
    ({"metadata": {"a": msgspec.Raw(b"[" * 100 + b"]" * 100)}}, "metadata must have at most 100 objects and arrays inside each other"),
    ({"metadata": msgspec.Raw(b'{"a\\"[":' * 101 + b"1" + b"}" * 101)}, "metadata must have at most 100 objects and arrays"),
    ({"metadata": msgspec.Raw(b"[1]")}, "metadata must be a JSON object"),
    ({"metadata": msgspec.Raw(b'{"a":"\xff"}')}, "metadata must be UTF-8"),
    ({"time": "yesterday"}, "is not ISO 8601"),
    ({"time": "2024-02-30"}, "is not ISO 8601"),
    ({"time": TIME_MAX_US + 1}, "years 1 to 9999"),
    ({"time": TIME_MIN_US - 1}, "years 1 to 9999"),
    ({"time": 10**400}, "years 1 to 9999"),
    ({"time": 1.5}, "time must be a datetime, int microseconds"),
    ({"time": True}, "time must be a datetime, int microseconds"),
    ({"time": np.datetime64("NaT")}, "time is NaT"),
    ({"time": dt.datetime(9999, 12, 31, 23, tzinfo=dt.timezone(dt.timedelta(hours=-5)))}, "years 1 to 9999"),
    ({"time": dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5)))}, "years 1 to 9999"),
    ({"time": dt.date(2024, 1, 1)}, "time must be a datetime, int microseconds"),
]


@pytest.mark.parametrize(("fields", "problem"), REFUSED, ids=lambda part: ascii(part)[:40])
@pytest.mark.parametrize("as_point", [False, True])
def test_refusal_names_index_field_and_limit(fields: dict[str, Any], problem: str, as_point: bool) -> None:
    point: Any = {"variable": "t", **fields}
    if as_point:
        point = Point(**point)
    with pytest.raises(InputError, match=re.escape(problem)) as caught:
        from_points([{"variable": "good"}, {"variable": "good"}, point, {"variable": "good"}], NOW_US)
    assert caught.value.index == 2
    assert str(caught.value).startswith("Invalid data at index 2: ")


REFUSED_ON_THE_WIRE: list[tuple[str, str]] = [
    ('{"value": 1}', "variable is required"),
    ('{"variable": "a b"}', "must not contain any of"),
    ('{"variable": 5}', "variable"),
    ('{"variable": "t", "value": [1]}', "value"),
    ('{"variable": "t", "value": {"a": 1}}', "value"),
    ('{"variable": "t", "value": 1e999}', "value"),
    ('{"variable": "t", "unit": 5}', "unit"),
    ('{"variable": "t", "unit": "%s"}' % ("u" * 26), "unit must have at most 25 characters"),
    ('{"variable": "t", "group": "%s"}' % ("g" * 101), "group must have at most 100 characters"),
    ('{"variable": "t", "serie": "%s"}' % ("g" * 101), "group must have at most 100 characters"),
    ('{"variable": "t", "time": "tomorrow"}', "time 'tomorrow' is not ISO 8601 nor a Unix time of 10 or 13 digits"),
    ('{"variable": "t", "time": "12345"}', "time '12345' is not ISO 8601"),
    ('{"variable": "t", "time": "１７０４０６７２００"}', "is not ISO 8601"),  # digits, but not those of ASCII
    ('{"variable": "t", "time": 1e300}', "years 1 to 9999"),
    ('{"variable": "t", "time": true}', "time"),
    ('{"variable": "t", "location": {"lat": 91, "lng": 0}}', "location lat must be between -90 and 90"),
    ('{"variable": "t", "location": {"lat": 1%s, "lng": 0}}' % ("0" * 400), "location lat is too large"),
    ('{"variable": "t", "location": {"coordinates": [181, 0]}}', "location lng must be between -180 and 180"),
    ('{"variable": "t", "location": [1, 2]}', "location"),
    ('{"variable": "t", "metadata": [1]}', "metadata must be a JSON object"),
    ('{"variable": "t", "metadata": "text"}', "metadata must be a JSON object"),
    ('{"variable": "t", "metadata": ' + '{"a":' * 101 + "1" + "}" * 102, "metadata must have at most 100 objects and arrays"),
    ('{"variable": "t", "metadata": {"a": "%s"}}' % ("x" * 10_240), "metadata must have at most 10240 bytes"),
]


@pytest.mark.parametrize(("item", "problem"), REFUSED_ON_THE_WIRE, ids=lambda part: ascii(part)[:40])
def test_refusal_on_the_wire_names_index_and_field(item: str, problem: str) -> None:
    with pytest.raises(InputError, match=re.escape(problem)) as caught:
        from_points(decode(f'[{{"variable":"good"}},{item}]'.encode()), NOW_US, True)
    assert caught.value.index == 1


@pytest.mark.parametrize(
    "metadata",
    [
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"a":' + b"[" * 99 + b"]" * 99 + b"}",
        b'{"' + b"[{" * 500 + b'":"' + b"]}" * 500 + b'"}',
        b'{"\\"' + b"[" * 500 + b'\\\\":1}',
        b'{"a":[' + b"[]," * 500 + b"{}]}",
    ],
    ids=["objects", "arrays", "in text", "after escapes", "side by side"],
)
def test_metadata_may_be_a_hundred_levels_deep(metadata: bytes) -> None:
    (row,) = batch.rows(from_points([{"variable": "t", "metadata": msgspec.Raw(metadata)}], NOW_US))
    assert row.metadata == metadata


def test_one_bad_point_does_not_spoil_the_next_batch() -> None:
    for _ in range(10):
        with pytest.raises(InputError):
            from_points([{"variable": "a", "unit": "C"}, {"variable": ""}], NOW_US)
        assert [row.variable for row in batch.rows(from_points([{"variable": "b"}], NOW_US))] == ["b"]


def test_no_points_and_too_many_points_are_refused() -> None:
    with pytest.raises(LimitError, match="at least one point"):
        from_points([], NOW_US)
    with pytest.raises(LimitError, match="1048576"):
        from_points([{"variable": "t"}] * (1_048_576 + 1), NOW_US)


def test_a_thing_that_is_no_point_is_refused() -> None:
    for thing in (None, 5, "text", ("t", 1)):
        with pytest.raises(InputError, match=r"must be a tsengine.Point or a dict"):
            from_points([thing], NOW_US)


def test_a_list_that_grows_while_it_is_read() -> None:
    """A property may run any code; the batch then has what the list holds in the end."""
    points_read: list[Any] = []

    class Growing:
        value = time = unit = group = location = metadata = None

        @property
        def variable(self) -> str:
            if len(points_read) < 20_000:
                points_read.extend(Growing() for _ in range(100))
            return "t"

    points_read.append(Growing())
    assert batch.count_of(from_points(points_read, NOW_US)) == len(points_read)


# --- what the Python API accepts ---------------------------------------------------------------------------------------


def test_values_keep_their_kind() -> None:
    for given_value, stored in (
        (1, 1),
        (1.0, 1.0),
        (True, True),
        ("12", "12"),
        ("", ""),
        (None, None),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.int8(-3), -3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.array(4), 4),
        (math.inf, math.inf),
        (2**63 - 1, 2**63 - 1),
    ):
        value = one(value=given_value).value
        assert type(value) is type(stored)
        assert value == stored


def test_variables_become_lower_case() -> None:
    assert one(variable="TemPeratur").variable == "temperatur"
    assert one(variable="ÉTAT").variable == "état"
    assert one(variable="a" * 100).variable == "a" * 100
    assert one(variable="ж" * 100).variable == "ж" * 100


@pytest.mark.parametrize("seed", range(5))
def test_names_in_any_order_are_told_apart(seed: int) -> None:
    random = np.random.default_rng(seed)
    same = [f"Name{number}" for number in range(3 + 9 * seed)]  # below and above how many are known by the object
    names = [same[number] if random.random() < 0.7 else "".join(list(same[number])) for number in random.integers(0, len(same), 500)]
    names += same * 3
    found = [row.variable for row in batch.rows(from_points([{"variable": name, "value": 1} for name in names], NOW_US))]
    assert found == [name.lower() for name in names]
    again = [row.variable for row in batch.rows(from_points([Point(name) for name in reversed(names)], NOW_US))]
    assert again == found[::-1]


def test_names_of_a_refused_batch_are_let_go() -> None:
    name = "".join(["let", "go"])
    held = sys.getrefcount(name)
    with pytest.raises(InputError, match="index 1"):
        from_points([{"variable": name}, {"variable": None}], NOW_US)
    from_points([{"variable": name}, {"variable": name}], NOW_US)
    assert sys.getrefcount(name) == held


def test_times_of_every_type() -> None:
    expected = 1_704_067_200_500_000
    zone = dt.timezone(dt.timedelta(hours=-3))
    for time in (
        expected,
        dt.datetime(2024, 1, 1, 0, 0, 0, 500_000, tzinfo=dt.UTC),
        dt.datetime(2024, 1, 1, 0, 0, 0, 500_000),
        dt.datetime(2023, 12, 31, 21, 0, 0, 500_000, tzinfo=zone),
        np.datetime64("2024-01-01T00:00:00.5"),
        np.datetime64("2024-01-01T00:00:00.500000999", "ns"),
        np.int64(expected),
        "2024-01-01T00:00:00.5Z",
        "2024-01-01 00:00:00.500000",
        "2023-12-31T21:00:00.500-03:00",
    ):
        assert one(time=time).time_us == expected
        assert to_time_us(time) == expected
    assert one().time_us == NOW_US
    assert one(time=-1).time_us == -1
    with pytest.raises(InputError, match=r"^time must be a datetime"):
        to_time_us(1.5)


@given(st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.timezones() | st.just(dt.UTC)))
@QUICK
def test_datetimes_are_exact(moment: dt.datetime) -> None:
    assert to_time_us(moment) == (moment - EPOCH) // dt.timedelta(microseconds=1)


def test_locations_of_every_form() -> None:
    for location in (
        (1.5, -2.0),
        [1.5, -2],
        Location(1.5, -2.0),
        {"lat": 1.5, "lng": -2.0},
        {"type": "Point", "coordinates": [-2.0, 1.5]},
        {"coordinates": [-2.0, 1.5, 99.0]},
        {"coordinates": None, "lat": 1.5, "lng": -2.0},
    ):
        row = one(location=location)
        assert (row.lat, row.lng) == (1.5, -2.0)
    assert one(location=None).lat is None


def test_groups_of_every_form() -> None:
    for group in ("0123456789abcdef01234567", "0123456789ABCDEF01234567", "0123456789abcdef0123456", "é" * 100, "g"):
        assert one(group=group).group == group
    assert len(one(group=None).group) == 24


def test_metadata_is_kept_as_json() -> None:
    assert one(metadata={"a": 1}).metadata == b'{"a":1}'
    assert one(metadata={}).metadata == b"{}"
    assert one(metadata=msgspec.Raw(b'{"a": 1.50}')).metadata == b'{"a": 1.50}'
    assert one(metadata=msgspec.Raw(b"null")).metadata is None
    assert one(metadata={"a": "x" * (10_240 - 8)}).metadata is not None


# --- what the wire accepts ---------------------------------------------------------------------------------------------


def test_wire_numbers_are_float64() -> None:
    assert type(one_wire('{"variable":"t","value":5}').value) is float
    assert one_wire('{"variable":"t","value":"5"}').value == "5"
    assert one_wire('{"variable":"t","value":true}').value is True
    assert one_wire('{"variable":"t","value":null}').value is None
    assert one_wire('{"variable":"t","value":12345678901234567890}').value == 12345678901234567890.0
    assert one_wire('{"variable":"t","value":""}').value == ""


def test_times_are_read_in_every_form_of_the_wire() -> None:
    second = 1_704_067_200
    for time, expected in (
        ('"2024-01-01T00:00:00.123456Z"', second * 1_000_000 + 123_000),
        ('"2024-01-01 00:00:00"', second * 1_000_000),
        ('"2024-01-01"', second * 1_000_000),
        ('"2024-01-01 00:00:00+00:00"', second * 1_000_000),
        ('"2023-12-31T21:00:00-03:00"', second * 1_000_000),
        (f"{second}123", second * 1_000_000 + 123_000),
        (f"{second}123.9", second * 1_000_000 + 123_000),
        (f'"{second}123"', second * 1_000_000 + 123_000),
        (f'"{second}"', second * 1_000_000),
        ("-1", -1000),
        ("-0.5", -1000),
        ('"1969-12-31T23:59:59.9999Z"', -1000),
        ('""', NOW_US),
        ("0", NOW_US),
        ("null", NOW_US),
    ):
        assert one_wire(f'{{"variable":"t","time":{time}}}').time_us == expected, time


def test_wire_serie_stands_in_for_group() -> None:
    assert one_wire('{"variable":"t","serie":"s"}').group == "s"
    assert one_wire('{"variable":"t","serie":12}').group == "12"
    assert one_wire('{"variable":"t","serie":1.5}').group == "1.5"
    assert one_wire('{"variable":"t","serie":"s","group":"g"}').group == "g"
    assert len(one_wire('{"variable":"t","serie":null}').group) == 24


def test_wire_metadata_is_accepted_and_kept_as_it_came() -> None:
    assert one_wire('{"variable":"t","metadata": { "a" : 1 } }').metadata == b'{ "a" : 1 }'
    assert one_wire('{"variable":"t","metadata":null}').metadata is None
    assert one_wire('{"variable":"t"}').metadata is None


def test_wire_ignores_what_it_does_not_know() -> None:
    row = one_wire(
        '{"variable":"T","value":1,"origin":"x","id":"y","device":"z","created_at":"w","location":{"type":"Point","coordinates":[-48.5,-27.5,10]}}'
    )
    assert (row.variable, row.lat, row.lng) == ("t", -27.5, -48.5)


def test_wire_objects_with_huge_ints_are_refused() -> None:
    for fields in ({"value": 10**400}, {"time": 10**400}):
        with pytest.raises(InputError, match="too large for a float64"):
            from_points([wire(**fields)], NOW_US, True)
