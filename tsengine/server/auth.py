"""Who asks: the token in the headers, what kind it is and what it may do.

Three kinds exist: the account token of this server, which manages devices; device tokens, which reach the data of one
device; and authorization tokens, with which gateways reach the network routes of all devices. Every failure gives the same
answer, so that a guess learns nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Literal, NamedTuple

from tsengine.aio import AsyncDevice, AsyncEngine
from tsengine.server.envelope import Refusal, denied
from tsengine.types import Token

Need = Literal["read", "write"]

RANKS = {
    name: rank
    for rank, name in enumerate(
        (
            b"account-token",
            b"profile-token",
            b"device-token",
            b"public-token",
            b"analysis-token",
            b"network-token",
            b"middleware-token",
            b"token",
            b"authorization",
            b"authorized",
            b"authentication",
        )
    )
}
"""Headers that may carry a token, and which wins when several do (smallest first)."""

TOKENS_NOTED = 100_000
"""Tokens whose last use is remembered, about 200 bytes each; beyond it all are forgotten."""

SCHEME = b"bearer "


class Caller(NamedTuple):
    """A device and the token that speaks for it."""

    device: AsyncDevice
    token: Token


def token_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the token that these headers (names in lower case) carry, or "" for none."""
    best, found = len(RANKS), b""
    for name, value in headers:
        rank = RANKS.get(name, best)
        if rank < best and value.strip():
            best, found = rank, value.strip()
    if found[: len(SCHEME)].lower() == SCHEME:
        found = found[len(SCHEME) :].strip()
    return found.decode("latin-1")


class Gate:
    """Decides on tokens, from the engine's catalog and the account token."""

    def __init__(self, engine: AsyncEngine, account_token: str) -> None:
        self._engine = engine
        self._account_token = account_token.encode()
        self._devices: dict[int, AsyncDevice] = {}
        self._used_us: dict[str, int] = {}

    def last_used_us(self, token: Token) -> int | None:
        """Return when a token last opened the gate, or None: not since the server started."""
        return self._used_us.get(token.token)

    def note_use(self, token: Token) -> None:
        """Remember that a token opens the gate now."""
        if len(self._used_us) >= TOKENS_NOTED:
            self._used_us.clear()
        self._used_us[token.token] = self._engine.engine.clock.now_us()

    def is_account(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        return hmac.compare_digest(token_of(headers).encode(), self._account_token)

    def sign(self, text: str) -> str:
        """Return a signature that only this server can make, hexadecimal."""
        return hmac.new(self._account_token, text.encode(), "sha256").hexdigest()

    def account(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Let only the account token pass.

        Raises:
            Refusal: 401.
        """
        if not self.is_account(headers):
            raise denied()

    def caller(self, headers: Iterable[tuple[bytes, bytes]], need: Need | None) -> Caller:
        """Return the device whose token these headers carry, if the token allows what is needed (None = anything).

        Raises:
            Refusal: 401.
        """
        return self.caller_with(token_of(headers), need)

    def caller_with(self, text: str, need: Need | None) -> Caller:
        """As `caller`, for the text of a token."""
        token = self._engine.engine.find_token(text)
        if token is None or (need is not None and token.permission not in ("full", need)):
            raise denied()
        device = self.device_by_number(token.device)
        if device is None:
            raise denied()
        self.note_use(token)
        return Caller(device, token)

    def device(self, headers: Iterable[tuple[bytes, bytes]], need: Need) -> AsyncDevice:
        """Return the active device whose token these headers carry.

        Raises:
            Refusal: 401, or 400 when the device is deactivated.
        """
        device = self.caller(headers, need).device
        require_active(device)
        return device

    def device_id_of(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Return the id of the device whose token these headers carry, whatever the token allows, or None."""
        token = self._engine.engine.find_token(token_of(headers))
        device = None if token is None else self.device_by_number(token.device)
        return None if device is None else device.id

    def gateway(self, headers: Iterable[tuple[bytes, bytes]], other: str | None, need: Need) -> None:
        """Let the account pass, and those who bring an authorization token, in a header or as the other one.

        A gateway of TagoIO brings two, its network's and its account's. Here one is enough, but none may be wrong.

        Raises:
            Refusal: 401.
        """
        brought = [text for text in (token_of(headers), other) if text]
        if not brought or not all(self._is_gateway(text, need) for text in brought):
            raise denied()

    def _is_gateway(self, text: str, need: Need) -> bool:
        if hmac.compare_digest(text.encode(), self._account_token):
            return True
        token = self._engine.engine.find_authorization(text)
        if token is None or token.permission not in ("full", need):
            return False
        self.note_use(token)
        return True

    def device_by_number(self, number: int) -> AsyncDevice | None:
        """Return a device by its number."""
        info = self._engine.engine.info_of(number)
        if info is None:
            self._devices.pop(number, None)
            return None
        device = self._devices.get(number)
        if device is None or device.info is not info:  # the engine makes a new info for every change of a device
            device = self._devices[number] = self._engine.device_of(info)
        return device


def require_active(device: AsyncDevice) -> None:
    if not device.info.active:
        raise Refusal(400, "Device is deactivated")
