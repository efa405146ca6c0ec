"""The pages of LMDB files: what LMDB writes is in order, and damage to their structure is found without LMDB."""

from __future__ import annotations

import random
from pathlib import Path

import lmdb
import pytest

from tsengine.store.pages import check_pages


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
