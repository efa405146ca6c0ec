"""Payload parsers: functions that turn what a device sends into data items, run in processes of their own.

A parser is `(payload, raw_payload, device) -> list[dict]`. It is found by its name, which is the id of the device's connector
or network, then the id of the device itself or the value of its tag `payload_parser`; if both kinds are there, the second
gets what the first returned. Names come from the settings and from the entry points of installed packages.

A thread of Python cannot be stopped, so a parser runs in a process that is killed when it takes too long. A device has one
process at a time and a share of the queue: however slow its parser is, the others' turn comes after at most one run of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from tsengine.errors import BusyError, InputError
from tsengine.ingest.bodies import MESSAGEPACK_TYPES
from tsengine.server.envelope import Refusal
from tsengine.server.parser_worker import FRAME, Hello, Job, Kind
from tsengine.types import DeviceInfo

ENTRY_POINTS = "tsengine.parsers"
TAG = "payload_parser"

QUEUE_MAX, QUEUE_BYTES = 64, 16 << 20
"""Bodies that may wait for a parser's process, and their bytes; beyond it BusyError at once."""
DEVICE_QUEUE_MAX, DEVICE_QUEUE_BYTES = 16, 4 << 20
"""The same for the bodies of one device."""
START_S = 30.0
"""How long a process may take to import its parsers."""
END_S = 1.0
"""How long the end of a killed process is awaited."""
READ_BYTES = 64 * 1024
TEXT_BYTES = 1 << 20
"""Largest frame that is no result, bytes: a process keeps what is printed and its errors far below that."""

TEXT_TYPES = ("application/x-www-form-urlencoded", "application/xml", "application/xhtml+xml")
PRIVATE_VARIABLES = ("TSENGINE_ACCOUNT_TOKEN",)

Parser = str | Callable[..., Any]


class Parsers:
    """The parsers of a server and the processes that run them.

    Args:
        given: by name; they win over entry points of the same name.
        workers: most processes.
        seconds: how long a parser may run for one body.
        result_max: largest result, bytes of JSON.

    Attributes:
        references: how each parser is imported, by name.
    """

    def __init__(self, given: Mapping[str, Parser], workers: int, seconds: float, result_max: int) -> None:
        found = {point.name: point.value.split(" ")[0] for point in entry_points(group=ENTRY_POINTS)}
        self.references = found | {name: reference_of(name, parser) for name, parser in given.items()}
        self._seconds = seconds
        self._result_max = result_max
        self._line = Line("", workers, QUEUE_MAX, QUEUE_BYTES)
        self._device_lines: WeakValueDictionary[str, Line] = WeakValueDictionary()
        self._idle: list[Worker] = []
        self._endings: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def of(self, info: DeviceInfo) -> list[str]:
        """Return the names of the parsers that a device's data go through, in order: its connector's or network's, its own."""
        if not self.references:
            return []
        by_connector = (info.extra.get("connector"), info.extra.get("network"))
        by_device = (info.id, *[tag.value for tag in info.tags if tag.key == TAG])
        names: list[str] = []
        for candidates in (by_connector, by_device):
            for name in candidates:
                if name in self.references:
                    names.append(name)
                    break
        return names

    async def run(
        self, names: list[str], body: bytes, content_type: str, device: dict[str, Any], show: Callable[[str], None] | None
    ) -> bytes:
        """Return the data items that parsers make of a body, as JSON.

        Args:
            device: id, tags and params, as the parsers get them.
            show: takes what they print, line by line; None = nobody wants it.

        Raises:
            Refusal: 400; the body is malformed, or a parser raised, took too long, died, or returned no list of dicts.
            BusyError: too many bodies wait already, of all devices or of this one.
        """
        job = Job(names, kind_of(content_type), body, device, show is not None, self._seconds)
        own = self._device_lines.setdefault(device["id"], Line(" of this device", 1, DEVICE_QUEUE_MAX, DEVICE_QUEUE_BYTES))
        async with AsyncExitStack() as held:
            with self._line.waits(len(body)), own.waits(len(body)):
                await held.enter_async_context(own.free)  # first: a device has one place among those that wait for a process
                await held.enter_async_context(self._line.free)
            return await self._run(job, show)

    async def _run(self, job: Job, show: Callable[[str], None] | None) -> bytes:
        worker = self._idle.pop() if self._idle else await Worker.start(self.references)
        is_whole = False
        try:
            async with asyncio.timeout(self._seconds):
                tag, content = await worker.call(job, show, self._result_max)
            is_whole = True
        except TimeoutError:
            raise Refusal(400, f"Payload parser took longer than {self._seconds:g} s and was stopped") from None
        except EOFError:
            raise Refusal(400, f"Payload parser ended its process ({await worker.ending()})") from None
        except OverflowError:
            raise Refusal(400, f"Payload parser returned more than max_body, {self._result_max} bytes of JSON") from None
        finally:
            if is_whole and not self._is_closed:
                self._idle.append(worker)
            else:
                self._end(worker)
        if tag == b"E":
            raise Refusal(400, content.decode(errors="replace"))
        return content

    async def close(self) -> None:
        """End the processes, and return when they are gone."""
        self._is_closed = True
        while self._idle:
            self._end(self._idle.pop())
        if self._endings:
            await asyncio.wait(self._endings)

    def _end(self, worker: Worker) -> None:
        task = asyncio.create_task(worker.end())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


class Line:
    """Bodies that wait for their turn, of all devices or of one; `free` is the turn."""

    def __init__(self, whose: str, at_once: int, bodies_max: int, bytes_max: int) -> None:
        self.free = asyncio.Semaphore(at_once)
        self._whose = whose
        self._bodies_max, self._bytes_max = bodies_max, bytes_max
        self._bodies, self._bytes = 0, 0

    @contextmanager
    def waits(self, size_bytes: int) -> Iterator[None]:
        """Count a body as waiting; BusyError when there is no room. A body that waits alone may have any size."""
        if self._bodies >= self._bodies_max or (self._bodies and self._bytes + size_bytes > self._bytes_max):
            raise BusyError(f"{self._bodies} requests{self._whose} wait for their payload parsers; nothing was stored, try again later")
        self._bodies += 1
        self._bytes += size_bytes
        try:
            yield
        finally:
            self._bodies -= 1
            self._bytes -= size_bytes


class Worker:
    """A process that runs one job at a time."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, references: dict[str, str]) -> Worker:
        """Return a process that has imported its parsers.

        Raises:
            Refusal: 400; one of them kept it from coming up.
        """
        environment = {name: value for name, value in os.environ.items() if name not in PRIVATE_VARIABLES}
        environment["PYTHONPATH"] = os.pathsep.join(entry or os.curdir for entry in sys.path)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # not the working directory first: this tsengine, no other
            "-m",
            "tsengine.server.parser_worker",
            stdin=PIPE,
            stdout=PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C at the terminal is for the server
        )
        worker = cls(process)
        is_ready = False
        try:
            async with asyncio.timeout(START_S):
                await worker._send(b"H", Hello(references))
                await worker._next(0)
            is_ready = True
        except TimeoutError:
            raise Refusal(400, f"Payload parsers were not imported within {START_S:g} s") from None
        except EOFError:
            raise Refusal(400, f"A payload parser ended its process while it was imported ({await worker.ending()})") from None
        finally:
            if not is_ready:
                await worker.end()
        return worker

    async def call(self, job: Job, show: Callable[[str], None] | None, result_max: int) -> tuple[bytes, bytes]:
        """Return the tag and the content of the answer; EOFError when the process died, OverflowError for too large a frame."""
        await self._send(b"P", job)
        while True:
            tag, content = await self._next(result_max)
            if tag in (b"R", b"E"):
                return tag, content
            if show is not None:
                show(content.decode(errors="replace"))

    async def ending(self) -> str:
        """Return how the process ended, as text."""
        try:
            async with asyncio.timeout(END_S):
                status = await self._process.wait()
        except TimeoutError:
            return "it closed its output and went on"
        return f"exit status {status}" if status >= 0 else f"signal {-status}"

    async def end(self) -> None:
        """Kill the process and what it has started, and wait until its pipes are closed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                while await self._process.stdout.read(READ_BYTES):
                    pass
                await self._process.wait()
        except TimeoutError:  # somebody has left the group with an end of the pipe; it is closed with ours
            pass

    async def _send(self, tag: bytes, content: Hello | Job) -> None:
        assert self._process.stdin is not None
        encoded = msgspec.msgpack.encode(content)
        try:
            self._process.stdin.write(FRAME.pack(tag, len(encoded)) + encoded)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError from None

    async def _next(self, size_max: int) -> tuple[bytes, bytes]:
        assert self._process.stdout is not None
        tag, size_bytes = FRAME.unpack(await self._process.stdout.readexactly(FRAME.size))  # IncompleteReadError is an EOFError
        if size_bytes > (size_max if tag == b"R" else TEXT_BYTES):
            raise OverflowError
        return tag, await self._process.stdout.readexactly(size_bytes)


def parse_parsers(texts: list[str]) -> dict[str, Parser]:
    """Return the parsers that texts such as `freezer=decoders:freezer` name.

    Raises:
        InputError: a text does not.
    """
    pairs = [text.partition("=") for text in texts]
    for name, separator, reference in pairs:
        if not name or not separator:
            raise InputError(f"a payload parser is NAME=MODULE:FUNCTION, not {name + separator + reference!r}")
    return {name.strip(): reference.strip() for name, _, reference in pairs}


def reference_of(name: str, parser: Parser) -> str:
    """Return how a parser is imported in another process: `module:function`, or `file.py:function`.

    Raises:
        InputError: it cannot be found by a name.
    """
    if isinstance(parser, str):
        place, separator, function = parser.rpartition(":")
        if not (separator and place and function):
            raise InputError(f"payload parser {name!r} must be 'package.module:function' or 'file.py:function', not {parser!r}")
        return f"{Path(place).resolve()}:{function}" if place.endswith(".py") else parser
    module = sys.modules.get(getattr(parser, "__module__", ""))
    function = getattr(parser, "__qualname__", "")
    found: Any = module
    for part in function.split("."):
        found = getattr(found, part, None)
    if found is not parser or module is None:
        raise InputError(f"payload parser {name!r} must be a function of a module: it runs in a process of its own, which imports it")
    if module.__name__ == "__main__":
        file = getattr(module, "__file__", None)
        if file is None:
            raise InputError(f"payload parser {name!r} must be in a file: it runs in a process of its own, which imports it")
        return f"{Path(file).resolve()}:{function}"
    return f"{module.__name__}:{function}"


def kind_of(content_type: str) -> Kind:
    """Return what a parser gets of a body of this content type."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in ("", "application/json") or media_type.endswith("+json"):
        return "json"
    if media_type in MESSAGEPACK_TYPES:
        return "messagepack"
    return "text" if media_type.startswith("text/") or media_type in TEXT_TYPES else "bytes"
