"""What all resources share: the engine, the gate, the limits, who listens, and when each device last sent data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

import falcon.asgi

from tsengine.aio import AsyncDevice, AsyncEngine
from tsengine.device import Device
from tsengine.errors import NotFoundError
from tsengine.server.auth import Gate
from tsengine.server.dates import to_us
from tsengine.server.envelope import Answer, Header, device_not_found, error_kind, failure, success
from tsengine.server.filestore import FileStore
from tsengine.server.http.asgi import Disconnected
from tsengine.server.http.encoding import encoding_of, expand, too_large
from tsengine.server.http.request_log import RequestLog
from tsengine.server.inspector import Inspector
from tsengine.server.jobs import Jobs
from tsengine.server.parsers import Parsers
from tsengine.server.rates import Rates
from tsengine.server.settings import Settings
from tsengine.server.traffic import Traffic
from tsengine.server.uploads import Uploads

logger = logging.getLogger("tsengine.server")

P = ParamSpec("P")
T = TypeVar("T")


class Service:
    """One server's view of one engine.

    Args:
        log: the access log, open; None = none is written.
    """

    def __init__(self, engine: AsyncEngine, account_token: str, settings: Settings, log: RequestLog | None = None) -> None:
        self.engine = engine
        self.gate = Gate(engine, account_token)
        self.settings = settings
        self.files = FileStore(engine.engine.path, settings.max_files, engine.engine.beside)
        self.files.sweep()
        self.uploads = Uploads(self.files, settings.max_file)
        self.traffic = Traffic()
        self.jobs = Jobs(engine.engine, self.files, lambda device_id, points: self.saw_input(device_id, points, 0))
        self._log = log
        self.rates = Rates(settings.rate_limits, self.now_us)
        self.parsers = Parsers(settings.parsers, settings.parser_workers, settings.parser_timeout, settings.max_body)
        self.inspector = Inspector(settings.max_listeners, self.now_us)
        self._last_input_us: dict[str, int] = {}

    def now_us(self) -> int:
        return self.engine.engine.clock.now_us()

    def saw_input(self, device_id: str, points: int, size_bytes: int) -> None:
        """Note that a device sent points, in a body of so many bytes."""
        self._last_input_us[device_id] = self.now_us()
        self.traffic.points += points
        self.traffic.received_bytes += size_bytes

    def finished(
        self,
        method: str,
        route: str,
        path: str,
        headers: Iterable[Header],
        status: int,
        sent_bytes: int,
        seconds: float,
        request_id: str,
    ) -> None:
        """Note that a request was answered: every way on which one is answered calls this once, when the answer has been handed over.

        Args:
            route: the path with its fields, `/device/{device_id}`; traffic.OTHER_ROUTE when there is none.
            path: as it was asked for, percent-decoded, without the query.
            headers: of the request, names in lower case.
            sent_bytes: of the answer's body. seconds: since the request's head was read.
            request_id: as the answer carries it, of request_log.request_id_of.
        """
        self.traffic.add(route, method, status, seconds, sent_bytes)
        if self._log is not None:
            self._log.write(request_id, method, path, status, sent_bytes, seconds, lambda: self.gate.device_id_of(headers))

    def failure(self, error: Exception, request_id: str) -> Answer:
        """Return the answer that an exception stands for, and count it."""
        self.traffic.errors[error_kind(error)] += 1
        return failure(error, request_id)

    def forget(self, device_id: str) -> None:
        """Drop what is remembered of a deleted device."""
        self._last_input_us.pop(device_id, None)
        self.inspector.forget_device(device_id)

    def is_plain(self, device: AsyncDevice) -> bool:
        """Whether data for this device go straight to the engine: no payload parser, no rate limit, nobody who listens."""
        info = device.info
        if self.inspector.heard or self.parsers.references or self.rates.counts_data:  # else one look-up is all that a POST pays
            return not (self.inspector.is_heard(device.id) or self.parsers.of(info) or self.rates.counts(info))
        return not info.extra.get("rpm")

    def is_read_plainly(self, device: AsyncDevice) -> bool:
        """Whether reads of this device's data go straight to the engine: no rate limit."""
        return not (self.rates.counts_reads or device.info.extra.get("rpm"))

    def stop(self) -> None:
        """End what would not end by itself: streams of events."""
        self.inspector.close()

    async def close(self) -> None:
        """End the processes of payload parsers, and interrupt jobs."""
        self.stop()
        await self.parsers.close()
        self.jobs.stop()

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
        """Return a request's body, inflated if it is compressed.

        Raises:
            Refusal: 413; it is larger than max_body. 415, 400 as `encoding_of` and `expand`.
            Disconnected: the client went away before the body was complete.
        """
        encoding = encoding_of(req.scope["headers"])
        length = req.content_length
        if length is not None and length > self.settings.max_body:
            raise too_large(self.settings.max_body)
        body = await req.stream.read(self.settings.max_body + 1)
        if len(body) > self.settings.max_body:
            raise too_large(self.settings.max_body)
        if length is not None and len(body) < length:
            raise Disconnected
        return expand(body, encoding, self.settings.max_body)

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
