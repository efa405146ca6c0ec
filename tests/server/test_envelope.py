"""Which error becomes which status, and that no answer lacks what the clients need."""

from __future__ import annotations

import json
import math

import pytest

from tsengine.errors import (
    BusyError,
    ClosedError,
    CorruptionError,
    InputError,
    LimitError,
    NotFoundError,
    StorageError,
    StorageFullError,
)
from tsengine.server.envelope import Refusal, failure, success
from tsengine.server.wire import BucketRow, js_number, js_text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("no"), 400),
        (LimitError("full"), 400),
        (NotFoundError("gone"), 404),
        (BusyError("busy"), 503),
        (ClosedError("closed"), 503),
        (StorageFullError("disk"), 503),
        (StorageError("fsync"), 500),
        (CorruptionError("block", file="f"), 500),
        (RuntimeError("secret detail"), 500),
        (Refusal(418, "teapot"), 418),
    ],
)
def test_every_error_has_a_status_and_a_message(error: Exception, status: int) -> None:
    answer = failure(error)
    body = json.loads(answer.body)
    assert (answer.status, body["status"]) == (status, False)
    assert body["message"] and "secret" not in body["message"]
    assert (b"retry-after" in dict(answer.headers)) == (status == 503)
    assert dict(answer.headers)[b"content-type"].startswith(b"application/json")


def test_an_item_is_named_by_its_index() -> None:
    for text in ("unit is wrong", "Invalid data at index 3: unit is wrong"):
        body = json.loads(failure(InputError(text, index=3)).body)
        assert body["message"] == "Invalid data at index 3: unit is wrong"
        assert body["field_errors"] == {"3": ["unit is wrong"]}


def test_what_is_missing_is_required() -> None:
    body = json.loads(failure(InputError("variable is required", index=1)).body)
    assert body == {"status": False, "message": "Invalid data at index 1: variable is required", "field_errors": {"1": ["Required"]}}


def test_where_the_syntax_breaks_is_not_told() -> None:
    assert json.loads(failure(InputError("Malformed request syntax: at byte 5")).body)["message"] == "Malformed request syntax"


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (100.0, "100"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (2.0**53, "9007199254740992"),
        (2**62, "4611686018427387904"),
        (math.nan, "null"),
        (-math.inf, "null"),
    ],
)
def test_numbers_are_javascripts(number: float, shown: str) -> None:
    assert success(js_number(number)).body == b'{"status":true,"result":%s}' % shown.encode()


def test_parameters_are_text_as_javascript_makes_it() -> None:
    assert [js_text(value) for value in ("a", 600, 600.0, 0.25, True, None)] == ["a", "600", "600", "0.25", "true", ""]


def test_a_row_of_an_aggregate() -> None:
    row = BucketRow("2024-05-06T07:00:00.000Z", 1.5, "t")
    assert json.loads(success([row]).body)["result"] == [{"time": "2024-05-06T07:00:00.000Z", "value": 1.5, "variable": "t"}]
