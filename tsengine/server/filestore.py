"""Files on disk: a tree of folders under `files/` in the store, and the temporary files that become part of it.

Life of a file: it is written to a temporary file in `uploads/`, synced, and renamed to its place; the folder is synced, too. So a
file in the tree is always whole, also after a power cut, and replacing one is a single step.

Invariants:
- No path leads out of the tree. Every part of a path is checked by itself, and every folder on the way is opened from the one
  before it, never through a symbolic link: a link that somebody puts into the tree leads nowhere.
- Everything has owner-only modes: folders 0700, private files 0600, public ones 0700. The owner's execute bit is what says
  "public", because it changes in one step and moves with the file; nothing here is ever executed.
- Folders exist as long as something is in them.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

from tsengine.core.os.file import storage_error
from tsengine.errors import InputError, LimitError, NotFoundError
from tsengine.limits import COPY_BYTES

NAME_BYTES_MAX, PATH_BYTES_MAX = 255, 1024
"""Longest part of a path, and longest path, bytes of UTF-8: what file systems take, and what object stores do."""

PRIVATE, PUBLIC = 0o600, 0o700

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not make an open wait
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

Parts = tuple[str, ...]


class FileInfo(NamedTuple):
    """A file in a list: its name within the folder, bytes, and Unix seconds of the last change."""

    name: str
    size_bytes: int
    modified_s: float
    is_public: bool


class Listing(NamedTuple):
    """One page of a folder, by name; `following` asks for the next page, None = this was the last."""

    files: list[FileInfo]
    folders: list[str]
    following: str | None


class Opened(NamedTuple):
    """A file that is open for reading; whoever asked for it closes it."""

    file: BufferedReader
    size_bytes: int
    modified_s: float
    is_public: bool


class Temporary:
    """A file that is being written and not in the tree yet; removed at the end unless it was published."""

    def __init__(self, path: Path) -> None:
        self.path = path
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
        self.file: BinaryIO = open(fd, "w+b")  # noqa: SIM115  # closed by __exit__

    def __enter__(self) -> Temporary:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):  # what could not be written is given up with the file
            self.file.close()
        self.path.unlink(missing_ok=True)


class FileStore:
    """The files of one store. Safe to use from many threads.

    Args:
        store: the store's folder; `files` and `uploads` in it are made when something is first written.
        limit_bytes: most bytes of all files together.
        beside: the engine's lock of that name; held while the tree changes.
    """

    def __init__(self, store: Path, limit_bytes: int, beside: threading.Lock) -> None:
        self.limit_bytes = limit_bytes
        self.uploads = store / "uploads"
        self._tree = store / "files"
        self._lock = beside
        self._used_bytes: int | None = None

    def used_bytes(self) -> int:
        """Return the bytes of all files. Cost: looks at every file at first, later none."""
        with self._lock:
            return self._used()

    def temporary(self) -> Temporary:
        """Return a new temporary file. Raises StorageError."""
        with told("create a file in", self.uploads):
            self.uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Temporary(self.uploads / f"tmp-{secrets.token_hex(16)}")

    def publish(self, temporary: Temporary, path: str, *, is_public: bool) -> None:
        """Put a temporary file into the tree, in place of what has its path.

        Raises:
            InputError: the path is no path, or a folder or a file is in the way. LimitError: there would be too many bytes.
            StorageError: nothing changed.
        Durability: on disk on return.
        """
        *folders, name = parts_of(path)
        with told("write", path):
            temporary.file.flush()
            os.fchmod(temporary.file.fileno(), PUBLIC if is_public else PRIVATE)
            os.fsync(temporary.file.fileno())
            size_bytes = os.fstat(temporary.file.fileno()).st_size
            with self._lock:
                self._tree.mkdir(mode=0o700, parents=True, exist_ok=True)
                used = self._used()
                try:
                    with self._folder(tuple(folders), create=True) as folder:
                        used += size_bytes - _size_at(name, folder)
                        if used > self.limit_bytes:
                            raise LimitError(
                                f"All files together would have {used} bytes, the limit is {self.limit_bytes}; delete some first"
                            )
                        os.rename(temporary.path, name, dst_dir_fd=folder)
                        os.fsync(folder)
                except BaseException:
                    self._prune(tuple(folders))
                    raise
                self._used_bytes = used

    def open(self, path: str) -> Opened:
        """Open a file. Raises NotFoundError, StorageError; InputError when the path is no path."""
        *folders, name = parts_of(path)
        with told("read", path), self._folder(tuple(folders)) as folder:
            fd = os.open(name, _FILE, dir_fd=folder)
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode):
                    raise not_found(path)
                return Opened(open(fd, "rb"), found.st_size, found.st_mtime, is_public(found))
            except BaseException:
                os.close(fd)
                raise

    def list(self, path: str, limit: int, following: str | None = None) -> Listing:
        """Return a page of a folder; a folder that does not exist is empty.

        Raises:
            InputError: the path is no path, or `following` does not come from a page before. StorageError.
        Cost: reads the names of the whole folder.
        """
        parts = parts_of(path, is_file=False)
        after = _name_of(following) if following else ""
        files, folders = [], []
        try:
            with told("list", path), self._folder(parts) as folder, os.scandir(folder) as entries:
                found = sorted((entry for entry in entries if entry.name > after and _is_text(entry.name)), key=lambda entry: entry.name)
                for entry in found[:limit]:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    elif entry.is_file(follow_symlinks=False):
                        seen = entry.stat(follow_symlinks=False)
                        files.append(FileInfo(entry.name, seen.st_size, seen.st_mtime, is_public(seen)))
        except NotFoundError:
            return Listing([], [], None)
        return Listing(files, folders, _token_of(found[limit - 1].name) if len(found) > limit else None)

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder with this path."""
        *folders, name = parts_of(path)
        try:
            with told("look for", path), self._folder(tuple(folders)) as folder:
                os.stat(name, dir_fd=folder, follow_symlinks=False)
        except NotFoundError:
            return False
        return True

    def move(self, old: str, new: str) -> None:
        """Move or rename a file or a folder, replacing a file that is there.

        Raises:
            NotFoundError: there is nothing. InputError: a folder is in the way, or the target lies in what is moved. StorageError.
        Durability: on disk on return.
        """
        *from_folders, from_name = parts_of(old)
        *to_folders, to_name = parts_of(new)
        if not self.exists(old):  # before folders are made for it
            raise not_found(old)
        with told("move", old), self._lock:
            used = self._used()
            try:
                with self._folder(tuple(from_folders)) as source, self._folder(tuple(to_folders), create=True) as target:
                    if parts_of(old) != parts_of(new):
                        used -= _size_at(to_name, target)
                    os.rename(from_name, to_name, src_dir_fd=source, dst_dir_fd=target)
                    os.fsync(target)
                    os.fsync(source)
                self._used_bytes = used
            finally:
                self._prune(tuple(to_folders))
            self._prune(tuple(from_folders))

    def copy(self, old: str, new: str) -> None:
        """Copy a file. Raises as `open` and `publish`."""
        parts_of(new)
        source = self.open(old)
        with source.file, self.temporary() as temporary:
            with told("copy", old):
                shutil.copyfileobj(source.file, temporary.file, COPY_BYTES)
            self.publish(temporary, new, is_public=source.is_public)

    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it. Raises NotFoundError, InputError, StorageError."""
        *folders, name = parts_of(path)
        aside = self.uploads / f"gone-{secrets.token_hex(16)}"
        with told("delete", path):
            self.uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock:
                used = self._used()
                with self._folder(tuple(folders)) as folder:
                    os.rename(name, aside, src_dir_fd=folder)  # at once, however much is in it
                    os.fsync(folder)
                self._used_bytes = used - _bytes_below(aside)
                self._prune(tuple(folders))
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside)
            else:
                aside.unlink()

    def link(self, path: str, target: Path) -> None:
        """Keep a file as it is now under another name outside of the tree, whatever becomes of it here; without copying, where that can be.

        Raises:
            NotFoundError: there is no such file. StorageError.
        """
        *folders, name = parts_of(path)
        opened = self.open(path)
        with opened.file, told("read", path):
            try:
                with self._folder(tuple(folders)) as folder:
                    os.link(name, target, src_dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EXDEV):
                    raise
                with Temporary(target.with_suffix(".tmp")) as temporary:
                    shutil.copyfileobj(opened.file, temporary.file, COPY_BYTES)
                    temporary.file.flush()
                    temporary.path.rename(target)

    def publicity(self, path: str) -> bool:
        """Return whether a file is public. Raises as `open`."""
        opened = self.open(path)
        opened.file.close()
        return opened.is_public

    def set_public(self, path: str, is_public: bool) -> None:
        """Make a file public or private. Raises as `open`. Durability: on disk on return."""
        opened = self.open(path)
        with opened.file, told("change", path):
            os.fchmod(opened.file.fileno(), PUBLIC if is_public else PRIVATE)
            os.fsync(opened.file.fileno())

    def sweep(self) -> None:
        """Remove what a kill left behind: temporary files, and what was deleted. Only before anything is written."""
        if self.uploads.is_dir():
            for entry in list(os.scandir(self.uploads)):
                if entry.name.startswith(("tmp-", "gone-")):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path, ignore_errors=True)
                    else:
                        with suppress(OSError):
                            os.unlink(entry.path)

    # --- helpers -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _folder(self, parts: Parts, *, create: bool = False) -> Iterator[int]:
        """Open a folder of the tree, part by part, each from the one before."""
        fd = os.open(self._tree, _FOLDER)
        try:
            for name in parts:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=fd)
                        os.fsync(fd)
                inner = os.open(name, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    def _prune(self, parts: Parts) -> None:
        """Remove folders that have become empty, from the innermost on."""
        for depth in range(len(parts), 0, -1):
            try:
                with self._folder(parts[: depth - 1]) as folder:
                    os.rmdir(parts[depth - 1], dir_fd=folder)
            except OSError:  # it holds something, or is gone already
                return

    def _used(self) -> int:
        if self._used_bytes is None:
            self._used_bytes = _bytes_below(self._tree)
        return self._used_bytes


def parts_of(path: str, *, is_file: bool = True) -> Parts:
    """Return the parts of a path, with or without slashes at its ends.

    Args:
        is_file: at least one part is needed.

    Raises:
        InputError: it is too long, or has a part that is no name: `.`, `..`, or with a control character or a backslash.
    """
    parts = tuple(part for part in path.split("/") if part)
    if is_file and not parts:
        raise InputError("the path of a file is empty")
    try:
        sizes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        raise InputError("the path of a file must be Unicode text") from None
    if sum(sizes) + len(sizes) > PATH_BYTES_MAX or max(sizes, default=0) > NAME_BYTES_MAX:
        raise InputError(f"the path of a file has at most {PATH_BYTES_MAX} bytes, {NAME_BYTES_MAX} between two slashes")
    for part in parts:
        if part in (".", "..") or any(character < " " or character in "\x7f\\" for character in part):
            raise InputError(f"the path {path[:100]!r} holds '.', '..', a backslash or a control character")
    return parts


def not_found(path: str) -> NotFoundError:
    return NotFoundError(f"File not found: {path}")


def is_public(found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_IXUSR)


@contextmanager
def told(action: str, path: str | Path) -> Iterator[None]:
    """Turn what the operating system says into errors of the engine."""
    try:
        yield
    except (NotFoundError, InputError):
        raise
    except OSError as error:
        if error.errno in _NOT_THERE and action not in ("write", "move"):
            raise not_found(str(path)) from None
        if error.errno in (*_NOT_THERE, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST, errno.EINVAL):
            raise InputError(f"cannot {action} {path}: a file or a folder of that name is in the way") from None
        raise storage_error(error.errno or errno.EIO, action, path) from error


def _size_at(name: str, folder: int) -> int:
    """Return the bytes of the file with this name; 0 for none, and for a folder."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _bytes_below(path: Path) -> int:
    """Return the bytes of all files in a folder, or of the file itself."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return 0
    if not stat.S_ISDIR(found.st_mode):
        return found.st_size if stat.S_ISREG(found.st_mode) else 0
    return sum(_bytes_below(path / entry.name) for entry in os.scandir(path))


def _is_text(name: str) -> bool:
    """Whether a name is Unicode: others, which only a person can have put there, have no place in JSON."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _token_of(name: str) -> str:
    return urlsafe_b64encode(name.encode()).decode()


def _name_of(token: str) -> str:
    try:
        return urlsafe_b64decode(token.encode("ascii")).decode()
    except ValueError:
        raise InputError("the pagination token does not come from a list of files") from None
