"""The catalog: devices, their tokens and their configuration parameters (LMDB), as a view of the log's commands.

Format: docs/format/catalog.md.

Invariants:
- A command and its log sequence are committed together; a sequence at or below the applied one changes nothing.
- A serial leads to at most one device. The engine refuses a second one before the log; should one arrive all the same, the
  newest command wins and the other device loses its serial, here and after every replay.
- A device's number is above all numbers given out before, also those of deleted devices.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any

import msgspec

from tsengine.commands import (
    Command,
    ConvertDevice,
    DeleteDevice,
    DeleteParameter,
    DeleteToken,
    PutDevice,
    PutParameters,
    PutToken,
)
from tsengine.errors import InputError
from tsengine.ids import AUTHORIZATION_PREFIX
from tsengine.store.environment import UNDECODABLE, Environment, Transaction
from tsengine.types import NO_DEVICE, DeviceInfo, DeviceType, Parameter, Tag, Token

FORMAT_VERSION = 1

ID_BYTES_MAX = 64
"""Longest text that is looked up as an id, bytes: LMDB keys are short, ids shorter."""

_KEY_LOG_REACH = b"log"
_KEY_NEXT_DEVICE = b"next_device"
_ORDERS = ("number", "id", "name", "type", "serial", "active", "visible", "description", "created_us", "updated_us")

TOKENS_KNOWN_MAX = 65_536
"""Tokens kept in memory after they were found, about 0.5 kB each."""

_encode = msgspec.msgpack.Encoder().encode
_decode_device = msgspec.msgpack.Decoder(DeviceInfo).decode
_decode_token = msgspec.msgpack.Decoder(Token).decode
_decode_parameters = msgspec.msgpack.Decoder(list[Parameter]).decode


class Catalog:
    """An open catalog.

    Args:
        path: folder of the environment, made if it is missing.

    Raises:
        StorageError, CorruptionError: as `Environment`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        databases: dict[str, dict[str, bool]] = {
            "devices": {},
            "ids": {},
            "serials": {},
            "tokens": {},
            "device_tokens": {"dupsort": True, "dupfixed": True},
            "parameters": {},
        }
        self._environment = Environment(path, store="catalog", version=FORMAT_VERSION, databases=databases, metasync=False)
        self._devices = self._environment.database("devices")
        self._ids = self._environment.database("ids")
        self._serials = self._environment.database("serials")
        self._tokens = self._environment.database("tokens")
        self._device_tokens = self._environment.database("device_tokens")
        self._parameters = self._environment.database("parameters")
        self._known_tokens: dict[str, Token] = {}  # replaced, never changed, by a change of the catalog

    @property
    def applied_seq(self) -> int:
        """The log sequence up to which every command is in the catalog; 0 = nothing."""
        return self._environment.applied_seq

    # --- changes ----------------------------------------------------------------------------------------------------

    def apply(self, seq: int, command: Command) -> None:
        """Apply one command of the log; see `apply_many`."""
        self.apply_many(((seq, command),))

    def apply_many(self, commands: Iterable[tuple[int, Command]]) -> None:
        """Apply commands in log order, in one transaction; those at or below the applied sequence are skipped.

        Commands of other stores change nothing but the applied sequence.

        Durability: seen by every read when it returns, on disk after `sync()`; the log has them until then.
        """
        commands = tuple(commands)

        def work(txn: Transaction) -> None:
            applied = self._environment.applied_seq
            for seq, command in commands:
                if seq > applied:
                    self._apply(txn, command)
                    applied = seq
            self._environment.put_applied(txn, applied)

        self._environment.write(work)
        self._known_tokens = {}

    def sync(self, seq: int = 0) -> None:
        """Make everything applied durable, so that the log may be trimmed up to `applied_seq`.

        Args:
            seq: everything of the log up to here was given to this store, or does not concern it.
        """
        if seq > self.applied_seq:
            self._environment.write(self._environment.put_applied, seq)
        self._environment.sync()

    def _apply(self, txn: Transaction, command: Command) -> None:
        match command:
            case PutDevice():
                self._put_device(txn, command.device)
            case DeleteDevice():
                self._delete_device(txn, command.device)
            case ConvertDevice():
                self._convert_device(txn, command.old, command.device)
            case PutToken():
                self._put_token(txn, command.token)
            case DeleteToken():
                self._delete_token(txn, _token_digest(command.token))
            case PutParameters():
                self._put_parameters(txn, command.device, command.parameters)
            case DeleteParameter():
                kept = [parameter for parameter in self._load_parameters(txn, command.device) if parameter.id != command.id]
                self._store_parameters(txn, command.device, kept)

    def _put_device(self, txn: Transaction, info: DeviceInfo) -> None:
        key = _key(info.number)
        stored = txn.get(key, db=self._devices)
        if stored is not None:
            self._forget_names(txn, key, _decode_device(stored))
        if info.serial is not None:
            rival = txn.get(_digest(info.serial), db=self._serials)
            if rival is not None:
                without_serial = msgspec.structs.replace(_decode_device(txn.get(rival, b"", db=self._devices)), serial=None)
                txn.put(rival, _encode(without_serial), db=self._devices)
            txn.put(_digest(info.serial), key, db=self._serials)
        txn.put(key, _encode(info), db=self._devices)
        txn.put(info.id.encode(), key, db=self._ids)
        if info.number >= self._environment.get_number(txn, _KEY_NEXT_DEVICE, 1):
            self._environment.put_number(txn, _KEY_NEXT_DEVICE, info.number + 1)

    def _delete_device(self, txn: Transaction, number: int) -> None:
        key = _key(number)
        stored = txn.pop(key, db=self._devices)
        if stored is not None:
            self._forget_names(txn, key, _decode_device(stored))
        for digest in self._digests(txn, key):
            self._delete_token(txn, digest)
        txn.delete(key, db=self._parameters)

    def _convert_device(self, txn: Transaction, number: int, info: DeviceInfo) -> None:
        tokens = [_decode_token(txn.get(digest, b"", db=self._tokens)) for digest in self._digests(txn, _key(number))]
        parameters = self._load_parameters(txn, number)
        self._delete_device(txn, number)
        self._put_device(txn, info)
        for token in tokens:
            self._put_token(txn, msgspec.structs.replace(token, device=info.number))
        self._store_parameters(txn, info.number, parameters)

    def _forget_names(self, txn: Transaction, key: bytes, info: DeviceInfo) -> None:
        txn.delete(info.id.encode(), db=self._ids)
        if info.serial is not None:
            txn.delete(_digest(info.serial), db=self._serials)

    def _put_token(self, txn: Transaction, token: Token) -> None:
        digest = _token_digest(token.token)
        self._delete_token(txn, digest)
        txn.put(digest, _encode(token), db=self._tokens)
        txn.put(_key(token.device), digest, db=self._device_tokens)

    def _delete_token(self, txn: Transaction, digest: bytes) -> None:
        stored = txn.pop(digest, db=self._tokens)
        if stored is not None:
            txn.delete(_key(_decode_token(stored).device), digest, db=self._device_tokens)

    def _put_parameters(self, txn: Transaction, number: int, parameters: tuple[Parameter, ...]) -> None:
        by_id = {parameter.id: parameter for parameter in self._load_parameters(txn, number)}
        by_id.update((parameter.id, parameter) for parameter in parameters)
        self._store_parameters(txn, number, list(by_id.values()))

    def _store_parameters(self, txn: Transaction, number: int, parameters: list[Parameter]) -> None:
        if parameters:
            txn.put(_key(number), _encode(parameters), db=self._parameters)
        else:
            txn.delete(_key(number), db=self._parameters)

    # --- reads ------------------------------------------------------------------------------------------------------

    def device(self, number: int) -> DeviceInfo | None:
        """Return a device by its number."""
        return self._environment.read(self._load_device, _key(number))

    def by_id(self, id: str) -> DeviceInfo | None:
        """Return a device by its id, compared exactly."""
        name = id.encode("utf-8", "surrogatepass")
        return self._environment.read(self._load_named, self._ids, name) if 0 < len(name) <= ID_BYTES_MAX else None

    def by_serial(self, serial: str) -> DeviceInfo | None:
        """Return the device that has this serial, compared exactly."""
        return self._environment.read(self._load_named, self._serials, _digest(serial))

    def numbers(self, texts: Iterable[str | None]) -> list[int | None]:
        """Return the number of the device that each id or serial names, on one snapshot; None for None and for unknown ones."""
        return self._environment.read(lambda txn: [None if text is None else self._load_number(txn, text) for text in texts])

    def devices(
        self,
        *,
        name: str | None = None,
        type: DeviceType | None = None,
        tags: Iterable[Tag] | None = None,
        serial: str | None = None,
        active: bool | None = None,
        visible: bool | None = None,
        order: str = "name",
        limit: int | None = None,
        skip: int = 0,
    ) -> list[DeviceInfo]:
        """Return the devices that meet every condition given.

        Args:
            name: whole name without regard to case; `*` stands for any run of characters.
            tags: for each of these the device has a tag that matches in key and value, `*` and case as in name.
            serial: exactly this one.
            order: a field of DeviceInfo (number, id, name, type, serial, active, visible, description, created_us, updated_us), with
                `-` before it for descending; texts without regard to case, absent ones first, then by number.
            limit, skip: at most so many (None = all), after leaving out so many.

        Raises:
            InputError: the order is not one of those fields, or limit or skip is negative.
        Cost: reads every device of the store, except with a serial.
        """
        field = order.removeprefix("-")
        if field not in _ORDERS:
            raise InputError(f"cannot order devices by {order!r}; use one of {', '.join(_ORDERS)}, with - before it for descending")
        if skip < 0 or (limit is not None and limit < 0):
            raise InputError(f"limit and skip must not be negative, got {limit} and {skip}")
        wanted_tags = tuple(tags or ())

        def is_wanted(info: DeviceInfo) -> bool:
            return (
                (name is None or _is_match(name, info.name))
                and (type is None or info.type == type)
                and (active is None or info.active == active)
                and (visible is None or info.visible == visible)
                and all(any(_is_match(tag.key, own.key) and _is_match(tag.value, own.value) for own in info.tags) for tag in wanted_tags)
            )

        def sort_key(info: DeviceInfo) -> tuple[bool, Any]:
            value = getattr(info, field)
            return (value is not None, value.casefold() if isinstance(value, str) else value)

        if serial is not None:
            named = self.by_serial(serial)
            found = [] if named is None else [named]
        else:
            found = self._environment.read(lambda txn: [_decode_device(value) for value in txn.cursor(self._devices).iternext(keys=False)])
        found = [info for info in found if is_wanted(info)]
        found.sort(key=sort_key, reverse=order.startswith("-"))
        return found[skip : None if limit is None else skip + limit]

    def device_count(self) -> int:
        """Return how many devices there are. Cost: none of a device."""
        return self._environment.read(self._environment.entry_count, self._devices)

    @property
    def log_reach(self) -> int | None:
        """Sequence that the files of the log are known to have reached, so that a log that ends before has lost its end; None: no files."""
        noted = self._environment.read(self._environment.get_number, _KEY_LOG_REACH)
        return noted - 1 if noted else None

    def note_log_reach(self, seq: int | None) -> None:
        """Remember how far the files of the log reach, which must be on disk before this says so; None: there are none."""
        self._environment.write(self._environment.put_number, _KEY_LOG_REACH, 0 if seq is None else seq + 1)

    def next_device_number(self) -> int:
        """Return a number that no device ever had; 1 at first."""
        return self._environment.read(self._environment.get_number, _KEY_NEXT_DEVICE, 1)

    def tokens(self, number: int) -> list[Token]:
        """Return a device's tokens, oldest first; those of no device (NO_DEVICE) are the authorization tokens."""

        def work(txn: Transaction) -> list[Token]:
            stored = (txn.get(digest, b"", db=self._tokens) for digest in self._digests(txn, _key(number)))
            return [_decode_token(value) for value in stored]

        return sorted(self._environment.read(work), key=lambda token: (token.created_us, token.token))

    def find_token(self, text: str) -> Token | None:
        """Return the token with this text, expired or not.

        The key is the SHA-256 of the text, so the time of the lookup tells nothing of other tokens, and the final
        comparison with the stored text takes the same time wherever they differ. Tokens that were found are remembered until
        the catalog changes, by their keyed hash, which tells as little.
        """
        known = self._known_tokens  # taken before the look: what was read before a change must not be kept after it
        token = known.get(text)
        if token is not None:
            return token
        from hmac import compare_digest  # it costs more than opening a store, and embedders have no tokens

        raw = text.encode("utf-8", "surrogatepass")
        stored = self._environment.read(self._load_token, _token_digest(text))
        if stored is None:
            return None
        token = _decode_token(stored)
        if not compare_digest(token.token.encode("utf-8", "surrogatepass"), raw):
            return None
        if len(known) >= TOKENS_KNOWN_MAX:
            known.clear()
        known[text] = token
        return token

    def find_hashed(self, start: bytes) -> list[Token]:
        """Return the tokens whose hash begins with these bytes, expired or not; see `_token_digest`."""

        def work(txn: Transaction) -> list[Token]:
            cursor = txn.cursor(self._tokens)
            found = []
            if cursor.set_range(start):
                for digest, stored in cursor.iternext():
                    if not digest.startswith(start):
                        break
                    found.append(_decode_token(stored))
            return found

        return self._environment.read(work)

    def parameters(self, number: int) -> list[Parameter]:
        """Return a device's parameters in the order in which they were first put."""
        return self._environment.read(self._load_parameters, number)

    def check(self) -> list[str]:
        """Return what is wrong between devices, tokens and the ways to find them, one sentence each; empty = nothing."""
        return self._environment.read(self._check)

    def rebuild(self) -> list[str]:
        """Make all ways to find devices and tokens again from these, in one transaction; return what was lost, one sentence each.

        What cannot be decoded, and tokens and parameters of no device, are removed.

        Durability: on disk on return.
        """
        lost = self._environment.write(self._rebuild)
        self._known_tokens = {}
        self._environment.sync()
        return lost

    def copy(self, folder: str | os.PathLike[str]) -> None:
        """Write a consistent copy for a backup; see `Environment.copy`."""
        self._environment.copy(folder)

    def close(self) -> None:
        """Close the environment; what was not synced is still in the log. A second close does nothing."""
        self._environment.close()

    def _load_device(self, txn: Transaction, key: bytes) -> DeviceInfo | None:
        stored = txn.get(key, db=self._devices)
        return None if stored is None else _decode_device(stored)

    def _load_named(self, txn: Transaction, database: Any, name: bytes) -> DeviceInfo | None:
        key = txn.get(name, db=database)
        return None if key is None else self._load_device(txn, key)

    def _load_number(self, txn: Transaction, text: str) -> int | None:
        name = text.encode("utf-8", "surrogatepass")
        key = txn.get(name, db=self._ids) if 0 < len(name) <= ID_BYTES_MAX else None
        key = key or txn.get(_digest(text), db=self._serials)
        return None if key is None else int.from_bytes(key, "big")

    def _load_token(self, txn: Transaction, digest: bytes) -> bytes | None:
        return txn.get(digest, db=self._tokens)

    def _load_parameters(self, txn: Transaction, number: int) -> list[Parameter]:
        stored = txn.get(_key(number), db=self._parameters)
        return [] if stored is None else _decode_parameters(stored)

    def _digests(self, txn: Transaction, key: bytes) -> list[bytes]:
        cursor = txn.cursor(self._device_tokens)
        return list(cursor.iternext_dup()) if cursor.set_key(key) else []

    def _check(self, txn: Transaction) -> list[str]:
        devices = {key: _decode_device(value) for key, value in txn.cursor(self._devices)}
        tokens = {digest: _decode_token(value) for digest, value in txn.cursor(self._tokens)}
        serials = {_digest(info.serial): key for key, info in devices.items() if info.serial is not None}
        pairs = {(_key(token.device), digest) for digest, token in tokens.items()}
        highest = max((info.number for info in devices.values()), default=0)
        claims = (
            (all(_key(info.number) == key for key, info in devices.items()), "a device lies under another device's number"),
            ({info.id.encode(): key for key, info in devices.items()} == dict(txn.cursor(self._ids)), "ids and devices differ"),
            (serials == dict(txn.cursor(self._serials)), "serials and devices differ"),
            (all(_token_digest(token.token) == digest for digest, token in tokens.items()), "a token lies under another token's hash"),
            (pairs == set(txn.cursor(self._device_tokens)), "tokens and the tokens of devices differ"),
            ({key for key, _ in pairs} <= devices.keys() | {_key(NO_DEVICE)}, "a token belongs to no device"),
            (set(txn.cursor(self._parameters).iternext(values=False)) <= devices.keys(), "parameters belong to no device"),
            (highest < self._environment.get_number(txn, _KEY_NEXT_DEVICE, 1), "the next device's number is taken"),
        )
        return [f"{self._environment.file}: {problem}" for holds, problem in claims if not holds]

    def _rebuild(self, txn: Transaction) -> list[str]:
        lost: list[str] = []
        devices = self._readable(txn, self._devices, _decode_device, "device", lost)
        tokens = self._readable(txn, self._tokens, _decode_token, "token", lost)
        parameters = self._readable(txn, self._parameters, _decode_parameters, "parameters of device", lost)
        for database in (self._devices, self._ids, self._serials, self._tokens, self._device_tokens, self._parameters):
            txn.drop(database, delete=False)
        for info in devices.values():
            self._put_device(txn, info)
        known = {_key(info.number) for info in devices.values()}
        for token in tokens.values():
            if token.device == NO_DEVICE or _key(token.device) in known:
                self._put_token(txn, token)
            else:
                lost.append(f"token {token.name!r} belongs to device {token.device}, which is gone")
        for key, found in parameters.items():
            if key in known:
                self._store_parameters(txn, int.from_bytes(key, "big"), found)
            else:
                lost.append(f"{len(found)} parameters belong to device {int.from_bytes(key, 'big')}, which is gone")
        return lost

    def _readable(self, txn: Transaction, database: Any, decode: Any, what: str, lost: list[str]) -> dict[bytes, Any]:
        found = {}
        for key, value in txn.cursor(database):
            try:
                found[key] = decode(value)
            except UNDECODABLE as error:
                lost.append(f"{what} {key.hex()} cannot be decoded: {error}")
        return found


def _key(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _plain_sha256() -> Any:
    """Return Python's own SHA-256 where it has one: hashlib loads OpenSSL, which takes as long as opening a store."""
    for name in ("_sha2", "_sha256"):  # since Python 3.12, and before
        with suppress(ImportError):
            return import_module(name).sha256
    return import_module("hashlib").sha256


sha256 = _plain_sha256()


def _digest(text: str) -> bytes:
    """Return the key of a text of any length."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _token_digest(text: str) -> bytes:
    """Return the key of a token; an authorization token goes without its prefix, so that the key is TagoTiP's authorization hash."""
    return _digest(text.removeprefix(AUTHORIZATION_PREFIX))


def _is_match(pattern: str, text: str) -> bool:
    """Tell whether the whole text matches without regard to case; `*` is any run.

    Finding each piece at its first place is enough, so the cost is linear where a regular expression could backtrack.
    """
    text = text.casefold()
    first, *pieces = pattern.casefold().split("*")
    if not pieces:
        return text == first
    last = pieces.pop()
    if len(first) + len(last) > len(text) or not text.startswith(first) or not text.endswith(last):
        return False
    position, end = len(first), len(text) - len(last)
    for piece in pieces:
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True
