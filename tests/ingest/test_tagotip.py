"""TagoTiP: the specification's own examples, every limit from both sides, and any text either parses or is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsengine.core.ingest.points import from_points
from tsengine.errors import InputError, LimitError
from tsengine.ingest.tagotip import (
    FRAME_BYTES,
    PAIRS_MAX,
    VARIABLES_MAX,
    Passthrough,
    is_hash,
    read_counter,
    read_names,
    read_push,
    read_text,
    write_points,
)
from tsengine.types import Location, Point


def push(text: str) -> list[dict[str, Any]]:
    points = read_push(text)
    assert isinstance(points, list)
    return [
        {
            name: json.loads(bytes(value)) if name == "metadata" else value
            for name in ("variable", "value", "unit", "group", "time", "location", "metadata")
            if (value := getattr(point, name)) is not None
        }
        for point in points
    ]


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("[temperature:=32]", [{"variable": "temperature", "value": 32.0}]),
        (
            "[temperature:=32.5#C;status=online;active?=true]",
            [
                {"variable": "temperature", "value": 32.5, "unit": "C"},
                {"variable": "status", "value": "online"},
                {"variable": "active", "value": True},
            ],
        ),
        ("[temperature:=-15.3#C]", [{"variable": "temperature", "value": -15.3, "unit": "C"}]),
        ("[on?=false]", [{"variable": "on", "value": False}]),
        (
            "[altitude:=305#m;position@=39.74,-104.99,305]",
            [
                {"variable": "altitude", "value": 305.0, "unit": "m"},
                {"variable": "position", "location": {"lat": 39.74, "lng": -104.99}},
            ],
        ),
        (
            "[temperature:=32.5#C@1694567890000^reading_001{source=dht22,quality=high}]",
            [
                {
                    "variable": "temperature",
                    "value": 32.5,
                    "unit": "C",
                    "time": 1694567890000.0,
                    "group": "reading_001",
                    "metadata": {"source": "dht22", "quality": "high"},
                }
            ],
        ),
        (
            "^batch_42@1694567890000{firmware=2.1}[temp:=32#C;humidity:=65#%@1694567890001^own{firmware=3,a=b=c}]",
            [
                {
                    "variable": "temp",
                    "value": 32.0,
                    "unit": "C",
                    "time": 1694567890000.0,
                    "group": "batch_42",
                    "metadata": {"firmware": "2.1"},
                },
                {
                    "variable": "humidity",
                    "value": 65.0,
                    "unit": "%",
                    "time": 1694567890001.0,
                    "group": "own",
                    "metadata": {"firmware": "3", "a": "b=c"},
                },
            ],
        ),
        ("@1694567890000^batch_42[t:=1]", [{"variable": "t", "value": 1.0, "time": 1694567890000.0, "group": "batch_42"}]),
        (r"[s=a\|b\[\]\;\,\{\}\#\@\^\n\\c,d=e]", [{"variable": "s", "value": "a|b[];,{}#@^\n\\c,d=e"}]),
        ("[s=é{k=ü}]", [{"variable": "s", "value": "é", "metadata": {"k": "ü"}}]),
        ("[t:=1;t:=2;t:=3]", [{"variable": "t", "value": float(n)} for n in (1, 2, 3)]),
    ],
)
def test_bodies_of_the_specification(text: str, points: list[dict[str, Any]]) -> None:
    assert push(text) == points


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        "]",
        "[t]",
        "[t:=]",
        "[t=]",
        "[t:=1",
        "[t:=1;]",
        "[;t:=1]",
        "[t:=1]x",
        "x[t:=1]",
        "[T:=1]",
        "[a-b:=1]",
        "[t:=01]",
        "[t:=1.]",
        "[t:=.5]",
        "[t:=+1]",
        "[t:=1e5]",
        "[t:=NaN]",
        "[t?=True]",
        "[t?=1]",
        "[t@=1]",
        "[t@=1,2#m]",
        "[t@=1,2,3,4]",
        "[t:=1{}]",
        "{}[t:=1]",
        "[t:=1{a}]",
        "[t:=1{a=}]",
        "[t:=1{a=1]",
        "[t:=1^G]",
        "[t:=1@x]",
        "[t:=1#]",
        "[t:=1^g@1]",
        "^a^b[t:=1]",
        "@1@2[t:=1]",
        "{a=b}{c=d}[t:=1]",
        "[s=a\x01b]",
        "[s=a\nb]",
        r"[s=a\qb]",
        "[s=a|b]",
        f"[t:={'9' * 400}]",
        f"[{'n' * 101}:=1]",
        f"[t:=1#{'u' * 26}]",
        f"[t:=1#{'é' * 13}]",
        f"[t:=1^{'g' * 101}]",
        f"[{';'.join(['t:=1'] * (VARIABLES_MAX + 1))}]",
        f"[t:=1{{{','.join(f'k{n}=v' for n in range(PAIRS_MAX + 1))}}}]",
        ">",
        ">x",
        ">xA",
        ">xAG",
        ">b",
        ">b*",
        ">yAA",
    ],
)
def test_what_the_grammar_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_push(text)


def test_the_limits_themselves_are_accepted() -> None:
    assert len(push(f"[{';'.join(['t:=1'] * VARIABLES_MAX)}]")) == VARIABLES_MAX
    assert len(push(f"[t:=1{{{','.join(f'k{n}=v' for n in range(PAIRS_MAX))}}}]")[0]["metadata"]) == PAIRS_MAX
    assert push(f"[{'n' * 100}:=1#{'u' * 25}^{'g' * 100}]")[0]["unit"] == "u" * 25


def test_a_passthrough_is_hex_or_base64() -> None:
    assert read_push(">xDEADbeef01") == Passthrough("deadbeef01")
    assert read_push(">b3q2+7wECAwQ=") == Passthrough("3q2+7wECAwQ=")


def test_counters_stand_before_a_body() -> None:
    assert read_counter("!42|[t:=1]") == ("!42|", "[t:=1]")
    assert read_counter("[t:=1]") == ("", "[t:=1]")
    assert read_counter("!4294967295|") == ("!4294967295|", "")
    for wrong in ("!|x", "!01|x", "!4294967296|x", "!1", "!-1|x"):
        with pytest.raises(InputError):
            read_counter(wrong)


def test_bodies_are_text_of_a_limited_size() -> None:
    assert read_text(b"[t:=1]\n") == "[t:=1]"
    assert len(read_text(b"x" * FRAME_BYTES + b"\n")) == FRAME_BYTES
    with pytest.raises(LimitError):
        read_text(b"x" * (FRAME_BYTES + 1))
    with pytest.raises(InputError):
        read_text(b"\xff")


def test_names_of_a_pull() -> None:
    assert read_names("a,b_2") == ["a", "b_2"]
    for wrong in ("", "a,", "A", "a b", ",".join(["a"] * (VARIABLES_MAX + 1))):
        with pytest.raises(InputError):
            read_names(wrong)


def test_a_hash_has_16_hexadecimal_digits() -> None:
    assert is_hash("4deedd7bab8817ec") and is_hash("4DEEDD7BAB8817EC")
    assert not is_hash("4deedd7bab8817e") and not is_hash("4deedd7bab8817eg") and not is_hash("4deedd7bab8817ec\n")


def test_points_are_written_as_they_are_read() -> None:
    time = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
    ms = int(time.timestamp() * 1000)
    points = [
        Point("t", 32.0, time, "F"),
        Point("tiny", 1e-7, time),
        Point("whole", 12345678901234567, time),
        Point("on", True, time, None, "g_1"),
        Point("s", "a|b\n\\c\x07", time, metadata={"k": "x,y", "n": 5, "Bad-Key": 1, "list": [1, 2]}),
        Point("place", None, time, location=Location(39.5, -104.0)),
        Point("minus", -0.0, time, "bad;unit", "Bad group"),
        Point("nothing", None, time),
        Point("infinite", float("inf"), time),
        Point("empty", "", time),
    ]
    text = write_points(points)
    assert text == (
        f"[t:=32#F@{ms};tiny:=0.0000001@{ms};whole:=12345678901234567@{ms};on?=true@{ms}^g_1"
        rf";s=a\|b\n\\c@{ms}{{k=x\,y,n=5,list=\[1\,2\]}};place@=39.5,-104@{ms};minus:=0@{ms}]"
    )
    assert [item["variable"] for item in push(text)] == ["t", "tiny", "whole", "on", "s", "place", "minus"]
    assert write_points([]) == ""


@given(st.text(alphabet="[]{}|;,#@^\\:=?!<>xb0129.-azA_ é\n", max_size=60) | st.text(max_size=60))
def test_any_text_is_points_or_refused(text: str) -> None:
    try:
        points = read_push(text)
    except InputError:
        return
    if isinstance(points, list):
        try:
            assert from_points(points, 1_700_000_000_000_000, True)
        except InputError as error:
            assert "location" in str(error) or "time" in str(error)
