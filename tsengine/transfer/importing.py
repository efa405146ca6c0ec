"""The import of a file into a device: batch by batch, each whole or not at all, and resumable.

Before each batch it notes in a small file in the data folder (`imports/`) how many rows are stored and how to see whether
this batch arrived, so that after a crash at any instant the import goes on without losing or repeating a point.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from tsengine.core.os.file import sync_folder
from tsengine.engine.capacity import DeviceState
from tsengine.errors import InputError, LimitError
from tsengine.transfer.cells import BadRow, Format, Progress, format_of
from tsengine.transfer.parts import Part, open_parts

if TYPE_CHECKING:
    from tsengine.device import Device
    from tsengine.engine.engine import Engine

BAD_ROWS_SHOWN = 5
"""Bad rows that an error names: enough to see what is wrong with a file."""


class Pending(msgspec.Struct):
    """A batch that is being stored, and how to see whether it was: it raises the count of its first point's instant."""

    rows: int
    stored: int
    skipped: int
    variable: str
    time_us: int
    count: int


class ImportState(msgspec.Struct):
    """What the state file of an import holds: rows that need not be read again, and the batch after them."""

    file: str
    device: str
    rows: int = 0
    stored: int = 0
    skipped: int = 0
    pending: Pending | None = None
    is_done: bool = False


class Import:
    """One import of a file into a device; `run` does it.

    Args:
        source: a path, or an open binary file (of Parquet a seekable one); only a path can be resumed.
        variable: name of the variable for files without such a column.
        skip_bad_rows: leave rows out that cannot be stored; otherwise the first one stops the import before its batch.
        resume: go on after what an interrupted import of the same file into the same device has stored.
        on_bad_row: called with each row that is left out.
        default_time_us: of rows of a CSV file that have no time; None = they are bad.
        state: the file that notes its progress; None = one in `imports/` of the store, by device and path of the source.

    Attributes:
        stored, skipped: points stored and rows left out, those of the interrupted import included.
        resumed_rows: rows that an interrupted import had dealt with.

    Raises:
        InputError: unknown format; an earlier import was interrupted and `resume` is not set.
    """

    def __init__(
        self,
        db: Engine,
        device: Device,
        source: Path | BinaryIO,
        *,
        format: Format,
        variable: str | None = None,
        skip_bad_rows: bool = False,
        resume: bool = False,
        on_bad_row: Callable[[BadRow], None] | None = None,
        default_time_us: int | None = None,
        state: Path | None = None,
    ) -> None:
        self.format: Format = format_of("", format)
        self.word = "line" if format in ("csv", "jsonl") else "row"
        self._db, self._device, self._source, self._variable = db, device, source, variable
        self._skip_bad_rows, self._on_bad_row, self._default_time_us = skip_bad_rows, on_bad_row, default_time_us
        self._path = (state or state_path(db, device, source)) if isinstance(source, Path) else None
        self._state = self._load(resume)
        self.resumed_rows = self._state.rows

    @property
    def stored(self) -> int:
        return self._state.stored

    @property
    def skipped(self) -> int:
        return self._state.skipped

    @property
    def can_resume(self) -> bool:
        """Whether a later import of the file can go on where this one stopped."""
        return self._path is not None and self.stored > 0

    def run(self, progress: Progress | None = None) -> int:
        """Store the file's points and return how many there are in all.

        Raises:
            InputError: a row cannot be stored (the text names its line), or the file is not of this format.
            LimitError: the device or a chunk is full. StorageError, BusyError: not stored.
            What was stored before stays; a new Import with `resume` goes on after it.
        Durability: each batch is on disk before the next one is read.
        """
        if not isinstance(self._source, Path):
            return self._run(self._source, progress)
        with self._source.open("rb") as file:
            self._run(file, progress)
        # Kept, so that resuming a finished import stores nothing twice, and of a file that has grown only what is new.
        self._state.is_done = True
        self._save()
        return self.stored

    def _run(self, file: BinaryIO, progress: Progress | None) -> int:
        parts, position = open_parts(file, self.format, self._variable, self._state.rows, self._default_time_us)
        for part in parts:
            self._store(part)
            if progress is not None:
                progress(*position())
        return self.stored

    def _store(self, part: Part) -> None:
        """Store a part as one batch; without the bad rows, if they may be skipped."""
        bad, part.bad = part.bad, []
        self._refuse(bad)
        while part.count:
            try:
                record = part.record(self._device)
                self._note(part, len(bad))
                self._device.write(record)
                break
            except LimitError:
                raise
            except InputError:
                part, found = part.as_rows().without_bad(self._db, self._device)
                if not found:
                    raise
                self._refuse(found)
                bad += found
        state = self._state
        state.rows, state.stored, state.skipped, state.pending = (
            state.rows + part.rows,
            state.stored + part.count,
            state.skipped + len(bad),
            None,
        )
        for row in bad:
            if self._on_bad_row is not None:
                self._on_bad_row(row)

    def _refuse(self, bad: list[BadRow]) -> None:
        if bad and not self._skip_bad_rows:
            raise InputError(bad_rows_text(bad, self.word))

    # --- state file --------------------------------------------------------------------------------------------------

    def _note(self, part: Part, skipped: int) -> None:
        """Write down that a batch is about to be stored."""
        variable, time_us = part.first()
        count = self._device.count(variable, time_us, time_us)
        self._state.pending = Pending(part.rows, part.count, skipped, variable, time_us, count)
        self._save()

    def _save(self) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        with self._db.beside:
            temporary = self._path.with_suffix(".tmp")
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(msgspec.json.encode(self._state))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            sync_folder(self._path.parent)

    def _load(self, resume: bool) -> ImportState:
        """Return the state to start from; a pending batch that arrived is counted as stored."""
        state = ImportState(str(self._source), self._device.id)
        if self._path is None:
            if resume:
                raise InputError("only an import of a file can be resumed, not one of a stream")
            return state
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=ImportState)
        except FileNotFoundError:
            return state
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"the state of the earlier import, {self._path}, cannot be read: {error}; remove it to start again") from None
        pending, found.pending = found.pending, None
        if pending is not None and self._device.count(pending.variable, pending.time_us, pending.time_us) > pending.count:
            found.rows, found.stored, found.skipped = (
                found.rows + pending.rows,
                found.stored + pending.stored,
                found.skipped + pending.skipped,
            )
        if not resume and found.rows and not found.is_done:
            raise InputError(
                f"an earlier import of this file stopped after {found.rows} rows; resume it, or remove {self._path} to start again"
            )
        found.is_done = False
        return found if resume else state


def check_import(
    db: Engine, device: Device, source: Path, *, rows_max: int, default_time_us: int | None, progress: Progress | None = None
) -> int:
    """Check that a whole CSV file can be stored in a device as it is now, without storing anything; return its points.

    Raises:
        InputError: a row cannot be stored (the text names its line), or the file is no CSV. LimitError: too many rows, or more
            than the device or a chunk takes.
    Cost: reads the file; holds one batch at a time.
    """
    db.settle(device.number)
    state = DeviceState(device.info)
    state.load(db.columnar, db.registers)
    rows = points = 0
    with source.open("rb") as file:
        parts, position = open_parts(file, "csv", None, 0, default_time_us)
        for part in parts:
            rows, points = rows + part.rows, points + part.count
            if rows > rows_max:
                raise LimitError(f"the file has more than {rows_max} rows")
            if part.bad:
                raise InputError(bad_rows_text(part.bad, "line"))
            try:
                state.reserve(part.record(device), db.clock.now_us())
            except LimitError:
                raise
            except InputError:
                bad = part.without_bad(db, device)[1]
                if not bad:
                    raise
                raise InputError(bad_rows_text(bad, "line")) from None
            if progress is not None:
                progress(*position())
    return points


def bad_rows_text(bad: list[BadRow], word: str) -> str:
    """Return a sentence that names the first of some bad rows."""
    shown = "; ".join(f"{word} {number}: {problem}" for number, problem in bad[:BAD_ROWS_SHOWN])
    return shown + (f"; and {len(bad) - BAD_ROWS_SHOWN} more in this batch" if len(bad) > BAD_ROWS_SHOWN else "")


def state_path(db: Engine, device: Device, source: Path) -> Path:
    """Return where the state of an import of this file into this device is kept: in the store's own folder."""
    name = hashlib.sha256(f"{device.id}\n{source.resolve()}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return db.path / "imports" / f"{name}.json"
