"""Payload parsers: contract section 8.3. A parser that fails in any way answers 400 with its message and stores nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.server import sample_parsers
from tests.server.in_process import in_loop, site
from tests.server.server_process import ROOT, Made, Server
from tsengine.errors import InputError
from tsengine.server import parsers
from tsengine.server.parser_worker import loaded
from tsengine.server.parsers import kind_of, parse_parsers, reference_of

CONNECTOR, NETWORK = "62333bd36977fc001a2990c8", "62336c32ab6e0d0012e06c04"
PARSER_S = 1.0
MAX_BODY = 1_000_000

NAMES = [
    *("seen", "hexadecimal", "rename", "one", "nothing", "loop", "stubborn", "fail", "leave", "die", "abort", "hungry", "too_much"),
    *(
        "forgetful",
        "numbers",
        "foreign",
        "endless",
        "surrogate",
        "unnamed",
        "later",
        "mute",
        "verbose",
        "talk",
        "chatter",
        "not_a_function",
        "missing",
    ),
]


@pytest.fixture(scope="module")
def parsing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    given = {name: f"tests.server.sample_parsers:{name}" for name in NAMES}
    given |= {CONNECTOR: given["seen"], NETWORK: given["one"], "no-module": "tests.server.no_such_module:decode"}
    running = Server(tmp_path_factory.mktemp("parsing") / "data", parsers=given, parser_timeout=PARSER_S, max_body=MAX_BODY)
    yield running
    assert running.stop() == 0


def make(server: Server, name: str, kind: str = "mutable", **fields: Any) -> Made:
    """Create a device whose data go through a parser."""
    return server.make(kind, tags=[{"key": "payload_parser", "value": name}], **fields)


def post(server: Server, device: Made, body: bytes, content_type: str = "text/plain") -> Any:
    return server.call("POST", "/data", device.token, body, headers={"content-type": content_type})


@pytest.mark.parametrize("kind", ["mutable", "immutable"])
def test_a_parser_makes_points_of_text_on_both_routes(parsing: Server, kind: str) -> None:
    device = make(parsing, "hexadecimal", kind)
    assert post(parsing, device, b"00d737").result == "2 Data Added"
    reply = parsing.call("POST", f"/device/{device.id}/data", parsing.account, b"00dc38", headers={"content-type": "text/plain"})
    assert reply.result == "2 Data Added"
    rows = parsing.read(device, {"variables": "temperature", "ordination": "ascending"})
    assert [(row["value"], row["unit"]) for row in rows] == [(21.5, "C"), (22, "C")]
    assert [row["value"] for row in parsing.read(device, {"variables": "humidity", "ordination": "ascending"})] == [55, 56]


@pytest.mark.parametrize(
    ("content_type", "body", "shown", "kind"),
    [
        ("application/json", b'[{"a":1.5},2]', '[{"a":1.5},2]', "list"),
        ("application/json; charset=utf-8", b'{"a":"\xc3\xa9"}', '[{"a":"é"}]', "list"),
        ("application/vnd.api+json", b"5", "[5]", "list"),
        ("application/msgpack", msgspec.msgpack.encode({"a": 1}), '[{"a":1}]', "list"),
        ("text/plain", b"00ff", '"00ff"', "str"),
        ("text/csv; charset=utf-8", "é".encode(), '"é"', "str"),
        ("application/x-www-form-urlencoded", b"a=1&b=2", '"a=1&b=2"', "str"),
        ("application/xml", b"<a/>", '"<a/>"', "str"),
        ("application/octet-stream", b"\x00\xff", "00ff", "bytes"),
        ("image/png", b"", "", "bytes"),
    ],
)
def test_a_parser_sees_the_body_by_its_content_type(parsing: Server, content_type: str, body: bytes, shown: str, kind: str) -> None:
    device = make(parsing, "seen")
    assert post(parsing, device, body, content_type).result == "3 Data Added"
    rows = {row["variable"]: row for row in parsing.read(device)}
    assert (rows["payload"]["value"], rows["payload"]["unit"]) == (shown, kind)
    assert rows["raw"]["value"] == "True"


def test_a_parser_sees_the_device(parsing: Server) -> None:
    parameters = [{"key": "offset", "value": 1.5, "sent": True}]
    device = make(parsing, "seen", configuration_params=parameters)
    post(parsing, device, b"x")
    shown = json.loads(next(row["value"] for row in parsing.read(device) if row["variable"] == "device"))
    tags = [{"key": "payload_parser", "value": "seen"}]
    assert shown == {"id": device.id, "tags": tags, "params": [{"key": "offset", "value": "1.5", "sent": True}]}


def test_the_parser_of_the_connector_comes_first_and_the_raw_payload_stays(parsing: Server) -> None:
    device = make(parsing, "rename", connector=CONNECTOR, network=NETWORK)
    assert post(parsing, device, b"abc").result == "4 Data Added"
    rows = {row["variable"]: row["value"] for row in parsing.read(device)}
    assert rows["renamed_payload"] == '"abc"' and rows["raw"] == "abc" and "renamed_device" in rows


@pytest.mark.parametrize("fields", [{"network": NETWORK}, {"connector": "0" * 24, "network": NETWORK}, {"tags": []}])
def test_a_parser_is_found_by_network_and_not_without_reason(parsing: Server, fields: dict[str, Any]) -> None:
    device = parsing.make(**fields)
    assert post(parsing, device, b'{"variable":"plain"}', "application/json").result == "1 Data Added"
    assert [row["variable"] for row in parsing.read(device)] == ["one" if fields.get("network") else "plain"]


def test_a_stored_javascript_decoder_is_shown_and_not_run(parsing: Server) -> None:
    decoder = base64.b64encode(b"payload = [];").decode()
    device = parsing.make(payload_decoder=decoder)
    parsing.send(device, {"variable": "plain"})
    assert parsing.call("GET", f"/device/{device.id}", parsing.account).result["payload_decoder"] == decoder
    assert [row["variable"] for row in parsing.read(device)] == ["plain"]


def test_one_item_or_none_may_come_back(parsing: Server) -> None:
    assert post(parsing, make(parsing, "one"), b"x").result == "1 Data Added"
    assert post(parsing, make(parsing, "nothing"), b"x").result == "0 Data Added"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loop", "Payload parser took longer than 1 s and was stopped"),
        ("stubborn", "Payload parser took longer than 1 s and was stopped"),
        ("fail", "Payload parser failed: KeyError: 'temperature'"),
        ("leave", "Payload parser failed: SystemExit: good bye"),
        ("die", "Payload parser ended its process (exit status 3)"),
        ("abort", "Payload parser ended its process (signal 6)"),
        ("mute", "Payload parser ended its process (it closed its output and went on)"),
        ("verbose", "Payload parser failed: ValueError: " + "x" * 1000 + "..."),
        ("hungry", "Payload parser failed: MemoryError"),
        ("too_much", "Payload parser returned more than max_body, 1000000 bytes of JSON"),
        ("forgetful", "Payload parser forgetful must return a list of dicts, not None"),
        ("numbers", "Payload parser numbers must return a list of dicts, not a list with int"),
        ("foreign", "Payload parser foreign returned what is no JSON: Event is no type of JSON"),
        ("endless", "Payload parser endless returned what is no JSON: Out of range float values are not JSON compliant"),
        ("surrogate", "Payload parser surrogate returned what is no JSON: 'utf-8' codec can't encode character '\\ud800'"),
        ("unnamed", "Invalid data at index 1: variable is required"),
        ("later", "Payload parser later must return a list of dicts, not coroutine"),
        ("hexadecimal", "Payload parser failed: ValueError: non-hexadecimal number found"),
        ("no-module", "Payload parser tests.server.no_such_module:decode cannot be loaded: ModuleNotFoundError"),
        ("missing", "Payload parser tests.server.sample_parsers:missing cannot be loaded: AttributeError"),
        ("not_a_function", "Payload parser tests.server.sample_parsers:not_a_function cannot be loaded: TypeError"),
    ],
)
def test_a_parser_that_fails_is_told_to_the_sender_and_stores_nothing(parsing: Server, name: str, message: str) -> None:
    device = make(parsing, name)
    status, shown = post(parsing, device, b"x y").refusal
    assert (status, shown[: len(message)]) == (400, message)
    assert parsing.read(device, {"query": "count"}) == 0
    assert post(parsing, make(parsing, "one"), b"x").result == "1 Data Added"  # the next body has a process that works


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'[{"a":1}'),
        ("application/json", b""),
        ("application/json", b"[" * 100_000),
        ("application/msgpack", b"\xc1"),
        ("text/plain", b"\xff"),
    ],
)
def test_a_malformed_body_does_not_reach_the_parser(parsing: Server, content_type: str, body: bytes) -> None:
    assert post(parsing, make(parsing, "fail"), body, content_type).refusal == (400, "Malformed request syntax")


def test_what_a_parser_writes_is_no_answer(parsing: Server) -> None:
    device = make(parsing, "talk")
    assert post(parsing, device, b"x").result == "1 Data Added"
    assert [row["variable"] for row in parsing.read(device)] == ["said"]


def test_many_bodies_share_few_processes(parsing: Server) -> None:
    device, broken = make(parsing, "hexadecimal"), make(parsing, "die")
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: post(parsing, broken if n % 20 == 7 else device, b"%04x05" % n), range(100)))
    assert [reply.status for reply in replies] == [400 if n % 20 == 7 else 200 for n in range(100)]
    stored = sorted(row["value"] for row in parsing.read(device, {"variables": "temperature", "qty": 1000}))
    assert stored == [n / 10 for n in range(100) if n % 20 != 7]


def test_a_stop_waits_for_a_parser_that_runs(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", parsers={"loop": "tests.server.sample_parsers:loop"}, parser_timeout=PARSER_S)
    device = make(server, "loop")
    connection, sender = server.connect(), server.connect()
    connection.request("GET", f"/events?channels=device_inspector.{device.id}", headers={"token": server.account})
    events = connection.getresponse()
    sender.request("POST", "/data", b"x", {"token": device.token, "content-type": "text/plain"})
    while b"begins" not in events.readline():  # it loops now
        pass
    assert server.stop() == 0
    assert json.loads(sender.getresponse().read())["message"] == "Payload parser took longer than 1 s and was stopped"
    for opened in (sender, connection):
        opened.close()


@pytest.mark.parametrize("payload", ["once", "loop"])
def test_a_kill_of_the_server_leaves_no_process(tmp_path: Path, payload: str) -> None:
    server = Server(tmp_path / "data", parsers={"process": "tests.server.sample_parsers:process"}, parser_timeout=PARSER_S)
    device = make(server, "process")
    connection, sender = server.connect(), server.connect()
    connection.request("GET", f"/events?channels=device_inspector.{device.id}", headers={"token": server.account})
    events = connection.getresponse()
    sender.request("POST", "/data", payload, {"token": device.token, "content-type": "text/plain"})
    while (found := re.search(rb"process (\d+)", events.readline())) is None:
        pass
    handle = os.pidfd_open(int(found[1]))
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    assert select.select([handle], [], [], 60)[0]  # it has ended: of itself, for nobody is left to kill it
    os.close(handle)
    for opened in (sender, connection):
        opened.close()


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "server.md").read_text()
    code = re.search(r"```python\n(# decoders.py\n.*?)```", page, re.DOTALL)
    sent = re.search(r"text/plain' -d (\w+)", page)
    assert code is not None
    assert sent is not None
    scope: dict[str, Any] = {}
    exec(code[1], scope)
    items = scope["freezer"](sent[1], sent[1], {"id": "", "tags": [], "params": [{"key": "offset", "value": "0.5", "sent": False}]})
    assert [(item["variable"], item["value"]) for item in items] == [("temperature", 22), ("humidity", 55)]


# --- where parsers come from --------------------------------------------------------------------------------------------


def nested() -> Any:
    def inner(payload: Any, raw_payload: Any, device: Any) -> list[Any]:
        return []

    return inner


def test_functions_are_named_by_module() -> None:
    assert reference_of("x", sample_parsers.fail) == "tests.server.sample_parsers:fail"
    assert reference_of("x", "some.module:Class.method") == "some.module:Class.method"
    assert reference_of("x", "decoders.py:decode") == f"{Path('decoders.py').resolve()}:decode"


def test_a_function_of_the_script_that_runs_is_named_by_its_file(tmp_path: Path) -> None:
    script = tmp_path / "gateway.py"
    script.write_text(
        "from tsengine.server.parsers import reference_of\n"
        "def decode(payload, raw_payload, device):\n    return [{'variable': 'a'}]\n"
        "if __name__ == '__main__':\n    print(reference_of('x', decode))\n"
    )
    run = subprocess.run([sys.executable, script], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == f"{script}:decode"
    assert loaded(run.stdout.strip())("", "", {}) == [{"variable": "a"}]


@pytest.mark.parametrize("parser", [nested(), lambda *_: [], "no_function", ":f", "m:", 5])
def test_what_another_process_cannot_import_is_refused_at_once(parser: Any) -> None:
    with pytest.raises(InputError, match="payload parser 'x' must be"):
        reference_of("x", parser)


def test_parsers_are_named_on_the_command_line() -> None:
    assert parse_parsers(["a=m:f", "b = decoders.py:f"]) == {"a": "m:f", "b": "decoders.py:f"}
    for wrong in ("a", "=m:f", ""):
        with pytest.raises(InputError, match="NAME=MODULE:FUNCTION"):
            parse_parsers([wrong])


def test_a_media_type_says_what_a_parser_gets() -> None:
    assert [kind_of(text) for text in ("", "Application/JSON", "TEXT/html", "application/x-msgpack", "a/b")] == [
        *("json", "json", "text", "messagepack", "bytes")
    ]


async def parse_in(folder: Path, given: dict[str, Any]) -> Any:
    async with site(folder, parsers=given, parser_timeout=10.0) as here:
        _, token = here.make(tags=[("payload_parser", "mine")])
        return await here.call("POST", "/data", token, b"x", "text/plain")


@in_loop
async def test_an_embedder_gives_functions(tmp_path: Path) -> None:
    assert (await parse_in(tmp_path, {"mine": sample_parsers.one})).result == "1 Data Added"


@in_loop
async def test_a_parser_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "decoders.py"
    file.write_text(
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    b: int\ndef decode(p, r, d):\n    return [{'variable': p}]\n"
    )
    assert (await parse_in(tmp_path / "store", {"mine": f"{file}:decode"})).result == "1 Data Added"


@in_loop
async def test_a_parser_that_ends_its_process_at_import_is_told(tmp_path: Path) -> None:
    file = tmp_path / "decoders.py"
    file.write_text("import os\nos._exit(9)\n")
    refusal = (await parse_in(tmp_path / "store", {"mine": f"{file}:decode"})).refusal
    assert refusal == (400, "A payload parser ended its process while it was imported (exit status 9)")


@in_loop
async def test_installed_packages_bring_parsers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "somebody-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{parsers.ENTRY_POINTS}]\nmine = tests.server.sample_parsers:hexadecimal\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert (await parse_in(tmp_path / "a", {})).refusal[1].startswith("Payload parser failed: ValueError: non-hexadecimal")
    assert (await parse_in(tmp_path / "b", {"mine": sample_parsers.one})).result == "1 Data Added"  # settings win


@in_loop
async def test_a_slow_parser_delays_other_devices_by_one_run(tmp_path: Path) -> None:
    given = {"slow": sample_parsers.loop, "fast": sample_parsers.one}
    ended: list[str] = []
    async with site(tmp_path, parsers=given, parser_timeout=0.3, parser_workers=1) as here:
        slow, fast = (here.make(tags=[("payload_parser", name)])[1] for name in given)

        async def post(name: str, token: str) -> int:
            status = (await here.call("POST", "/data", token, b"x", "text/plain")).status
            ended.append(name)
            return status

        posts = [asyncio.create_task(post("slow", slow)) for _ in range(4)]
        await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
        assert await post("fast", fast) == 200
        assert ended in (["slow", "fast"], ["slow", "slow", "fast"])  # the second one had begun when the fast one came
        assert await asyncio.gather(*posts) == [400] * 4


@in_loop
async def test_waiting_bodies_of_a_device_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers, "DEVICE_QUEUE_MAX", 0)
    reply = await parse_in(tmp_path, {"mine": sample_parsers.one})
    assert reply.refusal == (503, "0 requests of this device wait for their payload parsers; nothing was stored, try again later")


@in_loop
async def test_waiting_bodies_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers, "QUEUE_MAX", 0)
    reply = await parse_in(tmp_path, {"mine": sample_parsers.one})
    assert reply.refusal == (503, "0 requests wait for their payload parsers; nothing was stored, try again later")
    assert reply.headers["retry-after"] == "1"
