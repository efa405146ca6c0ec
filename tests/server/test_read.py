"""Reading data: contract section 4. Both kinds of device answer alike but for `ids`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.server.server_process import Made, Server, iso, minutes_ago

BASE = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)


def at(minutes: float) -> str:
    return iso(BASE + timedelta(minutes=minutes))


@pytest.fixture
def filled(server: Server, any_device: Made) -> Made:
    """30 points of `a` (values 0 to 29), 10 of `b`, 5 of `c` (text, boolean, nothing), in one request each."""
    server.send(any_device, *({"variable": "a", "value": n, "time": at(n), "group": f"g{n % 3}"} for n in range(30)))
    server.send(any_device, *({"variable": "b", "value": n * 1.5, "time": at(n + 0.5), "unit": "C"} for n in range(10)))
    server.send(
        any_device,
        {"variable": "c", "value": "text", "time": at(1)},
        {"variable": "c", "value": True, "time": at(2)},
        {"variable": "c", "value": "2", "time": at(3)},
        {"variable": "c", "time": at(4), "location": {"lat": 1, "lng": 2}},
        {"variable": "c", "value": -7.5, "time": at(0)},
    )
    return any_device


def values(rows: list[dict[str, Any]]) -> list[Any]:
    return [row.get("value") for row in rows]


def test_the_default_is_the_newest_15_over_all_variables(server: Server, filled: Made) -> None:
    rows = server.read(filled)
    assert values(rows) == list(range(29, 14, -1))
    assert rows == server.read(filled, {"query": "default"}) == server.read(filled, {"query": "defaultQ"})
    mixed = server.read(filled, {"qty": 1000})
    assert len(mixed) == 45
    assert [row["time"] for row in mixed] == sorted((row["time"] for row in mixed), reverse=True)


@pytest.mark.parametrize(
    "query",
    [
        "variables=b&variables=a",
        "variables[0]=b&variables[1]=a",
        "variables%5B0%5D=b&variables%5B1%5D=a",
        "variables[]=b&variables[]=a",
        "variable[]=B&variable[]=A",
        "variable=b&variable=a",
    ],
)
def test_quantity_is_per_variable_in_the_order_asked(server: Server, filled: Made, query: str) -> None:
    rows = server.read(filled, query + "&qty=2")
    assert [row["variable"] for row in rows] == ["b", "b", "a", "a"]
    assert values(rows) == [13.5, 12, 29, 28]
    assert values(server.read(filled, query + "&qty=2&skip=1")) == [12, 10.5, 28, 27]
    assert values(server.read(filled, query + "&qty=1&ordination=ascending")) == [0, 0]


def test_a_single_variable(server: Server, filled: Made) -> None:
    assert values(server.read(filled, "variables=a")) == list(range(29, 14, -1))
    assert values(server.read(filled, "variable=A&qty=1")) == [29]
    assert server.read(filled, "variable=nothing") == []
    assert server.read(filled, "variable=a,b") == []
    assert values(server.read(filled, "variables=a&variables=A&qty=1")) == [29]


def test_a_thousand_variables_share_10000_rows(server: Server, device: Made) -> None:
    server.send(device, *({"variable": f"v{n % 3}", "value": n} for n in range(12_000)))
    query = [("variables", f"v{n}") for n in range(3)] + [("qty", 10_000)]
    rows = server.read(device, query)
    assert [sum(row["variable"] == f"v{n}" for row in rows) for n in range(3)] == [3333] * 3


@pytest.mark.parametrize("order", ["ascending", "descending", "ASC", "desc"])
@pytest.mark.parametrize("variables", [None, ["a"]])
def test_paging_never_repeats_or_loses_a_row(server: Server, any_device: Made, order: str, variables: list[str] | None) -> None:
    moment = at(0)
    server.send(any_device, *({"variable": "a", "value": n, "time": moment if n % 3 else at(n)} for n in range(100)))
    server.send(any_device, *({"variable": "b" if variables is None else "a", "value": n, "time": moment} for n in range(100, 150)))
    pages: list[Any] = []
    query = {"qty": 7, "ordination": order, **({"variables": variables} if variables else {})}
    while page := server.read(any_device, {**query, "skip": len(pages)}):
        pages += page
    assert pages == server.read(any_device, {**query, "qty": 1000})
    assert sorted(values(pages)) == list(range(150))
    assert [row["time"] for row in pages] == sorted((row["time"] for row in pages), reverse=order.lower().startswith("d"))


def test_quantity_zero_is_empty(server: Server, filled: Made) -> None:
    assert server.read(filled, "qty=0") == []
    assert server.read(filled, "qty=0&variables=a") == []


@pytest.mark.parametrize(
    "query", ["qty=10001", "qty=-1", "qty=many", "skip=-1", "skip=x", "ordination=sideways", "query=latest", "timezone=Nowhere"]
)
def test_a_wrong_parameter_is_refused_and_named(server: Server, filled: Made, query: str) -> None:
    reply = server.call("GET", "/data", filled.token, query=query)
    assert reply.refusal == (400, "Error on Query String parameters")
    assert list(reply.body["field_errors"]) == [query.split("=")[0]]


def test_booleans_are_asked_for_as_both_sdks_write_them(server: Server, device: Made) -> None:
    server.send(device, *({"variable": "a", "value": value} for value in (True, False, "True")))
    assert values(server.read(device, "values=true")) == [True]
    assert values(server.read(device, "values=True")) == ["True", True]
    assert values(server.read(device, "values=False&values=1")) == [False]


def test_unknown_parameters_are_ignored(server: Server, filled: Made) -> None:
    assert len(server.read(filled, "colour=red&origins=x&sort[0]=1")) == 15


def test_dates_are_inclusive_at_both_ends(server: Server, filled: Made) -> None:
    rows = server.read(filled, {"variables": "a", "start_date": at(5), "end_date": at(8), "ordination": "asc"})
    assert values(rows) == [5, 6, 7, 8]
    assert values(server.read(filled, {"variables": "a", "start_date": at(29)})) == [29]
    assert values(server.read(filled, {"variables": "a", "end_date": at(0)})) == [0]
    assert server.read(filled, {"start_date": at(8), "end_date": at(5)}) == []


def test_dates_are_read_as_the_sdks_write_them(server: Server, filled: Made) -> None:
    start = BASE + timedelta(minutes=27)
    for text in (
        iso(start),
        str(start),
        str(start).removesuffix("+00:00"),
        start.isoformat(),
        str(int(start.timestamp())),
        str(int(start.timestamp()) * 1000),
    ):
        assert values(server.read(filled, {"variables": "a", "start_date": text, "ordination": "asc"})) == [27, 28, 29], text
    assert values(server.read(filled, f"variables=a&start_date={start.isoformat()}&ordination=asc")) == [27, 28, 29]  # + not encoded
    local = start + timedelta(hours=5, minutes=30)
    query = {"variables": "a", "start_date": f"{local:%Y-%m-%d %H:%M:%S}", "timezone": "Asia/Kolkata", "ordination": "asc"}
    assert values(server.read(filled, query)) == [27, 28, 29]


def test_relative_dates_count_back_from_now(server: Server, any_device: Made) -> None:
    server.send(any_device, {"variable": "old", "time": minutes_ago(90)}, {"variable": "new", "time": minutes_ago(10)})
    for span in ("1 hour", "60 minutes", "1h", "60 m", "3600 s"):
        assert [row["variable"] for row in server.read(any_device, {"start_date": span})] == ["new"]
        assert [row["variable"] for row in server.read(any_device, {"end_date": span})] == ["old"]


def test_a_date_alone_means_its_whole_day(server: Server, device: Made) -> None:
    server.send(device, *({"variable": "a", "value": n, "time": f"2024-05-0{n}T23:59:59.999Z"} for n in (5, 6, 7)))
    assert values(server.read(device, {"start_date": "2024-05-06", "end_date": "2024-05-06"})) == [6]
    assert values(server.read(device, {"end_date": "2024-05-06"})) == [6, 5]


@pytest.mark.parametrize("name", ["start", "end"])
def test_an_unreadable_date_is_refused(server: Server, filled: Made, name: str) -> None:
    for text in ("last tuesday", "2024-13-01", "1 fortnight"):
        assert server.call("GET", "/data", filled.token, query={f"{name}_date": text}).refusal == (400, f"Invalid {name} date")


def test_filters_on_groups_and_values(server: Server, filled: Made) -> None:
    for name in ("groups", "group", "series", "serie"):
        assert values(server.read(filled, {name: ["g1"], "qty": 3})) == [28, 25, 22]
    assert values(server.read(filled, "groups[0]=g1&groups[1]=g2&qty=4&ordination=asc")) == [1, 2, 4, 5]
    assert values(server.read(filled, {"values": ["2"], "variables": ["a", "b", "c"]})) == [2, "2"]
    assert values(server.read(filled, {"value": "text"})) == ["text"]
    assert values(server.read(filled, {"values": "true"})) == [True]
    assert values(server.read(filled, {"values": ["-7.5", "13.5"], "ordination": "asc"})) == [-7.5, 13.5]
    assert server.read(filled, {"query": "count", "groups": "g0"}) == 10
    assert server.read(filled, {"groups": "unknown"}) == []


def test_ids_are_for_mutable_devices(server: Server) -> None:
    mutable, immutable = server.make("mutable"), server.make("immutable")
    for made in (mutable, immutable):
        server.send(made, *({"variable": "a", "value": n} for n in range(5)))
    rows = server.read(mutable)
    for spelling in ({"ids": [rows[0]["id"], rows[3]["id"]]}, {"id": [rows[3]["id"].upper(), rows[0]["id"]]}):
        assert server.read(mutable, spelling) == [rows[0], rows[3]]
    assert server.read(mutable, {"ids": "nonsense"}) == []
    foreign = server.read(immutable)[0]["id"]
    assert server.read(mutable, {"ids": foreign}) == []
    assert server.read(mutable, {"ids": foreign, "query": "count"}) == 0
    refusal = (400, "Filter using ID(s) is not supported on Immutable Storage Type")
    assert server.call("GET", "/data", immutable.token, query={"ids": foreign}).refusal == refusal


def test_details_add_created_at(server: Server, filled: Made) -> None:
    for spelling in ("details=true", "details=True", "detail=true"):
        (row,) = server.read(filled, spelling + "&qty=1")
        assert abs(datetime.fromisoformat(row["created_at"]) - datetime.now(UTC)) < timedelta(minutes=5)
    assert "created_at" not in server.read(filled, "details=false&qty=1")[0]


def by_variable(rows: list[dict[str, Any]]) -> dict[str, Any]:
    assert len({row["variable"] for row in rows}) == len(rows)
    return {row["variable"]: row.get("value") for row in rows}


def test_the_last_and_first_of_each_variable(server: Server, filled: Made) -> None:
    assert by_variable(server.read(filled, "query=last_item")) == {"a": 29, "b": 13.5, "c": None}
    assert by_variable(server.read(filled, "query=first_item")) == {"a": 0, "b": 0, "c": -7.5}
    assert by_variable(server.read(filled, "query=last_value")) == {"a": 29, "b": 13.5, "c": "2"}
    assert by_variable(server.read(filled, "query=first_value")) == {"a": 0, "b": 0, "c": -7.5}
    assert by_variable(server.read(filled, "query=last_location")) == {"c": None}
    assert by_variable(server.read(filled, "query=first_location")) == {"c": None}
    assert by_variable(server.read(filled, "query=last_insert")) == {"a": 29, "b": 13.5, "c": -7.5}
    assert by_variable(server.read(filled, "query=first_insert")) == {"a": 0, "b": 0, "c": "text"}


def test_last_item_of_asked_variables_comes_in_their_order(server: Server, filled: Made) -> None:
    rows = server.read(filled, "query=last_item&variables=c&variables=nothing&variables=a")
    assert [row["variable"] for row in rows] == ["c", "a"]
    rows = server.read(filled, {"query": "last_item", "variables": "a", "end_date": at(10)})
    assert values(rows) == [10]
    assert values(server.read(filled, {"query": "last_item", "variables": "a", "groups": "g1"})) == [28]


def test_a_count_is_that_of_the_points(server: Server, filled: Made) -> None:
    assert server.read(filled, "query=count") == 45
    assert server.read(filled, "query=count&variables=a&variables=c") == 35
    assert server.read(filled, {"query": "count", "variables": "a", "start_date": at(10), "end_date": at(19)}) == 10
    assert server.read(filled, "query=count&variables=nothing") == 0


def test_min_and_max_give_rows(server: Server, filled: Made) -> None:
    assert by_variable(server.read(filled, "query=min")) == {"a": 0, "b": 0, "c": -7.5}
    assert by_variable(server.read(filled, "query=max")) == {"a": 29, "b": 13.5, "c": -7.5}
    (row,) = server.read(filled, {"query": "max", "variables": "a", "end_date": at(12)})
    assert (row["value"], row["time"]) == (12, at(12))
    (row,) = server.read(filled, {"query": "max", "variables": "a", "groups": "g0"})
    assert row["value"] == 27


def test_of_equal_extremes_the_earliest_is_given(server: Server, any_device: Made) -> None:
    server.send(any_device, *({"variable": "a", "value": n % 5, "time": at(n)} for n in range(20)))
    assert server.read(any_device, "query=max")[0]["time"] == at(4)
    assert server.read(any_device, "query=min")[0]["time"] == at(0)


def test_avg_and_sum(server: Server, filled: Made) -> None:
    query = {"start_date": "7 days", "variables": "a"}
    assert server.read(filled, {**query, "query": "avg"}) == 14.5
    assert json.dumps(server.read(filled, {**query, "query": "sum"})) == "435"
    assert server.read(filled, {"query": "sum", "start_date": "7 days"}) == 435 + 67.5 - 7.5
    assert server.read(filled, {**query, "query": "sum", "groups": "g1"}) == sum(range(1, 30, 3))
    assert server.read(filled, {**query, "query": "avg", "values": ["1", "2"]}) == 1.5
    for name in ("avg", "sum"):
        assert server.read(filled, {"query": name, "start_date": "7 days", "variables": "nothing"}) == 0
        assert server.call("GET", "/data", filled.token, query={"query": name}).refusal == (400, "start_date field is required")
        reply = server.call("GET", "/data", filled.token, query={"query": name, "start_date": "40 days"})
        assert reply.refusal == (400, f"The maximum range for {name} is 1 month between start_end and end_date")
        assert server.call("GET", "/data", filled.token, query={"query": name, "start_date": "1 month"}).status == 200


def test_a_condition_leaves_the_points_that_meet_it(server: Server, filled: Made) -> None:
    query: dict[str, Any] = {"query": "conditional", "start_date": "7 days", "variables": "a", "value": 25, "ordination": "asc"}
    for function, expected in (
        ("gt", [26, 27, 28, 29]),
        ("gte", [25, 26, 27, 28, 29]),
        ("eq", [25]),
        ("lt", list(range(15))),
        ("lte", list(range(15))),
        ("ne", list(range(15))),
    ):
        assert values(server.read(filled, {**query, "function": function})) == expected
    assert values(server.read(filled, {**query, "function": "gt", "qty": 2, "skip": 1})) == [27, 28]
    assert values(server.read(filled, {**query, "function": "ne", "variables": "c"})) == [-7.5]
    refused = {name: value for name, value in query.items() if name != "start_date"}
    assert server.call("GET", "/data", filled.token, query={**refused, "function": "gt"}).refusal == (400, "start_date field is required")
    for wrong in ({**query, "function": "avg"}, query, {**query, "function": "gt", "value": "much"}):
        assert server.call("GET", "/data", filled.token, query=wrong).refusal == (400, "Error on Query String parameters")


def test_an_aggregate_has_its_buckets(server: Server, device: Made) -> None:
    for minute, value in ((0, 1), (30, 2), (60, 10), (61, 20), (24 * 60, 100)):
        server.send(device, {"variable": "t", "value": value, "time": iso(datetime(2024, 5, 6, 7, tzinfo=UTC) + timedelta(minutes=minute))})
    server.send(
        device,
        {"variable": "t", "value": "text", "time": "2024-05-06T07:10:00Z"},
        {"variable": "u", "value": 7.5, "time": "2024-05-06T08:20:00Z"},
    )
    query = {"query": "aggregate", "interval": "hour", "function": "avg", "variables": "t"}
    assert server.read(device, query) == [
        {"time": "2024-05-07T07:00:00.000Z", "value": 100, "variable": "t"},
        {"time": "2024-05-06T08:00:00.000Z", "value": 15, "variable": "t"},
        {"time": "2024-05-06T07:00:00.000Z", "value": 1.5, "variable": "t"},
    ]
    assert [row["value"] for row in server.read(device, {**query, "ordination": "asc", "function": "max"})] == [2, 20, 100]
    assert [row["value"] for row in server.read(device, {**query, "qty": 1, "skip": 1, "function": "sum"})] == [30]
    for interval, start in (
        ("minute", "2024-05-07T07:00"),
        ("day", "2024-05-07T00:00"),
        ("month", "2024-05-01T00:00"),
        ("quarter", "2024-04-01T00:00"),
        ("year", "2024-01-01T00:00"),
    ):
        row = server.read(device, {**query, "interval": interval, "function": "max"})[0]
        assert (row["time"], row["value"]) == (start + ":00.000Z", 100)
    everything = server.read(
        device, {"query": "aggregate", "interval": "day", "function": "min", "start_date": "2024-05-06", "end_date": "2024-05-06"}
    )
    assert sorted((row["variable"], row["value"]) for row in everything) == [("t", 1), ("u", 7.5)]
    filtered = server.read(device, {**query, "values": ["1", "20"], "function": "sum"})
    assert [row["value"] for row in filtered] == [20, 1]
    for wrong in ({**query, "interval": "fortnight"}, {**query, "function": "gt"}, {"query": "aggregate"}):
        assert server.call("GET", "/data", device.token, query=wrong).refusal == (400, "Error on Query String parameters")


def test_the_python_sdk_gets_numbers_as_rows(server: Server, filled: Made) -> None:
    agent = {"User-Agent": "TagoIO-SDK|Python|5.1.8 (External; Python/3.11.7 Linux)"}
    for query, number in (("query=count", 45), ("query=avg&start_date=7 days&variables=a".replace(" ", "%20"), 14.5)):
        for path, token in (("/data", filled.token), (f"/device/{filled.id}/data", server.account)):
            (row,) = server.call("GET", path, token, query=query, headers=agent).result
            assert set(row) == {"time", "value"} and row["value"] == number
            assert server.call("GET", path, token, query=query, headers={"User-Agent": "TagoIO-SDK|JS|12.2.9 (Node)"}).result == number


def test_both_routes_answer_alike(server: Server, filled: Made) -> None:
    for query in ("", "variables=a&variables=b&qty=2", "query=last_item", "query=count", "qty=3&skip=2&details=true"):
        assert server.call("GET", f"/device/{filled.id}/data", server.account, query=query).result == server.read(filled, query)


def test_devices_do_not_see_each_other(server: Server, filled: Made) -> None:
    other = server.make("immutable")
    assert server.read(other, "query=count") == 0
    assert server.read(other, "query=last_item") == []
