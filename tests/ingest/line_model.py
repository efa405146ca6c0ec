"""InfluxDB line protocol by regular expressions: the oracle of the compiled parser, for what is well-formed."""

from __future__ import annotations

import re
from typing import Any

NAME = r"(?:\\[,= ]|[^,= \r\n\\]|\\(?![,= ]))+"
MEASUREMENT = r"(?:\\[,= ]|[^, \r\n\\]|\\(?![,= ]))+"
TEXT = r'"(?:\\["\\]|[^"\\]|\\(?!["\\]))*"'
LINE = re.compile(rf"(?P<measurement>{MEASUREMENT})(?P<tags>(?:,{NAME}={NAME})*) +(?P<fields>{NAME}=.*)", re.DOTALL)
VALUE = rf'(?:{TEXT}|[^, \r\n"][^, \r\n]*)'
FIELD = re.compile(rf"(?P<key>{NAME})=(?P<value>{VALUE})", re.DOTALL)
WHOLE = re.compile(rf"({MEASUREMENT}(?:,{NAME}={NAME})* +{NAME}={VALUE}(?:,{NAME}={VALUE})*(?: +-?[0-9]+)?) *(?:\r?\n|\r?\Z)", re.DOTALL)
TAG = re.compile(rf",(?P<key>{NAME})=(?P<value>{NAME})")

Point = tuple[str, Any, int, dict[str, str]]


def points_of(line: str, now_us: int, unit_ns: int = 1) -> list[Point]:
    """Return (variable, value, time, tags) of each field of one line that is well-formed."""
    match = LINE.fullmatch(line)
    assert match is not None
    tags = {unescape(tag["key"]): unescape(tag["value"]) for tag in TAG.finditer(match["tags"])}
    fields = []
    rest = match["fields"]
    while True:
        field = FIELD.match(rest)
        assert field is not None, rest
        fields.append(field)
        rest = rest[field.end() :]
        if not rest.startswith(","):
            break
        rest = rest[1:]
    time_us = int(rest) * unit_ns // 1000 if rest.strip() else now_us
    measurement = unescape(match["measurement"])
    return [(variable_of(measurement, unescape(field["key"])), value_of(field["value"]), time_us, tags) for field in fields]


def points_of_body(body: str, now_us: int, unit_ns: int = 1) -> list[Point]:
    """Return those of all lines of a body that is well-formed; texts may hold line breaks."""
    points, at = [], 0
    while at < len(body):
        if body[at] in " \t\r\n":
            at += 1
        elif body[at] == "#":
            at += len(body[at:].partition("\n")[0])
        else:
            line = WHOLE.match(body, at)
            assert line is not None, body[at : at + 100]
            points += points_of(line[1], now_us, unit_ns)
            at = line.end()
    return points


def unescape(name: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", name)


def variable_of(measurement: str, key: str) -> str:
    name = measurement if key == "value" else f"{measurement}_{key}"
    return re.sub(r"[\x00-\x20\x7f*?!<>.=$-]", "_", name).lower()


def value_of(text: str) -> Any:
    if text.startswith('"'):
        return re.sub(r'\\(["\\])', r"\1", text[1:-1])
    if text in ("t", "T", "true", "True", "TRUE"):
        return True
    if text in ("f", "F", "false", "False", "FALSE"):
        return False
    return int(text[:-1]) if text[-1] in "iu" else float(text)
