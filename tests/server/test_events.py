"""GET /events: contract section 8.1, over sockets, with the official Python client, and in the process on a clock that moves."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.in_process import ACCOUNT, in_loop, site
from tests.server.server_process import Made, Server
from tsengine.server import inspector
from tsengine.server.inspector import CONTENT_CHARS, EVENT_BYTES, LISTENER_BYTES
from tsengine.server.routes import events

DENIED = (401, "Authorization denied")
PARSERS = {name: f"tests.server.sample_parsers:{name}" for name in ("talk", "fail", "chatter")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("events") / "data", comment_interval=0.05, max_listeners=3, parsers=PARSERS)
    yield running
    assert running.stop() == 0


def inspecting(device: str) -> str:
    return f"channels=device_inspector.{device}&token={ACCOUNT}"


def hearing(device: str) -> str:
    return f"channels=device_data.{device}&token={ACCOUNT}"


# --- who may listen, and to what ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["channels", "channel"])
@in_loop
async def test_who_may_listen(tmp_path: Path, name: str) -> None:
    async with site(tmp_path) as here:
        (own, token), (other, _) = here.make(), here.make()
        device = here.engine.engine.device(own)
        writer = here.engine.engine.create_token(device.id, "writer", permission="write").token

        async def refusal(query: str) -> Any:
            return (await here.call("GET", f"/events?{query}")).refusal

        good = f"{name}=device_inspector.{own}"
        for wrong in (good, f"{good}&token=", f"{good}&token=nobody", f"{good}&token=%ff%E2%82%AC", f"{good}&token={writer}"):
            assert await refusal(wrong) == DENIED
        assert await refusal(f"{name}=device_data.{other}&token={token}") == DENIED
        assert await refusal(f"{name}=device_data.{own},device_data.{other}&token={token}") == DENIED
        assert await refusal(f"{name}=device_data.{'0' * 24}&token={ACCOUNT}") == (404, "Device not found")
        for secret in (token, ACCOUNT):
            for query in (
                *("", f"{name}=", f"{name}=,", f"{name}=nonsense", f"{name}=device_inspector", f"{name}=device_inspector.{own[1:]}"),
                *(f"{name}={channel}.{own}" for channel in ("analysis_console", "entity_data", "ui_dashboard", "Device_Data")),
                *(f"{name}={channel}" for channel in ("analysis_trigger", "notification", "ui")),
                f"{name}=" + ",".join([f"device_data.{own}"] * 101),
            ):
                assert await refusal(f"{query}&token={secret}") == (400, "Error on Query String parameters")
            for query in (f"{good}&token={secret}", f"{name}=device_data.{own},device_inspector.{own}&token={secret}"):
                stream = here.listen(query)
                assert await stream.start() == 200
                stream.leave()
                await stream.task
        assert not here.app.service.inspector.heard and not here.app.service.inspector._listeners


@in_loop
async def test_any_query_is_answered(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        device, token = here.make()
        pick = random.Random(20_261_121).choice
        names = ["channels", "channel", "channels[]", "channel[0]", "channels[a][b]", "token", "authorization", "%00", "", "[", "%ff"]
        values = [
            "",
            ",",
            token,
            ACCOUNT,
            device,
            f"device_data.{device}x",
            "device_data.%00",
            "%ff%fe",
            "é",
            "a" * 5000,
            "&&=",
            "*",
            "0" * 24,
        ]
        for _ in range(500):
            query = "&".join(f"{pick(names)}={pick(values)}" for _ in range(pick(range(6))))
            reply = await here.call("GET", f"/events?{query}")
            assert reply.status in (400, 401, 404), query


# --- what is told -------------------------------------------------------------------------------------------------------


@in_loop
async def test_entries_of_a_post_come_in_order(tmp_path: Path) -> None:
    async with site(tmp_path, parsers=PARSERS, rate_limits={"device": 3}) as here:
        device, token = here.make(tags=[("payload_parser", "talk")])
        stream = here.listen(inspecting(device))
        assert await stream.start() == 200
        assert (await here.call("POST", "/data?a=1&b&authorization_token=secret&Token=x", token, b"21.5", "text/plain")).status == 200
        event = await stream.event()
        (entry,) = event["payload"]
        assert set(event) == {"channel", "payload"} and event["channel"] == f"device_inspector.{device}"
        assert set(entry) == {"connection_id", "device_id", "timestamp", "title", "content"}
        assert (entry["device_id"], entry["timestamp"]) == (device, "2026-11-21T02:00:00.000Z")
        assert entry["title"] == "[POST] HTTP Request"
        sent_by = json.loads(entry["content"])
        assert sent_by == {"ip": "192.0.2.7", "user_agent": "", "content_type": "text/plain", "token": "..." + token[-5:]}
        rest = [(await stream.event())["payload"][0] for _ in range(7)]
        assert {line["connection_id"] for line in rest} == {entry["connection_id"]}
        assert [(line["title"], line["content"]) for line in rest] == [
            ("Query params", "a=1&b&authorization_token=...&Token=..."),
            ("Raw Payload", "21.5"),
            ("Payload Parser Log", "printed 21.5"),
            ("Payload Parser Log", "to the other"),
            ("Payload Parser Log", "WARNING logged"),
            ("Payload Parser Log", "without an end"),
            ("Payload Parser", '[{"variable":"said","value":4}]'),
        ]
        await here.call("PUT", f"/device/{device}", ACCOUNT, {"tags": [{"key": "payload_parser", "value": "fail"}]})
        assert (await here.call("POST", "/data", token, b"x", "text/plain")).status == 400
        *_, (title, trace), error = await stream.titles(5)
        assert title == "Payload Parser Log" and trace.startswith("Traceback") and trace.endswith("KeyError: 'temperature'")
        assert "parser_worker" not in trace
        assert error == ("Error", "Payload parser failed: KeyError: 'temperature'")
        await here.call("PUT", f"/device/{device}", ACCOUNT, {"tags": []})
        assert (await here.call("POST", "/data", token, b'[{"variable":"a","value":[]}]')).status == 400
        raw, (title, problem) = (await stream.titles(4))[2:]
        assert raw == ("Raw Payload", '[{"variable":"a","value":[]}]')
        assert title == "Error" and problem.startswith("Invalid data at index 0: value: Expected")
        assert (await here.call("POST", "/data", token, b"[]")).status == 429
        assert (await stream.titles(3))[-1] == ("Error", "Too many requests (Retry-After: 60)")  # and the body was not read


@in_loop
async def test_rejections_are_told(tmp_path: Path) -> None:
    async with site(tmp_path, max_body=100) as here:
        (full, token), (immutable, other) = here.make("immutable", point_limit=1), here.make("immutable")
        stream = here.listen(f"channels=device_inspector.{full},device_inspector.{immutable}&token={ACCOUNT}")
        assert await stream.start() == 200
        assert (await here.call("POST", "/data", token, b'[{"variable":"a"},{"variable":"b"}]')).status == 400
        assert (await stream.titles(4))[-1] == ("Error", "The device has reached the limit of 1 data registers")
        assert (await here.call("POST", f"/device/{full}/data", ACCOUNT, b" " * 101)).status == 413
        assert (await stream.titles(3))[-1][1].startswith("The request body is larger than max_body, 100 bytes")
        assert (await here.call("POST", "/data", token, b"{")).status == 400
        assert (await stream.titles(4))[-1][1].startswith("Malformed request syntax")
        assert (await here.call("POST", "/data", other, b'{"variable":"a","time":"2020-01-01"}')).status == 400
        assert (await stream.titles(4))[-1] == ("Error", "Time must be between 2026-10-01 and 2026-11-22")


@in_loop
async def test_bodies_are_shown_as_text_or_digits_and_cut(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        device, token = here.make()
        stream = here.listen(inspecting(device))
        assert await stream.start() == 200
        for body, shown in (
            (b"\xff\x00", "ff00"),
            ("é\n€".encode(), "é\n€"),
            (b"x" * (CONTENT_CHARS + 5), "x" * CONTENT_CHARS + "..."),
            (("€" * 2 * CONTENT_CHARS).encode(), "€" * CONTENT_CHARS + "..."),
            (b"x" * 300_000 + b"\xff", "x" * CONTENT_CHARS + "..."),
        ):
            await here.call("POST", "/data", token, body)
            assert (await stream.titles(4))[2] == ("Raw Payload", shown)


@pytest.mark.parametrize("kind", ["mutable", "immutable"])
@in_loop
async def test_inserted_rows_are_what_get_returns(tmp_path: Path, kind: str) -> None:
    async with site(tmp_path) as here:
        device, token = here.make(kind)
        stream = here.listen(hearing(device))
        assert await stream.start() == 200
        point = {
            "variable": "T",
            "value": 100.0,
            "unit": "C",
            "location": {"lat": 1, "lng": 2},
            "metadata": {"a": [1]},
            "time": "2026-11-20",
        }
        assert (
            await here.call("POST", "/data", token, [point, {"variable": "b", "value": True}, {"variable": "c", "group": "g"}])
        ).status == 200
        event = await stream.event()
        assert event["channel"] == f"device_data.{device}"
        stored = (await here.call("GET", "/data?qty=10", token)).result
        assert sorted(event["payload"], key=lambda row: row["id"]) == sorted(stored, key=lambda row: row["id"])
        assert [row["variable"] for row in event["payload"]] == ["t", "b", "c"]
        await here.call("POST", "/data", token, [])  # nothing was inserted, so nothing is told
        await here.call("POST", "/data", token, [{"variable": "d"}, {"value": 1}])
        await here.call("POST", f"/device/{device}/data", ACCOUNT, {"variable": "last"})
        assert [row["variable"] for row in (await stream.event())["payload"]] == ["last"]


@in_loop
async def test_many_rows_come_in_several_events(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        device, token = here.make()
        stream = here.listen(hearing(device))
        assert await stream.start() == 200
        await here.call("POST", "/data", token, [{"variable": "a", "value": n} for n in range(5000)])
        values: list[int] = []
        while len(values) < 5000:
            event = await stream.event()
            assert len(json.dumps(event)) < 2 * EVENT_BYTES
            values += [row["value"] for row in event["payload"]]
        assert values == list(range(5000))


@in_loop
async def test_nobody_hears_another_device_and_nothing_is_kept(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        (quiet, quiet_token), (loud, loud_token) = here.make(), here.make()
        await here.call("POST", "/data", quiet_token, {"variable": "before"})
        stream = here.listen(hearing(quiet))
        assert await stream.start() == 200
        await here.call("POST", "/data", loud_token, {"variable": "loud"})
        await here.call("POST", "/data", quiet_token, {"variable": "quiet"})
        assert [row["variable"] for row in (await stream.event())["payload"]] == ["quiet"]
        assert here.app.service.inspector.is_heard(quiet) and not here.app.service.inspector.is_heard(loud)


@in_loop
async def test_a_device_is_plain_until_something_is_on(tmp_path: Path) -> None:
    async with site(tmp_path, parsers=PARSERS) as here:
        service = here.app.service

        async def is_plain(device: str) -> bool:
            return service.is_plain(await here.engine.device(device))

        device, _ = here.make()
        assert await is_plain(device)
        assert not await is_plain(here.make(rpm=5)[0])
        assert not await is_plain(here.make(tags=[("payload_parser", "talk")])[0])
        assert await is_plain(here.make(tags=[("payload_parser", "unknown")])[0])
        for query in (inspecting(device), hearing(device)):
            stream = here.listen(query)
            assert await stream.start() == 200
            assert not await is_plain(device)
            stream.leave()
            await stream.task
            assert await is_plain(device)


# --- how streams go on and end ------------------------------------------------------------------------------------------


@in_loop
async def test_comments_come_when_there_is_nothing_else(tmp_path: Path) -> None:
    async with site(tmp_path, comment_interval=0.01) as here:
        stream = here.listen(hearing(here.make()[0]))
        assert await stream.start() == 200
        assert [await stream.next() for _ in range(4)] == [b":\n\n"] * 4


@pytest.mark.parametrize("how", ["token", "device", "expiry", "permission"])
@in_loop
async def test_a_stream_ends_with_its_token(tmp_path: Path, how: str) -> None:
    async with site(tmp_path, comment_interval=3600 if how in ("token", "device") else 0.01) as here:
        device, token = here.make()
        engine = here.engine.engine
        created = (await here.call("POST", "/device/token", ACCOUNT, {"device": device, "name": "short", "expire_time": "1 hour"})).result
        stream = here.listen(f"channels=device_data.{device}&token={created['token']}")
        other = here.listen(f"channels=device_data.{device}&token={token}")
        assert await stream.start() == await other.start() == 200
        match how:
            case "token":
                assert (await here.call("DELETE", f"/device/token/{created['token']}", ACCOUNT)).status == 200
            case "device":
                assert (await here.call("DELETE", f"/device/{device}", ACCOUNT)).status == 200
            case "expiry":
                here.clock.advance(seconds=3601)
            case "permission":
                engine.delete_token(created["token"])  # past the server
        reason = b": the device was deleted\n\n" if how == "device" else b": the token is no longer valid\n\n"
        parts = [part async for part in parts_of(stream)]
        assert parts[-1] == reason and set(parts[:-1]) == {b":\n\n"}
        await stream.task
        assert other.task.done() == (how == "device") or how == "device"


async def parts_of(stream: Any) -> Any:
    while (part := await stream.next()) is not None:
        yield part


@in_loop
async def test_a_revoked_token_hears_nothing_of_what_waited(tmp_path: Path) -> None:
    async with site(tmp_path, comment_interval=3600) as here:
        device, token = here.make()
        listener = here.engine.engine.create_token(device, "listener").token
        stream = here.listen(f"channels=device_data.{device}&token={listener}")
        assert await stream.start() == 200
        here.engine.engine.delete_token(listener)  # past the server, which finds out with the next event
        await here.call("POST", "/data", token, {"variable": "secret"})
        assert [part async for part in parts_of(stream)] == [b":\n\n", b": the token is no longer valid\n\n"]


@in_loop
async def test_a_stream_of_several_devices_ends_with_the_last(tmp_path: Path) -> None:
    async with site(tmp_path, comment_interval=3600) as here:
        (first, _), (second, token) = here.make(), here.make()
        stream = here.listen(f"channels=device_data.{first},device_data.{second}&token={ACCOUNT}")
        assert await stream.start() == 200
        await here.call("DELETE", f"/device/{first}", ACCOUNT)
        await here.call("POST", "/data", token, {"variable": "a"})
        assert (await stream.event())["payload"][0]["device"] == second
        await here.call("DELETE", f"/device/{second}", ACCOUNT)
        assert await stream.next() == b": the device was deleted\n\n"
        assert await stream.next() is None


@in_loop
async def test_a_listener_that_does_not_read_is_dropped_and_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "DRAIN_S", 0.01)
    async with site(tmp_path, comment_interval=3600) as here:
        device, token = here.make()
        slow, quick = here.listen(hearing(device)), here.listen(hearing(device))
        assert await slow.start() == await quick.start() == 200
        assert await slow.next() == b":\n\n"
        slow.stop_reading()
        body = [{"variable": "a", "value": "x" * 5000} for _ in range(100)]
        while not slow.task.done():
            assert (await here.call("POST", "/data", token, body)).status == 200
            received = 0
            while received < len(body):
                received += len((await quick.event())["payload"])
            listeners = here.app.service.inspector._listeners
            assert all(listener._waiting_bytes < LISTENER_BYTES + 1_000_000 for listener in listeners)
        assert f"the listener is too slow: more than {LISTENER_BYTES} bytes wait for it" in caplog.text
        assert len(here.app.service.inspector._listeners) == 1


@in_loop
async def test_one_large_request_does_not_drop_a_listener(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        device, token = here.make()
        stream = here.listen(hearing(device))
        assert await stream.start() == 200
        body = [{"variable": "a", "value": "x" * 6000} for _ in range(500)]
        assert (await here.call("POST", "/data", token, body)).status == 200
        received = 0
        while received < len(body):
            received += len((await stream.event())["payload"])


@in_loop
async def test_when_the_server_stops_no_stream_begins(tmp_path: Path) -> None:
    async with site(tmp_path, comment_interval=3600) as here:
        device, _ = here.make()
        stream = here.listen(hearing(device))
        assert await stream.start() == 200
        here.app.stop()
        assert [part async for part in parts_of(stream)] == [b":\n\n", b": the server stops\n\n"]
        assert (await here.call("GET", f"/events?{hearing(device)}")).refusal == (503, "The server stops")


# --- over sockets -------------------------------------------------------------------------------------------------------


class Chunks:
    """A raw connection that listens: `next` gives one chunk of the body as it was framed."""

    def __init__(self, server: Server, query: str, headers: str = "") -> None:
        connection = server.connect()
        self.socket = socket.create_connection((connection.host, connection.port), timeout=60)
        self.socket.sendall(f"GET /events?{query} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        self._file = self.socket.makefile("rb")
        self.head = b"".join(iter(self._file.readline, b"\r\n")).decode().lower()
        self.is_open = self.head.startswith("http/1.1 200")

    def next(self) -> bytes:
        size = int(self._file.readline(), 16)
        chunk = self._file.read(size)
        assert self._file.readline() == b"\r\n"
        return chunk

    def event(self) -> Any:
        while (chunk := self.next()) == b":\n\n":
            pass
        assert chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") and chunk.count(b"\n") == 2
        return json.loads(chunk[6:])

    def close(self) -> None:
        self._file.close()
        self.socket.close()


def test_the_head_and_the_token_as_a_header(server: Server, device: Made) -> None:
    path = f"/events?channel=device_data.{device.id}"
    assert server.call("POST", path, server.account).refusal == (404, "Route Not Found")
    chunks = Chunks(server, path.partition("?")[2], f"Token: {device.token}\r\n")
    for line in ("http/1.1 200 ok", "content-type: text/event-stream", "cache-control: no-cache", "access-control-allow-origin: *"):
        assert line + "\r\n" in chunks.head
    chunks.close()


def test_as_many_listen_as_may(server: Server, device: Made) -> None:
    query = f"channels=device_data.{device.id}&token={device.token}"
    opened: list[Chunks] = []
    while len(opened) < 3:  # listeners of tests before may still be on their way out
        chunks = Chunks(server, query)
        if chunks.is_open:
            opened.append(chunks)
        else:
            chunks.close()
    reply = server.call("GET", f"/events?{query}")
    assert reply.refusal == (503, "3 streams are open, as many as the server allows; close one") and reply.headers["retry-after"] == "30"
    for chunks in opened:
        chunks.close()
    while not (chunks := Chunks(server, query)).is_open:
        chunks.close()
    chunks.close()


def test_each_event_is_one_chunk(server: Server, device: Made) -> None:
    chunks = Chunks(server, f"channels=device_inspector.{device.id}%2Cdevice_data.{device.id}&token={device.token}")
    assert chunks.head.startswith("http/1.1 200") and "transfer-encoding: chunked" in chunks.head and "content-length" not in chunks.head
    assert chunks.next() == b":\n\n" == chunks.next()  # at once, and then now and then
    for n in range(3):
        server.send(device, {"variable": "a", "value": n})
        titles = [chunks.event()["payload"][0]["title"] for _ in range(3)]
        assert titles == ["[POST] HTTP Request", "Query params", "Raw Payload"]
        (row,) = chunks.event()["payload"]
        assert row == server.read(device, {"qty": 1})[0]
    chunks.close()


@pytest.mark.parametrize("path", ["/data", "/device/ID/data"])
def test_a_client_that_goes_away_is_told_of(server: Server, device: Made, path: str) -> None:
    chunks = Chunks(server, f"channels=device_inspector.{device.id}&token={device.token}")
    token = device.token if path == "/data" else server.account
    connection = socket.create_connection(chunks.socket.getpeername(), timeout=60)
    head = f"POST {path.replace('ID', device.id)} HTTP/1.1\r\nHost: x\r\nToken: {token}\r\nContent-Length: 100\r\n\r\n["
    connection.sendall(head.encode())
    assert [chunks.event()["payload"][0]["title"] for _ in range(2)] == ["[POST] HTTP Request", "Query params"]
    connection.close()
    assert chunks.event()["payload"][0]["content"] == "The client went away before its body was complete"
    chunks.close()


def test_the_stop_ends_streams_whole(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    device = server.make()
    chunks = Chunks(server, f"channel=device_data.{device.id}&token={server.account}")
    assert chunks.next() == b":\n\n"
    assert server.stop() == 0
    assert chunks.next() == b": the server stops\n\n"
    assert chunks.next() == b""  # the last chunk: the body is whole
    chunks.close()


def test_a_stop_does_not_wait_for_a_listener_that_never_reads(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server = Server(tmp_path / "data")
    device = server.make("immutable")
    connection = server.connect()
    deaf = socket.create_connection((connection.host, connection.port), timeout=60)
    deaf.sendall(f"GET /events?channel=device_data.{device.id}&token={device.token} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert deaf.recv(12) == b"HTTP/1.1 200"
    body = [{"variable": "a", "value": "x" * 6000} for _ in range(500)]
    for _ in range(8):
        server.send(device, *body)
    assert server.stop() == 0
    told = capfd.readouterr().err
    assert "a stream of /events was cut off" in told
    assert "graceful shutdown exceeded" not in told  # what uvicorn says when a connection keeps it waiting
    deaf.close()


def test_a_listener_that_never_reads_costs_others_nothing(server: Server) -> None:
    device = server.make("immutable")
    connection = server.connect()
    deaf = socket.create_connection((connection.host, connection.port), timeout=60)
    deaf.sendall(
        f"GET /events?channel=device_data.{device.id}&token={device.token} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    assert deaf.recv(12) == b"HTTP/1.1 200"
    body = [{"variable": "a", "value": "x" * 6000} for _ in range(500)]
    for _ in range(8):
        server.send(device, *body)
    received = 0
    while part := deaf.recv(1 << 20):  # the server closes it
        received += len(part)
    assert received < 8 * 500 * 6000
    deaf.close()


def test_the_official_python_client_listens(server: Server, device: Made) -> None:
    pytest.importorskip("tagoio_sdk", reason="the official Python client is not installed")
    from tagoio_sdk.infrastructure.api_sse import openSSEListening

    region = {"api": server.url, "sse": server.url + "/events"}
    stream = openSSEListening({"region": region, "token": server.account, "channel": "device_inspector", "resources_id": device.id})
    heard = stream.events()
    for n in range(3):
        server.send(device, {"variable": "a", "value": n})
        payloads = [json.loads(next(heard).data)["payload"] for _ in range(3)]
        assert payloads[2][0]["content"] == f'[{{"variable": "a", "value": {n}}}]'
    stream.close()


def test_the_inspector_module_knows_no_kept_entries() -> None:
    """What nobody hears is not even made: a trace without listeners encodes nothing."""
    made = inspector.Inspector(10, lambda: 0)
    trace = inspector.Trace(made, "0" * 24)
    trace.show("title", object())  # cannot be encoded
    trace.stored([object()])  # type: ignore[list-item]
