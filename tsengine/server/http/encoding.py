"""Request bodies as they were before the client compressed them: gzip, deflate and Zstandard, never more than the limit.

One place for every route. The limit of a body holds before and after: inflating stops one byte behind it, so a bomb costs the memory
and the time of one body of that size.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from tsengine.server.envelope import Header, Refusal

ENCODINGS = ("gzip", "deflate", "zstd")

MEMBERS_MAX = 64
"""Streams that may follow each other in one body, as some compressors write with several threads. Each costs a copy of the rest."""

WINDOW_LOG_MAX = 23
"""Zstandard frames may make their reader hold 8 MiB, as RFC 9659 has it for HTTP."""


def encoding_of(headers: Iterable[Header]) -> str:
    """Return the encoding of a request's body, "" for none.

    Raises:
        Refusal: 415; it is unknown, or there is more than one.
    """
    named = [value for name, value in headers if name == b"content-encoding"]
    text = b",".join(named).decode("latin-1").strip().lower()
    if text in ("", "identity"):
        return ""
    text = text.removeprefix("x-")
    if text not in ENCODINGS:
        raise Refusal(415, f"Content-Encoding must be one of {', '.join(ENCODINGS)}, one alone, not {text[:100]!r}")
    return text


def expand(body: bytes, encoding: str, max_body: int) -> bytes:
    """Return what a body was before it was compressed.

    Raises:
        Refusal: 400, it is truncated or corrupt; 413, it is longer than max_body.
    Cost: memory and time of a body of max_body bytes at most, whatever it would become.
    """
    if not body or not encoding:  # some clients name an encoding for the empty body, too
        return body
    parts: list[bytes] = []
    room = max_body + 1  # one byte too many tells that there is more
    try:
        for _ in range(MEMBERS_MAX):
            stream: Any = _stream(encoding)
            part: bytes = stream.decompress(body, room)
            parts.append(part)
            room -= len(part)
            if room <= 0:
                raise too_large(max_body)
            if not stream.eof:
                raise Refusal(400, f"The {encoding} body is truncated")
            body = stream.unused_data
            if not body:
                return b"".join(parts) if len(parts) > 1 else part
    except (zlib.error, zstd.ZstdError) as error:
        raise Refusal(400, f"The {encoding} body is corrupt: {error}") from None
    raise Refusal(400, f"The {encoding} body has more than {MEMBERS_MAX} parts")


def _stream(encoding: str) -> Any:
    if encoding == "zstd":
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX})
    return zlib.decompressobj(wbits=31 if encoding == "gzip" else 15)


def too_large(max_body: int) -> Refusal:
    return Refusal(413, f"The request body is larger than max_body, {max_body} bytes; send the data in smaller requests")
