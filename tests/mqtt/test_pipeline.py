"""What a POST passes through, a publish passes through: payload parsers, rate limits, the inspector."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mqtt.mqtt_server import MqttServer
from tests.mqtt.raw_client import publish_packet, subscribe_packet
from tests.server.server_process import Made
from tsengine.mqtt.packet import V5, V311, Reason

LEVELS = pytest.mark.parametrize("level", [V311, V5])
LIMIT = 5


@pytest.fixture(scope="module")
def parsing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MqttServer]:
    folder = tmp_path_factory.mktemp("parsing") / "data"
    running = MqttServer(folder, parsers={"double": "tests.mqtt.mqtt_parsers:double"}, comment_interval=0.5)
    yield running
    assert running.stop() == 0


@pytest.fixture
def parsed(parsing: MqttServer) -> Made:
    return parsing.make("immutable", tags=[{"key": "payload_parser", "value": "double"}])


def ack(number: int, reason: int | None = None) -> tuple[int, bytes]:
    return 0x40, number.to_bytes(2) + (b"" if reason is None else bytes((reason,)))


@LEVELS
def test_a_parser_gets_items_with_their_topic(parsing: MqttServer, parsed: Made, level: int) -> None:
    with parsing.client() as client:
        client.connect(parsed.token, level=level)
        for number, payload in enumerate([b'[{"variable":"t","value":4,"metadata":{"a":1}}]', b'{"variable":"t","value":5}', b"hello"], 1):
            client.send(publish_packet("a/b", payload, number, level=level))
        assert [client.receive() for _ in range(3)] == [ack(1), ack(2), ack(3)]
    rows = parsing.rows(parsed)
    assert [(row["variable"], row["value"]) for row in rows] == [("t", 8), ("t", 10), ("payload", "hello!")]
    assert [row["metadata"] for row in rows] == [{"a": 1, "topic": "a/b"}, {"topic": "a/b"}, {"topic": "a/b"}]


def test_what_a_parser_drops_or_refuses_keeps_its_place(parsing: MqttServer, parsed: Made) -> None:
    values = [1, "drop", 2, "fail", 3, "drop", "fail", 4]
    with parsing.client() as client:
        client.connect(parsed.token, level=V5)
        client.send(
            *(publish_packet("a", json.dumps({"variable": "t", "value": v}).encode(), n, level=V5) for n, v in enumerate(values, 1))
        )
        found = [client.receive() for _ in values]
    assert [(body[:2], body[2:3]) for _, body in found if body] == [  # type: ignore[misc]
        (number.to_bytes(2), bytes((Reason.PAYLOAD_FORMAT_INVALID,)) if value == "fail" else b"") for number, value in enumerate(values, 1)
    ]
    assert [row["value"] for row in parsing.rows(parsed)] == [2, 4, 6, 8]


def test_a_parser_gets_tagotip(parsing: MqttServer) -> None:
    device = parsing.make("immutable", tags=[{"key": "payload_parser", "value": "double"}], serie_number="parsed-1")
    with parsing.client() as client:
        client.connect(device.token)
        client.send(subscribe_packet(1, "$tip/parsed-1/ack", qos=0), publish_packet("$tip/parsed-1/push", b"[a:=1;b=drop;c:=2]", 2))
        assert client.receive() == (0x90, b"\0\1\0")
        told = client.receive()
        assert told is not None and told[1].endswith(b"OK|2")
        assert client.receive() == ack(2)
    assert [row["value"] for row in parsing.rows(device)] == [2, 4]


def test_the_inspector_sees_a_session(parsing: MqttServer) -> None:
    device = parsing.make("immutable")
    listener: http.client.HTTPConnection = parsing.connect()
    listener.request("GET", f"/events?channels=device_inspector.{device.id}&token={parsing.account}")
    stream = listener.getresponse()
    assert stream.status == 200 and stream.readline().startswith(b":")
    with parsing.client() as client:
        client.connect(device.token, "seen", level=V5, will=("gone", b"bye", 1, False))
        client.send(subscribe_packet(1, "cmd/#", level=V5), publish_packet("a/b", b'{"variable":"a b"}', 2, level=V5))
        assert client.receive() is not None
        found = client.receive()
        assert found is not None and found[1][:3] == b"\0\2\x99"
    entries: list[tuple[str, Any]] = []
    while not entries or entries[-1][0] != "[MQTT] Last will":
        line = stream.readline()
        if line.startswith(b"data: "):
            entries += [(entry["title"], entry["content"]) for entry in json.loads(line[6:])["payload"]]
    listener.close()
    titles = [title for title, _ in entries]
    assert titles[:3] == ["[MQTT] Connect", "[MQTT] Subscribe", "[MQTT] Publish"]
    assert dict(entries)["[MQTT] Connect"] == "client seen" and dict(entries)["[MQTT] Last will"] == "gone: bye"
    assert titles.count("Error") == 1 and "must not contain" in dict(entries)["Error"]


@LEVELS
def test_rate_limits_count_publishes(tmp_path: Path, level: int) -> None:
    server = MqttServer(tmp_path / "data", rate_limits={"POST /data": LIMIT})
    device = server.make("mutable")
    with server.client() as client:
        client.connect(device.token, level=level)
        client.send(*(publish_packet("a", b"1", number, level=level) for number in range(1, 3 * LIMIT)))
        found = []
        while len(found) < 3 * LIMIT - 1 and (got := client.receive()) is not None:
            found.append(got)
    # A minute of the clock may end in between, and then as many pass again.
    passed = [body for _, body in found if len(body) == 2]
    assert LIMIT <= len(passed) <= 2 * LIMIT
    if level == V5:
        assert {body[2] for _, body in found if len(body) > 2} == {Reason.QUOTA_EXCEEDED}
    assert server.stop() == 0


def test_metrics_count_publishes_and_connections(parsing: MqttServer) -> None:
    def numbers() -> dict[str, float]:
        connection = parsing.connect()
        connection.request("GET", "/metrics", headers={"account-token": parsing.account})
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}

    device = parsing.make("mutable")
    before = numbers()
    with parsing.client() as client:
        client.connect(device.token, level=V5)
        client.send(
            *(publish_packet("a", body, 1, level=V5) for body in (b"1", b'[{"variable":"a"},{"variable":"b"}]', b'{"variable":""}'))
        )
        assert [client.receive() is not None for _ in range(3)] == [True] * 3
        after = numbers()
    assert after["tsengine_ingested_points_total"] - before["tsengine_ingested_points_total"] == 3
    assert after["tsengine_mqtt_connections"] >= 1
    name = 'tsengine_errors_total{kind="InputError"}'
    assert after[name] - before.get(name, 0) == 1
