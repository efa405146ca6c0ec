"""What a server may be told: where to listen and every limit, with their defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tsengine.limits import (
    BODY_BYTES,
    CONNECTIONS,
    FILE_BYTES,
    FILES_BYTES,
    HEAD_BYTES,
    IDLE_S,
    MQTT_CONNECTIONS,
    MQTT_PACKET_BYTES,
    STALLED_S,
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one server.

    Attributes:
        host, port: where to listen; port 0 takes a free one, which the line `tsengine listens on` names.
        max_body: largest request body, bytes.
        max_file: largest file that is uploaded or imported, bytes.
        max_files: all files together, bytes.
        access_log: file that gets a JSON line for each request, or "-" for standard error; "" = none.
        tls_cert, tls_key: files of the certificate (with its chain) and its key, PEM; "" = plain HTTP.
        max_head: largest line and headers of a request, bytes.
        max_connections: open at a time, as far as the process may open files; who comes beyond that gets 503.
        header_timeout: the head of a request has to arrive within so many seconds, else 408; and a TLS handshake to be done.
        body_timeout: a body's next piece has to arrive, or an answer's to be read, within so many seconds, else 408.
        idle_timeout: how long a connection may be silent between requests, seconds.
        parsers: payload parsers by name, each a function of a module or the text "package.module:function"; see parsers.py.
        parser_timeout: how long a payload parser may run for one request, seconds.
        parser_workers: processes that run payload parsers; each is started when it is first needed.
        rate_limits: most requests a minute of a route ("POST /data"), and of each device ("device"); see rates.py. Empty = no limits.
        max_listeners: streams of /events that may be open at the same time.
        comment_interval: a stream of /events sends a comment when it had nothing to send for so long, seconds; clients want one each 5 s.
        mqtt_port, mqtts_port: where to listen for MQTT, and for MQTT over TLS, on the same host; None = not at all, 0 = a free port.
        mqtt_connections: most MQTT clients at a time.
        mqtt_max_packet: largest MQTT packet, bytes.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    max_body: int = BODY_BYTES
    max_file: int = FILE_BYTES
    max_files: int = FILES_BYTES
    access_log: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    max_head: int = HEAD_BYTES
    max_connections: int = CONNECTIONS
    header_timeout: float = STALLED_S
    body_timeout: float = STALLED_S
    idle_timeout: float = IDLE_S
    parsers: dict[str, str | Callable[..., Any]] = {}
    parser_timeout: float = 2.0
    parser_workers: int = 2
    rate_limits: dict[str, int] = {}
    max_listeners: int = 100
    comment_interval: float = 4.0
    mqtt_port: int | None = None
    mqtts_port: int | None = None
    mqtt_connections: int = MQTT_CONNECTIONS
    mqtt_max_packet: int = MQTT_PACKET_BYTES
