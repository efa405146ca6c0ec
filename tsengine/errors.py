"""The errors tsengine raises: one small tree, each also the builtin that a caller would catch.

Every message says what happened, where, and what the caller can do. Attributes carry the parts for programs.
"""

from typing import Any

__all__ = [
    "BusyError",
    "ClosedError",
    "CorruptionError",
    "InputError",
    "LimitError",
    "NotFoundError",
    "StorageError",
    "StorageFullError",
    "TsengineError",
]


class TsengineError(Exception):
    """The root of every error that tsengine raises on purpose."""


class InputError(TsengineError, ValueError):
    """The caller's data or arguments are not acceptable; nothing was stored.

    Attributes:
        index: position of the offending point in its batch, or None when the error is not about one point.
    """

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class LimitError(InputError):
    """A documented limit (points of a device or a chunk, registers, size of a batch) would be passed; nothing was stored."""


class NotFoundError(TsengineError, LookupError):
    """The device, point, token or chunk that was asked for does not exist."""


class BusyError(TsengineError):
    """Another process owns the store, or the store could not keep up in the stated time; try again later."""


class ClosedError(TsengineError):
    """The store was closed; open it again."""


class StorageError(TsengineError, OSError):
    """The operating system refused a file operation. After a failed sync no write is accepted until the store is reopened."""


class StorageFullError(StorageError):
    """The disk is full: reads go on, writes are refused until space returns; nothing acknowledged is lost."""


class CorruptionError(TsengineError):
    """Bytes on disk are not what was written there (checksum, bound or structure wrong).

    Attributes:
        file: path of the damaged file, or "" when the bytes did not come from a file.
        offset: position of the damaged part in that file, in bytes.
        expected: what should have been there, as text.
        found: what was there, as text.
    """

    def __init__(self, what: str, *, file: str = "", offset: int = 0, expected: str = "", found: str = "") -> None:
        where = f"{file or 'memory'} at byte {offset}"
        detail = f": expected {expected}, found {found}" if expected or found else ""
        super().__init__(f"damaged {what} in {where}{detail}; run `tsengine check` on the store")
        self.what = what
        self.file = file
        self.offset = offset
        self.expected = expected
        self.found = found

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to another process whole: by default only the text would, as what is damaged."""
        return _corruption, (self.what, self.file, self.offset, self.expected, self.found)


def _corruption(what: str, file: str, offset: int, expected: str, found: str) -> CorruptionError:
    return CorruptionError(what, file=file, offset=offset, expected=expected, found=found)
