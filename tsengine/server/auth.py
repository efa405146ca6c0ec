"""Who asks: the token in the headers, what kind it is and what it may do.

Two kinds exist: the account token of this server, which manages devices, and device tokens, which reach the data of one
device. Every failure gives the same answer, so that a guess learns nothing.
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

    def is_account(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        return hmac.compare_digest(token_of(headers).encode(), self._account_token)

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
        token = self._engine.engine.find_token(token_of(headers))
        if token is None or (need is not None and token.permission not in ("full", need)):
            raise denied()
        device = self._device(token.device)
        if device is None:
            raise denied()
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
        device = None if token is None else self._device(token.device)
        return None if device is None else device.id

    def _device(self, number: int) -> AsyncDevice | None:
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
