"""MQTT packets from and to bytes, versions 3.1.1 and 5.0; pure, and only what a server receives and sends.

What a client may not send raises Refused with the reason code of 5.0. Every length is checked against the end of its packet
before it is used, so any bytes are either a packet or a Refused.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

V311, V5 = 4, 5
"""The protocol levels that CONNECT names."""

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15
"""Types of packets: the upper four bits of the first byte."""

HEAD_BYTES = 5
"""The first byte and the remaining length at most."""
FIELD_BYTES = 65_535
"""Longest text or binary field."""

PINGRESP_PACKET = b"\xd0\x00"


class Reason(IntEnum):
    """Reason codes of 5.0, as far as this server uses them."""

    SUCCESS = 0x00
    GRANTED_QOS_1 = 0x01
    NO_SUBSCRIPTION_EXISTED = 0x11
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_ERROR = 0x83
    UNSUPPORTED_VERSION = 0x84
    BAD_CLIENT_ID = 0x85
    BAD_USER_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_BUSY = 0x89
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xA1


CONNECT_CODES_311 = {
    Reason.SUCCESS: 0,
    Reason.UNSUPPORTED_VERSION: 1,
    Reason.BAD_CLIENT_ID: 2,
    Reason.BAD_USER_OR_PASSWORD: 4,
    Reason.NOT_AUTHORIZED: 5,
}
"""The return codes of 3.1.1; every other reason is 3, server unavailable."""


class Refused(Exception):
    """A packet that is not accepted; the connection ends with this reason.

    Attributes:
        reason: the reason code of 5.0.
    """

    def __init__(self, reason: Reason, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


class Property(IntEnum):
    """Properties of 5.0."""

    PAYLOAD_FORMAT = 0x01
    MESSAGE_EXPIRY = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_ID = 0x0B
    SESSION_EXPIRY = 0x11
    ASSIGNED_CLIENT_ID = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    REASON_STRING = 0x1F
    SERVER_REFERENCE = 0x1C
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    SUBSCRIPTION_IDS_AVAILABLE = 0x29
    SHARED_SUBSCRIPTIONS_AVAILABLE = 0x2A


_P = Property

# How each property is written: its number of bytes, or one of these.
_VARIABLE, _TEXT, _BINARY, _PAIR = -1, -2, -3, -4
_FORMS: dict[int, int] = {
    **dict.fromkeys((_P.PAYLOAD_FORMAT, _P.REQUEST_PROBLEM_INFORMATION, _P.REQUEST_RESPONSE_INFORMATION, _P.MAXIMUM_QOS), 1),
    **dict.fromkeys((_P.RETAIN_AVAILABLE, _P.SUBSCRIPTION_IDS_AVAILABLE, _P.SHARED_SUBSCRIPTIONS_AVAILABLE), 1),
    **dict.fromkeys((_P.SERVER_KEEP_ALIVE, _P.RECEIVE_MAXIMUM, _P.TOPIC_ALIAS_MAXIMUM, _P.TOPIC_ALIAS), 2),
    **dict.fromkeys((_P.MESSAGE_EXPIRY, _P.SESSION_EXPIRY, _P.WILL_DELAY, _P.MAXIMUM_PACKET_SIZE), 4),
    **dict.fromkeys((_P.CONTENT_TYPE, _P.RESPONSE_TOPIC, _P.ASSIGNED_CLIENT_ID, _P.AUTHENTICATION_METHOD), _TEXT),
    **dict.fromkeys((_P.REASON_STRING, _P.SERVER_REFERENCE), _TEXT),
    **dict.fromkeys((_P.CORRELATION_DATA, _P.AUTHENTICATION_DATA), _BINARY),
    _P.SUBSCRIPTION_ID: _VARIABLE,
    _P.USER_PROPERTY: _PAIR,
}

# Which properties a packet from a client may carry, beside user properties.
OF_CONNECT = frozenset(
    {
        _P.SESSION_EXPIRY,
        _P.RECEIVE_MAXIMUM,
        _P.MAXIMUM_PACKET_SIZE,
        _P.TOPIC_ALIAS_MAXIMUM,
        _P.REQUEST_RESPONSE_INFORMATION,
        _P.REQUEST_PROBLEM_INFORMATION,
        _P.AUTHENTICATION_METHOD,
        _P.AUTHENTICATION_DATA,
    }
)
_OF_MESSAGE = frozenset({_P.PAYLOAD_FORMAT, _P.MESSAGE_EXPIRY, _P.CONTENT_TYPE, _P.RESPONSE_TOPIC, _P.CORRELATION_DATA})
OF_WILL = _OF_MESSAGE | {_P.WILL_DELAY}
OF_PUBLISH = _OF_MESSAGE | {_P.TOPIC_ALIAS}
OF_PUBACK = frozenset({_P.REASON_STRING})
OF_SUBSCRIBE = frozenset({_P.SUBSCRIPTION_ID})
OF_UNSUBSCRIBE: frozenset[int] = frozenset()
OF_DISCONNECT = frozenset({_P.SESSION_EXPIRY, _P.REASON_STRING, _P.SERVER_REFERENCE})

_FLAGS = frozenset({_P.PAYLOAD_FORMAT, _P.REQUEST_PROBLEM_INFORMATION, _P.REQUEST_RESPONSE_INFORMATION})
_NOT_ZERO = frozenset({_P.RECEIVE_MAXIMUM, _P.MAXIMUM_PACKET_SIZE, _P.SUBSCRIPTION_ID, _P.TOPIC_ALIAS})

Properties = dict[int, Any]
"""Property -> number, text or bytes. User properties are checked and left out: nothing here looks at them."""


class Will(NamedTuple):
    """What a client wants known when its connection breaks."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Connect(NamedTuple):
    """A client's first packet."""

    level: int
    is_clean: bool
    keep_alive_s: int
    client_id: str
    user: str | None
    password: bytes | None
    will: Will | None
    properties: Properties


class Subscription(NamedTuple):
    """One wish of a SUBSCRIBE."""

    topic_filter: str
    qos: int


# --- bytes to packets ----------------------------------------------------------------------------------------------------


def bounds(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return (start, end) of the body of the packet that begins at `at`; (0, 0) when its length is not all there yet.

    The end may lie beyond the data.

    Raises:
        Refused: the length has more than four bytes, or more than it needs.
    """
    size = len(data)
    at += 1
    if at >= size:
        return 0, 0
    byte = data[at]
    at += 1
    if byte < 128:
        return at, at + byte
    length, shift = byte & 127, 7
    while shift < 28:
        if at >= size:
            return 0, 0
        byte = data[at]
        at += 1
        length |= (byte & 127) << shift
        if byte < 128:
            if not byte:
                break
            return at, at + length
        shift += 7
    raise malformed("its length is not written as the protocol says")


def read_publish(data: bytes, start: int, end: int, first: int, level: int) -> tuple[bytes, int, int]:
    """Return (topic, packet id, start of the payload) of a PUBLISH with QoS 0 or 1; the id of QoS 0 is 0.

    Args:
        data, start, end: where its body is.
        first: its first byte.

    Raises:
        Refused: also for QoS 2, retained messages of 5.0 and topic aliases, which this server does not offer.
    """
    if first & 4:
        raise Refused(Reason.QOS_NOT_SUPPORTED, "QoS 2 is not offered; publish with QoS 1")
    if first & 1 and level == V5:
        raise Refused(Reason.RETAIN_NOT_SUPPORTED, "retained messages are not offered")
    if end - start < 2:
        raise malformed("a PUBLISH has no topic")
    at = start + 2
    cut = at + (data[start] << 8 | data[start + 1])
    topic = data[at:cut]
    number = 0
    if first & 2:
        at = cut + 2
        if at > end:
            raise malformed("a PUBLISH has no packet id")
        number = data[cut] << 8 | data[cut + 1]
        if not number:
            raise Refused(Reason.PROTOCOL_ERROR, "a packet id must not be 0")
        cut = at
    elif first & 8:
        raise malformed("a PUBLISH with QoS 0 cannot be a duplicate")
    elif cut > end:
        raise malformed("the topic of a PUBLISH is cut off")
    if level == V5:
        if cut < end and not data[cut]:  # nearly always: none
            return topic, number, cut + 1
        found, cut = read_properties(data, cut, end, OF_PUBLISH)
        if Property.TOPIC_ALIAS in found:
            raise Refused(Reason.TOPIC_ALIAS_INVALID, "topic aliases are not offered: the Topic Alias Maximum is 0")
    return topic, number, cut


def read_connect(data: bytes) -> Connect:
    """Return a CONNECT from its body.

    Raises:
        Refused: with UNSUPPORTED_VERSION for other versions than 3.1.1 and 5.0.
    """
    reader = _Reader(data, 0, len(data))
    name = reader.binary()
    level = reader.number(1)
    if name not in (b"MQTT", b"MQIsdp"):
        raise Refused(Reason.PROTOCOL_ERROR, "the first packet is not MQTT")
    if name != b"MQTT" or level not in (V311, V5):
        raise Refused(Reason.UNSUPPORTED_VERSION, "this server speaks MQTT 3.1.1 and 5.0")
    flags = reader.number(1)
    if flags & 1:
        raise malformed("a reserved flag of CONNECT is set")
    has_will, will_qos, will_retain = bool(flags & 4), flags >> 3 & 3, bool(flags & 32)
    if will_qos == 3 or (not has_will and flags & 0b111000):
        raise malformed("the will flags of CONNECT contradict each other")
    if level == V311 and flags & 0b11000000 == 0b01000000:
        raise malformed("a password needs a user name")
    keep_alive_s = reader.number(2)
    properties = reader.properties(OF_CONNECT) if level == V5 else {}
    if Property.AUTHENTICATION_DATA in properties and Property.AUTHENTICATION_METHOD not in properties:
        raise Refused(Reason.PROTOCOL_ERROR, "authentication data without a method")
    client_id = reader.text()
    will = None
    if has_will:
        if level == V5:
            reader.properties(OF_WILL)
        will = Will(reader.text(), reader.binary(), will_qos, will_retain)
    user = reader.text() if flags & 128 else None
    password = reader.binary() if flags & 64 else None
    reader.finish("CONNECT")
    return Connect(level, bool(flags & 2), keep_alive_s, client_id, user, password, will, properties)


def read_subscribe(data: bytes, level: int) -> tuple[int, list[Subscription]]:
    """Return (packet id, wishes) of a SUBSCRIBE."""
    reader = _Reader(data, 0, len(data))
    number = reader.packet_id()
    if level == V5 and Property.SUBSCRIPTION_ID in reader.properties(OF_SUBSCRIBE):
        raise Refused(Reason.SUBSCRIPTION_IDS_NOT_SUPPORTED, "subscription identifiers are not offered")
    wishes: list[Subscription] = []
    while reader.at < reader.end or not wishes:
        topic_filter = reader.text()
        options = reader.number(1)
        if options & 3 == 3 or options & (0xC0 if level == V5 else 0xFC) or options & 0x30 == 0x30:
            raise malformed("the options of a subscription are not valid")
        wishes.append(Subscription(topic_filter, options & 3))
    return number, wishes


def read_unsubscribe(data: bytes, level: int) -> tuple[int, list[str]]:
    """Return (packet id, filters) of an UNSUBSCRIBE."""
    reader = _Reader(data, 0, len(data))
    number = reader.packet_id()
    if level == V5:
        reader.properties(OF_UNSUBSCRIBE)
    filters: list[str] = []
    while reader.at < reader.end or not filters:
        filters.append(reader.text())
    return number, filters


def read_puback(data: bytes, level: int) -> int:
    """Return the packet id of a PUBACK; what the client thinks of the message makes no difference here."""
    reader = _Reader(data, 0, len(data))
    number = reader.packet_id()
    if level == V5 and reader.at < reader.end:
        reader.number(1)
        if reader.at < reader.end:
            reader.properties(OF_PUBACK)
    reader.finish("PUBACK")
    return number


def read_disconnect(data: bytes, level: int) -> int:
    """Return the reason of a client's DISCONNECT; 0 is an ordinary end."""
    reader = _Reader(data, 0, len(data))
    reason = 0
    if level == V5 and reader.at < reader.end:
        reason = reader.number(1)
        if reader.at < reader.end:
            reader.properties(OF_DISCONNECT)
    reader.finish("DISCONNECT")
    return reason


def read_properties(data: bytes, at: int, end: int, allowed: frozenset[int]) -> tuple[Properties, int]:
    """Return the properties that begin at `at`, and where they end."""
    reader = _Reader(data, at, end)
    found = reader.properties(allowed)
    return found, reader.at


def malformed(problem: str) -> Refused:
    return Refused(Reason.MALFORMED_PACKET, f"malformed packet: {problem}")


class _Reader:
    """Reads fields from `at` on and never beyond `end`."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def take(self, size: int) -> bytes:
        at = self.at
        if self.end - at < size:
            raise malformed("a field goes beyond its end")
        self.at = at + size
        return self.data[at : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        return text_of(self.binary())

    def packet_id(self) -> int:
        number = self.number(2)
        if not number:
            raise Refused(Reason.PROTOCOL_ERROR, "a packet id must not be 0")
        return number

    def variable(self) -> int:
        value = shift = 0
        while shift < 28:
            byte = self.number(1)
            value |= (byte & 127) << shift
            if byte < 128:
                if not byte and shift:
                    break
                return value
            shift += 7
        raise malformed("a number is not written as the protocol says")

    def properties(self, allowed: frozenset[int]) -> Properties:
        size = self.variable()
        if self.end - self.at < size:
            raise malformed("properties go beyond the end of their packet")
        outer, self.end = self.end, self.at + size
        found: Properties = {}
        while self.at < self.end:
            name = self.variable()
            form = _FORMS.get(name)
            if form == _PAIR:
                self.text()
                self.text()
                continue
            if form is None or name not in allowed:
                raise malformed(f"property {name} does not belong here")
            if name in found:
                raise Refused(Reason.PROTOCOL_ERROR, f"property {name} comes twice")
            value: int | str | bytes
            if form > 0:
                value = self.number(form)
            elif form == _VARIABLE:
                value = self.variable()
            else:
                value = self.text() if form == _TEXT else self.binary()
            if (name in _NOT_ZERO and value == 0) or (name in _FLAGS and value not in (0, 1)):
                raise Refused(Reason.PROTOCOL_ERROR, f"property {name} cannot be {value!r}")
            found[name] = value
        self.end = outer
        return found

    def finish(self, name: str) -> None:
        if self.at != self.end:
            raise malformed(f"a {name} has bytes behind its end")


def text_of(data: bytes) -> str:
    """Return a text field: UTF-8 without U+0000.

    Raises:
        Refused: it is something else.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise malformed("a text is not UTF-8") from None
    if "\0" in text:
        raise malformed("a text holds U+0000")
    return text


# --- packets to bytes ----------------------------------------------------------------------------------------------------


def connack(level: int, reason: Reason, properties: Properties | None = None) -> bytes:
    """Return a CONNACK; there is never a session present."""
    if level == V5:
        return _packet(CONNACK << 4, bytes((0, reason)) + write_properties(properties or {}))
    return bytes((CONNACK << 4, 2, 0, CONNECT_CODES_311.get(reason, 3)))


def puback(level: int, number: int, reason: Reason = Reason.SUCCESS, problem: str = "") -> bytes:
    """Return a PUBACK. 3.1.1 knows no other reason than success."""
    head = number.to_bytes(2)
    if level == V311 or reason == Reason.SUCCESS:
        return b"\x40\x02" + head
    return _packet(PUBACK << 4, head + bytes((reason,)) + write_properties({Property.REASON_STRING: problem} if problem else {}))


def suback(level: int, number: int, reasons: list[Reason]) -> bytes:
    codes = bytes(reasons) if level == V5 else bytes(min(reason, 0x80) for reason in reasons)
    return _packet(SUBACK << 4, number.to_bytes(2) + (b"\0" if level == V5 else b"") + codes)


def unsuback(level: int, number: int, reasons: list[Reason]) -> bytes:
    return _packet(UNSUBACK << 4, number.to_bytes(2) + (b"\0" + bytes(reasons) if level == V5 else b""))


def disconnect(reason: Reason, problem: str = "") -> bytes:
    """Return the server's DISCONNECT, which only 5.0 knows."""
    return _packet(DISCONNECT << 4, bytes((reason,)) + write_properties({Property.REASON_STRING: problem} if problem else {}))


def publish(level: int, topic: str, payload: bytes, number: int = 0) -> bytes:
    """Return a PUBLISH of the server: QoS 1 with a packet id, QoS 0 without."""
    name = topic.encode()
    body = len(name).to_bytes(2) + name + (number.to_bytes(2) if number else b"") + (b"\0" if level == V5 else b"") + payload
    return _packet(PUBLISH << 4 | (2 if number else 0), body)


def write_properties(properties: Properties) -> bytes:
    """Return properties with their length; numbers have to fit, texts are cut to what a field holds."""
    body = bytearray()
    for name, value in properties.items():
        body.append(name)
        form = _FORMS[name]
        if form > 0:
            body += int(value).to_bytes(form)
        elif form == _VARIABLE:
            body += write_length(value)
        else:
            field = (value.encode()[:FIELD_BYTES].decode(errors="ignore").encode()) if form == _TEXT else value
            body += len(field).to_bytes(2) + field
    return write_length(len(body)) + bytes(body)


def write_length(length: int) -> bytes:
    """Return a number as the protocol writes lengths: seven bits a byte, the lowest first."""
    written = bytearray()
    while length > 127:
        written.append(length & 127 | 128)
        length >>= 7
    written.append(length)
    return bytes(written)


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + write_length(len(body)) + body
