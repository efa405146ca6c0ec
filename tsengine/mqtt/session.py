"""One client's session: who it is, what it publishes and hears. It ends with its connection; nothing of it is kept.

A PUBLISH is answered as a POST is: it is checked, staged, and acknowledged when its group is on disk. Acknowledgements leave in the
order of the publishes, because the log commits in order and whatever cannot be answered at once holds the packets behind it.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from tsengine.aio import AsyncDevice
from tsengine.core.ingest.points import from_points
from tsengine.errors import BusyError, InputError, LimitError, NotFoundError, TsengineError
from tsengine.ids import new_id
from tsengine.ingest.bodies import encode
from tsengine.mqtt import packet
from tsengine.mqtt.connection import IN_FLIGHT_OVERHEAD_BYTES, Connection
from tsengine.mqtt.packet import V5, V311, Property, Reason, Refused
from tsengine.mqtt.payload import body_of, mark_of, points_of
from tsengine.mqtt.tip import TipAnswer
from tsengine.mqtt.topics import TIP_ROOT, check_name, fits, is_valid_filter, tip_parts
from tsengine.server.auth import Need, require_active
from tsengine.server.envelope import Refusal, error_kind
from tsengine.server.routes.tip import BODY_HEADERS, device_with_serial, unknown_serial
from tsengine.server.sending import store
from tsengine.types import NO_DEVICE, Token

if TYPE_CHECKING:
    import msgspec

    from tsengine.ingest.bodies import WirePoint
    from tsengine.mqtt.listener import Listener

CONNECT_BYTES = 64 << 10
"""Largest packet before CONNECT was accepted, bytes."""
CONNECT_S = 10.0
"""How long a client may take until its CONNECT is there, seconds."""
KEEP_ALIVE_S = 600
"""Keep-alive that a client of 5.0 is given that has none; TCP's own looks after clients of 3.1.1."""
CLIENT_ID_BYTES = 256
SUBSCRIPTIONS_MAX = 32
"""Filters of one client."""
Failure = TsengineError | Refusal

UNACKNOWLEDGED_MAX = 100
"""Messages to one client that it has not acknowledged, at most; one that falls behind further is disconnected."""

ORDINARY_END = 0x00
"""The reason of a client's DISCONNECT after which its will is not wanted."""

_FIXED_FLAGS = {packet.SUBSCRIBE: 2, packet.UNSUBSCRIBE: 2}


class Session(Connection):
    """One connection and what is known of its client.

    Attributes:
        owner: number of the device that it speaks for; NO_DEVICE = a gateway with an authorization, or nobody yet.
        patience_s: how long it may be silent.
        token: what let it in; None before CONNECT.
    """

    __slots__ = (
        "_device",
        "_last_id",
        "_listener",
        "_mark",
        "_peer_max_packet",
        "_receive_maximum",
        "_subscriptions",
        "_tip",
        "_topic",
        "_unacknowledged",
        "_wants_reasons",
        "_will",
        "client_id",
        "level",
        "owner",
        "patience_s",
        "token",
    )

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener.loop, CONNECT_BYTES)
        self._listener = listener
        self.level = 0
        self.owner = NO_DEVICE
        self.token: Token | None = None
        self.client_id = ""
        self.patience_s = CONNECT_S
        self._device: AsyncDevice | None = None
        self._will: packet.Will | None = None
        self._topic: bytes | None = None  # of the last publish, with what follows from it
        self._mark: msgspec.Raw | None = None
        self._tip: tuple[str, str] | None = None
        self._subscriptions: dict[str, int] | None = None  # filter -> QoS
        self._unacknowledged: set[int] | None = None
        self._last_id = 0
        self._receive_maximum = UNACKNOWLEDGED_MAX
        self._peer_max_packet = 0  # 0 = any
        self._wants_reasons = True

    def connection_made(self, transport: object) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        if not self._listener.add(self):
            assert self.transport is not None
            self.transport.abort()

    def flush_later(self) -> None:
        self._listener.flush_later(self)

    # --- publishes ---------------------------------------------------------------------------------------------------

    def on_publish(self, data: bytes, start: int, end: int, first: int) -> None:
        if not self.level:
            raise Refused(Reason.PROTOCOL_ERROR, "the first packet must be CONNECT")
        topic, number, at = packet.read_publish(data, start, end, first, self.level)
        if topic != self._topic:
            self._enter_topic(topic)
        if self._tip is not None:
            self._serve_tip(number, *self._tip, data[at:end])
            return
        device, mark = self._device, self._mark
        if device is None or mark is None:
            raise Refused(Reason.NOT_AUTHORIZED, f"an authorization publishes to {TIP_ROOT}{{serial}}/push only")
        try:
            self._require("write")
            if self._listener.service.is_plain(device):
                self._store(device, number, points_of(data[at:end], mark), end - start)
            else:
                self._inspect("[MQTT] Publish", topic.decode())
                self._watch(device, number, body_of(data[at:end], mark))
        except (TsengineError, Refusal) as error:
            self._reject(device, number, error)

    def _enter_topic(self, topic: bytes) -> None:
        name = packet.text_of(topic)
        check_name(name)
        if name.startswith("$"):
            tip = tip_parts(name)
            if tip is None or tip[1] not in ("push", "pull"):
                raise Refused(Reason.TOPIC_NAME_INVALID, "topics with $ are the server's, except $tip/{serial}/push and /pull")
            self._tip, self._mark = tip, None
        else:
            self._tip, self._mark = None, mark_of(name)
        self._topic = topic

    def _require(self, need: Need) -> None:
        assert self.token is not None
        if self.token.permission not in ("full", need):
            raise Refusal(401, f"the token's permission is {self.token.permission}, not {need}")

    def _store(self, device: AsyncDevice, number: int, points: list[WirePoint], size_bytes: int, answer: TipAnswer | None = None) -> None:
        """Stage the points of a publish, or wait first for what that needs; `_stored` follows.

        Raises:
            as Engine.stage; nothing was stored.
        """
        listener = self._listener
        if not points:  # an empty list: nothing to store, but its acknowledgement has its turn
            self._in_turn(number, packet.puback(self.level, number), answer, None)
            return
        record = from_points(points, listener.now_us(), True)
        count = len(points)
        done = partial(self._stored, device, number, count, size_bytes, answer)
        is_staged = listener.engine.write_soon(device.device.number, record, done)
        self.staged(size_bytes + IN_FLIGHT_OVERHEAD_BYTES)
        if not is_staged:
            self.work(self._store_later(device, number, count, size_bytes, answer, record))

    async def _store_later(
        self, device: AsyncDevice, number: int, count: int, size_bytes: int, answer: TipAnswer | None, record: bytes
    ) -> None:
        """Wait for the room or the device's state that a write needs."""
        failure: Failure | None = None
        try:
            await self._listener.engine.write(device.device.number, record)
            self._listener.service.saw_input(device.id, count, size_bytes)
        except TsengineError as error:
            failure = error
        finally:
            self.settled(size_bytes + IN_FLIGHT_OVERHEAD_BYTES)
        self._answer(device, number, answer, failure)

    def _watch(self, device: AsyncDevice, number: int, body: bytes, answer: TipAnswer | None = None) -> None:
        """Take the long way of a POST: rate limits, payload parsers, an inspector that is heard."""
        self.staged(len(body))
        self.work(self._store_watched(device, number, body, answer))

    async def _store_watched(self, device: AsyncDevice, number: int, body: bytes, answer: TipAnswer | None) -> None:
        failure: Failure | None = None
        try:
            count = await store(self._listener.service, device, BODY_HEADERS, body)
            if answer is not None:
                answer.count = count
        except (TsengineError, Refusal) as error:
            failure = error
        finally:
            self.settled(len(body))
        self._answer(None, number, answer, failure)  # the inspector has seen the failure

    def _answer(self, device: AsyncDevice | None, number: int, answer: TipAnswer | None, failure: Failure | None) -> None:
        """Work with a publish is over: answer it in its turn, for what came before may not be durable yet."""
        if failure is not None:
            self._reject(device, number, failure, answer)
        else:
            self._in_turn(number, packet.puback(self.level, number), answer)

    def _stored(
        self, device: AsyncDevice, number: int, count: int, size_bytes: int, answer: TipAnswer | None, failure: TsengineError | None
    ) -> None:
        """A publish of so many points is durable, or was not stored."""
        if failure is not None:
            self._reject(device, number, failure, answer)
        else:
            self._listener.service.saw_input(device.id, count, size_bytes)
            self._tell(answer, None)
            if number:
                self.acknowledge(b"\x40\x02%c%c" % (number >> 8, number & 255))
        self.settled(size_bytes + IN_FLIGHT_OVERHEAD_BYTES)

    def _reject(self, device: AsyncDevice | None, number: int, error: Failure, answer: TipAnswer | None = None) -> None:
        """Answer a publish that is not stored. 3.1.1 has no word for it: its connection ends instead of acknowledging what is not there."""
        if device is not None:
            self._listener.inspect(device, "Error", str(error))
        self._listener.service.traffic.errors[error_kind(error)] += 1
        told = None if answer is None else answer.refused(error)
        is_the_clients_fault = isinstance(error, (InputError, Refusal))
        if is_the_clients_fault and number and self.level == V5:
            ack = packet.puback(V5, number, reason_of(error), str(error) if self._wants_reasons else "")
            if self._peer_max_packet and len(ack) > self._peer_max_packet:
                ack = packet.puback(V5, number, reason_of(error))
            self._in_turn(number, ack, answer, told)
            return
        self._tell(answer, told)
        if number or not is_the_clients_fault:
            self.end(reason_of(error), str(error))

    def _in_turn(self, number: int, ack: bytes, answer: TipAnswer | None = None, told: bytes | None = None) -> None:
        """Acknowledge a publish that was not staged when all before it are."""
        if self.in_flight:
            self.work(self._wait_for_turn(number, ack, answer, told))
            return
        self._tell(answer, told)
        if number:
            self.acknowledge(ack)

    async def _wait_for_turn(self, number: int, ack: bytes, answer: TipAnswer | None, told: bytes | None) -> None:
        await self.drained()
        self._in_turn(number, ack, answer, told)

    def _tell(self, answer: TipAnswer | None, told: bytes | None) -> None:
        """Send TagoTiP's answer to a publish: what is told, or that it is stored."""
        if answer is not None:
            self._listener.deliver(self.owner, answer.topic, answer.stored() if told is None else told)

    # --- TagoTiP -----------------------------------------------------------------------------------------------------

    def _serve_tip(self, number: int, serial: str, verb: str, body: bytes) -> None:
        """Take a publish to TagoTiP's topics, whose answer is a message to `$tip/{serial}/ack` beside the PUBACK."""
        answer = TipAnswer(serial)
        device = self._listener.device_of_serial(serial, self.token)
        if device is None or verb == "pull":
            self.work(self._serve_tip_later(number, device, verb, body, answer))
            return
        try:
            self._push(device, number, body, answer)
        except (TsengineError, Refusal) as error:
            self._reject(device, number, error, answer)

    def _push(self, device: AsyncDevice, number: int, body: bytes, answer: TipAnswer) -> None:
        self._require("write")
        self._require_own(device)
        points = answer.read_push(body, mark_of(f"{TIP_ROOT}{answer.serial}/push"))
        if self._listener.service.is_plain(device):
            self._store(device, number, points, len(body), answer)
        else:
            self._watch(device, number, encode(points), answer)

    async def _serve_tip_later(self, number: int, device: AsyncDevice | None, verb: str, body: bytes, answer: TipAnswer) -> None:
        await self.drained()
        try:
            device = device or await device_with_serial(self._listener.service, answer.serial)
            if verb == "push":
                self._push(device, number, body, answer)
                return
            self._require("read")
            self._require_own(device)
            told = await answer.pull(self._listener.service, device, body)
        except (TsengineError, Refusal) as error:
            self._reject(device, number, error, answer)
            return
        self._in_turn(number, packet.puback(self.level, number), answer, told)

    def _require_own(self, device: AsyncDevice) -> None:
        if self.owner not in (NO_DEVICE, device.device.number):
            raise unknown_serial()
        require_active(device)

    # --- other packets -----------------------------------------------------------------------------------------------

    def on_packet(self, first: int, body: bytes) -> None:
        kind = first >> 4
        if first & 15 != _FIXED_FLAGS.get(kind, 0):
            raise packet.malformed(f"the flags of packet type {kind}")
        if not self.level:
            if kind != packet.CONNECT:
                raise Refused(Reason.PROTOCOL_ERROR, "the first packet must be CONNECT")
            self._connect(packet.read_connect(body))
            return
        match kind:
            case packet.PINGREQ:
                if body:
                    raise packet.malformed("a PINGREQ has no body")
                self.send(packet.PINGRESP_PACKET)
            case packet.PUBACK:
                self._acknowledged(packet.read_puback(body, self.level))
            case packet.SUBSCRIBE:
                self._subscribe(*packet.read_subscribe(body, self.level))
            case packet.UNSUBSCRIBE:
                self._unsubscribe(*packet.read_unsubscribe(body, self.level))
            case packet.DISCONNECT:
                if packet.read_disconnect(body, self.level) == ORDINARY_END:
                    self._will = None
                self._inspect("[MQTT] Disconnect", f"client {self.client_id}")
                self.level = 0  # nothing is said to a client that has left
                self.end(Reason.SUCCESS)
            case packet.CONNECT:
                raise Refused(Reason.PROTOCOL_ERROR, "CONNECT comes once")
            case _:
                raise Refused(Reason.PROTOCOL_ERROR, f"packets of type {kind} are not expected here")

    def _connect(self, connect: packet.Connect) -> None:
        try:
            self._admit(connect)
        except Refused as refusal:
            self.send(packet.connack(connect.level, refusal.reason, {Property.REASON_STRING: str(refusal)}))
            raise

    def _admit(self, connect: packet.Connect) -> None:
        """Let a client in, or refuse it."""
        listener, level = self._listener, connect.level
        if Property.AUTHENTICATION_METHOD in connect.properties:
            raise Refused(Reason.BAD_AUTHENTICATION_METHOD, "authentication is by user name and password only")
        if connect.will is not None and level == V5:
            if connect.will.qos > 1:
                raise Refused(Reason.QOS_NOT_SUPPORTED, "QoS 2 is not offered")
            if connect.will.retain:
                raise Refused(Reason.RETAIN_NOT_SUPPORTED, "retained messages are not offered")
        self.token, self._device = listener.authenticate(connect.user, connect.password)
        if len(connect.client_id.encode()) > CLIENT_ID_BYTES or (not connect.client_id and level == V311 and not connect.is_clean):
            raise Refused(Reason.BAD_CLIENT_ID, f"a client id has 1 to {CLIENT_ID_BYTES} bytes, or none in a clean session")
        properties: packet.Properties = {
            Property.MAXIMUM_QOS: 1,
            Property.RETAIN_AVAILABLE: 0,
            Property.MAXIMUM_PACKET_SIZE: listener.max_packet,
            Property.SUBSCRIPTION_IDS_AVAILABLE: 0,
            Property.SHARED_SUBSCRIPTIONS_AVAILABLE: 0,
        }
        keep_alive_s = connect.keep_alive_s
        if level == V5:
            if not keep_alive_s:
                keep_alive_s = properties[Property.SERVER_KEEP_ALIVE] = KEEP_ALIVE_S
            if connect.properties.get(Property.SESSION_EXPIRY):
                properties[Property.SESSION_EXPIRY] = 0
            if not connect.client_id:
                properties[Property.ASSIGNED_CLIENT_ID] = f"tsengine-{new_id()}"
        self.client_id = connect.client_id or properties.get(Property.ASSIGNED_CLIENT_ID) or f"tsengine-{new_id()}"
        self.owner = self.token.device
        self.max_packet = listener.max_packet
        self.patience_s = 1.5 * keep_alive_s if keep_alive_s else math.inf
        self._receive_maximum = min(connect.properties.get(Property.RECEIVE_MAXIMUM, UNACKNOWLEDGED_MAX), UNACKNOWLEDGED_MAX)
        self._peer_max_packet = connect.properties.get(Property.MAXIMUM_PACKET_SIZE, 0)
        self._wants_reasons = bool(connect.properties.get(Property.REQUEST_PROBLEM_INFORMATION, 1))
        self._will = connect.will
        self.level = level
        listener.enter(self)
        self.send(packet.connack(level, Reason.SUCCESS, properties))
        self._inspect("[MQTT] Connect", f"client {self.client_id}")

    def _inspect(self, title: str, content: str) -> None:
        if self._device is not None:
            self._listener.inspect(self._device, title, content)

    # --- what the client hears ---------------------------------------------------------------------------------------

    def _subscribe(self, number: int, wishes: list[packet.Subscription]) -> None:
        self.send(packet.suback(self.level, number, [self._grant(wish) for wish in wishes]))
        self._inspect("[MQTT] Subscribe", ", ".join(wish.topic_filter for wish in wishes))

    def _grant(self, wish: packet.Subscription) -> Reason:
        """Return the QoS of a subscription, or why it is refused."""
        assert self.token is not None
        topic_filter = wish.topic_filter
        if topic_filter.startswith("$share/"):
            return Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        if not is_valid_filter(topic_filter):
            return Reason.TOPIC_FILTER_INVALID
        if topic_filter.startswith("$"):
            tip = tip_parts(topic_filter)  # a gateway that may only write hears how its pushes fare
            return self._listen(wish) if tip is not None and tip[1] == "ack" else Reason.NOT_AUTHORIZED
        if self._device is None or self.token.permission == "write":
            return Reason.NOT_AUTHORIZED
        return self._listen(wish)

    def _listen(self, wish: packet.Subscription) -> Reason:
        if self._subscriptions is None:
            self._subscriptions = {}
        if len(self._subscriptions) >= SUBSCRIPTIONS_MAX and wish.topic_filter not in self._subscriptions:
            return Reason.QUOTA_EXCEEDED
        qos = self._subscriptions[wish.topic_filter] = min(wish.qos, 1)
        return Reason.GRANTED_QOS_1 if qos else Reason.SUCCESS

    def _unsubscribe(self, number: int, filters: list[str]) -> None:
        known = self._subscriptions or {}
        removed = [known.pop(topic_filter, None) for topic_filter in filters]
        reasons = [Reason.NO_SUBSCRIPTION_EXISTED if qos is None else Reason.SUCCESS for qos in removed]
        self.send(packet.unsuback(self.level, number, reasons))
        self._inspect("[MQTT] Unsubscribe", ", ".join(filters))

    def deliver(self, topic: str, payload: bytes) -> None:
        """Send a message if the client subscribes to its topic; one that does not keep up is disconnected, not waited for."""
        if not self._subscriptions or self.is_ending:
            return
        qos = max((qos for topic_filter, qos in self._subscriptions.items() if fits(topic_filter, topic)), default=None)
        if qos is None:
            return
        number = 0
        if qos:
            if self._unacknowledged is None:
                self._unacknowledged = set()
            if len(self._unacknowledged) >= self._receive_maximum:
                self.end(Reason.QUOTA_EXCEEDED, f"{len(self._unacknowledged)} messages to this client are not acknowledged")
                return
            number = self._next_id(self._unacknowledged)
        message = packet.publish(self.level, topic, payload, number)
        if self._peer_max_packet and len(message) > self._peer_max_packet:
            return  # as the protocol says: it is dropped
        if self.stuck_s:
            self.end(Reason.QUOTA_EXCEEDED, "this client does not read what is sent to it")
            return
        if number and self._unacknowledged is not None:
            self._unacknowledged.add(number)
        self.send(message)

    def _next_id(self, taken: set[int]) -> int:
        while True:
            self._last_id = self._last_id % 65_535 + 1
            if self._last_id not in taken:
                return self._last_id

    def _acknowledged(self, number: int) -> None:
        if self._unacknowledged:
            self._unacknowledged.discard(number)

    # --- the end -----------------------------------------------------------------------------------------------------

    def refresh(self, device: AsyncDevice) -> None:
        """Take what the catalog now knows of the device."""
        if device.info.active:
            self._device = device
        else:
            self.end(Reason.NOT_AUTHORIZED, "Device is deactivated")

    def say_goodbye(self, reason: Reason, problem: str) -> None:
        if self.level == V5:
            goodbye = packet.disconnect(reason, problem)
            self.send(packet.disconnect(reason) if 0 < self._peer_max_packet < len(goodbye) else goodbye)

    def on_lost(self) -> None:
        if self._will is not None and self._device is not None:
            self._inspect("[MQTT] Last will", f"{self._will.topic}: {self._will.payload.decode(errors='replace')}")
        self._will = None
        self._listener.leave(self)


def reason_of(error: TsengineError | Refusal) -> Reason:
    """Return the reason code that stands for an error."""
    match error:
        case Refusal(status=401 | 404) | NotFoundError():
            return Reason.NOT_AUTHORIZED
        case Refusal(status=429) | LimitError():
            return Reason.QUOTA_EXCEEDED
        case Refusal() | InputError():
            return Reason.PAYLOAD_FORMAT_INVALID
        case BusyError():
            return Reason.SERVER_BUSY
        case _:
            return Reason.UNSPECIFIED_ERROR
