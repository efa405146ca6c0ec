"""Arrow streams from outside: what they hold is stored, whatever way they are written, and what is forged is refused."""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import QUICK
from tsengine.arrow import read_body
from tsengine.arrow_sizes import inflated_bytes
from tsengine.core import batch
from tsengine.core.ingest.rows import record_of
from tsengine.errors import InputError, LimitError
from tsengine.limits import ARROW_INFLATED_BYTES
from tsengine.rows import Row

NOW_US = 1_700_000_000_123_456

TABLE = pa.table(
    {
        "variable": ["a", "b", "a", "ü"],
        "time": pa.array([1, 2, 3, 4], pa.timestamp("us", "UTC")),
        "value": [1.5, None, None, 4.5],
        "value_text": [None, "text", None, None],
        "value_bool": [None, None, True, None],
        "unit": ["C", None, "C", "F"],
        "group": [None, "g", None, "0" * 24],
        "metadata": ['{"a":1}', None, None, '{"a":1}'],
        "lat": [1.0, None, None, 2.0],
        "lng": [1.0, None, None, 2.0],
    }
)


def stream(table: Any, batches: int = 1, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for part in table.to_batches(max_chunksize=max(1, table.num_rows // batches)):
            writer.write_batch(part)
    return bytes(sink.getvalue())


def rows_of(body: bytes) -> list[Row]:
    table = read_body(body, NOW_US)
    if table is None:
        return []
    table.assign([1])
    return batch.rows(record_of(table))


PLAIN = stream(TABLE)
ROWS = rows_of(PLAIN)
CODED = TABLE.set_column(0, "variable", TABLE["variable"].dictionary_encode()).set_column(5, "unit", TABLE["unit"].dictionary_encode())


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("batches", [1, 4])
@pytest.mark.parametrize("table", [TABLE, CODED], ids=["plain", "coded"])
def test_every_way_of_writing_gives_the_same_rows(table: Any, batches: int, compression: str | None) -> None:
    body = stream(table, batches, compression=compression, emit_dictionary_deltas=True)
    assert rows_of(body) == ROWS
    assert (inflated_bytes(body) > 0) == (compression is not None)


def test_views_and_large_texts() -> None:
    for type in (pa.large_string(), pa.string_view()):
        columns = {name: TABLE[name].cast(type) if TABLE[name].type == pa.string() else TABLE[name] for name in TABLE.column_names}
        assert rows_of(stream(pa.table(columns))) == ROWS


def test_a_stream_without_rows_or_at_any_address() -> None:
    assert rows_of(stream(TABLE.slice(0, 0))) == []
    for shift in range(1, 8):
        assert rows_of(memoryview(b"x" * shift + PLAIN)[shift:]) == ROWS  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_bomb_is_refused_before_it_is_inflated(compression: str) -> None:
    count = ARROW_INFLATED_BYTES // 16
    columns = {"variable": pa.nulls(count), "time": np.zeros(count, np.int64), "value": np.zeros(count), "lat": np.zeros(count)}
    body = stream(pa.table(columns), compression=compression)
    assert len(body) < ARROW_INFLATED_BYTES // 20
    before = pa.total_allocated_bytes()
    with pytest.raises(LimitError, match=f"at most {ARROW_INFLATED_BYTES} are allowed"):
        read_body(body, NOW_US)
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_a_dictionary_may_be_a_bomb_too() -> None:
    coded = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array(["x" * ARROW_INFLATED_BYTES]))
    table = pa.table({"variable": coded, "time": [1], "value": [1.0]})
    with pytest.raises(LimitError, match="inflates to"):
        read_body(stream(table, compression="zstd"), NOW_US)


def test_a_claim_that_is_a_lie_is_refused() -> None:
    table = pa.table({"variable": ["t"] * 1_000, "time": list(range(1_000)), "value": [0.0] * 1_000})
    body = stream(table, compression="zstd")
    claim = struct.pack("<q", 8_000)
    assert body.count(claim) >= 2
    for lie in (0, 1, 7_992, 8_008, 2**20, 2**62, -2):
        at = body.rindex(claim)
        with pytest.raises(InputError):
            read_body(body[:at] + struct.pack("<q", lie) + body[at + 8 :], NOW_US)


def test_more_rows_than_a_batch_are_refused() -> None:
    nulls = pa.table({"variable": pa.nulls(2_000_000), "time": pa.nulls(2_000_000)})
    with pytest.raises(LimitError, match="a batch of 2000000 points is too large"):
        read_body(stream(nulls), NOW_US)


def test_times_that_do_not_fit_are_refused() -> None:
    for unit in ("s", "ms"):
        table = pa.table({"variable": ["t"], "time": pa.array([2**60], pa.timestamp(unit)), "value": [1.0]})
        with pytest.raises(InputError, match="years 1 to 9999"):
            read_body(stream(table), NOW_US)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1.0]]),
        pa.array([{"a": 1}]),
        pa.array([b"x"]),
        pa.array([1], pa.date32()),
        pa.array([None], pa.null()),
        pa.array([1], pa.decimal128(5)),
        pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array(["x"])),
        pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array([1.0])),
    ],
    ids=lambda column: str(column.type)[:20],
)
def test_columns_of_other_types_are_refused_or_ignored(column: Any) -> None:
    good: dict[str, Any] = {"variable": ["t"], "time": [1], "value": [1.0]}
    for name in ("variable", "time", "value", "value_bool", "value_text", "unit", "group", "metadata"):
        try:
            rows_of(stream(pa.table({**good, name: column})))
        except InputError:
            continue
    assert len(rows_of(stream(pa.table({**good, "other": column})))) == 1


@pytest.mark.parametrize(
    "body", [PLAIN, stream(CODED, 2, compression="zstd"), stream(CODED, compression="lz4")], ids=["plain", "zstd", "lz4"]
)
def test_a_stream_cut_anywhere_is_refused_or_has_fewer_rows(body: bytes) -> None:
    for end in range(len(body)):
        try:
            found = rows_of(body[:end])
        except InputError:
            continue
        assert found == ROWS[: len(found)]  # cut between two messages


FORGE = """
import random, sys
import pyarrow as pa
from tests.ingest.test_arrow_body import CODED, PLAIN, TABLE, rows_of, stream
from tsengine.errors import InputError
random_source = random.Random(20261121)
bodies = [PLAIN, stream(CODED, 2, compression="zstd"), stream(CODED, compression="lz4"), stream(TABLE, 4)]
read = refused = 0
for _ in range(int(sys.argv[1])):
    body = bytearray(random_source.choice(bodies))
    for _ in range(random_source.randint(1, 4)):
        at = random_source.randrange(len(body))
        body[at] = random_source.choice((0, 1, 127, 128, 255, random_source.randrange(256)))
    try:
        rows_of(bytes(body))
        read += 1
    except InputError:
        refused += 1
print(read, refused)
"""


def test_forged_streams_are_refused_or_read_and_never_crash() -> None:
    """In a process of its own, since a crash is what is looked for."""
    done = subprocess.run([sys.executable, "-c", FORGE, "20000"], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    read, refused = map(int, done.stdout.split())
    assert read > 100
    assert refused > 100


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(InputError):
        read_body(body, NOW_US)
