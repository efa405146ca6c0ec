"""Pages of an LMDB file: what is said to be in order, LMDB reads and writes, and leaves in order."""

from __future__ import annotations

import atexit
import random
import shutil
import tempfile
from pathlib import Path

import lmdb

from tests.fuzz.patches import patch, patched
from tsengine.core.os.lmdb_pages import check_pages, require_pages

FOLDER = Path(tempfile.mkdtemp(prefix="tsengine-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
FILE = FOLDER / "data.mdb"
FLAGS = {"plain": 0, "few": 4, "many": 4 | 16}
MAP_BYTES = 16 << 20


def work(rounds: int, dice: random.Random) -> None:
    """Write and delete in all kinds of trees, then read everything."""
    env = lmdb.open(str(FOLDER), map_size=MAP_BYTES, max_dbs=4, sync=False)
    plain, few, many = env.open_db(b"plain"), env.open_db(b"few", dupsort=True), env.open_db(b"many", dupsort=True, dupfixed=True)
    for _ in range(rounds):
        with env.begin(write=True) as txn:
            for _ in range(20):
                key = dice.randrange(300).to_bytes(4, "big")
                txn.put(key, dice.randbytes(dice.choice((0, 9, 300, 5_000))), db=plain)
                txn.put(key[:3] + b"\0", dice.randbytes(1 + dice.randrange(30)), db=few)
                txn.put(key[:3], dice.randbytes(16), db=many)
                txn.delete(dice.randrange(300).to_bytes(4, "big"), db=plain)
    with env.begin() as txn:
        for tree in (plain, few, many):
            for _key, _value in txn.cursor(db=tree):
                pass
    env.close()


def base() -> bytes:
    work(30, random.Random(4))
    return FILE.read_bytes()


BASE = base()


def seeds() -> list[bytes]:
    """Places to change: heads and nodes of pages of each kind, and the trees in the newer meta page."""
    found = [b"", *(patch(place, BASE[place : place + 16]) for place in range(16, 152, 16))]
    kinds = set()
    for at in range(0, len(BASE), 4096):
        kind = BASE[at + 10]
        if int.from_bytes(BASE[at : at + 8], "little") * 4096 == at and kind not in kinds:
            kinds.add(kind)
            found += [patch(at + place, BASE[at + place : at + place + 16]) for place in (8, 24, 4064)]
    return found


def run(data: bytes) -> None:
    FILE.unlink()
    FILE.write_bytes(patched(BASE, data))
    require_pages(FILE, FLAGS)
    work(2, random.Random(5))
    assert check_pages(FILE) == []
