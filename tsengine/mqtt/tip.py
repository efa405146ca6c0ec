"""TagoTiP over MQTT: bodies that a sequence counter may precede, and the answers that go to `$tip/{serial}/ack`."""

from __future__ import annotations

from msgspec import Raw

from tsengine.aio import AsyncDevice
from tsengine.errors import TsengineError
from tsengine.ingest.bodies import WirePoint
from tsengine.ingest.tagotip import read_counter, read_names
from tsengine.mqtt.topics import TIP_ROOT
from tsengine.server.envelope import Refusal
from tsengine.server.routes.tip import error_code, last_values, points_of, text_of
from tsengine.server.service import Service


class TipAnswer:
    """What becomes of one publish, and where it is told.

    Attributes:
        count: points that were stored.
    """

    def __init__(self, serial: str) -> None:
        self.serial = serial
        self.topic = f"{TIP_ROOT}{serial}/ack"
        self.count = 0
        self._counter = ""

    def read_push(self, body: bytes, mark: Raw) -> list[WirePoint]:
        """Return the points of a PUSH; what is passed through to the parser is marked with its topic. Raises InputError."""
        self._counter, text = read_counter(text_of(body))
        points = points_of(text, mark)
        self.count = len(points)
        return points

    async def pull(self, service: Service, device: AsyncDevice, body: bytes) -> bytes:
        """Return the answer to a PULL. Raises InputError; Refusal: there is none of the variables."""
        self._counter, text = read_counter(text_of(body))
        return f"{self._counter}OK|{await last_values(service, device, read_names(text))}".encode()

    def stored(self) -> bytes:
        return b"%bOK|%d" % (self._counter.encode(), self.count)

    def refused(self, error: TsengineError | Refusal) -> bytes:
        return f"{self._counter}ERR|{error_code(error)}".encode()
