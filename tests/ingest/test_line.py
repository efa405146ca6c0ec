"""Line protocol: what a plain parser reads of the same lines, and for everything else a refusal that names the line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ingest import line_model
from tests.strategies import QUICK
from tsengine.core import batch
from tsengine.core.ingest.line import from_lines, split_lines
from tsengine.errors import InputError, LimitError
from tsengine.ingest.bodies import LINE_TYPE, record_of_body

NOW_US = 1_700_000_000_123_456

Point = tuple[str, Any, int, dict[str, str]]


def points_of(body: bytes, unit_ns: int = 1) -> list[Point]:
    record = from_lines(body, NOW_US, unit_ns)
    rows = batch.rows(record) if record else []
    return [(row.variable, row.value, row.time_us, json.loads(row.metadata) if row.metadata else {}) for row in rows]


def typed(points: list[Point]) -> list[Any]:
    return [(variable, type(value).__name__, repr(value), time_us, tags) for variable, value, time_us, tags in points]


names = st.text(st.sampled_from("aBé_0.-, =\\"), min_size=1, max_size=8).filter(lambda name: not name.endswith("\\") and "\\\\" not in name)
starts = names.filter(lambda name: name[0] not in "# ")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**63), 2**63 - 1).map(lambda number: f"{number}i"),
    st.integers(0, 2**63 - 1).map(lambda number: f"{number}u"),
    st.sampled_from(("t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE", "+1", "1.", ".5", "-0", "1e5", "0" * 30 + "1")),
)


def escape_name(name: str) -> str:
    for letter in ",= ":
        name = name.replace(letter, "\\" + letter)
    return name


def quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


lines = st.builds(
    lambda measurement, tags, fields, time: (
        escape_name(measurement)
        + "".join(f",{escape_name(key)}={escape_name(value)}" for key, value in tags.items())
        + " "
        + ",".join(f"{escape_name(key)}={value}" for key, value in fields)
        + ("" if time is None else f" {time}")
    ),
    starts,
    st.dictionaries(names, names, max_size=3),
    st.lists(st.tuples(st.one_of(st.just("value"), names), st.one_of(numbers, texts.map(quote))), min_size=1, max_size=4),
    st.one_of(st.none(), st.integers(-(10**18), 10**18)),
)


@QUICK
@given(st.lists(lines, max_size=8), st.sampled_from(["\n", "\r\n", "\n\n", "\n# a comment, x=1\n", "\n  \n "]))
def test_lines_are_what_a_plain_parser_reads(given_lines: list[str], between: str) -> None:
    expected = [point for line in given_lines for point in line_model.points_of(line, NOW_US)]
    assert typed(points_of(between.join(given_lines).encode())) == typed(expected)


@QUICK
@given(st.lists(st.tuples(lines, st.sampled_from(["a", "b", "ü"])), max_size=8))
def test_lines_are_split_by_device(given_lines: list[tuple[str, str]]) -> None:
    marked = []
    for line, device in given_lines:
        measurement, rest = line_parts(line)
        marked.append((f"{measurement},device={device}{rest}", device))
    found = split_lines("\n".join(line for line, _ in marked).encode(), 1)
    expected: dict[str, list[str]] = {}
    for line, device in marked:
        expected.setdefault(device, []).append(line)
    assert found == {device: "\n".join(own).encode() for device, own in expected.items()}


def line_parts(line: str) -> tuple[str, str]:
    match = line_model.LINE.fullmatch(line)
    assert match is not None
    return match["measurement"], line[match.end("measurement") :]


def test_lines_of_an_example_are_read() -> None:
    body = rb"""# telegraf
cpu,host=a\ b,cpu=cpu0 usage-idle=90.5,n=5i,s="he said \"x\" \\ , = ok",b=t 1700000000000000999
Weather,station=x value=1.5
"""
    tags = {"host": "a b", "cpu": "cpu0"}
    assert points_of(body) == [
        ("cpu_usage_idle", 90.5, 1_700_000_000_000_000, tags),
        ("cpu_n", 5, 1_700_000_000_000_000, tags),
        ("cpu_s", 'he said "x" \\ , = ok', 1_700_000_000_000_000, tags),
        ("cpu_b", True, 1_700_000_000_000_000, tags),
        ("weather", 1.5, NOW_US, {"station": "x"}),
    ]


@pytest.mark.parametrize(
    ("precision", "time"), [("ns", 10**18), ("us", 10**15), ("u", 10**15), ("ms", 10**12), ("s", 10**9), ("n", 10**18)]
)
def test_a_precision_says_the_unit_of_times(precision: str, time: int) -> None:
    record = record_of_body(f"a value=1 {time}".encode(), f"{LINE_TYPE}; precision={precision}", NOW_US)
    assert [row.time_us for row in batch.rows(record)] == [10**15]


def test_long_units_and_unknown_ones() -> None:
    assert [point[2] for point in points_of(b"a value=1 2", 60 * 10**9)] == [120_000_000]
    assert [point[2] for point in points_of(b"a value=1 -1")] == [-1]
    with pytest.raises(InputError, match="precision must be one of ns, n, us"):
        record_of_body(b"a value=1", f"{LINE_TYPE}; precision=days", NOW_US)


REFUSED: list[tuple[bytes, str]] = [
    (b"a", "missing fields"),
    (b"a ", "missing fields"),
    (b"a,b=c", "missing fields"),
    (b",b=c v=1", "missing measurement"),
    (b"a,b v=1", "missing tag value for 'b'"),
    (b"a,b= v=1", "missing tag value for 'b'"),
    (b"a,b=c=d v=1", "missing tag value for 'b'"),
    (b"a,=c v=1", "missing tag key"),
    (b"a, v=1", "missing tag key"),
    (b"a,b=c, v=1", "missing tag key"),
    (b"a,b=c,b=d v=1", "duplicate tag 'b'"),
    (b"a,b=\xff v=1", "tags must be UTF-8"),
    (b"a,b=" + b"x" * 10_240 + b" v=1", "metadata must have at most 10240 bytes"),
    (b"\xff v=1", "measurement and field keys must be UTF-8"),
    (b"a" * 101 + b" value=1", "variable must have at most 100 characters"),
    (b"a" * 2_000 + b" v=1", "more than 100 characters"),
    (b"a v", "missing field value"),
    (b"a v=", "missing field value"),
    (b"a v= 1", "missing field value"),
    (b"a =1", "missing field key"),
    (b"a v=1,", "missing field value"),
    (b"a v=1,,w=2", "missing field value"),
    (b"a v=x", "invalid value 'x'; text goes in quotes"),
    (b"a v=nan", "invalid value"),
    (b"a v=1e999", "invalid value"),
    (b"a v=--1", "invalid value"),
    (b"a v=1_0", "invalid value"),
    (b"a v=-1u", "invalid value"),
    (b"a v=i", "invalid value"),
    (b"a v=-i", "invalid value"),
    (b"a v=9223372036854775808i", "outside the range of int64"),
    (b"a v=18446744073709551615u", "outside the range of int64"),
    (b"a v=" + b"9" * 10_000 + b"i", "outside the range of int64"),
    (b'a v="x', "unbalanced quotes"),
    (b'a v="x\\"', "unbalanced quotes"),
    (b'a v="x"y', "must be followed by a comma, a space or the end"),
    (b"a v=1\rb v=2", "must be followed by a comma, a space or the end"),
    (b'a v="\xff"', "value must be UTF-8"),
    (b'a v="' + b"x" * 6_145 + b'"', "value must have at most 6144 bytes of text"),
    (b"a v=1 x", "bad timestamp"),
    (b"a v=1 1.5", "bad timestamp"),
    (b"a v=1 1 1", "bad timestamp"),
    (b"a v=1 -", "bad timestamp"),
    (b"a v=1 " + b"9" * 30, "time must lie in the years 1 to 9999"),
]


@pytest.mark.parametrize(("line", "problem"), REFUSED, ids=lambda part: ascii(part)[:40])
def test_a_wrong_line_is_refused_and_named(line: bytes, problem: str) -> None:
    for body in (
        b'ok v=1,w="two\nlines"\n\n' + line,
        b'ok v=1,w="two\nlines"\n\n' + line + b"\n" if b'"' not in line else b"\n\n\n" + line,
    ):
        with pytest.raises(InputError) as caught:
            from_lines(body, NOW_US, 1)
        assert str(caught.value).startswith("line 4: ")
        assert problem in str(caught.value)
        assert caught.value.index == 3


def test_times_outside_of_the_years_are_refused() -> None:
    with pytest.raises(InputError, match="does the precision fit"):
        from_lines(b"a v=1 1700000000000000000", NOW_US, 10**9)


def test_lines_without_a_device_are_refused_when_it_is_asked_for() -> None:
    for body in (b"a,device=x v=1\na v=1", b"a,device=x v=1\na,b=c v=1"):
        with pytest.raises(InputError, match="line 2: the tag `device` is missing"):
            split_lines(body, 1)


def test_no_points_and_too_many() -> None:
    assert from_lines(b"", NOW_US, 1) == from_lines(b"\n# nothing\n", NOW_US, 1) == b""
    body = b"a " + b",".join([b"v=1"] * 1_048_576)
    assert batch.count_of(from_lines(body, NOW_US, 1)) == 1_048_576
    with pytest.raises(LimitError, match="at most 1048576"):
        from_lines(body + b",v=1", NOW_US, 1)


EXAMPLE = rb"""cpu,host=a\ b,cpu=cpu0 usage=90.5,n=5i,s="he \"x\" \\",b=t 1700000000000000999
weather,station=x value=-1.5e3 1700000000000000000"""


def test_a_body_cut_anywhere_is_refused_or_has_fewer_points() -> None:
    whole = points_of(EXAMPLE)
    for end in range(len(EXAMPLE)):
        try:
            found = points_of(EXAMPLE[:end])
        except InputError:
            continue
        assert len(found) <= len(whole)
        assert all(variable.startswith(("cpu_", "weather")) for variable, *_ in found)


@QUICK
@given(st.data())
def test_any_bytes_are_refused_or_read(data: st.DataObject) -> None:
    body = bytearray(EXAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    odd = data.draw(
        st.lists(st.sampled_from([b"a", b",", b"=", b" ", b"\\", b'"', b"\n", b"\r", b"1", b"i", b"-", b".", b"#", b"\xff"]), max_size=30)
    )
    for anything in (bytes(body), data.draw(st.binary(max_size=60)), b"".join(odd)):
        for read in (lambda text: from_lines(text, NOW_US, 1), lambda text: split_lines(text, 1)):
            try:
                read(anything)
            except InputError:
                continue
