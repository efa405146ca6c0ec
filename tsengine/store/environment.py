"""One LMDB environment: open and check it, run reads and writes in transactions, grow its map, copy it, close it.

Life: a folder with data.mdb and lock.mdb -> opened, its format checked, stale readers cleared -> any number of read
transactions beside one write transaction -> closed when no transaction is open. Format: docs/format/catalog.md, "What all
three environments share".

Invariants:
- The data a transaction writes and the log sequence it applied (`put_applied`) are committed together or not at all.
- LMDB trusts its pages, so they are read before it is let at them (docs/format/catalog.md): damage is an error, not a signal.
- The map is replaced only while no read transaction of this process is open: readers pass a gate, the grower closes it.
- sync stays on and the map is never written through: a full disk is an error of a write, never a signal, and a committed
  page is whole after a power cut. With metasync=False the newest transactions may be missing then, never half there.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, TypeVarTuple

import lmdb
import msgspec

from tsengine.core.os.file import allocate_file, sync_file, sync_folder
from tsengine.core.os.lmdb_pages import require_pages
from tsengine.errors import BusyError, ClosedError, CorruptionError, InputError, StorageError, StorageFullError, TsengineError

# Address space, not disk: the file grows as pages are written. 256 MiB holds about 35 full register devices before the first
# growth, and a growth costs no more than waiting for the open reads and replacing a mapping.
MAP_BYTES = 256 << 20
# A commit hands the kernel at most 64 pages at a time, so a write that came up short leaves less room than this.
_PROBE_BYTES = 1 << 20
# Concurrent read transactions of all threads; a slot is 64 bytes of the lock file, as its head is twice. LMDB takes
# the length that it finds for the number of slots.
MAX_READERS = 512
_LOCK_SLOT_BYTES = 64
_LOCK_HEADER_BYTES = 2 * _LOCK_SLOT_BYTES

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DAMAGED = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError)
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError)  # msgspec leaves text that is no UTF-8 to Python
_DATABASE_FLAGS = {"dupsort": 0x04, "dupfixed": 0x10}
_KEY_FORMAT = b"format"
_KEY_APPLIED = b"applied"

Transaction: TypeAlias = "lmdb.Transaction[bytes]"
Arguments = TypeVarTuple("Arguments")
R = TypeVar("R")


class _Format(msgspec.Struct, array_like=True):
    store: str
    version: int


class Environment:
    """An open LMDB environment of one store.

    Args:
        path: folder; made with mode 0700 if it is missing, its files with 0600.
        store: what the environment holds ("registers"); another store's environment is refused.
        version: newest format version that the caller can read; it is stamped into a new environment.
        databases: name of each database -> keyword arguments of `lmdb.Environment.open_db`.
        metasync: True: a commit is durable when it returns. False: it is durable after `sync()`; until then a power cut may
            take back whole transactions, newest first.

    Raises:
        StorageError: the folder cannot be opened, or holds another store or a newer format.
        CorruptionError: the data file is not an LMDB file or is damaged.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        store: str,
        version: int,
        databases: Mapping[str, Mapping[str, Any]],
        metasync: bool = True,
        map_bytes: int = MAP_BYTES,
        max_readers: int = MAX_READERS,
    ) -> None:
        self.path = Path(path)
        self.file = str(self.path / "data.mdb")
        self._gate = threading.Lock()
        self._gate_changed = threading.Condition(self._gate)
        self._is_blocked = False  # while the map is replaced, and for ever after close
        self._is_closed = False
        self._readers: list[None] = []  # one item each: a list grows and shrinks without a lock
        self._write_lock = threading.Lock()
        self._failure: str | None = None
        self._applied = 0
        self._staged_applied = 0  # what the running write transaction puts; counts once that is committed
        try:
            make_folder(self.path)
            found = require_pages(self.file, {"meta": 0, **{name: _flags_of(options) for name, options in databases.items()}})
            if found and "meta" not in found:
                raise self._damaged("the database meta is missing")
            self._allocate_lock(max_readers)
            self._env = lmdb.open(
                str(self.path),
                map_size=map_bytes,
                metasync=metasync,
                mode=0o600,
                max_readers=max_readers,
                max_dbs=len(databases) + 1,
                max_spare_txns=1,
            )
        except lmdb.Error as error:
            raise self._translated(error) from error
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"cannot open {self.path}: {error.strerror}; check the folder's owner and permissions") from error
        try:
            self._env.reader_check()
            self._meta = self._open_database("meta", {})
            self._check_format(store, version)
            if not databases.keys() <= found and not found <= {"meta", *databases}:
                raise self._damaged(f"the name of one of the databases {', '.join(sorted(found))} is wrong")
            self.databases = {name: self._open_database(name, options) for name, options in databases.items()}
            self._applied = self.read(self.get_number, _KEY_APPLIED)
        except BaseException:
            self._env.close()
            raise

    def _allocate_lock(self, max_readers: int) -> None:
        """Give the lock file its space. LMDB makes it sparse and writes through a mapping, which is a SIGBUS on a full disk."""
        file = self.path / "lock.mdb"
        try:
            fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                allocate_file(fd, 0, _LOCK_HEADER_BYTES + max_readers * _LOCK_SLOT_BYTES, file)
            finally:
                os.close(fd)
        except StorageError:
            raise
        except OSError as error:
            raise _os_error(f"cannot make the lock file {file}", error) from error

    def _open_database(self, name: str, options: Mapping[str, Any]) -> Any:
        """Open one database, growing the map if making it does not fit."""
        return self.write(lambda txn: self._env.open_db(name.encode(), txn=txn, **options))

    def _check_format(self, store: str, version: int) -> None:
        def stamp(txn: Transaction) -> _Format:
            stored = txn.get(_KEY_FORMAT, db=self._meta)
            if stored is not None:
                return msgspec.msgpack.decode(stored, type=_Format)
            found = _Format(store, version)
            txn.put(_KEY_FORMAT, msgspec.msgpack.encode(found), db=self._meta)
            return found

        found = self.write(stamp)
        if found.store != store:
            raise StorageError(f"{self.path} holds the {found.store} of a store, not its {store}; check the path")
        if found.version > version:
            raise StorageError(
                f"{self.path} has format version {found.version} of the {store}, this tsengine reads up to version {version}; "
                "open it with a newer tsengine"
            )

    def database(self, name: str) -> Any:
        """Return the handle of a database that was named when the environment was opened."""
        return self.databases[name]

    @property
    def applied_seq(self) -> int:
        """The log sequence up to which everything is committed here; 0 = nothing."""
        return self._applied

    def applied_in(self, txn: Transaction) -> int:
        """Return the applied log sequence that a transaction sees."""
        return self.get_number(txn, _KEY_APPLIED)

    def put_applied(self, txn: Transaction, seq: int) -> None:
        """Store the applied log sequence in the same transaction as its data; a lower one than stored is ignored."""
        if seq > self._applied:
            self.put_number(txn, _KEY_APPLIED, seq)
            self._staged_applied = seq

    def entry_count(self, txn: Transaction, database: Any) -> int:
        """Return how many entries a database has."""
        return int(txn.stat(database)["entries"])

    def get_number(self, txn: Transaction, key: bytes, default: int = 0) -> int:
        """Return an unsigned number that the store keeps beside its databases."""
        stored = txn.get(key, db=self._meta)
        return default if stored is None else int.from_bytes(stored, "big")

    def put_number(self, txn: Transaction, key: bytes, number: int) -> None:
        """Keep an unsigned 64-bit number beside the databases; the names "format" and "applied" are taken."""
        txn.put(key, number.to_bytes(8, "big"), db=self._meta)

    def read(self, work: Callable[[Transaction, *Arguments], R], *args: *Arguments) -> R:
        """Return work(transaction, ...) on one snapshot.

        The work must not read or write through this environment again (the map could not grow then), nor keep the
        transaction, a cursor or an iterator after it returns.

        Raises:
            ClosedError, CorruptionError, StorageError: as the class says.
        """
        self._readers.append(None)  # before the look at the gate, which the grower closes before it looks at the readers
        try:
            if self._is_blocked:
                self._await_gate()
            txn = self._env.begin()
            try:
                return work(txn, *args)
            finally:
                txn.abort()
        except lmdb.Error as error:
            raise self._translated(error) from error
        except UNDECODABLE as error:
            raise CorruptionError("value", file=self.file, found=str(error)) from error
        finally:
            self._readers.pop()
            if self._is_blocked:
                with self._gate:
                    self._gate_changed.notify_all()

    def write(self, work: Callable[[Transaction, *Arguments], R], *args: *Arguments) -> R:
        """Run work(transaction, ...) in one write transaction and commit it; return what it returned.

        The work runs again from the start when the map has to grow, so it must change nothing outside the transaction.
        Any exception rolls all of it back.

        Raises:
            StorageFullError: no space; nothing was changed and the next write may succeed.
            StorageError: a write or a sync failed; no further write is accepted until the environment is opened again.
        """
        with self._write_lock:
            while True:
                self._check_writable()
                self._staged_applied = self._applied
                try:
                    with self._env.begin(write=True) as txn:
                        result = work(txn, *args)
                except lmdb.MapFullError:
                    self._grow()
                except lmdb.Error as error:
                    raise self._failed(error) from error
                except UNDECODABLE as error:
                    raise CorruptionError("value", file=self.file, found=str(error)) from error
                else:
                    self._applied = self._staged_applied
                    return result

    def sync(self) -> None:
        """Make every committed transaction durable; needed with metasync=False only.

        Raises:
            StorageError: the sync failed; no further write is accepted until the environment is opened again.
        """
        with self._write_lock:
            self._check_writable()
            try:
                self._env.sync(True)
            except lmdb.Error as error:
                raise self._failed(error) from error

    def copy(self, folder: str | os.PathLike[str]) -> None:
        """Write a consistent, synced copy into a folder that has no environment yet; writers go on meanwhile.

        A write that has to grow the map waits until the copy is done.

        Raises:
            InputError: the folder has an environment already.
            StorageFullError, StorageError: the copy could not be written; what was written of it is removed.
        """
        target = Path(folder)
        file = target / "data.mdb"
        try:
            make_folder(target)
            fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            raise InputError(f"{file} exists already; give an empty folder") from error
        except StorageError:
            raise
        except OSError as error:
            raise _os_error(f"cannot write the copy {file}", error) from error
        try:
            # Not compact=True: py-lmdb 3.0.0 dies in it (SIGSEGV in mdb_env_cwalk) on duplicates that fill more than a page.
            self.read(lambda txn: self._env.copyfd(fd, compact=False))
            sync_file(fd, file)
            sync_folder(target)
        except BaseException as error:
            with suppress(OSError):  # a disk that fails altogether; the error that came first is told
                file.unlink()
            if isinstance(error, OSError) and not isinstance(error, TsengineError):
                raise _os_error(f"cannot write the copy {file}", error) from error
            raise
        finally:
            os.close(fd)

    def size_bytes(self) -> int:
        """Return the length of the data file."""
        return os.stat(self.file).st_size

    def close(self) -> None:
        """Wait for open transactions to end and close; a second close does nothing."""
        with self._write_lock, self._gate:
            if self._is_closed:
                return
            self._await_readers()
            self._is_closed = True
            self._env.close()
            self._gate_changed.notify_all()

    # --- the gate ---------------------------------------------------------------------------------------------------

    def _await_gate(self) -> None:
        """Step back until readers may pass."""
        with self._gate:
            self._readers.pop()
            self._gate_changed.notify_all()
            try:
                while self._is_blocked:
                    if self._is_closed:
                        raise ClosedError(f"{self.path} is closed; open it again")
                    self._gate_changed.wait()
            finally:
                self._readers.append(None)

    def _await_readers(self) -> None:
        """Close the gate, whose lock is held, and wait until the last reader has left."""
        self._is_blocked = True
        while self._readers:
            self._gate_changed.wait()

    def _grow(self) -> None:
        """Double the map. The write lock is held and no write transaction is open."""
        with self._gate:
            self._await_readers()
            try:
                self._env.set_mapsize(2 * self._env.info()["map_size"])
            except lmdb.Error as error:
                raise self._translated(error) from error
            finally:
                self._is_blocked = False
                self._gate_changed.notify_all()

    # --- errors -----------------------------------------------------------------------------------------------------

    def _check_writable(self) -> None:
        if self._is_closed:
            raise ClosedError(f"{self.path} is closed; open it again")
        if self._failure is not None:
            raise StorageError(f"{self.path} takes no writes after a failed one ({self._failure}); open the store again")

    def _damaged(self, problem: str) -> CorruptionError:
        return CorruptionError("LMDB environment", file=self.file, found=problem)

    def _failed(self, error: lmdb.Error) -> TsengineError:
        """Return our error for one that a write met, and refuse further writes unless it left the environment intact."""
        translated = self._translated(error)
        if not isinstance(translated, StorageFullError | BusyError):
            self._failure = str(error)
        return translated

    def _translated(self, error: lmdb.Error) -> TsengineError:
        if isinstance(error, _DAMAGED):
            return self._damaged(str(error))
        code = getattr(error, "code", 0)
        if isinstance(error, lmdb.DiskError) or code in _FULL or (code == errno.EIO and self._lacks_space()):
            return StorageFullError(f"no space to write {self.file}: {error}; free space or raise the file size limit and write again")
        if isinstance(error, lmdb.ReadersFullError):
            return BusyError(f"too many reads at once in {self.path}: {error}; read with fewer threads")
        return StorageError(f"cannot use {self.file}: {error}; check the disk and open the store again")

    def _lacks_space(self) -> bool:
        """Tell whether the data file cannot be made longer.

        LMDB reports a write that came up short, which is how a disk becomes full, with the code of a failed one. The
        file's own end is tried, so that quotas and size limits count; it is put back at once.
        """
        try:
            fd = os.open(self.file, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            size_bytes = os.fstat(fd).st_size
            allocate_file(fd, size_bytes, _PROBE_BYTES, self.file)
            os.ftruncate(fd, size_bytes)
        except OSError as error:
            return error.errno in _FULL
        finally:
            os.close(fd)
        return False


def make_folder(path: Path) -> None:
    """Make a folder and its parents, the folder itself with mode 0700; one that exists is left as it is.

    Raises:
        StorageFullError, StorageError: it cannot be made.
    """
    try:
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
            sync_folder(path.parent)
    except OSError as error:
        raise error if isinstance(error, StorageError) else _os_error(f"cannot make the folder {path}", error) from error


def _flags_of(options: Mapping[str, Any]) -> int:
    """Return the flags that LMDB stores of a database with these options."""
    return sum(flag for name, flag in _DATABASE_FLAGS.items() if options.get(name))


def _os_error(what: str, error: OSError) -> StorageError:
    full = error.errno in _FULL
    return (StorageFullError if full else StorageError)(
        f"{what}: {error.strerror}; {'free space' if full else 'check the disk'} and try again"
    )
