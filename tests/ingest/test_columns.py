"""Bodies of columns: the rows of the same items in the row form, the same refusals, and nothing but a refusal for what is broken."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ingest.forms import COLUMN_TYPES, ROW_TYPES, columns_of, items
from tests.store.making import exact
from tests.strategies import QUICK
from tsengine.core import batch
from tsengine.core.ingest.cell import cells
from tsengine.errors import InputError, LimitError
from tsengine.ingest.bodies import COLUMNS_TYPE, PACKED_COLUMNS_TYPE, record_of_body
from tsengine.rows import Row

NOW_US = 1_700_000_000_123_456
FORMS = pytest.mark.parametrize("form", COLUMN_TYPES)


def rows_of(body: bytes, media_type: str) -> list[Row]:
    record = record_of_body(body, media_type, NOW_US)
    return batch.rows(record) if record else []


def column_rows(form: str, columns: Any) -> list[Row]:
    return rows_of(COLUMN_TYPES[form](columns), form)


def refusal_of(body: bytes, media_type: str) -> InputError:
    with pytest.raises(InputError) as caught:
        record_of_body(body, media_type, NOW_US)
    return caught.value


@QUICK
@given(st.lists(items, min_size=1, max_size=30), st.lists(st.integers(1, 9), max_size=4))
def test_every_form_gives_the_same_rows(points: list[dict[str, Any]], sizes: list[int]) -> None:
    columns = columns_of(points, sizes=sizes)
    bodies = {form: encode(points) for form, encode in ROW_TYPES.items()} | {form: encode(columns) for form, encode in COLUMN_TYPES.items()}
    is_long = any(len(str(point.get("metadata"))) > 1_000 for point in points)  # escapes would make it too long
    bodies[COLUMNS_TYPE + "; charset=utf-8"] = json.dumps(columns, indent=1, ensure_ascii=not is_long).encode()
    found = {form: [exact(row) for row in rows_of(body, form)] for form, body in bodies.items()}
    expected = found.pop("application/json")
    assert len(expected) == len(points)
    for form, rows in found.items():
        assert [without_spaces(row) for row in rows] == expected, form


def without_spaces(row: Any) -> Any:
    """Return an exact row with its metadata as msgspec writes it."""
    return tuple((kind, msgspec.json.encode(msgspec.json.decode(part)) if kind == "bytes" else part) for kind, part in row)


WRONG: list[tuple[str, Any]] = [
    ("variable", None),
    ("variable", ""),
    ("variable", 5),
    ("variable", "a b"),
    ("variable", "v" * 101),
    ("variable", ["t"]),
    ("value", [1]),
    ("value", {"a": 1}),
    ("value", "x" * 6145),
    ("time", "yesterday"),
    ("time", 1e300),
    ("time", {}),
    ("unit", 5),
    ("unit", "u" * 26),
    ("group", 5.5),
    ("group", "g" * 101),
    ("location", {"lat": 91, "lng": 0}),
    ("location", [1, 2]),
    ("location", "here"),
    ("location", {}),
    ("metadata", {"a": "x" * 10_240}),
]


@FORMS
@pytest.mark.parametrize(("field", "wrong"), WRONG, ids=lambda part: ascii(part)[:30])
def test_a_wrong_cell_is_refused_as_in_the_row_form(form: str, field: str, wrong: Any) -> None:
    points: list[dict[str, Any]] = [{"variable": "t", "value": 1.5, field: None, "time": 1_704_067_200_000} for _ in range(5)]
    for point in points:
        point.setdefault(field, None)
    points = [{**point, "variable": "t"} for point in points]
    points[3][field] = wrong
    row_form = next(iter(ROW_TYPES)) if form == COLUMNS_TYPE else list(ROW_TYPES)[1]
    expected = refusal_of(ROW_TYPES[row_form](points), row_form)
    for sizes in ([], [2]):
        found = refusal_of(COLUMN_TYPES[form](columns_of(points, sizes=sizes)), form)
        assert (str(found), found.index) == (str(expected), 3)


@FORMS
def test_columns_and_points_may_have_many_shapes(form: str) -> None:
    point = {"variable": "T", "value": 2, "time": 1_704_067_200_000}
    assert [(row.variable, row.value) for row in column_rows(form, point)] == [("t", 2.0)]
    assert column_rows(form, {**point, "value": []}) == []
    assert column_rows(form, []) == []
    assert [row.value for row in column_rows(form, [{**point, "value": [1, 2]}, {**point, "value": []}, {**point, "value": 3}])] == [
        1,
        2,
        3,
    ]
    assert {row.time_us for row in column_rows(form, {"variable": "t", "value": [1, None, True, "x"]})} == {NOW_US}


@FORMS
@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"variable": "t", "value": [1, 2], "time": [1]}, "columns must have the same length: value has 2 cells, time has 1"),
        ([{"variable": "t"}, {"variable": ["t"], "value": [1, 2]}], "columns must have the same length: variable has 1 cells, value has 2"),
        ({"variable": "t", "serie": "x"}, "Object contains unknown field `serie`"),
        ({"value": [1, 2]}, "Invalid data at index 0: variable is required"),
        ([{"variable": "t", "value": [1, 2]}, {"value": [1]}], "Invalid data at index 2: variable is required"),
        ([5], "Invalid columns: Expected `object`, got `int`"),
        ("x", "Invalid columns: Expected `object | array`"),
        (None, "Invalid columns: Expected `object | array`"),
    ],
)
def test_wrong_shapes_are_refused(form: str, columns: Any, problem: str) -> None:
    assert problem in str(refusal_of(COLUMN_TYPES[form](columns), form))


@FORMS
def test_too_many_points_are_refused(form: str) -> None:
    count = 1_048_576
    body = COLUMN_TYPES[form]({"variable": "t", "time": 1, "value": [1] * count})
    assert batch.count_of(record_of_body(body, form, NOW_US)) == count
    for columns in ({"variable": "t", "value": [1] * (count + 1)}, [{"variable": "t", "value": [1] * count}, {"variable": "t"}]):
        with pytest.raises(LimitError, match="at most 1048576"):
            record_of_body(COLUMN_TYPES[form](columns), form, NOW_US)


@FORMS
def test_too_many_objects_are_refused(form: str) -> None:
    objects = [{"variable": "t", "value": number} for number in range(10_000)]
    assert [row.value for row in column_rows(form, objects)] == list(range(10_000))
    with pytest.raises(LimitError, match="at most 10000 objects of columns, not 10001"):
        column_rows(form, [*objects, objects[0]])


def test_numbers_that_are_hard_to_round() -> None:
    texts = ["0." + "0" * 40 + "123", "1" * 30, "4.9e-324", "123456789.12345678901234567890", "1e-400", "-0.0", "9007199254740993"]
    body = b'{"variable":"t","value":[' + ",".join(texts).encode() + b"]}"
    assert [str(row.value) for row in batch.rows(record_of_body(body, COLUMNS_TYPE, NOW_US))] == [str(float(text)) for text in texts]
    error = refusal_of(b'{"variable":"t","value":[1,1e999]}', COLUMNS_TYPE)
    assert (str(error), error.index) == ("Invalid data at index 1: value: Number out of range", 1)


MALFORMED = [
    *(b"", b"{", b"[", b'{"value":}', b'{"value":[1}', b'{"value":[1,]}', b'{"value":[01]}', b'{"value":[1 2]}', b'{"value":["a]}'),
    *(b'{"variable":"t","value":["\xff"]}', b'{"variable":"\xff"}', b'{"variable":"t","value":["\\q"]}', b'{"variable":"t","value":[NaN]}'),
    *(b'{"variable":"t","metadata":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001, b'{"value":' + b"[" * 100_000),
]


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: ascii(body[:40]))
def test_malformed_json_is_refused(body: bytes) -> None:
    error = refusal_of(body, COLUMNS_TYPE)
    assert str(error).startswith(("Malformed request syntax", "Invalid data at index 0: metadata must be UTF-8")), error


def test_metadata_that_is_no_utf8_is_refused() -> None:
    assert "metadata must be UTF-8" in str(refusal_of(b'{"variable":"t","metadata":{"a":"\xff"}}', COLUMNS_TYPE))


def test_the_last_of_equal_keys_counts_as_in_the_row_form() -> None:
    body = b'{"variable":"t","value":[1,2,3],"value":[4]}'
    assert [row.value for row in rows_of(body, COLUMNS_TYPE)] == [4.0]


EXAMPLE = columns_of(
    [
        {"variable": "t", "value": 1.25, "time": 1_704_067_200_000, "unit": "°C", "location": {"lat": 1, "lng": 2}},
        {"variable": 'quo"ted', "value": "te\nxt", "time": "2024-01-01", "group": "g", "metadata": {"a": [1, {"b": "]"}]}},
        {"variable": "u", "value": True, "time": None, "unit": "K", "location": None},
    ],
    sizes=[2],
)


@FORMS
def test_a_body_cut_anywhere_is_refused(form: str) -> None:
    body = COLUMN_TYPES[form](EXAMPLE)
    assert len(rows_of(body, form)) == 3
    for end in range(len(body)):
        refusal_of(body[:end], form)


@QUICK
@given(st.sampled_from(sorted(COLUMN_TYPES)), st.data())
def test_a_body_with_wrong_bytes_is_refused_or_read(form: str, data: st.DataObject) -> None:
    body = bytearray(COLUMN_TYPES[form](EXAMPLE))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for anything in (bytes(body), data.draw(st.binary(max_size=60))):
        try:
            rows_of(anything, form)
        except InputError:
            continue


@QUICK
@given(st.binary(max_size=60), st.booleans())
def test_cells_of_any_bytes(data: bytes, is_packed: bool) -> None:
    for body in (data, b"[" + data + b"]", b"\x9f" + data):
        found = cells(body, is_packed)
        assert found is None or all(cell in body for _, cell in found)


# --- MessagePack ---------------------------------------------------------------------------------------------------------

ROWS = "application/msgpack"


def test_a_timestamp_of_messagepack_is_a_time() -> None:
    moment = dt.datetime(2024, 1, 1, 0, 0, 0, 123_456, tzinfo=dt.UTC)
    expected = 1_704_067_200_123_000
    for body, form in (
        ([{"variable": "t", "time": moment}], ROWS),
        ({"variable": "t", "time": [moment]}, PACKED_COLUMNS_TYPE),
        ({"variable": "t", "time": moment}, PACKED_COLUMNS_TYPE),
    ):
        assert [row.time_us for row in rows_of(msgspec.msgpack.encode(body), form)] == [expected]


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({"value": b"binary"}, "value: Expected `bool | float | str | null`, got `bytes`"),
        ({"value": msgspec.msgpack.Ext(5, b"x")}, "value: Expected `bool | float | str | null`, got `ext`"),
        ({"time": msgspec.msgpack.Ext(5, b"x")}, "time must be ISO 8601 text or Unix milliseconds"),
        ({"time": True}, "time must be ISO 8601 text or Unix milliseconds"),
        ({"variable": b"t"}, "variable: Expected `str | null`, got `bytes`"),
        ({"metadata": {1: 2}}, "Expected `str`, got `int`"),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", [ROWS, PACKED_COLUMNS_TYPE])
def test_what_messagepack_alone_can_say(item: dict[str, Any], problem: str, form: str) -> None:
    error = refusal_of(msgspec.msgpack.encode({"variable": "t", **item}), form)
    assert (problem in str(error), error.index) == (True, 0)


def test_messagepack_integers_and_equal_keys() -> None:
    assert [row.value for row in rows_of(b"\x82\xa8variable\xa1t\xa5value\xcf" + b"\xff" * 8, ROWS)] == [2.0**64]
    assert [row.value for row in rows_of(b"\x83\xa8variable\xa1t\xa5value\x01\xa5value\x02", ROWS)] == [2.0]
    wide = msgspec.msgpack.encode({"variable": "t", "value": [2**64 - 1, -(2**63), 200, -200, -100_000, 0, -1, 1.5]})
    assert [row.value for row in rows_of(wide, PACKED_COLUMNS_TYPE)] == [2.0**64, -(2.0**63), 200, -200, -100_000, 0, -1, 1.5]
    narrow = b"\x82\xa8variable\xa1t\xa5value\x91\xca\x3f\xc0\x00\x00"
    assert [row.value for row in rows_of(narrow, PACKED_COLUMNS_TYPE)] == [1.5]


@pytest.mark.parametrize("form", [ROWS, PACKED_COLUMNS_TYPE])
def test_deep_messagepack_is_refused(form: str) -> None:
    for body in (b"\x82\xa8variable\xa1t\xa8metadata" + b"\x81\xa1a" * 50_000 + b"\x01", b"\x91" * 100_000):
        assert re.match("Malformed|Invalid", str(refusal_of(body, form)))
    assert "index 0: metadata" in str(refusal_of(b"\x82\xa8variable\xa1t\xa8metadata\x01", form))
