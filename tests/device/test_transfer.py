"""Imports and exports: every format gives back what was stored bit for bit; bad rows, resuming, hostile files."""

from __future__ import annotations

import csv
import io
import struct
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tsengine
from tests.device.transferring import FORMATS, exported, imported, make_device
from tests.model import to_us
from tsengine import Device, Engine, InputError, LimitError, ManualClock, Point
from tsengine.transfer import BadRow, Format, Import, check_import, export_points, export_tagoio, format_of
from tsengine.transfer.exporting import exact_batches


def float_of(bits: int) -> float:
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


ODD_POINTS = [
    Point("odd", float("nan"), 1),
    Point("odd", float_of(0x7FF8000000000123), 2),
    Point("odd", float_of(0xFFF8000000000000), 3),
    Point("odd", float("inf"), 4),
    Point("odd", float("-inf"), 5),
    Point("odd", -0.0, 6),
    Point("odd", 0.0, 7),
    Point("odd", 5e-324, 8),
    Point("odd", 1.7976931348623157e308, 9),
    Point("odd", 0.1, 9),
    Point("odd", 5.0, 10),
    Point("odd", 5, 10),
    Point("odd", 2**53 + 1, 11),
    Point("odd", -(2**63), 12),
    Point("odd", 2**63 - 1, 13),
    Point("whole", 2.0, 1),
    Point("whole", 3.0, 2),
    Point("counter", 2**62 + 1, 1),
    Point("odd", True, 14),
    Point("odd", False, 15),
    Point("odd", "", 16),
    Point("odd", None, 17),
    Point("odd", "12", 18),
    Point("odd", "true", 19),
    Point("odd", 'a "quoted", text;\r\nof two lines\rand a half\n', 20),
    Point("odd", "\ufeff\u0000 ünï¢ode 😀", 21),
    Point("odd", "text", 22, unit=""),
    Point("odd", "text", 23, unit='"'),
    Point(
        "odd", 1.5, 24, unit="°C", group="payload, one", location=(-0.0, 179.99999999999997), metadata={"b": [1, None, "\n"], "a": 1e300}
    ),
    Point("odd", None, 25, location=(90, -180), metadata={}, group="0123456789abcdef01234567"),
    Point("edges", 1.0, "0001-01-01T00:00:00Z"),
    Point("edges", 1.0, "9999-12-31T23:59:59.999999Z"),
    Point("edges", 1.0, -1),
]


def exact(device: Device) -> list[tuple[Any, ...]]:
    """Every point with the bits of its value, in an order of its own."""
    found = []
    for point in device.points(limit=None, order="asc"):
        bits = struct.pack("<d", point.value) if type(point.value) is float else point.value
        place = None if point.location is None else struct.pack("<dd", *point.location)
        metadata = None if point.metadata is None else msgspec.json.encode(point.metadata)
        found.append((point.variable, point.time, type(point.value).__name__, bits, point.unit, point.group, place, metadata))
    return sorted(found, key=repr)


# --- round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("type", ["immutable", "mutable"])
@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_round_trip_keeps_every_bit(db: Engine, format: Format, type: Any, is_sealed: bool) -> None:
    source, target = make_device(db, "source", type=type), make_device(db, "target", type=type)
    source.append_many(ODD_POINTS)
    source.append_many([Point("odd", None, 30), Point("late", 1, 2)])
    if is_sealed:
        db.seal()
    body = exported(source, format)
    assert imported(db, target, body, format).stored == len(ODD_POINTS) + 2
    assert exact(target) == exact(source)
    assert exported(target, format) == body or format in ("parquet", "arrow")


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_device_round_trips(db: Engine, format: Format) -> None:
    assert imported(db, make_device(db, "target"), exported(make_device(db), format), format).stored == 0


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_many_blocks_of_both_kinds_of_number(db: Engine, format: Format) -> None:
    source, target = make_device(db, "source"), make_device(db, "target")
    count = 70_000  # more than one record batch of a scan
    source.append_columns("x", range(count), [float(i) for i in range(count)])
    source.append_columns("x", range(count), list(range(2**60, 2**60 + count)))
    body = exported(source, format)
    imported(db, target, body, format)
    assert exact(target) == exact(source)


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
values = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), texts)
points = st.builds(
    Point,
    st.sampled_from(["a", "b", "ü,\"'"]),
    values,
    st.integers(0, 50),
    unit=st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=25),
    group=st.none() | st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30),
    location=st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
    metadata=st.none() | st.dictionaries(texts, st.none() | st.booleans() | st.integers(-5, 5) | texts, max_size=3),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@example(stored=[Point("a", "\r", 0)], format="csv")
@given(stored=st.lists(points, min_size=1, max_size=12), format=st.sampled_from(FORMATS))
def test_any_points_round_trip(stored: list[Point], format: Format) -> None:
    db = shared_store()
    source, target = make_device(db, "source", type="mutable"), make_device(db, "target")
    source.append_many(stored)
    middle = make_device(db, "middle")
    imported(db, middle, exported(source, format), format)
    imported(db, target, exported(middle, format), format)
    assert exact(middle) == exact(source)
    assert exact(target) == exact(source)
    for device in (source, middle, target):
        db.delete_device(device.id)


_stores: list[Engine] = []


def shared_store() -> Engine:
    """One store for all examples of a property: opening one costs more than the example."""
    if not _stores:
        import atexit
        import tempfile

        folder = tempfile.TemporaryDirectory()
        _stores.append(tsengine.open(folder.name, durability="memory"))
        atexit.register(folder.cleanup)
        atexit.register(_stores[0].close)
    return _stores[0]


def test_an_export_takes_variables_and_bounds(db: Engine) -> None:
    device = make_device(db)
    device.append_many([Point(name, i, i) for i in range(5) for name in ("a", "b", "c")])
    rows = exported(device, "csv", variables=["a", "C"], start=1, end=3).decode().splitlines()
    assert [row.split(",")[0] for row in rows] == ["variable", *"aaaccc"]
    assert rows[1].startswith("a,1970-01-01T00:00:00.000001Z,1,integer,,")
    seen: list[tuple[int, int]] = []
    assert export_points(device, io.BytesIO(), "jsonl", variables="b", progress=lambda *step: seen.append(step)) == 5
    assert seen == [(5, 5)]


# --- reading what others wrote ---------------------------------------------------------------------------------------


def test_values_without_a_type_are_read_as_json(db: Engine) -> None:
    device = make_device(db)
    cells = {
        "5": 5.0,
        "-1.5e3": -1500.0,
        "true": True,
        "false": False,
        "True": "True",
        "05": "05",
        "": None,
        "NaN": "NaN",
        "x": "x",
        ".5": ".5",
    }
    text = "variable,time_us,value\n" + "".join(f"v,{i},{cell}\n" for i, cell in enumerate(cells))
    imported(db, device, text)
    found = [point.value for point in device.points(order="asc")]
    assert found == list(cells.values())
    assert [type(value) for value in found] == [type(value) for value in cells.values()]


def test_times_by_the_name_of_their_column(db: Engine) -> None:
    device = make_device(db)
    imported(db, device, "Variable, time ,value\nv,1970-01-01T01:00:00.000001+01:00,1\n")
    imported(db, device, "\ufefftime_ms,variable\n-2,v\n")
    imported(db, device, '{"variable":"v","time_us":7}\n\n{"variable":"V","time_ms":8,"value":3,"unknown":[]}\n', "jsonl")
    found = [int(point.time.timestamp() * 1_000_000) for point in device.points(order="asc")]
    assert found == [-2000, 1, 7, 8000]
    assert device.last()[0].value == 3.0 and type(device.last()[0].value) is float


def test_a_name_for_files_of_time_and_value(db: Engine) -> None:
    device = make_device(db)
    imported(db, device, "time_us,value\n1,20\n", variable="Outside")
    table = pa.table({"time": pa.array([2], pa.timestamp("s", "Europe/Berlin")), "value": ["text"]})
    file = io.BytesIO()
    pq.write_table(table, file)
    imported(db, device, file.getvalue(), "parquet", variable="outside")
    assert [(point.variable, point.value) for point in device.points(order="asc")] == [("outside", 20.0), ("outside", "text")]
    with pytest.raises(InputError, match="has a column"):
        imported(db, device, "variable,time_us\n", variable="x")


def test_locations_and_metadata_as_json(db: Engine) -> None:
    device = make_device(db)
    imported(db, device, 'variable,time_us,location,metadata,unit,group\nv,1,"{""lat"":1,""lng"":2}","{ ""a"" : 1 }",",",g\n')
    point = device.points()[0]
    assert point.location == (1, 2) and point.metadata == {"a": 1} and point.unit == "," and point.group == "g"
    imported(db, device, '{"variable":"w","time_us":1,"location":{"type":"Point","coordinates":[2,1]}}', "jsonl")
    assert device.last("w")[0].location == (1, 2)


def test_arrow_streams_and_files_are_told_apart(db: Engine) -> None:
    device = make_device(db)
    table = pa.table({"variable": ["a", "b"], "time": pa.array([1, 2], pa.int64()), "value": [1, 2], "other": [None, None]})
    for opened in (pa.ipc.new_file, pa.ipc.new_stream):
        file = io.BytesIO()
        with opened(file, table.schema) as writer:
            writer.write_table(table)
        imported(db, device, file.getvalue(), "arrow")
    assert [point.value for point in device.points()] == [2, 2, 1, 1]


# --- bad rows --------------------------------------------------------------------------------------------------------

BAD_ROWS = {
    "v,2026-01-01,1,,1": "5 cells, but the header has 4",
    "v,yesterday,1,": "time 'yesterday' is not ISO 8601",
    "v,,1,": "time is required",
    ",2026-01-01,1,": "variable is required",
    "a b,2026-01-01,1,": "must not contain",
    "v,2026-01-01,1e999,": "outside the range of a number",
    f"v,2026-01-01,{'x' * 6145},": "at most 6144 bytes",
    'v,2026-01-01,1,"[1]"': "metadata must be a JSON object",
    'v,2026-01-01,1,"{""a"":"': "metadata must be a JSON object",
    'v,2026-01-01,"1"x,': "not CSV",
    "v,2026-01-01,\udcff,": "UTF-8",
}


@pytest.mark.parametrize(("row", "problem"), list(BAD_ROWS.items()))
def test_a_bad_row_is_named_and_its_batch_not_stored(db: Engine, row: str, problem: str) -> None:
    text = f'variable,time,value,metadata\nv,2026-01-01,"two\nlines",\n\n{row}\nv,2026-01-02,3,\n'.encode("utf-8", "surrogateescape")
    device = make_device(db)
    with pytest.raises(InputError, match="line 5: ") as caught:
        imported(db, device, text)
    assert problem in str(caught.value)
    assert device.count() == 0
    left_out: list[BadRow] = []
    job = imported(db, device, text, skip_bad_rows=True, on_bad_row=left_out.append)
    assert (job.stored, job.skipped, [bad.number for bad in left_out]) == (2, 1, [5])
    assert [point.value for point in device.points(order="asc")] == ["two\nlines", 3.0]


@pytest.mark.parametrize("type", ["number", "integer", "boolean", "none", "float"])
def test_a_value_that_is_not_of_its_type_is_bad(db: Engine, type: str) -> None:
    job = imported(db, make_device(db), f"variable,time_us,value,type\nv,1,x,{type}\n", skip_bad_rows=True)
    assert (job.stored, job.skipped) == (0, 1)


@pytest.mark.parametrize(
    "line",
    [
        '{"variable":"v"}',
        '{"variable":"v","time":5}',
        '{"variable":1,"time_us":1}',
        "[]",
        "nonsense",
        '{"variable":"v","time_us":1,"lat":1}',
        "{" * 5000,
        "\udcff",
    ],
)
def test_bad_lines_of_json(db: Engine, line: str) -> None:
    text = f'{{"variable":"v","time_us":1}}\n{line}\n'.encode("utf-8", "surrogateescape")
    with pytest.raises(InputError, match=r"^line 2: "):
        imported(db, make_device(db), text, "jsonl")
    assert imported(db, make_device(db), text, "jsonl", skip_bad_rows=True).skipped == 1


def test_numbers_at_the_edges_of_json(db: Engine) -> None:
    device = make_device(db)
    numbers = {
        "123456789012345678901234567890": 1.2345678901234568e29,
        "9223372036854775808": 2.0**63,
        "-0": -0.0,
        "-0.0": -0.0,
        "1E5": 1e5,
    }
    text = "\n".join(f'{{"variable":"v","time_us":{i},"value":{number}}}' for i, number in enumerate(numbers))
    imported(db, device, text, "jsonl")
    assert [point.value for point in device.points(order="asc")] == list(numbers.values())
    for value, type in (("9223372036854775808", "integer"), ("1.5", "integer"), ('"1"', "boolean"), ("1", "text"), ('"NaN(1)"', "number")):
        line = f'{{"variable":"v","time_us":1,"value":{value},"type":"{type}"}}'
        assert imported(db, device, line, "jsonl", skip_bad_rows=True).skipped == 1, (value, type)


def test_bad_rows_of_tables(db: Engine) -> None:
    table = pa.table(
        {
            "variable": ["v", "a b", None, "v", "v", "v", "v"],
            "time": pa.array([1, 2, 3, None, 5, 6, 7], pa.int64()),
            "value": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
            "value_text": pa.array([None, None, None, None, "two", None, None], pa.string()),
            "metadata": pa.array([None, None, None, None, None, "no json", None], pa.string()),
        }
    )
    file = io.BytesIO()
    pq.write_table(table, file)
    device = make_device(db)
    with pytest.raises(InputError, match=r"row 2: .*row 3: .*row 4: .*row 5: .*row 6: "):
        imported(db, device, file.getvalue(), "parquet")
    assert device.count() == 0
    assert imported(db, device, file.getvalue(), "parquet", skip_bad_rows=True).skipped == 5
    assert [point.value for point in device.points()] == [7.0, 1.0]


@pytest.fixture
def small_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of 100 rows are loaded in bulk; batches have 30."""
    for place in ("engine.writes.BULK_POINTS", "transfer.importing.BULK_POINTS", "transfer.parts.TABLE_POINTS"):
        monkeypatch.setattr(f"tsengine.{place}", 100)
    monkeypatch.setattr("tsengine.transfer.parts.BATCH_POINTS", 30)


def parquet_of(count: int, bad: int | None = None) -> bytes:
    """Return a file of numbers and integers in turn, in row groups of 40."""
    variables = ["v" if i != bad else "a b" for i in range(count)]
    integers = pa.array([i if i % 2 else None for i in range(count)], pa.int64())
    numbers = pa.array([None if i % 2 else float(i) for i in range(count)], pa.float64())
    file = io.BytesIO()
    table = pa.table({"variable": variables, "time": pa.array(range(count), pa.int64()), "value": numbers, "value_int": integers})
    pq.write_table(table, file, row_group_size=40)
    return file.getvalue()


@pytest.mark.usefixtures("small_loads")
@pytest.mark.parametrize("type", ["mutable", "immutable"])
def test_large_tables_are_loaded_in_bulk(db: Engine, type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []
    append = Device.append_arrow
    monkeypatch.setattr(Device, "append_arrow", lambda self, table: loads.append(table.num_rows) or append(self, table))
    device = db.create_device("device", type="mutable") if type == "mutable" else make_device(db)
    assert imported(db, device, parquet_of(250), "parquet").stored == 250
    assert loads == ([100, 100] if type == "immutable" else [])
    found = [point.value for point in device.points(limit=None, order="asc")]
    assert found == list(range(250)) and [isinstance(value, int) for value in found[:2]] == [False, True]


@pytest.mark.usefixtures("small_loads")
def test_a_bad_row_of_a_large_table_stops_it_before_its_batch(db: Engine) -> None:
    device = make_device(db)
    with pytest.raises(InputError, match="row 170: variable 'a b' must not contain"):
        imported(db, device, parquet_of(250, bad=169), "parquet")
    assert device.count() == 160
    other = make_device(db, "other")
    job = imported(db, other, parquet_of(250, bad=169), "parquet", skip_bad_rows=True)
    assert (job.stored, job.skipped, other.count()) == (249, 1, 249)


@pytest.mark.usefixtures("small_loads")
@pytest.mark.parametrize("is_stored", [False, True])
def test_an_import_that_died_within_a_load_goes_on(db: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_stored: bool) -> None:
    """The process ends just before, or just after, the second load is there."""
    device, path = make_device(db), tmp_path / "rows.parquet"
    path.write_bytes(parquet_of(250))
    append = Device.append_arrow

    class Died(BaseException):
        """Stands for the end of the process."""

    def dying(self: Device, table: pa.Table) -> int:
        if device.count():
            if is_stored:
                append(self, table)
            raise Died
        return append(self, table)

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(Device, "append_arrow", dying)
        Import(db, device, path, format="parquet").run()
    again = Import(db, device, path, format="parquet", resume=True)
    assert again.resumed_rows == (200 if is_stored else 100)
    assert again.run() == 250
    assert [point.value for point in device.points(limit=None, order="asc")] == list(range(250))


def test_rows_outside_the_window_of_time_are_named(db: Engine) -> None:
    device = make_device(db, chunk_retention=2)
    with pytest.raises(InputError, match="line 2: Time must be between"):
        imported(db, device, "variable,time,value\nv,2001-01-01,1\n")
    assert imported(db, device, "variable,time,value\nv,2001-01-01,1\n", skip_bad_rows=True).skipped == 1


def test_a_full_device_is_not_a_bad_row(db: Engine) -> None:
    device = make_device(db, point_limit=1)
    with pytest.raises(LimitError):
        imported(db, device, "variable,time_us\nv,1\nv,2\n", skip_bad_rows=True)
    assert device.count() == 0


@pytest.mark.parametrize("header", ["", "a;b", "variable,value", "time,value", "variable,time,time", "variable,time,time_us", '"'])
def test_headers_that_say_too_little(db: Engine, header: str) -> None:
    with pytest.raises(InputError, match=r"column|header"):
        imported(db, make_device(db), f"{header}\nv,1,1\n")


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.parametrize("body", [b"", b"ARROW1", b"PAR1PAR1", bytes(range(50)), b"variable,time\n"])
def test_files_of_another_format(db: Engine, format: Format, body: bytes) -> None:
    with pytest.raises(InputError, match=f"no {format} file|damaged"):
        imported(db, make_device(db), body, format)


def test_a_line_without_end_is_not_read_into_memory(db: Engine) -> None:
    text = b"variable,time,value\n" + b"v,2026-01-01," + b"x" * 3_000_000 + b"\nv,2026-01-01,1\n"
    job = imported(db, make_device(db), text, skip_bad_rows=True)
    assert job.stored == 1 and job.skipped >= 1


def test_formats_by_suffix() -> None:
    assert [format_of(f"a.{suffix}") for suffix in ("csv", "JSONL", "ndjson", "parquet", "arrow")] == [
        "csv",
        "jsonl",
        "jsonl",
        "parquet",
        "arrow",
    ]
    assert format_of("a", "csv") == "csv"
    for name, format in (("a.txt", None), ("a.csv", "xml")):
        with pytest.raises(InputError, match="format"):
            format_of(name, format)


# --- TagoIO's columns, and checks without storing ------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["immutable", "mutable"])
@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_round_trip_in_the_columns_of_tagoio_keeps_every_bit(db: Engine, type: Any, is_sealed: bool, tmp_path: Path) -> None:
    source, target = make_device(db, "source", type=type), make_device(db, "target", type=type)
    source.append_many(ODD_POINTS)
    if is_sealed:
        db.seal()
    path = tmp_path / "export.csv"
    with path.open("wb") as file:
        assert export_tagoio(source, file) == len(ODD_POINTS)
    assert path.read_bytes().startswith(b"variable,value,group,unit,location,metadata,time,id,type\r\n")
    assert check_import(db, target, path, rows_max=len(ODD_POINTS), default_time_us=None) == len(ODD_POINTS)
    assert target.count() == 0
    Import(db, target, path, format="csv").run()
    assert exact(target) == exact(source)
    with path.open(newline="") as text:
        assert {row["id"] for row in csv.DictReader(text)} == {point.id for point in source.points(limit=None)}
    bare = io.BytesIO()
    export_tagoio(source, bare, headers=False)
    assert bare.getvalue() == path.read_bytes().partition(b"\r\n")[2]


def test_rows_without_a_time_get_the_default(db: Engine) -> None:
    device = make_device(db)
    imported(db, device, "variable,value,time\na,1,\na,2,1970-01-01T00:00:00Z\n", default_time_us=5)
    imported(db, device, "variable,value\na,3\n", default_time_us=7)
    assert [(point.value, to_us(point.time)) for point in device.points(order="asc")] == [(2, 0), (1, 5), (3, 7)]
    with pytest.raises(InputError, match="exactly one of the columns"):
        imported(db, device, "variable,value,time,time_us\na,3,,\n", default_time_us=7)


@pytest.mark.parametrize(
    ("type", "text", "problem"),
    [
        ("immutable", "variable,time,value,type\na,0,1,number\n", "line 2: Time must be between"),
        ("immutable", "variable,time,value,type\n" + "a,2026-11-21T00:00:00Z,1,number\n" * 6, "limit of 5"),
        ("mutable", "variable,time\n" + "a,2026-11-21T00:00:00Z\n" * 60_000, "limit of 50000"),
        ("mutable", "variable,time\na,0\na b,0\n", "line 3: variable"),
        ("mutable", "variable,time,value,type\na,0,x,number\na,0,y,number\n", "line 2: value must be a number, not 'x'; line 3"),
        ("mutable", "time\n0\n", "no column 'variable'"),
        ("mutable", "", "no column 'variable'"),
        ("mutable", "variable,time\n" + "a,0\n" * 70_000, "more than 65000 rows"),
    ],
)
def test_what_cannot_be_imported_is_found_before_anything_is_stored(tmp_path: Path, type: Any, text: str, problem: str) -> None:
    with tsengine.open(tmp_path / "data", clock=ManualClock(1_795_262_400_000_000)) as db:
        device = db.create_device("device", type=type, chunk_period="day", chunk_retention=2, chunk_limit=5)
        path = tmp_path / "in.csv"
        path.write_text(text.replace(",0", ",1970-01-01T00:00:00Z"))
        with pytest.raises(InputError, match=problem):
            check_import(db, device, path, rows_max=65_000, default_time_us=None)
        assert device.count() == 0


def test_points_of_one_instant_are_exported_a_batch_at_a_time(tmp_path: Path) -> None:
    """Integers beside numbers, too large for float64, in and out of segments: however many, memory holds a batch of them."""
    count = 40_000
    integers = 2**60 + np.arange(count)
    with tsengine.open(tmp_path / "db", durability="os") as db:
        device = db.create_device("device")
        for part in range(4):
            device.append_columns("a", np.full(count, 1_700_000_000_000_000), integers + part * count)
            device.append_columns("a", np.full(10, 1_700_000_000_000_000), np.arange(10.0))
            if part % 2:
                db.seal()
        batches = list(exact_batches(device, None, None, None))
        assert max(batch.num_rows for batch in batches) <= 70_000
        found = [value for batch in batches for value in batch.column("value_int").to_pylist() if value is not None]
        assert found == [int(value) + part * count for part in range(4) for value in integers]
        numbers = [value for batch in batches for value in batch.column("value").to_pylist() if value is not None]
        assert numbers == list(np.arange(10.0)) * 4
        (newest,), (oldest,) = device.last("a", by="insert"), device.first("a", by="insert")
        assert (newest.value, oldest.value) == (9.0, 2**60)
        page = device.points("a", limit=12, skip=5)
        assert [point.value for point in page] == [4.0, 3.0, 2.0, 1.0, 0.0, *(2**60 + 4 * count - 1 - np.arange(7)).tolist()]
