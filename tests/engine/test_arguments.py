"""What a caller may get wrong: each is an error that says what is wrong, and the store goes on, also after it was opened again."""

from __future__ import annotations

import copy
import math
import os
import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tsengine
from tsengine import ClosedError, CorruptionError, Device, Engine, InputError, NotFoundError, commands
from tsengine.commands import EditRegisters

NOW_US = int(datetime.now(UTC).timestamp() * 1e6)
NOW, FAR_FUTURE = np.datetime64(NOW_US, "us").astype("datetime64[s]"), np.datetime64(2**62, "s")
"""The second would wrap round in microseconds."""

SURROGATE = "\ud800"


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = tmp_path_factory.mktemp("store") / "data"
    with tsengine.open(path, durability="os") as opened:
        yield opened
    with tsengine.open(path) as again:  # whatever was refused is not in the log
        assert again.check().problems == []


@pytest.fixture(scope="module")
def columns(db: Engine) -> Device:
    device = db.create_device("columns")
    device.append("v", 1.5)
    return device


@pytest.fixture(scope="module")
def registers(db: Engine) -> Device:
    device = db.create_device("registers", type="mutable")
    device.append("v", 1.5)
    return device


CREATE: list[tuple[dict[str, Any], str]] = [
    ({"name": 5}, "name must be text of 3 to 100 characters, not 5"),
    ({"name": f"abc{SURROGATE}"}, "name must be Unicode text"),
    ({"description": 5}, "description must be text, not 5"),
    ({"description": SURROGATE}, "description must be Unicode text"),
    ({"serial": 5}, "serial must be text, not 5"),
    ({"serial": SURROGATE}, "serial must be Unicode text"),
    ({"tags": [("a", SURROGATE)]}, "the value of a tag must be Unicode text"),
    ({"tags": 5}, "tags must be"),
    ({"active": "yes"}, "active must be True or False, not 'yes'"),
    ({"visible": None}, "visible must be True or False, not None"),
    ({"extra": 5}, "extra must be a dict or None, not 5"),
    ({"extra": {"a": object()}}, "a value cannot be stored: Encoding objects of type object is unsupported"),
    ({"extra": {1: 2}}, "a value cannot be stored: Expected `str`, got `int`"),
    ({"extra": {"a": 2**70}}, "a value cannot be stored: can't serialize ints"),
    ({"chunk_retention": 2**70}, "a value cannot be stored: can't serialize ints"),
    ({"point_limit": -1}, "point_limit must be a whole number or None, not -1"),
]


@pytest.mark.parametrize(("fields", "problem"), CREATE)
def test_a_device_that_cannot_be_is_refused_and_the_log_goes_on(db: Engine, columns: Device, fields: dict[str, Any], problem: str) -> None:
    """A description that is no text once was logged, could not be read, and the store not be opened again."""
    with pytest.raises(InputError) as failure:
        db.create_device(**{"name": "a device", **fields})
    assert problem in str(failure.value)
    if fields.keys() <= {"name", "description", "serial", "tags", "active", "visible", "extra"}:
        with pytest.raises(InputError):
            db.edit_device(columns.id, **fields)
    columns.append("v", 1.5)


@pytest.mark.parametrize("value", [object(), 2**64])
def test_a_command_that_could_not_be_read_is_not_written(value: Any) -> None:
    with pytest.raises(InputError, match="a value cannot be stored"):
        commands.encode(EditRegisters(1, ((1, {"value": value}),)))
    with pytest.raises(InputError, match="a value cannot be stored: Expected `int`"):
        commands.encode(commands.DeleteDevice("1"))  # type: ignore[arg-type]


CALLS: list[tuple[str, Callable[[Engine, Device, Device], object]]] = [
    ("points must be a list, not 5", lambda db, columns, registers: columns.append_many(5)),  # type: ignore[arg-type]
    ("points must be a list, not None", lambda db, columns, registers: registers.append_many(None)),  # type: ignore[arg-type]
    ("items must be a list, not 5", lambda db, columns, registers: registers.edit(5)),  # type: ignore[arg-type]
    ("body must be bytes, not NoneType", lambda db, columns, registers: columns.ingest(None)),  # type: ignore[arg-type]
    ("content_type must be text, not None", lambda db, columns, registers: columns.ingest(b"{}", None)),  # type: ignore[arg-type]
    ("is outside the years 1 to 9999", lambda db, columns, registers: registers.append("v", 1, time=FAR_FUTURE)),
    ("is outside the years 1 to 9999", lambda db, columns, registers: columns.points(end=FAR_FUTURE)),
    (
        "time at index 1 is outside the years",
        lambda db, columns, registers: columns.append_columns("v", [NOW, FAR_FUTURE], [1, 2]),
    ),
    ("value has masked cells", lambda db, columns, registers: columns.append_columns("v", [NOW_US], np.ma.array([1.0], mask=[True]))),
    ("time has masked cells", lambda db, columns, registers: columns.append_columns("v", np.ma.array([NOW_US], mask=[True]), [1.0])),
    ("variable must be text, not None", lambda db, columns, registers: columns.read(None)),  # type: ignore[arg-type]
    ("variable must be Unicode text", lambda db, columns, registers: columns.read(SURROGATE)),
    ("variables must be Unicode text", lambda db, columns, registers: registers.points(SURROGATE)),
    ("Filter using ID(s) is not supported", lambda db, columns, registers: columns.read("v", ids="x")),
    ("Filter using ID(s) is not supported", lambda db, columns, registers: columns.scan("v", ids="x")),
    ("functions must be text or a list of it, not None", lambda db, columns, registers: columns.aggregate("v", None)),  # type: ignore[arg-type]
    ("the id of a chunk must be text, not 5", lambda db, columns, registers: columns.delete_chunk(5)),  # type: ignore[arg-type]
    ("the id of a register must be text, not None", lambda db, columns, registers: registers.get(None)),  # type: ignore[arg-type]
    ("the id or serial of a device must be text", lambda db, columns, registers: db.device(5)),  # type: ignore[arg-type]
    ("the id or serial of a device must be text", lambda db, columns, registers: db.delete_device(None)),  # type: ignore[arg-type]
    ("name must be text, not 5", lambda db, columns, registers: db.devices(name=5)),  # type: ignore[arg-type]
    ("topic must be text, not None", lambda db, columns, registers: db.publish(columns.id, None, b"")),  # type: ignore[arg-type]
    ("payload, if it is not bytes, must be text", lambda db, columns, registers: db.publish(columns.id, "a", 5)),  # type: ignore[arg-type]
    ("the path of a folder must be text or a pathlib.Path", lambda db, columns, registers: db.backup(None)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("problem", "call"), CALLS)
def test_a_call_with_something_else_says_what_it_takes(
    db: Engine, columns: Device, registers: Device, problem: str, call: Callable[[Engine, Device, Device], object]
) -> None:
    before = columns.count(), registers.count()
    with pytest.raises(InputError) as failure:
        call(db, columns, registers)
    assert problem in str(failure.value)
    assert (columns.count(), registers.count()) == before


def test_an_error_of_the_callers_generator_comes_through_and_nothing_is_stored(columns: Device) -> None:
    def points() -> Iterator[dict[str, Any]]:
        yield {"variable": "generated", "value": 1}
        raise TypeError("of the caller")

    with pytest.raises(TypeError, match="of the caller"):
        columns.append_many(points())
    assert columns.count("generated") == 0


def test_arrays_without_a_masked_cell_and_coarse_times_are_taken(columns: Device) -> None:
    now = np.datetime64(NOW_US, "us")
    for unit in ("s", "ms", "us", "ns"):
        assert columns.append_columns("coarse", np.array([now]).astype(f"datetime64[{unit}]"), np.ma.array([1.0], mask=[False])) == 1
    assert columns.append_columns("coarse", np.array(["1970-01-02"], "datetime64[D]"), [1.0]) == 1
    assert columns.read("coarse")[0][0] == 86_400_000_000


PATHS: list[tuple[Any, str]] = [
    (None, "must be text or a pathlib.Path, not None"),
    ("", "must not be empty or hold a null character"),
    ("a\0b", "must not be empty or hold a null character"),
    (b"bytes", "must be text, not b'bytes'"),
    ("\udcff", "must be Unicode text"),
]


@pytest.mark.parametrize(("path", "problem"), PATHS)
def test_a_path_that_is_none_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any, problem: str) -> None:
    """An empty one was the current folder, which then was full of the store's files."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as failure:
        tsengine.open(path)
    assert problem in str(failure.value)
    assert os.listdir(tmp_path) == []


OPTIONS: list[dict[str, Any]] = [
    *({"memory_mb": value} for value in ("1", 1.5, math.nan, None, 0)),
    {"compaction_mb_per_s": "1"},
    {"clock_trust_s": None},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_options_of_another_type(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        tsengine.open(tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()


def test_an_open_store_is_not_copied_and_its_errors_travel_whole(db: Engine, columns: Device, tmp_path: Path) -> None:
    for use in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="an open store cannot be pickled or copied"):
            use(db)
    with pytest.raises(TypeError, match="an open store cannot be pickled or copied"):
        pickle.dumps(columns)
    damaged = CorruptionError("block", file="f", offset=3, expected="a", found="b")
    for error in (damaged, InputError("x", index=4), NotFoundError("x"), tsengine.StorageFullError(28, "x", "p")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    closed = tsengine.open(tmp_path / "data")
    closed.close()
    with pytest.raises(ClosedError), closed:
        pass


def test_a_process_that_is_forked_off_leaves_the_store_alone(tmp_path: Path) -> None:
    """What it wrote was acknowledged, and written over by the parent."""
    with tsengine.open(tmp_path / "data") as db:
        device = db.create_device("device")
        device.append("a", 1)
        child = os.fork()
        if child == 0:
            refused = 0
            for use in (device.count, lambda: device.append("a", 2), db.sync, lambda: db.backup(tmp_path / "copy")):
                try:
                    use()
                except ClosedError as error:
                    refused += "the process that forked" in str(error)
            db.close()
            os._exit(refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
        device.append("a", 3)
        with pytest.raises(tsengine.BusyError):
            tsengine.open(tmp_path / "data")
    with tsengine.open(tmp_path / "data") as db:
        assert [point.value for point in db.devices()[0].points()] == [3, 1]
