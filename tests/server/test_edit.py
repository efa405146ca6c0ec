"""Editing and deleting data: contract sections 5.1, 5.2 and the refusals of 2.2."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.server_process import Made, Server, minutes_ago


@pytest.fixture
def rows(server: Server, device: Made) -> list[dict[str, Any]]:
    """Thirty points of a and b, oldest first."""
    server.send(
        device, *({"variable": "ab"[n % 2], "value": n, "time": minutes_ago(60 - n), "unit": "C", "metadata": {"n": n}} for n in range(30))
    )
    found: list[dict[str, Any]] = server.read(device, {"qty": 100, "ordination": "asc"})
    return found


def edit(server: Server, device: Made, body: Any) -> Any:
    return server.call("PUT", "/data", device.token, body)


def test_given_fields_are_replaced_and_others_stay(server: Server, device: Made, rows: list[dict[str, Any]]) -> None:
    body = {"id": rows[3]["id"], "value": "new", "metadata": {"other": 1}, "variable": "ignored"}
    assert edit(server, device, body).result == "1 item(s) updated"
    found = server.read(device, {"ids": rows[3]["id"]})
    assert found == [{**rows[3], "value": "new", "metadata": {"other": 1}}]


def test_every_field_can_be_edited(server: Server, device: Made, rows: list[dict[str, Any]]) -> None:
    change = {"value": False, "unit": "F", "group": "mine", "time": "2024-05-06 07:08:09", "location": {"lat": 1, "lng": 2.5}}
    assert edit(server, device, [{"id": rows[0]["id"], **change}, {"id": rows[1]["id"], "serie": "s"}]).result == "2 item(s) updated"
    (first,) = server.read(device, {"ids": rows[0]["id"]})
    location = {"type": "Point", "coordinates": [2.5, 1]}
    assert first == {**rows[0], **change, "time": "2024-05-06T07:08:09.000Z", "location": location}
    assert server.read(device, {"ids": rows[1]["id"]})[0]["group"] == "s"
    assert server.read(device, {"qty": 1, "ordination": "asc"}) == [first]
    assert edit(server, device, {"id": rows[0]["id"], "location": None, "value": None}).result == "1 item(s) updated"
    (cleared,) = server.read(device, {"ids": rows[0]["id"]})
    assert "location" not in cleared and cleared["value"] is False


def test_unknown_ids_are_not_counted(server: Server, device: Made, rows: list[dict[str, Any]]) -> None:
    foreign = server.make()
    server.send(foreign, {"variable": "a", "value": 1})
    (other,) = server.read(foreign)
    for id in ("0" * 24, "nonsense", other["id"]):
        assert edit(server, device, {"id": id, "value": 2}).result == "0 item(s) updated"
    assert edit(server, device, [{"id": "0" * 24, "value": 2}, {"id": rows[0]["id"], "value": 2}]).result == "1 item(s) updated"
    assert server.read(foreign) == [other]


def test_one_bad_item_changes_nothing(server: Server, device: Made, rows: list[dict[str, Any]]) -> None:
    good = {"id": rows[0]["id"], "value": "changed"}
    for bad in (
        {"id": rows[1]["id"], "unit": "x" * 26},
        {"value": 1},
        {"id": rows[1]["id"], "time": "soon"},
        {"id": rows[1]["id"], "value": {}},
    ):
        reply = edit(server, device, [good, bad])
        assert reply.status == 400 and reply.body["message"].startswith("Invalid data at index 1: ")
        assert list(reply.body["field_errors"]) == ["1"]
    assert server.read(device, {"qty": 100, "ordination": "asc"}) == rows


def test_at_most_25_items(server: Server, device: Made, rows: list[dict[str, Any]]) -> None:
    items = [{"id": row["id"], "value": 0} for row in rows]
    refusal = (400, "You have exceeded the maximum number of 25 items in a single request")
    assert edit(server, device, items[:26]).refusal == refusal
    assert edit(server, device, items[:25]).result == "25 item(s) updated"
    assert edit(server, device, []).result == "0 item(s) updated"


def test_malformed_edits_are_refused(server: Server, device: Made) -> None:
    assert edit(server, device, b"{").refusal == (400, "Malformed request syntax")
    for body in (b"", b"5", b"[5]", b"null"):
        assert edit(server, device, body).status == 400


def test_immutable_devices_refuse(server: Server) -> None:
    made = server.make("immutable")
    server.send(made, {"variable": "a", "value": 1})
    for path, token in (("/data", made.token), (f"/device/{made.id}/data", server.account)):
        assert server.call("PUT", path, token, [{"id": "0" * 24, "value": 1}]).refusal == (400, "You cannot edit data on immutable device")
        assert server.call("DELETE", path, token).refusal == (400, "Data in immutable devices cannot be deleted")
    assert server.read(made, "query=count") == 1


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 15),
        ("qty=4", 4),
        ("variables=a&variables=b&qty=3", 6),
        ("query=last_item", 2),
        ("query=last_item&variable=a", 1),
        ("query=min", 2),
        ("ordination=asc&qty=5&skip=2", 5),
        ("values=3&values=5", 2),
        ("query=conditional&function=lt&value=10&start_date=1%20day", 10),
        ("variables=nothing", 0),
        ("qty=0", 0),
        ("qty=10000", 30),
    ],
)
def test_delete_removes_exactly_what_get_returns(server: Server, device: Made, rows: list[dict[str, Any]], query: str, count: int) -> None:
    shown = server.read(device, query)
    assert len(shown) == count
    assert server.call("DELETE", "/data", device.token, query=query).result == f"{count} Data Removed"
    gone = {row["id"] for row in shown}
    assert server.read(device, {"qty": 100, "ordination": "asc"}) == [row for row in rows if row["id"] not in gone]


def test_delete_by_id(server: Server, device: Made, rows: list[dict[str, Any]]) -> None:
    path = f"/device/{device.id}/data"
    assert server.call("DELETE", path, server.account, query={"ids": [rows[0]["id"], "0" * 24]}).result == "1 Data Removed"
    assert server.call("DELETE", path, server.account, query={"ids": ["nonsense"]}).result == "0 Data Removed"
    assert server.read(device, "query=count") == 29


@pytest.mark.parametrize(
    "query", ["query=count", "query=avg&start_date=1%20day", "query=sum&start_date=1%20day", "query=aggregate&interval=hour&function=avg"]
)
def test_a_query_without_rows_deletes_nothing(server: Server, device: Made, rows: list[dict[str, Any]], query: str) -> None:
    assert server.call("DELETE", "/data", device.token, query=query).refusal == (400, "Invalid query")
    assert server.read(device, "query=count") == len(rows)
