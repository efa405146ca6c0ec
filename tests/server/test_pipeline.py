"""The stages of one POST, contract section 15: a request that fails several checks is told of the first, and stores nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.server.in_process import ACCOUNT, Site, in_loop, site
from tests.server.server_process import Reply

MAX_BODY = 200
TOO_LARGE = f"The request body is larger than max_body, {MAX_BODY} bytes; send the data in smaller requests"
OUTSIDE = "2020-01-01"
PARSERS = {name: f"tests.server.sample_parsers:{name}" for name in ("fail", "unnamed", "one")}

Post = Callable[..., Any]


async def poster(here: Site, route: str, **fields: Any) -> tuple[str, Post]:
    """Return a device and what sends to it on one of the two routes."""
    device, token = here.make("immutable", **fields)

    async def post(body: Any, secret: str | None = None) -> Reply:
        if route == "device":
            return await here.call("POST", "/data", token if secret is None else secret, body)
        return await here.call("POST", f"/device/{device}/data", ACCOUNT if secret is None else secret, body)

    return device, post


async def count(here: Site, device: str) -> int:
    return int((await here.call("GET", f"/device/{device}/data_amount", ACCOUNT)).result)


@pytest.mark.parametrize("route", ["device", "account"])
@in_loop
async def test_each_check_comes_before_the_next(tmp_path: Path, route: str) -> None:
    huge_and_broken = b"{" + b" " * MAX_BODY
    async with site(tmp_path, parsers=PARSERS, max_body=MAX_BODY, rate_limits={"POST /data": 1}) as here:
        device, post = await poster(here, route, point_limit=1, tags=[("payload_parser", "fail")])

        async def set_up(**changes: Any) -> None:
            assert (await here.call("PUT", f"/device/{device}", ACCOUNT, changes)).status == 200

        await set_up(active=False)
        assert (await post(huge_and_broken, "nobody")).refusal == (401, "Authorization denied")
        assert (await post(huge_and_broken)).refusal == (400, "Device is deactivated")
        await set_up(active=True)
        assert (await post(huge_and_broken)).refusal == (413, TOO_LARGE)  # that was this minute's only one
        assert (await post(huge_and_broken)).refusal == (429, "Too many requests (Retry-After: 60)")

        async def refusal(body: Any) -> tuple[int, str]:
            here.clock.advance(seconds=60)
            found: tuple[int, str] = (await post(body)).refusal
            return found

        assert await refusal(b"{") == (400, "Malformed request syntax")
        assert await refusal([{"value": 1}]) == (400, "Payload parser failed: KeyError: 'temperature'")
        await set_up(tags=[])
        outside = {"variable": "a", "time": OUTSIDE}
        assert await refusal([outside, outside, {"value": 1}]) == (400, "Invalid data at index 2: variable is required")
        assert await refusal([outside, {"variable": "a"}]) == (400, "Time must be between 2026-10-01 and 2026-11-22")
        assert await refusal([{"variable": "a"}, {"variable": "b"}]) == (400, "The device has reached the limit of 1 data registers")
        assert await count(here, device) == 0
        here.clock.advance(seconds=60)
        assert (await post([{"variable": "a"}])).result == "1 Data Added"
        assert await refusal([{"variable": "b"}]) == (400, "The device has reached the limit of 1 data registers")
        assert await refusal([outside]) == (400, "Time must be between 2026-10-01 and 2026-11-22")
        assert await count(here, device) == 1


@pytest.mark.parametrize("route", ["device", "account"])
@pytest.mark.parametrize("is_heard", [False, True])
@in_loop
async def test_the_answers_are_the_same_with_a_listener(tmp_path: Path, route: str, is_heard: bool) -> None:
    async with site(tmp_path, max_body=MAX_BODY) as here:
        device, post = await poster(here, route, point_limit=3)
        if is_heard:
            stream = here.listen(f"channels=device_inspector.{device},device_data.{device}&token={ACCOUNT}")
            assert await stream.start() == 200
        assert (await post([])).result == "0 Data Added"
        assert (await post({"variable": "a"})).result == "1 Data Added"
        assert (await post(b"{")).refusal == (400, "Malformed request syntax")
        assert (await post(b" " * (MAX_BODY + 1))).refusal == (413, TOO_LARGE)
        assert (await post([{"variable": ""}])).refusal == (400, "Invalid data at index 0: variable is required")
        assert (await post([{"variable": "a"}] * 3)).refusal == (400, "The device has reached the limit of 3 data registers")
        assert (await post([{"variable": "a"}, {"variable": "b"}])).result == "2 Data Added"
        assert await count(here, device) == 3
        assert (await here.call("GET", f"/device/{device}", ACCOUNT)).result["last_input"] == "2026-11-21T02:00:00.000Z"


@pytest.mark.parametrize("parser", ["unnamed", "fail", None])
@in_loop
async def test_a_refused_request_is_no_input(tmp_path: Path, parser: str | None) -> None:
    async with site(tmp_path, parsers=PARSERS) as here:
        device, post = await poster(here, "device", tags=[("payload_parser", parser)] if parser else [])
        assert (await post([{"value": 1}])).status == 400
        assert (await here.call("GET", f"/device/{device}", ACCOUNT)).result["last_input"] is None
        assert await count(here, device) == 0


@in_loop
async def test_what_a_parser_returns_is_judged_like_what_is_sent(tmp_path: Path) -> None:
    async with site(tmp_path, parsers=PARSERS) as here:
        device, post = await poster(here, "device", point_limit=1, tags=[("payload_parser", "one")])
        assert (await post(b"[]")).result == "1 Data Added"
        assert (await post(b"[]")).refusal == (400, "The device has reached the limit of 1 data registers")
        assert await count(here, device) == 1
