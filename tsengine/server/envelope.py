"""The shape of every answer: success, failure, and which error becomes which status and message.

Clients depend on three rules. Every failure has a 4xx or 503 status and a top-level text `message`; every success has a
`result` that is not null; every body is JSON. A 5xx makes the JavaScript SDK repeat the request, so it is kept for the
cases in which nothing was stored and a repetition helps.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from tsengine.errors import BusyError, ClosedError, InputError, NotFoundError, StorageFullError

logger = logging.getLogger("tsengine.server")

Header = tuple[bytes, bytes]

JSON_HEADERS: list[Header] = [(b"content-type", b"application/json; charset=utf-8"), (b"access-control-allow-origin", b"*")]
PREFLIGHT_HEADERS: list[Header] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"Content-Type, Cache-Control, Pragma, X-Requested-With, Authorization, Account-Token, Profile-Token, Device-Token, Token",
    ),
    (b"access-control-max-age", b"86400"),
]

BUSY_RETRY_S, FULL_RETRY_S = 1, 30
"""Seconds that a client is asked to wait: a busy store clears within a commit, a full disk needs a person."""

MALFORMED = "Malformed request syntax"

_encode = msgspec.json.Encoder().encode


class Refusal(Exception):
    """A request that the server does not carry out; its status and message are the answer.

    Attributes:
        status: the HTTP status.
        field_errors: for each wrong field (or index of a data item) what is wrong with it.
        retry_after_s: seconds the client should wait, or None.
    """

    def __init__(
        self, status: int, message: str, *, field_errors: dict[str, list[str]] | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.field_errors = field_errors
        self.retry_after_s = retry_after_s


class Answer(NamedTuple):
    """What goes out: status, extra headers and body."""

    status: int
    headers: list[Header]
    body: bytes


def denied() -> Refusal:
    """The one answer to a missing, unknown, expired or unfit token; it does not tell which."""
    return Refusal(401, "Authorization denied")


def route_not_found() -> Refusal:
    return Refusal(404, "Route Not Found")


def device_not_found() -> Refusal:
    return Refusal(404, "Device not found")


def wrong_query(field: str, problem: str) -> Refusal:
    return Refusal(400, "Error on Query String parameters", field_errors={field: [problem]})


def wrong_body(field: str, problem: str) -> Refusal:
    return Refusal(400, "Error on Body parameters", field_errors={field: [problem]})


def success(result: Any, status: int = 200) -> Answer:
    """Return the answer that carries this result, which must not be None."""
    return Answer(status, JSON_HEADERS, _encode({"status": True, "result": result}))


def error_kind(error: Exception) -> str:
    """Return the name under which a failure is counted: the class of an error of the engine, or what a refusal's status is called."""
    return HTTPStatus(error.status).name.lower() if isinstance(error, Refusal) else type(error).__name__


def failure(error: Exception, request_id: str = "") -> Answer:
    """Return the answer that an exception stands for; an unforeseen one is logged, with the request's id, and becomes 500."""
    refusal = refusal_of(error, request_id)
    body: dict[str, Any] = {"status": False, "message": str(refusal)}
    if refusal.field_errors:
        body["field_errors"] = refusal.field_errors
    headers = JSON_HEADERS
    if refusal.retry_after_s is not None:
        headers = [*headers, (b"retry-after", b"%d" % refusal.retry_after_s)]
    return Answer(refusal.status, headers, _encode(body))


def refusal_of(error: Exception, request_id: str) -> Refusal:
    """Return status and message of an exception; an unforeseen one is logged, with the request's id, and becomes 500."""
    match error:
        case Refusal():
            return error
        case InputError(index=int(index)):
            prefix = f"Invalid data at index {index}: "
            problem = str(error).removeprefix(prefix)
            field_error = "Required" if problem.endswith(" is required") else problem  # the contract's word for what is missing
            return Refusal(400, prefix + problem, field_errors={str(index): [field_error]})
        case InputError():
            # The engine adds where the syntax breaks; clients compare the text of the contract.
            return Refusal(400, MALFORMED if str(error).startswith(MALFORMED) else str(error))
        case NotFoundError():
            return Refusal(404, str(error))
        case BusyError() | ClosedError():
            return Refusal(503, str(error), retry_after_s=BUSY_RETRY_S)
        case StorageFullError():
            return Refusal(503, str(error), retry_after_s=FULL_RETRY_S)
        case _:
            logger.error("unforeseen error while answering request %s", request_id, exc_info=error)
            return Refusal(500, f"Internal error; the server's log has the cause under request {request_id}")
