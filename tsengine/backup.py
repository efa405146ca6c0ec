"""A consistent copy of an open store.

The three LMDB environments are copied first, each with the log sequence it has applied; then the sealed segments that the
copied manifest lists; then the log from the oldest of those sequences on. Opening the copy replays the log into whatever
lags behind, as after a crash. Seals, merges and trims wait meanwhile, writes and reads do not; files of segments that a
delete removes meanwhile are kept until they are copied.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tsengine.core.os.file import close_file, open_file, sync_file, sync_folder
from tsengine.errors import InputError, StorageError
from tsengine.log import LocalLog
from tsengine.store.environment import make_folder
from tsengine.store.manifest import Manifest

if TYPE_CHECKING:
    from tsengine.engine import Engine


def write_backup(engine: Engine, target: Path) -> None:
    """Copy a store to a new or empty folder; see Engine.backup."""
    if target.exists() and any(target.iterdir()):
        raise InputError(f"the folder {target} is not empty; give a new one")
    make_folder(target)
    try:
        with engine.columnar.maintenance, engine.columnar.keeping_files():
            engine.log.wait(engine.log.last_seq)
            applied = (
                engine.catalog.applied_seq,
                engine.registers.applied_seq,
                engine.columnar.manifest.applied_seq,
            )
            engine.catalog.copy(target / "catalog")
            engine.registers.copy(target / "registers")
            engine.columnar.manifest.copy(target / "manifest")
            copy_segments(engine, target)
            copy_log(engine, target / "wal", applied)
        sync_folder(target)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(error.errno, f"the backup to {target} is unfinished: {error}") from error


def copy_segments(engine: Engine, target: Path) -> None:
    """Copy the files of the segments that the copied manifest lists."""
    manifest = Manifest(target / "manifest")
    try:
        listed = manifest.segments()
    finally:
        manifest.close()
    folder = target / "segments"
    make_folder(folder)
    for entry in listed:
        path = engine.columnar.path_of(entry.id)
        copy = folder / path.name
        shutil.copyfile(path, copy)
        copy.chmod(0o600)
        fd = open_file(copy, write=True)
        try:
            sync_file(fd, copy)
        finally:
            close_file(fd, copy)
    sync_folder(folder)


def copy_log(engine: Engine, folder: Path, applied: tuple[int, int, int]) -> None:
    """Write the records that some copied store lacks into a log of its own, under the same sequences."""
    log = LocalLog(folder)
    try:
        log.start(min(applied), lambda first_seq, records: None, newest=min(applied))
        seq = 0
        for _, record in engine.log.read(min(applied) + 1):
            seq = log.append(record)
        if seq:
            log.wait(seq)
    finally:
        log.close()
