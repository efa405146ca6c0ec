"""Apache TsFile: a file a month, the variable as its tag, written from Arrow batches.

Its Arrow writer takes times as int64 and no dictionaries, so both are cast; rows come by variable and time, as it needs them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tsfile import ColumnCategory, ColumnSchema, TableSchema, TSDataType, TsFileReader, TsFileTableWriter, tag_eq

from benches.peers.arrays import ByArrays, group_integers
from benches.workload import NUMERIC, UNTIL_US, VARIABLES

FIELDS = {
    "value": TSDataType.DOUBLE,
    "value_bool": TSDataType.BOOLEAN,
    "value_text": TSDataType.STRING,
    "unit": TSDataType.STRING,
    "group_head": TSDataType.INT64,
    "group_tail": TSDataType.INT64,
    "metadata": TSDataType.STRING,
}
COLUMNS = {"door": "value_bool", "mode": "value_text"}
"""The column of the values of a variable; that of all others is "value"."""

BATCH_ROWS = 65_536


def schema() -> TableSchema:
    tag = ColumnSchema("variable", TSDataType.STRING, ColumnCategory.TAG)
    return TableSchema("points", [tag, *(ColumnSchema(name, kind, ColumnCategory.FIELD) for name, kind in FIELDS.items())])


def plain(table: pa.Table) -> pa.Table:
    """Return the rows by variable and time, in types that the writer takes."""
    columns: dict[str, Any] = {"variable": table.column("variable").cast(pa.string()), "time": table.column("time").cast(pa.int64())}
    for name in FIELDS:
        if name in table.column_names:
            column = table.column(name)
            columns[name] = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
    columns["group_head"], columns["group_tail"] = (part.astype(np.int64) for part in group_integers(table))
    return pa.table(columns).sort_by([("variable", "ascending"), ("time", "ascending")])


class Store(ByArrays):
    settings = f"{version('tsfile')}, its default encodings and LZ4, a file a month; file and folder fsynced"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self) -> None:
        self.folder.mkdir(parents=True)

    def ingest(self, tables: Iterable[pa.Table]) -> None:
        for table in tables:
            path = self.folder / f"{table.column('time')[0].as_py():%Y-%m}.tsfile"
            writer = TsFileTableWriter(str(path), schema())
            for batch in plain(table).combine_chunks().to_batches():
                writer.write_arrow_batch(batch)
            writer.close()
            for name in (path, self.folder):
                fd = os.open(name, os.O_RDONLY)
                os.fsync(fd)
                os.close(fd)

    def open(self) -> None:
        """Open every file and read its statistics: the first and last time, the reader, and those of each variable's columns."""
        self.files: list[tuple[int, int, Any, dict[str, Any]]] = []
        for path in sorted(self.folder.iterdir()):
            reader = TsFileReader(str(path))
            series = {names[-1]: group.timeseries for names, group in reader.get_timeseries_metadata().items()}
            lines = [columns[0].timeline_statistic for columns in series.values()]
            self.files.append((min(line.start_time for line in lines), max(line.end_time for line in lines), reader, series))

    def close(self) -> None:
        for _, _, reader, _ in getattr(self, "files", ()):
            reader.close()

    def count(self) -> int:
        return sum(columns[0].timeline_statistic.row_count for *_, series in self.files for columns in series.values())

    def tables(self, columns: list[str], start_us: int, end_us: int, variable: str | None = None) -> Iterator[pa.Table]:
        wanted = tag_eq("variable", variable) if variable else None
        for first, last, reader, _ in self.files:
            if last >= start_us and first < end_us:
                with reader.query_table("points", columns, start_us, end_us - 1, tag_filter=wanted, batch_size=BATCH_ROWS) as found:
                    while (table := found.read_arrow_batch()) is not None:
                        yield table

    def read(self, variable: str, start_us: int, end_us: int) -> tuple[np.ndarray, np.ndarray]:
        column = COLUMNS.get(variable, "value")
        table = pa.concat_tables(self.tables([column], start_us, end_us, variable))
        return table.column("time").cast(pa.int64()).to_numpy(), table.column(column).to_numpy()

    def statistics(self, variable: str) -> list[Any]:
        """Return what each file says of the values of a variable."""
        wanted = COLUMNS.get(variable, "value")
        return [next(each.statistic for each in series[variable] if each.measurement_name == wanted) for *_, series in self.files]

    def aggregate(self, variable: str, functions: list[str], every_us: int | None, start_us: int, end_us: int) -> list[Any]:
        """A sum of all there is needs no data, only what the files say of themselves."""
        is_whole = start_us <= self.files[0][0] and end_us > self.files[-1][1]
        if every_us is None and functions == ["sum"] and is_whole:
            return [[sum(statistic.sum for statistic in self.statistics(variable))]]
        return super().aggregate(variable, functions, every_us, start_us, end_us)

    def totals(self) -> dict[str, float]:
        return {name: sum(statistic.sum for statistic in self.statistics(name)) for name in NUMERIC}

    def newest(self, limit: int, skip: int) -> list[int]:
        """Whole rows of the newest file, from where its last points of all variables begin."""
        last = self.files[-1][1]
        start_us, columns = last - 3_600_000_000, list(FIELDS)
        while True:
            table = pa.concat_tables(self.tables(columns, start_us, UNTIL_US))
            if table.num_rows >= limit + skip:
                break
            start_us -= (last - start_us) * 3
        times = np.sort(table.column("time").cast(pa.int64()).to_numpy())[::-1]
        return times[skip : skip + limit].tolist()

    def last(self) -> dict[str, Any]:
        found = {}
        for name in VARIABLES:
            statistic = self.statistics(name)[-1]
            found[name] = next(getattr(statistic, field) for field in LAST_FIELDS if hasattr(statistic, field))
        return found

    def drop_month(self, start_us: int, end_us: int) -> None:
        first = min(self.folder.iterdir())
        self.close()
        first.unlink()
        fd = os.open(self.folder, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        self.open()


LAST_FIELDS = ("last_float64", "last_bool", "str_last")
STORE = {"TsFile": Store}
