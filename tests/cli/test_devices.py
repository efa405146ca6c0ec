"""tsengine device and token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run, opened


def test_a_device_is_created_with_its_store(run: Run, data: Path) -> None:
    options = ["--serial", "SN-2", "--tag", "site=oslo", "--tag", "floor=1=2", "--chunk-period", "day", "--chunk-retention", "7"]
    more = ["--chunk-limit", "none", "--point-limit", "500", "--description", "cold", "--inactive", "--hidden", "--extra", '{"a":[1]}']
    created = json.loads(run("device", "create", "freezer-8", *options, *more, "--json").stdout)
    assert (created["chunk_period"], created["chunk_retention"], created["chunk_limit"], created["point_limit"]) == ("day", 7, None, 500)
    assert created["tags"] == [{"key": "site", "value": "oslo"}, {"key": "floor", "value": "1=2"}]
    assert (created["active"], created["visible"], created["extra"], created["description"]) == (False, False, {"a": [1]}, "cold")
    assert run("device", "create", "plain").stdout.startswith("created device ")
    mutable = json.loads(run("device", "create", "registers", "--type", "mutable", "--json").stdout)
    assert (mutable["type"], mutable["chunk_period"]) == ("mutable", None)
    with opened(data) as db:
        assert db.device("SN-2").id == created["id"]
        assert len(db.devices()) == 3


def test_devices_are_listed_and_shown(run: Run, store: Path) -> None:
    run("device", "create", "pump-1", "--type", "mutable")
    table = run("device", "list").stdout
    assert "freezer-7" in table and "pump-1" in table and "site=oslo" in table
    assert [info["name"] for info in json.loads(run("device", "list", "--json", "--order", "-name").stdout)] == ["pump-1", "freezer-7"]
    for condition in (["--name", "FREEZ*"], ["--type", "immutable"], ["--serial", "SN-1"], ["--tag", "site=*"], ["--limit", "1"]):
        assert [info["name"] for info in json.loads(run("device", "list", "--json", *condition).stdout)] == ["freezer-7"]
    assert json.loads(run("device", "list", "--json", "--skip", "2").stdout) == []
    shown = json.loads(run("device", "show", "SN-1", "--json").stdout)
    assert (shown["points"], shown["variables"], shown["chunks"][0]["count"]) == (6, ["door", "odd", "temperature"], 6)
    text = run("device", "show", "SN-1").stdout
    assert "freezer-7" in text and "door, odd, temperature" in text and shown["chunks"][0]["id"] in text
    assert "mutable" in run("device", "show", json.loads(run("device", "list", "--json", "--name", "pump*").stdout)[0]["id"]).stdout


def test_a_device_is_edited(run: Run, store: Path) -> None:
    changed = json.loads(run("device", "edit", "SN-1", "--name", "freezer-9", "--chunk-limit", "none", "--tag", "", "--json").stdout)
    assert (changed["name"], changed["chunk_limit"], changed["tags"], changed["serial"]) == ("freezer-9", None, [], "SN-1")
    assert "serial" in run("device", "edit", "SN-1", "--serial", "", "--inactive").stdout
    run("device", "show", "SN-1", status=1)
    run("device", "edit", changed["id"], status=2)


def test_a_device_is_deleted_after_a_question(run: Run, store: Path) -> None:
    assert "6 points" in run("device", "delete", "SN-1", input="n\n", status=1).stderr
    assert len(json.loads(run("device", "list", "--json").stdout)) == 1
    assert run("device", "delete", "SN-1", "--yes").stdout.startswith("deleted device")
    assert json.loads(run("device", "list", "--json").stdout) == []


def test_tokens_are_made_listed_and_revoked(run: Run, store: Path) -> None:
    options = ["--name", "reader", "--permission", "read", "--expire", "2100-01-01", "--serial", "x"]
    made = json.loads(run("token", "create", "SN-1", *options, "--json").stdout)
    assert (made["name"], made["permission"], made["expires_at"], made["serial"]) == ("reader", "read", "2100-01-01T00:00:00Z", "x")
    plain = run("token", "create", "SN-1").stdout.strip()
    listed = json.loads(run("token", "list", "SN-1", "--json").stdout)
    assert {made["token"], plain} < {token["token"] for token in listed}
    assert plain in run("token", "list", "SN-1").stdout
    run("token", "delete", plain)
    assert len(json.loads(run("token", "list", "SN-1", "--json").stdout)) == len(listed) - 1
    assert "no such token" in run("token", "delete", plain, status=1).stderr


def test_authorization_tokens_are_made_listed_and_revoked(run: Run, store: Path) -> None:
    made = json.loads(run("token", "authorize", "--name", "gateway", "--expire", "2100-01-01", "--json").stdout)
    assert (made["name"], made["permission"], made["expires_at"]) == ("gateway", "write", "2100-01-01T00:00:00Z")
    plain = run("token", "authorize", "--permission", "full").stdout.strip()
    assert plain.startswith("at") and len(plain) == 34
    assert [token["token"] for token in json.loads(run("token", "list", "--json").stdout)] == [made["token"], plain]
    run("token", "delete", plain)
    assert made["token"] in run("token", "list").stdout and plain not in run("token", "list").stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["device", "create", "x"], "3 to 100 characters"),
        (["device", "create", "other", "--serial", "SN-1"], "belongs to the device"),
        (["device", "show", "SN-9"], "no device has the id or serial 'SN-9'"),
        (["device", "list", "--order", "colour"], "colour"),
    ],
)
def test_errors_are_one_line(run: Run, store: Path, args: list[str], message: str) -> None:
    lines = run(*args, status=1).stderr.splitlines()
    assert lines[0].startswith("error: ") and message in lines[0]
    assert all(line.startswith("hint: ") for line in lines[1:]) and len(lines) <= 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["device", "create", "other", "--chunk-retention", "many"], "--chunk-retention must be a whole number or none"),
        (["device", "create", "other", "--tag", "site"], "--tag must be key=value"),
        (["device", "create", "other", "--extra", "[]"], "--extra must be a JSON object"),
        (["token", "create", "SN-1", "--expire", "soon"], "'soon' is not a time"),
        (["device", "remove", "SN-1"], "No such command"),
    ],
)
def test_wrong_usage_is_told_before_the_store_is_opened(run: Run, store: Path, args: list[str], message: str) -> None:
    with opened(store):
        assert message in run(*args, status=2).stderr


def test_what_is_deleted_is_told_to_programs(run: Run, store: Path) -> None:
    token = run("token", "create", "SN-1").stdout.strip()
    assert json.loads(run("token", "delete", token, "--json").stdout) == {"deleted": token}
    id = json.loads(run("device", "show", "SN-1", "--json").stdout)["id"]
    assert json.loads(run("device", "delete", "SN-1", "--yes", "--json").stdout) == {"deleted": id, "points": 6}
