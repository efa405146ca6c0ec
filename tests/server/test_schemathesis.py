"""schemathesis against a real server process: every route, with requests that fit its description and with ones that do not.

`make fuzz-http` tries many more (TSENGINE_HTTP_EXAMPLES).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance, unsupported_method

from tests.server.server_process import Made, Server, minutes_ago
from tsengine.server.app import ROUTES
from tsengine.server.openapi import document

EXAMPLES = int(os.environ.get("TSENGINE_HTTP_EXAMPLES", "25"))

NOT_CHECKED = [
    unsupported_method,  # wants 405; the contract (1.6) answers 404 to a method that a path does not offer
    positive_data_acceptance,  # dates, windows, limits and serial numbers in use are rules that a schema does not tell
]


def is_endless(context: schemathesis.HookContext) -> bool:
    """Whether an operation answers with a stream of events, which ends when the client goes: such routes have tests of their own."""
    assert context.operation is not None
    answers = context.operation.definition.raw["responses"].values()
    return any("text/event-stream" in answer.get("content", {}) for answer in answers)


schema = schemathesis.openapi.from_dict(json.loads(document(ROUTES))).exclude(is_endless)


class Fleet:
    """Two devices of the test alone, with everything in them that a path may name."""

    def __init__(self, server: Server) -> None:
        self.devices = server.make("mutable"), server.make("immutable")
        for device in self.devices:
            server.send(
                device,
                *({"variable": name, "value": value, "time": minutes_ago(5)} for name, value in (("a", 1.5), ("b", "x"), ("c", True))),
            )
            server.call("POST", f"/device/{device.id}/params", server.account, {"key": "k", "value": "v"})

    def names(self, server: Server, device: Made) -> dict[str, str]:
        """Return what the fields of paths may hold for a device."""
        parameters = server.call("GET", f"/device/{device.id}/params", server.account).result
        names = {"device_id": device.id, "key": device.id, "parameter_id": parameters[0]["id"]}
        if device is self.devices[1]:
            names["chunk_id"] = server.call("GET", f"/device/{device.id}/chunk", server.account).result[0]["id"]
        return names


@pytest.fixture
def targets(server: Server) -> list[tuple[Made, dict[str, str]]]:
    fleet = Fleet(server)
    return [(device, fleet.names(server, device)) for device in fleet.devices]


@pytest.fixture
def tokens(server: Server) -> dict[str, dict[str, str]]:
    """Return the header of each scheme but the device's."""
    authorization = server.call("POST", "/serviceauth", server.account, {"name": "Gateway"}).result["token"]
    tip = hashlib.sha256(authorization.removeprefix("at").encode()).hexdigest()[:16]
    return {
        "authorization": {"network-token": authorization},
        "tagotip": {"authorization": f"TagoTiP {tip}"},
        "account": {"account-token": server.account},
    }


@pytest.fixture(scope="module")
def session() -> requests.Session:
    return requests.Session()


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])
def test_every_answer_is_as_described(
    case: Case, server: Server, targets: list[tuple[Made, dict[str, str]]], tokens: dict[str, dict[str, str]], session: requests.Session
) -> None:
    source = random.Random(str(case.as_curl_command()))  # the same for the same case, so that hypothesis can shrink it
    device, names = source.choice(targets)
    fields: Any = case.path_parameters or {}
    if case.meta is not None and case.meta.generation.mode.is_positive and source.random() < 0.8:
        case.path_parameters = {name: names.get(name, value) for name, value in fields.items()}
    schemes = {name for choice in case.operation.definition.raw["security"] for name in choice}
    tokens = {"device": {"device-token": device.token}, **tokens}
    headers = next((header for scheme, header in tokens.items() if scheme in schemes), {})
    # A query string has more spellings than a schema tells, and unused ones are ignored. Bodies are held to the letter.
    excluded = NOT_CHECKED if "requestBody" in case.operation.definition.raw else [*NOT_CHECKED, negative_data_rejection]
    case.call_and_validate(base_url=server.url, headers=headers, excluded_checks=excluded, session=session)
