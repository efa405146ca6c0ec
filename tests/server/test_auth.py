"""Who may do what: contract sections 1.1 to 1.6."""

from __future__ import annotations

import http.client
import json

import pytest

from tests.server.server_process import Made, Server, minutes_ago

DENIED = (401, "Authorization denied")
UNKNOWN = "8b9b8a62-3cf1-4d43-9c7e-0f2b8b7c0000"

DEVICE_ROUTES = [
    ("GET", "/data"),
    ("POST", "/data"),
    ("PUT", "/data"),
    ("DELETE", "/data"),
    ("GET", "/info"),
    ("GET", "/device/params"),
    ("PUT", "/device/params/1"),
]
ACCOUNT_ROUTES = [
    ("GET", "/device"),
    ("POST", "/device"),
    ("GET", "/device/{id}"),
    ("PUT", "/device/{id}"),
    ("DELETE", "/device/{id}"),
    ("POST", "/device/token"),
    ("GET", "/device/token/{id}"),
    ("DELETE", "/device/token/{id}"),
    ("GET", "/device/{id}/params"),
    ("POST", "/device/{id}/params"),
    ("DELETE", "/device/{id}/params/1"),
    ("GET", "/device/{id}/data"),
    ("POST", "/device/{id}/data"),
    ("PUT", "/device/{id}/data"),
    ("DELETE", "/device/{id}/data"),
    ("GET", "/device/{id}/data_amount"),
    ("GET", "/bucket/{id}/data_amount"),
    ("POST", "/device/{id}/empty"),
    ("GET", "/device/{id}/chunk"),
    ("DELETE", "/device/{id}/chunk/1_2"),
    ("POST", "/device/{id}/convert"),
    ("GET", "/device/{id}/statistics"),
    ("GET", "/tags/keys/device"),
    ("POST", "/device/{id}/data/backup"),
    ("POST", "/device/{id}/data/restore"),
    ("POST", "/device/{id}/chunk/backup"),
    ("POST", "/device/{id}/chunk/copy"),
    ("GET", "/device/{id}/jobs"),
    ("GET", "/files"),
    ("POST", "/files"),
    ("PUT", "/files"),
    ("DELETE", "/files"),
    ("PUT", "/files/copy"),
    ("GET", "/files/permission"),
    ("PUT", "/files/permission"),
    ("GET", "/file/{id}/some/file"),
    ("GET", "/serviceauth"),
    ("POST", "/serviceauth"),
    ("DELETE", "/serviceauth/at00"),
    ("GET", "/integration/network/resolve/S-1"),
    ("GET", "/integration/network/resolve/S-1/at00"),
    ("POST", "/integration/network/data"),
    ("POST", "/integration/network/{id}/params"),
]


@pytest.mark.parametrize(("method", "path"), DEVICE_ROUTES + ACCOUNT_ROUTES)
def test_no_token_and_an_unknown_token_are_denied(server: Server, device: Made, method: str, path: str) -> None:
    path = path.format(id=device.id)
    assert server.call(method, path).refusal == DENIED
    assert server.call(method, path, UNKNOWN).refusal == DENIED
    assert server.call(method, path, "").refusal == DENIED
    assert server.call(method, path, "\xe9\xff").refusal == DENIED


@pytest.mark.parametrize(("method", "path"), ACCOUNT_ROUTES)
def test_a_device_token_does_not_manage(server: Server, device: Made, method: str, path: str) -> None:
    assert server.call(method, path.format(id=device.id), device.token).refusal == DENIED


@pytest.mark.parametrize(("method", "path"), [route for route in DEVICE_ROUTES if route[1] != "/info"])
def test_the_account_token_is_no_device(server: Server, method: str, path: str) -> None:
    assert server.call(method, path, server.account).refusal == DENIED


@pytest.mark.parametrize(
    "headers",
    [
        {"token": "T"},
        {"Token": "T"},
        {"Device-Token": "T"},
        {"Public-Token": "T"},
        {"Analysis-Token": "T"},
        {"Network-Token": "T"},
        {"Middleware-Token": "T"},
        {"Authorization": "T"},
        {"Authorization": "Bearer T"},
        {"Authorization": "bearer   T"},
        {"Authorized": "T"},
        {"Authentication": "T"},
        {"token": "", "Authorization": "T"},
        {"token": UNKNOWN, "Device-Token": "T"},
        {"Authorization": UNKNOWN, "token": "T"},
    ],
)
def test_the_token_is_read_from_every_header_in_the_order_of_the_contract(server: Server, device: Made, headers: dict[str, str]) -> None:
    headers = {name: value.replace("T", device.token) if value.endswith("T") else value for name, value in headers.items()}
    assert server.call("GET", "/data", headers=headers).result == []
    assert server.call("POST", "/data", headers=headers, body=[]).result == "0 Data Added"


@pytest.mark.parametrize("header", ["account-token", "profile-token", "token", "authorization"])
def test_the_account_token_is_read_from_its_headers(server: Server, header: str) -> None:
    assert server.call("GET", "/device", headers={header: server.account}).status == 200


def test_a_wrong_token_of_higher_rank_wins(server: Server, device: Made) -> None:
    assert server.call("GET", "/data", device.token, headers={"device-token": UNKNOWN}).refusal == DENIED


def test_a_token_in_the_query_is_not_read(server: Server, device: Made) -> None:
    assert server.call("GET", "/data", query={"token": device.token}).refusal == DENIED


def make_token(server: Server, device: Made, **fields: object) -> str:
    body = {"device": device.id, "name": "another", **fields}
    return str(server.call("POST", "/device/token", server.account, body).result["token"])


def test_a_read_token_cannot_write(server: Server, device: Made) -> None:
    token = make_token(server, device, permission="read")
    assert server.call("GET", "/data", token).status == 200
    assert server.call("GET", "/device/params", token).status == 200
    assert server.call("GET", "/info", token).status == 200
    for method, path in [("POST", "/data"), ("PUT", "/data"), ("DELETE", "/data"), ("PUT", "/device/params/1")]:
        assert server.call(method, path, token, []).refusal == DENIED


def test_a_write_token_cannot_read(server: Server, device: Made) -> None:
    token = make_token(server, device, permission="write")
    assert server.call("POST", "/data", token, []).status == 200
    assert server.call("GET", "/info", token).status == 200
    assert server.call("GET", "/data", token).refusal == DENIED
    assert server.call("GET", "/device/params", token).refusal == DENIED


def test_an_expired_token_is_unknown(server: Server, device: Made) -> None:
    token = make_token(server, device, expire_time=minutes_ago(1))
    assert server.call("POST", "/data", token, []).refusal == DENIED
    assert server.call("GET", "/data", token).refusal == DENIED
    assert server.call("GET", "/info", token).refusal == DENIED


def test_a_deactivated_device_is_told_so(server: Server, device: Made) -> None:
    assert server.call("PUT", f"/device/{device.id}", server.account, {"active": False}).status == 200
    deactivated = (400, "Device is deactivated")
    for method, path in [("POST", "/data"), ("GET", "/data"), ("PUT", "/data"), ("DELETE", "/data"), ("GET", "/device/params")]:
        assert server.call(method, path, device.token, []).refusal == deactivated
    assert server.call("POST", f"/device/{device.id}/data", server.account, []).refusal == deactivated
    assert server.call("GET", f"/device/{device.id}/data", server.account).result == []
    assert server.call("GET", "/info", device.token).result["active"] is False
    assert server.call("PUT", f"/device/{device.id}", server.account, {"active": True}).status == 200
    assert server.call("POST", "/data", device.token, []).status == 200


@pytest.mark.parametrize("kind", ["device", "token"])
def test_a_deleted_token_is_denied_at_once(server: Server, kind: str) -> None:
    made = server.make()
    server.send(made, {"variable": "a", "value": 1})
    path = f"/device/{made.id}" if kind == "device" else f"/device/token/{made.token}"
    assert server.call("DELETE", path, server.account).status == 200
    assert server.call("POST", "/data", made.token, []).refusal == DENIED
    assert server.call("GET", "/data", made.token).refusal == DENIED


@pytest.mark.parametrize("path", ["", "/data", "/params", "/data_amount", "/chunk"])
@pytest.mark.parametrize("id", ["0" * 24, "nonsense", "%2e%2e", "a b"])
def test_an_unknown_device_is_not_found(server: Server, id: str, path: str) -> None:
    assert server.call("GET", f"/device/{id.replace(' ', '%20')}{path}", server.account).refusal == (404, "Device not found")


def test_a_serial_is_no_device_id(server: Server) -> None:
    server.make(serie_number="SER-IAL")
    assert server.call("GET", "/device/SER-IAL", server.account).refusal == (404, "Device not found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("GET", "/"),
        ("POST", "/data/x"),
        ("PATCH", "/data"),
        ("POST", "/info"),
        ("DELETE", "/health"),
        ("GET", "/device/token"),
        ("POST", "/device/1"),
        ("GET", "/device/1/empty"),
        ("PROPFIND", "/data"),
    ],
)
def test_an_unknown_route_or_method_is_not_found(server: Server, device: Made, method: str, path: str) -> None:
    for token in (None, device.token, server.account):
        assert server.call(method, path, token).refusal == (404, "Route Not Found")


def test_preflight_and_cross_origin(server: Server, device: Made) -> None:
    for path in ("/data", "/device/1/data", "/nothing"):
        reply = server.call("OPTIONS", path, headers={"Origin": "http://dash", "Access-Control-Request-Method": "POST"})
        assert reply.status == 204
        assert reply.headers["access-control-allow-origin"] == "*"
        assert set(reply.headers["access-control-allow-methods"].split(", ")) == {"GET", "POST", "PUT", "DELETE", "OPTIONS"}
        allowed = {name.lower() for name in reply.headers["access-control-allow-headers"].split(", ")}
        assert {"content-type", "authorization", "account-token", "profile-token", "device-token", "token"} <= allowed
    for reply in (server.call("GET", "/data", device.token), server.call("POST", "/data", device.token, []), server.call("GET", "/x")):
        assert reply.headers["access-control-allow-origin"] == "*"


def test_health_needs_no_token(server: Server) -> None:
    assert server.call("GET", "/health").result == "ok"


def test_what_is_no_http_gets_json(server: Server) -> None:
    connection = server.connect()
    connection.connect()
    connection.sock.sendall(b"NONSENSE\r\n\r\n")
    response = http.client.HTTPResponse(connection.sock)
    response.begin()
    assert response.status == 400
    assert json.loads(response.read())["message"]
    connection.close()


@pytest.mark.parametrize("head", [b"GET /health?x=%s HTTP/1.1\r\n\r\n", b"GET /health HTTP/1.1\r\nname: %s\r\n\r\n"])
def test_the_head_of_a_request_is_limited(server: Server, head: bytes) -> None:
    for size, status in ((32_000, 200), (70_000, 431)):
        connection = server.connect()
        connection.connect()
        # Without the end of the head, so that nothing but the limit can make the server answer.
        connection.sock.sendall((head % (b"x" * size)).removesuffix(b"\r\n\r\n") + (b"\r\n\r\n" if status == 200 else b""))
        response = http.client.HTTPResponse(connection.sock)
        response.begin()
        assert response.status == status
        assert json.loads(response.read())["status"] is (status == 200)
        connection.close()


def test_an_empty_body_with_a_content_type_works_on_every_method(server: Server, device: Made) -> None:
    json_type = {"content-type": "application/json"}
    assert server.call("GET", "/data", device.token, headers=json_type).status == 200
    assert server.call("DELETE", "/data", device.token, headers=json_type).status == 200
    assert server.call("POST", f"/device/{device.id}/empty", server.account, headers=json_type).status == 200
    assert server.call("GET", "/device", server.account, headers=json_type).status == 200
    assert server.call("PUT", f"/device/{device.id}", server.account, headers=json_type).result == "Successfully Updated"
