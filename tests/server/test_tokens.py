"""Tokens and parameters of a device: contract sections 1.4, 6.7 and 6.8."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.server.server_process import Made, Reply, Server, iso

BODY_ERROR = (400, "Error on Body parameters")


def create(server: Server, made: Made, **fields: Any) -> Reply:
    return server.call("POST", "/device/token", server.account, {"device": made.id, "name": "token", **fields})


def test_a_token_is_made_and_works(server: Server, device: Made) -> None:
    reply = create(server, device)
    assert reply.status == 201
    token = reply.result["token"]
    assert reply.result == {"token": token, "permission": "full", "expire_time": "never", "expire_date": "never"}
    assert server.call("POST", "/data", token, {"variable": "a"}).result == "1 Data Added"


@pytest.mark.parametrize(
    ("span", "lasts"), [("3 hours", timedelta(hours=3)), ("1 day", timedelta(days=1)), ("30 m", timedelta(minutes=30))]
)
def test_relative_expiry_becomes_an_instant(server: Server, device: Made, span: str, lasts: timedelta) -> None:
    result = create(server, device, expire_time=span).result
    assert result["expire_time"] == result["expire_date"]
    assert abs(datetime.fromisoformat(result["expire_time"]) - datetime.now(UTC) - lasts) < timedelta(minutes=1)
    assert server.call("GET", "/data", result["token"]).status == 200


def test_absolute_expiry_and_never(server: Server, device: Made) -> None:
    end = iso(datetime.now(UTC) + timedelta(days=1))
    assert create(server, device, expire_time=end).result["expire_time"] == end
    assert create(server, device, expire_time="never").result["expire_time"] == "never"
    assert create(server, device, expire_time=None).result["expire_time"] == "never"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "ab"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"permission": "deny"}, "permission"),
        ({"expire_time": "soon"}, "expire_time"),
        ({"expire_time": 5}, "expire_time"),
        ({"device": 5}, "device"),
    ],
)
def test_a_wrong_field_is_refused_and_named(server: Server, device: Made, fields: dict[str, Any], field: str) -> None:
    reply = create(server, device, **fields)
    assert reply.refusal == BODY_ERROR
    assert list(reply.body["field_errors"]) == [field]


def test_a_token_needs_a_device(server: Server) -> None:
    assert server.call("POST", "/device/token", server.account, {"name": "token"}).refusal == BODY_ERROR
    assert server.call("POST", "/device/token", server.account, {"name": "token", "device": "0" * 24}).refusal == (404, "Device not found")


def test_the_list_of_tokens(server: Server, device: Made) -> None:
    create(server, device, name="reader", permission="read", serie_number="TOK-1")
    create(server, device, name="writer", permission="write")
    path = f"/device/token/{device.id}"
    rows = server.call("GET", path, server.account).result
    assert [set(row) for row in rows] == [{"name", "token", "permission"}] * 3
    assert [row["name"] for row in rows] == ["writer", "reader", "Default"]
    fields = ["device_id", "network_id", "name", "serie_number", "last_authorization", "expire_time", "created_at"]
    rows = server.call("GET", path, server.account, query={"fields": fields, "orderBy": "name,asc"}).result
    assert [row["name"] for row in rows] == ["Default", "reader", "writer"]
    assert set(rows[1]) == set(fields)
    assert (rows[1]["device_id"], rows[1]["serie_number"]) == (device.id, "TOK-1")
    assert [row["name"] for row in server.call("GET", path, server.account, query="amount=1&page=2").result] == ["reader"]
    assert [row["name"] for row in server.call("GET", path, server.account, query="filter[name]=read*").result] == ["reader"]
    assert [row["name"] for row in server.call("GET", path, server.account, query="filter[permission]=write").result] == ["writer"]
    assert server.call("GET", "/device", server.account, query="serial=TOK-1").result[0]["id"] == device.id


def test_deleting_a_token(server: Server, device: Made) -> None:
    token = create(server, device).result["token"]
    assert server.call("DELETE", f"/device/token/{token}", server.account).result == "Token Successfully Removed"
    assert server.call("DELETE", f"/device/token/{token}", server.account).status == 404
    assert server.call("GET", "/data", token).status == 401
    assert server.call("GET", "/data", device.token).status == 200


def put(server: Server, device: Made, body: Any) -> Reply:
    return server.call("POST", f"/device/{device.id}/params", server.account, body)


def listed(server: Server, device: Made, query: Any = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.call("GET", f"/device/{device.id}/params", server.account, query=query).result
    assert found == server.call("GET", "/device/params", device.token, query=query).result
    return found


def test_parameters_are_created_and_edited(server: Server, device: Made) -> None:
    reply = put(server, device, {"key": "a", "value": "1"})
    assert (reply.status, reply.result) == (201, "Params Successfully Updated")
    assert put(server, device, [{"key": "b", "value": 2.0, "sent": True}, {"key": "a", "value": False}]).status == 201
    found = listed(server, device)
    assert sorted((row["key"], row["value"], row["sent"]) for row in found) == [("a", "1", False), ("a", "false", False), ("b", "2", True)]
    b = next(row for row in found if row["key"] == "b")
    assert put(server, device, {"id": b["id"], "value": "3"}).status == 201
    assert {**b, "value": "3"} in listed(server, device) and len(listed(server, device)) == 3


def test_parameters_by_sent_status(server: Server, device: Made) -> None:
    put(server, device, [{"key": "s", "value": "", "sent": True}, {"key": "u", "value": ""}])
    for word in ("true", "True"):
        assert [row["key"] for row in listed(server, device, {"sent_status": word})] == ["s"]
    for word in ("false", "False"):
        assert [row["key"] for row in listed(server, device, {"sent_status": word})] == ["u"]


@pytest.mark.parametrize(("body", "sent"), [(None, True), ({"sent": True}, True), ({"sent": False}, False), ({}, True)])
def test_a_device_marks_a_parameter(server: Server, device: Made, body: Any, sent: bool) -> None:
    put(server, device, {"key": "a", "value": "1"})
    (row,) = listed(server, device)
    path = f"/device/params/{row['id']}"
    headers = {"content-type": "application/json"}
    assert server.call("PUT", path, device.token, body, headers=headers).result == "Params Successfully Updated"
    assert listed(server, device) == [{**row, "sent": sent}]
    assert server.call("PUT", path + "0", device.token).status == 404


def test_parameters_are_removed(server: Server, device: Made) -> None:
    put(server, device, [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
    first, second = listed(server, device)
    path = f"/device/{device.id}/params/"
    assert server.call("DELETE", path + first["id"], server.account).result == "Successfully Removed"
    assert listed(server, device) == [second]
    assert server.call("DELETE", path + first["id"], server.account).status == 404


def test_a_device_has_at_most_60_parameters(server: Server, device: Made) -> None:
    assert put(server, device, [{"key": f"k{n}", "value": n} for n in range(59)]).status == 201
    assert put(server, device, [{"key": "x"}, {"key": "y"}]).status == 400
    assert len(listed(server, device)) == 59
    assert put(server, device, {"key": "x"}).status == 201
    assert put(server, device, {"key": "y"}).status == 400
    edit = listed(server, device)[0]
    assert put(server, device, {**edit, "value": "still editable"}).status == 201


def test_wrong_parameters_are_refused(server: Server, device: Made) -> None:
    for body in ({}, {"value": "1"}, {"key": ""}, {"key": 5}, {"key": "a", "value": []}, [5], 5):
        assert put(server, device, body).refusal == BODY_ERROR
    assert put(server, device, {"id": "0" * 24, "key": "a", "value": "1"}).status == 404
    assert put(server, device, b"[").refusal == (400, "Malformed request syntax")
    assert listed(server, device) == []


def test_the_last_use_of_a_token_is_listed(server: Server, device: Made) -> None:
    path = f"/device/token/{device.id}"
    create(server, device, name="unused")
    query = {"fields": ["name", "last_authorization"], "orderBy": "last_authorization,desc"}
    assert [row["last_authorization"] for row in server.call("GET", path, server.account, query=query).result] == [None, None]
    server.send(device, {"variable": "a"})
    used, unused = server.call("GET", path, server.account, query=query).result
    assert (used["name"], unused) == ("Default", {"name": "unused", "last_authorization": None})
    assert abs(datetime.fromisoformat(used["last_authorization"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_token_body_may_name_what_the_cloud_knows_besides(server: Server, device: Made) -> None:
    assert create(server, device, verification_code="x", middleware={"mqtt": True}).status == 201
