"""A client's session against a real server: who gets in, what is stored and acknowledged, what is heard, and how it ends."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.mqtt.mqtt_server import MqttServer, listening
from tests.mqtt.raw_client import RawClient, publish_packet, subscribe_packet, unsubscribe_packet, with_length
from tests.server.server_process import Made, restart_under_load
from tsengine.errors import InputError, NotFoundError
from tsengine.mqtt import packet
from tsengine.mqtt.packet import V5, V311, Property, Reason

LEVELS = pytest.mark.parametrize("level", [V311, V5])


def point(value: Any = 1, **fields: Any) -> bytes:
    return json.dumps([{"variable": "t", "value": value, **fields}]).encode()


def puback(number: int) -> tuple[int, bytes]:
    return packet.PUBACK << 4, number.to_bytes(2)


def assert_ended(client: RawClient, level: int, reason: Reason) -> None:
    """The server ends the connection, and with 5.0 says why."""
    if level == V5:
        found = client.receive()
        assert found is not None and (found[0], found[1][0]) == (packet.DISCONNECT << 4, reason), found
    assert client.receive() is None


def make_token(server: MqttServer, device: Made, **fields: Any) -> str:
    made: str = server.call("POST", "/device/token", server.account, {"device": device.id, "name": "another", **fields}).result["token"]
    return made


# --- getting in ----------------------------------------------------------------------------------------------------------


@LEVELS
def test_a_device_gets_in_with_its_token(server: MqttServer, device: Made, level: int) -> None:
    with server.client() as client:
        code, properties = client.connect(device.token, "c", level=level)
        assert code == 0
        if level == V5:
            found, _ = packet.read_properties(properties, 0, len(properties), frozenset(Property))
            assert found == {
                Property.MAXIMUM_QOS: 1,
                Property.RETAIN_AVAILABLE: 0,
                Property.MAXIMUM_PACKET_SIZE: 1024 * 1024,
                Property.SUBSCRIPTION_IDS_AVAILABLE: 0,
                Property.SHARED_SUBSCRIPTIONS_AVAILABLE: 0,
            }


@LEVELS
def test_wrong_revoked_and_expired_tokens_look_the_same(server: MqttServer, device: Made, level: int) -> None:
    revoked = make_token(server, device)
    assert server.call("DELETE", f"/device/token/{revoked}", server.account).status == 200
    expired = make_token(server, device, expire_time="2020-01-01T00:00:00Z")
    for token in ("wrong", "", revoked, expired, server.account, None):
        with server.client() as client:
            code, _ = client.connect(token, "c", level=level)
            assert code == (4 if level == V311 else Reason.BAD_USER_OR_PASSWORD)
            assert client.receive() is None


@LEVELS
def test_a_deactivated_device_does_not_get_in(server: MqttServer, device: Made, level: int) -> None:
    assert server.call("PUT", f"/device/{device.id}", server.account, {"active": False}).status == 200
    with server.client() as client:
        assert client.connect(device.token, "c", level=level)[0] == (5 if level == V311 else Reason.NOT_AUTHORIZED)
        assert client.receive() is None


def test_a_client_may_go_without_an_id(server: MqttServer, device: Made) -> None:
    with server.client() as client:
        assert client.connect(device.token, "", level=V311)[0] == 0
    with server.client() as client:
        assert client.connect(device.token, "", level=V311, is_clean=False)[0] == 2
    with server.client() as client:
        assert client.connect(device.token, "x" * 257, level=V5)[0] == Reason.BAD_CLIENT_ID
    with server.client() as client:
        _, properties = client.connect(device.token, "", level=V5, keep_alive_s=0, properties=b"\x05\x11\x00\x00\x00\x09")
        found, _ = packet.read_properties(properties, 0, len(properties), frozenset(Property))
        assert found[Property.ASSIGNED_CLIENT_ID].startswith("tsengine-")
        assert found[Property.SERVER_KEEP_ALIVE] == 600
        assert found[Property.SESSION_EXPIRY] == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"properties": b"\x06\x15\x00\x03abc"}, Reason.BAD_AUTHENTICATION_METHOD),
        ({"will": ("w", b"", 2, False)}, Reason.QOS_NOT_SUPPORTED),
        ({"will": ("w", b"", 1, True)}, Reason.RETAIN_NOT_SUPPORTED),
    ],
)
def test_what_is_not_offered_is_refused_in_connect(server: MqttServer, device: Made, fields: dict[str, Any], reason: Reason) -> None:
    with server.client() as client:
        assert client.connect(device.token, "c", level=V5, **fields)[0] == reason
        assert client.receive() is None


def test_other_versions_and_other_protocols_end_at_once(server: MqttServer, device: Made) -> None:
    with server.client() as client:
        client.send(bytes.fromhex("100e00064d514973647003020000" + "0000"))
        assert client.receive() is None
    with server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a client that took the wrong port\r\n\r\n")
        assert client.receive() is None
    with server.client() as client:
        client.send(publish_packet("a", b"1", 1))
        assert client.receive() is None
    with server.client() as client:
        assert client.connect(device.token)[0] == 0
        client.send(bytes.fromhex("101000044d5154540402003c000474776f21"))
        assert client.receive() is None


def test_the_same_client_id_takes_over(server: MqttServer, device: Made) -> None:
    other = server.make("mutable")
    with server.client() as first, server.client() as second, server.client() as elsewhere:
        assert first.connect(device.token, "c", level=V5)[0] == 0
        assert elsewhere.connect(other.token, "c", level=V5)[0] == 0
        assert second.connect(device.token, "c", level=V5)[0] == 0
        assert_ended(first, V5, Reason.SESSION_TAKEN_OVER)
        for client in (second, elsewhere):
            client.send(b"\xc0\x00")
            assert client.receive() == (0xD0, b"")


# --- publishing ----------------------------------------------------------------------------------------------------------


@LEVELS
def test_publishes_are_stored_before_they_are_acknowledged(server: MqttServer, device: Made, level: int) -> None:
    with server.client() as client:
        client.connect(device.token, level=level)
        for number, (payload, expected) in enumerate(
            [
                (point(1), ("t", 1)),
                (b'{"variable":"T","value":"x","metadata":{"a":1}}', ("t", "x")),
                (b"21.5", ("payload", "21.5")),
                (b"\x00\xff", ("payload", "00ff")),
                (point(5, time="2026-11-21T08:30:00Z"), ("t", 5)),
            ],
            1,
        ):
            client.send(publish_packet(f"a/{number}", payload, number, level=level))
            assert client.receive() == puback(number)
            (row,) = [row for row in server.rows(device) if row["metadata"]["topic"] == f"a/{number}"]
            assert (row["variable"], row["value"]) == expected
        assert len({row["group"] for row in server.rows(device)}) == 5
        assert [row["metadata"] for row in server.rows(device) if row["value"] == "x"] == [{"a": 1, "topic": "a/2"}]


@LEVELS
def test_many_at_once_are_acknowledged_in_order(server: MqttServer, device: Made, level: int) -> None:
    with server.client() as client:
        client.connect(device.token, level=level)
        client.send(*(publish_packet("a", point(number), number, level=level) for number in range(1, 5_001)))
        assert [client.receive() for _ in range(5_000)] == [puback(number) for number in range(1, 5_001)]
    assert [row["value"] for row in server.rows(device)] == list(range(1, 5_001))


def test_refusals_of_5_keep_their_place_in_the_order(server: MqttServer, device: Made) -> None:
    with server.client() as client:
        client.connect(device.token, level=V5)
        kinds = [point, lambda number: b'[{"variable":"a b"}]', lambda number: b"[]"]
        client.send(*(publish_packet("a", kinds[number % 3](number), number, level=V5) for number in range(1, 301)))
        found = [client.receive() for _ in range(300)]
        assert [int.from_bytes(body[:2]) for _, body in found if body] == list(range(1, 301))  # type: ignore[misc]
        for number, (_, body) in enumerate(found, 1):  # type: ignore[misc]
            assert body[2:3] == (bytes((Reason.PAYLOAD_FORMAT_INVALID,)) if number % 3 == 1 else b""), number
        assert b"must not contain" in found[0][1]  # type: ignore[index]
        client.send(publish_packet("a", point(time="1990-01-01T00:00:00Z"), 7, level=V5))
        outside = client.receive()
        assert outside is not None and outside[1][2] >= 0x80
    assert len(server.rows(device)) == 100


def test_what_3_1_1_cannot_be_told_ends_its_connection_and_what_came_before_is_acknowledged(server: MqttServer, device: Made) -> None:
    with server.client() as client:
        client.connect(device.token)
        client.send(publish_packet("a", point(), 1), publish_packet("a", b'[{"variable":"a b"}]', 2), publish_packet("a", point(), 3))
        assert client.receive() == puback(1)
        assert client.receive() is None
    assert len(server.rows(device)) == 1


@LEVELS
def test_refused_publishes_with_qos_0_are_left_out(server: MqttServer, device: Made, level: int) -> None:
    with server.client() as client:
        client.connect(device.token, level=level)
        client.send(publish_packet("a", b'[{"variable":"a b"}]', level=level), publish_packet("a", point(), level=level))
        client.send(publish_packet("a", point(2), 9, level=level))
        assert client.receive() == puback(9)
    assert [row["value"] for row in server.rows(device)] == [1, 2]


@LEVELS
@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (with_length(0x34, b"\x00\x01a\x00\x01x"), Reason.QOS_NOT_SUPPORTED),
        (with_length(0x30, b"\x00\x03a/+\x00x"), Reason.TOPIC_NAME_INVALID),
        (with_length(0x30, b"\x00\x04$SYS\x00x"), Reason.TOPIC_NAME_INVALID),
        (with_length(0x30, b"\x00\x00\x00x"), Reason.TOPIC_NAME_INVALID),
        (with_length(0x30, b"\x00\x01\xff\x00x"), Reason.MALFORMED_PACKET),
        (b"\x30\x81\x80\x40" + b"x" * 100, Reason.PACKET_TOO_LARGE),
        (b"\x30\xff\xff\xff\xff\x7f", Reason.MALFORMED_PACKET),
        (b"\xd0\x00", Reason.PROTOCOL_ERROR),
        (b"\xc1\x00", Reason.MALFORMED_PACKET),
        (b"\x80\x00", Reason.MALFORMED_PACKET),
        (b"\xf0\x00", Reason.PROTOCOL_ERROR),
        (b"\x00\x00", Reason.PROTOCOL_ERROR),
    ],
)
def test_what_is_not_allowed_ends_the_connection(server: MqttServer, device: Made, level: int, sent: bytes, reason: Reason) -> None:
    with server.client() as client:
        client.connect(device.token, level=level)
        client.send(sent)
        assert_ended(client, level, reason)


@LEVELS
def test_a_token_that_may_only_read_stores_nothing(server: MqttServer, device: Made, level: int) -> None:
    token = make_token(server, device, permission="read")
    with server.client() as client:
        client.connect(token, level=level)
        client.send(publish_packet("a", point(), 1, level=level))
        found = client.receive()
        if level == V5:
            assert found is not None and found[1][:3] == b"\x00\x01\x87"
        else:
            assert found is None
    assert server.rows(device) == []


@LEVELS
def test_a_packet_of_the_largest_size_passes(server: MqttServer, device: Made, level: int) -> None:
    topic_bytes = 2 + 1 + 2 + (1 if level == V5 else 0)
    payload = point().ljust(1024 * 1024 - 4 - topic_bytes)
    largest = publish_packet("a", payload, 1, level=level)
    assert len(largest) == 1024 * 1024
    with server.client() as client:
        client.connect(device.token, level=level)
        client.send(largest)
        assert client.receive() == puback(1)


# --- hearing -------------------------------------------------------------------------------------------------------------


@LEVELS
def test_a_device_hears_of_its_parameters_and_messages(server: MqttServer, device: Made, level: int) -> None:
    other = server.make("mutable")
    with server.client() as client, server.client() as elsewhere:
        client.connect(device.token, level=level)
        elsewhere.connect(other.token, level=level)
        for each in (client, elsewhere):
            each.send(subscribe_packet(1, "tago/params", "cmd/#", level=level))
            found = each.receive()
            assert found is not None and found[0] == 0x90 and found[1][-2:] == b"\1\1"
        assert server.call("POST", f"/device/{device.id}/params", server.account, {"key": "rate", "value": 5}).status == 201
        found = client.receive()
        assert found is not None and found[0] == 0x32
        assert found[1].startswith(b"\x00\x0btago/params\x00\x01")
        (parameter,) = json.loads(found[1][found[1].index(b"[") :])
        assert (parameter["key"], parameter["value"], parameter["sent"]) == ("rate", "5", False)
        client.send(with_length(0x40, b"\x00\x01"))
        message = {"device": device.id, "topic": "cmd/reboot", "message": "now", "qos": 1}
        assert server.call("POST", "/analysis/services/mqtt/publish", server.account, message).status == 200
        found = client.receive()
        assert found is not None and found[1] == b"\x00\x0acmd/reboot\x00\x02" + (b"\0" if level == V5 else b"") + b"now"
        for wrong in ({"topic": "a/+"}, {"device": "0" * 24}):
            assert server.call("POST", "/analysis/services/mqtt/publish", server.account, {**message, **wrong}).status in (400, 404)
        assert server.call("POST", "/analysis/services/mqtt/publish", device.token, message).status == 401
        # What was marked as sent is no news, and after UNSUBSCRIBE there is none.
        assert server.call("PUT", f"/device/params/{parameter['id']}", device.token, {"sent": True}).status == 200
        client.send(unsubscribe_packet(2, "cmd/#", "never", level=level))
        found = client.receive()
        assert found is not None and found[0] == 0xB0 and found[1] == (b"\0\2\0\0\x11" if level == V5 else b"\0\2")
        assert server.call("POST", "/analysis/services/mqtt/publish", server.account, message).status == 200
        for each in (client, elsewhere):
            each.send(b"\xc0\x00")
            assert each.receive() == (0xD0, b"")


def test_publishes_are_not_passed_on(server: MqttServer, device: Made) -> None:
    with server.client() as client:
        client.connect(device.token)
        client.send(subscribe_packet(1, "#"), publish_packet("a", b"1", 5))
        assert client.receive() == (0x90, b"\0\1\1")
        assert client.receive() == puback(5)
        client.send(b"\xc0\x00")
        assert client.receive() == (0xD0, b"")


@LEVELS
def test_subscriptions_that_are_refused(server: MqttServer, device: Made, level: int) -> None:
    with server.client() as client:
        client.connect(device.token, level=level)
        client.send(subscribe_packet(1, "$SYS/#", "a#", "$share/g/a", "ok", level=level, qos=2))
        found = client.receive()
        refused = [Reason.NOT_AUTHORIZED, Reason.TOPIC_FILTER_INVALID, Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED]
        assert found is not None
        assert list(found[1][-4:]) == ([*refused, 1] if level == V5 else [0x80, 0x80, 0x80, 1])
        client.send(*(subscribe_packet(2, f"f{number}", level=level) for number in range(31)))
        assert [client.receive()[1][-1] for _ in range(31)] == [1] * 31  # type: ignore[index]
        client.send(subscribe_packet(2, "one too many", level=level))
        assert client.receive()[1][-1] == (Reason.QUOTA_EXCEEDED if level == V5 else 0x80)  # type: ignore[index]
    with server.client() as client:
        client.connect(make_token(server, device, permission="write"), level=level)
        client.send(subscribe_packet(1, "a", level=level))
        assert client.receive()[1][-1] == (Reason.NOT_AUTHORIZED if level == V5 else 0x80)  # type: ignore[index]


# --- the end -------------------------------------------------------------------------------------------------------------


@LEVELS
def test_a_revoked_token_disconnects_its_clients_only(server: MqttServer, device: Made, level: int) -> None:
    token = make_token(server, device)
    with server.client() as gone, server.client() as stays:
        gone.connect(token, "a", level=level)
        stays.connect(device.token, "b", level=level)
        assert server.call("DELETE", f"/device/token/{token}", server.account).status == 200
        assert_ended(gone, level, Reason.NOT_AUTHORIZED)
        stays.send(b"\xc0\x00")
        assert stays.receive() == (0xD0, b"")


@LEVELS
@pytest.mark.parametrize("how", ["deactivated", "deleted"])
def test_a_device_that_is_deactivated_or_deleted_disconnects(server: MqttServer, device: Made, level: int, how: str) -> None:
    with server.client() as client:
        client.connect(device.token, level=level)
        assert server.call("PUT", f"/device/{device.id}", server.account, {"name": "still there"}).status == 200
        client.send(publish_packet("a", point(), 1, level=level))
        assert client.receive() == puback(1)
        if how == "deactivated":
            assert server.call("PUT", f"/device/{device.id}", server.account, {"active": False}).status == 200
        else:
            assert server.call("DELETE", f"/device/{device.id}", server.account).status == 200
        assert_ended(client, level, Reason.NOT_AUTHORIZED)


def test_an_expired_token_disconnects(server: MqttServer, device: Made) -> None:
    token = make_token(server, device, expire_time="2 seconds")
    with server.client() as client:
        client.connect(token, level=V5)
        assert_ended(client, V5, Reason.NOT_AUTHORIZED)


def test_a_silent_client_ends_after_one_and_a_half_times_its_keep_alive(server: MqttServer, device: Made) -> None:
    with server.client() as silent, server.client() as alive:
        silent.connect(device.token, "silent", level=V5, keep_alive_s=1)
        alive.connect(device.token, "alive", level=V5, keep_alive_s=0)
        assert_ended(silent, V5, Reason.KEEP_ALIVE_TIMEOUT)
        alive.send(b"\xc0\x00")
        assert alive.receive() == (0xD0, b"")


@LEVELS
def test_nothing_counts_after_a_disconnect(server: MqttServer, device: Made, level: int) -> None:
    with server.client() as client:
        client.connect(device.token, level=level)
        client.send(publish_packet("a", point(), 1, level=level), b"\xe0\x00", publish_packet("a", point(), 2, level=level))
        assert client.receive() == puback(1)
        assert client.receive() is None
    assert len(server.rows(device)) == 1


def test_a_client_that_does_not_read_is_not_read_either(server: MqttServer, device: Made) -> None:
    """Acknowledgements that nobody takes fill the buffers; then the server stops reading, and goes on when the client does."""
    count = 400_000
    with server.client() as client:
        client.connect(device.token)
        sent = threading.Thread(
            target=client.send, args=(b"".join(b"\xc0\x00" for _ in range(count)),), daemon=True
        )  # each is answered with as many bytes
        sent.start()
        assert all(client.receive() == (0xD0, b"") for _ in range(count))
        sent.join()


def test_as_many_connections_as_are_allowed(tmp_path: Path) -> None:
    server = MqttServer(tmp_path / "data", mqtt_connections=2)
    device = server.make("mutable")
    with server.client() as first, server.client() as second:
        assert first.connect(device.token, "1")[0] == second.connect(device.token, "2")[0] == 0
        with server.client() as third:
            assert third.receive() is None
        first.close()
        second.send(b"\xc0\x00")
        assert second.receive() == (0xD0, b"")
        for _ in range(1000):  # until the server has seen the end of the first
            with server.client() as third:
                try:
                    assert third.connect(device.token, "3")[0] == 0
                    break
                except (AssertionError, OSError):
                    continue
        else:
            raise AssertionError("a closed connection still counts")
    assert server.stop() == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("durability", ["sync", "os"])
def test_every_acknowledged_message_is_there_once_after_a_kill(tmp_path: Path, how: signal.Signals, durability: str) -> None:
    """Clients publish as fast as they can, each value once; what was acknowledged is stored once, everything else once or never."""
    server = MqttServer(tmp_path / "data", durability=durability)
    device = server.make("immutable")
    acknowledged: list[list[int]] = [[] for _ in range(4)]
    sent = [0] * 4
    busy = threading.Barrier(5, timeout=60)
    window = 200

    def publish(worker: int) -> None:
        client = server.client()
        client.connect(device.token, f"worker {worker}")
        numbers = iter(range(1, 60_001))
        try:
            for number in numbers:
                client.send(publish_packet(f"w/{worker}", json.dumps({"variable": f"w{worker}", "value": number}).encode(), number))
                sent[worker] = number
                if number - len(acknowledged[worker]) >= window:
                    found = client.receive()
                    if found is None:
                        break
                    acknowledged[worker].append(int.from_bytes(found[1]))
                if number == 500:
                    busy.wait()
            while (found := client.receive()) is not None:
                if found[0] == packet.PUBACK << 4:
                    acknowledged[worker].append(int.from_bytes(found[1]))
        except OSError:
            pass
        client.close()

    restart_under_load(server, publish, 4, busy, how)
    for worker in range(4):
        stored = sorted(row["value"] for row in server.rows(device, variable=f"w{worker}"))
        assert len(set(stored)) == len(stored)
        assert acknowledged[worker] == list(range(1, len(acknowledged[worker]) + 1)) and len(acknowledged[worker]) >= 500 - window
        assert set(acknowledged[worker]) <= set(stored) <= set(range(1, sent[worker] + 1))
    assert server.stop() == 0


def test_a_stop_says_goodbye(tmp_path: Path) -> None:
    server = MqttServer(tmp_path / "data")
    device = server.make("mutable")
    with server.client() as client:
        client.connect(device.token, level=V5)
        assert server.stop() == 0
        assert_ended(client, V5, Reason.SERVER_SHUTTING_DOWN)


def test_a_full_device_refuses_in_order_even_when_it_was_not_loaded_yet(tmp_path: Path) -> None:
    """The first write of a device waits for its counts; the refusals among what follows keep their places."""
    server = MqttServer(tmp_path / "data")
    device = server.make("mutable")
    full = [{"variable": "t", "value": number} for number in range(49_995)]
    assert server.call("POST", "/data", device.token, full).status == 200
    assert server.stop() == 0
    server.start()
    with server.client() as client:
        client.connect(device.token, level=V5)
        client.send(*(publish_packet("a", point(number), number, level=V5) for number in range(1, 21)))
        found = [client.receive() for _ in range(20)]
        assert [int.from_bytes(body[:2]) for _, body in found if body] == list(range(1, 21))  # type: ignore[misc]
        assert [body[2:3] for _, body in found] == [b""] * 5 + [bytes((Reason.QUOTA_EXCEEDED,))] * 15  # type: ignore[misc]
    assert server.stop() == 0


def test_the_engine_publishes_from_any_thread(tmp_path: Path) -> None:
    with listening(tmp_path / "data") as inside:
        device = inside.engine.create_device("heard")
        token = inside.engine.create_token(device.id, "heard").token
        with inside.client() as client:
            client.connect(token)
            client.send(subscribe_packet(1, "cmd/+", qos=0))
            assert client.receive() == (0x90, b"\0\1\0")
            inside.engine.publish(device.id, "cmd/a", "text")
            inside.engine.publish(device.id, "cmd/b", b"\x00\xff")
            assert [client.receive(), client.receive()] == [(0x30, b"\0\5cmd/atext"), (0x30, b"\0\5cmd/b\x00\xff")]
            for wrong in ("", "a/+", "#", "x" * 1_025):
                with pytest.raises(InputError):
                    inside.engine.publish(device.id, wrong, "")
            with pytest.raises(NotFoundError):
                inside.engine.publish("0" * 24, "a", "")


def test_a_client_that_acknowledges_nothing_is_disconnected(tmp_path: Path) -> None:
    with listening(tmp_path / "data") as inside:
        device = inside.engine.create_device("deaf")
        token = inside.engine.create_token(device.id, "deaf").token
        with inside.client() as client:
            client.connect(token, level=V5)
            client.send(subscribe_packet(1, "a", level=V5))
            assert client.receive() is not None
            for _ in range(101):
                inside.engine.publish(device.id, "a", "x")
            for number in range(1, 101):
                assert client.receive() == (0x32, b"\0\1a" + number.to_bytes(2) + b"\0x")
            assert_ended(client, V5, Reason.QUOTA_EXCEEDED)


def test_larger_messages_than_a_client_takes_are_dropped(tmp_path: Path) -> None:
    with listening(tmp_path / "data") as inside:
        device = inside.engine.create_device("small")
        token = inside.engine.create_token(device.id, "small").token
        with inside.client() as client:
            client.connect(token, level=V5, properties=packet.write_properties({Property.MAXIMUM_PACKET_SIZE: 100}))
            client.send(subscribe_packet(1, "a", level=V5, qos=0))
            assert client.receive() is not None
            inside.engine.publish(device.id, "a", b"x" * 100)
            inside.engine.publish(device.id, "a", b"y")
            assert client.receive() == (0x30, b"\0\1a\0y")


def test_the_use_of_a_token_is_noted(server: MqttServer, device: Made) -> None:
    def last_used() -> Any:
        query = {"fields": ["last_authorization", "token"]}
        return server.call("GET", f"/device/token/{device.id}", server.account, query=query).result[0]["last_authorization"]

    assert last_used() is None
    with server.client() as client:
        client.connect(device.token)
        assert last_used() is not None


def test_acknowledgements_arrive_though_the_client_still_sends(server: MqttServer, device: Made) -> None:
    """The server ends a connection whose bytes it has not read; what it said before must not be lost by that."""
    with server.client() as client:
        client.connect(device.token)
        sound = [publish_packet("a", point(number), number) for number in range(1, 51)]
        behind = [publish_packet("a", b"x" * 1_000, number) for number in range(100, 6_100)]

        def send() -> None:
            with contextlib.suppress(OSError):
                client.send(*sound, publish_packet("a", b'[{"variable":"a b"}]', 51), *behind)

        sender = threading.Thread(target=send)
        sender.start()
        assert [client.receive() for _ in range(51)] == [*(puback(number) for number in range(1, 51)), None]
        client.socket.shutdown(socket.SHUT_RDWR)
        sender.join()


def test_reasons_are_left_out_if_they_are_not_wanted_or_too_long(server: MqttServer, device: Made) -> None:
    wishes = {Property.REQUEST_PROBLEM_INFORMATION: 0}, {Property.MAXIMUM_PACKET_SIZE: 20}
    for wish in wishes:
        with server.client() as client:
            client.connect(device.token, level=V5, properties=packet.write_properties(wish))
            client.send(publish_packet("a", b'[{"variable":"a b"}]', 1, level=V5), b"\xf0\x00")
            assert client.receive() == (0x40, b"\0\1\x99\0")
            assert_ended(client, V5, Reason.PROTOCOL_ERROR)
