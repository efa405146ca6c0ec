"""The lock that lets one process own a store."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tsengine.errors import BusyError, StorageError


class LockFile:
    """A file that is locked as long as the object is not closed; the kernel lets go when the process dies.

    Raises:
        BusyError: another process (or another engine of this one) owns the store; the text names its pid.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(error.errno, f"cannot open the lock file {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise BusyError(f"the store {path.parent} is open in process {owner}; close it there first") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let go; a second close does nothing."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
