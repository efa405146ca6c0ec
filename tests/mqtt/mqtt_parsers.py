"""Payload parsers for the tests of MQTT."""

from __future__ import annotations

from typing import Any


def double(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    """Double numbers, drop what says so, fail where that is asked for."""
    if any(item.get("value") == "fail" for item in payload):
        raise ValueError("as asked for")
    return [
        {**item, "value": item["value"] * 2 if isinstance(item["value"], (int, float)) else f"{item['value']}!"}
        for item in payload
        if item.get("value") != "drop"
    ]
