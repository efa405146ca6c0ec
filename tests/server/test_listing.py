"""Query strings in all spellings, and the wildcard of names and tags."""

from __future__ import annotations

import pytest

from tsengine.server.envelope import Refusal
from tsengine.server.routes.listing import wildcard_fits
from tsengine.server.routes.queries import Arguments, parse_query


@pytest.mark.parametrize(
    "query",
    [
        "variables=a&variables=b",
        "variables[0]=a&variables[1]=b",
        "variables%5B1%5D=b&variables%5B0%5D=a",
        "variables[]=a&variables[]=b",
        "variable[]=A&variable[]=b",
        "variable=a&variable=B",
        "variables=a&variables=b&variables=a",
    ],
)
def test_an_array_may_be_spelled_in_every_known_way(query: str) -> None:
    assert parse_query(query, 0).variables == ["a", "b"]


def test_a_comma_does_not_split() -> None:
    assert parse_query("groups=a,b", 0).groups == ["a,b"]


def test_nested_names_keep_their_path() -> None:
    nested = Arguments("filter[tags][0][key]=a&filter%5Bname%5D=x*&filter[id][]=1&filter[id][]=2").nested
    assert nested == {("filter", "tags", "0", "key"): ["a"], ("filter", "name"): ["x*"], ("filter", "id", ""): ["1", "2"]}


@pytest.mark.parametrize(
    "query", ["qty=10001", "qty=-1", "qty=ten", "skip=-1", "ordination=up", "query=newest", "timezone=Mars/Base", "timezone=../x"]
)
def test_a_wrong_parameter_is_named(query: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_query(query, 0)
    assert (caught.value.status, str(caught.value)) == (400, "Error on Query String parameters")
    assert list(caught.value.field_errors or {}) == [query.split("=")[0]]


@pytest.mark.parametrize("word", ["ascending", "asc", "ASC", "Ascending"])
def test_ordination_knows_both_vocabularies(word: str) -> None:
    assert parse_query(f"ordination={word}", 0).order == "asc"


@pytest.mark.parametrize(
    "query", ["unknown=1&also[0]=2&[]=3&a[[b]=4&=5&&%ff=6", "details=True", "details=true", "variables[99999999999999999999]=a"]
)
def test_strange_pairs_do_no_harm(query: str) -> None:
    parse_query(query, 0)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("Pump", "pump", True),
        ("pump", "pump 1", False),
        ("pump*", "Pump 1", True),
        ("*1", "pump 1", True),
        ("*u*p*", "pump 1", True),
        ("p*p", "p", False),
        ("*", "", True),
        ("a*b*c", "axxbxxc", True),
        ("a*b*c", "axxcxxb", False),
        ("a.c", "abc", False),
        ("*a" * 30 + "b", "a" * 100, False),
    ],
)
def test_a_star_is_any_run(pattern: str, text: str, expected: bool) -> None:
    assert wildcard_fits(pattern, text) is expected
