"""Clients that others wrote: paho-mqtt in both versions, with and without TLS, and Mosquitto's command-line tools."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.mqtt.mqtt_server import MqttServer
from tests.mqtt.raw_client import RawClient, publish_packet
from tests.server.server_process import ROOT, Made

TIMEOUT_S = 30
VERSIONS = pytest.mark.parametrize("version", [MQTTv311, MQTTv5])


class Paho:
    """A paho client in its own thread, with what it was told."""

    def __init__(self, server: MqttServer, token: str, version: Any, context: ssl.SSLContext | None = None) -> None:
        self.client = Client(CallbackAPIVersion.VERSION2, client_id="paho", protocol=version)
        self.client.username_pw_set("Token", token)
        self.reasons: list[str] = []
        self.messages: list[tuple[str, bytes]] = []
        self._connected, self._disconnected, self._subscribed, self._heard = (threading.Event() for _ in range(4))
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._on_message
        if context is not None:
            self.client.tls_set_context(context)
        self.client.connect("127.0.0.1", server.mqtts if context else server.mqtt, keepalive=60)
        self.client.loop_start()
        assert self._connected.wait(TIMEOUT_S)

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.reasons.append(str(reason))
        self._connected.set()

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.reasons.append(str(reason))
        self._disconnected.set()

    def _on_message(self, client: Any, data: Any, message: Any) -> None:
        self.messages.append((message.topic, message.payload))
        self._heard.set()

    def publish(self, topic: str, payload: bytes, qos: int, properties: Any = None) -> None:
        sent = self.client.publish(topic, payload, qos, properties=properties)
        sent.wait_for_publish(TIMEOUT_S)
        assert sent.is_published()

    def subscribe(self, topic: str) -> None:
        self.client.subscribe(topic, 1)
        assert self._subscribed.wait(TIMEOUT_S)

    def hear(self) -> tuple[str, bytes]:
        assert self._heard.wait(TIMEOUT_S)
        return self.messages[-1]

    def wait_for_the_end(self) -> str:
        assert self._disconnected.wait(TIMEOUT_S)
        return self.reasons[-1]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@VERSIONS
def test_paho_publishes_and_hears(server: MqttServer, device: Made, version: Any) -> None:
    paho = Paho(server, device.token, version)
    try:
        assert paho.reasons == ["Success"]
        properties = None
        if version == MQTTv5:
            properties = Properties(PacketTypes.PUBLISH)
            properties.UserProperty = ("key", "value")
            properties.ContentType = "application/json"
            properties.PayloadFormatIndicator = 1
        for number in range(50):
            paho.publish("a/b", json.dumps([{"variable": "t", "value": number}]).encode(), number % 2, properties)
        paho.publish("a/b", b"hello", 1)
        rows = server.rows(device)
        assert [row["value"] for row in rows] == [*range(50), "hello"]
        assert {row["metadata"]["topic"] for row in rows} == {"a/b"}
        paho.subscribe("tago/#")
        assert server.call("POST", f"/device/{device.id}/params", server.account, {"key": "k", "value": "v"}).status == 201
        topic, payload = paho.hear()
        assert topic == "tago/params" and json.loads(payload)[0]["key"] == "k"
    finally:
        paho.close()


@VERSIONS
def test_paho_is_told_when_its_token_is_wrong_or_revoked(server: MqttServer, device: Made, version: Any) -> None:
    wrong = Paho(server, "wrong", version)
    wrong.close()
    assert wrong.reasons[0] in ("Bad user name or password",)
    paho = Paho(server, device.token, version)
    assert server.call("DELETE", f"/device/token/{device.token}", server.account).status == 200
    reason = paho.wait_for_the_end()
    paho.close()
    assert reason == ("Not authorized" if version == MQTTv5 else "Unspecified error")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[MqttServer]:
    cert, key = certificate
    # HTTP goes over TLS, too, so devices are made before.
    folder = tmp_path_factory.mktemp("secure") / "data"
    plain = MqttServer(folder)
    made = plain.make("immutable")
    assert plain.stop() == 0
    running = MqttServer(folder, mqtts_port=0, tls_cert=str(cert), tls_key=str(key))
    running.made = made  # type: ignore[attr-defined]
    yield running
    assert running.stop() == 0


@VERSIONS
def test_paho_over_tls(secure: MqttServer, certificate: tuple[Path, Path], version: Any) -> None:
    paho = Paho(secure, secure.made.token, version, ssl.create_default_context(cafile=certificate[0]))  # type: ignore[attr-defined]
    try:
        for number in range(20):
            paho.publish("a", b"x" * 5_000 + bytes((48 + number % 10,)), 1)
    finally:
        paho.close()


def test_what_is_no_tls_does_not_harm(secure: MqttServer) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", secure.mqtts), TIMEOUT_S) as peer:
        peer.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test")
        assert not peer.recv(100).startswith(b"\x20")


def test_mqtts_needs_a_certificate(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="before it listened"):
        MqttServer(tmp_path / "data", mqtts_port=0)


needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto_pub") is None, reason="mosquitto_pub is not installed: apt-get install mosquitto-clients"
)


def mosquitto(name: str, server: MqttServer, token: str, *options: str) -> list[str]:
    return [name, "-h", "127.0.0.1", "-p", str(server.mqtt), "-u", "Token", "-P", token, *options]


@needs_mosquitto
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_mosquitto_pub_stores_points(server: MqttServer, device: Made, version: str) -> None:
    lines = "".join(json.dumps({"variable": "t", "value": number}) + "\n" for number in range(300))
    command = mosquitto("mosquitto_pub", server, device.token, "-V", version, "-q", "1", "-t", "a/b", "-l")
    subprocess.run(command, input=lines, text=True, check=True, timeout=TIMEOUT_S)
    assert sorted(row["value"] for row in server.rows(device)) == list(range(300))
    command = mosquitto("mosquitto_pub", server, device.token, "-V", version, "-q", "0", "-t", "raw", "-m", "21.5")
    subprocess.run(command, check=True, timeout=TIMEOUT_S)
    wrong = subprocess.run(mosquitto("mosquitto_pub", server, "wrong", "-V", version, "-t", "a", "-m", "1"), capture_output=True, text=True)
    assert wrong.returncode != 0 and ("refused" in wrong.stderr or "Bad User Name or Password" in wrong.stderr)


@needs_mosquitto
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_mosquitto_sub_gets_messages(server: MqttServer, device: Made, version: str) -> None:
    options = ["-V", version, "-q", "1", "-t", "cmd/#", "-C", "1", "-v", "-W", str(TIMEOUT_S), "-d"]
    command = ["stdbuf", "-oL", *mosquitto("mosquitto_sub", server, device.token, *options)]  # else its lines come at its end
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "SUBACK" in line:
                break
        message = {"device": device.id, "topic": "cmd/reboot", "message": "now"}
        assert server.call("POST", "/analysis/services/mqtt/publish", server.account, message).status == 200
        assert "cmd/reboot now\n" in process.stdout.read()


def test_serve_takes_mqtt_from_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tsengine", "serve", "--data", str(tmp_path / "data"), "--port", "0", "--mqtt", "0"]
    command += ["--mqtt-connections", "5", "--mqtt-max-packet", "200"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("tsengine listens on "):
                break
        (url,) = [line.split()[-1] for line in lines if line.startswith("tsengine takes MQTT on mqtt://127.0.0.1:")]
        token = next(line for line in lines if line.startswith("try: ")).split("token: ")[1].split("'")[0]
        with RawClient("127.0.0.1", int(url.rpartition(":")[2])) as client:
            assert client.connect(token)[0] == 0
            client.send(publish_packet("a", b"x" * 100, 1), publish_packet("a", b"x" * 200, 2))
            assert client.receive() == (0x40, b"\0\1")
            assert client.receive() is None
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0
