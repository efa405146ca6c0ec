"""The workloads of the benchmarks: seeded, and their truths agree with tsengine's answers at a small size. No peer is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benches import inputs, tsbs
from benches.peers import load
from benches.questions import Truth, check, questions
from benches.tsbs.iot import Iot
from benches.workload import tables


def test_every_question_of_the_workload_is_answered_as_numpy_does(tmp_path: Path) -> None:
    folder = inputs.save(tables(2, payloads=2_000), tmp_path / "inputs")
    truth = Truth(inputs.load(folder))
    store = load("STORE", "tsengine")(tmp_path / "data")
    store.create()
    store.ingest(inputs.load(folder))
    assert store.count() == 40_000
    for asked in questions(2):
        check(getattr(store, asked.method)(*asked.args), getattr(truth, asked.method)(*asked.args))
    store.close()


@pytest.mark.parametrize("name", ["cpu", "iot"])
def test_every_question_of_tsbs_is_answered_as_numpy_does(tmp_path: Path, name: str) -> None:
    shape = tsbs.shape_of(name, 10, 1)
    values = tsbs.save(shape, tmp_path / "inputs")
    store = load("TSBS", "tsengine")(tmp_path / "data")
    store.create(shape)
    store.ingest(tsbs.load(tmp_path / "inputs"))
    store.close()
    store.open(shape)
    assert sum(device.count() for device in store.devices) == values
    for asked in shape.questions():
        check([np.asarray(column) for column in getattr(store, asked.method)(*asked.args)], shape.answer(asked))
    store.close()


def test_a_wrong_answer_is_found() -> None:
    for found, expected in (
        ({"a": 1.0}, {"a": 1.001}),
        ((np.array([1, 2]), np.array([1.0, 2.0])), (np.array([1, 2]), np.array([1.0, 2.1]))),
        ([np.array([1.0])], [np.array([1.0, 2.0])]),
        ([1, 2], [2, 1]),
        (3, 4),
    ):
        with pytest.raises(AssertionError):
            check(found, expected)


def test_shapes_are_seeded_and_trucks_lose_and_delay_rows() -> None:
    one, two = (Iot(4, 1) for _ in range(2))
    for field, values in one.values.items():
        np.testing.assert_array_equal(values, two.values[field])
    missing = np.isnan(one.values["velocity"]).mean()
    assert 0.01 < missing < 0.03
    name, rows = next(one.parts())
    times = rows.column("time").to_numpy()
    assert name == "readings"
    assert 0 < np.count_nonzero(np.diff(times) < 0) < len(times) // 2
    assert sum(rows.num_rows for name, rows in one.parts() if name == "readings") == np.count_nonzero(~np.isnan(one.values["velocity"]))
