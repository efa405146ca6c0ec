"""The access log and request ids; no token is in any log, wherever a client puts it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.server.server_process import Server
from tsengine.errors import StorageError
from tsengine.server.app import ROUTES
from tsengine.server.http.request_log import RequestLog


@pytest.fixture
def logged(tmp_path: Path) -> Any:
    """Return a function that runs requests on a server of its own and gives back the lines of its access log and its standard error."""

    def run(requests: Any) -> tuple[list[dict[str, Any]], str]:
        path, errors = tmp_path / "access.log", tmp_path / "stderr"
        with errors.open("w") as stderr:
            server = Server(tmp_path / "data", access_log=str(path), stderr=stderr)
            requests(server)
            assert server.stop() == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        return [json.loads(line) for line in path.read_text().splitlines()], errors.read_text()

    return run


def test_each_request_has_a_line(logged: Any) -> None:
    ids: dict[str, str] = {}

    def requests(server: Server) -> None:
        device = server.make("immutable")
        ids["device"] = device.id
        server.send(device, {"variable": "a", "value": 1})
        ids["own"] = server.call("GET", "/data", device.token, query="query=count&variables=secret").headers["x-request-id"]
        server.call("GET", f"/device/{device.id}/data", server.account, headers={"x-request-id": "mine-1"})
        server.call("GET", "/data/no/route", "x")

    lines, _ = logged(requests)
    shown = [(line["method"], line["path"], line["status"], line["device"]) for line in lines]
    assert shown == [
        ("POST", "/device", 201, None),
        ("POST", "/data", 200, ids["device"]),
        ("GET", "/data", 200, ids["device"]),
        ("GET", f"/device/{ids['device']}/data", 200, ids["device"]),
        ("GET", "/data/.../...", 404, None),
    ]
    assert lines[1]["bytes"] == len(b'{"status":true,"result":"1 Data Added"}')
    assert (lines[2]["request"], lines[3]["request"]) == (ids["own"], "mine-1")
    assert len({line["request"] for line in lines}) == len(lines)
    assert all(0 < line["ms"] < 60_000 and line["time"].endswith("Z") and len(line["time"]) == 24 for line in lines)
    assert set(lines[0]) == {"time", "request", "method", "path", "status", "bytes", "ms", "device"}


def test_no_log_holds_a_token(logged: Any) -> None:
    secrets: list[str] = []

    def requests(server: Server) -> None:
        device = server.make()
        secrets.extend((device.token, server.account))
        for token in (device.token, server.account):
            for header in ("token", "authorization", "account-token", "device-token", "cookie"):
                server.call("GET", "/data", headers={header: token})
                server.call("POST", "/data", headers={header: f"Bearer {token}"}, body=[{"variable": token, "value": token}])
            for method, path in [
                *(
                    ("GET", f"/device/token/{token}"),
                    ("DELETE", f"/device/token/{token}x"),
                    ("GET", f"/{token}"),
                    ("GET", f"/data/{token}"),
                ),
                *(
                    ("GET", f"/device/{token}"),
                    ("PUT", f"/device/{token}/data"),
                    ("GET", f"/device/params/{token}"),
                    ("PATCH", f"/device/token/{token}"),
                ),
                *(
                    ("GET", f"/device/{device.id}/chunk/{token}"),
                    ("DELETE", f"/device/{device.id}/params/{token}"),
                    ("GET", f"//{token}//"),
                ),
                *(("GET", f"/integration/network/resolve/{token}/{token}"), ("DELETE", f"/serviceauth/{token}")),
                ("GET", "/" + "/".join(["data"] * 20 + [token])),
            ]:
                server.call(method, path, server.account)
            for name in ("token", "authorization", "authorization_token", "device_token", "variables", "start_date", "query"):
                server.call("GET", "/data", device.token, query={name: token})
                server.call("GET", "/device", server.account, query={name: token, "filter[token]": token})
        server.call("DELETE", f"/device/token/{device.token}", server.account)
        connection = server.connect()
        connection.connect()
        connection.sock.sendall(b"NONSENSE %s\r\ntoken: %s\r\n\r\n" % (device.token.encode(), server.account.encode()))
        assert connection.sock.recv(1000)
        connection.close()

    lines, errors = logged(requests)
    assert len(lines) > 60
    for secret in secrets:
        assert secret not in json.dumps(lines)
        assert secret not in errors


def test_a_request_id_is_taken_only_if_it_is_plain(server: Server) -> None:
    for given in ("a", "0af7651916cd43dd8448eb211c80319c", "A-b_c.d:e/f+g=", "x" * 64):
        assert server.call("GET", "/health", headers={"x-request-id": given}).headers["x-request-id"] == given
    made = set()
    for given in ("", "x" * 65, "a b", 'a"b', "a\tb", "é", "a\\b", "<b>"):
        made.add(server.call("GET", "/health", headers={"x-request-id": given}).headers["x-request-id"])
    assert len(made) == 8 and not any(character in text for text in made for character in ' "\t<\\')


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "/data", []), ("GET", "/data", None), ("GET", "/x", None), ("OPTIONS", "/data", None), ("POST", "/data", b"{")],
)
def test_every_answer_has_the_request_id(server: Server, method: str, path: str, body: Any) -> None:
    device = server.make()
    assert server.call(method, path, device.token, body, headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"


def test_a_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot open the access log .*missing/log: No such file"):
        RequestLog(str(tmp_path / "missing" / "log"), ())


def test_words_of_paths_are_no_fields() -> None:
    assert any("{" in route.path for route in ROUTES)
    log = RequestLog("-", {part for route in ROUTES for part in route.path.split("/") if "{" not in part})
    assert log.shown(["", "device", "token", "secret"][1:]) == "/device/token/..."
    assert log.shown(["device", "0" * 24, "chunk", "1795219200_1795305599"]) == f"/device/{'0' * 24}/chunk/1795219200_1795305599"
