"""The process that runs payload parsers: it takes a body on its standard input and gives a list of data items on its output.

It knows nothing of the store. The server (parsers.py) starts it, gives it one body at a time and kills it when it takes too
long. Everything goes as frames: a tag, the length (u32, little-endian), the content.

    in    H  once: Hello, as MessagePack         out   S  once: the parsers are loaded, the process is ready
          P  Job, as MessagePack                       L  text that a parser printed or logged, while it runs
                                                       R  the items, as JSON          (then the next job may come)
                                                       E  why there are none, text    (likewise)
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import io
import json
import logging
import os
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

FRAME = struct.Struct("<cI")

MEMORY_BYTES = 1 << 30
"""Most memory of its own that a parser's process may take: it gets MemoryError instead of taking the server's."""
LOG_CHARS = 64 * 1024
"""Most text that one run of a parser may print or log."""
MESSAGE_CHARS = 1000
"""Most text of an error that the sender of a body is told."""
MALFORMED = "Malformed request syntax"

Kind = Literal["json", "messagepack", "text", "bytes"]


class Hello(msgspec.Struct):
    """What a process is told first: which parsers there are, name -> `module:function`."""

    parsers: dict[str, str]


class Job(msgspec.Struct):
    """A body and the parsers that it goes through, one after the other.

    Attributes:
        names: of parsers.
        kind: what the body is, from its content type.
        device: id, tags and params of the device, as the parsers get them.
        has_listener: whether somebody wants to see what is printed.
        seconds: how long it may take; the process ends itself a little later, in case the server is gone.
    """

    names: list[str]
    kind: Kind
    body: bytes
    device: dict[str, Any]
    has_listener: bool
    seconds: float


class ParserFault(Exception):
    """What the sender of a body is told."""


class Console(io.TextIOBase):
    """Standard output and error of the parsers: each line goes to the server, up to LOG_CHARS of a job."""

    def __init__(self, answer: Callable[[bytes, bytes], None]) -> None:
        super().__init__()
        self._answer = answer
        self._left = 0
        self._line = ""

    def begin(self, is_wanted: bool) -> None:
        self._left = LOG_CHARS if is_wanted else 0
        self._line = ""

    def end(self) -> None:
        self._show(self._line)
        self._left = 0

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n") if self._left > 0 else ("",)
        for line in lines:
            self._show(line)
        return len(text)

    def show_whole(self, text: str) -> None:
        """Show text of several lines as one."""
        self._show(self._line)
        self._line = ""
        self._show(text)

    def _show(self, line: str) -> None:
        if line and self._left > 0:
            self._answer(b"L", line[: self._left].encode(errors="replace"))
            self._left -= len(line)


def main() -> None:
    # What a parser or a library writes past Python must not come between the frames.
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def answer(tag: bytes, content: bytes) -> None:
        target.write(FRAME.pack(tag, len(content)) + content)
        target.flush()

    console = Console(answer)
    sys.stdout = sys.stderr = console
    logging.basicConfig(stream=console, level=logging.DEBUG, format="%(levelname)s %(message)s", force=True)
    hello = msgspec.msgpack.decode(next_frame(source) or b"", type=Hello)
    parsers = {name: loaded(reference) for name, reference in hello.parsers.items()}
    answer(b"S", b"")
    while (frame := next_frame(source)) is not None:
        job = msgspec.msgpack.decode(frame, type=Job)
        signal.setitimer(signal.ITIMER_REAL, job.seconds + 1)
        console.begin(job.has_listener)
        try:
            tag, content = b"R", run(job, parsers)
        except ParserFault as fault:
            tag, content = b"E", str(fault).encode(errors="replace")
        except BaseException as error:  # also SystemExit: a parser ends nothing
            console.show_whole(traceback_of(error))
            tag, content = b"E", f"Payload parser failed: {told(error)}".encode(errors="replace")
        console.end()
        signal.setitimer(signal.ITIMER_REAL, 0)
        answer(tag, content)


def next_frame(source: BinaryIO) -> bytes | None:
    """Return the content of the next frame, or None when the server is gone."""
    head = source.read(FRAME.size)
    return source.read(FRAME.unpack(head)[1]) if len(head) == FRAME.size else None


def loaded(reference: str) -> Callable[..., Any]:
    """Return the function that a reference names, or one that tells why it cannot be loaded."""
    place, _, name = reference.rpartition(":")
    try:
        found: Any = module_of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        for part in name.split("."):
            found = getattr(found, part)
        if not callable(found):
            raise TypeError(f"{name} is not a function")
    except BaseException as error:
        text = f"Payload parser {reference} cannot be loaded: {told(error)}"

        def tell(*_: Any) -> None:
            raise ParserFault(text)

        return tell
    return found


def module_of_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"tsengine_parser_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(job: Job, parsers: dict[str, Callable[..., Any]]) -> bytes:
    """Return what the parsers make of a body, as JSON.

    Raises:
        ParserFault: the body is not what its content type says, or a result is no list of dicts.
        Exception: whatever a parser raises.
    """
    payload = decoded(job)
    raw_payload = copy.deepcopy(payload)
    for name in job.names:
        payload = parsers[name](payload, raw_payload, job.device)
        if isinstance(payload, dict):
            payload = [payload]
        if not isinstance(payload, list) or not all(isinstance(item, dict) for item in payload):
            raise ParserFault(f"Payload parser {name} must return a list of dicts, not {shape_of(payload)}")
    try:
        return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=json_of).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ParserFault(f"Payload parser {job.names[-1]} returned what is no JSON: {error}") from None


def decoded(job: Job) -> Any:
    """Return the payload of a body: a list for JSON and MessagePack, text, or the bytes as they are."""
    try:
        if job.kind == "text":
            return job.body.decode()
        if job.kind == "bytes":
            return job.body
        payload = msgspec.json.decode(job.body) if job.kind == "json" else msgspec.msgpack.decode(job.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ParserFault(MALFORMED) from None
    return payload if isinstance(payload, list) else [payload]


def json_of(value: object) -> object:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no type of JSON")


def shape_of(value: object) -> str:
    if isinstance(value, list):
        return f"a list with {next(type(item).__name__ for item in value if not isinstance(item, dict))}"
    return "None" if value is None else type(value).__name__


def traceback_of(error: BaseException) -> str:
    """Return where a parser failed, without the frames that called it."""
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename == __file__:
        own = own.tb_next
    return "".join(traceback.format_exception(type(error), error, own)).rstrip()


def told(error: BaseException) -> str:
    text = str(error)
    if len(text) > MESSAGE_CHARS:
        text = text[:MESSAGE_CHARS] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


if __name__ == "__main__":
    main()
