"""What `tsengine bench` loads: a store in a folder, or a server over HTTP, behind the same few calls.

Life: opened_store or opened_server -> devices, made for this run -> a session for each writer, used by one thread -> at the end the
devices are removed, and a store that was made for the run, unless they are to be kept.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlencode, urlsplit

import msgspec

import tsengine
from tsengine.cli.options import is_new_folder
from tsengine.core.calendar import to_datetime
from tsengine.errors import BusyError, InputError, NotFoundError, TsengineError
from tsengine.log import Durability
from tsengine.types import DeviceType

if TYPE_CHECKING:
    import pyarrow as pa

MARKER = "tsengine-bench"
"""A file of this name says that a store was made by a bench, and may be loaded again."""

OPTIONS: dict[str, Any] = {"chunk_period": "day", "chunk_retention": 31}
"""Of immutable devices: chunks of a day take the 864,000 points that a device sends in one, of a million that a server allows."""

TIMEOUT_S = 30


class Made(NamedTuple):
    """A device of the run; its token is for servers alone."""

    id: str
    token: str = ""


class Session(Protocol):
    """What a writer does. Bodies are made outside of what is timed; `sent_bytes` counts them where they are sent."""

    sent_bytes: int

    def body_of_points(self, points: list[dict[str, Any]]) -> Any: ...
    def body_of_table(self, table: pa.Table) -> Any: ...
    def append(self, device: Made, body: Any) -> None: ...
    def append_table(self, device: Made, body: Any) -> None: ...
    def register_ids(self, device: Made) -> list[str]: ...
    def edit(self, device: Made, id: str, value: float) -> None: ...
    def get(self, device: Made, id: str) -> int: ...
    def last(self, device: Made) -> int: ...
    def newest(self, device: Made, variable: str, count: int) -> int: ...
    def span(self, device: Made, variable: str, start_us: int, end_us: int) -> int: ...
    def hours(self, device: Made, variable: str, start_us: int, end_us: int) -> int: ...


class Target(Protocol):
    """What is loaded; `text` is its name for people."""

    text: str
    durability: str | None

    def create(self, name: str, type: DeviceType) -> Made: ...
    def session(self) -> Session: ...
    def stored_bytes_per_point(self) -> float | None: ...


# --- a store ----------------------------------------------------------------------------------------------------------


@contextmanager
def opened_store(folder: Path | None, durability: Durability, keep: bool) -> Iterator[Target]:
    """Open a store in a folder of its own, and remove at the end what was not there before, unless it is to be kept.

    Args:
        folder: None = a new one in the current folder, which is on a disk, unlike many a /tmp.

    Raises:
        InputError: the folder holds something that no bench made.
    """
    is_new = folder is None or is_new_folder(folder)
    had_folder = folder is not None and folder.exists()
    if folder is not None and not is_new and not (folder / MARKER).is_file():
        error = InputError(f"{folder} is there already, and no bench made it")
        error.add_note("name a new or empty folder, or one that `tsengine bench --keep` left")
        raise error
    folder = folder or Path(tempfile.mkdtemp(prefix="tsengine-bench-", dir=os.curdir))
    try:
        with tsengine.open(folder, durability=durability) as engine:
            (folder / MARKER).write_text("This store was made by tsengine bench, which may load it again.\n")
            target = StoreTarget(engine, durability)
            try:
                yield target
            finally:
                if not keep and not is_new:
                    for made in target.made:
                        engine.delete_device(made.id)
    except BusyError:
        is_new = False  # somebody else has made a store there meanwhile
        raise
    finally:
        if is_new and not keep:
            for entry in folder.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            if not had_folder:
                folder.rmdir()


class StoreTarget:
    """A store in this process."""

    def __init__(self, engine: tsengine.Engine, durability: Durability) -> None:
        self.text = str(engine.path)
        self.durability: str | None = durability
        self.made: list[Made] = []
        self._engine = engine
        self._sealed_before = self._sealed()

    def create(self, name: str, type: DeviceType) -> Made:
        options = {**OPTIONS, "chunk_limit": None, "point_limit": None} if type == "immutable" else {}
        made = Made(self._engine.create_device(name, type=type, tags=[("made-by", "tsengine bench")], **options).id)
        self.made.append(made)
        return made

    def session(self) -> Session:
        return StoreSession(self._engine)

    def stored_bytes_per_point(self) -> float | None:
        """Seal everything; return what a point takes in the segments that this run added."""
        size_bytes, points = self._sealed()
        added = points - self._sealed_before[1]
        return (size_bytes - self._sealed_before[0]) / added if added > 0 else None

    def _sealed(self) -> tuple[int, int]:
        self._engine.seal()
        stats = self._engine.stats()
        return stats["segment_bytes"], stats["sealed_points"]


class StoreSession:
    """Calls of the embedding API."""

    def __init__(self, engine: tsengine.Engine) -> None:
        self.sent_bytes = 0
        self._engine = engine
        self._devices: dict[str, tsengine.Device] = {}

    def _device(self, made: Made) -> tsengine.Device:
        found = self._devices.get(made.id)
        if found is None:
            found = self._devices[made.id] = self._engine.device(made.id)
        return found

    def body_of_points(self, points: list[dict[str, Any]]) -> Any:
        return points

    def body_of_table(self, table: pa.Table) -> Any:
        return table

    def append(self, device: Made, body: Any) -> None:
        self._device(device).append_many(body)

    def append_table(self, device: Made, body: Any) -> None:
        self._device(device).append_arrow(body)

    def register_ids(self, device: Made) -> list[str]:
        return [point.id for point in self._device(device).points(limit=None) if point.id]

    def edit(self, device: Made, id: str, value: float) -> None:
        self._device(device).edit([{"id": id, "value": value}])

    def get(self, device: Made, id: str) -> int:
        return 1 if self._device(device).get(id) else 0

    def last(self, device: Made) -> int:
        return len(self._device(device).last())

    def newest(self, device: Made, variable: str, count: int) -> int:
        return len(self._device(device).points(variable, limit=count))

    def span(self, device: Made, variable: str, start_us: int, end_us: int) -> int:
        return len(self._device(device).read(variable, start_us, end_us)[0])

    def hours(self, device: Made, variable: str, start_us: int, end_us: int) -> int:
        found = self._device(device).aggregate_arrays(variable, ["avg"], "1h", start_us, end_us)
        return sum(len(each.starts) for each in found.values())


# --- a server ---------------------------------------------------------------------------------------------------------


@contextmanager
def opened_server(url: str, account_token: str, keep: bool) -> Iterator[Target]:
    """Reach a server, and remove the devices of the run at the end, unless they are to be kept.

    Raises:
        InputError: the address is not one. TsengineError: the server cannot be reached, or refuses the token.
    """
    target = ServerTarget(url, account_token)
    try:
        yield target
    finally:
        if not keep and target.made:
            account = ServerSession(url)  # the old connection may have been silent for too long
            for made in target.made:
                with suppress(NotFoundError):
                    account.call("DELETE", f"/device/{made.id}", account_token)


class ServerTarget:
    """A server, in which the account token makes the devices."""

    durability: str | None = None  # the server's own

    def __init__(self, url: str, account_token: str) -> None:
        self.text = url
        self.made: list[Made] = []
        self._token = account_token
        self._account = ServerSession(url)
        with explained("the account token, which the server printed at its start, makes the devices of the run: --token"):
            info = self._account.call("GET", "/info", account_token)
            if not isinstance(info, dict) or info.get("type") != "profile":
                raise NotFoundError("the token is not an account token")

    def create(self, name: str, type: DeviceType) -> Made:
        body = {"name": name, "type": type, "tags": [{"key": "made-by", "value": "tsengine bench"}]}
        answer = self._account.call("POST", "/device", self._token, msgspec.json.encode(body | (OPTIONS if type == "immutable" else {})))
        made = Made(answer["device_id"], answer["token"])
        self.made.append(made)
        return made

    def session(self) -> Session:
        return ServerSession(self.text)

    def stored_bytes_per_point(self) -> float | None:
        return None


class ServerSession:
    """One connection, kept alive."""

    def __init__(self, url: str) -> None:
        import httptools

        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{url!r} is no address of a server, like http://127.0.0.1:8080")
        self._url = url
        self._prefix = parts.path.rstrip("/")
        self._host = parts.netloc.rpartition("@")[2]
        self._new_parser: Callable[[Any], Any] = httptools.HttpResponseParser
        self.sent_bytes = 0
        with explained("start one with `tsengine serve`, or correct the address"):
            try:
                self._socket: socket.socket = socket.create_connection(
                    (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)), TIMEOUT_S
                )
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if parts.scheme == "https":
                    import ssl

                    self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=parts.hostname)
            except (OSError, ValueError) as error:
                raise TsengineError(f"cannot reach a server at {url}: {getattr(error, 'strerror', None) or error}") from None

    # What the parser calls.

    def on_body(self, piece: bytes) -> None:
        self._body += piece

    def on_message_complete(self) -> None:
        self._is_complete = True

    def call(self, method: str, path: str, token: str, body: bytes = b"", content_type: str = "application/json") -> Any:
        """Send a request and return the `result` of its answer.

        Raises:
            NotFoundError: 404. TsengineError: any other refusal, no answer, or one that is no answer of a tsengine server.
        """
        about = f"content-type: {content_type}\r\ncontent-length: {len(body)}\r\n" if method in ("POST", "PUT") else ""
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\nhost: {self._host}\r\ntoken: {token}\r\n{about}\r\n"
        self.sent_bytes += len(body)
        self._body = b""
        self._is_complete = False
        parser = self._new_parser(self)
        try:
            self._socket.sendall(head.encode("latin-1", "replace") + body)
            while not self._is_complete:
                piece = self._socket.recv(65_536)
                if not piece:
                    raise TsengineError(f"{self._url} closed the connection")
                parser.feed_data(piece)
            answer = msgspec.json.decode(self._body, type=dict[str, Any])
        except TimeoutError:
            raise TsengineError(f"{self._url} did not answer within {TIMEOUT_S} s") from None
        except OSError as error:
            raise TsengineError(f"{self._url}: {error.strerror or error}") from None
        except Exception as error:
            if isinstance(error, TsengineError):
                raise
            raise TsengineError(f"{self._url} does not answer as a tsengine server does") from None
        status = parser.get_status_code()
        if status not in (200, 201):
            kind = NotFoundError if status == 404 else TsengineError
            raise kind(f"{self._url} answered {status} to {method} {path.partition('?')[0]}: {answer.get('message')}")
        return answer.get("result")

    def body_of_points(self, points: list[dict[str, Any]]) -> Any:
        return msgspec.json.encode([{**point, "time": point["time"] // 1000} for point in points])

    def body_of_table(self, table: pa.Table) -> Any:
        import pyarrow as pa

        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()

    def append(self, device: Made, body: Any) -> None:
        self.call("POST", "/data", device.token, body)

    def append_table(self, device: Made, body: Any) -> None:
        self.call("POST", "/data", device.token, body, "application/vnd.apache.arrow.stream")

    def register_ids(self, device: Made) -> list[str]:
        return [row["id"] for row in self._rows(device, qty=10_000)]

    def edit(self, device: Made, id: str, value: float) -> None:
        self.call("PUT", "/data", device.token, msgspec.json.encode([{"id": id, "value": value}]))

    def get(self, device: Made, id: str) -> int:
        return len(self._rows(device, ids=id))

    def last(self, device: Made) -> int:
        return len(self._rows(device, query="last_item"))

    def newest(self, device: Made, variable: str, count: int) -> int:
        return len(self._rows(device, variables=variable, qty=count))

    def span(self, device: Made, variable: str, start_us: int, end_us: int) -> int:
        return len(self._rows(device, variables=variable, qty=10_000, **bounds(start_us, end_us)))

    def hours(self, device: Made, variable: str, start_us: int, end_us: int) -> int:
        asked = {"query": "aggregate", "interval": "hour", "function": "avg", "variables": variable}
        return len(self._rows(device, **asked, **bounds(start_us, end_us)))

    def _rows(self, device: Made, **query: Any) -> list[Any]:
        return self.call("GET", f"/data?{urlencode(query)}", device.token)


def bounds(start_us: int, end_us: int) -> dict[str, str]:
    return {name: to_datetime(time_us).isoformat() for name, time_us in (("start_date", start_us), ("end_date", end_us))}


@contextmanager
def explained(hint: str) -> Iterator[None]:
    """Give the errors within a hint, if they have none."""
    try:
        yield
    except TsengineError as error:
        if not getattr(error, "__notes__", None):
            error.add_note(hint)
        raise
