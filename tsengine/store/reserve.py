"""A file that keeps some space of the disk, so that what frees space can still be written when the disk is full.

Life: made when the store is opened or cared for and the disk has room for it; each delete, and each read that must first apply
register changes, takes a share when it meets a full disk; made whole again by the next work in the background. It holds nothing.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

from tsengine.core.os.file import allocate_file, sync_folder
from tsengine.errors import StorageFullError
from tsengine.notices import logger

SHARE_BYTES = 1 << 20
"""A delete writes one small frame and some ten pages of LMDB; register changes that wait are about as much at most."""

RESERVE_BYTES = 4 * SHARE_BYTES

PLENTY_BYTES = 64 * SHARE_BYTES
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
        """Give a share of the space back to the disk; return whether there was any."""
        with self._lock:
            size_bytes = self._size_bytes()
            if not size_bytes:
                return False
            try:
                os.truncate(self._path, size_bytes - min(size_bytes, SHARE_BYTES))
                sync_folder(self._folder)  # ext4 gives the blocks to others only when its journal has committed that they are free
            except OSError as error:
                logger(__name__).warning("the reserve could not be given up: %s", error)
                return False
            self.is_given_up = True
            logger(__name__).warning("the disk is full: a share of %s was given up to go on with what frees space", self._path)
            return True

    def _size_bytes(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

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
        if room.f_bavail * room.f_frsize < SHARE_BYTES:
            raise StorageFullError(
                errno.ENOSPC, f"the disk has less than {SHARE_BYTES >> 20} MiB left; free some space and try again", self._folder
            )
        if room.f_bavail * room.f_frsize > PLENTY_BYTES:
            self._next_look_s = now_s + LOOK_INTERVAL_S

    def refill(self) -> bool:
        """Take the space again; return False if the disk is too full for it, so that what is left should be left to deletes."""
        with self._lock:
            missing_bytes = RESERVE_BYTES - self._size_bytes()
            if missing_bytes <= 0:
                self.is_given_up = False
                return True
            try:
                room = os.statvfs(self._folder)
                if room.f_bavail * room.f_frsize < missing_bytes + SHARE_BYTES:
                    return False
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    allocate_file(fd, 0, RESERVE_BYTES, self._path)
                finally:
                    os.close(fd)
                self.is_given_up = False
            except OSError as error:  # the store works without it
                logger(__name__).warning("no space is kept for deletes: %s", error)
            return True

    def keep(self) -> None:
        """Before work in the background takes space: take the reserve again if it was given up.

        Raises:
            StorageFullError: there is no room for it: the little that is left belongs to the deletes for which it was given up.
        """
        if not self.refill():
            raise StorageFullError(
                errno.ENOSPC, "the disk has no room for the space that is kept for deletes; free some space", self._folder
            )
