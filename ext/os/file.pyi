"""Types of ext/os/file.pyx: the file calls for Python callers. All raise StorageError, or StorageFullError when the disk is full."""

import os

from tsengine.errors import StorageError

Path = str | os.PathLike[str]

def storage_error(error: int, action: str, path: Path) -> StorageError:
    """Return (not raise) the error for an errno: StorageFullError for ENOSPC, EDQUOT and EFBIG, else StorageError."""

def open_file(path: Path, *, write: bool = False, create: bool = False) -> int:
    """Open a file and return its descriptor, close-on-exec. `create` makes a new one (mode 0600) that must not exist yet."""

def close_file(fd: int, path: Path) -> None: ...
def size_of(fd: int, path: Path) -> int:
    """Return the size, bytes."""

def write_at(fd: int, data: bytes | bytearray | memoryview, offset: int, path: Path) -> None:
    """Write all of `data`. Durability: none until `sync_file`."""

def truncate_file(fd: int, size_bytes: int, path: Path) -> None: ...
def allocate_file(fd: int, offset: int, size_bytes: int, path: Path) -> None:
    """Make the file at least `offset + size_bytes` long, with space on the disk for every byte of it, as posix_fallocate does.

    Raises:
        StorageFullError, StorageError: there is not so much space.
    """

def sync_file(fd: int, path: Path) -> None:
    """Make content and size durable (fsync). After an error the content of the file is unknown; never call it again."""

def sync_folder(path: Path) -> None:
    """Make created, renamed and removed names in a folder durable."""

def rename_file(old: Path, new: Path) -> None:
    """Rename, replacing `new`. Durability: after `sync_folder`."""

def remove_file(path: Path) -> None:
    """Unlink a file. Durability: after `sync_folder`."""
