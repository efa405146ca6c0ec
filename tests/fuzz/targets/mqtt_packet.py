"""MQTT packets, the first byte says of which version: read or refused, whole or not all there yet, and the same when written again."""

from __future__ import annotations

from tests.mqtt.raw_client import connect_packet, publish_packet, subscribe_packet, unsubscribe_packet, with_length
from tsengine.mqtt import packet
from tsengine.mqtt.packet import V5, V311, Property, Refused

MODULES = (packet,)


def seeds() -> list[bytes]:
    properties = packet.write_properties({Property.SESSION_EXPIRY: 60, Property.RECEIVE_MAXIMUM: 7, Property.AUTHENTICATION_METHOD: "m"})
    some = packet.write_properties({Property.CONTENT_TYPE: "t", Property.CORRELATION_DATA: b"\0", Property.MESSAGE_EXPIRY: 9})
    packets = [
        (V311, connect_packet("c", "Token", "secret", will=("w", b"x", 1, True))),
        (V5, connect_packet("c", "Token", "secret", level=V5, will=("w", b"x", 1, False), properties=properties)),
        (V311, publish_packet("a/b", b"payload", 7)),
        (V5, with_length(0x32, b"\0\3a/b\0\7" + some + b"payload")),
        (V311, subscribe_packet(1, "a/+", "#")),
        (V5, subscribe_packet(1, "a/+", "#", level=V5)),
        (V311, unsubscribe_packet(1, "a", "b")),
        (V5, unsubscribe_packet(1, "a", level=V5)),
        (V5, with_length(0x40, b"\0\1\x10" + packet.write_properties({Property.REASON_STRING: "why"}))),
        (V5, with_length(0xE0, b"\4" + packet.write_properties({Property.SESSION_EXPIRY: 1}))),
    ]
    return [bytes((level,)) + whole for level, whole in packets]


def run(data: bytes) -> None:
    level, data = V5 if data[:1] == b"\5" else V311, data[1:]
    try:
        read(data, level)
    except Refused as refusal:
        assert str(refusal) and refusal.reason >= 0x80


def read(data: bytes, level: int) -> None:
    start, end = bounds(data)
    if not end or end > len(data):
        return
    first, body = data[0], data[start:end]
    match first >> 4:
        case packet.CONNECT:
            connect = packet.read_connect(body)
            assert len(connect.client_id.encode()) + len(connect.password or b"") <= len(body)
            properties = packet.write_properties(connect.properties)
            assert packet.read_properties(properties, 0, len(properties), packet.OF_CONNECT) == (connect.properties, len(properties))
        case packet.PUBLISH:
            topic, number, at = packet.read_publish(data, start, end, first, level)
            assert start <= at <= end and 0 <= number < 65_536
            # What follows in the same read of a socket makes no difference.
            assert (topic, number, at - start) == packet.read_publish(body, 0, len(body), first, level)
            written = with_length(first, packet_body(level, topic, number) + data[at:end])
            again = packet.read_publish(written, *packet.bounds(written, 0), first, level)
            assert again[:2] == (topic, number) and written[again[2] :] == data[at:end]
        case packet.SUBSCRIBE:
            number, wishes = packet.read_subscribe(body, level)
            written = b"".join(len(text.encode()).to_bytes(2) + text.encode() + bytes((qos,)) for text, qos in wishes)
            assert wishes and packet.read_subscribe(head(number, level) + written, level) == (number, wishes)
        case packet.UNSUBSCRIBE:
            number, filters = packet.read_unsubscribe(body, level)
            written = b"".join(len(text.encode()).to_bytes(2) + text.encode() for text in filters)
            assert filters and packet.read_unsubscribe(head(number, level) + written, level) == (number, filters)
        case packet.PUBACK:
            assert packet.read_puback(packet.puback(level, packet.read_puback(body, level))[2:], level) == int.from_bytes(body[:2])
        case packet.DISCONNECT:
            assert 0 <= packet.read_disconnect(body, level) < 256


def bounds(data: bytes) -> tuple[int, int]:
    """Where the packet's body is; every beginning says the same, or that its length is not there yet."""
    if not data:
        return 0, 0
    found = packet.bounds(data, 0)
    for cut in range(1, min(len(data), packet.HEAD_BYTES + 1)):
        assert packet.bounds(data[:cut], 0) in ((0, 0), found)
    return found


def packet_body(level: int, topic: bytes, number: int) -> bytes:
    return len(topic).to_bytes(2) + topic + (number.to_bytes(2) if number else b"") + (b"\0" if level == V5 else b"")


def head(number: int, level: int) -> bytes:
    return number.to_bytes(2) + (b"\0" if level == V5 else b"")
