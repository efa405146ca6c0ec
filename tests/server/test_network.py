"""Gateways: authorization tokens, and the network routes of contract section 6.9."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.server.server_process import Made, Server, minutes_ago

DENIED = (401, "Authorization denied")
UNKNOWN = "at" + "0" * 32


def authorize(server: Server, **fields: Any) -> str:
    result = server.call("POST", "/serviceauth", server.account, {"name": "gateway", **fields}).result
    return str(result["token"])


@pytest.fixture
def gateway(server: Server) -> str:
    return authorize(server)


@pytest.fixture
def serial(device: Made) -> str:
    return f"S-{device.id}"


@pytest.fixture
def found(server: Server, device: Made, serial: str) -> str:
    """A token of the device that carries the serial."""
    body = {"device": device.id, "name": "with serial", "serie_number": serial}
    return str(server.call("POST", "/device/token", server.account, body).result["token"])


def test_authorization_tokens_are_made_listed_and_revoked(server: Server) -> None:
    reply = server.call("POST", "/serviceauth", server.account, {"name": "relay", "verification_code": "x", "expire_time": "1 hour"})
    assert reply.status == 201
    made = reply.result
    assert re.fullmatch("at[0-9a-f]{32}", made["token"]) and (made["name"], made["permission"]) == ("relay", "write")
    rows = server.call("GET", "/serviceauth", server.account, query={"filter[name]": "RELAY"}).result
    assert rows == [{"name": "relay", "token": made["token"], "permission": "write"}]
    assert server.call("GET", "/serviceauth", server.account, query={"fields": ["expire_time"]}).result[0] == {
        "expire_time": made["expire_time"]
    }
    info = server.call("GET", "/info", made["token"]).result
    assert info["ref_id"] == "0" * 23 + "1" and abs(datetime.fromisoformat(info["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    del info["ref_id"], info["created_at"]
    assert info == {"name": "relay", "type": "network", "permission": "write", "expire_time": made["expire_time"]}
    assert server.call("DELETE", f"/serviceauth/{made['token']}", server.account).result == "Token Successfully Removed"
    assert server.call("DELETE", f"/serviceauth/{made['token']}", server.account).refusal == (404, "Token not found")
    assert server.call("GET", "/info", made["token"]).refusal == DENIED


@pytest.mark.parametrize("fields", [{"name": "ab"}, {"permission": "all"}, {"expire_time": "tomorrow"}, {"name": 5}])
def test_a_wrong_authorization_is_refused(server: Server, fields: dict[str, Any]) -> None:
    assert server.call("POST", "/serviceauth", server.account, {"name": "gateway", **fields}).refusal == (400, "Error on Body parameters")


def test_tokens_of_devices_and_of_gateways_are_kept_apart(server: Server, device: Made, gateway: str) -> None:
    assert server.call("DELETE", f"/serviceauth/{device.token}", server.account).refusal == (404, "Token not found")
    assert server.call("DELETE", f"/device/token/{gateway}", server.account).refusal == (404, "Token not found")
    assert server.call("GET", "/data", gateway).refusal == DENIED
    assert server.call("GET", "/device", gateway).refusal == DENIED
    assert server.call("GET", "/integration/network/resolve/x", device.token).refusal == DENIED


def test_a_serial_leads_to_a_token(server: Server, device: Made, gateway: str, serial: str, found: str) -> None:
    for path in (serial, f"{serial}/{gateway}"):
        assert server.call("GET", f"/integration/network/resolve/{path}", gateway).result == found
    assert server.call("GET", f"/integration/network/resolve/{serial}/{gateway}").result == found
    assert server.call("GET", f"/integration/network/resolve/{serial}", server.account).result == found
    assert server.call("GET", "/integration/network/resolve/nobody", gateway).refusal == (404, "Device not found")
    assert server.call("GET", f"/integration/network/resolve/{device.id}", gateway).refusal == (404, "Device not found")


@pytest.mark.parametrize(("header", "other"), [(None, UNKNOWN), (UNKNOWN, None), ("ok", UNKNOWN), (UNKNOWN, "ok")])
def test_each_token_that_a_gateway_brings_must_be_good(
    server: Server, gateway: str, serial: str, found: str, header: str | None, other: str | None
) -> None:
    header, other = (gateway if text == "ok" else text for text in (header, other))
    path = f"/integration/network/resolve/{serial}" + (f"/{other}" if other else "")
    assert server.call("GET", path, header).refusal == DENIED
    query = {"authorization_token": other} if other else None
    body = {"variable": "a", "serial": serial}
    assert server.call("POST", "/integration/network/data", header, body, query=query).refusal == DENIED


def test_a_gateway_that_may_only_read_gets_no_token_that_writes(server: Server, serial: str, found: str) -> None:
    reader = authorize(server, permission="read")
    assert server.call("GET", f"/integration/network/resolve/{serial}", reader).refusal == DENIED


def test_a_gateway_gets_no_token_that_cannot_write(server: Server, gateway: str) -> None:
    made = server.make("mutable", serie_number="only-read")
    server.call("DELETE", f"/device/token/{made.token}", server.account)
    server.call("POST", "/device/token", server.account, {"device": made.id, "name": "reader", "permission": "read"})
    assert server.call("GET", "/integration/network/resolve/only-read", gateway).refusal == (404, "Device not found")


@pytest.mark.parametrize("place", ["query", "items", "topic", "number"])
def test_data_finds_its_device_by_serial(server: Server, device: Made, gateway: str, place: str) -> None:
    serial = str(int(device.id, 16)) if place == "number" else f"S-{device.id}"
    server.call("POST", "/device/token", server.account, {"device": device.id, "name": "serial", "serie_number": serial})
    query = {"authorization_token": gateway}
    item: dict[str, Any] = {"variable": "payload", "value": "01ff"}
    match place:
        case "query":
            query["serial"] = serial
        case "items":
            item["serial"] = serial
        case "number":
            item["serial"] = int(serial)
        case "topic":
            item["metadata"] = {"topic": f"/device/{serial}", "qos": 1}
    assert server.call("POST", "/integration/network/data", gateway, [item, item], query=query).result == "2 Data Added"
    assert [row["value"] for row in server.read(device)] == ["01ff", "01ff"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ([{"variable": "a"}], "Required in the items, or as ?serial= in the address"),
        ([], "Required in the items, or as ?serial= in the address"),
        ([{"variable": "a", "serial": "x"}, {"variable": "a", "serial": "y"}], "Items of one request must be of one device"),
        ([{"variable": "a", "serial": [1]}], None),
    ],
)
def test_data_without_one_serial_is_refused(server: Server, gateway: str, body: Any, problem: str | None) -> None:
    reply = server.call("POST", "/integration/network/data", gateway, body)
    assert reply.refusal == (400, "Error on Body parameters")
    if problem is not None:
        assert reply.body["field_errors"] == {"serial": [problem]}


def test_data_of_a_gateway_is_checked_like_any_other(server: Server, device: Made, gateway: str, serial: str, found: str) -> None:
    query = {"serial": serial}
    path = "/integration/network/data"
    assert server.call("POST", path, gateway, b"{", query=query).refusal == (400, "Malformed request syntax")
    assert server.call("POST", path, gateway, b"{").refusal == (400, "Malformed request syntax")
    assert server.call("POST", path, gateway, {"value": 1}, query=query).refusal == (400, "Invalid data at index 0: variable is required")
    assert server.call("POST", path, gateway, {"variable": "a"}, query={"serial": "nobody"}).refusal == (404, "Device not found")
    server.call("PUT", f"/device/{device.id}", server.account, {"active": False})
    assert server.call("POST", path, gateway, {"variable": "a"}, query=query).refusal == (400, "Device is deactivated")
    assert server.call("GET", f"/device/{device.id}/data_amount", server.account).result == 0


def test_a_gateway_sets_parameters(server: Server, device: Made, gateway: str) -> None:
    path = f"/integration/network/{device.id}/params"
    assert server.call("POST", path, gateway, {"key": "downlink", "value": "ff"}).result == "Device Configuration Parameter Updated"
    (parameter,) = server.call("GET", "/device/params", device.token).result
    server.call("POST", path, gateway, {"id": parameter["id"], "value": "00"})
    assert server.call("GET", "/device/params", device.token).result == [{**parameter, "value": "00"}]
    assert server.call("POST", f"/integration/network/{'0' * 24}/params", gateway, {"key": "a"}).refusal == (404, "Device not found")


# --- convert, statistics, tags ---------------------------------------------------------------------------------------------


def test_an_empty_inactive_device_is_converted_and_keeps_its_tokens(server: Server, any_device: Made) -> None:
    path = f"/device/{any_device.id}"
    kind = server.call("GET", path, server.account).result["type"]
    if kind == "mutable":
        body, shown = {"type": "immutable", "chunk_period": "week", "chunk_retention": "3"}, ("immutable", "week", 3)
    else:
        body, shown = {"type": "mutable", "chunk_period": "week"}, ("mutable", None, None)
    server.send(any_device, {"variable": "a", "value": 1})
    assert server.call("POST", f"{path}/convert", server.account, body).status == 400
    server.call("PUT", path, server.account, {"active": False})
    message = "The device is not empty; only an empty device can be converted"
    assert server.call("POST", f"{path}/convert", server.account, body).refusal == (400, message)
    server.call("POST", f"{path}/empty", server.account)
    assert server.call("POST", f"{path}/convert", server.account, body).result == "Device type/chunk was converted"
    info = server.call("GET", path, server.account).result
    assert (info["type"], info.get("chunk_period"), info.get("chunk_retention")) == shown
    server.call("PUT", path, server.account, {"active": True})
    server.send(any_device, {"variable": "b", "value": 2})
    assert [row["value"] for row in server.read(any_device)] == [2]
    assert server.call("GET", f"{path}/data_amount", server.account).result == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Error on Body parameters"),
        ({"type": "hybrid"}, "Unsupported device type"),
        ({"type": "immutable"}, "Error on Body parameters"),
        ({"type": "immutable", "chunk_period": "month", "chunk_retention": 99}, "Error on Body parameters"),
    ],
)
def test_a_wrong_conversion_is_refused(server: Server, device: Made, body: Any, message: str) -> None:
    assert server.call("POST", f"/device/{device.id}/convert", server.account, body).refusal == (400, message)


def test_statistics_count_the_points_of_the_month_so_far(server: Server, any_device: Made) -> None:
    server.send(any_device, *({"variable": "a", "value": value, "time": minutes_ago(0.01)} for value in (1, "x", True)))
    path = f"/device/{any_device.id}/statistics"
    rows = server.call("GET", path, server.account, query={"periodicity": "hour", "start_date": "2 hours"}).result
    assert len(rows) == 3 and rows[0]["device_input"] == 3 and rows[0]["device_output"] == 0
    assert rows == sorted(rows, key=lambda row: row["time"], reverse=True)
    assert rows[0]["time"].endswith(":00:00.000Z")
    days = server.call("GET", path, server.account).result
    assert 1 <= len(days) <= 31 and days[0]["device_input"] == 3 and days[-1]["time"][8:10] == "01"
    (month,) = server.call("GET", path, server.account, query={"periodicity": "month", "timezone": "UTC"}).result
    assert month["device_input"] == 3


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"periodicity": "minute"}, "Error on Query String parameters"),
        ({"start_date": "someday"}, "Invalid start date"),
        ({"timezone": "Mars"}, "Error on Query String parameters"),
        (
            {"periodicity": "hour", "start_date": "1 year"},
            "At most 1000 rows are counted in one request; ask for fewer, or for longer periods",
        ),
    ],
)
def test_wrong_statistics_are_refused(server: Server, device: Made, query: dict[str, str], message: str) -> None:
    assert server.call("GET", f"/device/{device.id}/statistics", server.account, query=query).refusal == (400, message)


@pytest.mark.parametrize(
    "query", [{"start_date": "9999-12-31"}, {"start_date": "0001-01-01", "periodicity": "month", "end_date": "0001-02-01"}]
)
def test_statistics_at_the_ends_of_the_calendar_are_rows(server: Server, device: Made, query: dict[str, str]) -> None:
    rows = server.call("GET", f"/device/{device.id}/statistics", server.account, query={**query, "timezone": "Asia/Kolkata"}).result
    assert all(row["device_input"] == 0 for row in rows)


def test_keys_of_tags(server: Server) -> None:
    server.make("mutable", tags=[{"key": "zone", "value": "1"}, {"key": "area", "value": "2"}])
    server.make("mutable", tags=[{"key": "zone", "value": "3"}])
    keys = server.call("GET", "/tags/keys/device", server.account).result
    assert keys == sorted(keys) and {"zone", "area"} <= set(keys) and keys.count("zone") == 1
    assert server.call("GET", "/tags/keys/dashboard", server.account).result == []
    assert server.call("GET", "/tags/keys/else", server.account).refusal == (404, "Route Not Found")
