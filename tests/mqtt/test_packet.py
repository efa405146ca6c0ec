"""Packets: the examples of the specification byte for byte, every refusal, and any bytes either parse or are refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mqtt.raw_client import connect_packet, field, publish_packet, with_length
from tsengine.limits import TOPIC_BYTES
from tsengine.mqtt import packet
from tsengine.mqtt.packet import V5, V311, Property, Reason, Refused, Subscription
from tsengine.mqtt.topics import check_name, fits, is_valid_filter, tip_parts


def body_of(whole: bytes) -> bytes:
    start, end = packet.bounds(whole, 0)
    assert end == len(whole)
    return whole[start:]


def reason_of(call: Callable[..., Any], *arguments: Any) -> Reason:
    with pytest.raises(Refused) as refused:
        call(*arguments)
    return refused.value.reason


@pytest.mark.parametrize(("length", "written"), [(0, "00"), (127, "7f"), (128, "8001"), (16_383, "ff7f"), (16_384, "808001")])
def test_lengths_are_written_as_they_are_read(length: int, written: str) -> None:
    assert packet.write_length(length).hex() == written
    assert packet.bounds(b"\x30" + bytes.fromhex(written), 0) == (1 + len(written) // 2, 1 + len(written) // 2 + length)


@pytest.mark.parametrize("length", [127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455])
def test_a_length_that_is_not_all_there_is_waited_for(length: int) -> None:
    whole = b"\x30" + packet.write_length(length)
    assert packet.bounds(whole, 0) == (len(whole), len(whole) + length)
    for cut in range(1, len(whole)):
        assert packet.bounds(whole[:cut], 0) == (0, 0)


@pytest.mark.parametrize("wrong", ["308000", "30ff8000", "3080808000", "30ffffffff", "3080808080"])
def test_a_length_has_four_bytes_at_most_and_no_more_than_it_needs(wrong: str) -> None:
    assert reason_of(packet.bounds, bytes.fromhex(wrong), 0) == Reason.MALFORMED_PACKET


@pytest.mark.parametrize("level", [V311, V5])
def test_a_connect_is_read(level: int) -> None:
    whole = connect_packet("freezer-7", "Token", "secret", level=level, keep_alive_s=60, will=("gone", b"bye", 1, True))
    connect = packet.read_connect(body_of(whole))
    assert connect.level == level and connect.is_clean and connect.keep_alive_s == 60
    assert (connect.client_id, connect.user, connect.password) == ("freezer-7", "Token", b"secret")
    assert connect.will == ("gone", b"bye", 1, True)
    plain = packet.read_connect(body_of(connect_packet("", None, None, level=level)))
    assert (plain.client_id, plain.user, plain.password, plain.will) == ("", None, None, None)


def test_the_properties_of_a_connect_are_read() -> None:
    sent = {Property.SESSION_EXPIRY: 3600, Property.RECEIVE_MAXIMUM: 7, Property.MAXIMUM_PACKET_SIZE: 1000}
    properties = packet.write_properties(sent)
    body = field(b"MQTT") + b"\x05\x02\x00\x0a" + properties + field(b"c")
    assert packet.read_connect(body).properties == sent


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (field(b"HTTP") + b"\x04\x02\x00\x0a" + field(b""), Reason.PROTOCOL_ERROR),
        (field(b"MQIsdp") + b"\x03\x02\x00\x0a" + field(b""), Reason.UNSUPPORTED_VERSION),
        (field(b"MQTT") + b"\x06\x02\x00\x0a" + field(b""), Reason.UNSUPPORTED_VERSION),
        (field(b"MQTT") + b"\x04\x03\x00\x0a" + field(b""), Reason.MALFORMED_PACKET),
        (field(b"MQTT") + b"\x04\x1e\x00\x0a" + field(b""), Reason.MALFORMED_PACKET),
        (field(b"MQTT") + b"\x04\x0a\x00\x0a" + field(b""), Reason.MALFORMED_PACKET),
        (field(b"MQTT") + b"\x04\x42\x00\x0a" + field(b"") + field(b"p"), Reason.MALFORMED_PACKET),
        (field(b"MQTT") + b"\x04\x02\x00\x0a" + field(b"") + b"x", Reason.MALFORMED_PACKET),
        (field(b"MQTT") + b"\x04\x02\x00\x0a" + field(b"\xff"), Reason.MALFORMED_PACKET),
        (field(b"MQTT") + b"\x04\x02\x00\x0a" + field(b"a\0"), Reason.MALFORMED_PACKET),
        (field(b"MQTT") + b"\x04\x02\x00\x0a\x00\x05a", Reason.MALFORMED_PACKET),
        (field(b"MQTT") + b"\x05\x02\x00\x0a\x03\x23\x00\x01" + field(b""), Reason.MALFORMED_PACKET),  # an alias in CONNECT
        (field(b"MQTT") + b"\x05\x02\x00\x0a\x03\x21\x00\x00" + field(b""), Reason.PROTOCOL_ERROR),  # receive maximum 0
        (field(b"MQTT") + b"\x05\x02\x00\x0a\x06\x21\x00\x01\x21\x00\x01" + field(b""), Reason.PROTOCOL_ERROR),  # twice
        (field(b"MQTT") + b"\x05\x02\x00\x0a\x02\x17\x02" + field(b""), Reason.PROTOCOL_ERROR),  # neither 0 nor 1
        (field(b"MQTT") + b"\x05\x02\x00\x0a\x7f\x17\x01" + field(b""), Reason.MALFORMED_PACKET),
        (field(b"MQTT") + b"\x05\x02\x00\x0a\x02\x7f\x01" + field(b""), Reason.MALFORMED_PACKET),
        (field(b"MQTT") + b"\x05\x02\x00\x0a\x04\x16\x00\x01x" + field(b""), Reason.PROTOCOL_ERROR),
        (b"", Reason.MALFORMED_PACKET),
    ],
)
def test_a_connect_that_is_none(body: bytes, reason: Reason) -> None:
    assert reason_of(packet.read_connect, body) == reason


@pytest.mark.parametrize("level", [V311, V5])
@pytest.mark.parametrize("number", [0, 10])
def test_a_publish_is_read(level: int, number: int) -> None:
    whole = publish_packet("a/b", b"payload", number, level=level)
    start, end = packet.bounds(whole, 0)
    topic, found, at = packet.read_publish(whole, start, end, whole[0], level)
    assert (topic, found, whole[at:end]) == (b"a/b", number, b"payload")
    assert packet.publish(level, "a/b", b"payload", number) == whole


def test_publish_properties_are_passed_over() -> None:
    properties = b"\x01\x01" + b"\x03" + field(b"text") + b"\x26" + field(b"k") + field(b"v")
    body = field(b"t") + b"\x00\x01" + packet.write_length(len(properties)) + properties + b"payload"
    topic, number, at = packet.read_publish(body, 0, len(body), 0x32, V5)
    assert (topic, number, body[at:]) == (b"t", 1, b"payload")


@pytest.mark.parametrize(
    ("first", "body", "level", "reason"),
    [
        (0x34, field(b"t") + b"\0\1", V311, Reason.QOS_NOT_SUPPORTED),
        (0x36, field(b"t") + b"\0\1", V311, Reason.QOS_NOT_SUPPORTED),
        (0x31, field(b"t") + b"\0", V5, Reason.RETAIN_NOT_SUPPORTED),
        (0x38, field(b"t"), V311, Reason.MALFORMED_PACKET),
        (0x30, b"", V311, Reason.MALFORMED_PACKET),
        (0x30, b"\0\5t", V311, Reason.MALFORMED_PACKET),
        (0x32, field(b"t") + b"\1", V311, Reason.MALFORMED_PACKET),
        (0x32, b"\0\5t\0\1", V311, Reason.MALFORMED_PACKET),
        (0x32, field(b"t") + b"\0\0", V311, Reason.PROTOCOL_ERROR),
        (0x30, field(b"t"), V5, Reason.MALFORMED_PACKET),
        (0x30, field(b"t") + b"\3\x23\0\1", V5, Reason.TOPIC_ALIAS_INVALID),
        (0x30, field(b"t") + b"\5\x23\0\1", V5, Reason.MALFORMED_PACKET),
    ],
)
def test_a_publish_that_is_none(first: int, body: bytes, level: int, reason: Reason) -> None:
    # Bytes of a next packet lie behind the body, as they may in what the socket gives.
    assert reason_of(packet.read_publish, body + b"\x30\x03\x00\x01t", 0, len(body), first, level) == reason


def test_subscribe_and_unsubscribe() -> None:
    wishes = [Subscription("a/+", 0), Subscription("#", 2)]
    body = b"".join(field(wish.topic_filter.encode()) + bytes((wish.qos,)) for wish in wishes)
    assert packet.read_subscribe(b"\0\7" + body, V311) == (7, wishes)
    assert packet.read_subscribe(b"\0\7\0" + body, V5) == (7, wishes)
    assert packet.read_unsubscribe(b"\0\7" + field(b"a") + field(b"b"), V311) == (7, ["a", "b"])
    assert reason_of(packet.read_subscribe, b"\0\7", V311) == Reason.MALFORMED_PACKET
    assert reason_of(packet.read_subscribe, b"\0\0" + body, V311) == Reason.PROTOCOL_ERROR
    assert reason_of(packet.read_subscribe, b"\0\7" + field(b"a") + b"\3", V311) == Reason.MALFORMED_PACKET
    assert reason_of(packet.read_subscribe, b"\0\7" + field(b"a") + b"\4", V311) == Reason.MALFORMED_PACKET
    assert reason_of(packet.read_subscribe, b"\0\7\2\x0b\1" + body, V5) == Reason.SUBSCRIPTION_IDS_NOT_SUPPORTED
    assert reason_of(packet.read_unsubscribe, b"\0\7", V311) == Reason.MALFORMED_PACKET


def test_small_packets_of_a_client() -> None:
    assert packet.read_puback(b"\0\5", V311) == 5 and packet.read_puback(b"\0\5\x10\0", V5) == 5
    assert packet.read_disconnect(b"", V311) == 0 and packet.read_disconnect(b"\4", V5) == 4
    assert packet.read_disconnect(b"\0\5\x11\0\0\0\0", V5) == 0
    assert reason_of(packet.read_puback, b"\0\5\0", V311) == Reason.MALFORMED_PACKET
    assert reason_of(packet.read_disconnect, b"\0", V311) == Reason.MALFORMED_PACKET


def test_what_the_server_sends() -> None:
    assert packet.connack(V311, Reason.SUCCESS).hex() == "20020000"
    assert packet.connack(V311, Reason.BAD_USER_OR_PASSWORD).hex() == "20020004"
    assert packet.connack(V311, Reason.SERVER_BUSY).hex() == "20020003"
    assert (
        packet.connack(V5, Reason.SUCCESS, {Property.MAXIMUM_QOS: 1, Property.SERVER_KEEP_ALIVE: 60}).hex() == "20080000052401" + "13003c"
    )
    assert packet.puback(V311, 513, Reason.QUOTA_EXCEEDED).hex() == "40020201"
    assert packet.puback(V5, 513).hex() == "40020201"
    assert packet.puback(V5, 513, Reason.PAYLOAD_FORMAT_INVALID, "no").hex() == "400902019905" + "1f00026e6f"
    assert packet.suback(V311, 1, [Reason.GRANTED_QOS_1, Reason.NOT_AUTHORIZED]).hex() == "900400010180"
    assert packet.suback(V5, 1, [Reason.GRANTED_QOS_1, Reason.NOT_AUTHORIZED]).hex() == "90050001000187"
    assert packet.unsuback(V311, 1, [Reason.SUCCESS]).hex() == "b0020001"
    assert packet.unsuback(V5, 1, [Reason.NO_SUBSCRIPTION_EXISTED]).hex() == "b00400010011"
    assert packet.disconnect(Reason.SERVER_SHUTTING_DOWN).hex() == "e0028b00"
    long_text = packet.disconnect(Reason.UNSPECIFIED_ERROR, "é" * 40_000)
    assert packet.bounds(long_text, 0)[1] == len(long_text)


LEVELS = st.sampled_from([V311, V5])
READERS: list[Callable[[bytes, int], Any]] = [
    lambda data, level: packet.read_connect(data),
    lambda data, level: packet.read_connect(field(b"MQTT") + bytes((level,)) + data),
    packet.read_subscribe,
    packet.read_unsubscribe,
    packet.read_puback,
    packet.read_disconnect,
    lambda data, level: packet.bounds(data, 0),
]


@given(st.sampled_from(READERS), st.binary(max_size=80), LEVELS)
def test_any_bytes_are_a_packet_or_refused(read: Callable[[bytes, int], Any], data: bytes, level: int) -> None:
    with contextlib.suppress(Refused):
        read(data, level)


@given(st.binary(max_size=60), st.binary(max_size=20), st.integers(0x30, 0x3F), LEVELS)
def test_any_bytes_are_a_publish_or_refused(body: bytes, behind: bytes, first: int, level: int) -> None:
    try:
        topic, number, at = packet.read_publish(body + behind, 0, len(body), first, level)
    except Refused:
        return
    assert 2 + len(topic) <= at <= len(body)
    assert topic == body[2 : 2 + len(topic)] and bool(number) == bool(first & 2)


@given(st.binary(max_size=200), st.integers(0, 255))
def test_packets_end_where_they_say(body: bytes, first: int) -> None:
    whole = with_length(first, body)
    start, end = packet.bounds(whole + b"rest", 0)
    assert whole[start:end] == body


@pytest.mark.parametrize(
    ("topic_filter", "topic", "is_meant"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/+", "a", False),
        ("+/+", "/b", True),
        ("+", "/b", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("#", "a/b", True),
        ("#", "$tip/x/ack", False),
        ("+/x/ack", "$tip/x/ack", False),
        ("$tip/+/ack", "$tip/x/ack", True),
        ("a/+/c", "a//c", True),
    ],
)
def test_filters_fit_the_topics_they_mean(topic_filter: str, topic: str, is_meant: bool) -> None:
    assert is_valid_filter(topic_filter)
    assert fits(topic_filter, topic) is is_meant


@pytest.mark.parametrize("wrong", ["", "a#", "a/#/b", "a+", "+a/b", "#/", "x" * (TOPIC_BYTES + 1)])
def test_filters_that_are_none(wrong: str) -> None:
    assert not is_valid_filter(wrong)


def test_names_of_topics_have_no_wildcards() -> None:
    check_name("a/b c/$x")
    check_name("x" * TOPIC_BYTES)
    for wrong in ("", "a/+", "#", "x" * (TOPIC_BYTES + 1), "é" * (TOPIC_BYTES // 2 + 1)):
        assert reason_of(check_name, wrong) == Reason.TOPIC_NAME_INVALID
    assert tip_parts("$tip/sensor-01/push") == ("sensor-01", "push")
    assert tip_parts("$tip/push") is None and tip_parts("$tip//push") is None and tip_parts("tip/a/push") is None
