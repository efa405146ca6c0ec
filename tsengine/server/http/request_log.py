"""The access log: one JSON line for each answered request, with an id that the answer and the error log carry, too.

No line holds a token. The query string is left out, and of the path only words of known routes and ids are shown; anything else, be it
a token where none belongs, is `...`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec

from tsengine.errors import StorageError
from tsengine.server.envelope import Header

logger = logging.getLogger("tsengine.server")

STANDARD_ERROR = "-"
STANDARD_ERROR_FD = 2

HIDDEN = "..."
PARTS_MAX = 10
"""Parts of a path that are shown; no route has more."""

_ID = re.compile(r"[0-9a-f]{24}|-?\d{1,12}_-?\d{1,12}")
_GIVEN = re.compile(rb"[\w.:/+=-]{1,64}", re.ASCII)

_prefix = secrets.token_hex(4)
_numbers = count(1)
_encode = msgspec.json.Encoder().encode


def request_id_of(headers: Iterable[Header]) -> str:
    """Return the x-request-id of a request if it is short and plain, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _GIVEN.fullmatch(value):
            return value.decode()
    return new_request_id()


def new_request_id() -> str:
    """Return an id that no other request to this process has, and hardly one to another process."""
    return f"{_prefix}-{next(_numbers):x}"


class RequestLog:
    """The open access log.

    Lines are kept until the event loop has nothing else to do and then written at once; `close` writes the rest.

    Args:
        path: a file, to which lines are appended (made with mode 0600), or "-" for standard error.
        words: parts of paths that may be shown.

    Raises:
        StorageError: the file cannot be opened.
    """

    def __init__(self, path: str, words: Iterable[str]) -> None:
        self._words = frozenset(words)
        self._lines: list[bytes] = []
        self._is_broken = False
        try:
            self._fd = (
                STANDARD_ERROR_FD if path == STANDARD_ERROR else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            )
        except OSError as error:
            raise StorageError(f"cannot open the access log {path}: {error.strerror}") from None

    def write(
        self, request_id: str, method: str, path: str, status: int, sent_bytes: int, seconds: float, device_of: Callable[[], str | None]
    ) -> None:
        """Add the line of one request; `device_of` is asked only if the path does not name the device."""
        parts = path.split("/")[1 : PARTS_MAX + 2]
        is_named = len(parts) > 1 and parts[0] in ("device", "bucket") and len(parts[1]) == 24 and _ID.fullmatch(parts[1])
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "request": request_id,
            "method": method,
            "path": self.shown(parts),
            "status": status,
            "bytes": sent_bytes,
            "ms": round(seconds * 1000, 3),
            "device": parts[1] if is_named else device_of(),
        }
        if not self._lines:
            asyncio.get_running_loop().call_soon(self.flush)
        self._lines.append(_encode(line) + b"\n")

    def shown(self, parts: list[str]) -> str:
        """Return a path of these parts without what may be secret."""
        if len(parts) > PARTS_MAX:
            return f"/{HIDDEN}"
        return "/" + "/".join(part if not part or part in self._words or _ID.fullmatch(part) else HIDDEN for part in parts)

    def flush(self) -> None:
        """Write the lines that wait. A log that cannot be written loses lines and says so once; requests go on."""
        text, self._lines = b"".join(self._lines), []
        try:
            while text:
                text = text[os.write(self._fd, text) :]
        except OSError as error:
            if not self._is_broken:
                self._is_broken = True
                logger.error("the access log cannot be written, lines are lost: %s", error.strerror)

    def close(self) -> None:
        self.flush()
        if self._fd != STANDARD_ERROR_FD:
            os.close(self._fd)
