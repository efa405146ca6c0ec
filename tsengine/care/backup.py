"""A consistent copy of an open store.

The three LMDB environments are copied first, each with the log sequence it has applied, then the log from the oldest of those
sequences up to the manifest's copy; trims wait for that, writes and reads do not. So each device is there as it was at one
moment. Then, with nothing waiting, the sealed segments that the copied manifest lists: files that a merge or a delete removes
meanwhile are kept until they are copied. Opening the copy replays the log into whatever lags behind, as after a crash.

What lies beside the stores (files, jobs, how far imports came, the account token) is copied first, while it may change; then, at the
moment up to which the log is copied, once more what has changed since. So an import that was running goes on in the copy after the last
batch that the copy holds. What is being uploaded (`uploads/`) and what a repair moved aside (`damaged/`) stay behind.

Until everything is there and synced, a file in the copy says that it is unfinished, and `tsengine.open` refuses it.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tsengine.core.os.file import close_file, open_file, remove_file, sync_file, sync_folder, write_at
from tsengine.errors import InputError, StorageError, StorageFullError
from tsengine.log import LocalLog
from tsengine.store.compaction import Progress
from tsengine.store.environment import make_folder
from tsengine.store.manifest import Manifest, SegmentEntry
from tsengine.store.unfinished import UNFINISHED_NAME

if TYPE_CHECKING:
    from tsengine.engine.engine import Engine

logger = logging.getLogger(__name__)

BESIDE = ("files", "jobs", "imports", "account-token")
"""What else belongs to a store: folders and files that are changed under `Engine.beside`."""

MARK = "a backup into this folder was interrupted; remove the folder and make another backup"


def write_backup(engine: Engine, target: Path, progress: Progress | None = None) -> None:
    """Copy a store to a new or empty folder; see Engine.backup."""
    try:
        if target.exists() and any(target.iterdir()):
            raise InputError(f"the folder {target} is not empty; give a new one")
        if engine.path.resolve() in target.resolve().parents:
            raise InputError(f"the folder {target} lies in the store itself; give one outside of it")
        make_folder(target)
    except StorageError:
        raise
    except OSError as error:
        raise as_storage_error(target, error) from error
    mark = target / UNFINISHED_NAME
    try:
        write_mark(mark, MARK)
        if engine.durability == "memory":
            engine.seal()  # its log has no files that could be copied
        copy_beside(engine, target)
        engine.log.wait(engine.log.last_seq)
        with engine.columnar.keeping_files():
            with engine.columnar.maintenance:
                applied = (engine.catalog.applied_seq, engine.registers.applied_seq, engine.columnar.manifest.applied_seq)
                engine.catalog.copy(target / "catalog")
                engine.registers.copy(target / "registers")
                with engine.beside:  # before `until`: a batch is stored after its import has noted that it is about to be
                    copy_beside(engine, target)
                    with engine.columnar.holding_changes():
                        # A bulk load is in the manifest, not in the log: what its device logs afterwards must not be copied without it.
                        engine.columnar.manifest.copy(target / "manifest")
                        until = engine.log.durable_seq
                copy_log(engine, target / "wal", applied, until)
            copy_segments(engine, target, progress)
        sync_folder(target)
        remove_file(mark)
        sync_folder(target)
    except BaseException as error:
        remove_copy(target)
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise as_storage_error(target, error) from error
        raise


def as_storage_error(target: Path, error: OSError) -> StorageError:
    """Return an error of the system as one of ours."""
    kind = StorageFullError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StorageError
    return kind(error.errno, f"the backup to {target} is not made: {error.strerror}")


def write_mark(mark: Path, text: str) -> None:
    """Mark a folder as no whole store, durably."""
    fd = open_file(mark, write=True, create=True)
    try:
        write_at(fd, f"{text}\n".encode(), 0, mark)
        sync_file(fd, mark)
    finally:
        close_file(fd, mark)
    sync_folder(mark.parent)


def remove_copy(target: Path) -> None:
    """Empty the folder of a copy that failed, the mark last; what cannot be removed keeps the mark."""
    parts = ("catalog", "registers", "manifest", "wal", "segments", *BESIDE)
    for part in parts:
        with suppress(OSError):
            remove(target / part)
    try:
        if not any((target / part).exists() for part in parts):
            (target / UNFINISHED_NAME).unlink(missing_ok=True)
    except OSError as error:  # a disk that fails altogether; what it holds may not be told
        logger.warning("what was written of the backup stays in %s: %s", target, error)


def copy_segments(engine: Engine, target: Path, progress: Progress | None) -> None:
    """Copy the files of the segments that the copied manifest lists."""
    listed = listed_in(target / "manifest")
    total = sum(entry.size_bytes for entry in listed)
    done = 0
    folder = target / "segments"
    make_folder(folder)
    for entry in listed:
        path = engine.columnar.path_of(entry.id)
        copy_file(path, folder / path.name, 0o600)
        done += entry.size_bytes
        if progress is not None:
            progress(done, total)
    sync_folder(folder)


def copy_file(source: Path, target: Path, mode: int) -> None:
    """Copy a file, durably; who reads it is told by `mode`, not by the umask."""
    shutil.copyfile(source, target)
    target.chmod(mode)
    fd = open_file(target, write=True)
    try:
        sync_file(fd, target)
    finally:
        close_file(fd, target)


def copy_beside(engine: Engine, target: Path) -> None:
    """Copy what lies beside the stores; what an earlier call has copied and is the same still stays."""
    for name in BESIDE:
        copy_tree(engine.path / name, target / name)


def copy_tree(source: Path, target: Path) -> None:
    """Make `target` equal to a file, or to a folder and all below it. Links are left out, and what vanishes meanwhile."""
    try:
        found = source.lstat()
        if stat.S_ISDIR(found.st_mode):
            if target.is_file():
                remove(target)
            make_folder(target)
            names = os.listdir(source)
            for name in set(os.listdir(target)).difference(names):
                remove(target / name)
            for name in names:
                copy_tree(source / name, target / name)
            sync_folder(target)
        elif stat.S_ISREG(found.st_mode) and not is_copy(found, target):
            remove(target)
            copy_file(source, target, stat.S_IMODE(found.st_mode))
            os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
    except FileNotFoundError:
        return


def is_copy(found: os.stat_result, target: Path) -> bool:
    """Whether a file that was copied here has not changed since."""
    try:
        known = target.lstat()
    except FileNotFoundError:
        return False
    return (found.st_size, found.st_mtime_ns, found.st_mode) == (known.st_size, known.st_mtime_ns, known.st_mode)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, or nothing."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def listed_in(folder: Path) -> list[SegmentEntry]:
    """Return what a copied manifest lists."""
    manifest = Manifest(folder)
    try:
        return manifest.segments()
    finally:
        manifest.close()


def copy_log(engine: Engine, folder: Path, applied: tuple[int, int, int], until: int) -> None:
    """Write the records up to a sequence that some copied store lacks into a log of its own, under the same sequences."""
    log = LocalLog(folder)
    try:
        log.start(min(applied), lambda first_seq, records: None, newest=min(applied))
        seq = 0
        for known, record in engine.log.read(min(applied) + 1):
            if known > until:
                break
            seq = log.append(record)
        if seq:
            log.wait(seq)
    finally:
        log.close()
