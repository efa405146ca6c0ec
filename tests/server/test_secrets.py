"""What an attacker could learn from files, from the time of a look-up, or with another device's token."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import lmdb
import pytest

import tsengine
from tests.server.server_process import Made, Server
from tsengine.server.run import account_token


@pytest.fixture
def open_umask() -> Iterator[None]:
    """The mask that hides nothing: modes are what the code asks for."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in [folder, *folder.rglob("*")]}


@pytest.mark.usefixtures("open_umask")
def test_every_file_of_a_store_is_its_owners(tmp_path: Path) -> None:
    folder, copy = tmp_path / "data", tmp_path / "copy"
    with tsengine.open(folder) as db:
        for kind in ("immutable", "mutable"):
            options: dict[str, Any] = {"chunk_period": "month", "chunk_retention": 12} if kind == "immutable" else {}
            device = db.create_device(f"a {kind} device", type=kind, **options)
            db.create_token(device.id, "Default")
            device.append("a", 1.5)
        db.seal()
        account_token(folder)
        db.backup(copy)
    for made in (folder, copy):
        found = modes(made)
        kinds = ("segments/", "wal/", "manifest/", "catalog/", "registers/") if made is folder else ("segments/", "manifest/", "catalog/")
        for kind in kinds:
            assert any(name.startswith(kind) for name in found), (kind, sorted(found))
        assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}


def test_tokens_are_looked_up_by_their_hash(tmp_path: Path) -> None:
    """A probe compares hashes, which its sender cannot steer byte by byte towards another token's."""
    with tsengine.open(tmp_path / "data", durability="os") as db:
        device = db.create_device("a device", type="mutable")
        texts = [db.create_token(device.id, "Default").token for _ in range(5)]
        for text in texts:
            found = db.find_token(text)
            assert found is not None and found.token == text
            for wrong in (text[:-1], text + "x", text.upper(), text[:-1] + "é", sha256(text.encode()).hexdigest(), ""):
                assert db.find_token(wrong) is None
    with lmdb.open(str(tmp_path / "data" / "catalog"), readonly=True, max_dbs=16) as environment:
        database = environment.open_db(b"tokens", create=False)
        with environment.begin(db=database) as txn:
            assert set(txn.cursor().iternext(values=False)) == {sha256(text.encode()).digest() for text in texts}


def test_one_device_never_sees_another(server: Server) -> None:
    mine, other = server.make("mutable"), server.make("mutable")
    server.send(other, {"variable": "secret", "value": 1})
    (row,) = server.read(other)
    server.call("POST", f"/device/{other.id}/params", server.account, {"key": "secret", "value": "x"})
    (parameter,) = server.call("GET", f"/device/{other.id}/params", server.account).result
    assert server.read(mine) == []
    for query in ({"ids": row["id"]}, {"variables": "secret"}, {"query": "last_item"}, {"device": other.id}, {"id": other.id}):
        assert server.read(mine, query) == []
    assert server.call("PUT", "/data", mine.token, {"id": row["id"], "value": 2}).result == "0 item(s) updated"
    assert server.call("DELETE", "/data", mine.token, query={"ids": row["id"]}).result == "0 Data Removed"
    assert server.call("GET", "/info", mine.token).result["id"] == mine.id
    assert server.call("GET", "/device/params", mine.token).result == []
    assert server.call("PUT", f"/device/params/{parameter['id']}", mine.token).status == 404
    for method, path in [
        ("GET", f"/device/{other.id}"),
        ("GET", f"/device/{other.id}/data"),
        ("POST", f"/device/{other.id}/data"),
        ("GET", "/device"),
    ]:
        assert server.call(method, path, mine.token, [] if method == "POST" else None).refusal == (401, "Authorization denied")
    assert server.read(other) == [row]


def test_a_foreign_id_is_refused_by_put_through_the_account(server: Server) -> None:
    mine, other = server.make("mutable"), server.make("mutable")
    server.send(other, {"variable": "a", "value": 1})
    (row,) = server.read(other)
    edit = {"id": row["id"], "value": 2}
    assert server.call("PUT", f"/device/{mine.id}/data", server.account, edit).result == "0 item(s) updated"
    assert server.read(other) == [row]


def test_made_devices_have_different_tokens(server: Server) -> None:
    made: list[Made] = [server.make() for _ in range(20)]
    assert len({device.token for device in made}) == len({device.id for device in made}) == 20
