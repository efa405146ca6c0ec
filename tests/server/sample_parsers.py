"""Payload parsers for tests: what people write, and what nobody should."""

from __future__ import annotations

import logging
import os
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import msgspec


def seen(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    """Store what a parser is given."""
    shown = payload.hex() if isinstance(payload, bytes) else msgspec.json.encode(payload).decode()
    return [
        {"variable": "payload", "value": shown, "unit": type(payload).__name__},
        {"variable": "raw", "value": str(raw_payload == payload)},
        {"variable": "device", "value": msgspec.json.encode(device).decode()},
    ]


def hexadecimal(payload: str, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    """Decode a text of hexadecimal digits: a temperature in tenths, then a humidity."""
    data = bytes.fromhex(payload)
    return [
        {"variable": "temperature", "value": int.from_bytes(data[:2], "big") / 10, "unit": "C"},
        {"variable": "humidity", "value": data[2], "unit": "%", "time": datetime.now(UTC)},
    ]


def rename(payload: list[dict[str, Any]], raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    """Change the payload in place, as the second of two parsers may."""
    for item in payload:
        item["variable"] = "renamed_" + item["variable"]
    payload.append({"variable": "raw", "value": str(raw_payload)})
    return payload


def one(payload: Any, raw_payload: Any, device: dict[str, Any]) -> dict[str, Any]:
    return {"variable": "one", "value": True}


def nothing(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    return []


def loop(payload: Any, raw_payload: Any, device: dict[str, Any]) -> None:
    print("begins")
    while True:
        pass


def process(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    """Tell the process it runs in; loop if that is asked for."""
    print("process", os.getpid())
    while payload == "loop":
        pass
    return [{"variable": "process", "value": os.getpid()}]


def stubborn(payload: Any, raw_payload: Any, device: dict[str, Any]) -> None:
    while True:
        try:
            threading.Event().wait()
        except BaseException:
            continue


def fail(payload: Any, raw_payload: Any, device: dict[str, Any]) -> None:
    raise KeyError("temperature")


def leave(payload: Any, raw_payload: Any, device: dict[str, Any]) -> None:
    sys.exit("good bye")


def die(payload: Any, raw_payload: Any, device: dict[str, Any]) -> None:
    os._exit(3)


def abort(payload: Any, raw_payload: Any, device: dict[str, Any]) -> None:
    os.abort()


def mute(payload: Any, raw_payload: Any, device: dict[str, Any]) -> None:
    """Close everything, as a daemon does, and go on."""
    os.closerange(3, 1024)
    while True:
        pass


def verbose(payload: Any, raw_payload: Any, device: dict[str, Any]) -> None:
    raise ValueError("x" * 10_000_000)


def hungry(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"variable": "size", "value": len(bytearray(1 << 40))}]


def too_much(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"variable": "a", "value": "x" * 1000}] * 11_000


def forgetful(payload: Any, raw_payload: Any, device: dict[str, Any]) -> None:
    pass


def numbers(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[Any]:
    return [{"variable": "a"}, 5]


def foreign(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"variable": "a", "value": threading.Event()}]


def endless(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"variable": "a", "value": float("inf")}]


def surrogate(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"variable": "a", "value": "\ud800"}]


def unnamed(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"variable": "a"}, {"value": 1}]


async def later(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    return []


def talk(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    """Write in every way there is; the bytes past Python must not be taken for an answer."""
    print("printed", payload)
    print("to the other", file=sys.stderr)
    logging.getLogger("decoder").warning("logged")
    os.write(1, b"R\x02\x00\x00\x00[]")
    print("without an end", end="")
    return [{"variable": "said", "value": 4}]


def chatter(payload: Any, raw_payload: Any, device: dict[str, Any]) -> list[dict[str, Any]]:
    for n in range(100_000):
        print("line", n)
    return []


not_a_function = 5
