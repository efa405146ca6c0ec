"""The catalog: commands in, devices, tokens and parameters out, the same after reopening and replay."""

from pathlib import Path

import msgspec
import pytest

from tsengine.commands import (
    Command,
    ConvertDevice,
    DeleteDevice,
    DeleteParameter,
    DeleteToken,
    DropPoints,
    PutDevice,
    PutParameters,
    PutToken,
)
from tsengine.errors import InputError
from tsengine.store.catalog import Catalog
from tsengine.types import NO_DEVICE, DeviceInfo, Parameter, Tag, Token


def device(number: int, name: str = "Freezer", **fields: object) -> DeviceInfo:
    return msgspec.structs.replace(DeviceInfo(number, f"{number:024x}", name, "mutable"), **fields)


def filled(path: Path, *commands: Command) -> Catalog:
    catalog = Catalog(path)
    catalog.apply_many(enumerate(commands, catalog.applied_seq + 1))
    return catalog


def names(devices: list[DeviceInfo]) -> list[str]:
    return [info.name for info in devices]


def test_a_device_is_found_by_number_id_and_serial(tmp_path: Path) -> None:
    info = device(3, serial="S" * 2000, tags=(Tag("a", "b"),), extra={"x": [1, None]}, chunk_limit=5)
    catalog = filled(tmp_path, PutDevice(info))
    assert catalog.device(3) == catalog.by_id(info.id) == catalog.by_serial("S" * 2000) == info
    assert catalog.device(4) is catalog.by_id("") is catalog.by_id("x" * 9999) is catalog.by_serial("s") is None


def test_replacing_a_device_forgets_its_old_names(tmp_path: Path) -> None:
    catalog = filled(tmp_path, PutDevice(device(1, serial="a")), PutDevice(device(1, "Oven", id="f" * 24, serial="b")))
    assert catalog.by_serial("a") is catalog.by_id(f"{1:024x}") is None
    assert names(catalog.devices()) == ["Oven"]
    assert catalog.by_serial("b") == catalog.by_id("f" * 24) == catalog.device(1)
    catalog.apply(9, PutDevice(device(1)))
    assert catalog.by_serial("b") is None
    assert catalog.check() == []


def test_a_serial_leads_to_one_device_the_newest(tmp_path: Path) -> None:
    catalog = filled(tmp_path, PutDevice(device(1, serial="a")), PutDevice(device(2, serial="a")))
    assert catalog.by_serial("a") == device(2, serial="a")
    assert catalog.device(1) == device(1)
    assert catalog.check() == []


def test_numbers_are_never_used_again(tmp_path: Path) -> None:
    assert Catalog(tmp_path / "new").next_device_number() == 1
    catalog = filled(tmp_path, PutDevice(device(1)), PutDevice(device(7)), DeleteDevice(7))
    assert catalog.next_device_number() == 8
    catalog.close()
    assert Catalog(tmp_path).next_device_number() == 8


def test_deleting_a_device_removes_its_tokens_and_parameters(tmp_path: Path) -> None:
    parameter = Parameter("1", "k", "v")
    catalog = filled(
        tmp_path,
        PutDevice(device(1, serial="a")),
        PutDevice(device(2)),
        PutToken(Token("t1", 1, "one")),
        PutToken(Token("t2", 1, "two")),
        PutToken(Token("t3", 2, "three")),
        PutParameters(1, (parameter,)),
        PutParameters(2, (parameter,)),
        DeleteDevice(1),
        DeleteDevice(99),
    )
    assert catalog.device(1) is catalog.by_serial("a") is catalog.find_token("t1") is catalog.find_token("t2") is None
    assert (catalog.tokens(1), catalog.parameters(1)) == ([], [])
    assert (catalog.tokens(2), catalog.parameters(2)) == ([Token("t3", 2, "three")], [parameter])
    assert catalog.check() == []


def test_a_converted_device_keeps_its_names_tokens_and_parameters(tmp_path: Path) -> None:
    old, new = device(1, serial="a"), device(3, serial="a", id=f"{1:024x}", type="immutable")
    token, parameter = Token("t", 1, "one"), Parameter("1", "k", "v")
    convert = ConvertDevice(1, new)
    catalog = filled(tmp_path, PutDevice(old), PutDevice(device(2)), PutToken(token), PutParameters(1, (parameter,)), convert)
    assert catalog.by_id(old.id) == catalog.by_serial("a") == catalog.device(3) == new
    assert catalog.device(1) is None
    assert catalog.find_token("t") == msgspec.structs.replace(token, device=3)
    assert (catalog.tokens(1), catalog.parameters(1), catalog.parameters(3)) == ([], [], [parameter])
    assert catalog.next_device_number() == 4
    assert catalog.check() == []


def test_tokens_are_found_until_they_are_deleted(tmp_path: Path) -> None:
    late, early = Token("b" * 36, 1, "late", created_us=2, expire_us=9), Token("é\udcff", 1, "early", permission="read", created_us=1)
    late_again = msgspec.structs.replace(late, name="again")
    catalog = filled(tmp_path, PutDevice(device(1)), PutToken(late), PutToken(late_again))
    with pytest.raises(UnicodeEncodeError):
        msgspec.msgpack.encode(early)  # a lone surrogate never gets this far
    early = msgspec.structs.replace(early, token="é")
    catalog.apply(9, PutToken(early))
    assert catalog.tokens(1) == [early, late_again]
    assert (catalog.find_token("b" * 36), catalog.find_token("é")) == (late_again, early)
    assert catalog.find_token("") is catalog.find_token("B" * 36) is catalog.find_token("\udcff") is None
    catalog.apply(10, DeleteToken("b" * 36))
    catalog.apply(11, DeleteToken("unknown"))
    assert catalog.find_token("b" * 36) is None
    assert catalog.tokens(1) == [early]
    assert catalog.check() == []


def test_a_token_that_was_found_is_looked_for_again_after_every_change(tmp_path: Path) -> None:
    token = Token("t", 1, "one")
    catalog = filled(tmp_path, PutDevice(device(1)), PutDevice(device(2)), PutToken(token))
    assert catalog.find_token("t") is catalog.find_token("t") is not None
    catalog.apply(9, PutToken(msgspec.structs.replace(token, permission="read")))
    assert (found := catalog.find_token("t")) is not None and found.permission == "read"
    catalog.apply(10, DeleteDevice(1))
    assert catalog.find_token("t") is None


def test_authorization_tokens_belong_to_no_device_and_are_found_by_hash(tmp_path: Path) -> None:
    given = Token("ate2bd319014b24e0a8aca9f00aea4c0d0", NO_DEVICE, "gateway", "write", created_us=2)
    other = Token("at" + "0" * 32, NO_DEVICE, "other", "write", created_us=1)
    catalog = filled(tmp_path, PutDevice(device(1)), PutToken(given), PutToken(other), PutToken(Token("t", 1, "device's")))
    assert catalog.tokens(NO_DEVICE) == [other, given]
    assert catalog.find_token(given.token) == given
    assert catalog.find_token(given.token[2:]) is None
    assert catalog.find_hashed(bytes.fromhex("4deedd7bab8817ec")) == [given]  # the example of TagoTiP's specification
    assert catalog.find_hashed(bytes.fromhex("4deedd7bab8817ed")) == catalog.find_hashed(b"\xff" * 8) == []
    assert len(catalog.find_hashed(b"")) == 3
    assert catalog.check() == []
    assert catalog.rebuild() == []
    assert catalog.tokens(NO_DEVICE) == [other, given]
    catalog.apply(9, DeleteToken(given.token))
    assert catalog.tokens(NO_DEVICE) == [other]
    assert catalog.check() == []


def test_a_token_may_move_to_another_device(tmp_path: Path) -> None:
    catalog = filled(tmp_path, PutDevice(device(1)), PutDevice(device(2)), PutToken(Token("t", 1, "x")), PutToken(Token("t", 2, "x")))
    assert (catalog.tokens(1), catalog.tokens(2)) == ([], [Token("t", 2, "x")])
    assert catalog.check() == []


def test_parameters_keep_the_order_in_which_they_came(tmp_path: Path) -> None:
    first, second, third = (Parameter(id, "k", "v") for id in ("9", "1", "5"))
    catalog = filled(tmp_path, PutDevice(device(1)), PutParameters(1, (first, second)), PutParameters(1, (third,)))
    sent = Parameter("9", "k", "w", sent=True)
    catalog.apply(4, PutParameters(1, (sent,)))
    assert catalog.parameters(1) == [sent, second, third]
    catalog.apply(5, DeleteParameter(1, "1"))
    catalog.apply(6, DeleteParameter(1, "unknown"))
    assert catalog.parameters(1) == [sent, third]
    assert catalog.parameters(2) == []


def test_a_sequence_is_applied_once(tmp_path: Path) -> None:
    commands = [(3, PutDevice(device(1))), (5, PutDevice(device(1, "Oven"))), (6, DropPoints(1, 0, 1))]
    catalog = Catalog(tmp_path)
    catalog.apply_many(commands)
    assert catalog.applied_seq == 6
    catalog.apply_many(commands)
    catalog.apply(6, DeleteDevice(1))
    assert names(catalog.devices()) == ["Oven"]
    catalog.sync(40)
    catalog.close()
    catalog = Catalog(tmp_path)
    assert catalog.applied_seq == 40
    catalog.apply_many(commands)
    assert names(catalog.devices()) == ["Oven"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("freezer 1", ["Freezer 1"]),
        ("freezer", []),
        ("FREEZER*", ["Freezer 1", "freezer 12"]),
        ("*1*", ["Freezer 1", "freezer 12", "Oven.1"]),
        ("*", ["Freezer 1", "freezer 12", "Oven.1", "Ünit"]),
        ("**1", ["Freezer 1", "Oven.1"]),
        ("f*r*r*1*2", ["freezer 12"]),
        ("oven?1", []),
        ("oven*n.1", []),
        ("üN*", ["Ünit"]),
        ("", []),
    ],
)
def test_names_match_whole_without_case_and_star_is_any_run(tmp_path: Path, pattern: str, found: list[str]) -> None:
    known = ["Oven.1", "freezer 12", "Ünit", "Freezer 1"]
    catalog = filled(tmp_path, *(PutDevice(device(i, name)) for i, name in enumerate(known, 1)))
    assert names(catalog.devices(name=pattern)) == found


def test_a_hostile_pattern_is_quick(tmp_path: Path) -> None:
    catalog = filled(tmp_path, PutDevice(device(1, "a" * 100)))
    assert catalog.devices(name="*a" * 2000 + "b") == []


def test_filters_are_joined_by_and(tmp_path: Path) -> None:
    catalog = filled(
        tmp_path,
        PutDevice(device(1, "a", tags=(Tag("Site", "Rome"), Tag("kind", "cold")))),
        PutDevice(device(2, "b", tags=(Tag("site", "rome"),), active=False)),
        PutDevice(device(3, "c", type="immutable", visible=False, serial="s")),
    )
    assert names(catalog.devices(tags=[Tag("SITE", "r*")])) == ["a", "b"]
    assert names(catalog.devices(tags=[Tag("site", "rome"), Tag("*", "cold")])) == ["a"]
    assert names(catalog.devices(tags=[Tag("site", "cold")])) == []
    assert names(catalog.devices(active=True, visible=True)) == ["a"]
    assert names(catalog.devices(type="immutable")) == ["c"]
    assert names(catalog.devices(serial="s", visible=False)) == ["c"]
    assert names(catalog.devices(serial="s", name="x")) == names(catalog.devices(serial="t")) == []


def test_order_limit_and_skip(tmp_path: Path) -> None:
    catalog = filled(
        tmp_path,
        *(
            PutDevice(device(i, name, created_us=10 - i, serial=serial))
            for i, name, serial in ((1, "b", "x"), (2, "A", None), (3, "B", "y"))
        ),
    )
    assert names(catalog.devices()) == ["A", "b", "B"]
    assert names(catalog.devices(order="created_us")) == ["B", "A", "b"]
    assert names(catalog.devices(order="-created_us", limit=2)) == ["b", "A"]
    assert names(catalog.devices(order="number", skip=1, limit=1)) == ["A"]
    assert names(catalog.devices(order="serial")) == ["A", "b", "B"]
    assert (catalog.devices(skip=9), catalog.devices(limit=0)) == ([], [])
    for bad in ({"order": "extra"}, {"limit": -1}, {"skip": -1}):
        with pytest.raises(InputError):
            catalog.devices(**bad)  # type: ignore[arg-type]


def test_a_copy_opens(tmp_path: Path) -> None:
    catalog = filled(tmp_path / "catalog", PutDevice(device(1)))
    catalog.copy(tmp_path / "copy")
    assert Catalog(tmp_path / "copy").devices() == [device(1)]
