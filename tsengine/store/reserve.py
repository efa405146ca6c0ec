"""A file that keeps some space of the disk, so that what frees space can still be written when the disk is full.

Life: made when the store is opened or cared for and the disk has twice its size left; removed when a delete meets a full
disk; made again later. It holds nothing.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from pathlib import Path

from tsengine.core.os.file import sync_folder
from tsengine.errors import StorageFullError

logger = logging.getLogger(__name__)

RESERVE_BYTES = 1 << 20
"""A delete writes one small frame and some ten pages of LMDB."""

PLENTY_BYTES = 64 * RESERVE_BYTES
LOOK_INTERVAL_S = 0.1
"""A disk with so much room is looked at again after this time only: a look costs a tenth of a small write."""


class Reserve:
    """Args:
    path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = str(path.parent)
        self._next_look_s = 0.0
        self._lock = threading.Lock()
        self.is_given_up = False  # so what is left of its space is for what frees more, not for the next points
        self.refill()

    def release(self) -> bool:
        """Give the space back to the disk; return whether there was any."""
        with self._lock:
            try:
                self._path.unlink()
                sync_folder(self._folder)  # ext4 gives the blocks to others only when its journal has committed that they are free
            except FileNotFoundError:
                return False
            except OSError as error:
                logger.warning("the reserve could not be given up: %s", error)
            self.is_given_up = True
            logger.warning("the disk is full: %s was given up to go on with what frees space", self._path)
            return True

    def check_room(self) -> None:
        """Refuse what takes space while the disk has less left than the reserve.

        Raises:
            StorageFullError: it has.
        """
        now_s = time.monotonic()
        if now_s < self._next_look_s:
            return
        try:
            room = os.statvfs(self._folder)
        except OSError:
            return  # whoever writes will meet it
        if room.f_bavail * room.f_frsize < RESERVE_BYTES:
            raise StorageFullError(
                errno.ENOSPC, f"the disk has less than {RESERVE_BYTES >> 20} MiB left; free some space and try again", self._folder
            )
        if room.f_bavail * room.f_frsize > PLENTY_BYTES:
            self._next_look_s = now_s + LOOK_INTERVAL_S

    def refill(self) -> None:
        """Take the space again, unless the disk is too full for it."""
        with self._lock:
            try:
                if self._path.stat().st_size == RESERVE_BYTES:
                    self.is_given_up = False
                    return
            except OSError:
                pass
            try:
                room = os.statvfs(self._folder)
                if room.f_bavail * room.f_frsize >= 2 * RESERVE_BYTES:
                    fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                    try:
                        os.posix_fallocate(fd, 0, RESERVE_BYTES)
                    finally:
                        os.close(fd)
                    self.is_given_up = False
            except OSError as error:  # the store works without it
                logger.warning("no space is kept for deletes: %s", error)
