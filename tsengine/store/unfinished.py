"""Tells a store from a folder that is none yet, or none any more: its mark, and what must be there together."""

from __future__ import annotations

from pathlib import Path

from tsengine.core.log.recovery import SUFFIX as LOG_SUFFIX
from tsengine.core.log.recovery import list_files
from tsengine.errors import CorruptionError, StorageError

UNFINISHED_NAME = "unfinished"
"""A file that says that the folder is no whole store: a backup or a repair was interrupted. Its text says which."""


def refuse_unfinished(path: Path) -> None:
    """Raise unless a folder is a whole store or none at all.

    Raises:
        StorageError: a backup into it or a repair of it was interrupted.
        CorruptionError: there is a log, but no environment that it leads to: making a new one would lose what it held.
    """
    mark = path / UNFINISHED_NAME
    if mark.exists():
        raise StorageError(f"{path} is no whole store: {mark.read_text(errors='replace').strip()}")
    if (path / "wal").is_dir() and list_files(str(path / "wal"), LOG_SUFFIX):
        for name in ("catalog", "registers", "manifest"):
            file = path / name / "data.mdb"
            if not file.exists():
                raise CorruptionError(name, file=str(file), expected="a file, since there is a log", found="none")


def refuse_missing_log(folder: Path, reach: int | None) -> None:
    """Raise CorruptionError if a store kept its log in files and none is left: what was acknowledged last may be lost."""
    if reach is not None and not (folder.is_dir() and list_files(str(folder), LOG_SUFFIX)):
        raise CorruptionError("log", file=str(folder), expected="the files of the log", found="none")
