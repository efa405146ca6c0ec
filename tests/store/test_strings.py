"""String tables: distinct strings keep their numbers, whatever their bytes and however many there are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import QUICK
from tsengine.core.codec.strings import StringTable


@given(st.lists(st.binary(max_size=30)))
@QUICK
def test_numbers_are_those_of_first_use(strings: list[bytes]) -> None:
    table = StringTable()
    known: dict[bytes, int] = {}
    for string in strings:
        assert table.put(string) == known.setdefault(string, len(known))
    assert len(table) == table.count == len(known)
    assert [table[number] for number in range(len(table))] == list(known)
    assert table.text_bytes == sum(map(len, known))


def test_the_empty_string_may_come_first() -> None:
    """A device that sent an empty text as its first value could not be read back."""
    table = StringTable()
    assert table.put(b"") == 0
    assert table.put(b"") == 0
    assert table[0] == b""


def test_many_strings_keep_their_numbers() -> None:
    generator = random.Random(1)
    table = StringTable()
    strings = [generator.randbytes(generator.randrange(20)) + number.to_bytes(4, "little") for number in range(50_000)]
    assert [table.put(string) for string in strings] == list(range(50_000))
    assert [table.put(string) for string in strings] == list(range(50_000))
    assert [table[number] for number in range(50_000)] == strings


def test_strings_that_differ_in_their_last_bytes_only() -> None:
    table = StringTable()
    strings = [b"\0" * length for length in range(40)] + [b"12345678" + bytes([tail]) for tail in range(256)] + [bytes(10_240)]
    assert [table.put(string) for string in strings] == list(range(len(strings)))


def test_an_unknown_number_is_an_index_error() -> None:
    table = StringTable()
    table.put(b"a")
    for number in (1, -1, 2**31):
        with pytest.raises(IndexError):
            table[number]
