"""What all resources share: the engine, the gate, the settings, and when each device last sent data."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import falcon.asgi

from tsengine.aio import AsyncDevice, AsyncEngine
from tsengine.device import Device
from tsengine.errors import NotFoundError
from tsengine.server.asgi import Disconnected, too_large
from tsengine.server.auth import Gate
from tsengine.server.dates import to_us
from tsengine.server.envelope import Answer, device_not_found, success
from tsengine.server.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")


class Service:
    """One server's view of one engine."""

    def __init__(self, engine: AsyncEngine, account_token: str, settings: Settings) -> None:
        self.engine = engine
        self.gate = Gate(engine, account_token)
        self.settings = settings
        self._last_input_us: dict[str, int] = {}

    def now_us(self) -> int:
        return self.engine.engine.clock.now_us()

    def saw_input(self, device_id: str) -> None:
        self._last_input_us[device_id] = self.now_us()

    def forget(self, device_id: str) -> None:
        """Drop what is remembered of a deleted device."""
        self._last_input_us.pop(device_id, None)

    def last_input_us(self, device: Device) -> int | None:
        """Return when a device last sent data, or None for never. After a restart the newest point of each variable tells it."""
        known = self._last_input_us.get(device.id)
        if known is None:
            times = [to_us(point.created_at) for point in device.last() if point.created_at is not None]
            if not times:
                return None
            known = self._last_input_us[device.id] = max(times)
        return known

    async def body(self, req: falcon.asgi.Request) -> bytes:
        """Return a request's body.

        Raises:
            Refusal: 413; it is larger than max_body.
            Disconnected: the client went away before the body was complete.
        """
        length = req.content_length
        if length is not None and length > self.settings.max_body:
            raise too_large(self.settings.max_body)
        body = await req.stream.read(self.settings.max_body + 1)
        if len(body) > self.settings.max_body:
            raise too_large(self.settings.max_body)
        if length is not None and len(body) < length:
            raise Disconnected
        return body

    async def device(self, device_id: str) -> AsyncDevice:
        """Return the device with this id.

        Raises:
            Refusal: 404.
        """
        try:
            device = await self.engine.device(device_id)
        except NotFoundError:
            raise device_not_found() from None
        if device.id != device_id:  # the engine also finds serials, which are no ids
            raise device_not_found()
        return device

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking read in the engine's threads."""
        result: T = await self.engine.run(function, *args, **kwargs)
        return result


def answer(resp: falcon.asgi.Response, result: object, status: int = 200) -> None:
    """Make a result the answer to a request."""
    put(resp, success(result, status))


def put(resp: falcon.asgi.Response, ready: Answer) -> None:
    resp.status = ready.status
    resp.data = ready.body
    for name, value in ready.headers:
        resp.set_header(name.decode(), value.decode())
