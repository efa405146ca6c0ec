"""The pages of LMDB files: what LMDB writes is in order, and damage to their structure is found without LMDB."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from tsengine.core.os import lmdb_pages
from tsengine.core.os.lmdb_pages import check_pages, require_pages
from tsengine.errors import CorruptionError, StorageError
from tsengine.store.environment import Environment

FLAGS = {"plain": 0, "few": 4, "many": 4 | 16, "empty": 0}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Small and large values, one and many duplicates, deleted keys and pages, several transactions."""
    rng = random.Random(5)
    env = lmdb.open(str(tmp_path / "env"), map_size=64 << 20, max_dbs=4)
    plain, few, many = env.open_db(b"plain"), env.open_db(b"few", dupsort=True), env.open_db(b"many", dupsort=True, dupfixed=True)
    env.open_db(b"empty")
    for _ in range(4):
        with env.begin(write=True) as txn:
            for _ in range(800):
                key = rng.randrange(2_000).to_bytes(4, "big")
                txn.put(key, rng.randbytes(rng.choice((0, 5, 300, 9_000))), db=plain)
                txn.put(key, rng.randbytes(1 + rng.randrange(30)), db=few)
                txn.put(key[:3], rng.randbytes(16), db=many)
                txn.delete(rng.randrange(2_000).to_bytes(4, "big"), db=plain)
    env.close()
    return tmp_path / "env" / "data.mdb"


def test_what_lmdb_writes_is_in_order(file: Path) -> None:
    assert check_pages(file) == []


def test_an_empty_environment_is_in_order(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path)).close()
    assert check_pages(tmp_path / "data.mdb") == []


def test_pages_taken_and_freed_by_one_transaction_need_not_be_there(tmp_path: Path) -> None:
    """LMDB counts them as used and free, and never writes them: the file is shorter than it says, and in order."""

    def put_and_delete(txn: lmdb.Transaction[bytes]) -> None:
        things = environment.database("things")
        for number in range(200):
            txn.put(number.to_bytes(4, "big"), bytes(3000), db=things)
        for number in range(1, 200):
            txn.delete(number.to_bytes(4, "big"), db=things)

    environment = Environment(tmp_path, store="test", version=1, databases={"things": {}})
    environment.write(put_and_delete)
    last_page = environment._env.info()["last_pgno"]
    environment.close()
    assert environment.size_bytes() // 4096 < last_page
    assert check_pages(tmp_path / "data.mdb") == []
    Environment(tmp_path, store="test", version=1, databases={"things": {}}).close()


def test_what_lmdb_can_be_trusted_with_tells_its_databases(tmp_path: Path, file: Path) -> None:
    assert require_pages(file, FLAGS) == set(FLAGS)
    assert require_pages(tmp_path / "none", {}) == set()
    (tmp_path / "none").touch()
    assert require_pages(tmp_path / "none", {}) == set()
    with pytest.raises(CorruptionError, match="database many: flags are wrong"):
        require_pages(file, {**FLAGS, "many": 4})
    with pytest.raises(StorageError, match="cannot read"):
        require_pages(tmp_path, {})


def test_of_a_large_file_branches_and_free_pages_are_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = bytearray(file.read_bytes())
    pages = [raw[at : at + 4096] for at in range(0, len(raw), 4096)]
    found = set()
    for is_large in (False, True):
        monkeypatch.setattr(lmdb_pages, "LEAVES_PAGES_MAX", 0 if is_large else len(pages))
        assert require_pages(file, FLAGS) == set(FLAGS)
        for number, page in enumerate(pages):
            is_branch, is_leaf = (page[10:12] == kind and page[:8] == number.to_bytes(8, "little") for kind in (b"\1\0", b"\2\0"))
            if is_branch or (is_leaf and number % 8 == 0):
                file.write_bytes(raw[: number * 4096] + bytes(4096) + raw[(number + 1) * 4096 :])
                try:
                    require_pages(file, FLAGS)
                except CorruptionError:
                    found.add((is_large, page[10], number))
    assert {number for is_large, kind, number in found if is_large} < {number for _, _, number in found}
    branches = [{number for was_large, kind, number in found if kind == 1 and was_large == is_large} for is_large in (False, True)]
    assert branches[1] and branches[1] <= branches[0]


def test_no_file_no_pages_no_lmdb(tmp_path: Path) -> None:
    for content in (None, b"", b"x" * 100, b"x" * 10_000, bytes(10_000)):
        if content is not None:
            (tmp_path / "data.mdb").write_bytes(content)
        assert len(check_pages(tmp_path / "data.mdb")) == 1


def test_every_cut_at_a_page_is_found(file: Path) -> None:
    raw = file.read_bytes()
    for pages in range(len(raw) // 4096 - 20, 0, -37):
        file.write_bytes(raw[: pages * 4096])
        assert check_pages(file), pages


DAMAGE = """
import random, sys
from pathlib import Path
import lmdb
from tsengine.core.os.lmdb_pages import check_pages

rng = random.Random(7)
folder = Path(sys.argv[1])
file = folder / "data.mdb"
raw = file.read_bytes()
pages = [(at, int.from_bytes(raw[at : at + 8], "little"), raw[at + 10]) for at in range(0, len(raw), 4096)]
places = [at for at, number, kind in pages if at < 8192 or number == at // 4096 and kind in (1, 2)]
passed = 0
for _ in range(300):
    damaged = bytearray(raw)
    at = rng.choice(places)
    match rng.randrange(4):
        case 0:
            damaged[at : at + 4096] = bytes(4096)
        case 1:
            damaged[at + rng.randrange(4096)] ^= 1 << rng.randrange(8)
        case 2:
            damaged[at + rng.randrange(48)] = rng.randrange(256)
        case 3:
            damaged[at + 16 + rng.randrange(400)] = rng.choice((0, 1, 16, 255))
    file.write_bytes(damaged)
    if check_pages(file):
        continue
    passed += 1
    env = lmdb.open(str(folder), map_size=64 << 20, max_dbs=4, sync=False)
    trees = [env.open_db(b"plain"), env.open_db(b"few", dupsort=True), env.open_db(b"many", dupsort=True, dupfixed=True)]
    for _ in range(2):
        with env.begin(write=True) as txn:
            for tree in trees:
                for _key, _value in txn.cursor(db=tree):
                    pass
                for _ in range(60):
                    key = rng.randrange(2_000).to_bytes(4, "big")
                    txn.put(key, rng.randbytes(16), db=tree)
                    txn.delete(rng.randrange(2_000).to_bytes(4, "big"), db=tree)
    env.close()
    assert check_pages(file) == []
print(passed)
"""


def test_lmdb_reads_and_writes_what_is_in_order(file: Path) -> None:
    """In a process of its own, since a signal is what is looked for."""
    done = subprocess.run([sys.executable, "-c", DAMAGE, file.parent], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert 50 < int(done.stdout) < 250


def test_random_damage_ends_with_an_answer(file: Path) -> None:
    """Most of it is in values, free pages or old meta pages, which are nobody's structure."""
    raw = file.read_bytes()
    rng = random.Random(6)
    found = 0
    for _ in range(400):
        damaged = bytearray(raw)
        for _ in range(3):
            damaged[rng.randrange(len(raw) // 4096) * 4096 + rng.choice((rng.randrange(32), rng.randrange(4096)))] = rng.randrange(256)
        file.write_bytes(damaged)
        found += bool(check_pages(file))
    assert found > 30
