"""Payloads to items: what is TagoIO JSON and what is not, and metadata that gets its topic without being decoded."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsengine.errors import InputError
from tsengine.mqtt.payload import mark_of, marked, points_of

TOPIC = 'a/"b"'
MARK = mark_of(TOPIC)


def items(payload: bytes) -> list[tuple[Any, Any, Any]]:
    return [(point.variable, point.value, json.loads(bytes(point.metadata))) for point in points_of(payload, MARK)]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"variable":"t","value":1}', [("t", 1.0, {})]),
        (b'[{"variable":"t","value":1},{"variable":"u","value":"x"}]', [("t", 1.0, {}), ("u", "x", {})]),
        (b'[{"variable":"t","metadata":null}]', [("t", None, {})]),
        (b'[{"variable":"t","metadata":{}}]', [("t", None, {})]),
        (b'[{"variable":"t","metadata":{ "a" : 1 }}]', [("t", None, {"a": 1})]),
        (b'[{"variable":"t","metadata":{"a":{"topic":5},"b":2}}]', [("t", None, {"a": {"topic": 5}, "b": 2})]),
        (b'[{"variable":"t","metadata":{"topic":"own","b":2}}]', [("t", None, {"b": 2})]),
        (b'[{"variable":"t","metadata":{"\\u0074opic":"own"}}]', [("t", None, {})]),
        (b"[]", []),
        (b"21.5", [("payload", "21.5", {})]),
        (b"", [("payload", "", {})]),
        (b"hello\n", [("payload", "hello\n", {})]),
        (b'{"temperature":21}', [("payload", '{"temperature":21}', {})]),
        (b'[{"value":1},{}]', [("payload", '[{"value":1},{}]', {})]),
        (b"[1,2]", [("payload", "[1,2]", {})]),
        (b'{"variable":"t"', [("payload", '{"variable":"t"', {})]),
        (b"\x00\x01\xff", [("payload", "0001ff", {})]),
        (b"a\x07b", [("payload", "610762", {})]),
        ("é\tü".encode(), [("payload", "é\tü", {})]),
    ],
)
def test_payloads_become_the_points_they_mean(payload: bytes, expected: list[tuple[Any, Any, Any]]) -> None:
    assert items(payload) == [(variable, value, {**metadata, "topic": TOPIC}) for variable, value, metadata in expected]


@pytest.mark.parametrize("payload", [b'{"variable":5}', b'[{"variable":"t"},{"variable":"u","unit":5}]', b'[{"variable":"t"},5]'])
def test_items_of_a_wrong_type_are_refused(payload: bytes) -> None:
    with pytest.raises(InputError):
        points_of(payload, MARK)


KEYS = st.text(max_size=5) | st.just("topic")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.dictionaries(KEYS, inner, max_size=3)
)


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_metadata_keeps_what_it_has(own: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(own, ensure_ascii=ascii_only, indent=indent)
    merged = bytes(marked(msgspec.Raw(text.encode()), MARK))
    assert json.loads(merged) == {**own, "topic": TOPIC}
    assert len(json.loads(merged, object_pairs_hook=list)) == len({**own, "topic": TOPIC})  # no key twice


@given(st.binary(max_size=60))
def test_any_payload_becomes_items_or_is_refused(payload: bytes) -> None:
    try:
        assert isinstance(points_of(payload, MARK), list)
    except InputError as error:
        assert b"variable" in payload, error
