"""ArcticDB on its LMDB backend: a symbol for each variable, a version that grows by a month a call."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import arcticdb
import numpy as np
import pandas as pd
import pyarrow as pa
from arcticdb.version_store.library import ReadRequest

from benches.peers.arrays import group_integers
from benches.workload import NUMERIC, VARIABLES

COLUMNS = {"door": "value_bool", "mode": "value_text"}
"""The column of the values of a variable; that of all others is "value"."""

FUNCTIONS = {"avg": "mean", "sum": "sum", "min": "min", "max": "max", "count": "count"}


def between(start_us: int, end_us: int) -> tuple[pd.Timestamp, pd.Timestamp]:
    """ArcticDB includes both ends."""
    return pd.Timestamp(start_us, unit="us").as_unit("ns"), pd.Timestamp(end_us - 1, unit="us").as_unit("ns")


class Store:
    settings = f"{arcticdb.__version__} (pandas {pd.__version__}), LMDB as ArcticDB opens it (synced), a symbol a variable"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self) -> None:
        self.open()

    def open(self) -> None:
        self.db = arcticdb.Arctic(f"lmdb://{self.folder}?map_size=32GB")
        self.library = self.db.get_library("bench", create_if_missing=True)

    def close(self) -> None:
        del self.library, self.db

    def ingest(self, tables: Iterable[pa.Table]) -> None:
        for table in tables:
            code = table.column("variable").combine_chunks().indices.to_numpy()
            for number, name in enumerate(VARIABLES):
                self.library.append(name, frame(table.take(pa.array(np.flatnonzero(code == number))), name), validate_index=False)

    def count(self) -> int:
        return sum(self.library.get_description(name).row_count for name in VARIABLES)

    def read(self, variable: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        found = self.library.read(variable, date_range=between(start_us, end_us), columns=["value"]).data
        return found.index.to_numpy().view(np.int64) // 1_000, found["value"].to_numpy()

    def aggregate(self, variable: str, functions: list[str], every_us: int | None, start_us: int, end_us: int) -> list[Any]:
        if every_us is None:
            values = self.library.read(variable, date_range=between(start_us, end_us), columns=["value"]).data["value"]
            return [[getattr(values, FUNCTIONS[name])()] for name in functions]
        wanted = {name: ("value", FUNCTIONS[name]) for name in functions}
        query = arcticdb.QueryBuilder().resample(f"{every_us // 1_000_000}s").agg(wanted)
        found = self.library.read(variable, date_range=between(start_us, end_us), query_builder=query).data
        return [found[name].to_numpy() for name in functions]

    def totals(self) -> dict[str, float]:
        wanted = [ReadRequest(name, columns=[COLUMNS.get(name, "value")]) for name in NUMERIC]
        return {found.symbol: float(found.data.iloc[:, 0].sum()) for found in self.library.read_batch(wanted)}

    def count_above(self, variable: str, bound: float) -> int:
        query = arcticdb.QueryBuilder()
        return len(self.library.read(variable, columns=["value"], query_builder=query[query["value"] > bound]).data)

    def newest(self, limit: int, skip: int) -> list[int]:
        """Every variable could have all of them."""
        tails = [self.library.tail(name, limit + skip) for name in VARIABLES]
        times = np.concatenate([found.data.index.to_numpy().view(np.int64) for found in tails])
        return (np.sort(times)[::-1][skip : skip + limit] // 1_000).tolist()

    def last(self) -> dict[str, Any]:
        columns = {name: COLUMNS.get(name, "value") for name in VARIABLES}
        return {name: self.library.tail(name, 1, columns=[column]).data[column].iloc[0] for name, column in columns.items()}

    def drop_month(self, start_us: int, end_us: int) -> None:
        for name in VARIABLES:
            self.library.delete_data_in_range(name, date_range=between(start_us, end_us))


def frame(rows: pa.Table, name: str) -> pd.DataFrame:
    """Return the points of one variable: its values, unit, group and metadata."""
    column = COLUMNS.get(name, "value")
    head, tail = group_integers(rows)
    value = rows.column(column)
    index = pd.DatetimeIndex(rows.column("time").cast(pa.int64()).to_numpy().astype("datetime64[us]").astype("datetime64[ns]"), name="time")
    return pd.DataFrame(
        {
            column: value.to_numpy() if column != "value_text" else np.array(value.to_pylist(), object),
            "unit": np.array(rows.column("unit").to_pylist(), object),
            "group_head": head,
            "group_tail": tail,
            "metadata": np.array(rows.column("metadata").to_pylist(), object),
        },
        index=index,
    )


STORE = {"ArcticDB": Store}
