"""The LMDB environment of a store: growth under readers, errors as ours, versions, permissions, copies."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import lmdb
import msgspec
import pytest

from tsengine.errors import BusyError, ClosedError, CorruptionError, InputError, StorageError, StorageFullError
from tsengine.store.environment import MAX_READERS, Environment, Transaction

SMALL_MAP_BYTES = 64 << 10


def open_environment(
    path: Path, *, store: str = "test", version: int = 1, map_bytes: int = SMALL_MAP_BYTES, max_readers: int = 16
) -> Environment:
    return Environment(path, store=store, version=version, databases={"things": {}}, map_bytes=map_bytes, max_readers=max_readers)


def put(txn: Transaction, environment: Environment, first: int, count: int, seq: int) -> None:
    txn.cursor(environment.database("things")).putmulti(
        [(number.to_bytes(8, "big"), bytes(1000)) for number in range(first, first + count)]
    )
    environment.put_applied(txn, seq)


def entries(environment: Environment) -> int:
    return environment.read(lambda txn: txn.stat(environment.database("things"))["entries"])


def test_the_folder_and_its_files_are_the_owners_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        open_environment(tmp_path / "a" / "b").close()
    finally:
        os.umask(mask)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "a" / "b").iterdir()} == {"data.mdb": 0o600, "lock.mdb": 0o600}


def test_a_value_that_is_no_text_is_damage(tmp_path: Path) -> None:
    """Msgspec leaves it to Python, whose error is another."""
    environment = open_environment(tmp_path)
    for transact in (environment.read, environment.write):
        with pytest.raises(CorruptionError, match="damaged value"):
            transact(lambda txn: msgspec.msgpack.decode(b"\xa2\xff\xfe"))
    environment.close()


@pytest.mark.parametrize("name", ["meta", "things"])
def test_a_database_of_another_name_is_damage(tmp_path: Path, name: str) -> None:
    """A new one in its place would hide what is lost."""
    environment = open_environment(tmp_path)
    environment.write(put, environment, 0, 1, 1)
    environment.close()
    file = tmp_path / "data.mdb"
    file.write_bytes(file.read_bytes().replace(name.encode(), name[:-1].encode() + b"~"))
    with pytest.raises(CorruptionError, match="LMDB environment"):
        open_environment(tmp_path)


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Let threads take turns often: more interleavings, and a writer does not wait 5 ms for each call into LMDB."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_the_map_grows_while_readers_read(tmp_path: Path, quick_switches: None) -> None:
    environment = open_environment(tmp_path)
    stop = threading.Event()
    counts: list[int] = []
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                # A reader walks its snapshot; growth has to wait for it.
                counts.append(environment.read(lambda txn: sum(1 for _ in txn.cursor(environment.database("things")))))
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for round_ in range(10):
        environment.write(put, environment, 400 * round_, 400, round_ + 1)
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert all(count % 400 == 0 for count in counts), "a reader saw half a transaction"
    assert entries(environment) == 4000
    assert environment.applied_seq == 10
    assert environment.size_bytes() > 8 * SMALL_MAP_BYTES
    environment.close()
    reopened = open_environment(tmp_path)
    assert (entries(reopened), reopened.applied_seq) == (4000, 10)
    reopened.write(put, reopened, 4000, 100, 11)
    assert entries(reopened) == 4100


def test_growth_waits_for_a_reader_that_is_inside(tmp_path: Path) -> None:
    environment = open_environment(tmp_path)
    environment.write(put, environment, 0, 10, 1)
    is_inside, may_leave = threading.Event(), threading.Event()
    seen: list[int] = []

    def read(txn: Transaction) -> None:
        cursor = txn.cursor(environment.database("things"))
        cursor.first()
        is_inside.set()
        may_leave.wait()
        seen.append(1 + sum(1 for _ in iter(cursor.next, False)))

    reader = threading.Thread(target=environment.read, args=(read,))
    reader.start()
    is_inside.wait()
    writer = threading.Thread(target=environment.write, args=(put, environment, 10, 500, 2))
    writer.start()
    writer.join(0.2)
    assert writer.is_alive(), "the map was replaced under a reader"
    may_leave.set()
    writer.join()
    reader.join()
    assert seen == [10]
    assert entries(environment) == 510


def test_an_exception_rolls_everything_back(tmp_path: Path) -> None:
    environment = open_environment(tmp_path)
    environment.write(put, environment, 0, 10, 5)

    def fail(txn: Transaction) -> None:
        put(txn, environment, 10, 10, 9)
        raise InputError("no")

    with pytest.raises(InputError):
        environment.write(fail)
    assert (entries(environment), environment.applied_seq) == (10, 5)
    environment.write(put, environment, 10, 1, 4)
    assert environment.applied_seq == 5, "the applied sequence went back"


def test_a_newer_format_is_refused_naming_both_versions(tmp_path: Path) -> None:
    open_environment(tmp_path, version=7).close()
    with pytest.raises(StorageError, match=r"format version 7 .* up to version 3"):
        open_environment(tmp_path, version=3)
    open_environment(tmp_path, version=8).close()
    open_environment(tmp_path, version=7).close()


def test_another_stores_environment_is_refused(tmp_path: Path) -> None:
    open_environment(tmp_path, store="registers").close()
    with pytest.raises(StorageError, match="holds the registers of a store, not its catalog"):
        open_environment(tmp_path, store="catalog")


def test_a_file_that_is_not_lmdb_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"\x55" * 8192)
    with pytest.raises(CorruptionError, match=r"data\.mdb"):
        open_environment(tmp_path)


def test_a_value_that_does_not_decode_is_damaged(tmp_path: Path) -> None:
    environment = open_environment(tmp_path)
    with pytest.raises(CorruptionError):
        environment.read(lambda txn: msgspec.msgpack.decode(b"\xc1"))


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make the folder"):
        open_environment(tmp_path / "file" / "store")


def test_opening_twice_is_refused(tmp_path: Path) -> None:
    environment = open_environment(tmp_path)
    with pytest.raises(StorageError):
        open_environment(tmp_path)
    assert entries(environment) == 0


def test_too_many_readers_are_told_so(tmp_path: Path) -> None:
    environment = open_environment(tmp_path, max_readers=1)
    is_inside, may_leave = threading.Event(), threading.Event()

    def read(txn: Transaction) -> None:
        is_inside.set()
        may_leave.wait()

    reader = threading.Thread(target=environment.read, args=(read,))
    reader.start()
    is_inside.wait()
    with pytest.raises(BusyError):
        entries(environment)
    may_leave.set()
    reader.join()
    assert entries(environment) == 0


def test_a_closed_environment_says_so(tmp_path: Path) -> None:
    environment = open_environment(tmp_path)
    environment.close()
    environment.close()
    for use in (lambda: entries(environment), lambda: environment.write(lambda txn: None), environment.sync):
        with pytest.raises(ClosedError):
            use()


def test_close_waits_for_readers(tmp_path: Path) -> None:
    environment = open_environment(tmp_path)
    is_inside, may_leave = threading.Event(), threading.Event()

    def read(txn: Transaction) -> int:
        is_inside.set()
        may_leave.wait()
        return txn.stat(environment.database("things"))["entries"]

    reader = threading.Thread(target=environment.read, args=(read,))
    reader.start()
    is_inside.wait()
    closer = threading.Thread(target=environment.close)
    closer.start()
    closer.join(0.1)
    assert closer.is_alive()
    may_leave.set()
    reader.join()
    closer.join()


def test_a_failed_write_ends_writing_until_reopened(tmp_path: Path) -> None:
    environment = open_environment(tmp_path)

    def fail(txn: Transaction) -> None:
        raise lmdb.Error("mdb_txn_commit", 5)

    with pytest.raises(StorageError):
        environment.write(fail)
    with pytest.raises(StorageError, match="open the store again"):
        environment.write(lambda txn: None)
    assert entries(environment) == 0
    environment.close()
    open_environment(tmp_path).write(lambda txn: None)


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.store.test_environment import entries, open_environment, put
from tsengine.errors import StorageFullError
environment = open_environment(Path(sys.argv[1]))
environment.write(put, environment, 0, 10, 1)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
try:
    environment.write(put, environment, 10, 2000, 2)
except StorageFullError as error:
    print(error)
assert (entries(environment), environment.applied_seq) == (10, 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
environment.write(put, environment, 10, 2000, 2)
assert (entries(environment), environment.applied_seq) == (2010, 2)
environment.close()
"""


def test_a_full_disk_loses_nothing_and_writing_goes_on_when_space_returns(tmp_path: Path) -> None:
    # A limit on the file's size stands for the disk's: the kernel refuses the same writes.
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path, root], check=False, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no space to write" in done.stdout
    assert issubclass(StorageFullError, OSError)


def test_a_copy_is_whole_private_and_opens(tmp_path: Path) -> None:
    environment = open_environment(tmp_path / "store")
    environment.write(put, environment, 0, 1000, 3)
    environment.write(put, environment, 0, 1000, 4)
    environment.copy(tmp_path / "copy")
    assert (tmp_path / "copy" / "data.mdb").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700
    environment.write(put, environment, 1000, 1, 5)
    copied = open_environment(tmp_path / "copy")
    assert (entries(copied), copied.applied_seq) == (1000, 4)
    with pytest.raises(InputError, match="exists already"):
        environment.copy(tmp_path / "copy")
    assert entries(copied) == 1000


def test_the_lock_file_has_its_space_before_it_is_mapped(tmp_path: Path) -> None:
    """LMDB writes it through a mapping, and a hole in it would be a SIGBUS on a full disk."""
    for _ in range(2):
        Environment(tmp_path, store="manifest", version=1, databases={}).close()
        lock = (tmp_path / "lock.mdb").stat()
        assert MAX_READERS * 64 <= lock.st_size <= lock.st_blocks * 512
