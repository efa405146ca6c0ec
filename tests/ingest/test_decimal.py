"""Decimal text to float64: the same bits as Python's float, for every length and power, and JSON's grammar alone."""

from __future__ import annotations

import re
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import QUICK, float_of_bits
from tsengine.core.ingest.decimal import parse

NONE, FOUND, HARD = 0, 1, 2
NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")

shortest = st.integers(0, 2**64 - 1).map(float_of_bits).filter(lambda number: abs(number) < float("inf")).map(repr)
written = st.builds(lambda digits, power: f"{digits}e{power}", st.integers(-(2**64), 2**64), st.integers(-350, 320))
halfway = st.builds(lambda bits, power: str((2 * bits + 1) << power), st.integers(2**52, 2**53 - 1), st.integers(0, 9))


@QUICK
@given(st.one_of(shortest, written, halfway, st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str)))
@example("9007199254740993")
@example("-0")
@example("-0.0")
@example("1e23")
@example("8.5e22")
@example("2.2250738585072014e-308")
@example("4.9e-324")
@example("1.7976931348623157e308")
@example("1e400")
@example("1e-400")
@example("1e" + "9" * 30)
@example("0." + "0" * 30 + "1")
@example("1" * 40)
def test_the_nearest_float(text: str) -> None:
    found, used, number = parse(text.encode())
    assert found != NONE
    assert used == len(text)
    if found == FOUND:
        assert struct.pack("<d", number) == struct.pack("<d", float(text)), text
    else:
        digits = sum(letter.isdigit() for letter in text.lower().partition("e")[0])
        assert digits > 19 or not 2.3e-308 < abs(float(text)) < 1.7e308


@pytest.mark.parametrize("text", ["21.5", "1790000000000", "20.534873218723489", "-7", "0", "123456789012345678", "1.5e-7"])
def test_what_bodies_hold_is_not_hard(text: str) -> None:
    assert parse(text.encode())[0] == FOUND


@QUICK
@given(st.one_of(st.binary(max_size=20), st.text("0123456789+-.eE,] ", max_size=12).map(str.encode)))
def test_the_grammar_is_that_of_json(text: bytes) -> None:
    match = NUMBER.match(text)
    found, used, _ = parse(text)
    # What follows may make the whole no number, as in `01`, `1.` and `1e`; a reader of JSON then finds no comma.
    is_whole = match is not None and not re.match(rb"[0-9.eE]", text[match.end() :])
    if is_whole:
        assert match is not None
        assert (found != NONE, used) == (True, match.end())
    elif match is None:
        assert found == NONE
