"""Managing devices, their amount of data and their chunks: contract sections 6.1 to 6.6, 6.9 and 14."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.server.server_process import Made, Server, iso

BODY_ERROR = (400, "Error on Body parameters")


def create(server: Server, **fields: Any) -> Any:
    return server.call("POST", "/device", server.account, {"name": "device", **fields})


def info(server: Server, device: Made) -> Any:
    return server.call("GET", f"/device/{device.id}", server.account).result


def test_a_created_device_has_a_default_token(server: Server) -> None:
    reply = create(server)
    assert reply.status == 201
    result = reply.result
    assert set(result) == {"device_id", "bucket_id", "token"}
    assert result["bucket_id"] == result["device_id"] and len(result["device_id"]) == 24
    (token,) = server.call("GET", f"/device/token/{result['device_id']}", server.account).result
    assert token == {"name": "Default", "token": result["token"], "permission": "full"}
    assert server.call("POST", "/data", result["token"], {"variable": "a"}).result == "1 Data Added"


def test_everything_given_is_shown(server: Server) -> None:
    tags = [{"key": "site", "value": "north"}, {"key": "site", "value": "south"}]
    made = server.make(
        "immutable",
        name="Pump 7",
        chunk_period="week",
        chunk_retention="5",
        description="text",
        active=False,
        visible=False,
        tags=tags,
        connector="62333bd36977fc001a2990c8",
        network="62336c32ab6e0d0012e06c04",
        serie_number="S-7",
        connector_parse=True,
        parse_function="cGF5bG9hZA==",
        configuration_params=[{"key": "interval", "value": 600}, {"key": "on", "value": True, "sent": True}],
    )
    shown = info(server, made)
    expected = {
        "id": made.id,
        "name": "Pump 7",
        "bucket": {"id": made.id, "name": "Pump 7"},
        "type": "immutable",
        "chunk_period": "week",
        "chunk_retention": 5,
        "data_retention": "5 week",
        "description": "text",
        "active": False,
        "visible": False,
        "tags": tags,
        "connector": "62333bd36977fc001a2990c8",
        "network": "62336c32ab6e0d0012e06c04",
        "serie_number": "S-7",
        "payload_decoder": "cGF5bG9hZA==",
        "last_input": None,
        "last_output": None,
        "inspected_at": None,
        "last_retention": None,
        "rpm": None,
    }
    assert {name: shown[name] for name in expected} == expected
    assert [{**parameter, "id": ""} for parameter in shown["configuration_params"]] == [
        {"id": "", "key": "interval", "value": "600", "sent": False},
        {"id": "", "key": "on", "value": "true", "sent": True},
    ]
    assert abs(datetime.fromisoformat(shown["created_at"]) - datetime.now(UTC)) < timedelta(minutes=5)
    own = server.call("GET", "/info", made.token).result
    assert {name: value for name, value in shown.items() if name != "bucket"} == own


def test_defaults_of_a_new_device(server: Server) -> None:
    shown = info(server, server.make())
    expected = {"type": "mutable", "active": True, "visible": True, "tags": [], "description": None, "data_retention": "forever"}
    assert {name: shown[name] for name in expected} == expected
    assert "chunk_period" not in shown and "chunk_retention" not in shown


def test_the_account_has_an_info_too(server: Server) -> None:
    shown = server.call("GET", "/info", server.account).result
    assert shown == {
        "name": "Account",
        "type": "profile",
        "permission": "full",
        "expire_time": "never",
        "ref_id": "0" * 23 + "1",
        "created_at": None,
    }


def test_last_input_is_set_by_data(server: Server, any_device: Made) -> None:
    assert info(server, any_device)["last_input"] is None
    server.send(any_device, {"variable": "a", "time": iso(datetime.now(UTC) - timedelta(minutes=10))})
    last_input = datetime.fromisoformat(info(server, any_device)["last_input"])
    assert abs(last_input - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "ab"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": 5}, "name"),
        ({"name": None}, "name"),
        ({"type": "quantum"}, "type"),
        ({"type": "immutable"}, "chunk_period"),
        ({"type": "immutable", "chunk_period": "month"}, "chunk_retention"),
        ({"type": "immutable", "chunk_period": "year", "chunk_retention": 1}, "chunk_period"),
        ({"type": "immutable", "chunk_period": "day", "chunk_retention": 32}, "chunk_retention"),
        ({"type": "immutable", "chunk_period": "week", "chunk_retention": 27}, "chunk_retention"),
        ({"type": "immutable", "chunk_period": "month", "chunk_retention": 37}, "chunk_retention"),
        ({"type": "immutable", "chunk_period": "quarter", "chunk_retention": 37}, "chunk_retention"),
        ({"type": "immutable", "chunk_period": "month", "chunk_retention": -1}, "chunk_retention"),
        ({"type": "immutable", "chunk_period": "month", "chunk_retention": 1.5}, "chunk_retention"),
        ({"tags": [{"key": "k", "value": "v"}] * 31}, "tags"),
        ({"tags": [{"key": "k"}]}, "tags[0].value"),
        ({"active": "yes"}, "active"),
        ({"configuration_params": [{"value": "v"}]}, "key"),
        ({"configuration_params": [{"key": "k", "value": {}}]}, "configuration_params[0].value"),
    ],
)
def test_a_wrong_field_is_refused_and_named(server: Server, fields: dict[str, Any], field: str) -> None:
    before = len(server.call("GET", "/device", server.account, query="amount=10000").result)
    reply = create(server, **fields)
    assert reply.refusal == BODY_ERROR
    assert list(reply.body["field_errors"]) == [field]
    assert len(server.call("GET", "/device", server.account, query="amount=10000").result) == before


def test_bodies_that_are_no_device(server: Server) -> None:
    assert server.call("POST", "/device", server.account, b"{").refusal == (400, "Malformed request syntax")
    for body in (b"", b"{}", b"[]", b"5", b"null"):
        assert server.call("POST", "/device", server.account, body).refusal == BODY_ERROR


@pytest.mark.parametrize("kind", ["hybrid", "legacy"])
def test_foreign_types_are_unsupported(server: Server, kind: str) -> None:
    assert create(server, type=kind).refusal == (400, "Unsupported device type")


def test_a_serial_is_unique_and_finds_its_device(server: Server) -> None:
    made = server.make(name="by serial", serie_number="UNIQUE-1")
    assert create(server, serie_number="UNIQUE-1").status == 400
    (row,) = server.call("GET", "/device", server.account, query={"serial": "UNIQUE-1"}).result
    assert row["id"] == made.id
    (token,) = server.call("GET", f"/device/token/{made.id}", server.account, query={"fields": ["serie_number"]}).result
    assert token["serie_number"] == "UNIQUE-1"
    assert server.call("GET", "/device", server.account, query={"serial": "UNIQUE"}).result == []


def test_edit_changes_only_what_is_given(server: Server) -> None:
    made = server.make("immutable", name="before", description="stays", tags=[{"key": "a", "value": "1"}])
    before = info(server, made)
    change = {"name": "after", "tags": [{"key": "b", "value": "2"}], "visible": False, "chunk_retention": 3}
    assert server.call("PUT", f"/device/{made.id}", server.account, change).result == "Successfully Updated"
    after = info(server, made)
    assert after.pop("updated_at") >= before.pop("updated_at")
    expected = {**before, **change, "bucket": {"id": made.id, "name": "after"}, "data_retention": "3 month"}
    assert after == expected
    assert server.call("PUT", f"/device/{made.id}", server.account, {"description": None}).status == 200
    assert info(server, made)["description"] is None


def test_type_and_period_cannot_be_edited(server: Server) -> None:
    made = server.make("immutable")
    path = f"/device/{made.id}"
    assert server.call("PUT", path, server.account, {"type": "immutable", "chunk_period": "month"}).status == 200
    for change in ({"type": "mutable"}, {"chunk_period": "day"}, {"chunk_retention": 37}, {"name": "x"}, {"tags": 5}):
        assert server.call("PUT", path, server.account, change).refusal == BODY_ERROR
    assert server.call("PUT", path, server.account, {"type": "hybrid"}).refusal == (400, "Unsupported device type")


def test_connector_and_serial_are_bound_to_the_tokens(server: Server) -> None:
    made = server.make(connector="c1", network="n1", serie_number="BOUND-1")
    path = f"/device/{made.id}"
    assert server.call("PUT", path, server.account, {"connector": "c1", "network": "n1", "serie_number": "BOUND-1"}).status == 200
    assert server.call("PUT", path, server.account, {"connector": "c2", "network": "n2"}).status == 400
    assert server.call("PUT", path, server.account, {"serie_number": "BOUND-2"}).status == 400
    assert server.call("DELETE", f"/device/token/{made.token}", server.account).status == 200
    assert server.call("PUT", path, server.account, {"connector": "c2"}).status == 400
    assert server.call("PUT", path, server.account, {"connector": "c2", "network": "n2", "serie_number": "BOUND-2"}).status == 200
    shown = info(server, made)
    assert (shown["connector"], shown["network"], shown["serie_number"]) == ("c2", "n2", "BOUND-2")


def test_connector_and_network_come_together(server: Server) -> None:
    made = server.make()
    path = f"/device/{made.id}"
    for alone in ({"connector": "c1"}, {"network": "n1"}):
        assert server.call("PUT", path, server.account, alone).refusal == (400, "connector and network must be changed together")
    assert server.call("PUT", path, server.account, {"connector": "c1", "network": "n1"}).status == 200
    assert server.call("PUT", path, server.account, {"connector": "c1"}).status == 200  # as it is
    shown = info(server, made)
    assert (shown["connector"], shown["network"]) == ("c1", "n1")


def test_edit_replaces_the_parameters(server: Server) -> None:
    made = server.make(configuration_params=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
    first = info(server, made)["configuration_params"][0]
    change = {"configuration_params": [{**first, "value": "new"}, {"key": "c", "value": "3"}]}
    assert server.call("PUT", f"/device/{made.id}", server.account, change).status == 200
    found = {parameter["key"]: parameter for parameter in info(server, made)["configuration_params"]}
    assert found["a"] == {**first, "value": "new"} and found.keys() == {"a", "c"}


def test_a_protected_device_is_not_deleted(server: Server) -> None:
    made = server.make(tags=[{"key": "_deletion_protection", "value": "true"}])
    reply = server.call("DELETE", f"/device/{made.id}", server.account)
    assert reply.status == 400 and "_deletion_protection" in reply.body["message"]
    server.call("PUT", f"/device/{made.id}", server.account, {"tags": []})
    assert server.call("DELETE", f"/device/{made.id}", server.account).result == "Successfully Removed"
    assert server.call("GET", f"/device/{made.id}", server.account).refusal == (404, "Device not found")


@pytest.fixture(scope="module")
def fleet(server: Server) -> list[Made]:
    """Twelve devices; every name starts with `Fleet`."""
    return [
        server.make(
            "immutable" if n % 2 else "mutable",
            name=f"Fleet {n:02}",
            active=n != 3,
            visible=n != 4,
            description=f"device {n}",
            connector=f"c{n % 3}",
            tags=[{"key": "site", "value": "North" if n < 5 else "South"}, {"key": "n", "value": str(n)}],
        )
        for n in range(12)
    ]


def find(server: Server, query: Any) -> list[str]:
    pairs = query if isinstance(query, str) else {"amount": 100, **query}
    return [row["name"] for row in server.call("GET", "/device", server.account, query=pairs).result if row["name"].startswith("Fleet")]


def test_the_list_has_pages(server: Server, fleet: list[Made]) -> None:
    names = [f"Fleet {n:02}" for n in range(12)]
    query = "filter[name]=fleet*&amount=5&page="
    assert [find(server, f"{query}{page}") for page in (1, 2, 3, 4)] == [names[:5], names[5:10], names[10:], []]
    assert find(server, f"{query}0") == find(server, f"{query}-3") == names[:5]
    assert len(server.call("GET", "/device", server.account).result) <= 20


def test_the_list_has_fields(server: Server, fleet: list[Made]) -> None:
    row = server.call("GET", "/device", server.account, query="filter[id]=" + fleet[1].id).result[0]
    assert set(row) == {"id", "name", "tags"}
    query = f"filter[id]={fleet[1].id}&fields[0]=type&fields[1]=bucket&fields[]=chunk_period&fields=last_input&fields=nothing"
    row = server.call("GET", "/device", server.account, query=query).result[0]
    tags = [{"key": "site", "value": "North"}, {"key": "n", "value": "1"}]
    assert row == {
        "id": fleet[1].id,
        "tags": tags,
        "type": "immutable",
        "bucket": fleet[1].id,
        "chunk_period": "month",
        "last_input": None,
    }


def test_the_list_has_order(server: Server, fleet: list[Made]) -> None:
    names = find(server, "filter[name]=fleet*&amount=100&orderBy=name,desc")
    assert names == sorted(names, reverse=True)
    assert find(server, "filter[name]=fleet*&amount=100&orderBy=created_at")[0] == "Fleet 00"
    assert find(server, "filter[name]=fleet*&amount=1&orderBy=active,asc") == ["Fleet 03"]
    for wrong in ("orderBy=colour,asc", "orderBy=name,up", "amount=x", "page=x", "filter={", "filter[created_at]=soon"):
        assert server.call("GET", "/device", server.account, query=wrong).refusal == (400, "Error on Query String parameters")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("filter[name]=FLEET%2003", [3]),
        ("filter[name]=fleet", []),
        ("filter[name]=*0*3", [3]),
        ("filter[active]=false", [3]),
        ("filter[visible]=False", [4]),
        ("filter[description]=device%201", [1]),
        ("filter[type]=mutable&filter[name]=fleet%200*", [0, 2, 4, 6, 8]),
        ("filter[tags][0][key]=site&filter[tags][0][value]=north", [0, 1, 2, 3, 4]),
        ("filter[tags][0][key]=SITE&filter[tags][0][value]=*th&filter[tags][1][key]=n&filter[tags][1][value]=7", [7]),
        ("filter[tags][0][key]=site&filter[tags][0][value]=south&filter[tags][1][value]=1*", [10, 11]),
        ('filter={"name":"fleet*","tags":[{"key":"n","value":"2"}]}', [2]),
        ('filter={"active":false}', [3]),
        ("filter[connector]=c1&filter[name]=fleet*", [1, 4, 7, 10]),
        ("filter[created_at]=1%20day&filter[name]=fleet%2011", [11]),
        ("filter[created_at]=2999-01-01", []),
        ("filter[last_input]=1%20hour&filter[name]=fleet*", []),
    ],
)
def test_the_list_has_filters(server: Server, fleet: list[Made], query: str, expected: list[int]) -> None:
    query = query.replace("{", "%7B").replace("}", "%7D").replace('"', "%22").replace(" ", "%20")
    assert find(server, query + "&amount=100") == [f"Fleet {n:02}" for n in expected]


def test_the_list_by_several_ids(server: Server, fleet: list[Made]) -> None:
    query = f"filter[id][0]={fleet[2].id}&filter[id][1]={fleet[5].id}"
    assert find(server, query) == ["Fleet 02", "Fleet 05"]


def test_amount_and_empty(server: Server, any_device: Made) -> None:
    for path in (f"/device/{any_device.id}/data_amount", f"/bucket/{any_device.id}/data_amount"):
        assert server.call("GET", path, server.account).result == 0
    server.send(any_device, *({"variable": "a", "value": n} for n in range(123)))
    for path in (f"/device/{any_device.id}/data_amount", f"/bucket/{any_device.id}/data_amount"):
        assert server.call("GET", path, server.account).result == 123
    assert server.call("POST", f"/device/{any_device.id}/empty", server.account).result == "Data Successfully Removed"
    assert server.read(any_device) == []
    assert server.call("GET", f"/device/{any_device.id}/data_amount", server.account).result == 0
    server.send(any_device, {"variable": "a"})
    assert server.read(any_device, "query=count") == 1


def test_chunks_are_listed_and_deleted(server: Server) -> None:
    made = server.make("immutable", chunk_period="day", chunk_retention=5)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for age in (0, 1, 3):
        day = today - timedelta(days=age)
        server.send(made, *({"variable": "a", "value": age, "time": iso(day + timedelta(minutes=n))} for n in range(age + 1)))
    path = f"/device/{made.id}/chunk"
    chunks = server.call("GET", path, server.account).result
    expected = []
    for age in (0, 1, 3):
        day = today - timedelta(days=age)
        start = int(day.timestamp())
        text = f"{day:%Y-%m-%d}T"
        expected.append(
            {"amount": age + 1, "id": f"{start}_{start + 86_399}", "from": f"{text}00:00:00.000+00:00", "to": f"{text}23:59:59.999+00:00"}
        )
    assert chunks == expected
    gone = chunks[1]["id"]
    assert server.call("DELETE", f"{path}/{gone}", server.account).result == f"Chunk {gone} deleted"
    assert server.call("DELETE", f"{path}/{gone}", server.account).status == 404
    assert server.call("DELETE", f"{path}/nonsense", server.account).status in (400, 404)
    assert [row["value"] for row in server.read(made, {"qty": 100})] == [0, 3, 3, 3, 3]
    assert server.call("GET", path, server.account).result == [expected[0], expected[2]]


def test_mutable_devices_have_no_chunks(server: Server, device: Made) -> None:
    assert server.call("GET", f"/device/{device.id}/chunk", server.account).status == 400
    assert server.call("DELETE", f"/device/{device.id}/chunk/1_2", server.account).status == 400
