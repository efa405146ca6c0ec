"""Rate limits: contract section 8.7. Windows are minutes of the engine's clock, which the tests move."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server.in_process import ACCOUNT, Site, in_loop, site
from tests.server.server_process import ROOT, TIMEOUT_S, Made, Server
from tsengine.errors import InputError
from tsengine.server.rates import NAMES, PLANS, PRESETS, parse_limits

POINT = {"variable": "a", "value": 1}


async def statuses(here: Site, count: int, method: str, path: str, token: str) -> list[int]:
    return [(await here.call(method, path, token, POINT if method == "POST" else b"")).status for _ in range(count)]


@in_loop
async def test_the_wait_is_told_and_ends_with_the_minute(tmp_path: Path) -> None:
    async with site(tmp_path, rate_limits={"POST /data": 2}) as here:
        device, token = here.make()
        here.clock.advance(seconds=51.5)
        assert await statuses(here, 2, "POST", "/data", token) == [200, 200]
        reply = await here.call("POST", "/data", token, POINT)
        assert reply.refusal == (429, "Too many requests (Retry-After: 9)") and reply.headers["retry-after"] == "9"
        assert (await here.call("POST", f"/device/{device}/data", ACCOUNT, POINT)).refusal[0] == 429  # one limit for both routes
        assert (await here.call("GET", "/data?query=count", token)).result == 2
        here.clock.advance(seconds=8.4)
        assert (await here.call("POST", "/data", token, POINT)).refusal == (429, "Too many requests (Retry-After: 1)")
        here.clock.advance(seconds=0.1)
        assert await statuses(here, 3, "POST", "/data", token) == [200, 200, 429]
        here.clock.jump(seconds=-3600)  # whatever the clock does, a window is one of its minutes
        assert await statuses(here, 3, "POST", "/data", token) == [200, 200, 429]


@in_loop
async def test_without_limits_nothing_is_counted(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        _, token = here.make()
        assert set(await statuses(here, 300, "POST", "/data", token)) == {200}
        assert not here.app.service.rates._counts


@in_loop
async def test_each_device_has_its_own_limit_and_may_have_another(tmp_path: Path) -> None:
    async with site(tmp_path, rate_limits={"device": 2}) as here:
        (_, first), (_, second), (_, fast) = here.make(), here.make(), here.make(rpm=4)
        for token, count in ((first, 2), (second, 2), (fast, 4)):
            for method in ("POST", "GET"):
                assert await statuses(here, count + 1, method, "/data", token) == [200] * count + [429]


@in_loop
async def test_the_limit_of_a_device_holds_without_others_and_is_edited(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        device, token = here.make()
        for wrong in (0, -5, 1.5, "9", True):
            assert (await here.call("PUT", f"/device/{device}", ACCOUNT, {"rpm": wrong})).refusal[0] == 400
        assert (await here.call("PUT", f"/device/{device}", ACCOUNT, {"rpm": 1})).status == 200
        assert (await here.call("GET", f"/device/{device}", ACCOUNT)).result["rpm"] == 1
        assert await statuses(here, 2, "POST", "/data", token) == [200, 429]
        assert await statuses(here, 2, "GET", "/data", token) == [200, 429]
        assert (await here.call("PUT", f"/device/{device}", ACCOUNT, {"rpm": None})).status == 200
        assert await statuses(here, 2, "POST", "/data", token) == [200, 200]
        created = (await here.call("POST", "/device", ACCOUNT, {"name": "slow", "rpm": 1})).result
        assert await statuses(here, 2, "POST", "/data", created["token"]) == [200, 429]


@in_loop
async def test_a_refused_request_does_not_count_anywhere(tmp_path: Path) -> None:
    async with site(tmp_path, rate_limits={"POST /data": 3}) as here:
        (_, slow), (_, other) = here.make(rpm=1), here.make()
        assert await statuses(here, 5, "POST", "/data", slow) == [200, 429, 429, 429, 429]
        assert await statuses(here, 3, "POST", "/data", other) == [200, 200, 429]


@in_loop
async def test_a_rejected_body_counts(tmp_path: Path) -> None:
    async with site(tmp_path, rate_limits={"POST /data": 1}) as here:
        _, token = here.make()
        assert (await here.call("POST", "/data", token, b"{")).refusal == (400, "Malformed request syntax")
        assert (await here.call("POST", "/data", token, POINT)).refusal[0] == 429


ROUTES: list[tuple[str, str, str, Any]] = [
    ("GET /data", "GET", "/data", "device"),
    ("PUT /data", "PUT", "/data", "device"),
    ("DELETE /data", "DELETE", "/data", "device"),
    ("GET /data", "GET", "/device/{id}/data", "account"),
    ("PUT /data", "PUT", "/device/{id}/data", "account"),
    ("DELETE /data", "DELETE", "/device/{id}/data", "account"),
    ("GET /data aggregate", "GET", "/data?query=aggregate&interval=hour&function=avg", "device"),
    ("POST /device", "POST", "/device", "account"),
    ("GET /device", "GET", "/device", "account"),
    ("GET /device/:id", "GET", "/device/{id}", "account"),
    ("PUT /device/:id", "PUT", "/device/{id}", "account"),
    ("DELETE /device/:id", "DELETE", "/device/{id}", "account"),
    ("GET /device/token/:id", "GET", "/device/token/{id}", "account"),
    ("POST /device/token", "POST", "/device/token", "account"),
    ("DELETE /device/token/:id", "DELETE", "/device/token/{id}", "account"),
    ("GET /device/:id/data_amount", "GET", "/device/{id}/data_amount", "account"),
    ("GET /device/:id/data_amount", "GET", "/bucket/{id}/data_amount", "account"),
    ("GET /device/:id/params", "GET", "/device/{id}/params", "account"),
    ("POST /device/:id/params", "POST", "/device/{id}/params", "account"),
    ("DELETE /device/:id/params/:id", "DELETE", "/device/{id}/params/1", "account"),
    ("GET /device/params", "GET", "/device/params", "device"),
    ("PUT /device/params/:id", "PUT", "/device/params/1", "device"),
    ("GET /device/:id/chunk", "GET", "/device/{id}/chunk", "account"),
    ("DELETE /device/:id/chunk/:id", "DELETE", "/device/{id}/chunk/1_2", "account"),
    ("POST /device/:id/empty", "POST", "/device/{id}/empty", "account"),
    ("GET /info", "GET", "/info", "device"),
    ("GET /info", "GET", "/info", "account"),
]


@pytest.mark.parametrize(("name", "method", "path", "who"), ROUTES)
@in_loop
async def test_every_route_has_its_limit_and_only_those_who_may_ask_use_it_up(
    tmp_path: Path, name: str, method: str, path: str, who: str
) -> None:
    async with site(tmp_path, rate_limits={name: 1}) as here:
        device, token = here.make()
        path = path.format(id=device)
        for _ in range(3):
            assert (await here.call(method, path, "nobody")).refusal == (401, "Authorization denied")
            if who == "account" and path != "/info":
                assert (await here.call(method, path, token)).refusal == (401, "Authorization denied")
        secret = token if who == "device" else ACCOUNT
        assert (await here.call(method, path, secret, b"[]")).status != 429
        assert (await here.call(method, path, secret, b"[]")).refusal == (429, "Too many requests (Retry-After: 60)")
        assert (await here.call("PATCH", "/data", secret)).status == 404
        assert (await here.call("GET", "/health")).status == 200


def test_limits_are_named_by_plan_or_route() -> None:
    assert parse_limits(["starter", "POST /data = 7", "device=9"]) == {**PRESETS["starter"], "POST /data": 7, "device": 9}
    assert parse_limits([]) == {}
    assert (PRESETS["free"]["POST /data"], PRESETS["starter"]["GET /data aggregate"], PRESETS["scale"]["GET /device"]) == (250, 10, 500)
    assert {name for name, *_ in ROUTES} <= NAMES


def test_the_page_has_the_limits_of_the_plans() -> None:
    page = (ROOT / "docs" / "server.md").read_text()
    rows = re.findall(r"^\| (`.+`) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", page, re.MULTILINE)
    for place, plan in enumerate(PLANS):
        assert {name: int(row[place + 1].replace(",", "")) for row in rows for name in re.findall("`([^`]+)`", row[0])} == PRESETS[plan]


@pytest.mark.parametrize("text", ["", "gold", "POST /data", "POST /data=", "POST /data=x", "POST /data=0", "POST /nothing=5", "=5"])
def test_other_limits_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="rate limit"):
        parse_limits([text])


def test_the_command_line_has_limits_and_parsers(tmp_path: Path) -> None:
    options = ["--rate-limit", "free", "--rate-limit", "POST /data=1", "--parser", "one=tests.server.sample_parsers:one"]
    command = [sys.executable, "-m", "tsengine", "serve", "--data", str(tmp_path / "data"), "--port", "0", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    server = Server.__new__(Server)
    for line in process.stdout:
        if line.startswith("account token: "):
            server.account = line.split()[2]
        if line.startswith("tsengine listens on "):
            server.url = line.split()[-1]
            break
    device: Made = server.make(tags=[{"key": "payload_parser", "value": "one"}])
    # A minute may end between two requests, but not between each two of four.
    assert sorted({server.call("POST", "/data", device.token, b"[{}]").status for _ in range(4)}) == [200, 429]
    assert server.read(device)[0]["variable"] == "one"
    process.terminate()
    assert process.wait(TIMEOUT_S) == 0
    process.stdout.close()
    refused = subprocess.run([*command, "--rate-limit", "gold"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1 and "a rate limit is one of free, starter, scale" in refused.stderr


@pytest.mark.parametrize(("limits", "rpm"), [({"GET /data": 1, "POST /data": 1}, None), ({"device": 1}, None), ({}, 1)])
def test_the_fast_lane_leaves_alone_what_is_counted(tmp_path: Path, limits: dict[str, int], rpm: int | None) -> None:
    server = Server(tmp_path / "data", rate_limits=limits)
    try:
        device = server.make("immutable", **({} if rpm is None else {"rpm": rpm}))
        for method, body in (("POST", POINT), ("GET", None)):  # a minute may end in between, but not three times
            assert {server.call(method, "/data", device.token, body).status for _ in range(4)} == {200, 429}
    finally:
        server.stop()
