"""TagoTiP over MQTT and over HTTP: the same bodies, the same points, the same errors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

import tsengine
from tests.mqtt.mqtt_server import MqttServer
from tests.mqtt.raw_client import RawClient, publish_packet, subscribe_packet
from tests.server.server_process import Made
from tsengine.mqtt.packet import V5, V311


class Place:
    """A server with one device that has a serial, and two authorizations."""

    def __init__(self, folder: Path) -> None:
        with tsengine.open(folder) as db:
            device = db.create_device("sensor", serial="sensor-01")
            other = db.create_device("other", serial="sensor-02")
            self.device = Made(device.id, db.create_token(device.id, "token").token)
            self.other = Made(other.id, db.create_token(other.id, "token", serial="spare-02").token)
            self.writes, self.reads = (
                self.hash_of(db.create_authorization("gateway", permission=kind).token) for kind in ("write", "full")
            )
        self.server = MqttServer(folder)

    @staticmethod
    def hash_of(token: str) -> str:
        return hashlib.sha256(token.removeprefix("at").encode()).hexdigest()[:16]

    def http(self, method: str, serial: str, hash_text: str, body: bytes | None = None, query: str = "") -> tuple[int, str]:
        connection = self.server.connect()
        connection.request(
            method, f"/v1/tip/{serial}{query}", body, {"Authorization": f"TagoTiP {hash_text}", "Content-Type": "text/plain"}
        )
        response = connection.getresponse()
        found = response.read().decode()
        connection.close()
        return response.status, found

    def gateway(self, hash_text: str, level: int = V311) -> RawClient:
        client = self.server.client()
        assert self.connect(client, hash_text, level) == 0
        return client

    @staticmethod
    def connect(client: RawClient, hash_text: str, level: int) -> int:
        from tests.mqtt.raw_client import connect_packet

        client.send(connect_packet("gateway", hash_text[:8], hash_text[8:], level=level))
        found = client.receive()
        assert found is not None
        return found[1][1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Place(tmp_path_factory.mktemp("tip") / "data")
    yield made
    assert made.server.stop() == 0


def values(place: Place, device: Made, variable: str) -> list[Any]:
    return [row["value"] for row in place.server.rows(device, variable=variable)]


def test_http_push_pull_and_ping(place: Place) -> None:
    assert place.http("POST", "sensor-01", place.writes, b"^g1{fw=2}[http_t:=21.5#C;http_on?=true{fw=3}]\n") == (200, "2")
    (row,) = place.server.rows(place.device, variable="http_t")
    assert (row["value"], row["unit"], row["group"], row["metadata"]) == (21.5, "C", "g1", {"fw": "2"})
    status, text = place.http("GET", "sensor-01", place.reads, query="?variables=http_t,never,http_on")
    assert status == 200 and text.startswith("[http_t:=21.5#C@") and ";http_on?=true@" in text
    assert place.http("HEAD", "sensor-01", place.writes)[0] == 204
    assert place.http("POST", "spare-02", place.writes, b"[http_spare:=1]") == (200, "1")
    assert values(place, place.other, "http_spare") == [1]


def test_a_passthrough_over_http_is_stored(place: Place) -> None:
    assert place.http("POST", "sensor-02", place.writes, b">xDEADBEEF") == (200, "1")
    assert place.http("POST", "sensor-02", place.writes, b">b3q2+7w==") == (200, "1")
    assert values(place, place.other, "payload") == ["deadbeef", "3q2+7w=="]


@pytest.mark.parametrize(
    ("method", "serial", "token", "body", "query", "expected"),
    [
        ("POST", "sensor-01", "0" * 16, b"[t:=1]", "", (401, "invalid_token")),
        ("POST", "sensor-01", "short", b"[t:=1]", "", (401, "invalid_token")),
        ("GET", "sensor-01", "writes", None, "?variables=t", (401, "invalid_token")),
        ("POST", "nobody", "writes", b"[t:=1]", "", (404, "device_not_found")),
        ("POST", "sensor-01", "writes", b"[t:=1", "", (400, "invalid_payload")),
        ("POST", "sensor-01", "writes", b"", "", (400, "invalid_payload")),
        ("POST", "sensor-01", "writes", b"\xff", "", (400, "invalid_payload")),
        ("POST", "sensor-01", "writes", b"[t@=99,0]", "", (400, "invalid_payload")),
        ("POST", "sensor-01", "writes", b"x" * 16_385, "", (413, "payload_too_large")),
        ("GET", "sensor-01", "reads", None, "?variables=never", (404, "variable_not_found")),
        ("GET", "sensor-01", "reads", None, "", (400, "invalid_payload")),
        ("GET", "sensor-01", "reads", None, "?variables=A", (400, "invalid_payload")),
        ("HEAD", "nobody", "writes", None, "", (404, "")),
    ],
)
def test_errors_over_http_have_their_status(
    place: Place, method: str, serial: str, token: str, body: bytes | None, query: str, expected: tuple[int, str]
) -> None:
    assert place.http(method, serial, getattr(place, token, token), body, query) == expected


@pytest.mark.parametrize("level", [V311, V5])
def test_a_gateway_speaks_for_any_device(place: Place, level: int) -> None:
    with place.gateway(place.reads, level) as client:
        client.send(subscribe_packet(1, "$tip/+/ack", "other/#", level=level))
        found = client.receive()
        assert found is not None and list(found[1][-2:]) == [1, 0x87 if level == V5 else 0x80]
        none = b"\0" if level == V5 else b""
        variable = f"mqtt_{level}"
        for number, serial in enumerate(["sensor-01", "sensor-02", "spare-02"], 1):
            body = f"!{number}|[{variable}:={number}]".encode()
            client.send(publish_packet(f"$tip/{serial}/push", body, number, level=level))
            topic = f"$tip/{serial}/ack".encode()
            told = client.receive()
            assert told is not None and told[1] == len(topic).to_bytes(2) + topic + number.to_bytes(2) + none + f"!{number}|OK|1".encode()
            assert client.receive() == (0x40, number.to_bytes(2))
        assert values(place, place.device, variable) == [1]
        assert values(place, place.other, variable) == [2, 3]
        client.send(publish_packet("$tip/sensor-01/pull", f"{variable},never".encode(), level=level))
        told = client.receive()
        assert told is not None and f"OK|[{variable}:=1@".encode() in told[1]
        client.send(publish_packet("$tip/nobody/push", b"[t:=1]", level=level))
        told = client.receive()
        assert told is not None and told[1].endswith(b"ERR|device_not_found")
        client.send(publish_packet("$tip/sensor-01/push", b"!7|[t:=", level=level))
        told = client.receive()
        assert told is not None and told[1].endswith(b"!7|ERR|invalid_payload")
        place.server.call(
            "POST",
            "/analysis/services/mqtt/publish",
            place.server.account,
            {"device": place.device.id, "topic": "$tip/sensor-01/ack", "message": "CMD|reboot"},
        )
        told = client.receive()
        assert told is not None and told[1].endswith(b"CMD|reboot")
        client.send(publish_packet("other", b"1", 9, level=level))
        found = client.receive()
        assert found is None or (level == V5 and found[1][0] == 0x87)


def test_wrong_authorizations_do_not_get_in(place: Place) -> None:
    for wrong in ("0" * 16, place.writes[:15] + ("0" if place.writes[15] != "0" else "1"), place.writes + "00", "zz" * 8):
        with place.server.client() as client:
            assert place.connect(client, wrong, V311) == 4


def test_refused_pushes_are_answered(place: Place) -> None:
    with place.gateway(place.writes, V5) as client:
        client.send(subscribe_packet(1, "$tip/+/ack", level=V5, qos=0))
        assert client.receive() is not None
        for number, (topic, body, reason, told) in enumerate(
            [
                ("$tip/sensor-01/push", b"[t:=", 0x99, b"ERR|invalid_payload"),
                ("$tip/nobody/push", b"[t:=1]", 0x87, b"ERR|device_not_found"),
                ("$tip/sensor-01/pull", b"t", 0x87, b"ERR|invalid_token"),
                ("$tip/sensor-01/push", b"x" * 16_385, 0x99, b"ERR|payload_too_large"),
            ],
            1,
        ):
            client.send(publish_packet(topic, body, number, level=V5))
            message, ack = client.receive(), client.receive()
            assert message is not None and message[1].endswith(told)
            assert ack is not None and ack[1][:3] == number.to_bytes(2) + bytes((reason,))


@pytest.mark.parametrize("level", [V311, V5])
def test_a_device_speaks_for_itself_only(place: Place, level: int) -> None:
    with place.server.client() as client:
        client.connect(place.other.token, level=level)
        for number, serial in enumerate(["sensor-02", "spare-02"], 1):
            client.send(publish_packet(f"$tip/{serial}/push", f"[own_{level}:={number}]".encode(), number, level=level))
            assert client.receive() == (0x40, number.to_bytes(2))
        client.send(publish_packet("$tip/sensor-02/push", b">x0001", 3, level=level))
        assert client.receive() == (0x40, b"\0\3")
        client.send(publish_packet("$tip/sensor-01/push", b"[own:=3]", 4, level=level))
        found = client.receive()
        assert found is None if level == V311 else found is not None and found[1][2] == 0x87
    assert values(place, place.other, f"own_{level}") == [1, 2]
    marked = [row for row in place.server.rows(place.other, variable="payload") if row["value"] == "0001"]
    assert {row["metadata"]["topic"] for row in marked} == {"$tip/sensor-02/push"}
