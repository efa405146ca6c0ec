"""The table of docs/contract.md: every row names tests that exist, and every route is in it; and the rows that no other file tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.server.server_process import Server
from tsengine.server.app import ROUTES

FOLDER = Path(__file__).parent
DOCUMENT = (FOLDER.parents[1] / "docs" / "contract.md").read_text()

DENIED = (401, "Authorization denied")


def section(title: str) -> str:
    """Return what is written below a heading."""
    return DOCUMENT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(title: str) -> list[list[str]]:
    """Return the cells of each row of a section's tables, without heads."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    heads = {number - 1 for number, line in enumerate(lines) if line.startswith("|---")}
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for number, line in enumerate(lines)
        if number not in heads and not line.startswith("|---")
    ]


def named_tests(cell: str) -> list[tuple[str, str]]:
    """Return (file, function) of each test that a cell names; `::name` is in the file named before it."""
    found: list[tuple[str, str]] = []
    file = ""
    for path, name in re.findall(r"`((?:../mqtt/)?test_\w+\.py)?(?:::(test_\w+))?`", cell):
        file = path or file
        found.append((file, name))
    return found


ROWS = rows("Routes") + rows("Answers")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_every_row_names_tests_that_exist(row: list[str]) -> None:
    tests = named_tests(row[-1])
    assert tests, row
    for file, name in tests:
        tree = ast.parse((FOLDER / file).read_text())
        assert not name or name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"


def test_every_route_is_in_the_table() -> None:
    listed: set[tuple[str, str]] = set()
    for row in rows("Routes"):
        methods: list[str] = []
        after_path = False
        for word in re.findall(r"[A-Z]+\b|/[^\s,;|`]+", row[0]):
            if word.startswith("/"):
                listed.update((method, pattern(word)) for method in methods)
            else:
                methods = [word] if after_path else [*methods, word]
            after_path = word.startswith("/")
    missing = {(method.upper(), pattern(route.path)) for route in ROUTES for method in route.calls} - listed
    assert not missing, f"docs/contract.md, Routes, lacks {sorted(missing)}"


def pattern(path: str) -> str:
    """Return a path with `*` for each field, `:id` or `{device_id}`."""
    return re.sub(r"(?<=/)(:\w+|\{[^}]+\})", "*", path)


def test_the_tables_are_whole() -> None:
    assert len(ROWS) > 70
    shown = section("Answers")
    for head in ("Refusals (contract 1.6):", "Successes (2.1):", "Errors (2.2),", "Queries (4.5):", "Bad input:"):
        assert head in shown


def test_every_denial_is_the_same(server: Server) -> None:
    """Whatever is wrong with a token, the answer is the same to the byte, but for date and request id."""
    device = server.make()
    reader = server.call("POST", "/device/token", server.account, {"device": device.id, "name": "reader", "permission": "read"}).result[
        "token"
    ]
    ended = server.call(
        "POST", "/device/token", server.account, {"device": device.id, "name": "ended", "expire_time": "2020-01-01"}
    ).result["token"]
    answers = []
    for token in (
        None,
        "",
        "unknown",
        device.token[:-1],
        device.token + "x",
        server.account,
        server.account[:-1],
        reader,
        ended,
        device.id,
    ):
        reply = server.call("POST", "/data", token, [])
        assert reply.refusal == DENIED, token
        answers.append((reply.body, {name: value for name, value in reply.headers.items() if name not in ("date", "x-request-id")}))
    assert all(answer == answers[0] for answer in answers)


def test_a_wrong_part_of_a_path_is_named(server: Server) -> None:
    device = server.make("immutable")
    path = f"/device/{device.id}"
    for chunk in ("nonsense", "1_2", "9" * 30 + "_1"):
        reply = server.call("DELETE", f"{path}/chunk/{chunk}", server.account)
        assert reply.refusal == (400, f"'{chunk}' is not the id of a chunk by month; chunks() lists them")
    unknown = server.call("DELETE", f"{path}/params/{'0' * 24}", server.account)
    assert unknown.refusal == (404, f"the device has no parameter '{'0' * 24}'")
    assert server.call("PUT", "/device/params/nonsense", device.token).refusal == (404, "Parameter not found")
    assert server.call("DELETE", "/device/token/nonsense", server.account).refusal == (404, "Token not found")


def test_a_deleted_and_a_deactivated_device_are_told_apart(server: Server) -> None:
    device = server.make()
    assert server.call("PUT", f"/device/{device.id}", server.account, {"active": False}).status == 200
    assert server.call("POST", f"/device/{device.id}/data", server.account, []).refusal == (400, "Device is deactivated")
    assert server.call("DELETE", f"/device/{device.id}", server.account).status == 200
    assert server.call("POST", f"/device/{device.id}/data", server.account, []).refusal == (404, "Device not found")
    assert server.call("POST", "/data", device.token, []).refusal == DENIED
