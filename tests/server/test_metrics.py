"""/metrics: what it counts, and who may read it."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server.raw import Line
from tests.server.server_process import Server


def scrape(server: Server, headers: dict[str, str] | None = None) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample by its name and labels."""
    connection = server.connect()
    connection.request("GET", "/metrics", headers=headers or {})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert (response.status, response.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8"), text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"tsengine_{name}", frozenset(labels.items())


def test_requests_points_and_errors_are_counted(server: Server) -> None:
    device = server.make("immutable")
    before = scrape(server)
    server.send(device, {"variable": "a", "value": 1}, {"variable": "b", "value": 2})
    server.call("POST", "/data", device.token, [{"value": 1}])
    server.call("POST", "/data", "unknown", [])
    server.call("GET", f"/device/{device.id}", server.account)
    server.call("GET", f"/device/{'0' * 24}", server.account)
    server.call("GET", f"/nowhere/{device.token}")
    server.call("OPTIONS", "/data")
    server.call("PROPFIND", "/data")
    after = scrape(server)

    def grown(name: str, **labels: str) -> float:
        return after[key(name, **labels)] - before.get(key(name, **labels), 0)

    assert grown("ingested_points_total") == 2
    assert grown("ingested_bytes_total") == len(b'[{"variable": "a", "value": 1}, {"variable": "b", "value": 2}]')
    assert grown("sent_bytes_total") > 300
    for route, method, status in [
        *(("/data", "POST", "200"), ("/data", "POST", "400"), ("/data", "POST", "401"), ("/device/{device_id}", "GET", "200")),
        *(("/device/{device_id}", "GET", "404"), ("other", "GET", "404"), ("other", "OPTIONS", "204"), ("/data", "other", "404")),
    ]:
        assert grown("http_requests_total", route=route, method=method, status=status) == 1, (route, method, status)
    assert grown("http_request_seconds_count", route="/data", method="POST") == 3
    assert 0 < grown("http_request_seconds_sum", route="/data", method="POST") < 60
    assert grown("http_request_seconds_bucket", route="/data", method="POST", le="+Inf") == 3
    assert grown("errors_total", kind="InputError") == 1
    assert grown("errors_total", kind="unauthorized") == 1
    assert grown("errors_total", kind="not_found") == 3
    assert not any(device.token in value for _, labels in after for _, value in labels)


def test_the_engine_is_shown(server: Server) -> None:
    mutable, immutable = server.make("mutable"), server.make("immutable")
    before = scrape(server)
    server.send(mutable, {"variable": "a", "value": 1})
    assert server.read(mutable, {"qty": 5})  # registers are committed by a read of their device at the latest
    server.send(immutable, *({"variable": "a", "value": n} for n in range(10)))
    third = server.make("immutable")
    after = scrape(server)
    assert after[key("devices")] - before[key("devices")] == 1
    assert after[key("registers")] - before[key("registers")] == 1
    assert after[key("points_unsealed")] - before[key("points_unsealed")] == 10
    assert after[key("log_groups_total")] > before[key("log_groups_total")]
    assert after[key("log_durable_seq")] == after[key("log_applied_seq")] == after[key("log_last_seq")] > before[key("log_last_seq")]
    assert after[key("memtable_bytes")] > 0
    assert after[key("log_staged_bytes")] == 0
    for name in ("segments", "segment_bytes", "seals_total", "compactions_total", "log_bytes", "damaged_segments", "background_errors"):
        assert after[key(name)] >= 0
    assert after["process_resident_memory_bytes", frozenset()] > 1_000_000
    assert third.id


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip", "via"])
def test_what_came_through_a_proxy_needs_the_account_token(server: Server, header: str) -> None:
    device = server.make()
    through = {header: "10.1.1.1"}
    assert server.call("GET", "/metrics", headers=through).refusal == (401, "Authorization denied")
    assert server.call("GET", "/metrics", device.token, headers=through).refusal == (401, "Authorization denied")
    assert key("devices") in scrape(server, {**through, "token": server.account})


def test_what_never_reaches_the_application_is_counted_too(server: Server) -> None:
    before = scrape(server)
    with Line(server) as line:
        line.send(b"this is no HTTP\r\n\r\n")
        assert line.answer().status == 400
    after = scrape(server)
    refused = key("http_requests_total", route="other", method="other", status="400")
    assert after[refused] - before.get(refused, 0) == 1
