"""/metrics: what the server and its engine count, in Prometheus' text format.

Nothing is kept in Prometheus' own objects: the numbers of `Traffic` and of `Engine.stats` are read when they are asked for, so a request
costs no more for being counted. Each server has a registry of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import accumulate
from typing import Any

import falcon.asgi
from prometheus_client import CollectorRegistry, GCCollector, Metric, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from tsengine.engine.engine import Engine
from tsengine.server.envelope import Answer
from tsengine.server.routing import Call, Route
from tsengine.server.service import Service, put
from tsengine.server.traffic import BOUNDS_S, Traffic

FORWARDING_HEADERS = frozenset((b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"))
"""Headers of a proxy: a request that has one did not begin on this machine, though its connection did."""

ENGINE_GAUGES = {
    "devices": ("devices", "Devices"),
    "registers": ("registers", "Registers of mutable devices"),
    "segments": ("segments", "Sealed files"),
    "segment_bytes": ("segment_bytes", "Bytes of sealed files"),
    "points_sealed": ("sealed_points", "Points in sealed files"),
    "points_unsealed": ("unsealed_points", "Points that are only in log and memory"),
    "memtable_bytes": ("memtable_bytes", "Memory of points that are not sealed"),
    "memtables_frozen": ("frozen_memtables", "Memtables that wait to be sealed"),
    "tombstones": ("tombstones", "Deletes that a compaction has yet to carry out"),
    "log_bytes": ("log_bytes", "Bytes of the write-ahead log on disk"),
    "log_staged_bytes": ("log_staged_bytes", "Bytes of records that wait for the next group commit"),
    "log_last_seq": ("log_last_seq", "Last sequence that was given out"),
    "log_durable_seq": ("log_durable_seq", "Last sequence that is durable"),
    "log_applied_seq": ("log_applied_seq", "Last sequence that is readable"),
}
"""Metric -> (name in Engine.stats, what it means)."""

ENGINE_COUNTERS = {
    "log_groups": ("log_groups", "Group commits"),
    "seals": ("seals", "Memtables sealed"),
}

COMPACTION_COUNTERS = {
    "compactions": ("merges", "Merges of sealed files"),
    "compaction_read_bytes": ("bytes_read", "Bytes that merges read"),
    "compaction_written_bytes": ("bytes_written", "Bytes that merges wrote"),
}


class EngineCollector(Collector):
    """The numbers of an engine. Cost of a scrape: a look at every sealed file's entry, none at points."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        stats = self._engine.stats()
        for name, (field, text) in ENGINE_GAUGES.items():
            yield GaugeMetricFamily(f"tsengine_{name}", text, stats[field])
        yield GaugeMetricFamily("tsengine_damaged_segments", "Sealed files that could not be read", len(stats["damaged_segments"]))
        yield GaugeMetricFamily("tsengine_background_errors", "Background tasks whose last run failed", len(stats["background_errors"]))
        for name, (field, text) in ENGINE_COUNTERS.items():
            yield CounterMetricFamily(f"tsengine_{name}", text, stats[field])
        for name, (field, text) in COMPACTION_COUNTERS.items():
            yield CounterMetricFamily(f"tsengine_{name}", text, stats["compaction"][field])


class TrafficCollector(Collector):
    """The numbers of a server's requests."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        traffic = self._traffic
        yield CounterMetricFamily("tsengine_ingested_points", "Points stored by requests", traffic.points)
        yield CounterMetricFamily("tsengine_ingested_bytes", "Bytes of the bodies they came in", traffic.received_bytes)
        yield CounterMetricFamily("tsengine_sent_bytes", "Bytes of the bodies of answers", traffic.sent_bytes)
        yield GaugeMetricFamily("tsengine_mqtt_connections", "MQTT connections that are open", traffic.mqtt_connections)
        requests = CounterMetricFamily("tsengine_http_requests", "Answered requests", labels=("route", "method", "status"))
        spans: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * (len(BOUNDS_S) + 1))
        seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        for (route, method, status), tally in list(traffic.tallies.items()):
            requests.add_metric((route, method, str(status)), sum(tally.counts))
            spans[route, method] = [old + new for old, new in zip(spans[route, method], tally.counts, strict=True)]
            seconds[route, method] += tally.seconds
        yield requests
        times = HistogramMetricFamily("tsengine_http_request_seconds", "From a request's head to its answer", labels=("route", "method"))
        bounds = [*map(str, BOUNDS_S), "+Inf"]
        for labels, counts in spans.items():
            times.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), seconds[labels])
        yield times
        errors = CounterMetricFamily("tsengine_errors", "Failed requests by kind of error", labels=("kind",))
        for kind, count in list(traffic.errors.items()):
            errors.add_metric((kind,), count)
        yield errors


def registry_of(service: Service) -> CollectorRegistry:
    """Return a registry with everything that a server tells."""
    registry = CollectorRegistry()
    for collector in (EngineCollector(service.engine.engine), TrafficCollector(service.traffic)):
        registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class Metrics:
    """/metrics: for the account, and without a token for whoever asks from the machine itself."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._registry = registry_of(service)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        if not is_local(req.scope):
            self._service.gate.account(req.scope["headers"])
        text = await self._service.run(generate_latest, self._registry)
        put(resp, Answer(200, [(b"content-type", CONTENT_TYPE_PLAIN_0_0_4.encode())], text))


def is_local(scope: dict[str, Any]) -> bool:
    """Whether a request comes from this machine, and not through a proxy on it."""
    client = scope.get("client")
    if client is None or any(name in FORWARDING_HEADERS for name, _ in scope["headers"]):
        return False
    try:
        return ip_address(client[0]).is_loopback
    except ValueError:  # a name, or a socket without address
        return False


ROUTES = (
    Route(
        "/metrics",
        Metrics,
        "The server",
        get=Call(summary="Show the numbers of the server for Prometheus", need="local", media="text/plain"),
    ),
)
