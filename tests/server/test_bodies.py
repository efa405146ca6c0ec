"""Every form of body over HTTP: the same points give the same rows, and a broken one stores nothing."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from tests.ingest.forms import COLUMN_TYPES, ROW_TYPES, columns_of
from tests.server.server_process import Made, Server
from tsengine.ingest.bodies import ARROW_TYPE, COLUMNS_TYPE, JSON_TYPE, LINE_TYPE

SEED = 20_261_122
START_MS = int((datetime.now(UTC) - timedelta(hours=1)).timestamp()) * 1_000

POINTS: list[dict[str, Any]] = [
    {
        "variable": f"v{number % 3}",
        "value": (number + 0.5, True, "a text")[number % 3],
        "time": START_MS + 1_000 * number,
        "metadata": {"n": str(number % 2)},
    }
    for number in range(24)
]


def arrow_body(points: list[dict[str, Any]]) -> bytes:
    def column(kind: type) -> list[Any]:
        return [point["value"] if type(point["value"]) is kind else None for point in points]

    table = pa.table(
        {
            "variable": [point["variable"] for point in points],
            "time": pa.array([point["time"] for point in points], pa.timestamp("ms")),
            "value": column(float),
            "value_bool": column(bool),
            "value_text": column(str),
            "metadata": [msgspec.json.encode(point["metadata"]).decode() for point in points],
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def line_body(points: list[dict[str, Any]]) -> bytes:
    def text(value: Any) -> str:
        return f'"{value}"' if isinstance(value, str) else str(value)

    return "\n".join(
        f"{point['variable']},n={point['metadata']['n']} value={text(point['value'])} {point['time']}" for point in points
    ).encode()


FORMS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    **ROW_TYPES,
    **{form: lambda points, encode=encode: encode(columns_of(points, sizes=[5])) for form, encode in COLUMN_TYPES.items()},  # type: ignore[misc]
    ARROW_TYPE: arrow_body,
    f"{LINE_TYPE}; precision=ms": line_body,
}


def rows_of(server: Server, device: Made) -> list[dict[str, Any]]:
    return [{key: part for key, part in row.items() if key not in ("id", "device", "group")} for row in server.read(device, {"qty": 100})]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(server: Server, any_device: Made, form: str) -> None:
    expected = server.make("immutable")
    server.send(expected, *POINTS)
    headers = {"content-type": form}
    assert server.call("POST", "/data", any_device.token, FORMS[form](POINTS), headers=headers).result == "24 Data Added"
    assert rows_of(server, any_device) == rows_of(server, expected)
    groups = {row["group"] for row in server.read(any_device, {"qty": 100})}
    assert len(groups) == 1  # one request, one automatic group
    zipped = {**headers, "content-encoding": "gzip"}
    place = f"/device/{any_device.id}/data"
    assert server.call("POST", place, server.account, gzip.compress(FORMS[form](POINTS)), headers=zipped).result == "24 Data Added"


@pytest.mark.parametrize("form", FORMS)
def test_a_broken_body_stores_nothing(server: Server, device: Made, form: str) -> None:
    random_source = random.Random(SEED)
    body = FORMS[form](POINTS)
    connection = server.connect()
    stored = 0
    for number in range(300):
        broken = bytearray(body)
        if number % 2:
            broken = broken[: random_source.randrange(1, len(broken))]
        for _ in range(random_source.randint(1, 3)):
            broken[random_source.randrange(len(broken))] = random_source.randrange(256)
        connection.request("POST", "/data", bytes(broken), {"token": device.token, "content-type": form})
        response = connection.getresponse()
        answer = msgspec.json.decode(response.read())
        assert (response.status == 200) is answer["status"]
        assert response.status in (200, 400), answer
        stored += int(answer["result"].split()[0]) if response.status == 200 else 0
    connection.close()
    assert server.call("GET", f"/device/{device.id}/data_amount", server.account).result == stored


@pytest.mark.parametrize(
    ("form", "body", "message"),
    [
        (
            COLUMNS_TYPE,
            b'{"variable":"t","value":[1,2,[]]}',
            "Invalid data at index 2: value: Expected `bool | float | str | null`, got `array`",
        ),
        (COLUMNS_TYPE, b'{"variable":["t","a b"],"value":1}', "Invalid data at index 1: variable 'a b' must not contain any of"),
        (COLUMNS_TYPE, b'{"variable":"t","value":[1,2],"time":[1]}', "columns must have the same length: value has 2 cells, time has 1"),
        (COLUMNS_TYPE, b'{"variable":"t","value":[1,2', "Malformed request syntax"),
        (LINE_TYPE, b"a value=1\nb value=x", "Invalid data at index 1: line 2: invalid value 'x'; text goes in quotes"),
        (JSON_TYPE, b'{"variable":"t","value":[1,2]}', "Invalid data at index 0: value: Expected `bool | float | str | null`, got `array`"),
        (ARROW_TYPE, b"no arrow", "Malformed Arrow stream"),
    ],
)
def test_refusals_name_what_is_wrong(server: Server, device: Made, form: str, body: bytes, message: str) -> None:
    status, found = server.call("POST", "/data", device.token, body, headers={"content-type": form}).refusal
    assert (status, found[: len(message)]) == (400, message)


def test_columns_meet_the_same_limits_of_a_device(server: Server) -> None:
    device = server.make("immutable")
    headers = {"content-type": COLUMNS_TYPE}
    body = msgspec.json.encode({"variable": "t", "value": [1, 2], "time": [START_MS, 1]})
    status, message = server.call("POST", "/data", device.token, body, headers=headers).refusal
    assert (status, message.startswith("Time must be between")) == (400, True)
    registers = server.make()
    body = msgspec.json.encode({"variable": "t", "value": [1] * 50_001})
    status, message = server.call("POST", "/data", registers.token, body, headers=headers).refusal
    assert (status, message) == (400, "The device has reached the limit of 50000 data registers")
    assert server.read(device) == server.read(registers) == []
