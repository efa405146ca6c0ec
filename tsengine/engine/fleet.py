"""What the catalog keeps of a fleet: devices, their tokens and configuration parameters. Every change is a command of the log."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tsengine import commands, ids
from tsengine.clock import ManualClock, SystemClock
from tsengine.errors import InputError, LimitError, NotFoundError
from tsengine.limits import (
    NAME_CHARS_MAX,
    NAME_CHARS_MIN,
    PARAMETERS_PER_DEVICE,
    POINTS_PER_CHUNK,
    POINTS_PER_DEVICE,
    REGISTERS_PER_DEVICE,
    TAGS_PER_DEVICE,
    TOPIC_BYTES,
)
from tsengine.store.catalog import Catalog
from tsengine.types import NO_DEVICE, DeviceInfo, DeviceType, Message, Parameter, Period, Tag, Token, check_text

if TYPE_CHECKING:
    from datetime import datetime

    from tsengine.device import Device

AUTHORIZATION_HASH_BYTES = 8
"""Bytes of a token's hash that name it, at least (TagoTiP)."""

Watcher = Callable[[commands.Command | Message], None]
"""Told of every command after it was applied, on the committing thread, and of messages; it must neither wait nor raise."""

Tags = Iterable[Tag | tuple[str, str] | dict[str, str]]


class Fleet(ABC):
    """The part of an Engine that knows devices but not points."""

    catalog: Catalog
    clock: SystemClock | ManualClock

    def __init__(self) -> None:
        self._catalog_lock = threading.RLock()  # a check of the catalog and the command that relies on it go together
        self._watchers: tuple[Watcher, ...] = ()

    @abstractmethod
    def command(self, command: commands.Command) -> None:
        """Log a command and return when it is durable and applied."""

    @abstractmethod
    def check_open(self) -> None:
        """Raise ClosedError if the store is closed."""

    @abstractmethod
    def forget_state(self, number: int) -> None:
        """Read what is known of a device again before its next write."""

    @abstractmethod
    def device_of(self, info: DeviceInfo) -> Device:
        """Return the device of an info."""

    def holding_catalog(self) -> AbstractContextManager[Any]:
        """Return the lock that keeps devices from coming and going while it is held."""
        return self._catalog_lock

    # --- who wants to know ---------------------------------------------------------------------------------------------

    def add_watcher(self, watcher: Watcher) -> None:
        """Have changes of devices, tokens and parameters told from now on."""
        self._watchers = (*self._watchers, watcher)

    def remove_watcher(self, watcher: Watcher) -> None:
        """Tell it nothing more; of no effect if it was not added."""
        self._watchers = tuple(known for known in self._watchers if known != watcher)

    def tell(self, news: commands.Command | Message) -> None:
        """Call every watcher, on this thread."""
        for watcher in self._watchers:
            watcher(news)

    def publish(self, device_id: str, topic: str, payload: bytes | str) -> None:
        """Send a message to a device: to those of its MQTT connections that subscribe to the topic at this moment.

        Nothing is stored, and nobody is told whether a device heard it; what must arrive is a configuration parameter.

        Raises:
            NotFoundError: no such device. InputError: the topic is empty, too long, or has a wildcard.
        """
        check_topic(topic)
        if not isinstance(payload, bytes | bytearray | memoryview):
            check_text(payload, "payload, if it is not bytes,")
        data = payload.encode() if isinstance(payload, str) else bytes(payload)
        self.tell(Message(self.device(device_id).info.number, topic, data))

    # --- devices -----------------------------------------------------------------------------------------------------

    def create_device(
        self,
        name: str,
        *,
        type: DeviceType = "immutable",
        chunk_period: Period | None = "month",
        chunk_retention: int | None = None,
        chunk_limit: int | None = POINTS_PER_CHUNK,
        point_limit: int | None = POINTS_PER_DEVICE,
        serial: str | None = None,
        tags: Tags = (),
        description: str | None = None,
        active: bool = True,
        visible: bool = True,
        extra: dict[str, Any] | None = None,
    ) -> Device:
        """Create a device and return it.

        Args:
            name: 3 to 100 characters; need not be unique.
            type: "immutable" (append-only, up to 36 million points, in chunks) or "mutable" (up to 50,000 registers).
            chunk_period: "day", "week" (from Monday), "month" or "quarter", in UTC; None = one chunk. Immutable only.
            chunk_retention: how many periods before the current one are kept; None = for ever. Immutable only.
            chunk_limit, point_limit: most points of one chunk and of the device; None = no limit. Immutable only.
            serial: a second name, unique in the store.
            extra: JSON values that are kept and returned, never read.

        Raises:
            InputError: a field is outside its limits, or the serial is taken.
        Durability: on disk on return.
        """
        check_type(type)
        if type == "mutable":
            chunk_period = chunk_retention = chunk_limit = None
            point_limit = REGISTERS_PER_DEVICE
        now_us = self.clock.now_us()
        with self._catalog_lock:
            info = DeviceInfo(
                number=self.catalog.next_device_number(),
                id=ids.new_id(),
                name=name,
                type=type,
                chunk_period=chunk_period,
                chunk_retention=chunk_retention,
                chunk_limit=chunk_limit,
                point_limit=point_limit,
                serial=serial,
                tags=to_tags(tags),
                active=active,
                visible=visible,
                description=description,
                created_us=now_us,
                updated_us=now_us,
                extra=to_extra(extra),
            )
            self._check_info(info)
            self.command(commands.PutDevice(info))
        return self.device_of(info)

    def device(self, id_or_serial: str) -> Device:
        """Return the device with this id or serial.

        Raises:
            NotFoundError: there is none.
        """
        self.check_open()
        check_text(id_or_serial, "the id or serial of a device")
        info = self.catalog.by_id(id_or_serial) or self.catalog.by_serial(id_or_serial)
        if info is None:
            raise NotFoundError(f"no device has the id or serial {id_or_serial!r}")
        return self.device_of(info)

    def numbers(self, ids_or_serials: Sequence[str | None]) -> list[int | None]:
        """Return the store's own number of each device; None for None.

        Raises:
            NotFoundError: there is no such device.
        """
        self.check_open()
        numbers = self.catalog.numbers(ids_or_serials)
        for text, number in zip(ids_or_serials, numbers, strict=True):
            if number is None and text is not None:
                raise NotFoundError(f"no device has the id or serial {text!r}")
        return numbers

    def devices(
        self,
        *,
        name: str | None = None,
        type: DeviceType | None = None,
        tags: Tags | None = None,
        serial: str | None = None,
        active: bool | None = None,
        visible: bool | None = None,
        order: str = "name",
        limit: int | None = None,
        skip: int = 0,
    ) -> list[Device]:
        """Return the devices that meet every condition given.

        Args:
            name: case-insensitive; `*` stands for any run of characters. Likewise keys and values of tags.
            order: a field of DeviceInfo, with a leading "-" for descending.
        """
        self.check_open()
        for field, text in (("name", name), ("serial", serial)):
            if text is not None:
                check_text(text, field)
        found = self.catalog.devices(
            name=name,
            type=type,
            tags=None if tags is None else to_tags(tags),
            serial=serial,
            active=active,
            visible=visible,
            order=order,
            limit=limit,
            skip=skip,
        )
        return [self.device_of(info) for info in found]

    def edit_device(self, device_id: str, **changes: Any) -> Device:
        """Change name, description, active, visible, tags, serial, chunk_retention, limits or extra (merged); return the device.

        Raises:
            NotFoundError: no such device. InputError: another field, or a value outside its limits.
        Durability: on disk on return.
        """
        allowed = {"name", "description", "active", "visible", "tags", "serial", "chunk_retention", "chunk_limit", "point_limit", "extra"}
        if unknown := changes.keys() - allowed:
            raise InputError(f"{', '.join(sorted(unknown))} cannot be changed; these can: {', '.join(sorted(allowed))}")
        with self._catalog_lock:
            info = self.device(device_id).info
            if "tags" in changes:
                changes["tags"] = to_tags(changes["tags"])
            if "extra" in changes:
                changes["extra"] = {**info.extra, **to_extra(changes["extra"])}
            changed = msgspec.structs.replace(info, **changes, updated_us=self.clock.now_us())
            self._check_info(changed)
            self.command(commands.PutDevice(changed))
            self.forget_state(info.number)
        return self.device_of(changed)

    def delete_device(self, device_id: str) -> None:
        """Forget a device with its points or registers, tokens and parameters.

        Raises:
            NotFoundError: no such device.
        Durability: on disk on return; the space of its points comes back at the next compaction at the latest.
        """
        with self._catalog_lock:
            number = self.device(device_id).info.number
            self.command(commands.DeleteDevice(number))
            self.forget_state(number)

    # --- tokens and parameters ---------------------------------------------------------------------------------------

    def create_token(
        self,
        device_id: str,
        name: str,
        *,
        permission: Literal["full", "read", "write"] = "full",
        expire: datetime | None = None,
        serial: str | None = None,
    ) -> Token:
        """Make a token for a device and return it; the secret is its `token` attribute.

        Raises:
            NotFoundError: no such device. InputError: name or permission is not acceptable.
        Durability: on disk on return.
        """
        return self._put_token(ids.new_token(), self.device(device_id).info.number, name, permission, expire, serial)

    def create_authorization(
        self, name: str, *, permission: Literal["full", "read", "write"] = "write", expire: datetime | None = None
    ) -> Token:
        """Make an authorization token, which is good for every device, and return it: for gateways and network services.

        Raises:
            InputError: name or permission is not acceptable.
        Durability: on disk on return.
        """
        return self._put_token(ids.new_authorization(), NO_DEVICE, name, permission, expire, None)

    def _put_token(
        self, text: str, number: int, name: str, permission: Literal["full", "read", "write"], expire: datetime | None, serial: str | None
    ) -> Token:
        check_name(name, "token name")
        if permission not in ("full", "read", "write"):
            raise InputError(f"permission must be 'full', 'read' or 'write', not {permission!r}")
        expire_us = None if expire is None else round(expire.timestamp() * 1_000_000)
        token = Token(text, number, name, permission, serial, expire_us, self.clock.now_us())
        self.command(commands.PutToken(token))
        return token

    def tokens(self, device_id: str) -> list[Token]:
        """Return the tokens of a device. Raises NotFoundError."""
        return self.catalog.tokens(self.device(device_id).info.number)

    def find_token(self, text: str) -> Token | None:
        """Return the device's token with this secret, or None if it is unknown or expired."""
        self.check_open()
        token = self.catalog.find_token(text)
        return token if token is not None and token.device != NO_DEVICE and self._is_valid(token) else None

    def authorizations(self) -> list[Token]:
        """Return the authorization tokens, oldest first."""
        self.check_open()
        return self.catalog.tokens(NO_DEVICE)

    def find_authorization(self, text: str) -> Token | None:
        """Return the authorization token with this secret, or None if it is unknown or expired."""
        self.check_open()
        token = self.catalog.find_token(text)
        return token if token is not None and token.device == NO_DEVICE and self._is_valid(token) else None

    def find_authorization_hash(self, hash: bytes) -> Token | None:
        """Return the authorization token that has this hash, or None if there is none or it is expired.

        Args:
            hash: the first 8 bytes, or more, of the SHA-256 of the token's 32 hexadecimal digits (without its `at`).
        """
        self.check_open()
        if len(hash) < AUTHORIZATION_HASH_BYTES:
            return None
        found = (token for token in self.catalog.find_hashed(hash) if token.device == NO_DEVICE and self._is_valid(token))
        return next(found, None)

    def _is_valid(self, token: Token) -> bool:
        return token.expire_us is None or token.expire_us > self.clock.now_us()

    def delete_token(self, text: str) -> None:
        """Revoke a token at once. Raises NotFoundError. Durability: on disk on return."""
        self.check_open()
        if self.catalog.find_token(text) is None:
            raise NotFoundError("no such token")
        self.command(commands.DeleteToken(text))

    def parameters(self, device_id: str, sent: bool | None = None) -> list[Parameter]:
        """Return the configuration parameters of a device, optionally only those (not) marked as sent."""
        found = self.catalog.parameters(self.device(device_id).info.number)
        return [parameter for parameter in found if sent is None or parameter.sent == sent]

    def put_parameters(self, device_id: str, parameters: list[Parameter]) -> list[Parameter]:
        """Insert parameters, or replace those with the same id; an empty id gets a new one. Return them.

        Raises:
            NotFoundError: no such device. LimitError: more than 60 of them; nothing was stored.
        """
        with self._catalog_lock:
            number = self.device(device_id).info.number
            put = [parameter if parameter.id else msgspec.structs.replace(parameter, id=ids.new_id()) for parameter in parameters]
            known = {parameter.id for parameter in self.catalog.parameters(number)} | {parameter.id for parameter in put}
            if len(known) > PARAMETERS_PER_DEVICE:
                raise LimitError(f"a device has at most {PARAMETERS_PER_DEVICE} configuration parameters, this would make {len(known)}")
            self.command(commands.PutParameters(number, tuple(put)))
        return put

    def delete_parameter(self, device_id: str, parameter_id: str) -> None:
        """Remove a configuration parameter. Raises NotFoundError."""
        with self._catalog_lock:
            number = self.device(device_id).info.number
            if all(parameter.id != parameter_id for parameter in self.catalog.parameters(number)):
                raise NotFoundError(f"the device has no parameter {parameter_id!r}")
            self.command(commands.DeleteParameter(number, parameter_id))

    def _check_info(self, info: DeviceInfo, *, instead_of: int | None = None) -> None:
        """Raise InputError unless a device may be as this info says; it may take the serial of the one it takes the place of."""
        check_name(info.name, "name")
        if info.chunk_period not in (None, "day", "week", "month", "quarter"):
            raise InputError(f"chunk_period must be 'day', 'week', 'month', 'quarter' or None, not {info.chunk_period!r}")
        for field in ("chunk_retention", "chunk_limit", "point_limit"):
            value = getattr(info, field)
            if value is not None and (type(value) is not int or value < 0):
                raise InputError(f"{field} must be a whole number or None, not {value!r}")
        if len(info.tags) > TAGS_PER_DEVICE:
            raise InputError(f"a device has at most {TAGS_PER_DEVICE} tags, not {len(info.tags)}")
        for tag in info.tags:
            check_text(tag.key, "the key of a tag")
            check_text(tag.value, "the value of a tag")
        if info.description is not None:
            check_text(info.description, "description")
        for field in ("active", "visible"):
            if type(getattr(info, field)) is not bool:
                raise InputError(f"{field} must be True or False, not {getattr(info, field)!r}")
        if info.serial is not None:
            check_text(info.serial, "serial")
            owner = self.catalog.by_serial(info.serial)
            if owner is not None and owner.number not in (info.number, instead_of):
                raise InputError(f"the serial {info.serial!r} belongs to the device {owner.id}")


def check_type(type: object) -> None:
    if type not in ("immutable", "mutable"):
        raise InputError(f"type must be 'immutable' or 'mutable', not {type!r}")


def check_name(name: object, field: str) -> None:
    if not isinstance(name, str) or not NAME_CHARS_MIN <= len(name) <= NAME_CHARS_MAX:
        raise InputError(f"{field} must be text of {NAME_CHARS_MIN} to {NAME_CHARS_MAX} characters, not {name!r}")
    check_text(name, field)


def check_topic(topic: str) -> None:
    """Raise InputError unless this is a topic that can be published to."""
    check_text(topic, "topic")
    if not topic or any(letter in topic for letter in "+#\0") or len(topic.encode("utf-8", "surrogatepass")) > TOPIC_BYTES:
        raise InputError(f"a topic must have 1 to {TOPIC_BYTES} bytes and none of + and #, not {topic[:100]!r}")


def to_extra(extra: object) -> dict[str, Any]:
    """Return the extra values of a device that a caller gave."""
    if extra is not None and not isinstance(extra, dict):
        raise InputError(f"extra must be a dict or None, not {extra!r}")
    return extra or {}


def to_tags(tags: Tags) -> tuple[Tag, ...]:
    """Return Tags of what a caller may give as such."""
    try:
        return tuple(
            tag if isinstance(tag, Tag) else msgspec.convert(tag, Tag) if isinstance(tag, dict) else Tag(*map(str, tag)) for tag in tags
        )
    except (TypeError, msgspec.ValidationError) as error:
        raise InputError(f"tags must be (key, value) pairs of text: {error}") from None
