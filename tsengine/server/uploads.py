"""Files that arrive in parts: start, parts in any order, end.

An upload is a folder in `uploads/`: `about.json`, and a file for each part, named by its number and hash, written and renamed
like any other file. There is no state in memory, so an upload outlives a restart. One that nothing was added to for a day is
removed when another starts.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
import time
from pathlib import Path

import msgspec

from tsengine.errors import LimitError, NotFoundError
from tsengine.limits import COPY_BYTES, UPLOAD_IDLE_S, UPLOAD_PARTS, UPLOADS, UPLOADS_BYTES
from tsengine.server.envelope import Refusal, wrong_body
from tsengine.server.filestore import FileStore, Temporary, parts_of, told

ABOUT = "about.json"

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_PART = re.compile(r"(\d{5})-([0-9a-f]{32})", re.ASCII)


class About(msgspec.Struct):
    """What an upload will be."""

    filename: str
    is_public: bool


class UploadedPart(msgspec.Struct, rename={"etag": "ETag", "number": "PartNumber"}):
    """A part, as the client names it at the end."""

    etag: str
    number: int


class Uploads:
    """The uploads of one file store. Blocking: for threads.

    Args:
        max_bytes: largest file.
    """

    def __init__(self, files: FileStore, max_bytes: int) -> None:
        self._files = files
        self._max_bytes = max_bytes
        self._lock = threading.Lock()  # of folders that come and go

    def start(self, filename: str, is_public: bool) -> str:
        """Begin an upload and return its id.

        Raises:
            InputError: the path is no path. LimitError: too many uploads are open.
        """
        parts_of(filename)
        self.sweep()
        id = secrets.token_hex(16)
        with self._lock, self._files.temporary() as temporary, told("write", filename):
            if len(self._open()) >= UPLOADS:
                raise LimitError(f"{UPLOADS} uploads are open; end some, or wait until they are given up")
            temporary.file.write(msgspec.json.encode(About(filename, is_public)))
            temporary.file.flush()
            folder = self._files.uploads / id
            folder.mkdir(mode=0o700)
            temporary.path.rename(folder / ABOUT)
        return id

    def add(self, id: str, number: int, temporary: Temporary, md5: str) -> None:
        """Add a part, in place of one with its number.

        Raises:
            Refusal: 400, the number is none. NotFoundError: no such upload. LimitError: there are too many bytes.
        """
        if not 1 <= number <= UPLOAD_PARTS:
            raise wrong_body("part", f"part must be a number from 1 to {UPLOAD_PARTS}")
        folder, about = self._about(id)
        with self._lock, told("write", about.filename):
            temporary.file.flush()
            size_bytes = temporary.file.tell()
            others = [path for key, path in self._parts(folder).items() if key[0] != number]
            if size_bytes + sum(map(_size, others)) > self._max_bytes:
                raise self._too_large()
            if size_bytes + sum(_size(file) for each in self._open() for file in each.iterdir()) > UPLOADS_BYTES:
                raise LimitError(f"open uploads hold at most {UPLOADS_BYTES} bytes together; end some, or wait until they are given up")
            temporary.path.rename(folder / f"{number:05}-{md5}")
            for key, path in self._parts(folder).items():
                if key[0] == number and key[1] != md5:
                    path.unlink(missing_ok=True)
            os.utime(folder)

    def end(self, id: str, filename: str, parts: list[UploadedPart]) -> str:
        """Join the parts, in the order of their numbers, into the file; return its path.

        Raises:
            NotFoundError: no such upload. Refusal: 400, a part is missing, or not the one that was sent. And as FileStore.publish.
        """
        folder, about = self._about(id)
        if parts_of(filename) != parts_of(about.filename):
            raise wrong_body("filename", f"the upload was started for {about.filename}")
        stored = self._parts(folder)
        wanted = sorted({(part.number, part.etag.strip('"')) for part in parts})
        if len({number for number, _ in wanted}) < len(wanted):
            raise wrong_body("parts", "a part is named twice")
        for key in wanted:
            if key not in stored:
                raise wrong_body("parts", f"part {key[0]} with this ETag was not uploaded")
        with self._files.temporary() as temporary:
            with told("join the parts of", about.filename):
                for key in wanted:
                    with stored[key].open("rb") as part:
                        shutil.copyfileobj(part, temporary.file, COPY_BYTES)
            if temporary.file.tell() > self._max_bytes:
                raise self._too_large()
            self._files.publish(temporary, about.filename, is_public=about.is_public)
        with self._lock:
            shutil.rmtree(folder, ignore_errors=True)
        return about.filename

    def sweep(self) -> None:
        """Remove uploads that were given up."""
        with self._lock:
            for folder in self._open():
                if time.time() - folder.stat().st_mtime > UPLOAD_IDLE_S:
                    shutil.rmtree(folder, ignore_errors=True)

    def _open(self) -> list[Path]:
        if not self._files.uploads.is_dir():
            return []
        return [path for path in self._files.uploads.iterdir() if _ID.fullmatch(path.name)]

    def _about(self, id: str) -> tuple[Path, About]:
        if _ID.fullmatch(id):
            folder = self._files.uploads / id
            try:
                return folder, msgspec.json.decode((folder / ABOUT).read_bytes(), type=About)
            except FileNotFoundError:
                pass
        raise NotFoundError("Upload not found; it was ended or given up, start it again")

    @staticmethod
    def _parts(folder: Path) -> dict[tuple[int, str], Path]:
        """Return the parts that were stored, by (number, hash)."""
        return {(int(found[1]), found[2]): path for path in folder.iterdir() if (found := _PART.fullmatch(path.name))}

    def _too_large(self) -> Refusal:
        return Refusal(413, f"A file has at most {self._max_bytes} bytes (max_file)")


def _size(path: Path) -> int:
    return path.stat().st_size
