"""What a server may be told: where to listen and every limit, with their defaults."""

from __future__ import annotations

import msgspec

from tsengine.limits import BODY_BYTES

HOST, PORT = "127.0.0.1", 8080


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one server.

    Attributes:
        host, port: where to listen; port 0 takes a free one, which the line `tsengine listens on` names.
        max_body: largest request body, bytes.
        access_log: file that gets a JSON line for each request, or "-" for standard error; "" = none.
        tls_cert, tls_key: files of the certificate (with its chain) and its key, PEM; "" = plain HTTP.
    """

    host: str = HOST
    port: int = PORT
    max_body: int = BODY_BYTES
    access_log: str = ""
    tls_cert: str = ""
    tls_key: str = ""
